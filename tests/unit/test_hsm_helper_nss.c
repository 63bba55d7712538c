/* SPDX-License-Identifier: Apache-2.0 */
/* The real reseal-hsm with NSS softokn: custody token, on a database without a password. */
#include <dlfcn.h>
#include <link.h>
#include "hsm_fixture_run.h"

#define KEY_NAME "sealing-1"

static EVP_PKEY *sealing;

/* The configuration wants a path; the loader knows it. */
static void resolve_module(struct token_address *address)
{
    struct link_map *map = NULL;
    void *library = dlopen(address->module, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    *(void **)&map = library; /* glibc: the handle is the link map */
    snprintf(address->module, sizeof address->module, "%s", map->l_name);
    assert_int_equal(address->module[0], '/');
}

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token *token = NULL;
    struct session *session = NULL;
    char path[96];
    fixture_nss(&fixture, "");
    resolve_module(&fixture.address);
    setting_make(&fixture, &setting);
    setting.log_level = "debug";
    fixture_path(&fixture, "pin", path);
    fixture_write(path, "");
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    struct sealing_key *key = fixture_key(session, KEY_NAME, 2048, CUSTODY_TOKEN);
    MUST(sealing_key_public(session, key, &sealing, &err), err);
    sealing_key_free(&key);
    session_close(&session);
    token_close(&token);
    return 0;
}

static int end(void **state)
{
    (void)state;
    EVP_PKEY_free(sealing);
    setting_free(&setting);
    fixture_end(&fixture);
    return 0;
}

static void two_workers_share_the_work(void)
{
    enum {
        JOBS = 30
    };
    struct error err = ERROR_INIT;
    struct run run;
    struct buf sealed = BUF_INIT(1024), log = BUF_INIT(1 << 20);
    run_ready(&run);
    for (size_t i = 0; i < PADDING_COUNT; i++)
        assert_int_equal(hello.report.keys[0].paddings[i].custody, CUSTODY_TOKEN);
    assert_string_equal(hello.error.text, "");
    for (uint32_t i = 0; i < JOBS; i++) {
        struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, i, &sealed);
        peer_ask(run.channel, i, &message);
    }
    for (uint32_t i = 0; i < JOBS; i++) {
        struct frame frame;
        struct resealed_message message;
        uint8_t expected[64];
        assert_true(peer_next(run.channel, &frame));
        assert_int_equal(frame.type, HELPER_RESEALED);
        MUST(resealed_decode(frame.body, &message, &err), err);
        assert_int_equal(message.custody, CUSTODY_TOKEN);
        fixture_password(frame.number, expected);
        assert_device_opens(&fixture, &setting.device, message.der,
                            (struct bytes){expected, frame.number});
    }
    assert_int_equal(run_end(&run), 0);
    log_holds_no_secret(&run);
    MUST(file_read(run.log_path, &log, &err), err);
    assert_null(strstr(buf_text(&log), "logged in again"));
    buf_free(&sealed);
    buf_free(&log);
}

static void custody_token_is_reached_by_default_with_an_empty_pin(void **state)
{
    (void)state;
    setting_config(&setting, "pin = file:pin\nkey = " KEY_NAME, "");
    two_workers_share_the_work();
}

static void a_token_that_needs_no_login_needs_no_pin(void **state)
{
    (void)state;
    setting_config(&setting, "key = " KEY_NAME, "");
    two_workers_share_the_work();
}

static void text_around_the_password_is_put_by_the_token(void **state)
{
    (void)state;
    static const char prefix[] = "<string><![CDATA[", suffix[] = "]]></string>";
    struct error err = ERROR_INIT;
    struct run run;
    struct frame frame;
    struct resealed_message answer;
    struct buf sealed = BUF_INIT(1024), expected = BUF_INIT(1024);
    setting_config(&setting, "pin = file:pin\nkey = " KEY_NAME, "key_transport = oaepSha256");
    run_ready(&run);
    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 18, &sealed);
    message.transport = KEY_TRANSPORT_OAEP_SHA256;
    message.prefix = (struct bytes){(const uint8_t *)prefix, sizeof prefix - 1};
    message.suffix = (struct bytes){(const uint8_t *)suffix, sizeof suffix - 1};
    peer_ask(run.channel, 1, &message);
    assert_true(peer_next(run.channel, &frame));
    assert_int_equal(frame.type, HELPER_RESEALED);
    MUST(resealed_decode(frame.body, &answer, &err), err);
    buf_put_text(&expected, prefix);
    fixture_password(18, buf_extend(&expected, 18));
    buf_put_text(&expected, suffix);
    assert_device_opens(&fixture, &setting.device, answer.der, buf_bytes(&expected));
    assert_int_equal(run_end(&run), 0);
    buf_free(&sealed);
    buf_free(&expected);
}

static X509 *issue(EVP_PKEY *device)
{
    const struct pki_wish wish = {.name = "other device",
                                  .key = device,
                                  .issuer = setting.ca,
                                  .issuer_key = setting.ca_key,
                                  .from_s = -60,
                                  .until_s = 86400,
                                  .serial = 8};
    return pki_certificate(&wish);
}

/* The custody of the answer to a device with that key; unusable: it was refused. */
static enum custody custody_for(struct run *run, EVP_PKEY *public_half, const char *key_name,
                                EVP_PKEY *device)
{
    static uint32_t number;
    struct error err = ERROR_INIT, failure = ERROR_INIT;
    struct frame frame;
    struct resealed_message answer = {.custody = CUSTODY_UNUSABLE};
    struct secret *opened = NULL;
    uint8_t expected[18];
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(8192);
    struct reseal_message message = peer_job(&setting, public_half, key_name, 18, &sealed);
    X509 *certificate = issue(device);
    pki_der(certificate, &der);
    message.device_certificate = buf_bytes(&der);
    peer_ask(run->channel, ++number, &message);
    assert_true(peer_next(run->channel, &frame));
    if (frame.type == HELPER_RESEALED) {
        MUST(resealed_decode(frame.body, &answer, &err), err);
        MUST(cms_decrypt(answer.der, device, certificate, &opened, &err), err);
        fixture_password(18, expected);
        assert_int_equal(secret_len(opened), 18);
        assert_memory_equal(secret_data(opened), expected, 18);
        secret_free(&opened);
    } else {
        MUST(failed_decode(frame.body, &failure, &err), err);
        assert_int_equal(failure.kind, FAIL_UNSUPPORTED);
    }
    X509_free(certificate);
    buf_free(&sealed);
    buf_free(&der);
    return answer.custody;
}

static void a_device_key_that_no_token_wraps_for_gets_custody_host_where_that_is_accepted(
    void **state)
{
    (void)state;
    static const struct {
        const char *label, *require;
        bool unwrap, decrypt;
        enum custody rsa, p521;
    } rows[] = {
        {"both", "require = host", true, true, CUSTODY_TOKEN, CUSTODY_HOST},
        {"both", "require = token", true, true, CUSTODY_TOKEN, CUSTODY_UNUSABLE},
        {"unwraps", "require = host", true, false, CUSTODY_TOKEN, CUSTODY_UNUSABLE},
        {"decrypts", "require = host", false, true, CUSTODY_HOST, CUSTODY_HOST},
    };
    EVP_PKEY *rsa = EVP_RSA_gen(2048), *p521 = EVP_EC_gen("P-521");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct run run;
        struct error err = ERROR_INIT;
        struct token *token = NULL;
        struct session *session = NULL;
        struct sealing_key *key = NULL;
        EVP_PKEY *public_half = NULL;
        char lines[96];
        MUST(token_open(&fixture.address, &token, &err), err);
        MUST(token_login(token, fixture.pin, &err), err);
        MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
        if (i == 0 || strcmp(rows[i].label, rows[i - 1].label) != 0)
            fixture_foreign_key(session, rows[i].label, rows[i].unwrap, rows[i].decrypt);
        MUST(sealing_key_find(session, rows[i].label, &key, &err), err);
        MUST(sealing_key_public(session, key, &public_half, &err), err);
        sealing_key_free(&key);
        session_close(&session);
        token_close(&token);
        snprintf(lines, sizeof lines, "pin = file:pin\nkey = %s", rows[i].label);
        setting_config(&setting, lines, rows[i].require);
        run_ready(&run);
        assert_int_equal(custody_for(&run, public_half, rows[i].label, rsa), rows[i].rsa);
        assert_int_equal(custody_for(&run, public_half, rows[i].label, p521), rows[i].p521);
        assert_int_equal(run_end(&run), 0);
        EVP_PKEY_free(public_half);
    }
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(p521);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(custody_token_is_reached_by_default_with_an_empty_pin),
        cmocka_unit_test(a_token_that_needs_no_login_needs_no_pin),
        cmocka_unit_test(text_around_the_password_is_put_by_the_token),
        cmocka_unit_test(
            a_device_key_that_no_token_wraps_for_gets_custody_host_where_that_is_accepted),
    };
    return cmocka_run_group_tests(tests, start, end);
}
