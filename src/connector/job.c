/* SPDX-License-Identifier: Apache-2.0 */
/* One request: its states, and its way back to the queue or to an answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "connector.h"
#include "reseal/clock.h"
#include "reseal/log.h"

#define POSTPONE_MAX                                                                               \
    7U /* doublings of RETURN_DELAY_S where no token of ours can do it, and one                    \
        */

/* No helper has it any more. */
static void leave_helper(struct job *job)
{
    struct station *station = job->station;
    if (station == NULL)
        return;
    if (job->helper == station->helper)
        station->busy--;
    else if (job->helper == station->leaving)
        station->leaving_busy--;
    job->station = NULL;
    job->helper = NULL;
}

void job_enter(struct job *job, enum job_state state)
{
    if (state != JOB_RESEALING)
        leave_helper(job);
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
    *connector->jobs_end = job;
    connector->jobs_end = &job->next;
    *out = job;
    return true;
}

void job_free(struct job *job)
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

struct job *job_by_number(struct connector *connector, const struct helper *helper, uint32_t number)
{
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state == JOB_RESEALING && job->helper == helper && job->number == number)
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
    job_enter(job, JOB_OVER);
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
    job_enter(job, JOB_OVER);
}

void job_return(struct job *job, unsigned delay_s, const struct error *why)
{
    log_event(LEVEL_DEBUG, EVENT_NOTE, "request is given back",
              LOG_TEXT("request", job->request.id), LOG_TEXT("message", job->message_id),
              LOG_NUMBER("received", job->receive_count), LOG_NUMBER("delay_s", delay_s),
              LOG_TEXT("text", why->text));
    job_enter(job, JOB_RETURNING);
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
    job_enter(job, JOB_OVER);
}

static void job_delete(struct job *job)
{
    struct error err = ERROR_INIT;
    if (job->state != JOB_DELETING)
        job_enter(job, JOB_DELETING);
    job->receipt_renewed = false;
    if (queue_delete(job->connector->requests, job->receipt, on_deleted, job, &err)) {
        job->calls++;
        return;
    }
    log_error(LEVEL_DEBUG, EVENT_NOTE, "an answered request could not be deleted", &err);
    job_enter(job, JOB_OVER);
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
    job_enter(job, JOB_ANSWERING);
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
    bool large = why->kind == FAIL_TOO_LARGE;
    result.code = large ? RESULT_TOO_LARGE : RESULT_SERVICE;
    snprintf(result.message, sizeof result.message, "%s",
             large ? "the result is larger than the queue takes" : "the result could not be sent");
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

void job_unmade(struct job *job, const struct error *why)
{
    if (why->kind == FAIL_INPUT || why->kind == FAIL_TOO_LARGE)
        job_refuse(job, why);
    else /* memory and the like */
        job_return(job, RETURN_DELAY_S, why);
}

void job_answer(struct job *job, const struct resealed_message *message)
{
    struct error err = ERROR_INIT;
    struct result result;
    result_init(&result);
    result.outcome = OUTCOME_RESEALED;
    result.custody = message->custody;
    log_event(LEVEL_DEBUG, EVENT_RESEALED, "resealed", LOG_TEXT("request", job->request.id),
              LOG_TEXT("custody", custody_name(message->custody)));
    if (!payload_write(&job->connector->payload, &job->request, message->der, &result.payload,
                       &err))
        job_unmade(job, &err);
    else if (result_address(&result, &job->request, job->connector->name, &err))
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

void job_postpone(struct job *job, const struct error *why)
{
    unsigned doublings = job->receive_count < POSTPONE_MAX ? job->receive_count : POSTPONE_MAX;
    job_return(job, RETURN_DELAY_S << (doublings - 1), why);
}

void jobs_free(struct connector *connector)
{
    for (struct job *job = connector->jobs, *next; job != NULL; job = next) {
        next = job->next;
        job_free(job);
    }
    connector->jobs = NULL;
    connector->jobs_end = &connector->jobs;
}
