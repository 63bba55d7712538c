/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends, deletes and extensions: they wait in lanes and travel in batches.
 *
 * While one batch of a lane is under way, what is asked for gathers into the next: so batches grow
 * by themselves under load, and nothing waits while there is none. Only a full batch starts beside
 * one that runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dialect.h"
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/log.h"

static const struct backoff retry = {.first_ms = 200, .most_ms = 20000};

static size_t lane_index(enum call call)
{
    switch (call) {
    case CALL_SEND:
        return 0;
    case CALL_DELETE:
        return 1;
    case CALL_EXTEND:
        return 2;
    case CALL_URL:
    case CALL_RECEIVE:
    case CALL_ATTRIBUTES:
        break;
    }
    abort(); /* the others have no lane */
}

static struct lane *queue_lane(struct queue *queue, enum call call)
{
    return &queue->lanes[lane_index(call)];
}

static void lane_append(struct lane *lane, struct operation *operation)
{
    operation->next = NULL;
    if (lane->last != NULL)
        lane->last->next = operation;
    else
        lane->first = operation;
    lane->last = operation;
    lane->count++;
}

static void operation_finish(struct queue *queue, struct operation *operation,
                             const struct error *err)
{
    queue->client->in_flight--;
    operation->done(operation->context, err);
    buf_free(&operation->content);
    free(operation);
}

static bool operation_add(struct queue *queue, const struct operation *wish, struct bytes content,
                          struct error *err)
{
    if (queue->client->closing)
        return error_set(err, FAIL_REMOTE, "the queue client is closing");
    struct operation *operation = malloc(sizeof *operation);
    if (operation == NULL)
        return error_memory(err);
    *operation = *wish;
    operation->asked_ms = clock_monotonic_ms();
    operation->content = (struct buf)BUF_INIT(content.len);
    buf_put(&operation->content, content.data, content.len);
    if (!buf_check(&operation->content, "a queue operation", err)) {
        free(operation);
        return error_memory(err);
    }
    lane_append(queue_lane(queue, wish->call), operation);
    queue->client->in_flight++;
    return true;
}

static bool send_body(struct queue *queue, struct bytes body, bool bounded, queue_done *done,
                      void *context, struct error *err)
{
    size_t most = queue->client->dialect->message_max;
    if (body.len == 0 || body.len > most)
        return error_set(err, body.len == 0 ? FAIL_INPUT : FAIL_TOO_LARGE,
                         "a queue message must have 1 to %zu bytes, not %zu", most, body.len);
    struct operation wish = {
        .call = CALL_SEND, .bounded = bounded, .done = done, .context = context};
    return operation_add(queue, &wish, body, err);
}

bool queue_send(struct queue *queue, struct bytes body, queue_done *done, void *context,
                struct error *err)
{
    return send_body(queue, body, false, done, context, err);
}

bool queue_send_bounded(struct queue *queue, struct bytes body, queue_done *done, void *context,
                        struct error *err)
{
    return send_body(queue, body, true, done, context, err);
}

size_t queue_message_max(const struct queue_client *client)
{
    return client->dialect->message_max;
}

bool queue_delete(struct queue *queue, const char *receipt, queue_done *done, void *context,
                  struct error *err)
{
    struct operation wish = {
        .call = CALL_DELETE, .bounded = true, .done = done, .context = context};
    struct bytes content = {(const uint8_t *)receipt, strlen(receipt)};
    return operation_add(queue, &wish, content, err);
}

/* An extension of that message which waits in the lane, taken out of it; or NULL. */
static struct operation *take_extension(struct lane *lane, const char *receipt)
{
    struct operation **link = &lane->first, *before = NULL;
    while (*link != NULL && strcmp(buf_text(&(*link)->content), receipt) != 0) {
        before = *link;
        link = &before->next;
    }
    struct operation *found = *link;
    if (found == NULL)
        return NULL;
    *link = found->next;
    if (lane->last == found)
        lane->last = before;
    lane->count--;
    return found;
}

/* Of one message, what was asked for last counts: an older extension that is tried again would hide
 * anew what was given back meanwhile. */
static void drop_older_extension(struct queue *queue, const char *receipt)
{
    struct operation *older = take_extension(queue_lane(queue, CALL_EXTEND), receipt);
    struct error err = ERROR_INIT;
    if (older == NULL)
        return;
    error_set(&err, FAIL_REMOTE, "another extension of the same message was asked for");
    operation_finish(queue, older, &err);
}

static bool newer_extension_waits(struct queue *queue, const struct operation *operation)
{
    if (operation->call != CALL_EXTEND)
        return false;
    const char *receipt = buf_text(&operation->content);
    for (const struct operation *at = queue_lane(queue, CALL_EXTEND)->first; at != NULL;
         at = at->next) {
        if (strcmp(buf_text(&at->content), receipt) == 0)
            return true;
    }
    return false;
}

bool queue_extend(struct queue *queue, const char *receipt, unsigned lease_s, queue_done *done,
                  void *context, struct error *err)
{
    struct operation wish = {
        .call = CALL_EXTEND, .bounded = true, .lease_s = lease_s, .done = done, .context = context};
    struct bytes content = {(const uint8_t *)receipt, strlen(receipt)};
    drop_older_extension(queue, receipt);
    return operation_add(queue, &wish, content, err);
}

void queue_gather(struct queue_client *client, bool more_expected)
{
    client->gather = more_expected;
}

/* What may go now, and since when the longest of it has been waiting. */
struct due {
    size_t count;
    int64_t oldest_ms;
};

/* *next_ms becomes sooner where the next of the others is due sooner. */
static struct due look_for_due(const struct lane *lane, int64_t now_ms, int64_t *next_ms)
{
    struct due due = {.oldest_ms = now_ms};
    for (const struct operation *at = lane->first; at != NULL; at = at->next) {
        if (at->due_ms > now_ms) {
            if (at->due_ms < *next_ms)
                *next_ms = at->due_ms;
            continue;
        }
        due.count++;
        if (at->asked_ms < due.oldest_ms)
            due.oldest_ms = at->asked_ms;
    }
    return due;
}

/* Takes what fits into one batch out of the lane. */
static void gather(struct lane *lane, int64_t now_ms, struct exchange *exchange)
{
    struct operation **link = &lane->first, *kept = NULL;
    size_t bytes = 0, most = exchange->client->dialect->batch_max;
    while (*link != NULL && exchange->count < most) {
        struct operation *operation = *link;
        bool fits = exchange->count == 0 ||
                    (!operation->alone && bytes + operation->content.len <= BATCH_BYTES);
        if (operation->due_ms > now_ms || !fits || !receipt_take(exchange->queue, operation)) {
            kept = operation;
            link = &operation->next;
            continue;
        }
        *link = operation->next;
        lane->count--;
        bytes += operation->content.len;
        exchange->operations[exchange->count++] = operation;
        if (operation->alone)
            break;
    }
    if (*link == NULL)
        lane->last = kept;
}

/* How long an operation waits for company while the caller expects more. */
static int64_t gather_ms(const struct queue_client *client, enum call call)
{
    if (!client->gather || call == CALL_EXTEND)
        return 0;
    return call == CALL_SEND ? GATHER_SEND_MS : GATHER_DELETE_MS;
}

static bool may_start(const struct queue *queue, enum call call, const struct due *due,
                      int64_t now_ms, int64_t *next_ms)
{
    const struct queue_client *client = queue->client;
    if (due->count == 0 || client->running >= client->exchanges_max)
        return false;
    if (due->count >= client->dialect->batch_max)
        return true;
    if (queue->lanes[lane_index(call)].running > 0)
        return false;
    int64_t go_ms = due->oldest_ms + gather_ms(client, call);
    if (go_ms > now_ms && go_ms < *next_ms)
        *next_ms = go_ms;
    return go_ms <= now_ms;
}

void lane_start(struct queue *queue, enum call call, int64_t now_ms, int64_t *next_ms)
{
    struct lane *lane = queue_lane(queue, call);
    struct error err = ERROR_INIT;
    struct exchange *exchange;
    while (lane->first != NULL) {
        struct due due = look_for_due(lane, now_ms, next_ms);
        if (!may_start(queue, call, &due, now_ms, next_ms))
            return;
        if (!exchange_take(queue, call, &exchange, &err)) {
            client_note(queue->client, call, &err);
            *next_ms = now_ms + retry.first_ms;
            return;
        }
        gather(lane, now_ms, exchange);
        if (exchange->count == 0) /* all that is due waits for the answer about its message */
            return;
        lane->running++;
        if (!exchange_start(exchange, &err))
            batch_settle(exchange, &err);
    }
}

/* True where trying this operation again makes sense. */
static bool worth_retry(const struct operation *operation, const struct error *err)
{
    if (err->kind == FAIL_INPUT)
        return false;
    return !operation->bounded || operation->tries < TRIES_WHILE_LEASED;
}

/* `again_ms`: when its batch is due again, so that what failed together stays together. */
static void settle_one(struct queue *queue, struct operation *operation, const struct error *err,
                       bool refused_together, int64_t again_ms)
{
    bool done = err == NULL || err->kind == FAIL_NONE;
    receipt_settle(queue, operation, done);
    if (done) {
        operation_finish(queue, operation, NULL);
        return;
    }
    operation->tries++;
    if (newer_extension_waits(queue, operation)) {
        operation_finish(queue, operation, err);
        return;
    }
    if (refused_together) { /* which one is bad shows when each travels by itself */
        operation->alone = true;
    } else if (!worth_retry(operation, err)) {
        operation_finish(queue, operation, err);
        return;
    } else {
        client_note(queue->client, operation->call, err);
        operation->due_ms = again_ms;
    }
    lane_append(queue_lane(queue, operation->call), operation);
}

void batch_settle(struct exchange *exchange, const struct error *failure)
{
    struct operation *operations[QUEUE_BATCH_MAX];
    struct error errors[QUEUE_BATCH_MAX], broken = ERROR_INIT;
    struct queue *queue = exchange->queue;
    size_t count = exchange->count;
    enum call call = exchange->call;
    if (failure == NULL && !queue->client->dialect->read_batch(exchange, errors, &broken))
        failure = &broken;
    if (failure == NULL)
        client_note(queue->client, call, NULL);
    else if (failure->kind == FAIL_NOT_FOUND)
        queue_forget_url(queue); /* the queue may be made again under another */
    memcpy(operations, exchange->operations, sizeof operations);
    exchange_drop(exchange); /* before callbacks ask for more */
    queue_lane(queue, call)->running--;
    bool refused_together = failure != NULL && failure->kind == FAIL_INPUT && count > 1;
    int64_t again_ms = clock_monotonic_ms() + backoff_ms(&retry, operations[0]->tries + 1);
    for (size_t i = 0; i < count; i++)
        settle_one(queue, operations[i], failure != NULL ? failure : &errors[i], refused_together,
                   again_ms);
}

void lane_abandon(struct lane *lane, struct queue *queue, const struct error *err)
{
    struct operation *operation;
    while ((operation = lane->first) != NULL) {
        lane->first = operation->next;
        lane->count--;
        operation_finish(queue, operation, err);
    }
    lane->last = NULL;
}

void batch_abandon(struct exchange *exchange, const struct error *err)
{
    struct queue *queue = exchange->queue;
    for (size_t i = 0; i < exchange->count; i++)
        operation_finish(queue, exchange->operations[i], err);
    exchange->count = 0;
}

void client_note(struct queue_client *client, enum call call, const struct error *failure)
{
    if (failure == NULL) {
        if (client->troubled)
            log_event(LEVEL_INFO, EVENT_NOTE, "the queue answers again",
                      LOG_TEXT("endpoint", client->endpoint));
        client->troubled = false;
        return;
    }
    log_error(client->troubled ? LEVEL_DEBUG : LEVEL_WARNING,
              call == CALL_SEND ? EVENT_UPLOAD_FAILED : EVENT_NOTE,
              "a queue call failed and is tried again", failure);
    client->troubled = true;
}
