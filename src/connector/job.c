/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "connector.h"
#include "reseal/clock.h"
#include "reseal/log.h"

#define TRIES_HERE     3   /* of one job at the token, before it is given back */
#define LOSSES_HERE    3   /* helpers that one job may outlive: it may be what kills them */
#define RETRY_MS       200 /* before the second try at the token */
#define RETURN_DELAY_S 5   /* for another connector, or for the token to come back */

static void enter(struct job *job, enum job_state state)
{
    job->connector->in_state[job->state]--;
    job->connector->in_state[state]++;
    job->state = state;
}

bool job_new(struct connector *connector, const struct queue_message *message, struct job **out,
             struct error *err)
{
    *out = NULL;
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return error_memory(err);
    job->connector = connector;
    snprintf(job->message_id, sizeof job->message_id, "%s", message->message_id);
    snprintf(job->receipt, sizeof job->receipt, "%s", message->receipt);
    job->receive_count = message->receive_count;
    if (job->receive_count == 0) /* not told */
        job->receive_count = received_count(&connector->received, job->message_id);
    request_init(&job->request);
    job->received_ms = clock_monotonic_ms();
    job->extend_ms = job->received_ms + (int64_t)connector->lease_s * 1000 / 3;
    job->state = JOB_WAITING;
    connector->in_state[JOB_WAITING]++;
    job->next = connector->jobs;
    connector->jobs = job;
    *out = job;
    return true;
}

static void job_free(struct job *job)
{
    job->connector->in_state[job->state]--;
    request_free(&job->request);
    free(job);
}

struct job *job_by_message(struct connector *connector, const char *message_id)
{
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state != JOB_OVER && strcmp(job->message_id, message_id) == 0)
            return job;
    }
    return NULL;
}

struct job *job_by_number(struct connector *connector, uint32_t number)
{
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state == JOB_RESEALING && job->number == number)
            return job;
    }
    return NULL;
}

size_t jobs_in_hand(const struct connector *connector)
{
    size_t count = 0;
    for (size_t i = 0; i < JOB_STATE_COUNT; i++)
        count += i == JOB_OVER ? 0 : connector->in_state[i];
    return count;
}

/* -- the end of a job -- */

static void give_back(struct job *job);

static void on_returned(void *context, const struct error *err)
{
    struct job *job = context;
    job->calls--;
    if (job->receipt_renewed) { /* what was said of the old receipt may count for nothing */
        give_back(job);
        return;
    }
    if (err != NULL) /* it comes back by itself when its lease ends */
        log_error(LEVEL_DEBUG, EVENT_NOTE, "a request could not be given back", err);
    enter(job, JOB_OVER);
}

static void give_back(struct job *job)
{
    struct error err = ERROR_INIT;
    job->receipt_renewed = false;
    if (queue_extend(job->connector->requests, job->receipt, job->return_s, on_returned, job,
                     &err)) {
        job->calls++;
        return;
    }
    log_error(LEVEL_DEBUG, EVENT_NOTE, "a request could not be given back", &err);
    enter(job, JOB_OVER);
}

void job_return(struct job *job, unsigned delay_s, const struct error *why)
{
    log_event(LEVEL_DEBUG, EVENT_NOTE, "request is given back",
              LOG_TEXT("request", job->request.id), LOG_TEXT("message", job->message_id),
              LOG_NUMBER("received", job->receive_count), LOG_NUMBER("delay_s", delay_s),
              LOG_TEXT("text", why->text));
    enter(job, JOB_RETURNING);
    job->return_s = delay_s;
    give_back(job);
}

static void job_delete(struct job *job);

static void on_deleted(void *context, const struct error *err)
{
    struct job *job = context;
    job->calls--;
    /* Handed out anew meanwhile, it may be there still: a service may call the deletion by an old
     * receipt done and keep the message. */
    if (job->receipt_renewed) {
        job_delete(job);
        return;
    }
    if (err != NULL) /* it comes back, and its result changes nothing */
        log_error(LEVEL_WARNING, EVENT_NOTE, "an answered request could not be deleted", err);
    enter(job, JOB_OVER);
}

static void job_delete(struct job *job)
{
    struct error err = ERROR_INIT;
    if (job->state != JOB_DELETING)
        enter(job, JOB_DELETING);
    job->receipt_renewed = false;
    if (queue_delete(job->connector->requests, job->receipt, on_deleted, job, &err)) {
        job->calls++;
        return;
    }
    log_error(LEVEL_DEBUG, EVENT_NOTE, "an answered request could not be deleted", &err);
    enter(job, JOB_OVER);
}

/* -- the answer -- */

/* The one line that every request leaves at level info. */
static void log_done(const struct job *job)
{
    const struct request *request = &job->request;
    bool done = job->outcome == OUTCOME_RESEALED;
    log_event(done ? LEVEL_INFO : LEVEL_WARNING, done ? EVENT_REQUEST_DONE : EVENT_REQUEST_FAILED,
              done ? "request done" : "request answered with an error",
              LOG_TEXT("request", request->id), LOG_TEXT("source", request->source),
              LOG_TEXT("key", request->key_name), LOG_TEXT("outcome", outcome_name(job->outcome)),
              LOG_TEXT("custody", done ? custody_name(job->custody) : "none"),
              LOG_NUMBER("code", job->code),
              LOG_NUMBER("ms", clock_monotonic_ms() - job->received_ms));
}

static void count_answer(struct job *job)
{
    struct counts *counts = &job->connector->counts;
    switch (job->outcome) {
    case OUTCOME_RESEALED:
        counts->resealed++;
        return;
    case OUTCOME_REFUSED:
        counts->refused++;
        return;
    case OUTCOME_FAILED:
        counts->failed++;
        return;
    }
}

static void answer_curtailed(struct job *job, const struct error *why);

static void on_sent(void *context, const struct error *err)
{
    struct job *job = context;
    job->calls--;
    if (err != NULL) {
        log_error(LEVEL_ERROR, EVENT_UPLOAD_FAILED, "the queue does not take a result", err);
        answer_curtailed(job, err);
        return;
    }
    log_event(LEVEL_DEBUG, EVENT_UPLOADED, "result is with the queue",
              LOG_TEXT("request", job->request.id));
    count_answer(job);
    log_done(job);
    job_delete(job);
}

static void send_result(struct job *job, const struct result *result)
{
    struct buf message = BUF_INIT(MESSAGE_MAX);
    struct error err = ERROR_INIT;
    job->outcome = result->outcome;
    job->custody = result->custody;
    job->code = result->code;
    enter(job, JOB_ANSWERING);
    if (result_write(result, &message, &err) &&
        queue_send(job->connector->results, buf_bytes(&message), on_sent, job, &err)) {
        job->calls++;
        log_event(LEVEL_DEBUG, EVENT_UPLOAD_STARTED, "result is being sent",
                  LOG_TEXT("request", job->request.id));
    } else {
        log_error(LEVEL_ERROR, EVENT_UPLOAD_FAILED, "a result could not be made", &err);
        answer_curtailed(job, &err);
    }
    buf_free(&message);
}

/* What the queue refuses for good it refuses the next time too: instead of being resealed again and
 * again, the request gets a small result under the same id, once. */
static void answer_curtailed(struct job *job, const struct error *why)
{
    struct error err = ERROR_INIT;
    struct result result;
    bool final = why->kind == FAIL_INPUT || why->kind == FAIL_TOO_LARGE;
    if (!final || job->curtailed) {
        job_return(job, RETURN_DELAY_S, why);
        return;
    }
    job->curtailed = true;
    result_init(&result);
    result.outcome = OUTCOME_FAILED;
    result.code = RESULT_SERVICE;
    snprintf(result.message, sizeof result.message, "the result could not be sent");
    if (result_address(&result, &job->request, job->connector->name, &err))
        send_result(job, &result);
    else
        job_return(job, RETURN_DELAY_S, &err);
    result_free(&result);
}

void job_refuse(struct job *job, const struct error *why)
{
    struct error err = ERROR_INIT;
    struct result result;
    result_init(&result);
    log_event(LEVEL_INFO, EVENT_RESEAL_FAILED, "request cannot be resealed",
              LOG_TEXT("request", job->request.id), LOG_TEXT("error", failure_name(why->kind)),
              LOG_TEXT("text", why->text), LOG_TEXT("hint", why->hint));
    result_from_error(&result, why);
    if (result_address(&result, &job->request, job->connector->name, &err))
        send_result(job, &result);
    else
        job_return(job, RETURN_DELAY_S, &err);
    result_free(&result);
}

void job_answer(struct job *job, const struct resealed_message *message)
{
    struct error err = ERROR_INIT;
    struct result result;
    result_init(&result);
    result.outcome = OUTCOME_RESEALED;
    result.custody = message->custody;
    buf_put(&result.payload, message->der.data, message->der.len);
    log_event(LEVEL_DEBUG, EVENT_RESEALED, "resealed", LOG_TEXT("request", job->request.id),
              LOG_TEXT("custody", custody_name(message->custody)));
    if (buf_check(&result.payload, "the payload of a result", &err) &&
        result_address(&result, &job->request, job->connector->name, &err))
        send_result(job, &result);
    else
        job_return(job, RETURN_DELAY_S, &err);
    result_free(&result);
}

void job_pass_on(struct job *job, const struct error *why)
{
    if (job->receive_count >= job->connector->attempts)
        job_refuse(job, why);
    else
        job_return(job, RETURN_DELAY_S, why);
}

void job_hold(struct job *job, const struct error *why)
{
    job->failed_ms = clock_monotonic_ms();
    job->connector->counts.retried++;
    log_event(LEVEL_DEBUG, EVENT_RESEAL_RETRY, "the request waits until the token is back",
              LOG_TEXT("request", job->request.id), LOG_TEXT("text", why->text));
    enter(job, JOB_WAITING);
}

void job_retry(struct job *job, const struct error *why)
{
    job->tries++;
    job->failed_ms = clock_monotonic_ms();
    job->connector->counts.retried++;
    log_event(LEVEL_WARNING, EVENT_RESEAL_RETRY, "the token could not do it, it is tried again",
              LOG_TEXT("request", job->request.id), LOG_NUMBER("try", job->tries),
              LOG_NUMBER("received", job->receive_count),
              LOG_TEXT("error", failure_name(why->kind)), LOG_TEXT("text", why->text),
              LOG_TEXT("hint", why->hint));
    if (job->tries < TRIES_HERE && job->losses < LOSSES_HERE && !job->connector->stopping) {
        job->due_ms = job->failed_ms + RETRY_MS * (int64_t)job->tries;
        enter(job, JOB_WAITING);
    } else {
        job_pass_on(job, why);
    }
}

/* -- the helper's part -- */

static void job_dispatch(struct job *job, int64_t now_ms)
{
    struct connector *connector = job->connector;
    const struct request *request = &job->request;
    struct error err = ERROR_INIT;
    struct reseal_message message = {
        .padding = request->padding,
        .sealed = buf_bytes(&request->sealed),
        .device_certificate = buf_bytes(&request->device_certificate),
        .transport = connector->transport,
    };
    snprintf(message.key_name, sizeof message.key_name, "%s", request->key_name);
    if (++connector->last_number == 0) /* 0 is HELLO's */
        connector->last_number = 1;
    if (!helper_send(connector->helper, connector->last_number, &message, &err)) {
        job_retry(job, &err);
        return;
    }
    job->number = connector->last_number;
    job->due_ms = now_ms + connector->helper_deadline_ms;
    /* As if all that is ahead of it took its whole time, one after the other. */
    job->latest_ms =
        job->due_ms + (int64_t)connector->in_state[JOB_RESEALING] * connector->helper_deadline_ms;
    enter(job, JOB_RESEALING);
}

void jobs_allow_time(struct connector *connector, int64_t now_ms)
{
    int64_t due_ms = now_ms + connector->helper_deadline_ms;
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state == JOB_RESEALING)
            job->due_ms = due_ms < job->latest_ms ? due_ms : job->latest_ms;
    }
}

void jobs_requeue(struct connector *connector)
{
    struct error why = ERROR_INIT;
    error_set(&why, FAIL_TOKEN, "the token helper was lost with this request in hand");
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state != JOB_RESEALING)
            continue;
        if (++job->losses >= LOSSES_HERE) {
            job_retry(job, &why);
            continue;
        }
        connector->counts.retried++;
        job->due_ms = 0;
        enter(job, JOB_WAITING);
    }
}

void jobs_put_back(struct connector *connector)
{
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state != JOB_RESEALING)
            continue;
        job->due_ms = 0;
        enter(job, JOB_WAITING);
    }
}

void jobs_return_waiting(struct connector *connector, const struct error *why)
{
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state == JOB_WAITING)
            job_return(job, 0, why);
    }
}

/* -- time -- */

static void on_extended(void *context, const struct error *err)
{
    struct job *job = context;
    job->calls--;
    job->extending = false;
    if (err != NULL) /* another connector may do it too; both results are one */
        log_error(LEVEL_DEBUG, EVENT_NOTE, "a lease could not be extended", err);
}

static void extend_lease(struct job *job, int64_t now_ms)
{
    struct error err = ERROR_INIT;
    unsigned lease_s = job->connector->lease_s;
    job->extend_ms = now_ms + (int64_t)lease_s * 1000 / 3;
    if (job->extending) /* the last try is still under way */
        return;
    if (queue_extend(job->connector->requests, job->receipt, lease_s, on_extended, job, &err)) {
        job->calls++;
        job->extending = true;
    } else {
        log_error(LEVEL_DEBUG, EVENT_NOTE, "a lease could not be extended", &err);
    }
}

static void replace_hung_helper(struct job *job)
{
    struct error err = ERROR_INIT;
    error_set(&err, FAIL_TOKEN, "the token helper did not answer request %s within %lld seconds",
              job->request.id, (long long)job->connector->helper_deadline_ms / 1000);
    error_hint(&err,
               "look at the token and its module; helper_deadline of [connector] is the bound");
    job->due_ms = INT64_MAX; /* said once; the loss puts it back */
    helper_replace(job->connector->helper, &err);
}

/* Nobody waits for it any more. */
static void end_expired(struct job *job)
{
    const struct outage *outage = &job->connector->outage;
    struct error why = outage->why;
    if (!outage->away)
        error_set(&why, FAIL_POLICY, "the request has expired while it waited for the token");
    job_refuse(job, &why);
}

static void tick_waiting(struct job *job, int64_t now_ms, const struct job *next_try)
{
    struct connector *connector = job->connector;
    if (helper_is_halted(connector->helper)) {
        job_return(job, RETURN_DELAY_S, helper_trouble(connector->helper));
        return;
    }
    if (connector->stopping) { /* its helper was lost meanwhile */
        job_return(job, 0, helper_trouble(connector->helper));
        return;
    }
    if (job->request.expires_ms <= clock_real_ms()) {
        end_expired(job);
        return;
    }
    bool due = connector->outage.away ? job == next_try : job->due_ms <= now_ms;
    if (due && helper_is_ready(connector->helper))
        job_dispatch(job, now_ms);
}

static void sooner(int64_t *next_ms, int64_t at_ms)
{
    if (at_ms < *next_ms)
        *next_ms = at_ms;
}

static void job_tick(struct job *job, int64_t now_ms, const struct job *next_try, int64_t *next_ms)
{
    switch (job->state) {
    case JOB_WAITING:
        tick_waiting(job, now_ms, next_try);
        break;
    case JOB_RESEALING:
        if (job->due_ms <= now_ms)
            replace_hung_helper(job);
        break;
    case JOB_ANSWERING:
    case JOB_DELETING:
    case JOB_RETURNING:
    case JOB_OVER:
        break;
    }
    bool held =
        job->state == JOB_WAITING || job->state == JOB_RESEALING || job->state == JOB_ANSWERING;
    if (held && job->extend_ms <= now_ms)
        extend_lease(job, now_ms);
    if (held)
        sooner(next_ms, job->extend_ms);
    if (job->state == JOB_RESEALING || (job->state == JOB_WAITING && job->due_ms > now_ms))
        sooner(next_ms, job->due_ms);
    if (job->state == JOB_WAITING)
        sooner(next_ms, now_ms + job->request.expires_ms - clock_real_ms());
}

void jobs_tick(struct connector *connector, int64_t now_ms, int64_t *next_ms)
{
    const struct job *next_try = outage_next(connector, now_ms, next_ms);
    struct job **link = &connector->jobs;
    while (*link != NULL) {
        struct job *job = *link;
        if (job->state == JOB_OVER && job->calls == 0) {
            *link = job->next;
            job_free(job);
            continue;
        }
        job_tick(job, now_ms, next_try, next_ms);
        link = &job->next;
    }
    helper_flush(connector->helper);
}

void jobs_free(struct connector *connector)
{
    for (struct job *job = connector->jobs, *next; job != NULL; job = next) {
        next = job->next;
        job_free(job);
    }
    connector->jobs = NULL;
}
