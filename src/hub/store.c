/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "reseal/clock.h"
#include "reseal/log.h"
#include "store_backup.h"
#include "store_deliveries.h"
#include "store_queue.h"
#include "store_queue_admin.h"
#include "store_retention.h"
#include "store_waits.h"

#define SLEEP_MAX_MS      60000 /* the wall clock may be set, so nobody sleeps on it for long */
#define PAUSE_AFTER_FAULT 1000  /* milliseconds before timed work is tried again on a sick disk */
#define TIMED_EVERY_MS    20    /* while jobs keep coming, look at the clock this often */
#define RETENTION_MS      60000 /* look for what is too old this often */
#define RETENTION_MORE_MS 100   /* and so soon again while there is more: others come between */
#define SWEEP_EVERY_MS    1000  /* and at whether those who wait are still there */

/* Jobs in the order in which they came. */
struct job_list {
    struct job *first;
    struct job **end;
};

/* Somebody waits for a copy of the database. */
struct backup_wish {
    const char *path; /* NULL: nobody does */
    bool ended, ok;
    struct error error;
};

struct store {
    struct database *database;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards incoming, the wish and the three flags */
    pthread_cond_t wake;  /* by the monotonic clock */
    pthread_cond_t backup_ended;
    struct backup_wish wish; /* all but the error is guarded */
    struct job_list incoming;
    bool draining, stopping, ended;
    /* the thread's own */
    struct waits waits;
    struct store_backup *backup; /* under way */
    bool drained;
    bool time_is_up;        /* woken by the clock, not by a job */
    int64_t timed_ms;       /* monotonic; when timed work was done last */
    int64_t swept_ms;       /* monotonic; when clients that have gone were looked for last */
    int64_t retention_ms;   /* monotonic; when to look for what is too old */
    int64_t queue_work_ms;  /* monotonic; when to go on with purges, removals and moves */
    int64_t pause_until_ms; /* monotonic; no timed work before */
};

static void list_clear(struct job_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_append(struct job_list *list, struct job *job)
{
    job->next = NULL;
    *list->end = job;
    list->end = &job->next;
}

static void list_take_all(struct job_list *from, struct job_list *to)
{
    list_clear(to);
    if (from->first != NULL) {
        to->first = from->first;
        to->end = from->end;
    }
    list_clear(from);
}

static void on_queue_changed(void *context, int64_t queue)
{
    struct store *store = context;
    waits_wake_queue(&store->waits, queue);
}

static void on_delivery_completed(void *context, const char *id)
{
    struct store *store = context;
    waits_wake_delivery(&store->waits, id);
}

/* Runs one job. False where it has failed and has written before that, which only the end of the
 * whole transaction undoes. */
static bool run_job(struct store *store, struct job *job, struct error *err)
{
    struct database *database = store->database;
    job->last = store->drained || job->deadline_ms <= clock_monotonic_ms();
    if (job->alive != NULL && !job->alive(job)) {
        job->verdict = JOB_FAILED;
        (void)error_set(&job->error, FAIL_REMOTE, "the client has gone");
        return true;
    }
    job->wait_queue = 0;
    job->wait_delivery[0] = '\0';
    const struct database_mark before = database_mark(database);
    job->verdict = job->run(job, database, &job->error);
    if (job->verdict == JOB_WAIT && job->last)
        job->verdict = JOB_DONE;
    if (job->verdict != JOB_FAILED || database_unchanged(database, before))
        return true;
    *err = job->error;
    return false;
}

/* Wakes the waiting jobs whose time has come: a deadline, a lease that has ended, or a client that
 * has gone and whose connection others may need. */
static bool wake_due(struct store *store, struct error *err)
{
    int64_t now = clock_monotonic_ms(), asked = 0, visible_ms = INT64_MAX;
    bool sweep = now - store->swept_ms >= SWEEP_EVERY_MS;
    if (sweep)
        store->swept_ms = now;
    for (struct job *job = store->waits.first; job != NULL; job = job->next) {
        if (job->wait_queue != 0 && job->wait_queue != asked) { /* ask once in a row */
            asked = job->wait_queue;
            if (!stored_queue_next_visible(store->database, asked, &visible_ms, err))
                return false;
        }
        if (store->drained || job->deadline_ms <= now ||
            (job->wait_queue != 0 && visible_ms <= clock_real_ms()) ||
            (sweep && job->alive != NULL && !job->alive(job)))
            waits_wake(&store->waits, job);
    }
    return true;
}

/* Runs the waiting jobs that are woken until none is; what one does may wake another. */
static bool run_woken(struct store *store, struct job_list *ended, struct error *err)
{
    struct job *job;
    bool kept = true;
    while (kept && (job = waits_next(&store->waits)) != NULL) {
        kept = run_job(store, job, err);
        if (kept && job->verdict == JOB_WAIT) {
            waits_resume(&store->waits, job);
        } else {
            waits_remove(&store->waits, job);
            list_append(ended, job);
        }
    }
    return kept;
}

/* Ends the deliveries whose time has run out, in a transaction of its own: a disk that is full must
 * not make everybody else's work fail with it. */
static bool expire_deliveries(struct store *store, struct error *err)
{
    int64_t expires_ms = INT64_MAX, now = clock_real_ms();
    size_t count = 0;
    if (!delivery_next_expiry(store->database, now, &expires_ms, err))
        return false;
    if (expires_ms > now)
        return true;
    if (!database_begin(store->database, err))
        return false;
    if (!delivery_expire(store->database, now, &count, err)) {
        database_rollback(store->database);
        return false;
    }
    if (!database_commit(store->database, err))
        return false;
    log_event(LEVEL_WARNING, EVENT_NOTE, "deliveries expired without a result",
              LOG_NUMBER("count", count));
    return true;
}

/* Deletes a batch of what has been kept for long enough, in a transaction of its own. */
static bool delete_old(struct store *store, struct error *err)
{
    struct retention_counts deleted;
    int64_t now = clock_monotonic_ms();
    if (now < store->retention_ms)
        return true;
    if (!database_begin(store->database, err))
        return false;
    if (!retention_sweep(store->database, clock_real_ms(), &deleted, err)) {
        database_rollback(store->database);
        return false;
    }
    if (!database_commit(store->database, err))
        return false;
    store->retention_ms = now + (deleted.more ? RETENTION_MORE_MS : RETENTION_MS);
    if (deleted.messages + deleted.deliveries > 0)
        log_event(LEVEL_INFO, EVENT_NOTE, "deleted what was kept for long enough",
                  LOG_NUMBER("messages", deleted.messages),
                  LOG_NUMBER("deliveries", deleted.deliveries));
    return true;
}

/* Goes on with what purges, removals and moves have left, in a transaction of its own. */
static bool work_on_queues(struct store *store, struct error *err)
{
    int64_t now = clock_monotonic_ms(), pause_ms;
    if (!store->database->queue_work || now < store->queue_work_ms || store->drained)
        return true;
    if (!database_begin(store->database, err)) {
        store->database->queue_work = true;
        return false;
    }
    if (!queue_work_step(store->database, clock_real_ms(), &pause_ms, err)) {
        database_rollback(store->database);
        store->database->queue_work = true;
        return false;
    }
    bool more = store->database->queue_work;
    store->database->queue_work = true;
    if (!database_commit(store->database, err))
        return false;
    store->database->queue_work = more;
    store->queue_work_ms = now + pause_ms;
    return true;
}

static void pause_timed_work(struct store *store)
{
    store->pause_until_ms = clock_monotonic_ms() + PAUSE_AFTER_FAULT;
}

/* What is due by the clock. Wakes jobs and runs none. */
static void do_timed_work(struct store *store)
{
    struct error err = ERROR_INIT;
    int64_t now = clock_monotonic_ms();
    bool due = store->time_is_up || now - store->timed_ms >= TIMED_EVERY_MS;
    if (!store->drained && (!due || now < store->pause_until_ms))
        return;
    store->time_is_up = false;
    store->timed_ms = now;
    if (expire_deliveries(store, &err) && wake_due(store, &err) && delete_old(store, &err) &&
        work_on_queues(store, &err))
        return;
    log_error(LEVEL_ERROR, EVENT_NOTE, "timed work failed and will be tried again", &err);
    pause_timed_work(store);
    for (struct job *job = store->waits.first; job != NULL; job = job->next) {
        if (store->drained || job->deadline_ms <= now)
            waits_wake(&store->waits, job);
    }
}

/* Everything that happens between BEGIN and COMMIT. Jobs leave `incoming` for `ended` or for the
 * list of those that wait. */
static bool run_transaction(struct store *store, struct job_list *incoming, struct job_list *ended,
                            struct error *err)
{
    if (!database_begin(store->database, err))
        return false;
    while (incoming->first != NULL) {
        struct job *job = incoming->first;
        if (!run_job(store, job, err))
            goto lost;
        incoming->first = job->next;
        if (job->verdict == JOB_WAIT)
            waits_add(&store->waits, job);
        else
            list_append(ended, job);
    }
    if (!run_woken(store, ended, err))
        goto lost;
    return database_commit(store->database, err);
lost:
    database_rollback(store->database);
    return false;
}

static void finish_all(struct job_list *list)
{
    for (struct job *job = list->first, *next; job != NULL; job = next) {
        next = job->next; /* the job may be gone after its end */
        job->finish(job, job->verdict == JOB_FAILED ? &job->error : NULL);
    }
}

/* One job in a transaction of its own. */
static void run_alone(struct store *store, struct job *job)
{
    struct error err = ERROR_INIT;
    if (database_begin(store->database, &err)) {
        if (run_job(store, job, &err)) {
            if (database_commit(store->database, &err)) {
                if (job->verdict == JOB_WAIT)
                    waits_add(&store->waits, job);
                else
                    job->finish(job, job->verdict == JOB_FAILED ? &job->error : NULL);
                return;
            }
        } else {
            database_rollback(store->database);
            job->finish(job, &job->error);
            return;
        }
    }
    err.kind = FAIL_IO; /* whatever it was, for the client it is: try again later */
    job->finish(job, &err);
}

static void run_batch(struct store *store, struct job_list *incoming)
{
    struct error err = ERROR_INIT;
    struct job_list ended;
    list_clear(&ended);
    do_timed_work(store);
    if (run_transaction(store, incoming, &ended, &err)) {
        finish_all(&ended);
        return;
    }
    log_error(LEVEL_ERROR, EVENT_NOTE, "a transaction was lost; its jobs are done one by one",
              &err);
    pause_timed_work(store);
    struct job_list *const both[] = {&ended, incoming};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        for (struct job *job = both[i]->first, *next; job != NULL; job = next) {
            next = job->next;
            run_alone(store, job);
        }
    }
}

static void end_backup(struct store *store, bool ok)
{
    pthread_mutex_lock(&store->lock);
    store->wish.ok = ok;
    store->wish.ended = true;
    pthread_mutex_unlock(&store->lock);
    pthread_cond_signal(&store->backup_ended);
}

/* Goes on with the copy that is wished for. */
static void back_up_some(struct store *store, const char *path)
{
    struct error *err = &store->wish.error;
    bool done = false, ok = true;
    if (store->drained) {
        ok = error_set(err, FAIL_IO, "the hub is stopping");
        store_backup_free(&store->backup);
    } else if (store->backup == NULL) {
        ok = store_backup_begin(store->database->handle, path, &store->backup, err);
    } else {
        ok = store_backup_step(&store->backup, &done, err);
    }
    if (!ok || done)
        end_backup(store, ok);
}

/* The path of a copy that somebody waits for, or NULL. */
static const char *backup_wished(const struct store *store)
{
    return store->wish.ended ? NULL : store->wish.path;
}

bool store_back_up(struct store *store, const char *path, struct error *err)
{
    bool ok = false;
    pthread_mutex_lock(&store->lock);
    if (store->ended) {
        error_set(err, FAIL_IO, "the hub is stopping");
    } else if (store->wish.path != NULL) {
        error_set(err, FAIL_EXISTS, "another backup is under way");
    } else {
        store->wish = (struct backup_wish){.path = path, .error = ERROR_INIT};
        pthread_cond_signal(&store->wake);
        while (!store->wish.ended)
            pthread_cond_wait(&store->backup_ended, &store->lock);
        ok = store->wish.ok;
        if (!ok)
            *err = store->wish.error;
        store->wish.path = NULL;
    }
    pthread_mutex_unlock(&store->lock);
    return ok;
}

static void earlier(int64_t *sleep_ms, int64_t candidate_ms)
{
    if (candidate_ms < 0)
        candidate_ms = 0;
    if (candidate_ms < *sleep_ms)
        *sleep_ms = candidate_ms;
}

/* Milliseconds until there is something to do without a new job. */
static int64_t time_to_sleep(struct store *store)
{
    struct error ignored = ERROR_INIT; /* a fault here shows up in the next transaction */
    int64_t now = clock_monotonic_ms(), sleep_ms = SLEEP_MAX_MS, at = INT64_MAX;
    /* Woken by a job that was done alone, after its transaction was lost; or the hub stops. */
    if (store->waits.woken.first != NULL || (store->drained && store->waits.first != NULL))
        return 0;
    int64_t real_ms = clock_real_ms();
    if (delivery_next_expiry(store->database, real_ms, &at, &ignored) && at != INT64_MAX)
        earlier(&sleep_ms, at - real_ms);
    earlier(&sleep_ms, store->retention_ms - now);
    if (store->database->queue_work)
        earlier(&sleep_ms, store->queue_work_ms - now);
    int64_t asked = 0;
    for (const struct job *job = store->waits.first; job != NULL; job = job->next) {
        earlier(&sleep_ms, job->deadline_ms - now);
        if (job->wait_queue == 0 || job->wait_queue == asked)
            continue;
        asked = job->wait_queue;
        if (stored_queue_next_visible(store->database, asked, &at, &ignored) && at != INT64_MAX)
            earlier(&sleep_ms, at - clock_real_ms());
    }
    if (now < store->pause_until_ms && sleep_ms < store->pause_until_ms - now)
        sleep_ms = store->pause_until_ms - now;
    return sleep_ms;
}

/* False where the time is up. */
static bool wait_for_work(struct store *store, int64_t sleep_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + sleep_ms % 1000 * 1000000;
    until.tv_sec += (time_t)(sleep_ms / 1000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    while (store->incoming.first == NULL && backup_wished(store) == NULL && !store->stopping &&
           store->draining == store->drained) {
        if (pthread_cond_timedwait(&store->wake, &store->lock, &until) == ETIMEDOUT)
            return false;
    }
    return true;
}

static void *store_main(void *argument)
{
    struct store *store = argument;
    pthread_mutex_lock(&store->lock);
    while (!store->stopping || store->incoming.first != NULL || store->waits.first != NULL ||
           backup_wished(store) != NULL) {
        struct job_list incoming;
        if (store->incoming.first == NULL && backup_wished(store) == NULL) {
            pthread_mutex_unlock(&store->lock);
            int64_t sleep_ms = time_to_sleep(store);
            pthread_mutex_lock(&store->lock);
            store->time_is_up = sleep_ms == 0 || !wait_for_work(store, sleep_ms);
        }
        list_take_all(&store->incoming, &incoming);
        store->drained = store->draining;
        const char *copy = backup_wished(store);
        pthread_mutex_unlock(&store->lock);
        run_batch(store, &incoming);
        if (copy != NULL)
            back_up_some(store, copy);
        pthread_mutex_lock(&store->lock);
    }
    store->ended = true;
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

bool store_open(const char *path, struct store **out, struct error *err)
{
    pthread_condattr_t attributes;
    *out = NULL;
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return error_memory(err);
    list_clear(&store->incoming);
    if (!database_open(path, &store->database, err)) {
        free(store);
        return false;
    }
    store->database->events = (struct database_events){.context = store,
                                                       .queue_changed = on_queue_changed,
                                                       .delivery_completed = on_delivery_completed};
    pthread_mutex_init(&store->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&store->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_cond_init(&store->backup_ended, NULL);
    *out = store;
    return true;
}

struct database *store_database(struct store *store)
{
    return store->database;
}

bool store_start(struct store *store, struct error *err)
{
    int status = pthread_create(&store->thread, NULL, store_main, store);
    if (status != 0) {
        errno = status;
        return error_errno(err, FAIL_INTERNAL, "cannot start the store thread");
    }
    store->started = true;
    return true;
}

int64_t job_deadline_ms(int64_t wait_s)
{
    return wait_s > 0 ? clock_monotonic_ms() + wait_s * 1000 + 1 : 0;
}

void store_submit(struct store *store, struct job *job)
{
    job->verdict = JOB_DONE;
    job->last = false;
    job->chain = NULL;
    job->error = (struct error)ERROR_INIT;
    pthread_mutex_lock(&store->lock);
    bool first = store->incoming.first == NULL, ended = store->ended;
    if (!ended)
        list_append(&store->incoming, job);
    pthread_mutex_unlock(&store->lock);
    if (ended) {
        (void)error_set(&job->error, FAIL_IO, "the hub is stopping");
        job->finish(job, &job->error);
        return;
    }
    if (first) /* otherwise the thread has been told already */
        pthread_cond_signal(&store->wake);
}

void store_drain(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->draining = true;
    pthread_mutex_unlock(&store->lock);
    pthread_cond_signal(&store->wake);
}

void store_stop(struct store *store)
{
    if (!store->started)
        return;
    pthread_mutex_lock(&store->lock);
    store->draining = true;
    store->stopping = true;
    pthread_mutex_unlock(&store->lock);
    pthread_cond_signal(&store->wake);
    pthread_join(store->thread, NULL);
    store->started = false;
}

void store_close(struct store **store)
{
    if (store == NULL || *store == NULL)
        return;
    store_stop(*store);
    database_close(&(*store)->database);
    pthread_cond_destroy(&(*store)->wake);
    pthread_cond_destroy(&(*store)->backup_ended);
    pthread_mutex_destroy(&(*store)->lock);
    free(*store);
    *store = NULL;
}
