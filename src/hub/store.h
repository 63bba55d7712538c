/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store thread: the only one that touches the database.
 *
 * Others hand it jobs. It takes all jobs that wait, runs them in one transaction, commits once (one
 * fsync for many jobs) and only then tells each how it ended: what is answered is on disk. A job
 * that finds nothing yet may wait; it runs again when a message or a result is there for it, or a
 * last time at its deadline.
 */
#ifndef RESEAL_HUB_STORE_H
#define RESEAL_HUB_STORE_H

#include "reseal/text.h"
#include "store_db.h"

struct job;

enum job_verdict {
    JOB_DONE,   /* keep what was written */
    JOB_FAILED, /* `err` is filled. A job that refuses does so before it writes: to undo what it has
                   written, the transaction is given up, and all its jobs are done one by one */
    JOB_WAIT,   /* nothing there yet; run again when what wait_queue or wait_delivery names changes.
                   Not allowed when `last` is set */
};

/* Runs in the store thread inside a transaction, perhaps several times. */
typedef enum job_verdict job_run(struct job *job, struct database *database, struct error *err);
/* Runs in the store thread after the commit; `err` is NULL where the job is done and on disk. The
 * job is not touched afterwards. */
typedef void job_finish(struct job *job, const struct error *err);
/* False where nobody waits for the answer any more: a message must not be leased to the dead. */
typedef bool job_alive(const struct job *job);

struct job {
    job_run *run;
    job_finish *finish;
    job_alive *alive;              /* NULL: always */
    void *context;                 /* of the caller */
    int64_t deadline_ms;           /* clock_monotonic_ms up to which it may wait; 0: not at all */
    int64_t wait_queue;            /* set by `run` with JOB_WAIT: a queue's id, or 0 */
    char wait_delivery[UUID_TEXT]; /* or a delivery's id, or ""; not both */
    bool last;                     /* set by the store: the deadline has come */
    /* the store's own */
    enum job_verdict verdict;
    struct error error;
    struct job *next, *previous; /* `previous` while it waits */
    uint64_t turn;               /* this and the rest: see store_waits.h */
    struct wait_chain *chain;    /* that it is in; NULL: none */
    struct job *chain_next, *chain_previous;
};

struct store;

bool store_open(const char *path, struct store **out, struct error *err) MUST_USE;
/* The database, for use before store_start and after store_stop only. */
struct database *store_database(struct store *store) MUST_USE;
bool store_start(struct store *store, struct error *err) MUST_USE;
/* For a job that may wait so long, and not a moment less: the clock cuts off what is below a
 * millisecond. 0 seconds: not at all. */
int64_t job_deadline_ms(int64_t wait_s) MUST_USE;
/* Hands the job over. Its `finish` is called exactly once. */
void store_submit(struct store *store, struct job *job);
/* Copies the database to `path`, where no file may be, while everybody else is served, and waits
 * for the end. The copy holds all that was acknowledged before this call. One at a time
 * (FAIL_EXISTS).
 */
bool store_back_up(struct store *store, const char *path, struct error *err) MUST_USE;
/* From now on nothing waits: jobs that do are run a last time. */
void store_drain(struct store *store);
/* Drains, finishes every job and ends the thread. */
void store_stop(struct store *store);
/* Stops and closes the database. */
void store_close(struct store **store);

#endif
