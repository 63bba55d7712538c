/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that carries requests to the engine and results from it.
 *
 *   parcel (a request): leased from the store -> being sent -> its end is with the store -> gone
 *
 * Everything but the list of ended tasks belongs to this thread alone.
 */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "engine_task.h"
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/json.h"
#include "reseal/log.h"

#define PARCELS_MAX    32    /* requests on their way at once */
#define RESULTS_MAX    40    /* results on their way into the store */
#define TURN_MS        60000 /* longest wait where nothing is due */
#define STOP_MS        5000  /* for the engine to answer what it was asked */
#define STORE_PAUSE_MS 1000  /* after the store failed */
#define RESULT_LEASE_S 60
#define RESULT_WAIT_S  20
#define RETURN_DELAY_S 5

static const struct backoff receive_retry = {.first_ms = 500, .most_ms = 20000};

struct parcel {
    struct parcel *next;
    struct engine *engine;
    char message_id[UUID_TEXT];
    char receipt[RECEIPT_HANDLE_TEXT];
    struct buf body;
    int64_t extend_ms;
    bool sending;   /* the client has it */
    unsigned tasks; /* about it, with the store */
    bool over;      /* and one of them is its last */
};

struct engine {
    struct hub *hub;
    struct queue_client *client;
    struct queue *requests, *results;
    char endpoint[513];
    pthread_t thread;
    bool started;
    atomic_bool stopping;
    int wake_fd;
    pthread_mutex_t lock; /* guards the three that follow */
    struct task *ended;
    struct error trouble; /* of the last receive; FAIL_NONE if it was good */
    int64_t answered_ms;  /* real time of the last good one; 0 before */
    /* the thread's own */
    struct parcel *parcels;
    size_t parcel_count;
    size_t tasks; /* with the store */
    size_t results_in_hand;
    bool leasing, receiving;
    bool giving_up;     /* stopping, and the time for answers is over */
    unsigned failures;  /* of receives, in a row */
    int64_t receive_ms; /* not before */
    int64_t lease_ms;   /* not before */
};

static void wake(struct engine *engine)
{
    uint64_t one = 1;
    (void)!write(engine->wake_fd, &one, sizeof one);
}

/* -- tasks -- */

/* In the store's thread. */
static void on_ended(void *context, struct task *task)
{
    struct engine *engine = context;
    pthread_mutex_lock(&engine->lock);
    task->next = engine->ended;
    engine->ended = task;
    pthread_mutex_unlock(&engine->lock);
    wake(engine);
}

static void submit(struct engine *engine, struct task *task)
{
    task->context = engine;
    task->ended = on_ended;
    engine->tasks++;
    if (task->parcel != NULL)
        task->parcel->tasks++;
    task_submit(task);
}

/* `receipt` of the hub's queue. Without memory, the lease ends by itself. */
static void submit_for(struct parcel *parcel, enum task_kind kind, int64_t lease_s, const char *why)
{
    struct task *task = task_new(parcel->engine->hub, kind);
    parcel->over = kind != TASK_EXTEND || lease_s < PARCEL_LEASE_S;
    if (task == NULL)
        return;
    task->parcel = parcel;
    task->lease_s = lease_s;
    snprintf(task->receipt, sizeof task->receipt, "%s", parcel->receipt);
    snprintf(task->message, sizeof task->message, "%s", why);
    if (kind == TASK_REFUSE)
        buf_put(&task->body, parcel->body.data, parcel->body.len);
    submit(parcel->engine, task);
}

/* -- requests -- */

static void parcel_free(struct parcel *parcel)
{
    struct parcel **link = &parcel->engine->parcels;
    while (*link != parcel)
        link = &(*link)->next;
    *link = parcel->next;
    parcel->engine->parcel_count--;
    buf_free(&parcel->body);
    free(parcel);
}

/* What becomes of it when the client has nothing more to do with it. */
static void parcel_sent(struct parcel *parcel, const struct error *err)
{
    parcel->sending = false;
    if (err == NULL) {
        submit_for(parcel, TASK_DELETE, 0, "");
    } else if (err->kind == FAIL_TOO_LARGE || err->kind == FAIL_INPUT) {
        log_error(LEVEL_ERROR, EVENT_UPLOAD_FAILED,
                  "the engine does not take a request, and its delivery fails", err);
        submit_for(parcel, TASK_REFUSE, 0,
                   err->kind == FAIL_TOO_LARGE ? "the request is larger than the queue takes"
                                               : "the queue does not take the request");
    } else { /* closing, or out of memory: another try, later */
        submit_for(parcel, TASK_EXTEND, parcel->engine->giving_up ? 0 : RETURN_DELAY_S, "");
    }
}

static void on_sent(void *context, const struct error *err)
{
    parcel_sent(context, err);
}

static struct parcel *parcel_by_message(struct engine *engine, const char *message_id)
{
    for (struct parcel *parcel = engine->parcels; parcel != NULL; parcel = parcel->next) {
        if (strcmp(parcel->message_id, message_id) == 0)
            return parcel;
    }
    return NULL;
}

static void parcel_new(struct engine *engine, struct task_item *item)
{
    struct error err = ERROR_INIT;
    struct parcel *parcel = parcel_by_message(engine, item->message_id);
    if (parcel != NULL) { /* its lease ran out while it is in hand: the newest receipt counts */
        memcpy(parcel->receipt, item->receipt, sizeof parcel->receipt);
        return;
    }
    parcel = calloc(1, sizeof *parcel);
    if (parcel == NULL)
        return; /* it comes back when its lease ends */
    parcel->engine = engine;
    memcpy(parcel->message_id, item->message_id, sizeof parcel->message_id);
    memcpy(parcel->receipt, item->receipt, sizeof parcel->receipt);
    parcel->body = item->body;
    item->body = (struct buf)BUF_INIT(0); /* transferred */
    parcel->extend_ms = clock_monotonic_ms() + PARCEL_LEASE_S * 1000 / 3;
    parcel->next = engine->parcels;
    engine->parcels = parcel;
    engine->parcel_count++;
    parcel->sending = queue_send(engine->requests, buf_bytes(&parcel->body), on_sent, parcel, &err);
    if (!parcel->sending)
        parcel_sent(parcel, &err);
}

static void lease_start(struct engine *engine, int64_t now_ms, int64_t *next_ms)
{
    size_t room = PARCELS_MAX - engine->parcel_count;
    if (engine->leasing || engine->stopping || engine->parcel_count >= PARCELS_MAX)
        return;
    if (engine->lease_ms > now_ms) {
        if (engine->lease_ms < *next_ms)
            *next_ms = engine->lease_ms;
        return;
    }
    struct task *task = task_new(engine->hub, TASK_LEASE);
    if (task == NULL) {
        engine->lease_ms = now_ms + STORE_PAUSE_MS;
        return;
    }
    task->max = (unsigned)(room < RECEIVE_MAX ? room : RECEIVE_MAX);
    engine->leasing = true;
    submit(engine, task);
}

static void extend_leases(struct engine *engine, int64_t now_ms, int64_t *next_ms)
{
    for (struct parcel *parcel = engine->parcels; parcel != NULL; parcel = parcel->next) {
        if (!parcel->sending || parcel->tasks > 0)
            continue;
        if (parcel->extend_ms <= now_ms) {
            parcel->extend_ms = now_ms + PARCEL_LEASE_S * 1000 / 3;
            submit_for(parcel, TASK_EXTEND, PARCEL_LEASE_S, "");
        }
        if (parcel->extend_ms < *next_ms)
            *next_ms = parcel->extend_ms;
    }
}

/* -- results -- */

static void on_deleted(void *context, const struct error *err)
{
    (void)context;
    if (err != NULL) /* it comes back, and changes nothing */
        log_error(LEVEL_WARNING, EVENT_NOTE, "a result that was taken could not be deleted", err);
}

static void take_result(struct engine *engine, const struct queue_message *message)
{
    struct task *task = task_new(engine->hub, TASK_RESULT);
    if (task == NULL)
        return; /* it comes back when its lease ends */
    snprintf(task->receipt, sizeof task->receipt, "%s", message->receipt);
    buf_put(&task->body, message->body.data, message->body.len);
    if (task->body.failed) {
        task_free(task);
        return;
    }
    engine->results_in_hand++;
    submit(engine, task);
}

static void note_answer(struct engine *engine, const struct error *err)
{
    pthread_mutex_lock(&engine->lock);
    engine->trouble = err != NULL ? *err : (struct error)ERROR_INIT;
    if (err == NULL)
        engine->answered_ms = clock_real_ms();
    pthread_mutex_unlock(&engine->lock);
}

static void on_received(void *context, const struct error *err,
                        const struct queue_message *messages, size_t count)
{
    struct engine *engine = context;
    engine->receiving = false;
    if (!engine->stopping)
        note_answer(engine, err);
    if (err != NULL) {
        enum log_level level = engine->failures++ == 0 ? LEVEL_WARNING : LEVEL_DEBUG;
        engine->receive_ms = clock_monotonic_ms() + backoff_ms(&receive_retry, engine->failures);
        if (!engine->stopping)
            log_error(level, EVENT_POLL_FAILED, "results cannot be received, it is tried again",
                      err);
        return;
    }
    if (engine->failures > 0)
        log_event(LEVEL_INFO, EVENT_POLLED, "results can be received again",
                  LOG_NUMBER("failures", engine->failures));
    engine->failures = 0;
    for (size_t i = 0; i < count; i++)
        take_result(engine, &messages[i]);
}

static void receive_start(struct engine *engine, int64_t now_ms, int64_t *next_ms)
{
    struct error err = ERROR_INIT;
    if (engine->receiving || engine->stopping || engine->results_in_hand >= RESULTS_MAX)
        return;
    if (engine->receive_ms > now_ms) {
        if (engine->receive_ms < *next_ms)
            *next_ms = engine->receive_ms;
        return;
    }
    engine->receiving = true;
    if (!queue_receive(engine->results, QUEUE_BATCH_MAX, RESULT_LEASE_S, RESULT_WAIT_S, on_received,
                       engine, &err))
        on_received(engine, &err, NULL, 0);
}

/* -- what has come back from the store -- */

static void settle_lease(struct engine *engine, struct task *task)
{
    engine->leasing = false;
    if (task->error.kind != FAIL_NONE) {
        log_error(LEVEL_ERROR, EVENT_NOTE, "requests cannot be taken from the hub's queue",
                  &task->error);
        engine->lease_ms = clock_monotonic_ms() + STORE_PAUSE_MS;
        return;
    }
    for (size_t i = 0; i < task->count; i++)
        parcel_new(engine, &task->items[i]);
}

static void settle_result(struct engine *engine, const struct task *task)
{
    struct error err = ERROR_INIT;
    engine->results_in_hand--;
    if (task->error.kind == FAIL_NONE) {
        if (!queue_delete(engine->results, task->receipt, on_deleted, engine, &err))
            on_deleted(engine, &err);
        return;
    }
    log_error(LEVEL_ERROR, EVENT_NOTE, "a result could not be taken, and comes again",
              &task->error);
    engine->receive_ms = clock_monotonic_ms() + STORE_PAUSE_MS;
}

static void settle(struct engine *engine, struct task *task)
{
    struct parcel *parcel = task->parcel;
    engine->tasks--;
    if (task->kind == TASK_LEASE) {
        settle_lease(engine, task);
    } else if (task->kind == TASK_RESULT) {
        settle_result(engine, task);
    } else {
        if (task->error.kind != FAIL_NONE) /* it is there again when its lease ends */
            log_error(LEVEL_WARNING, EVENT_NOTE, "a request on its way could not be noted",
                      &task->error);
        parcel->tasks--;
    }
    task_free(task);
}

static void settle_all(struct engine *engine)
{
    uint64_t count;
    (void)!read(engine->wake_fd, &count, sizeof count);
    pthread_mutex_lock(&engine->lock);
    struct task *ended = engine->ended;
    engine->ended = NULL;
    pthread_mutex_unlock(&engine->lock);
    for (struct task *next; ended != NULL; ended = next) {
        next = ended->next;
        settle(engine, ended);
    }
}

/* The client may have finished with it while a task about it was with the store. */
static void sweep_parcels(struct engine *engine)
{
    for (struct parcel *parcel = engine->parcels, *next; parcel != NULL; parcel = next) {
        next = parcel->next;
        if (parcel->over && parcel->tasks == 0 && !parcel->sending)
            parcel_free(parcel);
    }
}

/* -- the thread -- */

static bool turn(struct engine *engine, struct error *err)
{
    struct pollfd fd = {.fd = engine->wake_fd, .events = POLLIN};
    int64_t now_ms = clock_monotonic_ms(), next_ms = now_ms + TURN_MS;
    lease_start(engine, now_ms, &next_ms);
    extend_leases(engine, now_ms, &next_ms);
    receive_start(engine, now_ms, &next_ms);
    if (engine->stopping && next_ms > now_ms + 100)
        next_ms = now_ms + 100;
    if (!queue_turn(engine->client, &fd, 1, next_ms > now_ms ? (int)(next_ms - now_ms) : 0, err))
        return false;
    if (fd.revents != 0)
        settle_all(engine);
    sweep_parcels(engine);
    return true;
}

static bool wait_for_store(struct engine *engine)
{
    struct pollfd fd = {.fd = engine->wake_fd, .events = POLLIN};
    while (engine->tasks > 0 && (poll(&fd, 1, -1) >= 0 || errno == EINTR))
        settle_all(engine);
    sweep_parcels(engine);
    return engine->tasks == 0;
}

static void *engine_main(void *argument)
{
    struct engine *engine = argument;
    struct error err = ERROR_INIT;
    int64_t end_ms = 0;
    for (;;) {
        if (!turn(engine, &err)) {
            log_error(LEVEL_ERROR, EVENT_NOTE, "the queue client failed, it is tried again", &err);
            clock_sleep_ms(STORE_PAUSE_MS);
        }
        if (!engine->stopping)
            continue;
        int64_t now_ms = clock_monotonic_ms();
        if (end_ms == 0)
            end_ms = now_ms + STOP_MS;
        if (engine->receiving)
            queue_receive_cancel(engine->results);
        if (now_ms >= end_ms || (queue_in_flight(engine->client) == 0 && engine->tasks == 0))
            break;
    }
    engine->giving_up = true;
    (void)wait_for_store(engine);
    queue_client_free(&engine->client); /* calls back: what was not sent is given back */
    (void)wait_for_store(engine);
    return NULL;
}

bool engine_open(struct hub *hub, const struct config *config, struct engine **out,
                 struct error *err)
{
    *out = NULL;
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return error_memory(err);
    engine->hub = hub;
    pthread_mutex_init(&engine->lock, NULL);
    engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool ok = engine->wake_fd >= 0 || error_errno(err, FAIL_INTERNAL, "cannot make an eventfd");
    ok =
        ok && queue_client_open(config, &engine->client, err) &&
        queue_named(engine->client, config_text(config, "queue", "requests"), &engine->requests,
                    err) &&
        queue_named(engine->client, config_text(config, "queue", "results"), &engine->results, err);
    if (ok)
        snprintf(engine->endpoint, sizeof engine->endpoint, "%s", queue_endpoint(engine->client));
    else
        engine_close(&engine);
    *out = engine;
    return ok;
}

bool engine_start(struct engine *engine, struct error *err)
{
    int status = pthread_create(&engine->thread, NULL, engine_main, engine);
    if (status != 0) {
        errno = status;
        return error_errno(err, FAIL_INTERNAL, "cannot start the thread of the queue engine");
    }
    engine->started = true;
    log_event(LEVEL_INFO, EVENT_NOTE, "requests and results go by an external queue engine",
              LOG_TEXT("endpoint", queue_endpoint(engine->client)));
    return true;
}

void engine_write_status(struct engine *engine, const char *key, struct json_writer *json)
{
    char when[CLOCK_TEXT];
    pthread_mutex_lock(&engine->lock);
    struct error trouble = engine->trouble;
    int64_t answered_ms = engine->answered_ms;
    pthread_mutex_unlock(&engine->lock);
    clock_format(answered_ms, when);
    json_object(json, key);
    json_put_text(json, "endpoint", engine->endpoint); /* never changes */
    json_put_text(json, "lastAnswerAt", answered_ms != 0 ? when : NULL);
    json_put_text(json, "error", trouble.kind != FAIL_NONE ? trouble.text : NULL);
    json_object_end(json);
}

void engine_stop(struct engine *engine)
{
    engine->stopping = true;
    if (!engine->started)
        return;
    wake(engine);
    pthread_join(engine->thread, NULL);
    engine->started = false;
}

void engine_close(struct engine **engine_pointer)
{
    if (engine_pointer == NULL || *engine_pointer == NULL)
        return;
    struct engine *engine = *engine_pointer;
    engine_stop(engine);
    queue_client_free(&engine->client);
    while (engine->parcels != NULL)
        parcel_free(engine->parcels);
    if (engine->wake_fd >= 0)
        close(engine->wake_fd);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
    *engine_pointer = NULL;
}
