/* SPDX-License-Identifier: Apache-2.0 */
/* A fresh helper in place of one that has worked for long; see station.h. */
#include <string.h>
#include "connector.h"
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/log.h"

#define MEASURE_EVERY 32  /* jobs between two questions how large the helper is */
#define WARM_AFTER    128 /* jobs: before, buffers and caches of the module still grow */

static const struct backoff next_try = {.first_ms = 5000, .most_ms = 600000};

static uint64_t setting(const struct station *station, const char *name)
{
    return (uint64_t)config_number(station->connector->config, "connector", name);
}

void recycle_reset(struct station *station)
{
    struct recycling *recycling = &station->recycling;
    recycling->jobs = recycling->base_kib = recycling->resident_kib = 0;
}

void recycle_count(struct station *station, const struct helper *helper)
{
    struct recycling *recycling = &station->recycling;
    struct error err = ERROR_INIT;
    if (helper != station->helper || ++recycling->jobs % MEASURE_EVERY != 0)
        return;
    if (!helper_ask_status(station->helper, &err))
        log_error(LEVEL_DEBUG, EVENT_NOTE, "the token helper could not be asked how large it is",
                  &err);
}

void recycle_measured(struct station *station, const struct helper *helper,
                      const struct status_message *status)
{
    struct recycling *recycling = &station->recycling;
    if (helper != station->helper)
        return;
    recycling->resident_kib = status->resident_kib;
    if (recycling->base_kib == 0 && recycling->jobs >= WARM_AFTER)
        recycling->base_kib = status->resident_kib;
}

static bool is_worn(const struct station *station)
{
    const struct recycling *recycling = &station->recycling;
    uint64_t jobs = setting(station, "helper_jobs");
    uint64_t growth_kib = setting(station, "helper_growth") * 1024;
    return (jobs > 0 && recycling->jobs >= jobs) ||
           (growth_kib > 0 && recycling->base_kib > 0 &&
            recycling->resident_kib >= recycling->base_kib + growth_kib);
}

/* A pipe gives the PIN once, and a person at a terminal or at the token's own pad is not asked
 * again and again. */
static bool pin_is_at_hand(const struct station *station)
{
    const char *source = config_text(station->connector->config, station->section, "pin");
    if (source == NULL || strcmp(source, "prompt") == 0)
        return false;
    return pin_can_be_read_again(&station->pin);
}

static void begin(struct station *station)
{
    struct recycling *recycling = &station->recycling;
    struct error err = ERROR_INIT;
    if (!pin_is_at_hand(station)) {
        recycling->over = true;
        log_event(LEVEL_WARNING, EVENT_NOTE,
                  "the token helper would be replaced by a fresh one, but its PIN cannot be read "
                  "again: it stays, and may grow",
                  LOG_TEXT("token", station->name));
        return;
    }
    if (!station_helper_new(station, &station->successor, &err)) {
        recycle_failed(station, &err);
        return;
    }
    log_event(LEVEL_INFO, EVENT_NOTE, "a fresh token helper is started beside the one that serves",
              LOG_TEXT("token", station->name), LOG_NUMBER("jobs", recycling->jobs),
              LOG_NUMBER("resident_kib", recycling->resident_kib));
}

void recycle_tick(struct station *station, int64_t now_ms, int64_t *next_ms)
{
    struct recycling *recycling = &station->recycling;
    recycling->wanted = false;
    if (recycling->over || station->successor != NULL || station->leaving != NULL ||
        station->connector->stopping || !station_is_able(station) || !is_worn(station))
        return;
    if (recycling->due_ms > now_ms) {
        if (recycling->due_ms < *next_ms)
            *next_ms = recycling->due_ms;
    } else if (helper_holds_logins(station->helper)) {
        begin(station);
    } else {
        recycling->wanted = true;
    }
}

void recycle_take_over(struct station *station)
{
    struct recycling *recycling = &station->recycling;
    log_event(LEVEL_INFO, EVENT_NOTE, "a fresh token helper takes over",
              LOG_TEXT("token", station->name), LOG_NUMBER("pid", helper_pid(station->successor)),
              LOG_NUMBER("old_pid", helper_pid(station->helper)),
              LOG_NUMBER("finishing", station->busy));
    helper_retire(station->helper);
    station->restarts += helper_restarts(station->helper);
    station->leaving = station->helper;
    station->leaving_busy = station->busy;
    station->helper = station->successor;
    station->successor = NULL;
    station->busy = 0;
    station->pace.answered_ms = 0;
    *recycling = (struct recycling){.done = recycling->done + 1};
}

void recycle_failed(struct station *station, const struct error *why)
{
    struct recycling *recycling = &station->recycling;
    if (station->successor != NULL)
        station_discard(station, station->successor);
    recycling->trouble = *why;
    if (why->kind == FAIL_PIN) {
        recycling->over = true;
        station_keep_from_pin(station, why);
    }
    recycling->failures++;
    int64_t wait_ms = backoff_ms(&next_try, recycling->failures);
    recycling->due_ms = clock_monotonic_ms() + wait_ms;
    log_event(recycling->over ? LEVEL_ERROR : LEVEL_WARNING, EVENT_TOKEN_TROUBLE,
              recycling->over ? "the PIN was refused to a fresh token helper: it is not tried "
                                "again, the one that serves goes on"
                              : "no fresh token helper can take over yet, the one that serves goes "
                                "on",
              LOG_TEXT("token", station->name), LOG_TEXT("error", failure_name(why->kind)),
              LOG_TEXT("text", why->text), LOG_TEXT("hint", why->hint),
              LOG_NUMBER("next_try_in_ms", recycling->over ? -1 : wait_ms));
}
