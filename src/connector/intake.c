/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the queue to jobs: when to receive, how many, and what each message is checked for before
 * the token has to do with it.
 */
#include <string.h>
#include "connector.h"
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/log.h"

#define IDLE_MS        1000 /* between receives that do not wait */
#define EARLY_MS       100  /* an empty answer sooner than this: the service does not wait */
#define ONE_BY_ONE     20   /* receives of one message, after an answer that was too large */
#define HELD_MAX       32   /* jobs received for tokens that are away, beside what others do */
#define UNREADABLE_MAX 60   /* seconds: longest pause for a message that cannot be read */

static const struct backoff poll_retry = {.first_ms = 500, .most_ms = 20000};

/* -- one message -- */

/* A sender that cannot be told from the message cannot be answered. Nothing is thrown away: the
 * message is left to its queue, seen more and more rarely, until the queue's redrive policy
 * (maxReceiveCount) moves it to the dead-letter queue, where a person finds it. */
static void leave_unreadable(struct job *job, const struct error *why)
{
    unsigned delay = UNREADABLE_MAX;
    if (job->receive_count < 6)
        delay = 1U << job->receive_count;
    log_event(LEVEL_WARNING, EVENT_REQUEST_FAILED,
              "a message that is no request is left to its queue",
              LOG_TEXT("message", job->message_id), LOG_NUMBER("received", job->receive_count),
              LOG_TEXT("text", why->text));
    job_return(job, delay, why);
}

/* The device certificate is not looked at here: the token helper does it, in the process that asks
 * the token: whoever has taken this process over by a message cannot leave it out. */
static bool check_rules(const struct connector *connector, const struct request *request,
                        struct error *err)
{
    if (request->expires_ms <= clock_real_ms()) {
        char when[CLOCK_TEXT];
        clock_format(request->expires_ms, when);
        return error_set(err, FAIL_POLICY, "the request has expired at %s", when);
    }
    return payload_check(&connector->payload, request, err);
}

/* Whether one of them works, or wants a job to be tried with. */
static bool route_is_open(const struct connector *connector, unsigned stations)
{
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        if ((stations & station_bit(station)) != 0 &&
            (station_is_able(station) || outage_wants_another(station)))
            return true;
    }
    return false;
}

static void take_request(struct job *job, const struct queue_message *message)
{
    struct connector *connector = job->connector;
    struct request *request = &job->request;
    struct error err = ERROR_INIT;
    bool addressed = false;
    if (!request_read(message->body.data, message->body.len, request, &addressed, &err)) {
        if (addressed)
            job_refuse(job, &err);
        else
            leave_unreadable(job, &err);
        return;
    }
    if (request->format == FORMAT_CMS) /* does not carry it */
        buf_free(&request->pfx);
    log_event(LEVEL_DEBUG, EVENT_DOWNLOADED, "request taken", LOG_TEXT("request", request->id),
              LOG_TEXT("source", request->source), LOG_TEXT("key", request->key_name),
              LOG_TEXT("user", request->user_principal_name),
              LOG_TEXT("device", request->device_id), LOG_NUMBER("received", job->receive_count));
    if (!check_rules(connector, request, &err)) {
        job_refuse(job, &err);
        return;
    }
    struct route route;
    route_find(connector, request, &route);
    if (route.stations == 0 && !route.may_come)
        job_pass_on(job, &route.why);
    else if (route.stations == 0)
        job_postpone(job, &route.why);
    else if (intake_holds_enough(connector) && !route_is_open(connector, route.stations)) {
        error_set(&err, FAIL_TOKEN, "the tokens with the sealing key \"%s\" are away",
                  request->key_name);
        job_postpone(job, &err);
    }
    /* otherwise it stays JOB_WAITING: jobs_tick hands it to a helper */
}

static void take_message(struct connector *connector, const struct queue_message *message)
{
    struct error err = ERROR_INIT;
    struct job *job = job_by_message(connector, message->message_id);
    connector->counts.received++;
    if (job != NULL) { /* its lease ran out while it is in hand: the newest receipt counts */
        memcpy(job->receipt, message->receipt, sizeof job->receipt);
        job->receipt_renewed = true;
        if (message->receive_count > job->receive_count)
            job->receive_count = message->receive_count;
        return;
    }
    if (job_new(connector, message, &job, &err))
        take_request(job, message);
    else
        log_error(LEVEL_ERROR, EVENT_REQUEST_FAILED, "a message could not be taken", &err);
}

/* -- receiving -- */

static void note_failure(struct connector *connector, const struct error *err)
{
    struct intake *intake = &connector->intake;
    enum log_level level = LEVEL_DEBUG;
    if (intake->failures == 0)
        level = err->kind == FAIL_REMOTE ? LEVEL_WARNING : LEVEL_ERROR;
    intake->failures++;
    intake->trouble = *err;
    intake->due_ms = clock_monotonic_ms() + backoff_ms(&poll_retry, intake->failures);
    if (err->kind == FAIL_TOO_LARGE)
        intake->one_by_one = ONE_BY_ONE;
    log_error(level, EVENT_POLL_FAILED, "requests cannot be received, it is tried again", err);
}

static void note_success(struct connector *connector, size_t count)
{
    struct intake *intake = &connector->intake;
    if (intake->failures > 0)
        log_event(LEVEL_INFO, EVENT_POLLED, "requests can be received again",
                  LOG_NUMBER("failures", intake->failures));
    else
        log_event(LEVEL_DEBUG, EVENT_POLLED, "polled", LOG_NUMBER("messages", count));
    intake->failures = 0;
    intake->trouble = (struct error)ERROR_INIT;
    if (intake->one_by_one > 0)
        intake->one_by_one--;
    if (count > 0) {
        intake->empty = 0;
        return;
    }
    /* A service that answers at once, empty, is not asked in a tight loop. */
    int64_t now_ms = clock_monotonic_ms();
    if (connector->wait_s == 0)
        intake->due_ms = now_ms + IDLE_MS;
    else if (now_ms - intake->begun_ms < EARLY_MS)
        intake->due_ms = now_ms + backoff_ms(&poll_retry, ++intake->empty);
    else
        intake->empty = 0;
}

/* A message that came while the connector stops: nothing was begun, so another connector may have
 * it at once. */
static void give_back(struct connector *connector, const struct queue_message *message)
{
    struct error err = ERROR_INIT;
    struct job *job = NULL;
    if (!job_new(connector, message, &job, &err)) {
        log_error(LEVEL_WARNING, EVENT_NOTE, "a message comes back when its lease ends", &err);
        return;
    }
    error_set(&err, FAIL_REMOTE, "the connector is stopping");
    job_return(job, 0, &err);
}

static void on_received(void *context, const struct error *err,
                        const struct queue_message *messages, size_t count)
{
    struct connector *connector = context;
    connector->intake.polling = false;
    if (connector->stopping) {
        for (size_t i = 0; err == NULL && i < count; i++)
            give_back(connector, &messages[i]);
        return;
    }
    connector->intake.last_ms = clock_real_ms();
    if (err != NULL) {
        note_failure(connector, err);
        return;
    }
    note_success(connector, count);
    for (size_t i = 0; i < count; i++)
        take_message(connector, &messages[i]);
}

/* -- how many -- */

bool intake_holds_enough(const struct connector *connector)
{
    return jobs_held(connector) > HELD_MAX; /* the one in question is among them */
}

/* No token works, but some have a helper: what is in hand is kept, and no more is received than one
 * job that would tell something. */
static unsigned slots_for_trial(const struct connector *connector)
{
    size_t slots = 0, used = connector->in_state[JOB_WAITING] + connector->in_state[JOB_RESEALING];
    bool wanted = false;
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        if (!helper_is_ready(station->helper))
            continue;
        slots += station_slots(station);
        wanted = wanted || outage_wants_another(station);
    }
    return wanted && used < slots && jobs_in_hand(connector) < slots + ANSWERS_MAX ? 1 : 0;
}

/* The free slots of all tokens that work. What is held for others takes none of them. */
static unsigned free_slots(const struct connector *connector)
{
    size_t slots = 0, used = connector->in_state[JOB_WAITING], held = jobs_held(connector);
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        if (!station_is_able(station))
            continue;
        slots += station_slots(station);
        used += station->busy;
    }
    if (slots == 0)
        return slots_for_trial(connector);
    used -= held;
    if (used >= slots || jobs_in_hand(connector) - held >= slots + ANSWERS_MAX)
        return 0;
    /* Under load, half of them at a time: fewer, fuller answers. */
    size_t room = slots - used;
    return 2 * room >= slots ? (unsigned)room : 0;
}

void intake_tick(struct connector *connector, int64_t now_ms, int64_t *next_ms)
{
    struct intake *intake = &connector->intake;
    struct error err = ERROR_INIT;
    if (intake->polling || connector->stopping)
        return;
    unsigned room = free_slots(connector);
    if (room == 0)
        return;
    if (intake->due_ms > now_ms) {
        if (intake->due_ms < *next_ms)
            *next_ms = intake->due_ms;
        return;
    }
    if (room > QUEUE_BATCH_MAX)
        room = QUEUE_BATCH_MAX;
    if (intake->one_by_one > 0)
        room = 1;
    intake->begun_ms = now_ms;
    intake->polling = true;
    if (!queue_receive(connector->requests, room, connector->lease_s, connector->wait_s,
                       on_received, connector, &err)) {
        intake->polling = false;
        note_failure(connector, &err);
    }
}

void intake_cancel(struct connector *connector)
{
    if (connector->intake.polling)
        queue_receive_cancel(connector->requests);
}
