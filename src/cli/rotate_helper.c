/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* close_range */
#include "rotate_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/frame.h"
#include "reseal/settings.h"

#define START_PAUSE_MAX_MS 2000 /* the longest pause before another start */

struct rotate_helper {
    pid_t pid;
    struct frame_channel *channel;
    struct hello_message hello;
    char program[PATH_MAX];
};

/* In the child, between fork and exec: system calls only. It stays in the foreground group of the
 * terminal, where it may ask for the PIN. */
static _Noreturn void become_helper(const char *program, const char *config_path, const char *token,
                                    int fd, pid_t parent)
{
    char name[] = "reseal-hsm", config_option[] = "--config", token_option[] = "--token";
    char *const argv[] = {
        name, config_option, (char *)(uintptr_t)config_path, token_option, (char *)(uintptr_t)token,
        NULL};
    if (fd == HELPER_FD ? fcntl(fd, F_SETFD, 0) != 0 : dup2(fd, HELPER_FD) < 0)
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(126);
    execv(program, argv);
    _exit(127);
}

static bool start(struct rotate_helper *helper, const char *config_path, const char *token,
                  struct error *err)
{
    int ends[2];
    if (access(helper->program, X_OK) != 0) {
        error_errno(err, FAIL_NOT_FOUND, "cannot execute the token helper %s", helper->program);
        return error_hint(err, "set helper of [connector] to the path of reseal-hsm");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return error_errno(err, FAIL_IO, "cannot make a socket pair for the token helper");
    pid_t parent = getpid();
    helper->pid = fork();
    if (helper->pid == 0)
        become_helper(helper->program, config_path, token, ends[1], parent);
    int reason = errno;
    close(ends[1]);
    if (helper->pid < 0) {
        close(ends[0]);
        errno = reason;
        return error_errno(err, FAIL_IO, "cannot start the token helper");
    }
    if (frame_channel_new(ends[0], HELPER_BODY_MAX, &helper->channel, err))
        return true;
    close(ends[0]);
    return false;
}

static bool fail_ended(struct rotate_helper *helper, struct error *err)
{
    int status = 0;
    if (helper->pid > 0 && waitpid(helper->pid, &status, 0) == helper->pid)
        helper->pid = 0;
    if (WIFSIGNALED(status))
        return error_set(err, FAIL_TOKEN, "the token helper was ended by signal %d (%s)",
                         WTERMSIG(status), strsignal(WTERMSIG(status)));
    return error_set(err, FAIL_TOKEN, "the token helper ended with status %d", WEXITSTATUS(status));
}

static bool next_frame(struct rotate_helper *helper, struct frame *out, struct error *err)
{
    for (;;) {
        bool found = false, ended = false;
        if (!frame_next(helper->channel, out, &found, err))
            return false;
        if (found)
            return true;
        if (!frame_receive(helper->channel, &ended, err))
            return false;
        if (ended)
            return fail_ended(helper, err);
    }
}

static bool wait_for_hello(struct rotate_helper *helper, struct error *err)
{
    struct frame frame;
    do {
        if (!next_frame(helper, &frame, err))
            return false;
    } while (frame.type == HELPER_LOGGING_IN);
    if (frame.type != HELPER_HELLO)
        return error_set(err, FAIL_INPUT, "the token helper begins with a message of type %u",
                         frame.type);
    if (!hello_decode(frame.body, &helper->hello, err))
        return false;
    if (helper->hello.ready)
        return true;
    *err = helper->hello.error;
    return false;
}

static bool start_once(const struct config *config, const char *token, struct rotate_helper **out,
                       struct error *err)
{
    *out = NULL;
    struct rotate_helper *helper = calloc(1, sizeof *helper);
    if (helper == NULL)
        return error_memory(err);
    if (settings_helper(config, helper->program, sizeof helper->program, err) &&
        start(helper, config_path(config), token, err) && wait_for_hello(helper, err)) {
        *out = helper;
        return true;
    }
    rotate_helper_end(&helper);
    return false;
}

/* What a descriptor or a person has given once is not there for a second start: an empty PIN would
 * be tried in its place. */
static bool pin_is_there_again(const struct config *config, const char *token)
{
    struct error ignored = ERROR_INIT;
    const char *section;
    if (!settings_token_find(config, token, &section, &ignored))
        return false;
    const char *source = config_text(config, section, "pin");
    return source == NULL || strncmp(source, "file:", 5) == 0 ||
           strncmp(source, "credential:", 11) == 0;
}

/* A token that cannot do it now may do it in a moment: SoftHSM fails a login while another process
 * logs in. A refused PIN is another kind of error, and ends it at once. */
bool rotate_helper_start(const struct config *config, const char *token, struct rotate_helper **out,
                         struct error *err)
{
    for (int64_t pause_ms = 250;; pause_ms *= 2) {
        *err = (struct error)ERROR_INIT;
        if (start_once(config, token, out, err))
            return true;
        if (err->kind != FAIL_TOKEN || pause_ms > START_PAUSE_MAX_MS ||
            !pin_is_there_again(config, token))
            return false;
        clock_sleep_ms(pause_ms);
    }
}

void rotate_helper_end(struct rotate_helper **helper)
{
    int status;
    if (helper == NULL || *helper == NULL)
        return;
    frame_channel_free(&(*helper)->channel); /* its input ends, and so does it */
    while ((*helper)->pid > 0 && waitpid((*helper)->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    free(*helper);
    *helper = NULL;
}

const struct hello_message *rotate_helper_hello(const struct rotate_helper *helper)
{
    return &helper->hello;
}

bool rotate_helper_ask(struct rotate_helper *helper, uint32_t number,
                       const struct rotate_message *message, struct error *err)
{
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    bool ok = rotate_encode(message, &body, err) &&
              frame_queue(helper->channel, number, HELPER_ROTATE, buf_bytes(&body), err);
    while (ok && frame_pending(helper->channel))
        ok = frame_flush(helper->channel, err);
    buf_free(&body);
    return ok;
}

bool rotate_helper_next(struct rotate_helper *helper, struct rotate_answer *out, struct error *err)
{
    struct frame frame;
    struct rotated_message message;
    *out = (struct rotate_answer){.done = false};
    if (!next_frame(helper, &frame, err))
        return false;
    out->number = frame.number;
    switch (frame.type) {
    case HELPER_ROTATED:
        if (!rotated_decode(frame.body, &message, err))
            return false;
        out->done = true;
        out->custody = message.custody;
        out->sealed = message.sealed;
        return true;
    case HELPER_FAILED:
        return failed_decode(frame.body, &out->failure, err);
    default:
        return error_set(err, FAIL_INPUT,
                         "the token helper sent a message of type %u that was not asked for",
                         frame.type);
    }
}
