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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(custody_token_is_reached_by_default_with_an_empty_pin),
        cmocka_unit_test(a_token_that_needs_no_login_needs_no_pin),
        cmocka_unit_test(text_around_the_password_is_put_by_the_token),
    };
    return cmocka_run_group_tests(tests, start, end);
}
