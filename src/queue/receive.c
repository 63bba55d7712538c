/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receives: one at a time for each queue, never tried again by the client itself after a failure.
 *
 * An engine without long poll answers at once. There the client asks again by itself until the wait
 * is over, soon where messages come and more and more rarely where none do, up to idle_poll; at
 * once where all that came went to the poison queue, behind which others may stand. How
 * long the queue has been empty outlives the receive.
 */
#include "dialect.h"
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/json.h"

#define POLL_FIRST_MS 200 /* after the first empty answer */

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
                                      .until_ms = clock_monotonic_ms() + (int64_t)wait_s * 1000,
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
    int64_t due_ms = queue->client->quiet_until_ms;
    if (receive->wait_s > 0 && queue->poll_due_ms > due_ms)
        due_ms = queue->poll_due_ms;
    if (due_ms > now_ms) {
        if (due_ms < *next_ms)
            *next_ms = due_ms;
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

/* True where an answer without a message for the caller is not yet the end of the wait. `given`:
 * messages that it had before poison was set aside. */
static bool polls_on(struct queue *queue, size_t given, size_t count)
{
    const struct queue_client *client = queue->client;
    const struct backoff pause = {.first_ms = POLL_FIRST_MS,
                                  .most_ms = (int64_t)client->idle_poll_s * 1000};
    int64_t now_ms = clock_monotonic_ms();
    if (client->dialect->long_poll)
        return false;
    if (count > 0 || (given > 0 && poison_has_room(client))) {
        queue->empty = 0;
        queue->poll_due_ms = 0;
        return count == 0 && now_ms < queue->receive.until_ms;
    }
    queue->poll_due_ms = now_ms + backoff_ms(&pause, ++queue->empty);
    return now_ms < queue->receive.until_ms;
}

/* Leaves out what was received too often. */
static void set_poison_aside(struct queue *queue, struct message_set *set)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (!poison_take(queue, &set->messages[i]))
            set->messages[kept++] = set->messages[i];
    }
    set->count = kept;
}

void receive_settle(struct queue *queue, struct exchange *exchange, const struct error *failure)
{
    struct message_set set = {.text = BUF_INIT(QUEUE_BATCH_MAX * QUEUE_MESSAGE_MAX)};
    struct error broken = ERROR_INIT;
    if (failure == NULL && exchange != NULL &&
        !queue->client->dialect->read_messages(exchange, &set, &broken))
        failure = &broken;
    if (failure == NULL)
        client_note(queue->client, CALL_RECEIVE, NULL);
    else if (failure->kind == FAIL_NOT_FOUND)
        queue_forget_url(queue);
    if (exchange != NULL)
        exchange_drop(exchange); /* the messages are not views into the answer */
    queue->receive.exchange = NULL;
    size_t given = set.count;
    set_poison_aside(queue, &set);
    if (failure != NULL || !polls_on(queue, given, set.count)) {
        struct receive was = receive_close(queue);
        was.done(was.context, failure, set.messages, set.count);
    }
    json_free(&set.json);
    buf_free(&set.text);
}
