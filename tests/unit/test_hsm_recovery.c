/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token helper when its token gets into trouble: the service runs in this process on a real
 * SoftHSM token, and single calls of the module are made to fail.
 */
#include "hsm/service.h"
#include "reseal/log.h"
#include "hsm_fixture_peer.h"

#define KEY_NAME "sealing-1"

static struct fixture fixture;
static struct peer_setting setting;
static EVP_PKEY *sealing;

static const char token_lines[] = "pin = file:pin\nkey = " KEY_NAME;

/* -- the module, with calls that fail as told -- */

static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST faulty;
static atomic_int failures_left; /* of C_Decrypt */
static _Atomic CK_RV failure_rv;
static atomic_bool logs_out; /* the failure comes with a real logout */
static atomic_int logins;
static _Atomic CK_RV login_rv; /* CKR_OK: the real answer */

static CK_RV faulty_decrypt(CK_SESSION_HANDLE handle, CK_BYTE_PTR in, CK_ULONG in_len,
                            CK_BYTE_PTR out, CK_ULONG_PTR out_len)
{
    CK_RV rv = real->C_Decrypt(handle, in, in_len, out, out_len);
    if (atomic_load(&failures_left) <= 0 || atomic_fetch_sub(&failures_left, 1) <= 0)
        return rv;
    if (atomic_load(&logs_out))
        real->C_Logout(handle);
    return atomic_load(&failure_rv);
}

static CK_RV counted_login(CK_SESSION_HANDLE handle, CK_USER_TYPE type, CK_UTF8CHAR_PTR pin,
                           CK_ULONG len)
{
    atomic_fetch_add(&logins, 1);
    CK_RV rv = atomic_load(&login_rv);
    return rv != CKR_OK ? rv : real->C_Login(handle, type, pin, len);
}

static atomic_int closes;

static CK_RV counted_close(CK_SESSION_HANDLE handle)
{
    atomic_fetch_add(&closes, 1);
    return real->C_CloseSession(handle);
}

static atomic_int sessions_left;

static CK_RV scarce_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application,
                            CK_NOTIFY notify, CK_SESSION_HANDLE_PTR out)
{
    if (atomic_fetch_sub(&sessions_left, 1) <= 0)
        return CKR_SESSION_COUNT;
    return real->C_OpenSession(slot, flags, application, notify, out);
}

/* -- the service in a thread of this process -- */

struct run {
    struct token_service service;
    pthread_t thread;
    struct frame_channel *channel; /* our end */
    int status;
};

static struct hello_message hello;
static bool pin_tried; /* as the helper said before its hello */

static void *run_main(void *argument)
{
    struct run *run = argument;
    run->status = token_service_run(&run->service);
    return NULL;
}

static struct run *run_start_with(int sessions)
{
    struct error err = ERROR_INIT;
    int ends[2];
    struct run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    atomic_store(&failures_left, 0);
    atomic_store(&logs_out, false);
    atomic_store(&login_rv, CKR_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    MUST(frame_channel_new(ends[0], HELPER_BODY_MAX, &run->channel, &err), err);
    MUST(frame_channel_new(ends[1], HELPER_BODY_MAX, &run->service.channel, &err), err);
    pthread_mutex_init(&run->service.output, NULL);
    pthread_mutex_init(&run->service.login, NULL);
    token_service_start(&run->service, setting.config_path, NULL);
    if (!run->service.hello.ready)
        fail_msg("%s", run->service.hello.error.text);
    real = run->service.token->f;
    faulty = *real;
    faulty.C_Decrypt = faulty_decrypt;
    faulty.C_Login = counted_login;
    faulty.C_OpenSession = scarce_session;
    faulty.C_CloseSession = counted_close;
    atomic_store(&sessions_left, sessions);
    run->service.token->f = &faulty;
    atomic_store(&logins, 0);
    assert_int_equal(pthread_create(&run->thread, NULL, run_main, run), 0);
    peer_hello(run->channel, &pin_tried, &hello);
    assert_true(pin_tried);
    return run;
}

static struct run *run_start(void)
{
    return run_start_with(1000);
}

/* The exit status of the service, after its socket has ended or it has given up. */
static int run_end(struct run *run, bool by_us)
{
    struct frame frame;
    if (by_us)
        assert_int_equal(shutdown(frame_channel_fd(run->channel), SHUT_WR), 0);
    assert_int_equal(pthread_join(run->thread, NULL), 0);
    alarm(0);
    int status = run->status;
    run->service.token->f = real;
    token_service_end(&run->service);
    while (peer_next(run->channel, &frame))
        ;
    frame_channel_free(&run->channel);
    pthread_mutex_destroy(&run->service.output);
    pthread_mutex_destroy(&run->service.login);
    free(run);
    return status;
}

static void fail_next(int count, CK_RV rv)
{
    atomic_store(&failure_rv, rv);
    atomic_store(&failures_left, count);
}

static void ask(struct run *run, uint32_t number)
{
    struct buf sealed = BUF_INIT(1024);
    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 17, &sealed);
    peer_ask(run->channel, number, &message);
    buf_free(&sealed);
}

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token *token = NULL;
    struct session *session = NULL;
    fixture_softhsm(&fixture);
    setting_make(&fixture, &setting);
    setting.log_level = "error";
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    struct sealing_key *key = fixture_key(session, KEY_NAME, 2048, CUSTODY_HOST);
    MUST(sealing_key_public(session, key, &sealing, &err), err);
    sealing_key_free(&key);
    session_close(&session);
    token_close(&token);
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
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

/* -- promises -- */

static void a_job_whose_session_was_lost_is_done_again(void **state)
{
    (void)state;
    static const CK_RV lost[] = {CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED,
                                 CKR_DEVICE_REMOVED,         CKR_TOKEN_NOT_PRESENT,
                                 CKR_KEY_HANDLE_INVALID,     CKR_OPERATION_ACTIVE};
    struct run *run = run_start();
    for (uint32_t i = 0; i < ARRAY_LEN(lost); i++) {
        fail_next(1, lost[i]);
        ask(run, i);
        peer_success(&setting, run->channel, i, 17, CUSTODY_HOST);
        assert_int_equal(atomic_load(&failures_left), 0);
    }
    assert_int_equal(atomic_load(&logins), 0); /* the login was not lost with the sessions */
    assert_int_equal(run_end(run, true), 0);
}

static void a_session_that_the_token_ended_is_not_closed_by_its_number(void **state)
{
    (void)state;
    static const struct {
        CK_RV rv;
        bool logged_out;
        int closes; /* of the session, and of the one that held the login */
    } rows[] = {
        {CKR_KEY_HANDLE_INVALID, false, 1},    {CKR_DEVICE_ERROR, false, 1},
        {CKR_USER_NOT_LOGGED_IN, true, 2},     {CKR_SESSION_HANDLE_INVALID, false, 0},
        {CKR_SESSION_CLOSED, false, 0},        {CKR_DEVICE_REMOVED, false, 0},
        {CKR_TOKEN_NOT_PRESENT, false, 0},     {CKR_TOKEN_NOT_RECOGNIZED, false, 0},
        {CKR_SESSION_HANDLE_INVALID, true, 0}, {CKR_DEVICE_REMOVED, true, 0},
    };
    /* One worker: a logout makes the handles of the others' keys stale. */
    setting_config(&setting, token_lines, "require = host\nworkers = 1");
    struct run *run = run_start();
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        atomic_store(&logs_out, rows[i].logged_out);
        atomic_store(&closes, 0);
        fail_next(1, rows[i].rv);
        ask(run, i);
        peer_success(&setting, run->channel, i, 17, CUSTODY_HOST);
        assert_int_equal(atomic_load(&closes), rows[i].closes);
    }
    assert_int_equal(run_end(run, true), 0);
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
}

static void a_job_is_done_again_once_and_not_for_ever(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct run *run = run_start();
    fail_next(1000, CKR_DEVICE_ERROR);
    ask(run, 1);
    peer_failure(run->channel, 1, &failure);
    assert_int_equal(failure.kind, FAIL_TOKEN);
    assert_non_null(strstr(failure.text, "CKR_DEVICE_ERROR"));
    assert_int_equal(atomic_load(&failures_left), 998);
    fail_next(0, CKR_OK);
    ask(run, 2);
    peer_success(&setting, run->channel, 2, 17, CUSTODY_HOST);
    assert_int_equal(run_end(run, true), 0);
}

static void a_lost_login_is_made_again_with_the_pin_once(void **state)
{
    (void)state;
    struct run *run = run_start();
    atomic_store(&logs_out, true);
    fail_next(1, CKR_USER_NOT_LOGGED_IN);
    ask(run, 1);
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    assert_int_equal(atomic_load(&logins), 1);
    assert_int_equal(run_end(run, true), 0);
}

static void a_refused_pin_is_never_tried_again(void **state)
{
    (void)state;
    struct run *run = run_start();
    atomic_store(&logs_out, true);
    atomic_store(&login_rv, CKR_PIN_INCORRECT);
    fail_next(1, CKR_USER_NOT_LOGGED_IN);
    for (uint32_t i = 0; i < 10; i++) {
        struct error failure = ERROR_INIT;
        ask(run, i);
        peer_failure(run->channel, i, &failure);
        assert_int_equal(failure.kind, FAIL_PIN);
    }
    assert_int_equal(atomic_load(&logins), 1);
    assert_int_equal(run_end(run, true), 0);
}

static void a_login_that_fails_without_a_clear_reason_is_never_tried_again(void **state)
{
    (void)state;
    static const CK_RV unclear[] = {CKR_FUNCTION_FAILED, CKR_FUNCTION_REJECTED, CKR_ARGUMENTS_BAD,
                                    CKR_VENDOR_DEFINED + 0x5, 0x7777};
    for (size_t code = 0; code < ARRAY_LEN(unclear); code++) {
        struct run *run = run_start();
        atomic_store(&logs_out, true);
        atomic_store(&login_rv, unclear[code]);
        fail_next(1, CKR_USER_NOT_LOGGED_IN);
        for (uint32_t i = 0; i < 3; i++) {
            struct error failure = ERROR_INIT;
            ask(run, i);
            peer_failure(run->channel, i, &failure);
            assert_int_equal(failure.kind, FAIL_PIN);
            assert_true(run->service.pin_refused);
        }
        assert_int_equal(atomic_load(&logins), 1);
        assert_int_equal(run_end(run, true), 0);
    }
}

static void a_login_that_fails_for_another_reason_waits_before_the_next_try(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct run *run = run_start();
    atomic_store(&logs_out, true);
    atomic_store(&login_rv, CKR_DEVICE_ERROR);
    fail_next(1, CKR_USER_NOT_LOGGED_IN);
    for (uint32_t i = 0; i < 5; i++) {
        ask(run, i);
        peer_failure(run->channel, i, &failure);
        assert_int_equal(failure.kind, FAIL_TOKEN);
    }
    assert_int_equal(atomic_load(&logins), 1);
    assert_int_equal(run_end(run, true), 0);
}

static void a_module_that_is_lost_ends_the_helper_with_status_4(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct run *run = run_start();
    fail_next(1, CKR_CRYPTOKI_NOT_INITIALIZED);
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
    fail_next(1000, CKR_GENERAL_ERROR); /* the answer of many tokens to a bad message, too */
    ask(run, 1);
    peer_failure(run->channel, 1, &failure);
    assert_int_equal(failure.kind, FAIL_TOKEN); /* worth another try, not final */
    assert_int_equal(run_end(run, false), 4);
}

static void a_token_with_few_sessions_is_used_with_these(void **state)
{
    (void)state;
    struct run *run = run_start_with(1); /* two are configured */
    assert_true(hello.ready);
    assert_int_equal(hello.sessions, 1);
    ask(run, 1);
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    assert_int_equal(run_end(run, true), 0);
}

static void a_token_without_sessions_is_said_to_be_so(void **state)
{
    (void)state;
    struct run *run = run_start_with(0);
    assert_false(hello.ready);
    assert_int_equal(hello.error.kind, FAIL_TOKEN);
    assert_non_null(strstr(hello.error.text, "CKR_SESSION_COUNT"));
    assert_int_equal(run_end(run, false), 4);
}

static void a_good_message_is_done_when_the_token_recovers(void **state)
{
    (void)state;
    struct run *run = run_start();
    fail_next(2, CKR_GENERAL_ERROR); /* the message, and the secret that should have shown why */
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
        cmocka_unit_test(a_module_that_is_lost_ends_the_helper_with_status_4),
        cmocka_unit_test(a_flood_of_bad_messages_does_not_end_the_helper),
        cmocka_unit_test(a_token_that_fails_with_everything_is_not_mistaken_for_bad_messages),
        cmocka_unit_test(a_token_with_few_sessions_is_used_with_these),
        cmocka_unit_test(a_token_without_sessions_is_said_to_be_so),
        cmocka_unit_test(a_good_message_is_done_when_the_token_recovers),
    };
    log_open("test", LOG_AS_JSON, LEVEL_ERROR);
    return cmocka_run_group_tests(tests, start, end);
}
