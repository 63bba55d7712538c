/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with the jobs in hand: which helper gets one, and what becomes of it when that one
 * fails; leases and deadlines. */
#include <stdio.h>
#include "connector.h"
#include "reseal/clock.h"
#include "reseal/log.h"

#define TRIES_HERE  3   /* of one job at the tokens, before it is given back */
#define LOSSES_HERE 3   /* helpers that one job may outlive: it may be what kills them */
#define RETRY_MS    200 /* before the second try */

/* -- failures of a token -- */

static void wait_again(struct job *job, int64_t due_ms)
{
    job->connector->counts.retried++;
    job->due_ms = due_ms;
    job_enter(job, JOB_WAITING);
}

/* Stations that may do it and have not failed on it in the present try. */
static bool has_untried(const struct job *job)
{
    const struct connector *connector = job->connector;
    struct route route;
    route_find(connector, &job->request, &route);
    unsigned left = route.stations & ~job->unfit & ~job->tried;
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        if ((left & station_bit(station)) != 0 && station_is_able(station))
            return true;
    }
    return false;
}

void job_retry(struct job *job, const struct error *why)
{
    int64_t now_ms = clock_monotonic_ms();
    job->tries++;
    job->tried = 0;
    log_event(LEVEL_WARNING, EVENT_RESEAL_RETRY, "the token could not do it, it is tried again",
              LOG_TEXT("request", job->request.id), LOG_NUMBER("try", job->tries),
              LOG_NUMBER("received", job->receive_count),
              LOG_TEXT("error", failure_name(why->kind)), LOG_TEXT("text", why->text),
              LOG_TEXT("hint", why->hint));
    if (job->tries < TRIES_HERE && job->losses < LOSSES_HERE && !job->connector->stopping) {
        wait_again(job, now_ms + RETRY_MS * (int64_t)job->tries);
    } else {
        job->connector->counts.retried++;
        job_pass_on(job, why);
    }
}

void job_failed(struct job *job, const struct error *why, bool away)
{
    const struct station *station = job->station;
    job->failed_ms[station->index] = clock_monotonic_ms();
    job->tried |= station_bit(station);
    if (has_untried(job)) {
        log_event(LEVEL_DEBUG, EVENT_RESEAL_RETRY, "the request goes to another token",
                  LOG_TEXT("request", job->request.id), LOG_TEXT("token", station->name),
                  LOG_TEXT("text", why->text));
        wait_again(job, 0);
    } else if (away) {
        log_event(LEVEL_DEBUG, EVENT_RESEAL_RETRY, "the request waits until the token is back",
                  LOG_TEXT("request", job->request.id), LOG_TEXT("text", why->text));
        wait_again(job, 0);
    } else {
        job_retry(job, why);
    }
}

void job_unfit(struct job *job, const struct error *why)
{
    struct route route;
    job->unfit |= station_bit(job->station);
    route_find(job->connector, &job->request, &route);
    if ((route.stations & ~job->unfit) == 0) {
        if (why->kind == FAIL_NOT_FOUND) /* the key was here; another connector may have it */
            job_pass_on(job, why);
        else
            job_refuse(job, why);
        return;
    }
    log_event(LEVEL_DEBUG, EVENT_RESEAL_RETRY, "the request goes to another token",
              LOG_TEXT("request", job->request.id), LOG_TEXT("token", job->station->name),
              LOG_TEXT("text", why->text));
    wait_again(job, 0);
}

/* -- the helper's part -- */

static bool send_to_helper(const struct job *job, struct station *station, struct bytes prefix,
                           struct bytes suffix, struct error *err)
{
    struct connector *connector = job->connector;
    const struct request *request = &job->request;
    struct reseal_message message = {
        .padding = request->padding,
        .sealed = buf_bytes(&request->sealed),
        .prefix = prefix,
        .suffix = suffix,
        .in_cdata = payload_has_cdata(request),
        .device_certificate = buf_bytes(&request->device_certificate),
        .transport = connector->transport,
    };
    snprintf(message.key_name, sizeof message.key_name, "%s",
             route_label(connector, station, request));
    if (++connector->last_number == 0) /* 0 is HELLO's */
        connector->last_number = 1;
    return helper_send(station->helper, connector->last_number, &message, err);
}

static void job_dispatch(struct job *job, struct station *station, int64_t now_ms)
{
    struct connector *connector = job->connector;
    struct buf prefix = BUF_INIT(HELPER_AFFIX_MAX), suffix = BUF_INIT(HELPER_AFFIX_MAX);
    struct error err = ERROR_INIT;
    bool made = payload_around_password(&connector->payload, &job->request, &prefix, &suffix, &err);
    bool sent = made && send_to_helper(job, station, buf_bytes(&prefix), buf_bytes(&suffix), &err);
    buf_free(&prefix);
    buf_free(&suffix);
    if (!made) {
        job_unmade(job, &err);
        return;
    }
    if (!sent) {
        job_retry(job, &err);
        return;
    }
    job->number = connector->last_number;
    job->due_ms = now_ms + connector->helper_deadline_ms;
    /* As if all that is ahead of it took its whole time, one after the other. */
    job->latest_ms = job->due_ms + (int64_t)station->busy * connector->helper_deadline_ms;
    job->station = station;
    job->helper = station->helper;
    station->busy++;
    job_enter(job, JOB_RESEALING);
}

void jobs_allow_time(struct connector *connector, const struct helper *helper, int64_t now_ms)
{
    int64_t due_ms = now_ms + connector->helper_deadline_ms;
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->helper == helper)
            job->due_ms = due_ms < job->latest_ms ? due_ms : job->latest_ms;
    }
}

void jobs_requeue(struct connector *connector, struct helper *helper)
{
    struct error why = ERROR_INIT;
    error_set(&why, FAIL_TOKEN, "the token helper was lost with this request in hand");
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->helper != helper)
            continue;
        job->tried |= station_bit(job->station);
        if (++job->losses >= LOSSES_HERE)
            job_retry(job, &why);
        else
            wait_again(job, 0);
    }
}

void job_put_back(struct job *job)
{
    job->due_ms = 0;
    job_enter(job, JOB_WAITING);
}

void jobs_put_back(struct connector *connector, const struct helper *helper)
{
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->helper == helper)
            job_put_back(job);
    }
}

/* The station with the least work for each session, of those that work and can do the job; rather
 * one that has not failed on it. NULL: none, or it has enough work. */
static struct station *choose_station(const struct job *job, unsigned stations)
{
    struct connector *connector = job->connector;
    struct station *best = NULL;
    for (size_t i = 0; i < connector->station_count; i++) {
        struct station *station = &connector->stations[i];
        if ((stations & station_bit(station)) == 0 || !station_is_able(station))
            continue;
        bool tried = (job->tried & station_bit(station)) != 0;
        bool best_tried = best != NULL && (job->tried & station_bit(best)) != 0;
        size_t load = best == NULL ? 0 : (station->busy + 1) * station_hello(best)->sessions;
        size_t least = best == NULL ? 0 : (best->busy + 1) * station_hello(station)->sessions;
        if (best == NULL || (best_tried && !tried) || (best_tried == tried && load < least))
            best = station;
    }
    return best != NULL && best->busy < station_slots(best) ? best : NULL;
}

static bool is_held(const struct job *job)
{
    const struct connector *connector = job->connector;
    struct route route;
    route_find(connector, &job->request, &route);
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        if ((route.stations & ~job->unfit & station_bit(station)) != 0 && station_is_able(station))
            return false;
    }
    return true;
}

size_t jobs_held(const struct connector *connector)
{
    size_t count = 0;
    if (connector->in_state[JOB_WAITING] == 0)
        return 0;
    for (const struct job *job = connector->jobs; job != NULL; job = job->next)
        count += job->state == JOB_WAITING && is_held(job);
    return count;
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
    helper_replace(job->helper, &err);
}

/* Nobody waits for it any more. */
static void end_expired(struct job *job, unsigned stations)
{
    const struct connector *connector = job->connector;
    struct error why = ERROR_INIT;
    error_set(&why, FAIL_POLICY, "the request has expired while it waited for the token");
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        if ((stations & station_bit(station)) != 0 && station->outage.away)
            why = station->outage.why;
    }
    job_refuse(job, &why);
}

static struct station *trial_of(const struct job *job)
{
    struct connector *connector = job->connector;
    for (size_t i = 0; i < connector->station_count; i++) {
        if (connector->stations[i].trial == job)
            return &connector->stations[i];
    }
    return NULL;
}

static void tick_waiting(struct job *job, int64_t now_ms)
{
    struct route route;
    route_find(job->connector, &job->request, &route);
    unsigned stations = route.stations & ~job->unfit;
    if (stations == 0 || job->connector->stopping) { /* its helper was lost meanwhile */
        struct error why = route.why;
        if (why.kind == FAIL_NONE)
            error_set(&why, FAIL_TOKEN, "no token can do it now");
        job_return(job, job->connector->stopping ? 0 : RETURN_DELAY_S, &why);
        return;
    }
    if (job->request.expires_ms <= clock_real_ms()) {
        end_expired(job, stations);
        return;
    }
    struct station *station = trial_of(job);
    if (station == NULL && job->due_ms <= now_ms)
        station = choose_station(job, stations);
    if (station != NULL)
        job_dispatch(job, station, now_ms);
}

static void sooner(int64_t *next_ms, int64_t at_ms)
{
    if (at_ms < *next_ms)
        *next_ms = at_ms;
}

static void job_tick(struct job *job, int64_t now_ms, int64_t *next_ms)
{
    switch (job->state) {
    case JOB_WAITING:
        tick_waiting(job, now_ms);
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
    for (size_t i = 0; i < connector->station_count; i++)
        connector->stations[i].trial = outage_next(&connector->stations[i], now_ms, next_ms);
    struct job **link = &connector->jobs;
    while (*link != NULL) {
        struct job *job = *link;
        if (job->state == JOB_OVER && job->calls == 0) {
            *link = job->next;
            if (connector->jobs_end == &job->next)
                connector->jobs_end = link;
            job_free(job);
            continue;
        }
        job_tick(job, now_ms, next_ms);
        link = &job->next;
    }
    for (size_t i = 0; i < connector->station_count; i++) {
        connector->stations[i].trial = NULL;
        station_flush(&connector->stations[i]);
    }
}
