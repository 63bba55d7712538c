/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: waits for HTTP, helper, signals and status callers at once, and moves the jobs on. */
#include "connector.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/log.h"

#define TURN_MS          (60 * 1000) /* longest wait where nothing is due */
#define STOP_MS          (20 * 1000) /* on top of the helper's deadline, to finish what is in hand */
#define LAST_RECEIVE_MS  500 /* for a receive that is just being answered when the stop begins */
#define DESCRIPTOR_COUNT 3

const char *connector_state(const struct connector *connector)
{
    if (connector->stopping)
        return "stopping";
    if (helper_is_halted(connector->helper))
        return "halted";
    if (!connector->served)
        return "starting";
    if (!helper_is_ready(connector->helper) || connector->outage.away ||
        connector->intake.trouble.kind != FAIL_NONE)
        return "waiting";
    return "serving";
}

/* -- what the helper says -- */

/* Each configured key must do its job with the custody that is required, with one padding at
 * least. */
static bool check_custody(const struct connector *connector, const struct hello_message *hello,
                          struct error *err)
{
    size_t wanted = config_list_count(connector->config, "token", "key");
    for (size_t i = 0; i < wanted; i++) {
        const char *name = config_list_at(connector->config, "token", "key", i);
        const struct key_finding *key = probe_key(&hello->report, name);
        enum custody best = CUSTODY_UNUSABLE;
        if (key == NULL)
            return error_set(err, FAIL_NOT_FOUND,
                             "the token helper does not know the sealing key \"%s\"", name);
        for (size_t j = 0; j < PADDING_COUNT; j++) {
            if (key->paddings[j].custody > best)
                best = key->paddings[j].custody;
        }
        if (best >= connector->require)
            continue;
        error_set(err, FAIL_POLICY,
                  "the token reseals under the key \"%s\" with custody %s at best, and %s is "
                  "required",
                  name, custody_name(best), custody_name(connector->require));
        return error_hint(err, "see `reseal token probe` for the reason; require of [connector] "
                               "says what is accepted");
    }
    return true;
}

/* Errors that another try does not mend: a person has to change something. */
static bool needs_person(const struct error *err)
{
    return err->kind == FAIL_PIN || err->kind == FAIL_POLICY || err->kind == FAIL_USAGE ||
           err->kind == FAIL_NOT_FOUND;
}

/* Nothing tries the PIN again until a person has acted. What is in hand goes back to its queue. */
static void halt_for_pin(struct connector *connector, const struct error *why)
{
    log_error(LEVEL_ERROR, EVENT_TOKEN_TROUBLE,
              "the PIN was refused: it is not tried again, nothing is served", why);
    helper_halt(connector->helper, why);
    intake_cancel(connector);
    jobs_put_back(connector);
}

/* Before the first service such an error ends the connector; later it stays up to tell about it. */
static void judge_helper(struct connector *connector, const struct error *why)
{
    struct error reason = *why;
    if (!connector->served && needs_person(&reason)) {
        connector->fatal = reason;
        helper_halt(connector->helper, &reason);
    } else if (reason.kind == FAIL_PIN) {
        halt_for_pin(connector, &reason);
    } else {
        log_error(LEVEL_WARNING, EVENT_TOKEN_TROUBLE, "the token helper cannot serve", &reason);
    }
}

static void on_helper_ready(void *context)
{
    struct connector *connector = context;
    const struct hello_message *hello = helper_hello(connector->helper);
    const struct token_facts *token = &hello->report.token;
    struct error err = ERROR_INIT;
    if (!check_custody(connector, hello, &err)) {
        helper_replace(connector->helper, &err);
        judge_helper(connector, &err);
        return;
    }
    log_event(LEVEL_INFO, EVENT_HELPER_STARTED, "the token helper is ready",
              LOG_NUMBER("pid", helper_pid(connector->helper)), LOG_TEXT("token", token->label),
              LOG_TEXT("serial", token->serial), LOG_NUMBER("keys", hello->report.key_count),
              LOG_NUMBER("sessions", hello->sessions));
    connector->served = true;
    outage_retry_now(connector); /* its probe has found a token that works */
}

static bool on_helper_resealed(void *context, uint32_t number,
                               const struct resealed_message *message, struct error *err)
{
    struct connector *connector = context;
    struct job *job = job_by_number(connector, number);
    if (job == NULL)
        return error_set(err, FAIL_INPUT, "the token helper answered a job that it does not have");
    if (message->custody < connector->require)
        return error_set(err, FAIL_POLICY,
                         "the token helper resealed with custody %s, %s is required",
                         custody_name(message->custody), custody_name(connector->require));
    outage_end(connector);
    job_answer(job, message);
    intake_pace(connector, clock_monotonic_ms());
    jobs_allow_time(connector, clock_monotonic_ms());
    return true;
}

static bool on_helper_failed(void *context, uint32_t number, const struct error *failure,
                             struct error *err)
{
    struct connector *connector = context;
    struct job *job = job_by_number(connector, number);
    if (job == NULL)
        return error_set(err, FAIL_INPUT, "the token helper answered a job that it does not have");
    jobs_allow_time(connector, clock_monotonic_ms());
    switch (failure->kind) {
    case FAIL_POLICY: /* refused before the token had to do with it */
    case FAIL_INPUT:
    case FAIL_TOO_LARGE:
        outage_retry_now(connector);
        job_refuse(job, failure);
        return true;
    case FAIL_CRYPTO:
    case FAIL_UNSUPPORTED:
    case FAIL_NOT_FOUND:
        outage_end(connector);
        job_refuse(job, failure);
        return true;
    case FAIL_PIN: /* says nothing about this job: it counts no try */
        halt_for_pin(connector, failure);
        return true;
    case FAIL_NONE:
    case FAIL_INTERNAL:
    case FAIL_USAGE:
    case FAIL_IO:
    case FAIL_EXISTS:
    case FAIL_AUTH:
    case FAIL_REMOTE:
        outage_end(connector);
        job_retry(job, failure);
        return true;
    case FAIL_TOKEN:
        if (outage_failed(connector, job, failure))
            job_hold(job, failure);
        else
            job_retry(job, failure);
        return true;
    }
    return error_set(err, FAIL_INPUT, "the token helper failed in a way that is not known");
}

static void on_helper_lost(void *context)
{
    jobs_requeue(context);
}

static void on_helper_refused(void *context, const struct error *why)
{
    judge_helper(context, why);
}

static const struct helper_events helper_events = {
    .ready = on_helper_ready,
    .resealed = on_helper_resealed,
    .failed = on_helper_failed,
    .lost = on_helper_lost,
    .refused = on_helper_refused,
};

/* -- signals and the end -- */

static void begin_stop(struct connector *connector, uint32_t signal_number)
{
    struct error why = ERROR_INIT;
    error_set(&why, FAIL_REMOTE, "the connector is stopping");
    if (connector->stopping) {
        connector->abort = true;
        return;
    }
    connector->stopping = true;
    connector->stop_ms = clock_monotonic_ms() + connector->helper_deadline_ms + STOP_MS;
    /* Cancelled at once, an answer that is on its way would leave its messages leased to nobody. */
    connector->cancel_ms = clock_monotonic_ms() + LAST_RECEIVE_MS;
    log_event(LEVEL_INFO, EVENT_NOTE, "stopping: what is in hand is finished first",
              LOG_NUMBER("signal", signal_number), LOG_NUMBER("in_hand", jobs_in_hand(connector)));
    jobs_return_waiting(connector, &why);
}

static void serve_signals(struct connector *connector)
{
    struct signalfd_siginfo info;
    while (read(connector->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            helper_reap(connector->helper);
        else
            begin_stop(connector, info.ssi_signo);
    }
}

static bool nothing_left(const struct connector *connector)
{
    return jobs_in_hand(connector) == 0 && queue_in_flight(connector->client) == 0;
}

/* On the way to the end: the last receive is given up when it is late, then the helper may go. */
static void stop_tick(struct connector *connector, int64_t now_ms, int64_t *next_ms)
{
    if (!connector->stopping)
        return;
    if (connector->stop_ms < *next_ms)
        *next_ms = connector->stop_ms;
    if (connector->intake.polling && connector->cancel_ms <= now_ms)
        intake_cancel(connector);
    else if (connector->intake.polling && connector->cancel_ms < *next_ms)
        *next_ms = connector->cancel_ms;
    if (!nothing_left(connector))
        return;
    helper_close(connector->helper);
    helper_tick(connector->helper, now_ms, next_ms); /* it has a time to be gone by */
}

/* True when the loop may end; `err` then tells whether the end is a good one. */
static bool at_end(struct connector *connector, int64_t now_ms, struct error *err)
{
    if (connector->fatal.kind != FAIL_NONE) {
        *err = connector->fatal;
        return true;
    }
    if (!connector->stopping)
        return false;
    if (connector->abort)
        return !error_set(err, FAIL_INTERNAL,
                          "ended at once by a second signal; %zu requests come "
                          "back when their leases end",
                          jobs_in_hand(connector));
    if (now_ms >= connector->stop_ms)
        return !error_set(err, FAIL_REMOTE,
                          "stopped with %zu requests in hand, which come back "
                          "when their leases end",
                          jobs_in_hand(connector));
    return nothing_left(connector) && helper_is_gone(connector->helper);
}

/* -- the loop -- */

static bool turn(struct connector *connector, int64_t next_ms, struct error *err)
{
    struct pollfd fds[DESCRIPTOR_COUNT];
    size_t count = 0;
    fds[count++] = (struct pollfd){.fd = connector->signal_fd, .events = POLLIN};
    struct pollfd *helper = NULL, *status = NULL;
    struct pollfd wanted = helper_pollfd(connector->helper);
    if (wanted.fd >= 0) {
        helper = &fds[count++];
        *helper = wanted;
    }
    if (connector->status != NULL) {
        status = &fds[count++];
        *status = (struct pollfd){.fd = status_fd(connector->status), .events = POLLIN};
    }
    /* Further answers are near: results and deletions may wait a moment to travel together. */
    queue_gather(connector->client, connector->in_state[JOB_RESEALING] > 0 && !connector->stopping);
    int64_t wait_ms = next_ms - clock_monotonic_ms();
    if (!queue_turn(connector->client, fds, count, wait_ms > 0 ? (int)wait_ms : 0, err))
        return false;
    if (helper != NULL)
        helper_serve(connector->helper, helper->revents);
    if (fds[0].revents != 0)
        serve_signals(connector);
    if (status != NULL && status->revents != 0)
        status_serve(connector->status, connector);
    return true;
}

static bool loop(struct connector *connector, struct error *err)
{
    struct error end = ERROR_INIT;
    for (;;) {
        int64_t now_ms = clock_monotonic_ms(), next_ms = now_ms + TURN_MS;
        helper_tick(connector->helper, now_ms, &next_ms);
        jobs_tick(connector, now_ms, &next_ms);
        intake_tick(connector, now_ms, &next_ms);
        stop_tick(connector, now_ms, &next_ms);
        if (at_end(connector, now_ms, &end))
            break;
        if (!turn(connector, next_ms, err))
            return false;
    }
    *err = end;
    return end.kind == FAIL_NONE;
}

bool connector_run(const struct config *config, struct error *err)
{
    static struct connector connector; /* large; a program has one */
    bool ok = connector_set_up(&connector, config, &helper_events, err);
    if (ok) {
        log_event(LEVEL_INFO, EVENT_NOTE, "connector starts", LOG_TEXT("version", RESEAL_VERSION),
                  LOG_TEXT("connector", connector.name),
                  LOG_TEXT("require", custody_name(connector.require)),
                  LOG_TEXT("endpoint", config_text(config, "queue", "endpoint")),
                  LOG_NUMBER("device_cas", device_trust_count(connector.trust)));
        ok = loop(&connector, err);
        if (ok)
            log_event(LEVEL_INFO, EVENT_NOTE, "connector ends",
                      LOG_NUMBER("resealed", connector.counts.resealed));
    }
    connector_tear_down(&connector);
    return ok;
}
