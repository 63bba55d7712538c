/* SPDX-License-Identifier: Apache-2.0 */
/* openCryptoki's soft token: it does every call of custody token, and then lets the secret be read;
 * so custody host is what it gives. */
#include "hsm/custody.h"
#include "hsm_fixture_messages.h"
#include "hsm_fixture_opencryptoki.h"

static struct fixture fixture;
static struct token *token;
static struct session *session;
static struct fixture_device device;
static struct sealing_key *key;  /* RSA-2048 for custody host */
static struct sealing_key *both; /* RSA-2048 that may unwrap and decrypt */

/* A key that a ceremony does not make: nothing keeps the token from either custody but itself. */
static struct sealing_key *make_key_for_both(void)
{
    struct error err = ERROR_INIT;
    static const uint8_t exponent[] = {1, 0, 1};
    static const char label[] = "both-2048";
    const struct bytes name = {(const uint8_t *)label, strlen(label)};
    struct template public_half = {.count = 0}, private_half = {.count = 0};
    template_number(&public_half, CKA_MODULUS_BITS, 2048);
    template_bytes(&public_half, CKA_PUBLIC_EXPONENT, (struct bytes){exponent, sizeof exponent});
    template_bytes(&public_half, CKA_LABEL, name);
    template_bytes(&private_half, CKA_LABEL, name);
    template_flag(&private_half, CKA_SENSITIVE, true);
    template_flag(&private_half, CKA_EXTRACTABLE, false);
    template_flag(&private_half, CKA_UNWRAP, true);
    template_flag(&private_half, CKA_DECRYPT, true);
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_OBJECT_HANDLE handles[2];
    struct sealing_key *made = NULL;
    assert_int_equal(session->f->C_GenerateKeyPair(session->handle, &mechanism, public_half.rows,
                                                   public_half.count, private_half.rows,
                                                   private_half.count, &handles[0], &handles[1]),
                     CKR_OK);
    MUST(sealing_key_from_handles(session, handles[1], handles[0], &made, &err), err);
    return made;
}

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    fixture_opencryptoki(&fixture);
    fixture_device_make(&fixture, EVP_RSA_gen(2048), &device);
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    key = fixture_key(session, "host-2048", 2048, CUSTODY_HOST);
    both = make_key_for_both();
    return 0;
}

static int end(void **state)
{
    (void)state;
    sealing_key_free(&key);
    sealing_key_free(&both);
    session_close(&session);
    token_close(&token);
    fixture_device_free(&device);
    fixture_end(&fixture);
    return 0;
}

/* The fact that decides, without any code of hsm/: what C_UnwrapKey has made can be read. */
static void an_unwrapped_secret_can_be_read_on_this_token(void **state)
{
    (void)state;
    struct buf sealed = BUF_INIT(1024);
    struct template template = {.count = 0};
    struct oaep_mechanism oaep;
    CK_OBJECT_HANDLE secret;
    char value[32];
    CK_BBOOL sensitive = CK_TRUE;
    CK_ATTRIBUTE rows[] = {{CKA_SENSITIVE, &sensitive, sizeof sensitive},
                           {CKA_VALUE, value, sizeof value}};
    fixture_seal(both->pkey, OAEP_SHA256, "Secret-4711", 11, &sealed);
    oaep_mechanism_fill(OAEP_SHA256, &oaep);
    template_number(&template, CKA_CLASS, CKO_SECRET_KEY);
    template_number(&template, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    template_flag(&template, CKA_TOKEN, false);
    template_flag(&template, CKA_PRIVATE, true);
    template_flag(&template, CKA_SENSITIVE, true);
    assert_int_equal(session->f->C_UnwrapKey(session->handle, &oaep.mechanism, both->private_half,
                                             sealed.data, sealed.len, template.rows, template.count,
                                             &secret),
                     CKR_OK);
    assert_int_equal(session->f->C_GetAttributeValue(session->handle, secret, rows, 2), CKR_OK);
    assert_int_equal(sensitive, CK_FALSE);
    assert_int_equal(rows[1].ulValueLen, 11);
    assert_memory_equal(value, "Secret-4711", 11);
    object_drop(session, &secret);
    buf_free(&sealed);
}

static void the_probe_says_host_and_that_the_secret_can_be_read(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_finding finding;
    MUST(token_probe(session, both, &finding, &err), err);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].custody, CUSTODY_HOST);
        assert_string_equal(finding.paddings[i].call, "C_GetAttributeValue(CKA_VALUE)");
        assert_string_equal(finding.paddings[i].ck_rv, "CKR_OK");
        assert_string_equal(finding.paddings[i].quirk,
                            "the token lets an unwrapped secret be read");
    }
}

static void custody_token_is_refused_and_never_replaced_by_host(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct sealing_key *const keys[] = {key, both};
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        fixture_seal(keys[i]->pkey, OAEP_SHA256, "Secret-4711", 11, &sealed);
        const struct reseal_job job = {.padding = OAEP_SHA256,
                                       .custody = CUSTODY_TOKEN,
                                       .sealed = buf_bytes(&sealed),
                                       .recipient = device.certificate};
        assert_false(token_reseal(session, keys[i], &job, &der, &err));
        assert_int_equal(err.kind, FAIL_UNSUPPORTED);
        assert_int_equal(der.len, 0);
    }
    buf_free(&sealed);
    buf_free(&der);
}

static void a_key_for_custody_token_is_refused_and_destroyed(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    const struct key_plan plan = {.label = "token-2048", .bits = 2048, .custody = CUSTODY_TOKEN};
    struct key_birth birth;
    struct key_finding finding;
    struct sealing_key *born = NULL;
    MUST(key_generate(session, &plan, &birth, &born, &err), err);
    MUST(token_probe(session, born, &finding, &err), err);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        assert_int_equal(finding.paddings[i].custody, CUSTODY_UNUSABLE);
        assert_string_equal(finding.paddings[i].call, "C_GetAttributeValue(CKA_VALUE)");
    }
    MUST(key_destroy(session, born, &err), err);
    sealing_key_free(&born);
    MUST(key_label_free(session, "token-2048", &err), err);
}

static void what_the_device_opens_is_what_was_sealed(void **state)
{
    (void)state;
    /* Longer keys come up in the end-to-end matrix as well. */
    static const int sizes[] = {2048, 3072, 4096};
    const size_t count = getenv("RESEAL_LONG") != NULL ? ARRAY_LEN(sizes) : 1;
    for (size_t i = 0; i < count; i++) {
        char label[32];
        snprintf(label, sizeof label, "matrix-%d", sizes[i]);
        struct sealing_key *made = fixture_key(session, label, sizes[i], CUSTODY_HOST);
        assert_reseals_all_lengths(&fixture, &device, session, made, CUSTODY_HOST, sizes[i],
                                   SIZE_MAX);
        sealing_key_free(&made);
    }
}

static void bad_messages_cannot_be_told_apart(void **state)
{
    (void)state;
    assert_bad_messages_look_alike(session, key, CUSTODY_HOST, device.certificate);
    const struct fixture_case test = {.padding = OAEP_SHA256, .custody = CUSTODY_HOST, .len = 9};
    assert_reseals(&fixture, &device, session, key, &test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unwrapped_secret_can_be_read_on_this_token),
        cmocka_unit_test(the_probe_says_host_and_that_the_secret_can_be_read),
        cmocka_unit_test(custody_token_is_refused_and_never_replaced_by_host),
        cmocka_unit_test(a_key_for_custody_token_is_refused_and_destroyed),
        cmocka_unit_test(what_the_device_opens_is_what_was_sealed),
        cmocka_unit_test(bad_messages_cannot_be_told_apart),
    };
    return cmocka_run_group_tests(tests, start, end);
}
