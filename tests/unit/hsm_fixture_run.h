/* SPDX-License-Identifier: Apache-2.0 */
/* The real reseal-hsm as a child of the test, with one token and one device CA. */
#ifndef RESEAL_TESTS_HSM_FIXTURE_RUN_H
#define RESEAL_TESTS_HSM_FIXTURE_RUN_H

#include <limits.h>
#include "hsm_fixture_peer.h"

static struct fixture fixture;
static struct peer_setting setting;

struct run {
    pid_t pid;
    struct frame_channel *channel;
    char log_path[96];
};

static inline void program_path(char out[static PATH_MAX])
{
    const char *folder = getenv("RESEAL_BIN");
    if (folder != NULL) {
        snprintf(out, PATH_MAX, "%s/reseal-hsm", folder);
    } else {
        char own[PATH_MAX - 32];
        ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
        assert_true(len > 0);
        own[len] = '\0';
        *strrchr(own, '/') = '\0';
        snprintf(out, PATH_MAX, "%s/../bin/reseal-hsm", own);
    }
    if (access(out, X_OK) != 0)
        fail_msg("%s is missing", out);
}

static inline void run_start(struct run *run)
{
    struct error err = ERROR_INIT;
    int ends[2];
    char program[PATH_MAX], name[] = "reseal-hsm", option[] = "--config";
    char *const argv[] = {name, option, setting.config_path, NULL};
    posix_spawn_file_actions_t actions;
    program_path(program);
    fixture_path(&fixture, "helper.log", run->log_path);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, run->log_path,
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    /* dup2 onto itself would leave close-on-exec set: by way of another number. */
    posix_spawn_file_actions_adddup2(&actions, ends[1], 99);
    posix_spawn_file_actions_adddup2(&actions, 99, HELPER_FD);
    posix_spawn_file_actions_addclose(&actions, 99);
    assert_int_equal(posix_spawn(&run->pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    MUST(frame_channel_new(ends[0], HELPER_BODY_MAX, &run->channel, &err), err);
}

static inline int run_wait(struct run *run)
{
    int status;
    assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
    frame_channel_free(&run->channel);
    if (!WIFEXITED(status))
        fail_msg("reseal-hsm was ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* Closes our end as a connector does that wants the helper to end. */
static inline int run_end(struct run *run)
{
    assert_int_equal(shutdown(frame_channel_fd(run->channel), SHUT_WR), 0);
    struct frame frame;
    while (peer_next(run->channel, &frame))
        ;
    return run_wait(run);
}

static struct hello_message hello; /* large */
static bool pin_tried;             /* as the helper said before its hello */

static inline void run_ready(struct run *run)
{
    run_start(run);
    peer_hello(run->channel, &pin_tried, &hello);
    if (!hello.ready)
        fail_msg("not ready: %s", hello.error.text);
}

static inline void assert_start_refused(enum failure kind, const char *words)
{
    struct run run;
    run_start(&run);
    peer_hello(run.channel, &pin_tried, &hello);
    assert_false(hello.ready);
    if (hello.error.kind != kind || strstr(hello.error.text, words) == NULL)
        fail_msg("%s: %s", failure_name(hello.error.kind), hello.error.text);
    assert_int_equal(run_wait(&run), 4);
}

static inline void log_holds_no_secret(const struct run *run)
{
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(1 << 20);
    MUST(file_read(run->log_path, &text, &err), err);
    assert_null(strstr(buf_text(&text), TEST_PIN));
    assert_null(strstr(buf_text(&text), "<&>]]"));
    buf_free(&text);
}

#endif
