/* SPDX-License-Identifier: Apache-2.0 */
/* ListQueues, ListDeadLetterSourceQueues, PurgeQueue and DeleteQueue. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "api_queue.h"
#include "reseal/clock.h"
#include "reseal/log.h"

#define PURGE_AGAIN_MS 60000 /* SQS takes one purge of a queue in this time */

/* MaxResults and NextToken. The token is the name that ended the page before: names are sorted, so
 * a page begins at the right place also when queues have come or gone meanwhile. */
static bool parse_page(struct exchange *exchange, const struct json_value *root,
                       struct queue_call *call)
{
    struct error err = ERROR_INIT;
    const char *token;
    if (!json_may_integer(root, "", "MaxResults", 1, LIST_MAX, 0, &call->max, &err) ||
        !json_may_text(root, "", "NextToken", QUEUE_NAME_MAX, &token, &err))
        return queue_refuse(exchange, &err);
    call->paged = call->max != 0;
    if (call->max == 0)
        call->max = LIST_MAX;
    if (token == NULL)
        return true;
    if (!stored_queue_name_valid(token)) {
        sqs_fail(exchange, SQS_INVALID_PARAMETER_VALUE, "NextToken is none of ours");
        return false;
    }
    snprintf(call->after, sizeof call->after, "%s", token);
    return true;
}

bool parse_list(struct exchange *exchange, const struct json_value *root, struct queue_call *call)
{
    struct error err = ERROR_INIT;
    if (!json_may_text(root, "", "QueueNamePrefix", QUEUE_NAME_MAX, &call->prefix, &err))
        return queue_refuse(exchange, &err);
    return parse_page(exchange, root, call);
}

bool parse_list_sources(struct exchange *exchange, const struct json_value *root,
                        struct queue_call *call)
{
    return parse_page(exchange, root, call);
}

bool parse_queue_alone(struct exchange *exchange, const struct json_value *root,
                       struct queue_call *call)
{
    (void)exchange;
    (void)root;
    (void)call; /* the queue's name is all there is */
    return true;
}

/* Whether the queue belongs to the list; `target` is the dead-letter queue in question or 0. */
static bool is_listed(const struct queue_call *call, const struct queue_row *queue, int64_t target)
{
    return strcmp(queue->name, call->after) > 0 && (target == 0 || queue->dead_letter == target) &&
           (call->prefix == NULL ||
            strncmp(queue->name, call->prefix, strlen(call->prefix)) == 0) &&
           rights_on(call->rights, queue->name) != 0;
}

/* The listed queue whose name follows `name`, or NULL. */
static const struct queue_row *next_listed(const struct queue_call *call,
                                           const struct database *database, int64_t target,
                                           const char *name)
{
    const struct queue_row *next = NULL;
    for (size_t i = 0; i < database->queue_count; i++) {
        const struct queue_row *queue = &database->queues[i];
        if (strcmp(queue->name, name) > 0 && is_listed(call, queue, target) &&
            (next == NULL || strcmp(queue->name, next->name) < 0))
            next = queue;
    }
    return next;
}

static enum job_verdict answer_list(struct exchange *exchange, const struct database *database,
                                    int64_t target, const char *key, struct error *err)
{
    const struct queue_call *call = exchange->work;
    const struct queue_row *queue = NULL, *last = NULL;
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return JOB_FAILED;
    json_object(json, NULL);
    json_array(json, key);
    for (int64_t i = 0; i < call->max; i++, last = queue) {
        queue = next_listed(call, database, target, last != NULL ? last->name : call->after);
        if (queue == NULL)
            break;
        queue_put_url(exchange, json, NULL, queue->name);
    }
    json_array_end(json);
    /* Without MaxResults there is no token, as SQS has it. */
    if (call->paged && queue != NULL && next_listed(call, database, target, queue->name) != NULL)
        json_put_text(json, "NextToken", queue->name);
    json_object_end(json);
    return queue_answer(exchange, &json, err);
}

enum job_verdict run_list(struct job *job, struct database *database, struct error *err)
{
    return answer_list(job->context, database, 0, "QueueUrls", err);
}

enum job_verdict run_list_sources(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    return answer_list(exchange, database, queue->id, "queueUrls", err);
}

enum job_verdict run_purge(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct queue_call *call = exchange->work;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    int64_t ago_ms = clock_real_ms() - queue->purged_ms;
    if (queue->purging || (ago_ms >= 0 && ago_ms < PURGE_AGAIN_MS)) {
        sqs_fail(exchange, SQS_PURGE_IN_PROGRESS,
                 "the queue \"%s\" was purged %" PRId64 " seconds ago; wait for 60 seconds",
                 queue->name, ago_ms / 1000);
        return JOB_DONE;
    }
    if (!stored_queue_purge(database, queue->id, err))
        return JOB_FAILED;
    log_event(LEVEL_WARNING, EVENT_NOTE, "queue purged", LOG_TEXT("queue", call->queue),
              LOG_TEXT("by", call->access_key));
    return queue_answer_empty(exchange);
}

enum job_verdict run_delete_queue(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct queue_call *call = exchange->work;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    if (queue_is_own(exchange->hub, queue->id)) {
        sqs_fail(exchange, SQS_UNSUPPORTED_OPERATION,
                 "the hub itself works with the queue \"%s\"; it can be purged, not deleted",
                 queue->name);
        return JOB_DONE;
    }
    if (!stored_queue_remove(database, queue->id, err))
        return JOB_FAILED;
    log_event(LEVEL_WARNING, EVENT_NOTE, "queue deleted", LOG_TEXT("queue", call->queue),
              LOG_TEXT("by", call->access_key));
    return queue_answer_empty(exchange);
}
