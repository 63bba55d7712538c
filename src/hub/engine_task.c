/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "reseal/log.h"
#include "result_intake.h"
#include "store_deliveries.h"

#define LEASE_WAIT_MS 20000

static void drop_items(struct task *task)
{
    for (size_t i = 0; i < task->count; i++)
        buf_free(&task->items[i].body);
    task->count = 0;
}

void task_free(struct task *task)
{
    drop_items(task);
    buf_free(&task->body);
    free(task);
}

/* -- in the store's thread -- */

static bool take_leased(void *context, const struct leased *message)
{
    struct task *task = context;
    struct task_item *item = &task->items[task->count++];
    snprintf(item->message_id, sizeof item->message_id, "%s", message->message_id);
    snprintf(item->receipt, sizeof item->receipt, "%s", message->receipt_handle);
    item->body = (struct buf)BUF_INIT(message->body.len);
    buf_put(&item->body, message->body.data, message->body.len);
    return task->count < RECEIVE_MAX;
}

static enum job_verdict run_lease(struct task *task, struct database *database, struct error *err)
{
    size_t count = 0;
    drop_items(task); /* of a try before */
    if (!stored_queue_carry(database, task->hub->requests_id, task->max, PARCEL_LEASE_S,
                            take_leased, task, &count, err))
        return JOB_FAILED;
    for (size_t i = 0; i < task->count; i++) {
        if (!buf_check(&task->items[i].body, "a request", err))
            return JOB_FAILED;
    }
    if (task->count > 0 || task->job.last)
        return JOB_DONE;
    task->job.wait_queue = task->hub->requests_id;
    return JOB_WAIT;
}

/* The delivery ends with a failure that says why. */
static bool end_delivery(const struct task *task, struct database *database, struct error *err)
{
    struct buf message = BUF_INIT(MESSAGE_MAX);
    struct request request;
    struct result result;
    struct error unreadable = ERROR_INIT;
    enum result_fate fate;
    bool addressed = false, ok = true;
    request_init(&request);
    result_init(&result);
    (void)!request_read(task->body.data, task->body.len, &request, &addressed, &unreadable);
    if (addressed) { /* otherwise it is none of ours, and belongs to no delivery */
        result.outcome = OUTCOME_FAILED;
        result.code = RESULT_TOO_LARGE;
        snprintf(result.message, sizeof result.message, "%s", task->message);
        ok = result_address(&result, &request, "hub", err) &&
             result_write(&result, &message, err) &&
             delivery_take_result(database, buf_bytes(&message), &fate, err);
    }
    result_free(&result);
    request_free(&request);
    buf_free(&message);
    return ok;
}

static bool take_result(const struct task *task, struct database *database, struct error *err)
{
    const struct outgoing message = {.body = buf_bytes(&task->body)};
    char id[UUID_TEXT];
    return result_intake(task->hub, database, &message, id, err);
}

static enum job_verdict run_task(struct job *job, struct database *database, struct error *err)
{
    struct task *task = job->context;
    int64_t queue = task->hub->requests_id;
    enum receipt_state state; /* whatever it is: the message is there again, or gone */
    bool ok = false;
    switch (task->kind) {
    case TASK_LEASE:
        return run_lease(task, database, err);
    case TASK_DELETE:
        ok = stored_queue_delete(database, queue, task->receipt, &state, err);
        break;
    case TASK_EXTEND:
        ok = stored_queue_extend(database, queue, task->receipt, task->lease_s, &state, err);
        break;
    case TASK_REFUSE:
        ok = end_delivery(task, database, err) &&
             stored_queue_delete(database, queue, task->receipt, &state, err);
        break;
    case TASK_RESULT:
        ok = take_result(task, database, err);
        break;
    }
    return ok ? JOB_DONE : JOB_FAILED;
}

static void on_finish(struct job *job, const struct error *err)
{
    struct task *task = job->context;
    task->error = err != NULL ? *err : (struct error)ERROR_INIT;
    task->ended(task->context, task);
}

/* -- in the engine's thread -- */

struct task *task_new(const struct hub *hub, enum task_kind kind)
{
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL)
        return NULL;
    task->hub = hub;
    task->kind = kind;
    task->body = (struct buf)BUF_INIT(QUEUE_MESSAGE_MAX);
    task->job = (struct job){.run = run_task, .finish = on_finish, .context = task};
    return task;
}

void task_submit(struct task *task)
{
    if (task->kind == TASK_LEASE)
        task->job.deadline_ms = clock_monotonic_ms() + LEASE_WAIT_MS;
    store_submit(task->hub->store, &task->job);
}
