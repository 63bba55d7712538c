/* SPDX-License-Identifier: Apache-2.0 */
/* The real reseal-hsm with a real token, over its socket. */
#include <signal.h>
#include "fault_fixture.h"
#include "hsm_fixture_run.h"
#include "reseal/clock.h"

#define KEY_NAME "sealing-1"

static EVP_PKEY *sealing; /* the public half of KEY_NAME */

static const char token_lines[] = "pin = file:pin\nkey = " KEY_NAME;

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token *token = NULL;
    struct session *session = NULL;
    fixture_softhsm(&fixture);
    setting_make(&fixture, &setting);
    setting.log_level = "debug"; /* the most that may be said, to search it for secrets */
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

static void hello_carries_the_token_and_the_probe(void **state)
{
    (void)state;
    struct run run;
    run_ready(&run);
    assert_true(pin_tried);
    assert_int_equal(hello.sessions, 2);
    assert_string_equal(hello.report.token.label, TEST_LABEL);
    assert_int_equal(hello.report.key_count, 1);
    assert_string_equal(hello.report.keys[0].name, KEY_NAME);
    for (size_t i = 0; i < PADDING_COUNT; i++)
        assert_int_equal(hello.report.keys[0].paddings[i].custody, CUSTODY_HOST);
    assert_int_equal(run_end(&run), 0);
    log_holds_no_secret(&run);
}

static void jobs_are_pipelined_and_each_is_answered_once(void **state)
{
    (void)state;
    enum {
        JOBS = 40
    };
    struct error err = ERROR_INIT;
    struct run run;
    struct buf sealed = BUF_INIT(1024);
    bool answered[JOBS] = {false};
    run_ready(&run);
    for (uint32_t i = 0; i < JOBS; i++) {
        struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, i, &sealed);
        peer_ask(run.channel, 1000 + i, &message);
    }
    for (int i = 0; i < JOBS; i++) {
        struct frame frame;
        struct resealed_message message;
        uint8_t expected[64];
        assert_true(peer_next(run.channel, &frame));
        assert_int_equal(frame.type, HELPER_RESEALED);
        MUST(resealed_decode(frame.body, &message, &err), err);
        uint32_t which = frame.number - 1000;
        assert_true(which < JOBS && !answered[which]);
        answered[which] = true;
        fixture_password(which, expected);
        assert_device_opens(&fixture, &setting.device, message.der,
                            (struct bytes){expected, which});
    }
    assert_int_equal(run_end(&run), 0);
    buf_free(&sealed);
}

static void jobs_in_hand_are_finished_at_the_end_of_the_socket(void **state)
{
    (void)state;
    struct run run;
    struct frame frame;
    struct buf sealed = BUF_INIT(1024);
    int answers = 0;
    run_ready(&run);
    for (uint32_t i = 0; i < 20; i++) {
        struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 12, &sealed);
        peer_ask(run.channel, i, &message);
    }
    assert_int_equal(shutdown(frame_channel_fd(run.channel), SHUT_WR), 0);
    while (peer_next(run.channel, &frame)) {
        assert_int_equal(frame.type, HELPER_RESEALED);
        answers++;
    }
    assert_int_equal(answers, 20);
    assert_int_equal(run_wait(&run), 0);
    buf_free(&sealed);
}

static void a_connector_that_is_gone_ends_the_helper(void **state)
{
    (void)state;
    struct run run;
    struct buf sealed = BUF_INIT(1024);
    int status;
    run_ready(&run);
    for (uint32_t i = 0; i < 20; i++) {
        struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 12, &sealed);
        peer_ask(run.channel, i, &message);
    }
    frame_channel_free(&run.channel);
    assert_int_equal(waitpid(run.pid, &status, 0), run.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    buf_free(&sealed);
}

static void bad_messages_look_alike_on_the_wire(void **state)
{
    (void)state;
    struct run run;
    struct error failure = ERROR_INIT, first = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024), bad = BUF_INIT(1024);
    run_ready(&run);
    for (int i = 0; i < BAD_MESSAGES; i++) {
        struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 1, &sealed);
        fixture_bad_message(sealing, i, &bad);
        message.sealed = buf_bytes(&bad);
        peer_ask(run.channel, (uint32_t)i, &message);
        peer_failure(run.channel, (uint32_t)i, &failure);
        if (i == 0)
            first = failure;
        assert_int_equal(failure.kind, FAIL_CRYPTO);
        assert_string_equal(failure.text, first.text);
        assert_string_equal(failure.hint, first.hint);
        assert_null(strstr(failure.text, "CKR_"));
    }
    assert_int_equal(run_end(&run), 0);
    log_holds_no_secret(&run);
    buf_free(&sealed);
    buf_free(&bad);
}

static void who_may_not_have_the_password_is_refused(void **state)
{
    (void)state;
    struct run run;
    struct error failure = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(8192);
    EVP_PKEY *stranger_key = EVP_RSA_gen(2048);
    const struct pki_wish wish = {
        .name = "stranger", .key = stranger_key, .from_s = -60, .until_s = 86400, .serial = 9};
    X509 *stranger = pki_certificate(&wish);
    run_ready(&run);

    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 8, &sealed);
    pki_der(stranger, &der);
    message.device_certificate = buf_bytes(&der);
    peer_ask(run.channel, 1, &message);
    peer_failure(run.channel, 1, &failure);
    assert_int_equal(failure.kind, FAIL_POLICY);

    message = peer_job(&setting, sealing, "no-such-key", 8, &sealed);
    peer_ask(run.channel, 2, &message);
    peer_failure(run.channel, 2, &failure);
    assert_int_equal(failure.kind, FAIL_NOT_FOUND);

    message = peer_job(&setting, sealing, KEY_NAME, 8, &sealed);
    message.transport = KEY_TRANSPORT_OAEP_SHA256; /* the configuration says pkcs1 */
    peer_ask(run.channel, 3, &message);
    peer_failure(run.channel, 3, &failure);
    assert_int_equal(failure.kind, FAIL_POLICY);

    message = peer_job(&setting, sealing, KEY_NAME, 8, &sealed);
    message.device_certificate = (struct bytes){(const uint8_t *)"0\3\2\1\0", 5};
    peer_ask(run.channel, 4, &message);
    peer_failure(run.channel, 4, &failure);
    assert_int_equal(failure.kind, FAIL_INPUT);

    assert_int_equal(run_end(&run), 0);
    X509_free(stranger);
    EVP_PKEY_free(stranger_key);
    buf_free(&sealed);
    buf_free(&der);
}

static void status_counts_what_was_done(void **state)
{
    (void)state;
    struct run run;
    struct frame frame;
    struct error err = ERROR_INIT, failure = ERROR_INIT;
    struct status_message status;
    struct buf sealed = BUF_INIT(1024);
    run_ready(&run);
    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 3, &sealed);
    peer_ask(run.channel, 1, &message);
    peer_success(&setting, run.channel, 1, 3, CUSTODY_HOST);
    snprintf(message.key_name, sizeof message.key_name, "other");
    peer_ask(run.channel, 2, &message);
    peer_failure(run.channel, 2, &failure);
    peer_send(run.channel, 3, HELPER_STATUS, (struct bytes){NULL, 0});
    assert_true(peer_next(run.channel, &frame));
    assert_int_equal(frame.type, HELPER_STATUS_IS);
    assert_int_equal(frame.number, 3);
    MUST(status_decode(frame.body, &status, &err), err);
    assert_int_equal(status.done, 1);
    assert_int_equal(status.failed, 1);
    assert_int_equal(run_end(&run), 0);
    buf_free(&sealed);
}

static void more_jobs_than_there_is_room_for_are_answered_as_well(void **state)
{
    (void)state;
    enum {
        JOBS = 150
    };
    struct run run;
    struct frame frame;
    struct buf sealed = BUF_INIT(1024);
    bool answered[JOBS] = {false};
    run_ready(&run);
    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 5, &sealed);
    for (uint32_t i = 0; i < JOBS; i++)
        peer_ask(run.channel, i, &message);
    for (int i = 0; i < JOBS; i++) {
        struct error err = ERROR_INIT, failure = ERROR_INIT;
        assert_true(peer_next(run.channel, &frame));
        assert_true(frame.number < JOBS && !answered[frame.number]);
        answered[frame.number] = true;
        if (frame.type == HELPER_FAILED) {
            MUST(failed_decode(frame.body, &failure, &err), err);
            assert_int_equal(failure.kind, FAIL_TOKEN); /* worth another try */
        } else {
            assert_int_equal(frame.type, HELPER_RESEALED);
        }
    }
    assert_int_equal(run_end(&run), 0);
    buf_free(&sealed);
}

static void signals_of_the_terminal_do_not_stop_jobs(void **state)
{
    (void)state;
    struct run run;
    struct buf sealed = BUF_INIT(1024);
    run_ready(&run);
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(kill(run.pid, SIGINT), 0);
    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 30, &sealed);
    peer_ask(run.channel, 1, &message);
    peer_success(&setting, run.channel, 1, 30, CUSTODY_HOST);
    assert_int_equal(run_end(&run), 0);
    buf_free(&sealed);
}

/* True once the log of calls has that line, after `openings` sessions were opened. */
static bool has_got_so_far(const char *log_path, int openings, const char *line)
{
    struct buf text = BUF_INIT(1 << 20);
    struct error err = ERROR_INIT;
    const char *at = file_read(log_path, &text, &err) ? buf_text(&text) : "";
    while (openings-- > 0 && (at = strstr(at, " C_OpenSession ")) != NULL)
        at++;
    bool found = at != NULL && strstr(at, line) != NULL;
    buf_free(&text);
    return found;
}

/* Where a module may hang, before jobs are taken. */
/* At once; from within a login, which is left time to come to its end, a moment later. */
static void a_sigterm_ends_the_start(void **state)
{
    (void)state;
    static const struct {
        const char *workers, *hang;
        int openings; /* of sessions, before it; then a call of that name */
        const char *call;
    } rows[] = {
        {"workers = 2", "C_Login", 1, ""},
        {"workers = 2", "C_Decrypt", 2, " C_DecryptInit "},           /* the probe */
        {"workers = auto", "C_OpenSession 3", 2, " C_GetTokenInfo "}, /* how many pay off */
        {"workers = 2", "C_OpenSession 3", 2, " C_GetTokenInfo "},    /* the workers' own */
    };
    char module[sizeof fixture.address.module], script[96], log[96];
    snprintf(module, sizeof module, "%s", fixture.address.module);
    fixture_path(&fixture, "fault", script);
    fixture_path(&fixture, "fault.calls", log);
    fault_module_path(fixture.address.module, sizeof fixture.address.module);
    assert_int_equal(setenv("RESEAL_FAULT", script, 1), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct run run;
        int status;
        char text[2048], more[64];
        snprintf(text, sizeof text, "module %s\nlog %s *\n%s%s hang\n", module, log, rows[i].hang,
                 strchr(rows[i].hang, ' ') != NULL ? "" : " *");
        fixture_write(script, text);
        (void)unlink(log);
        snprintf(more, sizeof more, "require = host\n%s", rows[i].workers);
        setting_config(&setting, token_lines, more);
        run_start(&run);
        while (!has_got_so_far(log, rows[i].openings, rows[i].call))
            clock_sleep_ms(5);
        assert_int_equal(kill(run.pid, SIGTERM), 0);
        assert_int_equal(waitpid(run.pid, &status, 0), run.pid);
        int wanted = strcmp(rows[i].hang, "C_Login") == 0 ? SIGALRM : SIGTERM;
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == wanted);
        frame_channel_free(&run.channel);
    }
    assert_int_equal(unsetenv("RESEAL_FAULT"), 0);
    snprintf(fixture.address.module, sizeof fixture.address.module, "%s", module);
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
}

static void a_peer_that_breaks_the_protocol_ends_the_helper(void **state)
{
    (void)state;
    static const struct {
        const uint8_t bytes[14];
        size_t len;
    } broken[] = {
        {{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 2}, 10}, /* a body over the ceiling */
        {{0, 0, 0, 0, 0, 0, 0, 1, 0x77, 0x77}, 10},       /* a type that nobody knows */
        {{0, 0, 0, 4, 0, 0, 0, 1, 0, 2, 1, 2, 3, 4}, 14}, /* a job that is none */
        {{0, 0, 0, 0, 0, 0, 0, 1, 0, 3}, 10},             /* an answer instead of a question */
    };
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct run run;
        struct error err = ERROR_INIT;
        struct frame frame;
        run_ready(&run);
        MUST(fd_write_all(frame_channel_fd(run.channel),
                          (struct bytes){broken[i].bytes, broken[i].len}, &err),
             err);
        assert_false(peer_next(run.channel, &frame));
        assert_int_equal(run_wait(&run), 1);
    }
}

static void a_token_that_reaches_host_only_is_refused_where_token_is_required(void **state)
{
    (void)state;
    setting_config(&setting, token_lines, ""); /* require = token is the default */
    assert_start_refused(FAIL_POLICY, "C_UnwrapKey(CKM_RSA_PKCS_OAEP): CKR_");
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
}

static void what_is_missing_at_the_start_is_named(void **state)
{
    (void)state;
    setting_config(&setting, "pin = file:pin\nkey = no-such-key", "require = host");
    assert_start_refused(FAIL_NOT_FOUND, "no-such-key");
    setting_config(&setting, "pin = file:pin", "require = host");
    assert_start_refused(FAIL_USAGE, "key");
    setting_config(&setting, "pin = file:no-such-file\nkey = " KEY_NAME, "require = host");
    assert_start_refused(FAIL_NOT_FOUND, "no-such-file");
    assert_false(pin_tried);
    setting_config(&setting, "key = " KEY_NAME, "require = host");
    assert_start_refused(FAIL_USAGE, "PIN");
    setting_config(&setting, token_lines, "require = host\nworkers = 100000");
    assert_start_refused(FAIL_USAGE, "workers");
    fixture_write(setting.config_path, "[token]\nmodule = none.so\nlabel = x\n");
    assert_start_refused(FAIL_USAGE, "device_ca");
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
}

/* Last: it leaves the token with a failed try. */
static void a_wrong_pin_is_tried_once_and_then_never_again(void **state)
{
    (void)state;
    char path[96];
    fixture_path(&fixture, "wrong", path);
    fixture_write(path, "9999-wrong\n");
    setting_config(&setting, "pin = file:wrong\nkey = " KEY_NAME, "require = host");
    assert_start_refused(FAIL_PIN, "C_Login: CKR_PIN_INCORRECT");
    assert_true(pin_tried);
    /* Now the token says that its count is low: not even the right one is tried by a program. */
    assert_start_refused(FAIL_PIN, "was not tried");
    assert_false(pin_tried);
    setting_config(&setting, token_lines, "require = host\nworkers = 2");
    assert_start_refused(FAIL_PIN, "was not tried");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_carries_the_token_and_the_probe),
        cmocka_unit_test(jobs_are_pipelined_and_each_is_answered_once),
        cmocka_unit_test(jobs_in_hand_are_finished_at_the_end_of_the_socket),
        cmocka_unit_test(a_connector_that_is_gone_ends_the_helper),
        cmocka_unit_test(bad_messages_look_alike_on_the_wire),
        cmocka_unit_test(who_may_not_have_the_password_is_refused),
        cmocka_unit_test(status_counts_what_was_done),
        cmocka_unit_test(more_jobs_than_there_is_room_for_are_answered_as_well),
        cmocka_unit_test(signals_of_the_terminal_do_not_stop_jobs),
        cmocka_unit_test(a_sigterm_ends_the_start),
        cmocka_unit_test(a_peer_that_breaks_the_protocol_ends_the_helper),
        cmocka_unit_test(a_token_that_reaches_host_only_is_refused_where_token_is_required),
        cmocka_unit_test(what_is_missing_at_the_start_is_named),
        cmocka_unit_test(a_wrong_pin_is_tried_once_and_then_never_again),
    };
    return cmocka_run_group_tests(tests, start, end);
}
