/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of calls on their way to a token in another process (tests/fault/remote/wire.c). */
#include "tests/unit/check.h"
#include "tests/fault/remote/wire.h"

#define INCARNATION 7u

static struct buf out = BUF_INIT(65536);
static struct arena arena;

static int clean_up(void **state)
{
    (void)state;
    buf_free(&out);
    arena_free(&arena);
    return 0;
}

/* What comes out on the other side. Cut short at any place, nothing does. */
static void carry(const CK_MECHANISM *mechanism, CK_MECHANISM *carried)
{
    buf_reset(&out);
    assert_int_equal(wire_put_mechanism(&out, INCARNATION, mechanism), CKR_OK);
    for (size_t len = 0; len < out.len; len++) {
        struct cursor cut = cursor_over((struct bytes){out.data, len});
        assert_false(wire_take_mechanism(&cut, &arena, carried));
    }
    struct cursor whole = cursor_over(buf_bytes(&out));
    assert_true(wire_take_mechanism(&whole, &arena, carried));
    assert_int_equal(whole.left, 0);
    assert_int_equal(carried->mechanism, mechanism->mechanism);
    assert_int_equal(carried->ulParameterLen, mechanism->ulParameterLen);
}

static void mechanisms_without_parameter_arrive_so(void **state)
{
    (void)state;
    static const CK_MECHANISM_TYPE types[] = {CKM_RSA_PKCS, CKM_AES_KEY_GEN, CKM_AES_KEY_WRAP,
                                              0x80001234UL};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        CK_MECHANISM carried, mechanism = {types[i], NULL, 0};
        carry(&mechanism, &carried);
        assert_null(carried.pParameter);
    }
}

static void an_initialisation_vector_arrives(void **state)
{
    (void)state;
    CK_BYTE iv[16] = "0123456789abcde";
    CK_MECHANISM carried, mechanism = {CKM_AES_CBC_PAD, iv, sizeof iv};
    carry(&mechanism, &carried);
    assert_memory_equal(carried.pParameter, iv, sizeof iv);
}

static void oaep_and_pss_parameters_arrive(void **state)
{
    (void)state;
    CK_BYTE label[] = {1, 2, 3};
    CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA512, CKG_MGF1_SHA512, CKZ_DATA_SPECIFIED, label, 3};
    CK_MECHANISM carried, mechanism = {CKM_RSA_PKCS_OAEP, &oaep, sizeof oaep};
    carry(&mechanism, &carried);
    const CK_RSA_PKCS_OAEP_PARAMS *found = carried.pParameter;
    assert_int_equal(found->hashAlg, CKM_SHA512);
    assert_int_equal(found->mgf, CKG_MGF1_SHA512);
    assert_int_equal(found->source, CKZ_DATA_SPECIFIED);
    assert_int_equal(found->ulSourceDataLen, 3);
    assert_memory_equal(found->pSourceData, label, 3);
    /* SoftHSM wants no data for an empty label: NULL must stay NULL. */
    oaep.pSourceData = NULL;
    oaep.ulSourceDataLen = 0;
    carry(&mechanism, &carried);
    found = carried.pParameter;
    assert_null(found->pSourceData);
    CK_RSA_PKCS_PSS_PARAMS pss = {CKM_SHA256, CKG_MGF1_SHA256, 32};
    mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &pss, sizeof pss};
    carry(&mechanism, &carried);
    assert_memory_equal(carried.pParameter, &pss, sizeof pss);
}

static void data_to_concatenate_and_keys_to_agree_with_arrive(void **state)
{
    (void)state;
    CK_BYTE data[1000] = "text around a password", point[] = "a point", shared[] = "info";
    CK_KEY_DERIVATION_STRING_DATA string = {data, sizeof data};
    CK_MECHANISM carried, mechanism = {CKM_CONCATENATE_DATA_AND_BASE, &string, sizeof string};
    carry(&mechanism, &carried);
    const CK_KEY_DERIVATION_STRING_DATA *found = carried.pParameter;
    assert_int_equal(found->ulLen, sizeof data);
    assert_memory_equal(found->pData, data, sizeof data);
    CK_ECDH1_DERIVE_PARAMS ecdh = {2, sizeof shared, shared, sizeof point, point};
    mechanism = (CK_MECHANISM){CKM_ECDH1_DERIVE, &ecdh, sizeof ecdh};
    carry(&mechanism, &carried);
    const CK_ECDH1_DERIVE_PARAMS *agreed = carried.pParameter;
    assert_int_equal(agreed->kdf, 2);
    assert_int_equal(agreed->ulSharedDataLen, sizeof shared);
    assert_memory_equal(agreed->pSharedData, shared, sizeof shared);
    assert_int_equal(agreed->ulPublicDataLen, sizeof point);
    assert_memory_equal(agreed->pPublicData, point, sizeof point);
}

static void parameters_that_may_hold_pointers_do_not_travel(void **state)
{
    (void)state;
    CK_BYTE raw[16] = {0};
    const CK_MECHANISM refused[] = {
        {CKM_AES_GCM, raw, sizeof raw},       /* of a kind that is not known here */
        {CKM_RSA_PKCS_OAEP, raw, sizeof raw}, /* of another size */
        {CKM_CONCATENATE_DATA_AND_BASE, raw, sizeof raw - 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        buf_reset(&out);
        assert_int_equal(wire_put_mechanism(&out, INCARNATION, &refused[i]),
                         CKR_MECHANISM_PARAM_INVALID);
    }
    assert_int_equal(wire_put_mechanism(&out, INCARNATION, NULL), CKR_ARGUMENTS_BAD);
}

static void handles_of_an_earlier_token_are_told_apart(void **state)
{
    (void)state;
    CK_ULONG inner;
    assert_true(wire_handle(INCARNATION, (CK_ULONG)INCARNATION << 32 | 5, &inner));
    assert_int_equal(inner, 5);
    assert_true(wire_handle(INCARNATION, CK_INVALID_HANDLE, &inner));
    assert_int_equal(inner, CK_INVALID_HANDLE);
    assert_false(wire_handle(INCARNATION, (CK_ULONG)8 << 32 | 5, &inner));
    assert_false(wire_handle(INCARNATION, 5, &inner));
    CK_OBJECT_HANDLE key = (CK_ULONG)8 << 32 | 5;
    CK_MECHANISM mechanism = {CKM_CONCATENATE_BASE_AND_KEY, &key, sizeof key};
    buf_reset(&out);
    assert_int_equal(wire_put_mechanism(&out, INCARNATION, &mechanism), CKR_KEY_HANDLE_INVALID);
}

static void a_template_arrives_with_the_template_in_it(void **state)
{
    (void)state;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE inner[] = {{CKA_SENSITIVE, &yes, sizeof yes}};
    CK_MECHANISM_TYPE allowed[] = {CKM_RSA_PKCS_OAEP, CKM_RSA_X_509};
    CK_ATTRIBUTE rows[] = {
        {CKA_LABEL, (void *)(uintptr_t) "key", 3},
        {CKA_ID, NULL, 0},
        {CKA_UNWRAP_TEMPLATE, inner, sizeof inner},
        {CKA_ALLOWED_MECHANISMS, allowed, sizeof allowed}, /* an array, but of numbers */
    };
    CK_ATTRIBUTE *found;
    CK_ULONG count;
    buf_reset(&out);
    assert_int_equal(wire_put_template(&out, rows, ARRAY_LEN(rows)), CKR_OK);
    for (size_t len = 0; len < out.len; len++) {
        struct cursor cut = cursor_over((struct bytes){out.data, len});
        assert_false(wire_take_template(&cut, &arena, &found, &count));
    }
    struct cursor whole = cursor_over(buf_bytes(&out));
    assert_true(wire_take_template(&whole, &arena, &found, &count));
    assert_int_equal(count, ARRAY_LEN(rows));
    assert_memory_equal(found[0].pValue, "key", 3);
    assert_null(found[1].pValue);
    const CK_ATTRIBUTE *nested = found[2].pValue;
    assert_int_equal(found[2].ulValueLen, sizeof inner);
    assert_int_equal(nested->type, CKA_SENSITIVE);
    assert_memory_equal(nested->pValue, &yes, sizeof yes);
    assert_memory_equal(found[3].pValue, allowed, sizeof allowed);
}

/* The query of `rows` at the server, for a test to answer. */
static struct wire_query *ask(const CK_ATTRIBUTE *rows, CK_ULONG count)
{
    struct wire_query *query = NULL;
    buf_reset(&out);
    assert_int_equal(wire_put_query(&out, rows, count), CKR_OK);
    struct cursor in = cursor_over(buf_bytes(&out));
    assert_true(wire_take_query(&in, &arena, &query));
    buf_reset(&out);
    return query;
}

static void attributes_that_are_read_come_back(void **state)
{
    (void)state;
    char label[8] = "";
    CK_BBOOL flag = CK_FALSE;
    CK_ATTRIBUTE inner[] = {{0, &flag, sizeof flag}};
    CK_ATTRIBUTE rows[] = {
        {CKA_LABEL, label, sizeof label},
        {CKA_VALUE, label, sizeof label},
        {CKA_MODULUS, NULL, 0},
        {CKA_UNWRAP_TEMPLATE, inner, sizeof inner},
    };
    struct wire_query *query = ask(rows, ARRAY_LEN(rows));
    memcpy(query->rows[0].pValue, "key", 3);
    query->rows[0].ulValueLen = 3;
    query->rows[1].ulValueLen = CK_UNAVAILABLE_INFORMATION; /* sensitive */
    query->rows[2].ulValueLen = 256;
    query->nested[3]->rows[0].type = CKA_SENSITIVE;
    *(CK_BBOOL *)query->nested[3]->rows[0].pValue = CK_TRUE;
    wire_put_found(&out, query);
    for (size_t len = 0; len < out.len; len++) {
        CK_ATTRIBUTE again[ARRAY_LEN(rows)];
        memcpy(again, rows, sizeof rows);
        struct cursor cut = cursor_over((struct bytes){out.data, len});
        assert_false(wire_take_found(&cut, again, ARRAY_LEN(again)));
        inner[0] = (CK_ATTRIBUTE){0, &flag, sizeof flag};
    }
    struct cursor whole = cursor_over(buf_bytes(&out));
    assert_true(wire_take_found(&whole, rows, ARRAY_LEN(rows)));
    assert_int_equal(rows[0].ulValueLen, 3);
    assert_memory_equal(label, "key", 3);
    assert_int_equal(rows[1].ulValueLen, CK_UNAVAILABLE_INFORMATION);
    assert_int_equal(rows[2].ulValueLen, 256);
    assert_int_equal(inner[0].type, CKA_SENSITIVE);
    assert_int_equal(flag, CK_TRUE);
}

static void an_answer_that_is_larger_than_the_room_is_refused(void **state)
{
    (void)state;
    char place[8], large[64];
    CK_ATTRIBUTE asked = {CKA_LABEL, large, sizeof large}, row = {CKA_LABEL, place, sizeof place};
    struct wire_query *query = ask(&asked, 1);
    wire_put_found(&out, query);
    struct cursor in = cursor_over(buf_bytes(&out));
    assert_false(wire_take_found(&in, &row, 1));
    in = cursor_over(buf_bytes(&out));
    assert_false(wire_take_found(&in, &row, 0));
}

static void a_pointer_that_a_token_put_in_place_of_ours_is_not_followed(void **state)
{
    (void)state;
    char place[8] = "before";
    CK_ATTRIBUTE row = {CKA_LABEL, place, sizeof place};
    struct wire_query *query = ask(&row, 1);
    query->rows[0].pValue = (void *)(uintptr_t)16;
    wire_put_found(&out, query);
    struct cursor in = cursor_over(buf_bytes(&out));
    assert_true(wire_take_found(&in, &row, 1));
    assert_string_equal(place, "before");
    assert_ptr_not_equal(row.pValue, place); /* the caller sees that it was changed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mechanisms_without_parameter_arrive_so),
        cmocka_unit_test(an_initialisation_vector_arrives),
        cmocka_unit_test(oaep_and_pss_parameters_arrive),
        cmocka_unit_test(data_to_concatenate_and_keys_to_agree_with_arrive),
        cmocka_unit_test(parameters_that_may_hold_pointers_do_not_travel),
        cmocka_unit_test(handles_of_an_earlier_token_are_told_apart),
        cmocka_unit_test(a_template_arrives_with_the_template_in_it),
        cmocka_unit_test(attributes_that_are_read_come_back),
        cmocka_unit_test(an_answer_that_is_larger_than_the_room_is_refused),
        cmocka_unit_test(a_pointer_that_a_token_put_in_place_of_ours_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, clean_up);
}
