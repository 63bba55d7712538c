/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token helper: what reseal-hsm does between its start and the end of its socket.
 *
 *   service.c        the socket: hello, reading jobs, answering, the end
 *   service_start.c  settings, token, PIN, probe, sessions
 *   service_login.c  the one place that logs in again
 *   session_count.c  how many sessions pay off
 *   lane.c           the sessions
 *   worker.c         a thread that works on one job at a time
 *   job_queue.c      jobs between the reader and the workers
 */
#ifndef RESEAL_HSM_SERVICE_H
#define RESEAL_HSM_SERVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include "custody.h"
#include "job_queue.h"
#include "lane.h"
#include "reseal/config.h"
#include "reseal/device_trust.h"
#include "reseal/frame.h"

#define WORKERS_MAX  (LANES_MAX + 10) /* threads */
#define WAITING_MAX  64 /* jobs that may wait beyond those in work; a connector leases fewer */
#define WORKER_STACK ((size_t)256 * 1024)

struct worker;

struct token_service {
    struct config *config;
    const char *section; /* of the configuration: the token that is served */
    struct device_trust *trust;
    struct token *token;
    struct secret *pin; /* NULL: the token has a pad of its own, or wants none */
    enum custody require;
    enum key_transport transport;
    unsigned sessions; /* lanes; 0: as many as pay off */
    unsigned deadline; /* seconds for the jobs in hand once the socket has ended */

    struct session *session;                  /* of the start; probes with it */
    struct sealing_key *keys[PROBE_KEYS_MAX]; /* in the order of hello.report.keys */
    struct hello_message hello;

    struct frame_channel *channel; /* read by the main thread alone */
    pthread_mutex_t output;        /* guards writing to it */
    struct job_queue *jobs;
    struct worker *workers[WORKERS_MAX];
    unsigned threads; /* of these */
    struct lanes *lanes;

    pthread_mutex_t login; /* one thread logs in again, the others wait; guards what follows */
    pthread_cond_t ruled;  /* login_rule has changed */
    enum login_rule login_rule;
    struct error refusal;     /* for good: no PIN is tried after that; FAIL_NONE before */
    unsigned login_failures;  /* in a row */
    int64_t login_not_before; /* monotonic milliseconds */

    atomic_bool hopeless; /* the module is lost: end, so that a new process is started */
    atomic_bool unheard;  /* nobody takes answers any more */
    atomic_ullong done, failed, busy;
};

/* Of a service that is all zeroes: its locks. */
void token_service_init(struct token_service *service);
/* Loads everything, probes, opens the sessions and starts the workers; `token` NULL: the only one
 * that is configured. Where that fails, service->hello says so and why. */
void token_service_start(struct token_service *service, const char *config_path, const char *token);
/* Says hello, and reads jobs until the socket ends; the exit status. */
int token_service_run(struct token_service *service);
void token_service_end(struct token_service *service);

/* Sends one answer; a peer that is gone is noticed and not an error. */
void token_service_answer(struct token_service *service, uint32_t number, uint16_t type,
                          const struct buf *body);
void token_service_refuse(struct token_service *service, uint32_t number,
                          const struct error *failure);
/* This process is of no more use: wakes the reader, which ends the service. */
void token_service_give_up(struct token_service *service, const char *why);

/* Logs in with the PIN; a refusal's hint says that the service must be started anew. */
bool token_service_login(struct token_service *service, struct error *err) MUST_USE;
/* Sees to it that the user is logged in; never with a PIN that was refused once, and not while
 * another helper tries it. */
bool token_service_login_again(struct token_service *service, struct session *session,
                               struct error *err) MUST_USE;
/* From now on that rule; the one that really counts comes back. It waits for the end of a login
 * that is under way. */
enum login_rule token_service_rule_login(struct token_service *service,
                                         const struct login_message *message) MUST_USE;
/* Nobody will tell any more how another helper's try has ended: who waits for that waits no
 * longer. */
void token_service_end_hold(struct token_service *service);

/* How many sessions to work with: measured, with the keys that were probed. At least 1. */
unsigned session_count_choose(struct token_service *service) MUST_USE;

/* Starts a thread that takes jobs from the queue. */
bool worker_start(struct token_service *service, struct worker **out, struct error *err) MUST_USE;
/* Waits until the worker has done the jobs that are left; the queue was closed before. */
void worker_join(struct worker **worker);

#endif
