/* SPDX-License-Identifier: Apache-2.0 */
/* SoftHSM: a token that can only open passwords into the host, and must never be taken for more. */
#include "hsm/object.h"
#include "hsm/token_private.h"
#include "hsm_fixture_messages.h"

static struct fixture fixture;
static struct token *token;
static struct session *session;
static struct fixture_device device;
static struct sealing_key *key; /* RSA-2048 for custody host */

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    fixture_softhsm(&fixture);
    fixture_device_make(&fixture, EVP_RSA_gen(2048), &device);
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    key = fixture_key(session, "host-2048", 2048, CUSTODY_HOST);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sealing_key_free(&key);
    session_close(&session);
    token_close(&token);
    fixture_device_free(&device);
    fixture_end(&fixture);
    return 0;
}

static void finds_the_token_by_serial_and_tells_which_tokens_are_there(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token *other = NULL;
    struct token_facts facts;
    struct token_address address = fixture.address;
    token_facts_get(token, &facts);
    assert_string_equal(facts.label, TEST_LABEL);
    address.label[0] = '\0';
    memcpy(address.serial, facts.serial, sizeof address.serial);
    MUST(token_open(&address, &other, &err), err);
    token_close(&other); /* the module was initialised by another: it stays so */
    bool logged_in = false;
    MUST(session_logged_in(session, &logged_in, &err), err);
    assert_true(logged_in);

    snprintf(address.label, sizeof address.label, "no-such-token");
    assert_false(token_open(&address, &other, &err));
    assert_int_equal(err.kind, FAIL_NOT_FOUND);
    assert_non_null(strstr(err.text, TEST_LABEL));
    assert_non_null(strstr(err.text, facts.serial));

    address.label[0] = address.serial[0] = '\0';
    assert_false(token_open(&address, &other, &err));
    assert_int_equal(err.kind, FAIL_USAGE);
}

static void a_missing_module_and_a_library_that_is_none_are_told_apart(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token *other = NULL;
    struct token_address address = fixture.address;
    snprintf(address.module, sizeof address.module, "%s/none.so", fixture.folder);
    assert_false(token_open(&address, &other, &err));
    assert_int_equal(err.kind, FAIL_NOT_FOUND);
    snprintf(address.module, sizeof address.module, "libm.so.6");
    assert_false(token_open(&address, &other, &err));
    assert_int_equal(err.kind, FAIL_TOKEN);
    assert_non_null(strstr(err.text, "C_GetFunctionList"));
    assert_null(other);
}

static void probe_finds_custody_host_and_names_what_is_missing(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_finding finding;
    MUST(token_probe(session, key, &finding, &err), err);
    assert_string_equal(finding.name, "host-2048");
    assert_int_equal(finding.bits, 2048);
    assert_int_equal(strlen(finding.fingerprint), 64);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].padding, PADDING_FIRST + (int)i);
        assert_int_equal(finding.paddings[i].custody, CUSTODY_HOST);
        assert_string_equal(finding.paddings[i].call, "C_UnwrapKey(CKM_RSA_PKCS_OAEP)");
        assert_memory_equal(finding.paddings[i].ck_rv, "CKR_", 4);
        assert_true(finding.paddings[i].quirk[0] != '\0');
    }
    assert_int_equal(finding.attributes.sensitive, 1);
    assert_int_equal(finding.attributes.always_sensitive, 1);
    assert_int_equal(finding.attributes.extractable, 0);
    assert_int_equal(finding.attributes.never_extractable, 1);
    assert_int_equal(finding.attributes.local, 1);
    assert_int_equal(finding.attributes.unwrap, 0);
    assert_int_equal(finding.attributes.decrypt, 1);
    assert_int_equal(finding.attributes.sign, 0);
}

static void a_key_of_no_use_on_this_token_gets_both_ways_out(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_finding finding;
    struct sealing_key *foreign = NULL;
    fixture_foreign_key(session, "unwraps", true, false);
    MUST(sealing_key_find(session, "unwraps", &foreign, &err), err);
    MUST(token_probe(session, foreign, &finding, &err), err);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].custody, CUSTODY_UNUSABLE);
        assert_non_null(strstr(finding.paddings[i].advice, "NSS softokn"));
        assert_non_null(strstr(finding.paddings[i].advice, "custody = host"));
    }
    sealing_key_free(&foreign);
}

static void custody_token_is_refused_and_never_replaced_by_host(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    EVP_PKEY *pkey = NULL;
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    MUST(sealing_key_public(session, key, &pkey, &err), err);
    fixture_seal(pkey, OAEP_SHA256, "Secret-4711", 11, &sealed);
    const struct reseal_job job = {.padding = OAEP_SHA256,
                                   .custody = CUSTODY_TOKEN,
                                   .sealed = buf_bytes(&sealed),
                                   .recipient = device.certificate};
    assert_false(token_reseal(session, key, &job, &der, &err));
    assert_int_equal(err.kind, FAIL_UNSUPPORTED);
    assert_int_equal(der.len, 0);
    buf_free(&sealed);
    buf_free(&der);
    EVP_PKEY_free(pkey);
}

static void what_the_device_opens_is_what_was_sealed(void **state)
{
    (void)state;
    static const int sizes[] = {2048, 3072, 4096};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char label[32];
        snprintf(label, sizeof label, "matrix-%d", sizes[i]);
        struct sealing_key *made = fixture_key(session, label, sizes[i], CUSTODY_HOST);
        assert_reseals_all_lengths(&fixture, &device, session, made, CUSTODY_HOST, sizes[i],
                                   SIZE_MAX);
        sealing_key_free(&made);
    }
}

static void text_around_the_password_is_kept(void **state)
{
    (void)state;
    const struct fixture_case cases[] = {
        {.padding = OAEP_SHA512, .custody = CUSTODY_HOST, .len = 20, .prefix = "<![CDATA["},
        {.padding = OAEP_SHA512, .custody = CUSTODY_HOST, .len = 0, .suffix = "]]>"},
        {.padding = OAEP_SHA512, .custody = CUSTODY_HOST, .len = 31, .prefix = "a", .suffix = "z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_reseals(&fixture, &device, session, key, &cases[i]);
}

static void a_device_with_an_elliptic_curve_key_is_served(void **state)
{
    (void)state;
    struct fixture_device curve;
    fixture_device_make(&fixture, EVP_EC_gen("P-256"), &curve);
    const struct fixture_case test = {.padding = OAEP_SHA384, .custody = CUSTODY_HOST, .len = 22};
    assert_reseals(&fixture, &curve, session, key, &test);
    fixture_device_free(&curve);
}

static void a_compressed_point_in_a_certificate_is_understood(void **state)
{
    (void)state;
    assert_reseals_to_a_compressed_point(&fixture, session, key, CUSTODY_HOST, "P-256", 33);
    assert_reseals_to_a_compressed_point(&fixture, session, key, CUSTODY_HOST, "P-384", 49);
}

static void the_largest_content_reaches_the_longest_device_key(void **state)
{
    (void)state;
    assert_reseals_the_largest(&fixture, session, key, CUSTODY_HOST);
}

static void bad_messages_cannot_be_told_apart(void **state)
{
    (void)state;
    assert_bad_messages_look_alike(session, key, CUSTODY_HOST, device.certificate);
    /* And the session does good work afterwards. */
    const struct fixture_case test = {.padding = OAEP_SHA256, .custody = CUSTODY_HOST, .len = 9};
    assert_reseals(&fixture, &device, session, key, &test);
}

static void a_label_in_use_is_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_plan plan = {.label = "host-2048", .bits = 2048, .custody = CUSTODY_HOST};
    struct key_birth birth;
    struct sealing_key *second = NULL;
    assert_false(key_generate(session, &plan, &birth, &second, &err));
    assert_int_equal(err.kind, FAIL_EXISTS);
    assert_null(second);
    MUST(key_label_free(session, "nobody-has-this", &err), err);
    assert_false(key_label_free(session, "host-2048", &err));
    assert_int_equal(err.kind, FAIL_EXISTS);
}

static void two_keys_of_one_label_are_not_guessed_between(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct sealing_key *first = fixture_key(session, "twin", 2048, CUSTODY_HOST);
    struct sealing_key *found = NULL;
    CK_OBJECT_HANDLE copies[2];
    CK_ULONG bits = 2048;
    CK_BBOOL yes = CK_TRUE;
    char label[] = "twin";
    CK_ATTRIBUTE public_half[] = {{CKA_MODULUS_BITS, &bits, sizeof bits}};
    CK_ATTRIBUTE private_half[] = {{CKA_LABEL, label, sizeof label - 1},
                                   {CKA_TOKEN, &yes, sizeof yes}};
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    assert_int_equal(session->f->C_GenerateKeyPair(session->handle, &mechanism, public_half, 1,
                                                   private_half, 2, &copies[0], &copies[1]),
                     CKR_OK);
    assert_false(sealing_key_find(session, "twin", &found, &err));
    assert_int_equal(err.kind, FAIL_POLICY);
    assert_null(found);
    assert_int_equal(session->f->C_DestroyObject(session->handle, copies[1]), CKR_OK);
    MUST(key_destroy(session, first, &err), err);
    sealing_key_free(&first);
    assert_false(sealing_key_find(session, "twin", &found, &err));
    assert_int_equal(err.kind, FAIL_NOT_FOUND);
    MUST(key_label_free(session, "twin", &err), err); /* both halves are gone */
}

static const struct attribute_check *check_of(const struct key_birth *birth, const char *name)
{
    for (size_t i = 0; i < birth->check_count; i++) {
        if (strcmp(birth->checks[i].name, name) == 0)
            return &birth->checks[i];
    }
    static const struct attribute_check none;
    fail_msg("%s was not read back", name); /* does not return, which the optimiser cannot know */
    return &none;
}

/* As a tool of the token's maker would, with whatever length it is told. */
static void generate_with_bits(CK_ULONG bits, const char *label)
{
    static const uint8_t exponent[] = {1, 0, 1};
    const struct bytes name = {(const uint8_t *)label, strlen(label)};
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    struct template public_half = {.count = 0}, private_half = {.count = 0};
    CK_OBJECT_HANDLE handles[2];
    template_number(&public_half, CKA_MODULUS_BITS, bits);
    template_bytes(&public_half, CKA_PUBLIC_EXPONENT, (struct bytes){exponent, sizeof exponent});
    template_bytes(&public_half, CKA_LABEL, name);
    template_bytes(&private_half, CKA_LABEL, name);
    template_flag(&private_half, CKA_DECRYPT, true);
    assert_int_equal(token->f->C_GenerateKeyPair(session->handle, &mechanism, public_half.rows,
                                                 public_half.count, private_half.rows,
                                                 private_half.count, &handles[0], &handles[1]),
                     CKR_OK);
}

static void a_key_of_a_length_that_is_not_served_is_refused(void **state)
{
    (void)state;
    static const struct {
        CK_ULONG bits;
        const char *words; /* NULL: accepted */
    } rows[] = {
        {1024, "1024 bits"}, {2040, "2040 bits"}, {2050, "2050 bits"},
        {2056, NULL},        {4104, "4104 bits"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = ERROR_INIT;
        struct sealing_key *found = NULL;
        char label[32];
        snprintf(label, sizeof label, "length-%lu", rows[i].bits);
        generate_with_bits(rows[i].bits, label);
        assert_int_equal(sealing_key_find(session, label, &found, &err), rows[i].words == NULL);
        if (rows[i].words != NULL) {
            assert_int_equal(err.kind, FAIL_POLICY);
            assert_non_null(strstr(err.text, rows[i].words));
            assert_non_null(strstr(err.text, label));
            assert_null(found);
        }
        sealing_key_free(&found);
    }
}

static void every_attribute_is_read_back_and_the_key_stays_in_the_token(void **state)
{
    (void)state;
    static const char *const names[] = {
        "CKA_SENSITIVE", "CKA_ALWAYS_SENSITIVE",  "CKA_EXTRACTABLE", "CKA_NEVER_EXTRACTABLE",
        "CKA_LOCAL",     "CKA_KEY_GEN_MECHANISM", "CKA_UNWRAP",      "CKA_DECRYPT",
        "CKA_SIGN",      "CKA_ALLOWED_MECHANISMS"};
    struct error err = ERROR_INIT;
    struct key_plan plan = {.label = "born", .bits = 2048, .custody = CUSTODY_HOST};
    struct key_birth birth;
    struct sealing_key *born = NULL;
    char ck_rv[CK_RV_TEXT];
    MUST(key_generate(session, &plan, &birth, &born, &err), err);
    assert_true(birth.accepted);
    assert_int_equal(strlen(birth.id), 2 * KEY_ID_LEN);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_true(check_of(&birth, names[i])->ok);
    assert_string_equal(check_of(&birth, "CKA_SENSITIVE")->found, "true");
    assert_string_equal(check_of(&birth, "CKA_UNWRAP")->found, "false");
    assert_string_equal(check_of(&birth, "CKA_MODIFIABLE")->found, "false");
    MUST(key_is_unreadable(session, born, ck_rv, &err), err);
    assert_string_equal(ck_rv, "CKR_ATTRIBUTE_SENSITIVE");
    MUST(key_destroy(session, born, &err), err);
    sealing_key_free(&born);
}

static CK_FUNCTION_LIST lying;

static CK_RV says_sign_is_allowed(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object,
                                  CK_ATTRIBUTE_PTR rows, CK_ULONG count)
{
    CK_RV rv = token->module->functions->C_GetAttributeValue(handle, object, rows, count);
    if (count == 1 && rows[0].type == CKA_SIGN && rows[0].pValue != NULL)
        *(CK_BBOOL *)rows[0].pValue = CK_TRUE;
    return rv;
}

static void a_key_that_is_not_as_planned_is_destroyed(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_plan plan = {.label = "misborn", .bits = 2048, .custody = CUSTODY_HOST};
    struct key_birth birth;
    struct sealing_key *born = NULL;
    lying = *token->f;
    lying.C_GetAttributeValue = says_sign_is_allowed;
    session->f = &lying;
    assert_false(key_generate(session, &plan, &birth, &born, &err));
    session->f = token->f;
    assert_int_equal(err.kind, FAIL_POLICY);
    assert_non_null(strstr(err.text, "CKA_SIGN"));
    assert_null(born);
    assert_false(birth.accepted);
    assert_false(check_of(&birth, "CKA_SIGN")->ok);
    MUST(key_label_free(session, "misborn", &err), err);
}

static CK_RV next_rv;

static CK_RV decrypt_fails(CK_SESSION_HANDLE handle, CK_BYTE_PTR in, CK_ULONG in_len,
                           CK_BYTE_PTR out, CK_ULONG_PTR out_len)
{
    CK_RV rv = token->module->functions->C_Decrypt(handle, in, in_len, out, out_len);
    return next_rv != CKR_OK ? next_rv : rv;
}

static void trouble_of_the_token_is_not_blamed_on_the_message(void **state)
{
    (void)state;
    static const struct {
        CK_RV rv;
        enum failure kind;
        bool lost;
    } rows[] = {
        {CKR_SESSION_HANDLE_INVALID, FAIL_TOKEN, true},
        {CKR_SESSION_CLOSED, FAIL_TOKEN, true},
        {CKR_USER_NOT_LOGGED_IN, FAIL_TOKEN, true},
        {CKR_DEVICE_REMOVED, FAIL_TOKEN, true},
        {CKR_TOKEN_NOT_PRESENT, FAIL_TOKEN, true},
        {CKR_DEVICE_ERROR, FAIL_TOKEN, true},
        {CKR_CRYPTOKI_NOT_INITIALIZED, FAIL_TOKEN, true},
        {CKR_DEVICE_MEMORY, FAIL_TOKEN, false},
        {CKR_GENERAL_ERROR, FAIL_CRYPTO, false},
        {CKR_FUNCTION_FAILED, FAIL_CRYPTO, false},
        {CKR_ENCRYPTED_DATA_INVALID, FAIL_CRYPTO, false},
        {CKR_VENDOR_DEFINED + 7, FAIL_CRYPTO, false},
    };
    struct error err = ERROR_INIT;
    EVP_PKEY *pkey = NULL;
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    MUST(sealing_key_public(session, key, &pkey, &err), err);
    fixture_seal(pkey, OAEP_SHA256, "Secret-4711", 11, &sealed);
    lying = *token->f;
    lying.C_Decrypt = decrypt_fails;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct session *other = NULL;
        MUST(session_open(token, SESSION_READ_ONLY, &other, &err), err);
        other->f = &lying;
        const struct reseal_job job = {.padding = OAEP_SHA256,
                                       .custody = CUSTODY_HOST,
                                       .sealed = buf_bytes(&sealed),
                                       .recipient = device.certificate};
        next_rv = rows[i].rv;
        assert_false(token_reseal(other, key, &job, &der, &err));
        next_rv = CKR_OK;
        assert_int_equal(err.kind, rows[i].kind);
        assert_int_equal(session_lost(other), rows[i].lost);
        other->f = token->f;
        session_close(&other);
    }
    buf_free(&sealed);
    buf_free(&der);
    EVP_PKEY_free(pkey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_token_by_serial_and_tells_which_tokens_are_there),
        cmocka_unit_test(a_missing_module_and_a_library_that_is_none_are_told_apart),
        cmocka_unit_test(probe_finds_custody_host_and_names_what_is_missing),
        cmocka_unit_test(a_key_of_no_use_on_this_token_gets_both_ways_out),
        cmocka_unit_test(custody_token_is_refused_and_never_replaced_by_host),
        cmocka_unit_test(what_the_device_opens_is_what_was_sealed),
        cmocka_unit_test(text_around_the_password_is_kept),
        cmocka_unit_test(a_device_with_an_elliptic_curve_key_is_served),
        cmocka_unit_test(a_compressed_point_in_a_certificate_is_understood),
        cmocka_unit_test(the_largest_content_reaches_the_longest_device_key),
        cmocka_unit_test(bad_messages_cannot_be_told_apart),
        cmocka_unit_test(a_label_in_use_is_refused),
        cmocka_unit_test(two_keys_of_one_label_are_not_guessed_between),
        cmocka_unit_test(a_key_of_a_length_that_is_not_served_is_refused),
        cmocka_unit_test(every_attribute_is_read_back_and_the_key_stays_in_the_token),
        cmocka_unit_test(a_key_that_is_not_as_planned_is_destroyed),
        cmocka_unit_test(trouble_of_the_token_is_not_blamed_on_the_message),
    };
    return cmocka_run_group_tests(tests, start, end);
}
