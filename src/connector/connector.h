/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside reseald.
 *
 * One thread, one loop: the queue client waits for HTTP, the helpers' sockets, signals and the
 * status socket at once. A received message becomes a *job*; its way is the state machine in job.c.
 *
 *   waiting -> resealing (a helper has it) -> answering (its result is being sent)
 *           -> deleting (the request leaves the queue) -> over
 *   anything that cannot be answered now: -> returning (given back to the queue) -> over
 *
 * Each configured token is a *station*: the helper that serves it, and its share of the work. A job
 * belongs to no station until it is handed to a helper, and to none again when that helper is lost
 * or its token fails: then it goes to another station that holds the same sealing key.
 *
 * The order is fixed: the request is deleted only after the queue has taken the result. Whatever is
 * killed in between, the request comes back when its lease ends, is done again, and gives a result
 * with the same id, which changes nothing.
 */
#ifndef RESEAL_CONNECTOR_CONNECTOR_H
#define RESEAL_CONNECTOR_CONNECTOR_H

#include "reseal/device_trust.h"
#include "reseal/payload.h"
#include "reseal/queue.h"
#include "reseal/result.h"
#include "sandbox.h"
#include "station.h"

#define ANSWERS_MAX                                                                                \
    64 /* jobs whose result or deletion is under way; beyond, nothing is received                  \
        */

enum job_state {
    JOB_WAITING,
    JOB_RESEALING,
    JOB_ANSWERING,
    JOB_DELETING,
    JOB_RETURNING,
    JOB_OVER,
};
#define JOB_STATE_COUNT 6

struct job {
    struct job *next;
    struct connector *connector;
    enum job_state state;
    char message_id[QUEUE_MESSAGE_ID_MAX + 1];
    char receipt[QUEUE_RECEIPT_MAX + 1];
    bool receipt_renewed;    /* the message was handed out again while it is in hand */
    unsigned receive_count;  /* at least 1 */
    unsigned calls;          /* queue operations whose callback is to come */
    bool extending;          /* an extension of its lease is under way */
    bool curtailed;          /* the queue did not take its result: only that is told */
    unsigned return_s;       /* while returning: hidden for so long */
    struct request request;  /* of the format cms the PFX is dropped, which does not need it */
    uint32_t number;         /* of the frame, while resealing */
    struct station *station; /* while resealing; otherwise NULL */
    struct helper *helper;   /* of that station, which has it; otherwise NULL */
    unsigned tries;          /* that every token that could serve it has failed */
    unsigned tried;          /* bits of stations that failed on it in the present try */
    unsigned unfit;          /* bits of stations that said they cannot do this job */
    bool suspect;            /* a token failed on it while it served another */
    unsigned losses;         /* helpers that were lost with it in hand */
    int64_t received_ms;
    int64_t extend_ms;             /* when its lease is to be extended */
    int64_t due_ms;                /* waiting: not before; resealing: the helper's deadline */
    int64_t latest_ms;             /* resealing: the deadline whatever else the helper answers */
    int64_t failed_ms[TOKENS_MAX]; /* when that station's token failed on it last; 0: never */
    enum outcome outcome;          /* of the result, for the log */
    enum custody custody;
    enum result_code code;
};

/* What `reseal status` shows. */
struct counts {
    uint64_t received, resealed, refused, failed, retried;
};

struct intake {
    bool polling;         /* a receive is under way */
    unsigned failures;    /* in a row */
    unsigned empty;       /* answers in a row that came back empty too early */
    int64_t due_ms;       /* next receive not before */
    int64_t begun_ms;     /* of the receive under way */
    int64_t last_ms;      /* real time of the last answer; 0 before */
    unsigned one_by_one;  /* receives left that ask for one message only */
    struct error trouble; /* of the last poll; FAIL_NONE if it was good */
};

#define RECEIVED_MAX 256

/* Receives of messages whose queue does not count them. */
struct received {
    struct received_message {
        char id[QUEUE_MESSAGE_ID_MAX + 1];
        unsigned count;
        uint64_t used; /* when it was seen last; 0: free */
    } messages[RECEIVED_MAX];
    uint64_t clock;
};

#define CONFLICTS_MAX 8

struct connector {
    /* settings */
    const struct config *config;
    char name[RECORD_NAME_MAX + 1];
    enum custody require;
    enum key_transport transport;
    struct payload_options payload;
    unsigned attempts, lease_s, wait_s;
    int64_t helper_deadline_ms;
    char helper_program[4096];
    enum sandbox_rule sandbox;
    struct sandbox_report shut_in; /* what the sandbox keeps away */
    /* what it works with */
    struct nursery *nursery;
    bool starter_lost; /* its process has ended */
    struct device_trust *trust;
    struct queue_client *client;
    struct queue *requests, *results;
    struct station stations[TOKENS_MAX];
    size_t station_count;
    struct status_socket *status;
    int signal_fd;
    /* what it does */
    struct intake intake;
    struct received received;
    struct job *jobs;      /* the oldest first */
    struct job **jobs_end; /* where the next one goes */
    size_t in_state[JOB_STATE_COUNT];
    uint32_t last_number;
    struct counts counts;
    struct error conflicts[CONFLICTS_MAX]; /* labels that mean two keys; see route.c */
    size_t conflict_count;
    bool served; /* a helper was ready once */
    bool stopping;
    bool abort;        /* a second signal */
    int64_t stop_ms;   /* when stopping ends in any case */
    int64_t cancel_ms; /* while stopping: until then a receive under way may be answered */
    struct error
        fatal; /* ends the connector, orderly where it has served; FAIL_NONE while it runs */
};

/* -- connector.c -- */
/* Runs until a signal ends it. */
bool connector_run(const struct config *config, struct error *err) MUST_USE;
const char *connector_state(const struct connector *connector) MUST_USE;
/* Ends it because of `why`, when what is in hand is finished. */
void connector_fail(struct connector *connector, const struct error *why);

/* -- setup.c -- */
/* Reads the settings, loads what they name, and makes client and stations; nothing is started. */
bool connector_set_up(struct connector *connector, const struct config *config,
                      struct error *err) MUST_USE;
void connector_tear_down(struct connector *connector);

/* -- intake.c: from the queue to jobs -- */
/* Begins a receive where there is room. */
void intake_tick(struct connector *connector, int64_t now_ms, int64_t *next_ms);
void intake_cancel(struct connector *connector);

/* No further job is to be held for tokens that are away. */
bool intake_holds_enough(const struct connector *connector) MUST_USE;

/* -- received.c -- */
/* Counts one more receive of the message, and tells the sum; the oldest are forgotten. */
unsigned received_count(struct received *received, const char *message_id) MUST_USE;

#define RETURN_DELAY_S 5U /* for another connector, or for a token to come back */

/* -- job.c: the way of one request -- */
bool job_new(struct connector *connector, const struct queue_message *message, struct job **out,
             struct error *err) MUST_USE;
void job_free(struct job *job);
/* Every change of state goes through here; a job that is not resealing belongs to no station. */
void job_enter(struct job *job, enum job_state state);
struct job *job_by_message(struct connector *connector, const char *message_id) MUST_USE;
/* The job that this helper has under that number. */
struct job *job_by_number(struct connector *connector, const struct helper *helper,
                          uint32_t number) MUST_USE;
/* Answers with a refusal or failure. */
void job_refuse(struct job *job, const struct error *why);
/* What its format wants could not be made: refused where that is for good. */
void job_unmade(struct job *job, const struct error *why);
/* Answers with what the device gets, made of the CMS of the helper. */
void job_answer(struct job *job, const struct resealed_message *message);
/* Gives the message back: hidden for `delay_s` more seconds. */
void job_return(struct job *job, unsigned delay_s, const struct error *why);
/* Another connector may serve it: given back until it was received `attempts` times. */
void job_pass_on(struct job *job, const struct error *why);
/* No token of this connector can serve it now, but one may later: given back for a time that grows
 * with each receive, and nothing is counted. */
void job_postpone(struct job *job, const struct error *why);
void jobs_free(struct connector *connector);
size_t jobs_in_hand(const struct connector *connector) MUST_USE;

/* -- work.c: jobs and helpers -- */
/* The token failed on it: goes to another one at once, waits for one that is away, or is tried
 * again here, then by giving back, then answered. `away`: the token that failed is away. */
void job_failed(struct job *job, const struct error *why, bool away);
/* Something else failed that another try may mend. */
void job_retry(struct job *job, const struct error *why);
/* The token said that it cannot do this job: another may, otherwise it is refused. */
void job_unfit(struct job *job, const struct error *why);
/* Hands waiting jobs to helpers, extends leases, replaces a helper that hangs, frees what is over.
 */
void jobs_tick(struct connector *connector, int64_t now_ms, int64_t *next_ms);
/* The helper is lost: what it had waits again. */
void jobs_requeue(struct connector *connector, struct helper *helper);
/* It waits again, through no fault of its own: nothing is counted. */
void job_put_back(struct job *job);
/* The same for all that the helper has. */
void jobs_put_back(struct connector *connector, const struct helper *helper);
/* Gives back whatever has not begun. */
void jobs_return_waiting(struct connector *connector, const struct error *why);
/* Jobs that wait, and that no station which works now can serve. */
size_t jobs_held(const struct connector *connector) MUST_USE;

/* The helper has answered something: it does not hang, and what it has gets its time anew. */
void jobs_allow_time(struct connector *connector, const struct helper *helper, int64_t now_ms);

/* -- route.c: which stations can serve a request -- */
struct route {
    unsigned stations; /* bits: they hold the key, with enough custody, and are not halted; none: */
    bool may_come;     /* nothing is to be refused for want of a key: a token may turn up with it */
    struct error why;
};
void route_find(const struct connector *connector, const struct request *request,
                struct route *out);
/* The label under which the station has the key of the request; one of route_find's stations. */
const char *route_label(const struct connector *connector, const struct station *station,
                        const struct request *request) MUST_USE;
/* Looks for labels that mean different keys on different tokens; true where there is a new one. */
bool routes_check(struct connector *connector) MUST_USE;

/* -- outage.c: while a token is away -- */
/* The token failed on this job; true if it is away now. */
bool outage_failed(struct station *station, const struct job *job,
                   const struct error *why) MUST_USE;
/* There is reason to try at once. */
void outage_retry_now(struct station *station);
/* The token has done something. */
void outage_end(struct station *station);
/* While it is away: the job to be tried now, or NULL; *next_ms becomes the time of the next. */
struct job *outage_next(const struct station *station, int64_t now_ms, int64_t *next_ms) MUST_USE;
/* While it is away: what is in hand was all tried in vain, one more would tell something. */
bool outage_wants_another(const struct station *station) MUST_USE;

/* -- status.c -- */
struct status_socket;
bool status_open(const char *path, struct status_socket **out, struct error *err) MUST_USE;
void status_close(struct status_socket **status);
/* -1: it is not to be waited for now. */
int status_fd(const struct status_socket *status) MUST_USE;
/* Answers one caller with the state as JSON. */
void status_serve(struct status_socket *status, const struct connector *connector);

#endif
