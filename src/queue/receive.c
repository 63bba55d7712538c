/* SPDX-License-Identifier: Apache-2.0 */
/* Receives: one at a time for each queue, never tried again by the client itself. */
#include "client.h"
#include "reseal/json.h"

bool queue_receive(struct queue *queue, unsigned max, unsigned lease_s, unsigned wait_s,
                   queue_received *done, void *context, struct error *err)
{
    if (queue->client->closing)
        return error_set(err, FAIL_REMOTE, "the queue client is closing");
    if (queue->receive.open)
        return error_set(err, FAIL_INTERNAL, "a receive on queue \"%s\" is under way already",
                         queue->name);
    if (max < 1 || max > QUEUE_BATCH_MAX)
        return error_set(err, FAIL_INTERNAL, "a receive takes 1 to %d messages, not %u",
                         QUEUE_BATCH_MAX, max);
    queue->receive = (struct receive){.open = true,
                                      .max = max,
                                      .lease_s = lease_s,
                                      .wait_s = wait_s,
                                      .done = done,
                                      .context = context};
    queue->client->in_flight++;
    return true;
}

/* Ends the receive before its callback runs, so that the callback may begin the next. */
static struct receive receive_close(struct queue *queue)
{
    struct receive was = queue->receive;
    queue->receive = (struct receive){0};
    queue->client->in_flight--;
    return was;
}

void queue_receive_cancel(struct queue *queue)
{
    if (!queue->receive.open)
        return;
    if (queue->receive.exchange != NULL)
        exchange_drop(queue->receive.exchange);
    struct receive was = receive_close(queue);
    was.done(was.context, NULL, NULL, 0);
}

void receive_start(struct queue *queue, int64_t now_ms, int64_t *next_ms)
{
    struct receive *receive = &queue->receive;
    struct error err = ERROR_INIT;
    struct exchange *exchange;
    if (!receive->open || receive->exchange != NULL)
        return;
    if (queue->client->quiet_until_ms > now_ms) {
        if (queue->client->quiet_until_ms < *next_ms)
            *next_ms = queue->client->quiet_until_ms;
        return;
    }
    if (!exchange_take(queue, CALL_RECEIVE, &exchange, &err)) {
        receive_settle(queue, NULL, &err);
        return;
    }
    receive->exchange = exchange;
    if (!exchange_start(exchange, &err))
        receive_settle(queue, exchange, &err);
}

void receive_settle(struct queue *queue, struct exchange *exchange, const struct error *failure)
{
    struct queue_message messages[QUEUE_BATCH_MAX];
    struct error broken = ERROR_INIT;
    struct json *json = NULL;
    size_t count = 0;
    if (failure == NULL && exchange != NULL &&
        !read_messages(exchange, &json, messages, &count, &broken))
        failure = &broken;
    if (failure == NULL)
        client_note(queue->client, CALL_RECEIVE, NULL);
    else if (failure->kind == FAIL_NOT_FOUND)
        queue->url_state = URL_UNKNOWN;
    if (exchange != NULL)
        exchange_drop(exchange); /* the messages are views into `json`, not into the answer */
    struct receive was = receive_close(queue);
    was.done(was.context, failure, messages, count);
    json_free(&json);
}
