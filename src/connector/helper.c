/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "helper_process.h"
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/frame.h"
#include "reseal/log.h"

#define HELLO_MS  (120 * 1000) /* a probe of many large keys on a slow token takes its time */
#define DRAIN_MAX 32   /* reads from the socket of a dead helper, whose heirs may write on */
#define REAP_MS   2000 /* between a kill and the report of death */
#define CLOSE_MS  5000 /* for an orderly end */
#define STEADY_MS 5000 /* ready for so long: the next loss counts as the first again */

static const struct backoff restart = {.first_ms = 500, .most_ms = 30000};

enum helper_state {
    HELPER_DOWN,     /* no process; started at due_ms */
    HELPER_STARTING, /* HELLO until due_ms */
    HELPER_READY,
    HELPER_DYING,   /* killed or ended by itself; reaped until due_ms */
    HELPER_CLOSING, /* ends by itself until due_ms */
    HELPER_HALTED,
    HELPER_GONE,
};

struct helper {
    struct helper_options options;
    enum helper_state state;
    pid_t pid; /* 0: none */
    struct frame_channel *channel;
    int64_t due_ms;
    int64_t ready_ms;          /* when HELLO came */
    unsigned losses;           /* in a row */
    unsigned starts;           /* of the program's life */
    struct error trouble;      /* why it does not serve */
    bool killed;               /* while dying: SIGKILL was sent */
    bool refusing;             /* the trouble was told by its HELLO, or is as grave */
    bool logging_in;           /* it has said so, and HELLO has not come: a try may be spent */
    bool retired;              /* not to be started again */
    bool asked;                /* STATUS was sent, its answer is to come */
    struct login_message rule; /* the newest that was sent; FREE before */
    unsigned rules_open;       /* LOGIN sent whose answer is to come */
    bool holds;                /* the newest answer: LOGIN_HELD */
    bool greeted;              /* hello is filled */
    struct hello_message hello;
    struct buf out; /* body being encoded */
};

bool helper_new(const struct helper_options *options, struct helper **out, struct error *err)
{
    *out = NULL;
    struct helper *helper = calloc(1, sizeof *helper);
    if (helper == NULL)
        return error_memory(err);
    helper->options = *options;
    helper->out = (struct buf)BUF_INIT(HELPER_BODY_MAX);
    *out = helper;
    return true;
}

void helper_free(struct helper **helper)
{
    if (helper == NULL || *helper == NULL)
        return;
    frame_channel_free(&(*helper)->channel);
    if ((*helper)->pid > 0) {
        kill((*helper)->pid, SIGKILL);
        helper_process_collect((*helper)->pid);
    }
    buf_free(&(*helper)->out);
    free(*helper);
    *helper = NULL;
}

/* -- start -- */

static bool spawn(struct helper *helper, struct error *err)
{
    const struct helper_options *options = &helper->options;
    int fd;
    if (!pin_is_there(options->pin, err) ||
        !nursery_start(*options->nursery, options->index, &helper->pid, &fd, err))
        return false;
    helper->starts++;
    options->pin->read = true;
    helper->logging_in = false;
    helper->asked = helper->holds = false;
    helper->rule = (struct login_message){.rule = LOGIN_FREE};
    helper->rules_open = 0;
    if (frame_channel_new(fd, HELPER_BODY_MAX, &helper->channel, err))
        return true;
    close(fd);
    return false;
}

/* -- loss -- */

/* The loss is told when the process has been reaped. The first reason stands. `how`: whether it is
 * killed at once or, as it ends by itself, only when it is late. */
enum ending {
    ENDING_BY_ITSELF,
    ENDING_KILLED
};

static void lose(struct helper *helper, const struct error *why, enum ending how)
{
    if (helper->state == HELPER_DYING || helper->state == HELPER_HALTED || helper->pid == 0)
        return;
    helper->trouble = *why;
    if (helper->state == HELPER_READY && clock_monotonic_ms() - helper->ready_ms >= STEADY_MS)
        helper->losses = 0;
    frame_channel_free(&helper->channel);
    helper->killed = how == ENDING_KILLED;
    if (helper->killed)
        kill(helper->pid, SIGKILL);
    helper->state = HELPER_DYING;
    helper->due_ms = clock_monotonic_ms() + REAP_MS;
}

/* Whether the token has counted a try cannot be known: it must be taken for a refused one. */
static void blame_login(struct helper *helper)
{
    struct error *why = &helper->trouble;
    char reason[sizeof why->text];
    snprintf(reason, sizeof reason, "%s", why->text);
    error_set(why, FAIL_PIN,
              "the token helper ended while it logged in; the PIN is not tried again by itself "
              "(%.500s)",
              reason);
    error_hint(why, "look at the token and its module, and whether the PIN is right and not "
                    "locked; then start reseald anew");
}

static void finish_loss(struct helper *helper)
{
    bool blamed = helper->logging_in && pin_is_to_blame(helper->options.pin);
    if (blamed)
        blame_login(helper);
    bool refused = helper->refusing || blamed;
    helper->logging_in = false;
    helper->pid = 0;
    helper->refusing = false;
    helper->state = helper->retired ? HELPER_GONE : HELPER_DOWN;
    int64_t wait_ms = helper->losses == 0 ? 0 : backoff_ms(&restart, helper->losses);
    helper->due_ms = clock_monotonic_ms() + wait_ms;
    helper->losses++;
    log_event(LEVEL_WARNING, EVENT_HELPER_LOST, "the token helper is lost",
              LOG_TEXT("token", helper->options.token), LOG_TEXT("text", helper->trouble.text),
              LOG_TEXT("hint", helper->trouble.hint), LOG_NUMBER("restart_in_ms", wait_ms));
    struct error why = helper->trouble;
    helper->options.events->lost(helper->options.context, helper, refused ? &why : NULL);
}

void helper_replace(struct helper *helper, const struct error *why)
{
    lose(helper, why, ENDING_KILLED);
}

void helper_halt(struct helper *helper, const struct error *why)
{
    helper->trouble = *why;
    helper->state = HELPER_HALTED;
    frame_channel_free(&helper->channel);
    if (helper->pid > 0)
        kill(helper->pid, SIGKILL);
}

void helper_retire(struct helper *helper)
{
    helper->retired = true;
    if (helper->state == HELPER_DOWN)
        helper->state = HELPER_GONE;
}

void helper_close(struct helper *helper)
{
    if (helper->state == HELPER_CLOSING)
        return;
    frame_channel_free(&helper->channel);
    helper->due_ms = clock_monotonic_ms() + CLOSE_MS;
    /* One that starts does not look at its socket yet; SIGTERM it heeds just so long. */
    if (helper->state == HELPER_STARTING)
        kill(helper->pid, SIGTERM);
    helper->state = helper->pid > 0 ? HELPER_CLOSING : HELPER_GONE;
}

/* -- death -- */

static void on_death(struct helper *helper, int status)
{
    struct error why = ERROR_INIT;
    switch (helper->state) {
    case HELPER_STARTING:
    case HELPER_READY:
        helper_process_describe_end(status, &why);
        lose(helper, &why, ENDING_BY_ITSELF);
        finish_loss(helper);
        return;
    case HELPER_DYING:
        if (helper->trouble.kind == FAIL_NONE) /* its socket ended first */
            helper_process_describe_end(status, &helper->trouble);
        finish_loss(helper);
        return;
    case HELPER_CLOSING:
        helper->state = HELPER_GONE;
        helper->pid = 0;
        return;
    case HELPER_DOWN:
    case HELPER_HALTED:
    case HELPER_GONE:
        helper->pid = 0;
        return;
    }
}

/* -- frames -- */

static bool on_hello(struct helper *helper, struct bytes body, struct error *err)
{
    if (helper->state != HELPER_STARTING)
        return error_set(err, FAIL_INPUT, "the token helper said HELLO twice");
    if (!hello_decode(body, &helper->hello, err))
        return false;
    helper->logging_in = false;
    if (!helper->hello.ready) {
        helper->refusing = true;
        helper->greeted = false;
        *err = helper->hello.error;
        return false;
    }
    helper->greeted = true;
    helper->state = HELPER_READY;
    helper->ready_ms = clock_monotonic_ms();
    helper->trouble = (struct error)ERROR_INIT;
    if (pin_has_served(helper->options.pin))
        nursery_drop_pin(*helper->options.nursery, helper->options.index);
    helper->options.events->ready(helper->options.context, helper);
    return true;
}

static bool on_resealed(struct helper *helper, const struct frame *frame, struct error *err)
{
    struct resealed_message message = {0};
    return resealed_decode(frame->body, &message, err) &&
           helper->options.events->resealed(helper->options.context, helper, frame->number,
                                            &message, err);
}

static bool on_failed(struct helper *helper, const struct frame *frame, struct error *err)
{
    struct error failure = ERROR_INIT;
    return failed_decode(frame->body, &failure, err) &&
           helper->options.events->failed(helper->options.context, helper, frame->number, &failure,
                                          err);
}

static bool on_status(struct helper *helper, const struct frame *frame, struct error *err)
{
    struct status_message message = {0};
    if (!status_decode(frame->body, &message, err))
        return false;
    helper->asked = false;
    helper->options.events->status(helper->options.context, helper, &message);
    return true;
}

static bool on_login_rule(struct helper *helper, const struct frame *frame, struct error *err)
{
    struct login_message message;
    if (!login_decode(frame->body, &message, err))
        return false;
    helper->rules_open--;
    helper->holds = message.rule == LOGIN_HELD;
    return true;
}

static bool on_frame(struct helper *helper, const struct frame *frame, struct error *err)
{
    if (frame->type == HELPER_HELLO)
        return on_hello(helper, frame->body, err);
    if (frame->type == HELPER_LOGGING_IN && helper->state == HELPER_STARTING) {
        helper->logging_in = true;
        return true;
    }
    if (helper->state != HELPER_READY)
        return error_set(err, FAIL_INPUT, "the token helper spoke before its HELLO");
    switch ((enum helper_message_type)frame->type) {
    case HELPER_RESEALED:
        return on_resealed(helper, frame, err);
    case HELPER_FAILED:
        return on_failed(helper, frame, err);
    case HELPER_STATUS_IS:
        if (helper->asked)
            return on_status(helper, frame, err);
        break;
    case HELPER_LOGIN_IS:
        if (helper->rules_open > 0)
            return on_login_rule(helper, frame, err);
        break;
    case HELPER_HELLO:
    case HELPER_ROTATE: /* a connector asks for none */
    case HELPER_ROTATED:
    case HELPER_RESEAL:
    case HELPER_STATUS:
    case HELPER_LOGGING_IN:
    case HELPER_LOGIN:
        break;
    }
    return error_set(err, FAIL_INPUT,
                     "the token helper sent a message of type %u that was not asked for",
                     frame->type);
}

static bool take_frames(struct helper *helper, struct error *err)
{
    struct frame frame;
    bool found = true;
    /* An event may have ended the channel. */
    while (helper->channel != NULL) {
        if (!frame_next(helper->channel, &frame, &found, err))
            return false;
        if (!found)
            return true;
        if (!on_frame(helper, &frame, err))
            return false;
    }
    return true;
}

/* What it said before it died is still in the socket: its refusal, or that it was logging in. */
static void drain(struct helper *helper)
{
    struct error err = ERROR_INIT;
    bool ended = false;
    for (unsigned i = 0; i < DRAIN_MAX && helper->channel != NULL && !ended; i++) {
        if (frame_receive(helper->channel, &ended, &err) && take_frames(helper, &err))
            continue;
        lose(helper, &err, ENDING_BY_ITSELF);
        return;
    }
}

void helper_reap(struct helper *helper)
{
    siginfo_t info = {0};
    pid_t pid = helper->pid;
    int status;
    /* Collected only after its socket is read: until then its process id means nobody else. */
    if (pid <= 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid != pid)
        return;
    drain(helper);
    if (waitpid(pid, &status, WNOHANG) == pid)
        on_death(helper, status);
}

void helper_serve(struct helper *helper, short revents)
{
    struct error err = ERROR_INIT;
    bool ended = false;
    if (helper->channel == NULL || revents == 0)
        return;
    if ((revents & POLLOUT) != 0)
        helper_flush(helper);
    if (helper->channel == NULL || (revents & (POLLIN | POLLHUP | POLLERR)) == 0)
        return;
    if (!frame_receive(helper->channel, &ended, &err) || !take_frames(helper, &err)) {
        lose(helper, &err, helper->refusing ? ENDING_BY_ITSELF : ENDING_KILLED);
    } else if (ended) {
        error_set(&err, FAIL_NONE, "the token helper closed its socket");
        lose(helper, &err, ENDING_BY_ITSELF); /* its status tells more when it is reaped */
        helper_reap(helper);
    }
}

struct pollfd helper_pollfd(const struct helper *helper)
{
    struct pollfd fd = {.fd = -1};
    if (helper->channel == NULL)
        return fd;
    fd.fd = frame_channel_fd(helper->channel);
    fd.events = frame_pending(helper->channel) ? POLLIN | POLLOUT : POLLIN;
    return fd;
}

bool helper_send(struct helper *helper, uint32_t number, const struct reseal_message *message,
                 struct error *err)
{
    if (helper->state != HELPER_READY)
        return error_set(err, FAIL_TOKEN, "the token helper is not ready");
    buf_reset(&helper->out);
    return reseal_encode(message, &helper->out, err) &&
           frame_queue(helper->channel, number, HELPER_RESEAL, buf_bytes(&helper->out), err);
}

bool helper_rule_login(struct helper *helper, enum login_rule rule, const struct error *why,
                       struct error *err)
{
    bool told =
        helper->rule.rule == rule && (rule != LOGIN_NEVER || helper->rule.why.kind == why->kind);
    if (told || helper->state != HELPER_READY)
        return true;
    helper->rule = (struct login_message){.rule = rule};
    if (rule == LOGIN_NEVER)
        helper->rule.why = *why;
    helper->rules_open++;
    buf_reset(&helper->out);
    return login_encode(&helper->rule, &helper->out, err) &&
           frame_queue(helper->channel, 0, HELPER_LOGIN, buf_bytes(&helper->out), err);
}

bool helper_holds_logins(const struct helper *helper)
{
    return helper->state == HELPER_READY && helper->rules_open == 0 && helper->holds;
}

bool helper_ask_status(struct helper *helper, struct error *err)
{
    if (helper->asked || helper->state != HELPER_READY)
        return true;
    helper->asked = true;
    buf_reset(&helper->out);
    return frame_queue(helper->channel, 0, HELPER_STATUS, buf_bytes(&helper->out), err);
}

void helper_flush(struct helper *helper)
{
    struct error err = ERROR_INIT;
    if (helper->channel != NULL && frame_pending(helper->channel) &&
        !frame_flush(helper->channel, &err))
        lose(helper, &err, ENDING_KILLED);
}

/* -- time -- */

static void start(struct helper *helper, int64_t now_ms)
{
    struct error err = ERROR_INIT;
    if (spawn(helper, &err)) {
        helper->state = HELPER_STARTING;
        helper->due_ms = now_ms + HELLO_MS;
        return;
    }
    helper->trouble = err;
    if (helper->pid > 0) { /* it runs, but we cannot talk to it */
        lose(helper, &err, ENDING_KILLED);
        return;
    }
    helper->refusing = true; /* nothing started: the owner decides, as after a refusal */
    finish_loss(helper);
}

static void on_due(struct helper *helper, int64_t now_ms)
{
    struct error err = ERROR_INIT;
    switch (helper->state) {
    case HELPER_DOWN:
        start(helper, now_ms);
        return;
    case HELPER_STARTING:
        error_set(&err, FAIL_TOKEN, "the token helper was not ready within %d seconds",
                  HELLO_MS / 1000);
        lose(helper, &err, ENDING_KILLED);
        return;
    case HELPER_DYING:
        if (helper->trouble.kind == FAIL_NONE)
            helper->trouble.kind = FAIL_TOKEN;
        if (helper->killed) { /* stuck in the kernel; it is reaped whenever it ends */
            finish_loss(helper);
            return;
        }
        helper->killed = true;
        kill(helper->pid, SIGKILL);
        helper->due_ms = now_ms + REAP_MS;
        return;
    case HELPER_CLOSING:
        kill(helper->pid, SIGKILL);
        helper->due_ms = now_ms + REAP_MS;
        return;
    case HELPER_READY:
    case HELPER_HALTED:
    case HELPER_GONE:
        return;
    }
}

static bool has_due(const struct helper *helper)
{
    return helper->state != HELPER_READY && helper->state != HELPER_HALTED &&
           helper->state != HELPER_GONE;
}

void helper_tick(struct helper *helper, int64_t now_ms, int64_t *next_ms)
{
    if (has_due(helper) && helper->due_ms <= now_ms)
        on_due(helper, now_ms);
    if (has_due(helper) && helper->due_ms < *next_ms)
        *next_ms = helper->due_ms;
}

/* -- what others ask -- */

bool helper_is_ready(const struct helper *helper)
{
    return helper->state == HELPER_READY;
}

bool helper_is_halted(const struct helper *helper)
{
    return helper->state == HELPER_HALTED;
}

bool helper_is_gone(const struct helper *helper)
{
    return helper->pid == 0 && (helper->state == HELPER_GONE || helper->state == HELPER_HALTED);
}

pid_t helper_pid(const struct helper *helper)
{
    return helper->pid;
}

unsigned helper_restarts(const struct helper *helper)
{
    return helper->starts > 0 ? helper->starts - 1 : 0;
}

const struct error *helper_trouble(const struct helper *helper)
{
    return &helper->trouble;
}

const struct hello_message *helper_hello(const struct helper *helper)
{
    return helper->greeted ? &helper->hello : NULL;
}
