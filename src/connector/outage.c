/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token is away: it failed a few times in a row, whatever it was asked.
 *
 * Then a request does not pay for it with its attempts. Where another token holds the same key, the
 * request goes there at once. Otherwise it is kept, its lease is extended, and one job at a time is
 * tried, more and more rarely, until the token answers again. A token whose work others do is tried
 * with one of their jobs, which goes to them if it fails.
 *
 * One request that the token fails on for ever looks the same while there is no other. So when
 * everything in hand was tried in vain, one more is received: if the token serves that one, it is
 * not away, and what it failed on meanwhile is suspect. The failures of a suspect count for itself
 * only: it is given back, and in the end answered, as its attempts are spent.
 */
#include "connector.h"
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/log.h"

#define AWAY_AFTER 3 /* failures in a row */

static const struct backoff next_try = {.first_ms = 1000, .most_ms = 30000};

bool outage_failed(struct station *station, const struct job *job, const struct error *why)
{
    struct outage *outage = &station->outage;
    int64_t now_ms = clock_monotonic_ms();
    if (outage->away) {
        outage->why = *why;
        if (now_ms >= outage->due_ms) /* a try, not an answer that was on its way at the start */
            outage->due_ms = now_ms + backoff_ms(&next_try, ++outage->tries);
        return true;
    }
    if (job->suspect || ++outage->failures < AWAY_AFTER)
        return false;
    outage->away = true;
    outage->why = *why;
    outage->begun_ms = now_ms;
    outage->tries = 1;
    outage->due_ms = now_ms + backoff_ms(&next_try, 1);
    log_event(LEVEL_WARNING, EVENT_TOKEN_TROUBLE,
              "the token is away: what no other can do waits, and one job at a time is tried",
              LOG_TEXT("token", station->name), LOG_TEXT("error", failure_name(why->kind)),
              LOG_TEXT("text", why->text), LOG_TEXT("hint", why->hint));
    return true;
}

void outage_retry_now(struct station *station)
{
    station->outage.due_ms = 0;
}

void outage_end(struct station *station)
{
    struct outage *outage = &station->outage;
    outage->failures = 0;
    if (!outage->away)
        return;
    log_event(LEVEL_INFO, EVENT_TOKEN_TROUBLE, "the token answers again",
              LOG_TEXT("token", station->name), LOG_NUMBER("tries", outage->tries),
              LOG_NUMBER("ms", clock_monotonic_ms() - outage->begun_ms));
    *outage = (struct outage){0};
    for (struct job *job = station->connector->jobs; job != NULL; job = job->next) {
        if (job->state != JOB_WAITING)
            continue;
        job->suspect = job->suspect || job->failed_ms[station->index] != 0;
        job->tries = 0;
        job->tried = 0;
        job->due_ms = 0;
    }
}

static bool is_candidate(const struct station *station, const struct job *job)
{
    struct route route;
    if (job->state != JOB_WAITING)
        return false;
    route_find(station->connector, &job->request, &route);
    return (route.stations & ~job->unfit & station_bit(station)) != 0;
}

struct job *outage_next(const struct station *station, int64_t now_ms, int64_t *next_ms)
{
    const struct outage *outage = &station->outage;
    size_t at = station->index;
    struct job *next = NULL;
    if (!outage->away || station->busy > 0 || !helper_is_ready(station->helper))
        return NULL;
    for (struct job *job = station->connector->jobs; job != NULL; job = job->next) {
        if ((next == NULL || job->failed_ms[at] < next->failed_ms[at]) &&
            is_candidate(station, job))
            next = job;
    }
    if (outage->due_ms <= now_ms)
        return next;
    if (next != NULL && outage->due_ms < *next_ms)
        *next_ms = outage->due_ms;
    return NULL;
}

bool outage_wants_another(const struct station *station)
{
    if (!station->outage.away || station->busy > 0 || !helper_is_ready(station->helper))
        return false;
    for (const struct job *job = station->connector->jobs; job != NULL; job = job->next) {
        if (job->failed_ms[station->index] <= station->outage.begun_ms &&
            is_candidate(station, job))
            return false;
    }
    return true;
}
