/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token helper when its token gets into trouble: the service runs in this process on a real
 * SoftHSM token, and single calls of the module are made to fail.
 */
#include "hsm_fixture_service.h"
#include "reseal/clock.h"

static int start(void **state)
{
    (void)state;
    service_fixture_start(fixture_softhsm, CUSTODY_HOST);
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_fixture_end();
    return 0;
}

/* The next `count` C_Decrypt are made, and answered with that; then more rules. */
static void fail_next(int count, const char *rv, const char *rules)
{
    char script[512];
    int len = snprintf(script, sizeof script, "C_Decrypt 1..%d after %s\n%s\n", count, rv, rules);
    assert_true(len > 0 && (size_t)len < sizeof script);
    fault_set(fault, script);
    fault->reset();
}

/* The login is lost in truth, and C_Login is answered with that. */
static void lose_login(const char *login_rv)
{
    char rule[128];
    snprintf(rule, sizeof rule, "C_Login * return %s", login_rv);
    fail_next(1, "CKR_USER_NOT_LOGGED_IN logout", rule);
}

/* -- promises -- */

static void a_job_whose_session_was_lost_is_done_again(void **state)
{
    (void)state;
    static const char *const lost[] = {"CKR_SESSION_HANDLE_INVALID", "CKR_SESSION_CLOSED",
                                       "CKR_DEVICE_REMOVED",         "CKR_TOKEN_NOT_PRESENT",
                                       "CKR_KEY_HANDLE_INVALID",     "CKR_OPERATION_ACTIVE"};
    struct run *run = run_start();
    for (uint32_t i = 0; i < ARRAY_LEN(lost); i++) {
        fail_next(1, lost[i], "");
        ask(run, i);
        peer_success(&setting, run->channel, i, 17, CUSTODY_HOST);
        assert_int_equal(fault->faults(), 1);
        assert_int_equal(fault->calls("C_Login"), 0); /* not lost with the session */
    }
    assert_int_equal(run_end(run, true), 0);
}

static void a_session_that_the_token_ended_is_not_closed_by_its_number(void **state)
{
    (void)state;
    static const struct {
        const char *rv;
        unsigned closes; /* of the session, and of the one that held the login */
    } rows[] = {
        {"CKR_KEY_HANDLE_INVALID", 1},
        {"CKR_DEVICE_ERROR", 1},
        {"CKR_USER_NOT_LOGGED_IN logout", 2},
        {"CKR_SESSION_HANDLE_INVALID", 0},
        {"CKR_SESSION_CLOSED", 0},
        {"CKR_DEVICE_REMOVED", 0},
        {"CKR_TOKEN_NOT_PRESENT", 0},
        {"CKR_TOKEN_NOT_RECOGNIZED", 0},
        {"CKR_SESSION_HANDLE_INVALID logout", 0},
        {"CKR_DEVICE_REMOVED logout", 0},
        {"CKR_SESSION_CLOSED close", 0},
        {"CKR_DEVICE_REMOVED close-all", 0},
    };
    /* One worker: a logout makes the handles of the others' keys stale. */
    setting_config(&setting, token_lines, "require = host\nworkers = 1");
    struct run *run = run_start();
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        fail_next(1, rows[i].rv, "");
        ask(run, i);
        peer_success(&setting, run->channel, i, 17, CUSTODY_HOST);
        assert_int_equal(fault->calls("C_CloseSession"), rows[i].closes);
    }
    assert_int_equal(run_end(run, true), 0);
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
}

static void a_job_is_done_again_once_and_not_for_ever(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct run *run = run_start();
    fail_next(1000, "CKR_DEVICE_ERROR", "");
    ask(run, 1);
    peer_failure(run->channel, 1, &failure);
    assert_int_equal(failure.kind, FAIL_TOKEN);
    assert_non_null(strstr(failure.text, "CKR_DEVICE_ERROR"));
    assert_int_equal(fault->faults(), 2);
    fault_set(fault, "");
    ask(run, 2);
    peer_success(&setting, run->channel, 2, 17, CUSTODY_HOST);
    assert_int_equal(run_end(run, true), 0);
}

static void a_lost_login_is_made_again_with_the_pin_once(void **state)
{
    (void)state;
    struct run *run = run_start();
    fail_next(1, "CKR_USER_NOT_LOGGED_IN logout", "");
    ask(run, 1);
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    assert_int_equal(fault->calls("C_Login"), 1);
    assert_int_equal(run_end(run, true), 0);
}

static void a_refused_pin_is_never_tried_again(void **state)
{
    (void)state;
    struct run *run = run_start();
    lose_login("CKR_PIN_INCORRECT");
    for (uint32_t i = 0; i < 10; i++) {
        struct error failure = ERROR_INIT;
        ask(run, i);
        peer_failure(run->channel, i, &failure);
        assert_int_equal(failure.kind, FAIL_PIN);
    }
    assert_int_equal(fault->calls("C_Login"), 1);
    assert_int_equal(run_end(run, true), 0);
}

static void a_login_that_fails_without_a_clear_reason_is_never_tried_again(void **state)
{
    (void)state;
    static const char *const unclear[] = {"CKR_FUNCTION_FAILED", "CKR_FUNCTION_REJECTED",
                                          "CKR_ARGUMENTS_BAD", "CKR_VENDOR_DEFINED+0x5", "0x7777"};
    for (size_t code = 0; code < ARRAY_LEN(unclear); code++) {
        struct run *run = run_start();
        lose_login(unclear[code]);
        for (uint32_t i = 0; i < 3; i++) {
            struct error failure = ERROR_INIT;
            ask(run, i);
            peer_failure(run->channel, i, &failure);
            assert_int_equal(failure.kind, FAIL_PIN);
            assert_int_equal(run->service.refusal.kind, FAIL_PIN);
        }
        assert_int_equal(fault->calls("C_Login"), 1);
        assert_int_equal(run_end(run, true), 0);
    }
}

static void a_login_that_fails_for_another_reason_waits_before_the_next_try(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct run *run = run_start();
    lose_login("CKR_DEVICE_ERROR");
    for (uint32_t i = 0; i < 5; i++) {
        ask(run, i);
        peer_failure(run->channel, i, &failure);
        assert_int_equal(failure.kind, FAIL_TOKEN);
    }
    assert_int_equal(fault->calls("C_Login"), 1);
    assert_int_equal(run_end(run, true), 0);
}

/* Tells the rule, and hears what counts. */
static enum login_rule rule_logins(struct run *run, enum login_rule rule)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct login_message message = {.rule = rule};
    if (rule == LOGIN_NEVER)
        error_set(&message.why, FAIL_PIN, "refused to another helper");
    MUST(login_encode(&message, &body, &err), err);
    peer_send(run->channel, 0, HELPER_LOGIN, buf_bytes(&body));
    buf_free(&body);
    assert_true(peer_next(run->channel, &frame));
    assert_int_equal(frame.type, HELPER_LOGIN_IS);
    MUST(login_decode(frame.body, &message, &err), err);
    return message.rule;
}

static void a_pin_that_was_refused_to_another_helper_is_not_tried_here(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct run *run = run_start();
    assert_int_equal(rule_logins(run, LOGIN_NEVER), LOGIN_NEVER);
    ask(run, 1); /* the login lives */
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    fail_next(1, "CKR_USER_NOT_LOGGED_IN logout", "");
    for (uint32_t i = 2; i < 5; i++) {
        ask(run, i);
        peer_failure(run->channel, i, &failure);
        assert_int_equal(failure.kind, FAIL_PIN);
        assert_string_equal(failure.text, "refused to another helper");
    }
    assert_int_equal(rule_logins(run, LOGIN_FREE), LOGIN_NEVER); /* for good */
    assert_int_equal(fault->calls("C_Login"), 0);
    assert_int_equal(run_end(run, true), 0);
}

static void a_lost_login_waits_while_another_helper_tries_the_pin(void **state)
{
    (void)state;
    struct run *run = run_start();
    assert_int_equal(rule_logins(run, LOGIN_HELD), LOGIN_HELD);
    fail_next(1, "CKR_USER_NOT_LOGGED_IN logout", "");
    ask(run, 1);
    while (fault->calls("C_GetSessionInfo") == 0) /* it has seen that the login is lost */
        clock_sleep_ms(1);
    assert_int_equal(fault->calls("C_Login"), 0);
    assert_int_equal(rule_logins(run, LOGIN_FREE), LOGIN_FREE);
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    assert_int_equal(fault->calls("C_Login"), 1);
    assert_int_equal(run_end(run, true), 0);
}

static void a_wait_for_another_helper_ends_with_the_connector(void **state)
{
    (void)state;
    struct run *run = run_start();
    assert_int_equal(rule_logins(run, LOGIN_HELD), LOGIN_HELD);
    fail_next(1, "CKR_USER_NOT_LOGGED_IN logout", "");
    ask(run, 1);
    while (fault->calls("C_GetSessionInfo") == 0)
        clock_sleep_ms(1);
    assert_int_equal(run_end(run, true), 0);
    assert_int_equal(fault->calls("C_Login"), 0);
}

static void a_module_that_is_lost_ends_the_helper_with_status_4(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct run *run = run_start();
    fail_next(1, "CKR_CRYPTOKI_NOT_INITIALIZED", "");
    ask(run, 1);
    peer_failure(run->channel, 1, &failure);
    assert_int_equal(failure.kind, FAIL_TOKEN);
    assert_int_equal(run_end(run, false), 4);
}

static void a_flood_of_bad_messages_does_not_end_the_helper(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024), bad = BUF_INIT(1024);
    struct run *run = run_start();
    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 1, &sealed);
    memset(buf_extend(&bad, 256), 5, 256);
    message.sealed = buf_bytes(&bad);
    for (uint32_t i = 0; i < 100; i++) {
        peer_ask(run->channel, i, &message);
        peer_failure(run->channel, i, &failure);
        assert_int_equal(failure.kind, FAIL_CRYPTO);
    }
    ask(run, 100);
    peer_success(&setting, run->channel, 100, 17, CUSTODY_HOST);
    assert_int_equal(run_end(run, true), 0);
    buf_free(&sealed);
    buf_free(&bad);
}

static void a_token_that_fails_with_everything_is_not_mistaken_for_bad_messages(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct run *run = run_start();
    fail_next(1000, "CKR_GENERAL_ERROR", ""); /* the answer of many tokens to a bad message, too */
    ask(run, 1);
    peer_failure(run->channel, 1, &failure);
    assert_int_equal(failure.kind, FAIL_TOKEN); /* worth another try, not final */
    assert_int_equal(run_end(run, false), 4);
}

static void a_token_with_few_sessions_is_used_with_these(void **state)
{
    (void)state;
    /* One at the start, one for the login, and one for one of the two workers. */
    struct run *run = run_try("sessions-max 3");
    assert_true(hello.ready);
    assert_int_equal(hello.sessions, 1);
    ask(run, 1);
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    assert_int_equal(run_end(run, true), 0);
}

static void a_token_without_sessions_is_said_to_be_so(void **state)
{
    (void)state;
    struct run *run = run_try("sessions-max 2");
    assert_false(hello.ready);
    assert_int_equal(hello.error.kind, FAIL_TOKEN);
    assert_non_null(strstr(hello.error.text, "CKR_SESSION_COUNT"));
    assert_int_equal(run_end(run, false), 4);
}

/* Both halves of the keys with that label. */
static void destroy_keys(struct session *session, const char *label)
{
    struct error err = ERROR_INIT;
    CK_OBJECT_HANDLE found[8];
    size_t count = 0;
    struct template template = {.count = 0};
    template_bytes(&template, CKA_LABEL, (struct bytes){(const uint8_t *)label, strlen(label)});
    MUST(objects_find(session, &template, found, ARRAY_LEN(found), &count, &err), err);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(session->f->C_DestroyObject(session->handle, found[i]), CKR_OK);
}

static void ask_for(struct run *run, uint32_t number, const char *label, EVP_PKEY *public_half)
{
    struct buf sealed = BUF_INIT(1024);
    struct reseal_message message = peer_job(&setting, public_half, label, 17, &sealed);
    peer_ask(run->channel, number, &message);
    buf_free(&sealed);
}

static void a_key_that_is_made_anew_under_its_label_is_not_served_as_the_old_one(void **state)
{
    (void)state;
    struct error err = ERROR_INIT, failure = ERROR_INIT;
    struct token *token = NULL;
    struct session *session = NULL;
    EVP_PKEY *old = NULL;
    setting_config(&setting, "pin = file:pin\nkey = " KEY_NAME ", renewed",
                   "require = host\nworkers = 2");
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    struct sealing_key *key = fixture_key(session, "renewed", 2048, CUSTODY_HOST);
    MUST(sealing_key_public(session, key, &old, &err), err);
    sealing_key_free(&key);
    session_close(&session);
    token_close(&token);
    struct run *run = run_start();
    ask_for(run, 1, "renewed", old);
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    MUST(session_open(run->service.token, SESSION_READ_WRITE, &session, &err), err);
    destroy_keys(session, "renewed");
    for (uint32_t i = 2; i < 6; i += 2) {
        ask_for(run, i, "renewed", old);
        peer_failure(run->channel, i, &failure);
        assert_int_equal(failure.kind, FAIL_NOT_FOUND);
        assert_non_null(strstr(failure.text, "\"renewed\""));
        ask(run, i + 1); /* no other key suffers from it */
        peer_success(&setting, run->channel, i + 1, 17, CUSTODY_HOST);
    }
    key = fixture_key(session, "renewed", 2048, CUSTODY_HOST);
    sealing_key_free(&key);
    session_close(&session);
    ask_for(run, 6, "renewed", old);
    peer_failure(run->channel, 6, &failure);
    assert_int_equal(failure.kind, FAIL_TOKEN); /* not final: the next helper knows the new key */
    assert_non_null(strstr(failure.text, "another one than when the token helper started"));
    assert_true(failure.hint[0] != '\0');
    assert_int_equal(run_end(run, false), 4);
    EVP_PKEY_free(old);
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
}

static void a_good_message_is_done_when_the_token_recovers(void **state)
{
    (void)state;
    struct run *run = run_start();
    fail_next(2, "CKR_GENERAL_ERROR",
              ""); /* the message, and the secret that should have shown why */
    ask(run, 1);
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    assert_int_equal(run_end(run, true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_whose_session_was_lost_is_done_again),
        cmocka_unit_test(a_session_that_the_token_ended_is_not_closed_by_its_number),
        cmocka_unit_test(a_job_is_done_again_once_and_not_for_ever),
        cmocka_unit_test(a_lost_login_is_made_again_with_the_pin_once),
        cmocka_unit_test(a_refused_pin_is_never_tried_again),
        cmocka_unit_test(a_login_that_fails_without_a_clear_reason_is_never_tried_again),
        cmocka_unit_test(a_login_that_fails_for_another_reason_waits_before_the_next_try),
        cmocka_unit_test(a_pin_that_was_refused_to_another_helper_is_not_tried_here),
        cmocka_unit_test(a_lost_login_waits_while_another_helper_tries_the_pin),
        cmocka_unit_test(a_wait_for_another_helper_ends_with_the_connector),
        cmocka_unit_test(a_module_that_is_lost_ends_the_helper_with_status_4),
        cmocka_unit_test(a_flood_of_bad_messages_does_not_end_the_helper),
        cmocka_unit_test(a_token_that_fails_with_everything_is_not_mistaken_for_bad_messages),
        cmocka_unit_test(a_token_with_few_sessions_is_used_with_these),
        cmocka_unit_test(a_token_without_sessions_is_said_to_be_so),
        cmocka_unit_test(a_key_that_is_made_anew_under_its_label_is_not_served_as_the_old_one),
        cmocka_unit_test(a_good_message_is_done_when_the_token_recovers),
    };
    log_open("test", LOG_AS_JSON, LEVEL_ERROR);
    return cmocka_run_group_tests(tests, start, end);
}
