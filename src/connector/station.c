/* SPDX-License-Identifier: Apache-2.0 */
/* What the helpers of one token say, and what follows from it; and all of them in one turn. */
#include <string.h>
#include "connector.h"
#include "reseal/clock.h"
#include "reseal/key_descriptor.h"
#include "reseal/log.h"

#define AHEAD_US    (20 * 1000) /* of the token's work that may wait here */
#define AHEAD_MAX   64          /* jobs, where sessions are fewer */
#define PACE_WEIGHT 32          /* answers over which the pace is smoothed */

/* Each configured key must do its job with the custody that is required, with one padding at
 * least. */
static bool check_custody(const struct station *station, const struct hello_message *hello,
                          struct error *err)
{
    const struct connector *connector = station->connector;
    size_t wanted = config_list_count(connector->config, station->section, "key");
    for (size_t i = 0; i < wanted; i++) {
        const char *name = config_list_at(connector->config, station->section, "key", i);
        const struct key_finding *key = probe_key(&hello->report, name);
        enum custody best = CUSTODY_UNUSABLE;
        if (key == NULL && key_descriptor_retires(connector->config, station->section, name))
            continue;
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

/* -- a helper that cannot serve -- */

/* Errors that another try does not mend: a person has to change something. */
static bool needs_person(enum failure kind)
{
    return kind == FAIL_PIN || kind == FAIL_POLICY || kind == FAIL_USAGE || kind == FAIL_NOT_FOUND;
}

/* Nothing has been served, and nothing will be until a person has acted. */
static bool nothing_to_hope_for(const struct connector *connector)
{
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        if (connector->served || !station->judged ||
            !needs_person(helper_trouble(station->helper)->kind))
            return false;
    }
    return true;
}

/* Nothing tries the PIN again until a person has acted. What is in hand goes to other tokens, or
 * back to its queue. */
static void halt_for_pin(struct station *station, const struct error *why)
{
    struct connector *connector = station->connector;
    bool others = false;
    log_event(LEVEL_ERROR, EVENT_TOKEN_TROUBLE,
              "the PIN was refused: it is not tried again, this token serves nothing",
              LOG_TEXT("token", station->name), LOG_TEXT("error", failure_name(why->kind)),
              LOG_TEXT("text", why->text), LOG_TEXT("hint", why->hint));
    station_keep_from_pin(station, why);
    if (station->successor != NULL)
        helper_halt(station->successor, why);
    station_stop_recycling(station);
    helper_halt(station->helper, why);
    jobs_put_back(connector, station->helper);
    for (size_t i = 0; i < connector->station_count; i++)
        others = others || !station_is_halted(&connector->stations[i]);
    if (!others)
        intake_cancel(connector);
}

/*
 * A mistake in the configuration ends the start, whatever the other tokens say: with one token out
 * of use from the beginning, the other would hide it. A token that is not found, or whose PIN is
 * refused, does not keep the others from serving; where it is the only one, or all are like that,
 * it ends the start too. Later the connector stays up to tell about it.
 */
static void judge(struct station *station, const struct error *why)
{
    struct connector *connector = station->connector;
    struct error reason = *why;
    bool first = !station->judged;
    bool mistake = reason.kind == FAIL_USAGE || reason.kind == FAIL_POLICY;
    station->judged = true;
    if (nothing_to_hope_for(connector) || (first && mistake)) {
        helper_halt(station->helper, &reason);
        if (reason.kind == FAIL_NOT_FOUND) /* a token or key that is not there: status 4 */
            reason.kind = FAIL_TOKEN;
        connector_fail(connector, &reason);
    } else if (reason.kind == FAIL_PIN) {
        halt_for_pin(station, &reason);
    } else {
        log_event(LEVEL_WARNING, EVENT_TOKEN_TROUBLE, "the token helper cannot serve",
                  LOG_TEXT("token", station->name), LOG_TEXT("error", failure_name(reason.kind)),
                  LOG_TEXT("text", reason.text), LOG_TEXT("hint", reason.hint));
    }
}

/* -- what the helper says -- */

static void reject(struct station *station, struct helper *helper, const struct error *why)
{
    helper_replace(helper, why);
    if (helper == station->successor)
        recycle_failed(station, why);
    else
        judge(station, why);
}

/* The label of a key that was made anew means another public key now: requests that name it are
 * routed by that one, and what was sealed for the old one opens nowhere here. */
static void tell_changed_keys(const struct station *station, const struct hello_message *hello)
{
    const struct hello_message *before = station_hello(station);
    for (size_t i = 0; before != NULL && i < hello->report.key_count; i++) {
        const struct key_finding *key = &hello->report.keys[i];
        const struct key_finding *old = probe_key(&before->report, key->name);
        if (old == NULL || strcmp(old->fingerprint, key->fingerprint) == 0)
            continue;
        log_event(LEVEL_WARNING, EVENT_TOKEN_TROUBLE,
                  "a sealing key is another one than before, under the same label",
                  LOG_TEXT("token", station->name), LOG_TEXT("key", key->name),
                  LOG_TEXT("before", old->fingerprint), LOG_TEXT("now", key->fingerprint),
                  LOG_TEXT("hint", "what was sealed for the old key opens no more: export the new "
                                   "public key to the importers, and seal anew"));
    }
}

static void on_ready(void *context, struct helper *helper)
{
    struct station *station = context;
    struct connector *connector = station->connector;
    const struct hello_message *hello = helper_hello(helper);
    const struct token_facts *token = &hello->report.token;
    struct error err = ERROR_INIT;
    if (!check_custody(station, hello, &err)) {
        reject(station, helper, &err);
        return;
    }
    log_event(LEVEL_INFO, EVENT_HELPER_STARTED, "the token helper is ready",
              LOG_TEXT("name", station->name), LOG_NUMBER("pid", helper_pid(helper)),
              LOG_TEXT("token", token->label), LOG_TEXT("serial", token->serial),
              LOG_NUMBER("keys", hello->report.key_count), LOG_NUMBER("sessions", hello->sessions));
    bool first = !station->judged;
    tell_changed_keys(station, hello);
    station->hello = *hello;
    station->judged = station->served = connector->served = true;
    if (helper == station->successor)
        recycle_take_over(station);
    else
        recycle_reset(station);
    outage_retry_now(station); /* its probe has found a token that works */
    if (routes_check(connector) && first)
        connector_fail(connector, &connector->conflicts[connector->conflict_count - 1]);
}

static void note_pace(struct station *station, int64_t now_ms)
{
    struct pace *pace = &station->pace;
    if (pace->answered_ms != 0) {
        int64_t interval_us = (now_ms - pace->answered_ms) * 1000;
        if (pace->interval_us == 0)
            pace->interval_us = interval_us > 0 ? interval_us : 1;
        else /* the clock's milliseconds are coarse: only the mean of many is true */
            pace->interval_us += (interval_us - pace->interval_us) / PACE_WEIGHT;
    }
    pace->answered_ms = station->busy > 0 ? now_ms : 0;
}

static bool take_answer(struct station *station, struct helper *helper, uint32_t number,
                        struct job **job, struct error *err)
{
    *job = job_by_number(station->connector, helper, number);
    if (*job == NULL)
        return error_set(err, FAIL_INPUT, "the token helper answered a job that it does not have");
    station->jobs++;
    recycle_count(station, helper);
    return true;
}

static bool on_resealed(void *context, struct helper *helper, uint32_t number,
                        const struct resealed_message *message, struct error *err)
{
    struct station *station = context;
    struct connector *connector = station->connector;
    int64_t now_ms = clock_monotonic_ms();
    struct job *job;
    if (!take_answer(station, helper, number, &job, err))
        return false;
    if (message->custody < connector->require)
        return error_set(err, FAIL_POLICY,
                         "the token helper resealed with custody %s, %s is required",
                         custody_name(message->custody), custody_name(connector->require));
    outage_end(station);
    job_answer(job, message);
    if (helper == station->helper)
        note_pace(station, now_ms);
    jobs_allow_time(connector, helper, now_ms);
    return true;
}

static bool on_failed(void *context, struct helper *helper, uint32_t number,
                      const struct error *failure, struct error *err)
{
    struct station *station = context;
    struct job *job;
    if (!take_answer(station, helper, number, &job, err))
        return false;
    jobs_allow_time(station->connector, helper, clock_monotonic_ms());
    if (helper == station->leaving && (failure->kind == FAIL_TOKEN || failure->kind == FAIL_PIN)) {
        job_put_back(job); /* it may not log in any more: that is no failure of the token */
        return true;
    }
    switch (failure->kind) {
    case FAIL_POLICY: /* refused before the token had to do with it */
    case FAIL_INPUT:
    case FAIL_TOO_LARGE:
        outage_retry_now(station);
        job_refuse(job, failure);
        return true;
    case FAIL_CRYPTO:
        outage_end(station);
        job_refuse(job, failure);
        return true;
    case FAIL_UNSUPPORTED:
    case FAIL_NOT_FOUND:
        outage_end(station);
        job_unfit(job, failure);
        return true;
    case FAIL_PIN: /* says nothing about this job: it counts no try */
        jobs_put_back(station->connector, helper);
        halt_for_pin(station, failure);
        return true;
    case FAIL_NONE:
    case FAIL_INTERNAL:
    case FAIL_USAGE:
    case FAIL_IO:
    case FAIL_EXISTS:
    case FAIL_AUTH:
    case FAIL_REMOTE:
        outage_end(station);
        job_retry(job, failure);
        return true;
    case FAIL_TOKEN:
        job_failed(job, failure, outage_failed(station, job, failure));
        return true;
    }
    return error_set(err, FAIL_INPUT, "the token helper failed in a way that is not known");
}

static void on_status(void *context, struct helper *helper, const struct status_message *status)
{
    recycle_measured(context, helper, status);
}

/* A successor that is on its way is the helper now: a second login beside its own is not tried. */
static void promote(struct station *station)
{
    helper_close(station->helper); /* it has no process, and is not to be started again */
    station->restarts += helper_restarts(station->helper) + 1;
    station->leaving = station->helper;
    station->helper = station->successor;
    station->successor = NULL;
}

static void on_lost(void *context, struct helper *helper, const struct error *refusal)
{
    struct station *station = context;
    jobs_requeue(station->connector, helper);
    if (helper == station->successor) {
        recycle_failed(station, refusal != NULL ? refusal : helper_trouble(helper));
        return;
    }
    if (helper != station->helper)
        return;
    if (station->successor != NULL)
        promote(station);
    else if (station->pin.refusal.kind != FAIL_NONE)
        halt_for_pin(station, &station->pin.refusal); /* refused while this one still served */
    else if (refusal != NULL)
        judge(station, refusal);
}

static const struct helper_events events = {
    .ready = on_ready,
    .resealed = on_resealed,
    .failed = on_failed,
    .status = on_status,
    .lost = on_lost,
};

/* -- its helpers -- */

bool station_helper_new(struct station *station, struct helper **out, struct error *err)
{
    struct helper_options options = {
        .nursery = &station->connector->nursery,
        .index = station->index,
        .token = station->name,
        .pin = &station->pin,
        .events = &events,
        .context = station,
    };
    return helper_new(&options, out, err);
}

bool station_set_up(struct station *station, struct error *err)
{
    return station_helper_new(station, &station->helper, err);
}

void station_tear_down(struct station *station)
{
    helper_free(&station->leaving);
    helper_free(&station->successor);
    helper_free(&station->helper);
}

void station_discard(struct station *station, struct helper *helper)
{
    helper_retire(helper);
    if (helper == station->successor)
        station->successor = NULL;
    station->leaving = helper;
}

static void see_off(struct station *station)
{
    if (station->leaving == NULL)
        return;
    if (station->leaving_busy == 0 && !helper_is_gone(station->leaving))
        helper_close(station->leaving);
    if (helper_is_gone(station->leaving))
        helper_free(&station->leaving);
}

void station_keep_from_pin(struct station *station, const struct error *why)
{
    if (station->pin.refusal.kind == FAIL_NONE)
        station->pin.refusal = *why;
}

static void rule_login(struct helper *helper, enum login_rule rule, const struct error *why)
{
    struct error err = ERROR_INIT;
    if (!helper_rule_login(helper, rule, why, &err))
        helper_replace(helper, &err);
}

/* One login attempt at a time; see station.h. */
static void rule_logins(struct station *station)
{
    const struct error *refusal = &station->pin.refusal;
    struct error left = ERROR_INIT;
    error_set(&left, FAIL_TOKEN, "the login was lost in a token helper that another has replaced");
    /* A successor that is not wanted any more may be at its login still. */
    bool ending = station->leaving != NULL && helper_pid(station->leaving) > 0 &&
                  helper_hello(station->leaving) == NULL;
    enum login_rule rule = LOGIN_FREE;
    if (refusal->kind != FAIL_NONE)
        rule = LOGIN_NEVER;
    else if (station->successor != NULL || station->recycling.wanted || ending)
        rule = LOGIN_HELD;
    rule_login(station->helper, rule, refusal);
    if (station->leaving != NULL)
        rule_login(station->leaving, LOGIN_NEVER, refusal->kind != FAIL_NONE ? refusal : &left);
}

void station_tick(struct station *station, int64_t now_ms, int64_t *next_ms)
{
    see_off(station);
    recycle_tick(station, now_ms, next_ms);
    rule_logins(station);
    helper_tick(station->helper, now_ms, next_ms);
    if (station->successor != NULL)
        helper_tick(station->successor, now_ms, next_ms);
    if (station->leaving != NULL)
        helper_tick(station->leaving, now_ms, next_ms);
}

/* At most STATION_FDS of them; NULL: none in that place. */
static void list_helpers(const struct station *station, struct helper *out[static STATION_FDS])
{
    out[0] = station->helper;
    out[1] = station->successor;
    out[2] = station->leaving;
}

size_t station_pollfds(const struct station *station, struct pollfd *fds)
{
    struct helper *helpers[STATION_FDS];
    size_t count = 0;
    list_helpers(station, helpers);
    for (size_t i = 0; i < STATION_FDS; i++) {
        struct pollfd wanted = {.fd = -1};
        if (helpers[i] != NULL)
            wanted = helper_pollfd(helpers[i]);
        if (wanted.fd >= 0)
            fds[count++] = wanted;
    }
    return count;
}

void station_serve(struct station *station, const struct pollfd *fds, size_t count)
{
    struct helper *helpers[STATION_FDS]; /* as they stand before any of them changes place */
    list_helpers(station, helpers);
    for (size_t i = 0; i < STATION_FDS; i++) {
        int fd = helpers[i] != NULL ? helper_pollfd(helpers[i]).fd : -1;
        for (size_t j = 0; fd >= 0 && j < count; j++) {
            if (fds[j].fd == fd)
                helper_serve(helpers[i], fds[j].revents);
        }
    }
}

void station_flush(struct station *station)
{
    helper_flush(station->helper);
    if (station->leaving != NULL)
        helper_flush(station->leaving);
}

void station_reap(struct station *station)
{
    struct helper *helpers[STATION_FDS];
    list_helpers(station, helpers);
    for (size_t i = 0; i < STATION_FDS; i++) {
        if (helpers[i] != NULL)
            helper_reap(helpers[i]);
    }
}

bool station_has_process(const struct station *station, pid_t pid)
{
    struct helper *helpers[STATION_FDS];
    list_helpers(station, helpers);
    for (size_t i = 0; i < STATION_FDS; i++) {
        if (helpers[i] != NULL && helper_pid(helpers[i]) == pid)
            return true;
    }
    return false;
}

void station_stop_recycling(struct station *station)
{
    station->recycling.over = true;
    if (station->successor != NULL)
        station_discard(station, station->successor);
}

void station_close(struct station *station)
{
    station_stop_recycling(station);
    helper_close(station->helper);
    if (station->leaving != NULL)
        helper_close(station->leaving);
}

bool station_is_gone(const struct station *station)
{
    return helper_is_gone(station->helper) &&
           (station->leaving == NULL || helper_is_gone(station->leaving));
}

/* -- what others ask -- */

bool station_is_halted(const struct station *station)
{
    return helper_is_halted(station->helper);
}

bool station_is_able(const struct station *station)
{
    return helper_is_ready(station->helper) && !station->outage.away;
}

const char *station_state(const struct station *station)
{
    if (station_is_halted(station))
        return "halted";
    if (station_is_able(station))
        return "serving";
    return station->served || station->judged ? "away" : "starting";
}

const struct error *station_trouble(const struct station *station)
{
    bool away = helper_is_ready(station->helper) && station->outage.away;
    return away ? &station->outage.why : helper_trouble(station->helper);
}

const struct hello_message *station_hello(const struct station *station)
{
    return station->served ? &station->hello : NULL;
}

unsigned station_restarts(const struct station *station)
{
    return station->restarts + helper_restarts(station->helper);
}

/*
 * One for each session, and ahead of these what the token does within a few milliseconds, so that
 * no session waits for the network; at least as many again as sessions. A slow token takes little
 * more than it works on, and leaves the rest to other tokens and connectors; a fast one gets full
 * batches.
 */
size_t station_slots(const struct station *station)
{
    const struct hello_message *hello = station_hello(station);
    if (hello == NULL)
        return 0;
    size_t sessions = hello->sessions, ahead = sessions;
    int64_t interval_us = station->pace.interval_us;
    if (interval_us > 0 && AHEAD_US / interval_us > (int64_t)ahead)
        ahead = (size_t)(AHEAD_US / interval_us);
    if (ahead > AHEAD_MAX && AHEAD_MAX > sessions)
        ahead = AHEAD_MAX;
    return sessions + ahead;
}
