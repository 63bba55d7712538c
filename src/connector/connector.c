/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: waits for HTTP, helpers, signals and status callers at once, and moves the jobs on. */
#include "connector.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/log.h"

#define TURN_MS          (60 * 1000) /* longest wait where nothing is due */
#define STOP_MS          (20 * 1000) /* on top of the helper's deadline, to finish what is in hand */
#define LAST_RECEIVE_MS  500 /* for a receive that is just being answered when the stop begins */
#define DESCRIPTOR_COUNT (3 + TOKENS_MAX * STATION_FDS)

const char *connector_state(const struct connector *connector)
{
    size_t halted = 0, able = 0;
    for (size_t i = 0; i < connector->station_count; i++) {
        halted += station_is_halted(&connector->stations[i]);
        able += station_is_able(&connector->stations[i]);
    }
    if (connector->stopping)
        return "stopping";
    if (halted == connector->station_count)
        return "halted";
    if (!connector->served)
        return "starting";
    if (able == 0 || connector->intake.trouble.kind != FAIL_NONE)
        return "waiting";
    return able < connector->station_count || connector->conflict_count > 0 ? "degraded"
                                                                            : "serving";
}

/* -- signals and the end -- */

static void begin_stop(struct connector *connector)
{
    struct error why = ERROR_INIT;
    error_set(&why, FAIL_REMOTE, "the connector is stopping");
    connector->stopping = true;
    connector->stop_ms = clock_monotonic_ms() + connector->helper_deadline_ms + STOP_MS;
    /* Cancelled at once, an answer that is on its way would leave its messages leased to nobody. */
    connector->cancel_ms = clock_monotonic_ms() + LAST_RECEIVE_MS;
    log_event(LEVEL_INFO, EVENT_NOTE, "stopping: what is in hand is finished first",
              LOG_NUMBER("in_hand", jobs_in_hand(connector)));
    for (size_t i = 0; i < connector->station_count; i++)
        station_stop_recycling(&connector->stations[i]);
    jobs_return_waiting(connector, &why);
}

void connector_fail(struct connector *connector, const struct error *why)
{
    if (connector->fatal.kind != FAIL_NONE)
        return;
    connector->fatal = *why;
    if (connector->served && !connector->stopping)
        begin_stop(connector);
}

static void on_signal(struct connector *connector, uint32_t number)
{
    log_event(LEVEL_INFO, EVENT_NOTE, "a signal came", LOG_NUMBER("signal", number));
    if (connector->stopping)
        connector->abort = true;
    else
        begin_stop(connector);
}

/* Of all stations; besides, processes that were stuck in the kernel when they were given up. */
static void reap(struct connector *connector)
{
    siginfo_t info = {0};
    for (size_t i = 0; i < connector->station_count; i++)
        station_reap(&connector->stations[i]);
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0) {
        bool ours = false;
        for (size_t i = 0; i < connector->station_count && !ours; i++) {
            ours = station_has_process(&connector->stations[i], info.si_pid);
            if (ours)
                station_reap(&connector->stations[i]);
        }
        if (!ours && waitpid(info.si_pid, NULL, WNOHANG) != info.si_pid)
            return;
        info = (siginfo_t){0};
    }
}

static void serve_signals(struct connector *connector)
{
    struct signalfd_siginfo info;
    while (read(connector->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(connector);
        else
            on_signal(connector, info.ssi_signo);
    }
}

static bool nothing_left(const struct connector *connector)
{
    return jobs_in_hand(connector) == 0 && queue_in_flight(connector->client) == 0;
}

static bool helpers_gone(const struct connector *connector)
{
    for (size_t i = 0; i < connector->station_count; i++) {
        if (!station_is_gone(&connector->stations[i]))
            return false;
    }
    return true;
}

/* On the way to the end: the last receive is given up when it is late, then the helpers may go. */
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
    for (size_t i = 0; i < connector->station_count; i++) {
        station_close(&connector->stations[i]);
        station_tick(&connector->stations[i], now_ms, next_ms); /* they have a time to be gone by */
    }
}

/* True when the loop may end; `err` then tells whether the end is a good one. */
static bool at_end(struct connector *connector, int64_t now_ms, struct error *err)
{
    if (connector->fatal.kind != FAIL_NONE) {
        *err = connector->fatal;
        return !connector->served || connector->abort || now_ms >= connector->stop_ms ||
               (nothing_left(connector) && helpers_gone(connector));
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
    return nothing_left(connector) && helpers_gone(connector);
}

/* -- the loop -- */

/* Without it no helper can be replaced: a fresh reseald has a fresh one. */
static void on_starter_lost(struct connector *connector)
{
    struct error why = ERROR_INIT;
    error_set(&why, FAIL_INTERNAL, "the process that starts token helpers has ended");
    error_hint(&why, "start reseald again, as its unit does by itself");
    connector->starter_lost = true;
    if (!connector->stopping)
        connector_fail(connector, &why);
}

static bool turn(struct connector *connector, int64_t next_ms, struct error *err)
{
    struct pollfd fds[DESCRIPTOR_COUNT];
    size_t count = 0, first[TOKENS_MAX + 1];
    fds[count++] = (struct pollfd){.fd = connector->signal_fd, .events = POLLIN};
    for (size_t i = 0; i < connector->station_count; i++) {
        first[i] = count;
        count += station_pollfds(&connector->stations[i], &fds[count]);
    }
    first[connector->station_count] = count;
    struct pollfd *starter = NULL;
    if (!connector->starter_lost) {
        starter = &fds[count++];
        *starter = (struct pollfd){.fd = nursery_fd(connector->nursery), .events = POLLIN};
    }
    struct pollfd *status = NULL;
    int listening = connector->status != NULL ? status_fd(connector->status) : -1;
    if (listening >= 0) {
        status = &fds[count++];
        *status = (struct pollfd){.fd = listening, .events = POLLIN};
    }
    /* Further answers are near: results and deletions may wait a moment to travel together. */
    queue_gather(connector->client, connector->in_state[JOB_RESEALING] > 0 && !connector->stopping);
    int64_t wait_ms = next_ms - clock_monotonic_ms();
    if (!queue_turn(connector->client, fds, count, wait_ms > 0 ? (int)wait_ms : 0, err))
        return false;
    for (size_t i = 0; i < connector->station_count; i++)
        station_serve(&connector->stations[i], &fds[first[i]], first[i + 1] - first[i]);
    if (fds[0].revents != 0)
        serve_signals(connector);
    if (starter != NULL && starter->revents != 0)
        on_starter_lost(connector);
    if (status != NULL && status->revents != 0)
        status_serve(connector->status, connector);
    return true;
}

static bool loop(struct connector *connector, struct error *err)
{
    struct error end = ERROR_INIT;
    for (;;) {
        int64_t now_ms = clock_monotonic_ms(), next_ms = now_ms + TURN_MS;
        for (size_t i = 0; i < connector->station_count; i++)
            station_tick(&connector->stations[i], now_ms, &next_ms);
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
    bool ok = connector_set_up(&connector, config, err);
    if (ok) {
        log_event(LEVEL_INFO, EVENT_NOTE, "connector starts", LOG_TEXT("version", RESEAL_VERSION),
                  LOG_TEXT("connector", connector.name),
                  LOG_TEXT("require", custody_name(connector.require)),
                  LOG_TEXT("endpoint", queue_endpoint(connector.client)),
                  LOG_NUMBER("tokens", connector.station_count),
                  LOG_TEXT("sandbox", sandbox_text(&connector.shut_in)),
                  LOG_NUMBER("device_cas", device_trust_count(connector.trust)));
        ok = loop(&connector, err);
        if (ok)
            log_event(LEVEL_INFO, EVENT_NOTE, "connector ends",
                      LOG_NUMBER("resealed", connector.counts.resealed));
    }
    connector_tear_down(&connector);
    return ok;
}
