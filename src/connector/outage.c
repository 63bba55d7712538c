/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token is away: it failed a few times in a row, whatever it was asked.
 *
 * Then a request does not pay for it with its attempts. What is in hand is kept, its leases are
 * extended, and one job at a time is tried, more and more rarely, until the token answers again.
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

bool outage_failed(struct connector *connector, const struct job *job, const struct error *why)
{
    struct outage *outage = &connector->outage;
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
    log_error(LEVEL_WARNING, EVENT_TOKEN_TROUBLE,
              "the token is away: requests wait, and one at a time is tried", why);
    return true;
}

void outage_retry_now(struct connector *connector)
{
    connector->outage.due_ms = 0;
}

void outage_end(struct connector *connector)
{
    struct outage *outage = &connector->outage;
    outage->failures = 0;
    if (!outage->away)
        return;
    log_event(LEVEL_INFO, EVENT_TOKEN_TROUBLE, "the token answers again",
              LOG_NUMBER("tries", outage->tries),
              LOG_NUMBER("ms", clock_monotonic_ms() - outage->begun_ms));
    *outage = (struct outage){0};
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state != JOB_WAITING)
            continue;
        job->suspect = job->failed_ms != 0;
        job->tries = 0;
        job->due_ms = 0;
    }
}

struct job *outage_next(const struct connector *connector, int64_t now_ms, int64_t *next_ms)
{
    const struct outage *outage = &connector->outage;
    struct job *next = NULL;
    if (!outage->away || connector->in_state[JOB_RESEALING] > 0)
        return NULL;
    for (struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state == JOB_WAITING && (next == NULL || job->failed_ms < next->failed_ms))
            next = job;
    }
    if (outage->due_ms <= now_ms)
        return next;
    if (next != NULL && outage->due_ms < *next_ms)
        *next_ms = outage->due_ms;
    return NULL;
}

bool outage_wants_another(const struct connector *connector)
{
    if (connector->in_state[JOB_RESEALING] > 0)
        return false;
    for (const struct job *job = connector->jobs; job != NULL; job = job->next) {
        if (job->state == JOB_WAITING && job->failed_ms <= connector->outage.begun_ms)
            return false;
    }
    return true;
}
