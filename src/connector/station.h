/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A station: one configured token as the connector sees it. It has one helper that serves, and at
 * times a second one.
 *
 * recycle.c: a helper that has done many jobs, or has grown, is replaced by a fresh one, since
 * modules leak memory. The successor is started, logs in and probes while the old helper serves;
 * when it is ready it takes over; the old one gets no more jobs, finishes what it has and is
 * closed.
 *
 *   helper                          successor            leaving
 *   serves                          -                    -
 *   serves                          starts               -
 *   the successor until now         -                    the helper until now, finishes
 *   serves                          -                    -
 *
 * There is one login attempt at a time. The helper that serves holds its logins (LOGIN of
 * reseal/helper_message.h) before its successor is started, and until the outcome is known; one
 * that is lost meanwhile is not started again, the successor is the helper then. One that leaves
 * logs in no more. Once a PIN was refused, to whichever of them, none of them tries it.
 */
#ifndef RESEAL_CONNECTOR_STATION_H
#define RESEAL_CONNECTOR_STATION_H

#include "helper.h"
#include "reseal/settings.h"

struct connector;

/* How fast the helper answers while it has work, to know how many jobs it should have ahead. */
struct pace {
    int64_t answered_ms; /* when the last answer came; 0: it had no work left then */
    int64_t interval_us; /* smoothed time between answers; 0: not known yet */
};

/* The token is away: it gets no work but one job at a time, as a trial. */
struct outage {
    bool away;
    unsigned failures; /* of the token, in a row */
    unsigned tries;    /* since it is away */
    int64_t begun_ms;
    int64_t due_ms;   /* next try not before */
    struct error why; /* the newest failure */
};

struct recycling {
    uint64_t jobs;         /* that the present helper has answered */
    uint64_t resident_kib; /* of the present helper; 0: not known yet, as the next */
    uint64_t base_kib;     /* when it was warm */
    unsigned done;         /* successors that have taken over */
    unsigned failures;     /* successors in a row that came to nothing */
    int64_t due_ms;        /* next try not before */
    struct error trouble;  /* why the last one came to nothing; FAIL_NONE: it did not */
    bool wanted; /* a fresh helper is to be started when the present one holds its logins */
    bool over;   /* never again */
};

struct station {
    struct connector *connector;
    size_t index;
    const char *section; /* of the configuration */
    const char *name;    /* of the token, as the configuration calls it */
    struct pin_history pin;
    bool pin_exposed;           /* reseald itself can read its source, shut in as it is */
    struct hello_message hello; /* of the newest helper that was ready; counts once it has served */
    struct helper *helper;
    struct helper *successor;  /* being started; NULL: none, as the next */
    struct helper *leaving;    /* finishes what it has */
    size_t busy, leaving_busy; /* jobs that helper and leaving have in hand */
    unsigned restarts;         /* of helpers before the present one */
    uint64_t jobs;             /* answered by the token, whatever the answer */
    struct pace pace;
    struct outage outage;
    struct recycling recycling;
    const struct job *trial; /* within one turn: the job to be tried while it is away */
    bool judged;             /* its first helper was ready, or has said why it cannot serve */
    bool served;             /* a helper was ready once */
};

/* Makes the helper; nothing is started. */
bool station_set_up(struct station *station, struct error *err) MUST_USE;
void station_tear_down(struct station *station);

/* Starts, restarts, recycles and kills what is due. */
void station_tick(struct station *station, int64_t now_ms, int64_t *next_ms);
/* Descriptors for poll, at most STATION_FDS; then what they allow is read and written. */
#define STATION_FDS 3
size_t station_pollfds(const struct station *station, struct pollfd *fds) MUST_USE;
void station_serve(struct station *station, const struct pollfd *fds, size_t count);
void station_flush(struct station *station);
/* After SIGCHLD. */
void station_reap(struct station *station);
bool station_has_process(const struct station *station, pid_t pid) MUST_USE;
/* The PIN was refused to a helper that does not serve: the one that serves goes on while its login
 * lasts. */
void station_keep_from_pin(struct station *station, const struct error *why);
/* No fresh helper is of use any more. */
void station_stop_recycling(struct station *station);
/* Orderly end of all its helpers. */
void station_close(struct station *station);
bool station_is_gone(const struct station *station) MUST_USE;

/* It may be given work now: ready and not away. */
bool station_is_able(const struct station *station) MUST_USE;
bool station_is_halted(const struct station *station) MUST_USE;
/* "starting", "serving", "away" or "halted". */
const char *station_state(const struct station *station) MUST_USE;
/* Why it does not serve; FAIL_NONE while it does. */
const struct error *station_trouble(const struct station *station) MUST_USE;
/* What the newest HELLO of its helper said; NULL before the first. */
const struct hello_message *station_hello(const struct station *station) MUST_USE;
unsigned station_restarts(const struct station *station) MUST_USE;
/* How many jobs may be before or at the token. */
size_t station_slots(const struct station *station) MUST_USE;
static inline unsigned station_bit(const struct station *station)
{
    return 1U << station->index;
}

/* -- recycle.c -- */
/* The helper has answered one job. */
void recycle_count(struct station *station, const struct helper *helper);
void recycle_measured(struct station *station, const struct helper *helper,
                      const struct status_message *status);
/* Begins where it is time. */
void recycle_tick(struct station *station, int64_t now_ms, int64_t *next_ms);
/* The successor is ready. */
void recycle_take_over(struct station *station);
/* The successor came to nothing; never tried again where its PIN was refused. */
void recycle_failed(struct station *station, const struct error *why);
/* The helper that serves is fresh. */
void recycle_reset(struct station *station);
/* helper_new for this station. */
bool station_helper_new(struct station *station, struct helper **out, struct error *err) MUST_USE;
/* The helper is to end; the station has no successor now. */
void station_discard(struct station *station, struct helper *helper);

#endif
