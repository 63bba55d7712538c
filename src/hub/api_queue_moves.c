/* SPDX-License-Identifier: Apache-2.0 */
/* Moves of dead letters: StartMessageMoveTask, ListMessageMoveTasks and CancelMessageMoveTask. */
#include <stdio.h>
#include <string.h>
#include "api_queue.h"
#include "reseal/log.h"

#define ARN_GIVEN_MAX 1024

/* The queue that an ARN of the call names; an optional one that is not there gives "". */
static bool read_arn(struct exchange *exchange, const struct json_value *root, const char *key,
                     bool optional, char out[static QUEUE_NAME_MAX + 1])
{
    struct error err = ERROR_INIT;
    const char *arn = NULL;
    out[0] = '\0';
    if (!json_may_text(root, "", key, ARN_GIVEN_MAX, &arn, &err))
        return queue_refuse(exchange, &err);
    if (arn == NULL && optional)
        return true;
    if (arn == NULL) {
        sqs_fail(exchange, SQS_MISSING_PARAMETER, "%s is missing", key);
        return false;
    }
    if (queue_of_arn(arn, out))
        return true;
    sqs_fail(exchange, SQS_INVALID_PARAMETER_VALUE, "%s is no ARN of a queue", key);
    return false;
}

bool parse_start_move(struct exchange *exchange, const struct json_value *root,
                      struct queue_call *call)
{
    struct error err = ERROR_INIT;
    if (!json_may_integer(root, "", "MaxNumberOfMessagesPerSecond", 1, MOVE_RATE_MAX, 0,
                          &call->rate, &err))
        return queue_refuse(exchange, &err);
    return read_arn(exchange, root, "SourceArn", false, call->queue) &&
           read_arn(exchange, root, "DestinationArn", true, call->destination) &&
           queue_permit(exchange, RIGHT_MANAGE, call->queue) &&
           (call->destination[0] == '\0' ||
            queue_permit(exchange, RIGHT_MANAGE | RIGHT_SEND, call->destination));
}

bool parse_list_moves(struct exchange *exchange, const struct json_value *root,
                      struct queue_call *call)
{
    struct error err = ERROR_INIT;
    if (!json_may_integer(root, "", "MaxResults", 1, MOVES_LISTED, 1, &call->max, &err))
        return queue_refuse(exchange, &err);
    return read_arn(exchange, root, "SourceArn", false, call->queue) &&
           queue_permit(exchange, RIGHT_ANY, call->queue);
}

bool parse_cancel_move(struct exchange *exchange, const struct json_value *root,
                       struct queue_call *call)
{
    struct error err = ERROR_INIT;
    if (!json_want_text(root, "", "TaskHandle", 128, &call->handle, &err))
        return queue_refuse(exchange, &err);
    return true;
}

/* The queue of an ARN; where there is none the exchange is answered. */
static const struct queue_row *find(struct exchange *exchange, const struct database *database,
                                    const char *name)
{
    const struct queue_row *queue = stored_queue_find(database, name);
    if (queue == NULL)
        sqs_fail(exchange, SQS_RESOURCE_NOT_FOUND, "there is no queue \"%s\"", name);
    return queue;
}

static bool is_dead_letter_queue(const struct database *database, int64_t id)
{
    for (size_t i = 0; i < database->queue_count; i++) {
        if (database->queues[i].dead_letter == id)
            return true;
    }
    return false;
}

static bool may_move(struct exchange *exchange, const struct database *database,
                     const struct queue_row *source, int64_t destination)
{
    const char *why = NULL;
    if (!is_dead_letter_queue(database, source->id))
        why = "the source is the dead-letter queue of no queue";
    else if (destination == source->id)
        why = "source and destination are the same queue";
    else if (destination == exchange->hub->results_id ||
             source->id == exchange->hub->results_dead_id)
        why = "results are taken as they are sent: receive the dead letters and send them again";
    if (why != NULL)
        sqs_fail(exchange, SQS_UNSUPPORTED_OPERATION, "%s", why);
    return why == NULL;
}

/* Without a destination the letters go back to the queues that lead theirs here: that is sending to
 * each of these. */
static bool may_send_back(struct exchange *exchange, const struct database *database,
                          const struct queue_row *source)
{
    for (size_t i = 0; i < database->queue_count; i++) {
        const struct queue_row *queue = &database->queues[i];
        if (queue->dead_letter == source->id &&
            !queue_permit(exchange, RIGHT_MANAGE | RIGHT_SEND, queue->name))
            return false;
    }
    return true;
}

enum job_verdict run_start_move(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct queue_call *call = exchange->work;
    struct queue_counts counts;
    struct json_writer *json = NULL;
    const struct queue_row *source = find(exchange, database, call->queue), *destination = NULL;
    if (source == NULL)
        return JOB_DONE;
    if (call->destination[0] != '\0') {
        destination = find(exchange, database, call->destination);
        if (destination == NULL)
            return JOB_DONE;
    }
    struct move move = {.source = source->id,
                        .destination = destination != NULL ? destination->id : 0,
                        .rate = call->rate};
    if (!may_move(exchange, database, source, move.destination) ||
        (destination == NULL && !may_send_back(exchange, database, source)))
        return JOB_DONE;
    if (!stored_queue_count(database, source->id, &counts, err))
        return JOB_FAILED;
    move.to_move = counts.visible + counts.in_flight + counts.delayed;
    if (!move_start(database, &move, err)) {
        if (err->kind != FAIL_EXISTS)
            return JOB_FAILED;
        sqs_fail(exchange, SQS_UNSUPPORTED_OPERATION, "%s", err->text);
        return JOB_DONE;
    }
    log_event(LEVEL_WARNING, EVENT_NOTE, "dead letters are moved", LOG_TEXT("queue", call->queue),
              LOG_TEXT("by", call->access_key));
    if (!json_writer_new(false, &json, err))
        return JOB_FAILED;
    json_object(json, NULL);
    json_put_text(json, "TaskHandle", move.handle);
    json_object_end(json);
    return queue_answer(exchange, &json, err);
}

/* The list of moves while it is written. */
struct listing {
    const struct queue_call *call;
    const struct database *database;
    struct json_writer *json;
};

static void put_move(void *context, const struct move *move)
{
    const struct listing *listing = context;
    struct json_writer *json = listing->json;
    char arn[ARN_TEXT];
    const struct queue_row *destination = stored_queue_by_id(listing->database, move->destination);
    json_object(json, NULL);
    if (move->state == MOVE_RUNNING)
        json_put_text(json, "TaskHandle", move->handle);
    json_put_text(json, "Status", move_state_name(move->state));
    queue_arn(listing->call, listing->call->queue, arn);
    json_put_text(json, "SourceArn", arn);
    if (destination != NULL) {
        queue_arn(listing->call, destination->name, arn);
        json_put_text(json, "DestinationArn", arn);
    }
    if (move->rate != 0)
        json_put_integer(json, "MaxNumberOfMessagesPerSecond", move->rate);
    json_put_integer(json, "ApproximateNumberOfMessagesMoved", move->moved);
    json_put_integer(json, "ApproximateNumberOfMessagesToMove", move->to_move);
    if (move->failure[0] != '\0')
        json_put_text(json, "FailureReason", move->failure);
    json_put_integer(json, "StartedTimestamp", move->started_ms);
    json_object_end(json);
}

enum job_verdict run_list_moves(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct queue_call *call = exchange->work;
    struct listing listing = {.call = call, .database = database};
    const struct queue_row *source = find(exchange, database, call->queue);
    if (source == NULL)
        return JOB_DONE;
    if (!json_writer_new(false, &listing.json, err))
        return JOB_FAILED;
    json_object(listing.json, NULL);
    json_array(listing.json, "Results");
    if (!move_list(database, source->id, call->max, put_move, &listing, err)) {
        json_writer_free(&listing.json);
        return JOB_FAILED;
    }
    json_array_end(listing.json);
    json_object_end(listing.json);
    return queue_answer(exchange, &listing.json, err);
}

enum job_verdict run_cancel_move(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct queue_call *call = exchange->work;
    struct json_writer *json = NULL;
    int64_t source = 0, moved = 0;
    if (!move_find(database, call->handle, &source, err)) {
        if (err->kind != FAIL_NOT_FOUND)
            return JOB_FAILED;
        sqs_fail(exchange, SQS_RESOURCE_NOT_FOUND, "%s", err->text);
        return JOB_DONE;
    }
    const struct queue_row *queue = stored_queue_by_id(database, source);
    if (!queue_permit(exchange, RIGHT_MANAGE, queue != NULL ? queue->name : "/"))
        return JOB_DONE;
    if (!move_cancel(database, call->handle, &moved, err)) {
        if (err->kind != FAIL_USAGE)
            return JOB_FAILED;
        sqs_fail(exchange, SQS_UNSUPPORTED_OPERATION, "%s", err->text);
        return JOB_DONE;
    }
    if (!json_writer_new(false, &json, err))
        return JOB_FAILED;
    json_object(json, NULL);
    json_put_integer(json, "ApproximateNumberOfMessagesMoved", moved);
    json_object_end(json);
    return queue_answer(exchange, &json, err);
}
