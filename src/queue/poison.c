/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was received too often, where the engine has no redrive policy: it goes to the queue of the
 * same name with "-poison" behind it, where a person finds it. The order is that of a result: sent
 * first, then deleted; whatever is killed in between, the message comes back and goes again.
 *
 * Only so many are on their way at once: a poison queue that does not take them, or a service that
 * hands out nothing else, is not to fill the memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dialect.h"
#include "reseal/log.h"

#define ON_THE_WAY_MAX 32

struct poison {
    struct queue *from;
    char message_id[QUEUE_MESSAGE_ID_MAX + 1];
    char receipt[QUEUE_RECEIPT_MAX + 1];
};

static void poison_end(struct poison *poison)
{
    poison->from->client->poisons--;
    free(poison);
}

static void on_deleted(void *context, const struct error *err)
{
    struct poison *poison = context;
    if (err != NULL) /* it comes back, and goes the same way again */
        log_error(LEVEL_WARNING, EVENT_NOTE, "a message in the poison queue is in its own, too",
                  err);
    poison_end(poison);
}

static void on_sent(void *context, const struct error *err)
{
    struct poison *poison = context;
    struct error refused = ERROR_INIT;
    if (err != NULL) {
        log_error(LEVEL_ERROR, EVENT_REQUEST_FAILED,
                  "the poison queue does not take a message, which stays where it is", err);
        poison_end(poison);
        return;
    }
    log_event(LEVEL_WARNING, EVENT_REQUEST_FAILED,
              "a message that was received too often is in the poison queue now",
              LOG_TEXT("message", poison->message_id), LOG_TEXT("queue", poison->from->name));
    if (!queue_delete(poison->from, poison->receipt, on_deleted, poison, &refused))
        on_deleted(poison, &refused);
}

bool queue_poison_name(const struct queue_client *client, const char *name,
                       char out[static QUEUE_NAME_MAX + 1])
{
    size_t len = strlen(name), tail = strlen(POISON_SUFFIX);
    if (client->max_receives == 0 || len + tail > QUEUE_NAME_MAX ||
        (len > tail && strcmp(name + len - tail, POISON_SUFFIX) == 0))
        return false;
    snprintf(out, QUEUE_NAME_MAX + 1, "%s" POISON_SUFFIX, name);
    return true;
}

void queue_look_only(struct queue_client *client)
{
    client->look_only = true;
}

bool poison_has_room(const struct queue_client *client)
{
    return client->poisons < ON_THE_WAY_MAX;
}

bool poison_take(struct queue *queue, const struct queue_message *message)
{
    char name[QUEUE_NAME_MAX + 1];
    struct error err = ERROR_INIT;
    struct queue *to = NULL;
    if (queue->client->look_only || message->receive_count <= queue->client->max_receives ||
        !queue_poison_name(queue->client, queue->name, name))
        return false;
    if (!poison_has_room(queue->client))
        return true; /* it comes back when its lease ends */
    struct poison *poison = calloc(1, sizeof *poison);
    if (poison == NULL)
        return false;
    queue->client->poisons++;
    poison->from = queue;
    snprintf(poison->message_id, sizeof poison->message_id, "%s", message->message_id);
    snprintf(poison->receipt, sizeof poison->receipt, "%s", message->receipt);
    if (queue_named(queue->client, name, &to, &err) &&
        queue_send_bounded(to, message->body, on_sent, poison, &err))
        return true;
    log_error(LEVEL_ERROR, EVENT_REQUEST_FAILED, "a message cannot go to the poison queue", &err);
    poison_end(poison);
    return false;
}
