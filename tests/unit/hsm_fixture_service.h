/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token helper in a thread of the test, on a real token behind the fault module: start, jobs
 * and end, with whatever script the test has set.
 */
#ifndef RESEAL_TESTS_HSM_FIXTURE_SERVICE_H
#define RESEAL_TESTS_HSM_FIXTURE_SERVICE_H

#include "fault_fixture.h"
#include "hsm/service.h"
#include "hsm_fixture_peer.h"
#include "reseal/log.h"

#define KEY_NAME "sealing-1"

static struct fixture fixture;
static struct peer_setting setting;
static const struct fault_control *fault;
static EVP_PKEY *sealing;
static const char token_lines[] = "pin = file:pin\nkey = " KEY_NAME;

struct run {
    struct token_service service;
    pthread_t thread;
    struct frame_channel *channel; /* our end */
    int status;
};

static struct hello_message hello; /* of the last start */
static bool pin_tried;             /* as the helper said before its hello */

/* A token with one sealing key, and a device CA. */
static inline void service_fixture_start(void (*make_token)(struct fixture *fixture),
                                         enum custody custody)
{
    struct error err = ERROR_INIT;
    struct token *token = NULL;
    struct session *session = NULL;
    make_token(&fixture);
    fault = fault_load(&fixture);
    setting_make(&fixture, &setting);
    setting.log_level = "error";
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    struct sealing_key *key = fixture_key(session, KEY_NAME, 2048, custody);
    MUST(sealing_key_public(session, key, &sealing, &err), err);
    sealing_key_free(&key);
    session_close(&session);
    token_close(&token);
}

static inline void service_fixture_end(void)
{
    EVP_PKEY_free(sealing);
    setting_free(&setting);
    fixture_end(&fixture);
}

static inline void *run_main(void *argument)
{
    struct run *run = argument;
    run->status = token_service_run(&run->service);
    return NULL;
}

/* Whether it is ready is for the caller to see in `hello`. */
static inline struct run *run_try(const char *script)
{
    struct error err = ERROR_INIT;
    int ends[2];
    struct run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    MUST(frame_channel_new(ends[0], HELPER_BODY_MAX, &run->channel, &err), err);
    MUST(frame_channel_new(ends[1], HELPER_BODY_MAX, &run->service.channel, &err), err);
    token_service_init(&run->service);
    fault_set(fault, script);
    fault->reset();
    token_service_start(&run->service, setting.config_path, NULL);
    assert_int_equal(pthread_create(&run->thread, NULL, run_main, run), 0);
    peer_hello(run->channel, &pin_tried, &hello);
    return run;
}

static inline struct run *run_start(void)
{
    struct run *run = run_try("");
    if (!hello.ready)
        fail_msg("%s", hello.error.text);
    assert_true(pin_tried);
    assert_int_equal(fault->calls("C_Login"), 1);
    fault->reset();
    return run;
}

/* The exit status of the service, after its socket has ended or it has given up. */
static inline int run_end(struct run *run, bool by_us)
{
    struct frame frame;
    if (by_us)
        assert_int_equal(shutdown(frame_channel_fd(run->channel), SHUT_WR), 0);
    assert_int_equal(pthread_join(run->thread, NULL), 0);
    alarm(0);
    int status = run->status;
    token_service_end(&run->service);
    while (peer_next(run->channel, &frame))
        ;
    frame_channel_free(&run->channel);
    free(run);
    return status;
}

static inline void ask(struct run *run, uint32_t number)
{
    struct buf sealed = BUF_INIT(1024);
    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 17, &sealed);
    peer_ask(run->channel, number, &message);
    buf_free(&sealed);
}

#endif
