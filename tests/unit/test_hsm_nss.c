/* SPDX-License-Identifier: Apache-2.0 */
/* NSS softokn: a token that does the whole job inside. */
#include "hsm/custody.h"
#include "reseal/helper_message.h"
#include "hsm_fixture_messages.h"

/* NSS unwraps a secret key into a place of 256 bytes. */
#define NSS_LONGEST 256

static struct fixture fixture;
static struct token *token;
static struct session *session;
static struct fixture_device device;
static struct sealing_key *key; /* RSA-2048 for custody token */

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    fixture_nss(&fixture, TEST_PIN);
    fixture_device_make(&fixture, EVP_RSA_gen(2048), &device);
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    key = fixture_key(session, "token-2048", 2048, CUSTODY_TOKEN);
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

static void probe_finds_custody_token_for_every_padding(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_finding finding;
    MUST(token_probe(session, key, &finding, &err), err);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].custody, CUSTODY_TOKEN);
        assert_string_equal(finding.paddings[i].call, "");
        assert_string_equal(finding.paddings[i].ck_rv, "");
        assert_string_equal(finding.paddings[i].quirk, "");
        for (size_t j = 0; j < CMS_FORM_COUNT; j++) {
            if (finding.paddings[i].forms[j].custody != CUSTODY_TOKEN)
                fail_msg("%s: %s: %s", cms_form_name((enum cms_form)j),
                         finding.paddings[i].forms[j].call, finding.paddings[i].forms[j].ck_rv);
        }
        assert_int_equal(finding.paddings[i].affixes, HELPER_AFFIX_MAX);
    }
    assert_int_equal(finding.attributes.unwrap, 1);
    assert_int_equal(finding.attributes.decrypt, 0);
}

static const int sizes[] = {2048, 3072, 4096};

static void what_the_device_opens_is_what_was_sealed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char label[32];
        snprintf(label, sizeof label, "matrix-%d", sizes[i]);
        struct sealing_key *made = fixture_key(session, label, sizes[i], CUSTODY_TOKEN);
        assert_reseals_all_lengths(&fixture, &device, session, made, CUSTODY_TOKEN, sizes[i],
                                   NSS_LONGEST);
        sealing_key_free(&made);
    }
}

static void a_bound_of_the_module_on_the_length_is_found_and_named(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_finding finding;
    struct sealing_key *longer = NULL;
    MUST(sealing_key_find(session, "matrix-3072", &longer, &err), err);
    MUST(token_probe(session, longer, &finding, &err), err);
    assert_int_equal(finding.paddings[0].custody, CUSTODY_TOKEN);
    assert_non_null(strstr(finding.paddings[0].quirk, "up to 256 bytes"));

    uint8_t password[NSS_LONGEST + 1] = {1};
    EVP_PKEY *pkey = NULL;
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    MUST(sealing_key_public(session, longer, &pkey, &err), err);
    fixture_seal(pkey, OAEP_SHA256, password, sizeof password, &sealed);
    const struct reseal_job job = {.padding = OAEP_SHA256,
                                   .custody = CUSTODY_TOKEN,
                                   .sealed = buf_bytes(&sealed),
                                   .recipient = device.certificate};
    assert_false(token_reseal(session, longer, &job, &der, &err));
    assert_int_equal(err.kind, FAIL_CRYPTO);
    buf_free(&sealed);
    buf_free(&der);
    EVP_PKEY_free(pkey);
    sealing_key_free(&longer);
}

static void devices_with_longer_keys_are_served(void **state)
{
    (void)state;
    for (size_t i = 1; i < ARRAY_LEN(sizes); i++) {
        struct fixture_device longer;
        fixture_device_make(&fixture, EVP_RSA_gen((unsigned)sizes[i]), &longer);
        const struct fixture_case test = {
            .padding = OAEP_SHA256, .custody = CUSTODY_TOKEN, .len = 12};
        assert_reseals(&fixture, &longer, session, key, &test);
        fixture_device_free(&longer);
    }
}

static void text_around_the_password_is_joined_inside_the_token(void **state)
{
    (void)state;
    char *longest = malloc(20001);
    assert_non_null(longest);
    memset(longest, 'x', 20000);
    longest[20000] = '\0';
    const struct fixture_case cases[] = {
        {.padding = OAEP_SHA512, .custody = CUSTODY_TOKEN, .len = 20, .prefix = "<![CDATA["},
        {.padding = OAEP_SHA512, .custody = CUSTODY_TOKEN, .len = 16, .suffix = "]]>"},
        {.padding = OAEP_SHA512, .custody = CUSTODY_TOKEN, .len = 31, .prefix = "a", .suffix = "z"},
        {.padding = OAEP_SHA512,
         .custody = CUSTODY_TOKEN,
         .len = 9,
         .prefix = longest,
         .suffix = longest},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_reseals(&fixture, &device, session, key, &cases[i]);
    free(longest);
}

static void a_token_that_opens_by_itself_is_used_for_custody_host_too(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_finding finding;
    struct sealing_key *host = fixture_key(session, "host-2048", 2048, CUSTODY_HOST);
    MUST(token_probe(session, host, &finding, &err), err);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].custody, CUSTODY_HOST);
        assert_string_equal(finding.paddings[i].quirk, ""); /* the token knows the hash */
    }
    assert_reseals_all_lengths(&fixture, &device, session, host, CUSTODY_HOST, 2048, SIZE_MAX);
    assert_bad_messages_look_alike(session, host, CUSTODY_HOST, device.certificate);
    sealing_key_free(&host);
}

static void bad_messages_cannot_be_told_apart(void **state)
{
    (void)state;
    assert_bad_messages_look_alike(session, key, CUSTODY_TOKEN, device.certificate);
    const struct fixture_case test = {.padding = OAEP_SHA256, .custody = CUSTODY_TOKEN, .len = 9};
    assert_reseals(&fixture, &device, session, key, &test);
}

static void elliptic_curve_devices_are_served_inside_the_token(void **state)
{
    (void)state;
    static const char *const curves[] = {"P-256", "P-384"};
    for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
        struct fixture_device curve;
        fixture_device_make(&fixture, EVP_EC_gen(curves[i]), &curve);
        const struct fixture_case cases[] = {
            {.padding = OAEP_SHA256, .custody = CUSTODY_TOKEN, .len = 0},
            {.padding = OAEP_SHA384, .custody = CUSTODY_TOKEN, .len = 16},
            {.padding = OAEP_SHA512,
             .custody = CUSTODY_TOKEN,
             .len = 9,
             .prefix = "<",
             .suffix = ">"},
        };
        for (size_t j = 0; j < ARRAY_LEN(cases); j++)
            assert_reseals(&fixture, &curve, session, key, &cases[j]);
        fixture_device_free(&curve);
    }
}

static void a_compressed_point_in_a_certificate_is_understood(void **state)
{
    (void)state;
    assert_reseals_to_a_compressed_point(&fixture, session, key, CUSTODY_TOKEN, "P-256", 33);
    assert_reseals_to_a_compressed_point(&fixture, session, key, CUSTODY_TOKEN, "P-384", 49);
}

static void the_largest_content_reaches_the_longest_device_key(void **state)
{
    (void)state;
    assert_reseals_the_largest(&fixture, session, key, CUSTODY_TOKEN);
}

static void a_device_whose_curve_no_token_is_asked_for_is_refused_in_custody_token(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct fixture_device curve;
    EVP_PKEY *pkey = NULL;
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    fixture_device_make(&fixture, EVP_EC_gen("P-521"), &curve);
    MUST(sealing_key_public(session, key, &pkey, &err), err);
    fixture_seal(pkey, OAEP_SHA256, "Secret-4711", 11, &sealed);
    const struct reseal_job job = {.padding = OAEP_SHA256,
                                   .custody = CUSTODY_TOKEN,
                                   .sealed = buf_bytes(&sealed),
                                   .recipient = curve.certificate};
    assert_false(token_reseal(session, key, &job, &der, &err));
    assert_int_equal(err.kind, FAIL_UNSUPPORTED);
    assert_int_equal(der.len, 0);
    buf_free(&sealed);
    buf_free(&der);
    EVP_PKEY_free(pkey);
    fixture_device_free(&curve);
}

static size_t object_count(void)
{
    struct error err = ERROR_INIT;
    CK_OBJECT_HANDLE found[64];
    size_t count = 0;
    struct template template = {.count = 0};
    template_flag(&template, CKA_TOKEN, false);
    MUST(objects_find(session, &template, found, ARRAY_LEN(found), &count, &err), err);
    return count;
}

static void no_object_is_left_behind_by_good_or_bad_messages(void **state)
{
    (void)state;
    const struct fixture_case test = {
        .padding = OAEP_SHA256, .custody = CUSTODY_TOKEN, .len = 9, .prefix = "<", .suffix = ">"};
    size_t before = object_count();
    assert_reseals(&fixture, &device, session, key, &test);
    assert_bad_messages_look_alike(session, key, CUSTODY_TOKEN, device.certificate);
    assert_int_equal(object_count(), before);
}

/* The same module, except that one call answers otherwise. */
static CK_FUNCTION_LIST other;

static CK_RV says_not_sensitive(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object,
                                CK_ATTRIBUTE_PTR rows, CK_ULONG count)
{
    CK_RV rv = token->f->C_GetAttributeValue(handle, object, rows, count);
    if (count == 1 && rows[0].type == CKA_SENSITIVE && rows[0].pValue != NULL)
        *(CK_BBOOL *)rows[0].pValue = CK_FALSE;
    return rv;
}

static CK_RV gives_the_value(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object,
                             CK_ATTRIBUTE_PTR rows, CK_ULONG count)
{
    if (count == 1 && rows[0].type == CKA_VALUE) {
        rows[0].ulValueLen = 24;
        return CKR_OK;
    }
    return token->f->C_GetAttributeValue(handle, object, rows, count);
}

static CK_RV cannot_wrap(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism,
                         CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE wrapped, CK_BYTE_PTR out,
                         CK_ULONG_PTR len)
{
    if (mechanism->mechanism == CKM_AES_CBC_PAD)
        return CKR_MECHANISM_INVALID;
    return token->f->C_WrapKey(handle, mechanism, wrapping, wrapped, out, len);
}

static CK_RV wraps_with_zeros(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism,
                              CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE wrapped, CK_BYTE_PTR out,
                              CK_ULONG_PTR len)
{
    CK_MECHANISM plain = *mechanism;
    if (plain.mechanism == CKM_AES_CBC_PAD)
        plain.mechanism = CKM_AES_CBC;
    return token->f->C_WrapKey(handle, &plain, wrapping, wrapped, out, len);
}

static CK_RV refuses_extractable(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism,
                                 CK_OBJECT_HANDLE unwrapping, CK_BYTE_PTR wrapped, CK_ULONG len,
                                 CK_ATTRIBUTE_PTR rows, CK_ULONG count, CK_OBJECT_HANDLE_PTR out)
{
    for (CK_ULONG i = 0; i < count; i++) {
        if (rows[i].type == CKA_EXTRACTABLE)
            return CKR_ATTRIBUTE_READ_ONLY;
    }
    return token->f->C_UnwrapKey(handle, mechanism, unwrapping, wrapped, len, rows, count, out);
}

static CK_RV cannot_derive(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism,
                           CK_OBJECT_HANDLE base, CK_ATTRIBUTE_PTR rows, CK_ULONG count,
                           CK_OBJECT_HANDLE_PTR out)
{
    (void)handle;
    (void)mechanism;
    (void)base;
    (void)rows;
    (void)count;
    (void)out;
    return CKR_MECHANISM_INVALID;
}

static void probe_through(struct key_finding *finding)
{
    struct error err = ERROR_INIT;
    session->f = &other;
    bool ok = token_probe(session, key, finding, &err);
    session->f = token->f;
    if (!ok)
        fail_msg("%s", err.text);
}

static void forget(void)
{
    memset(key->ways, 0, sizeof key->ways);
}

static void a_token_that_would_hand_out_the_secret_is_not_custody_token(void **state)
{
    (void)state;
    struct key_finding finding;
    other = *token->f;
    other.C_GetAttributeValue = says_not_sensitive;
    probe_through(&finding);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_not_equal(finding.paddings[i].custody, CUSTODY_TOKEN);
        assert_string_equal(finding.paddings[i].call, "C_GetAttributeValue(CKA_SENSITIVE)");
    }
    other.C_GetAttributeValue = gives_the_value;
    probe_through(&finding);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_not_equal(finding.paddings[i].custody, CUSTODY_TOKEN);
        assert_string_equal(finding.paddings[i].call, "C_GetAttributeValue(CKA_VALUE)");
    }
    forget();
}

static void a_secret_that_becomes_readable_later_is_refused_in_that_job(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    EVP_PKEY *pkey = NULL;
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    const struct fixture_case test = {.padding = OAEP_SHA256, .custody = CUSTODY_TOKEN, .len = 9};
    assert_reseals(&fixture, &device, session, key, &test); /* learned: custody token */
    MUST(sealing_key_public(session, key, &pkey, &err), err);
    fixture_seal(pkey, OAEP_SHA256, "Secret-4711", 11, &sealed);
    const struct reseal_job job = {.padding = OAEP_SHA256,
                                   .custody = CUSTODY_TOKEN,
                                   .sealed = buf_bytes(&sealed),
                                   .recipient = device.certificate};
    other = *token->f;
    other.C_GetAttributeValue = gives_the_value;
    session->f = &other;
    bool ok = token_reseal(session, key, &job, &der, &err);
    session->f = token->f;
    assert_false(ok);
    assert_int_equal(err.kind, FAIL_POLICY);
    assert_int_equal(der.len, 0);
    buf_free(&sealed);
    buf_free(&der);
    EVP_PKEY_free(pkey);
}

/* OAEP with one hash in custody token only, with another in custody host only. */
static CK_RV unwraps_sha256_only(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism,
                                 CK_OBJECT_HANDLE unwrapping, CK_BYTE_PTR wrapped, CK_ULONG len,
                                 CK_ATTRIBUTE_PTR rows, CK_ULONG count, CK_OBJECT_HANDLE_PTR made)
{
    const CK_RSA_PKCS_OAEP_PARAMS *params = mechanism->pParameter;
    return params->hashAlg != CKM_SHA256 ? CKR_MECHANISM_PARAM_INVALID
                                         : token->f->C_UnwrapKey(handle, mechanism, unwrapping,
                                                                 wrapped, len, rows, count, made);
}

static CK_RV decrypts_sha512_only(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism,
                                  CK_OBJECT_HANDLE with)
{
    const CK_RSA_PKCS_OAEP_PARAMS *params = mechanism->pParameter;
    return params == NULL || params->hashAlg != CKM_SHA512
               ? CKR_MECHANISM_PARAM_INVALID
               : token->f->C_DecryptInit(handle, mechanism, with);
}

static CK_RV agrees_on_no_key(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism,
                              CK_OBJECT_HANDLE base, CK_ATTRIBUTE_PTR rows, CK_ULONG count,
                              CK_OBJECT_HANDLE_PTR made)
{
    return mechanism->mechanism == CKM_ECDH1_DERIVE
               ? CKR_MECHANISM_INVALID
               : token->f->C_DeriveKey(handle, mechanism, base, rows, count, made);
}

/* What custody token cannot do, custody host does, padding by padding and form by form; and whether
 * the key may is the only other question. */
static void custody_host_is_there_for_what_custody_token_lacks(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        bool unwrap, decrypt, agrees;
        enum custody rsa[PADDING_COUNT], ec[PADDING_COUNT], others[PADDING_COUNT];
    } rows[] = {
#define N CUSTODY_UNUSABLE
#define H CUSTODY_HOST
#define T CUSTODY_TOKEN
        {"both", true, true, true, {T, T, T}, {T, T, T}, {H, H, H}},
        {"unwraps", true, false, true, {T, T, T}, {T, T, T}, {N, N, N}},
        {"decrypts", false, true, true, {H, H, H}, {H, H, H}, {H, H, H}},
        {"both", true, true, false, {T, N, H}, {N, N, H}, {N, N, H}},
        {"unwraps", true, false, false, {T, N, N}, {N, N, N}, {N, N, N}},
        {"decrypts", false, true, false, {N, N, H}, {N, N, H}, {N, N, H}},
#undef N
#undef H
#undef T
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = ERROR_INIT;
        struct sealing_key *foreign = NULL;
        struct key_finding finding;
        if (i < 3)
            fixture_foreign_key(session, rows[i].label, rows[i].unwrap, rows[i].decrypt);
        MUST(sealing_key_find(session, rows[i].label, &foreign, &err), err);
        other = *token->f;
        if (!rows[i].agrees) { /* and lacks hashes */
            other.C_UnwrapKey = unwraps_sha256_only;
            other.C_DecryptInit = decrypts_sha512_only;
            other.C_DeriveKey = agrees_on_no_key;
        }
        session->f = &other;
        bool ok = token_probe(session, foreign, &finding, &err);
        session->f = token->f;
        MUST(ok, err);
        for (size_t j = 0; j < PADDING_COUNT; j++) {
            const struct padding_finding *found = &finding.paddings[j];
            assert_int_equal(found->forms[CMS_RSA_PKCS1].custody, rows[i].rsa[j]);
            assert_int_equal(found->forms[CMS_RSA_OAEP_SHA256].custody, rows[i].rsa[j]);
            assert_int_equal(found->forms[CMS_EC_P256].custody, rows[i].ec[j]);
            assert_int_equal(found->forms[CMS_EC_P384].custody, rows[i].ec[j]);
            assert_int_equal(found->others.custody, rows[i].others[j]);
            assert_int_equal(found->others.call[0] == '\0', rows[i].others[j] == CUSTODY_HOST);
        }
        sealing_key_free(&foreign);
    }
}

static void the_probe_names_the_call_that_fails(void **state)
{
    (void)state;
    struct key_finding finding;
    other = *token->f;
    other.C_WrapKey = cannot_wrap;
    probe_through(&finding);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].custody, CUSTODY_UNUSABLE); /* no DECRYPT */
        assert_string_equal(finding.paddings[i].call, "C_WrapKey(CKM_AES_CBC_PAD)");
        assert_string_equal(finding.paddings[i].ck_rv, "CKR_MECHANISM_INVALID");
        assert_non_null(strstr(finding.paddings[i].quirk, "host: "));
    }
    forget();
}

static void a_token_that_corrupts_the_password_is_found_out(void **state)
{
    (void)state;
    struct key_finding finding;
    other = *token->f;
    other.C_WrapKey = wraps_with_zeros;
    probe_through(&finding);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].custody, CUSTODY_UNUSABLE);
        assert_string_equal(finding.paddings[i].call, "comparison");
    }
    forget();
}

static void a_token_that_wants_another_template_gets_it(void **state)
{
    (void)state;
    struct key_finding finding;
    other = *token->f;
    other.C_UnwrapKey = refuses_extractable;
    probe_through(&finding);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].custody, CUSTODY_TOKEN);
        assert_non_null(strstr(finding.paddings[i].quirk, "CKA_EXTRACTABLE"));
    }
    forget();
}

static void a_token_without_concatenation_says_so_before_it_unwraps(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_finding finding;
    struct buf bad = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    other = *token->f;
    other.C_DeriveKey = cannot_derive;
    probe_through(&finding);
    assert_int_equal(finding.paddings[0].custody, CUSTODY_TOKEN);
    assert_non_null(strstr(finding.paddings[0].quirk, "no text"));
    memset(buf_extend(&bad, 256), 7, 256);
    const struct reseal_job job = {.padding = OAEP_SHA256,
                                   .custody = CUSTODY_TOKEN,
                                   .sealed = buf_bytes(&bad),
                                   .prefix = {(const uint8_t *)"<", 1},
                                   .recipient = device.certificate};
    session->f = &other;
    bool ok = token_reseal(session, key, &job, &der, &err);
    session->f = token->f;
    assert_false(ok);
    assert_int_equal(err.kind, FAIL_UNSUPPORTED);
    buf_free(&bad);
    buf_free(&der);
    forget();
}

/* Some tokens answer a bad message as if they were broken. */
static CK_RV breaks_on_bad_messages(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism,
                                    CK_OBJECT_HANDLE unwrapping, CK_BYTE_PTR wrapped, CK_ULONG len,
                                    CK_ATTRIBUTE_PTR rows, CK_ULONG count, CK_OBJECT_HANDLE_PTR out)
{
    CK_RV rv = token->f->C_UnwrapKey(handle, mechanism, unwrapping, wrapped, len, rows, count, out);
    return rv == CKR_OK ? rv : CKR_DEVICE_ERROR;
}

static void a_device_error_that_only_means_a_bad_message_stays_uniform(void **state)
{
    (void)state;
    struct key_finding finding;
    other = *token->f;
    other.C_UnwrapKey = breaks_on_bad_messages;
    probe_through(&finding);
    assert_int_equal(finding.paddings[0].custody, CUSTODY_TOKEN);
    session->f = &other;
    assert_bad_messages_look_alike(session, key, CUSTODY_TOKEN, device.certificate);
    session->f = token->f;
    forget();
}

static void attributes_read_back_and_the_key_stays_in_the_token(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_plan plan = {.label = "born", .bits = 2048, .custody = CUSTODY_TOKEN};
    struct key_birth birth;
    struct sealing_key *born = NULL;
    char ck_rv[CK_RV_TEXT];
    MUST(key_generate(session, &plan, &birth, &born, &err), err);
    assert_true(birth.accepted);
    assert_true(birth.check_count > 20);
    for (size_t i = 0; i < birth.check_count; i++) {
        assert_true(birth.checks[i].ok);
        assert_true(birth.checks[i].found[0] != '\0');
    }
    MUST(key_is_unreadable(session, born, ck_rv, &err), err);
    assert_string_equal(ck_rv, "CKR_ATTRIBUTE_SENSITIVE");
    MUST(key_destroy(session, born, &err), err);
    sealing_key_free(&born);
    MUST(key_label_free(session, "born", &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_finds_custody_token_for_every_padding),
        cmocka_unit_test(what_the_device_opens_is_what_was_sealed),
        cmocka_unit_test(a_bound_of_the_module_on_the_length_is_found_and_named),
        cmocka_unit_test(devices_with_longer_keys_are_served),
        cmocka_unit_test(text_around_the_password_is_joined_inside_the_token),
        cmocka_unit_test(a_token_that_opens_by_itself_is_used_for_custody_host_too),
        cmocka_unit_test(bad_messages_cannot_be_told_apart),
        cmocka_unit_test(elliptic_curve_devices_are_served_inside_the_token),
        cmocka_unit_test(a_compressed_point_in_a_certificate_is_understood),
        cmocka_unit_test(the_largest_content_reaches_the_longest_device_key),
        cmocka_unit_test(a_device_whose_curve_no_token_is_asked_for_is_refused_in_custody_token),
        cmocka_unit_test(no_object_is_left_behind_by_good_or_bad_messages),
        cmocka_unit_test(a_token_that_would_hand_out_the_secret_is_not_custody_token),
        cmocka_unit_test(a_secret_that_becomes_readable_later_is_refused_in_that_job),
        cmocka_unit_test(custody_host_is_there_for_what_custody_token_lacks),
        cmocka_unit_test(the_probe_names_the_call_that_fails),
        cmocka_unit_test(a_token_that_corrupts_the_password_is_found_out),
        cmocka_unit_test(a_token_that_wants_another_template_gets_it),
        cmocka_unit_test(a_token_without_concatenation_says_so_before_it_unwraps),
        cmocka_unit_test(a_device_error_that_only_means_a_bad_message_stays_uniform),
        cmocka_unit_test(attributes_read_back_and_the_key_stays_in_the_token),
    };
    return cmocka_run_group_tests(tests, start, end);
}
