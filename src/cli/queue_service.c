/* SPDX-License-Identifier: Apache-2.0 */
#include "queue_service.h"

#include <stdlib.h>
#include <string.h>
#include "reseal/clock.h"

/* The shortest that every engine knows; then they are back by themselves. */
#define PEEK_LEASE_S  1
#define MOVE_LEASE_S  60
#define TURN_MS       1000
#define PATIENCE_MS   60000 /* without any answer: a send is tried again for ever by itself */
#define EMPTY_IN_ROW  2     /* a receive may find nothing although something is there */
#define TAKEN_AT_ONCE QUEUE_BATCH_MAX

/* A message that was received. */
struct taken {
    struct queue_message message;
    struct buf body; /* message.body is only there during the callback */
    struct error error;
    bool sent, deleted;
};

struct queue_service {
    struct queue_client *client;
    struct taken taken[TAKEN_AT_ONCE];
    size_t count;
    size_t answers;      /* that callbacks have seen */
    struct error failed; /* of a receive */
};

bool queue_service_open(const struct config *config, const char *profile,
                        struct queue_service **out, struct error *err)
{
    *out = NULL;
    struct queue_service *service = calloc(1, sizeof *service);
    if (service == NULL)
        return error_memory(err);
    if (profile == NULL)
        profile = config_text(config, "queue", "profile");
    if (!queue_client_open_as(config, profile, &service->client, err)) {
        free(service);
        return false;
    }
    queue_look_only(service->client);
    *out = service;
    return true;
}

static void forget_taken(struct queue_service *service)
{
    for (size_t i = 0; i < service->count; i++)
        buf_free(&service->taken[i].body);
    service->count = 0;
}

void queue_service_close(struct queue_service **service)
{
    if (service == NULL || *service == NULL)
        return;
    queue_client_free(&(*service)->client);
    forget_taken(*service);
    free(*service);
    *service = NULL;
}

bool queue_service_facts(struct queue_service *service, const char *name, struct queue_facts *out,
                         struct error *err)
{
    struct queue *queue = NULL;
    return queue_named(service->client, name, &queue, err) && queue_examine(queue, out, err);
}

/* -- waiting for callbacks -- */

static void on_received(void *context, const struct error *err,
                        const struct queue_message *messages, size_t count)
{
    struct queue_service *service = context;
    service->answers++;
    if (err != NULL)
        service->failed = *err;
    for (size_t i = 0; i < count && service->count < TAKEN_AT_ONCE; i++) {
        struct taken *taken = &service->taken[service->count++];
        *taken = (struct taken){.message = messages[i], .body = BUF_INIT(QUEUE_MESSAGE_MAX)};
        buf_put(&taken->body, messages[i].body.data, messages[i].body.len);
        taken->message.body = buf_bytes(&taken->body);
    }
}

/* Until everything that was begun is answered. What the client goes on trying without end is given
 * up after a while: a person waits. */
static bool wait_for_all(struct queue_service *service, struct error *err)
{
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    size_t answers = service->answers;
    while (queue_in_flight(service->client) > 0) {
        if (!queue_turn(service->client, NULL, 0, TURN_MS, err))
            return false;
        if (service->answers != answers)
            until_ms = clock_monotonic_ms() + PATIENCE_MS;
        answers = service->answers;
        if (clock_monotonic_ms() >= until_ms) {
            error_set(err, FAIL_REMOTE, "the queue service has not answered for %d seconds",
                      PATIENCE_MS / 1000);
            return error_hint(err,
                              "what was taken from a queue comes back there when its lease "
                              "ends, within %d seconds",
                              MOVE_LEASE_S);
        }
    }
    return true;
}

static bool take_some(struct queue_service *service, struct queue *queue, size_t max,
                      unsigned lease_s, struct error *err)
{
    forget_taken(service);
    service->failed.kind = FAIL_NONE;
    if (max > QUEUE_BATCH_MAX)
        max = QUEUE_BATCH_MAX;
    if (!queue_receive(queue, (unsigned)max, lease_s, 0, on_received, service, err) ||
        !wait_for_all(service, err))
        return false;
    if (service->failed.kind == FAIL_NONE)
        return true;
    *err = service->failed;
    return false;
}

struct asked {
    struct queue_service *service;
    struct taken *taken;
    bool *done;
};

static void on_done(void *context, const struct error *err)
{
    struct asked *asked = context;
    asked->service->answers++;
    if (err != NULL)
        asked->taken->error = *err;
    else
        *asked->done = true;
}

static bool first_error(const struct queue_service *service, struct error *err)
{
    for (size_t i = 0; i < service->count; i++) {
        if (service->taken[i].error.kind != FAIL_NONE) {
            *err = service->taken[i].error;
            return false;
        }
    }
    return true;
}

/* -- peek -- */

bool queue_service_peek(struct queue_service *service, const char *name, size_t max,
                        queue_service_seen *seen, void *context, size_t *shown, struct error *err)
{
    struct queue *queue = NULL;
    *shown = 0;
    if (!queue_named(service->client, name, &queue, err) ||
        !take_some(service, queue, max, PEEK_LEASE_S, err))
        return false;
    for (; *shown < service->count; ++*shown) {
        if (!seen(context, &service->taken[*shown].message, err))
            return false;
    }
    return true;
}

/* -- move and purge -- */

/* Sends what was taken and was not sent. */
static bool send_taken(struct queue_service *service, struct queue *to, struct error *err)
{
    struct asked asked[TAKEN_AT_ONCE];
    bool ok = true;
    for (size_t i = 0; ok && i < service->count; i++) {
        asked[i] = (struct asked){service, &service->taken[i], &service->taken[i].sent};
        ok = queue_send(to, service->taken[i].message.body, on_done, &asked[i], err);
    }
    if (!wait_for_all(service, ok ? err : &(struct error)ERROR_INIT)) {
        queue_client_free(&service->client);
        return false;
    }
    return ok && first_error(service, err);
}

/* Deletes what was taken, or of that only what has arrived elsewhere. */
static bool delete_taken(struct queue_service *service, struct queue *from, bool sent_only,
                         struct error *err)
{
    struct asked asked[TAKEN_AT_ONCE];
    bool ok = true;
    for (size_t i = 0; ok && i < service->count; i++) {
        struct taken *taken = &service->taken[i];
        if (sent_only && !taken->sent)
            continue;
        asked[i] = (struct asked){service, taken, &taken->deleted};
        ok = queue_delete(from, taken->message.receipt, on_done, &asked[i], err);
    }
    if (!wait_for_all(service, ok ? err : &(struct error)ERROR_INIT)) {
        queue_client_free(&service->client);
        return false;
    }
    return ok;
}

static bool move_taken(struct queue_service *service, struct queue *from, struct queue *to,
                       size_t *moved, struct error *err)
{
    bool ok = send_taken(service, to, err);
    for (size_t i = 0; i < service->count; i++)
        *moved += service->taken[i].sent;
    if (service->client == NULL)
        return false;
    struct error late = ERROR_INIT;
    if (delete_taken(service, from, true, ok ? err : &late) && ok)
        ok = first_error(service, err);
    else
        ok = false;
    return ok;
}

bool queue_service_move(struct queue_service *service, const char *from, const char *to, size_t max,
                        size_t *moved, struct error *err)
{
    struct queue *source = NULL, *target = NULL;
    size_t empty = 0;
    *moved = 0;
    if (!queue_named(service->client, from, &source, err) ||
        !queue_named(service->client, to, &target, err))
        return false;
    while (*moved < max && empty < EMPTY_IN_ROW) {
        if (!take_some(service, source, max - *moved, MOVE_LEASE_S, err))
            return false;
        empty = service->count == 0 ? empty + 1 : 0;
        if (!move_taken(service, source, target, moved, err))
            return false;
    }
    return true;
}

bool queue_service_purge(struct queue_service *service, const char *name, size_t *deleted,
                         struct error *err)
{
    struct queue *queue = NULL;
    size_t empty = 0;
    *deleted = 0;
    if (!queue_named(service->client, name, &queue, err))
        return false;
    while (empty < EMPTY_IN_ROW) {
        if (!take_some(service, queue, QUEUE_BATCH_MAX, MOVE_LEASE_S, err))
            return false;
        empty = service->count == 0 ? empty + 1 : 0;
        bool ok = delete_taken(service, queue, false, err);
        for (size_t i = 0; i < service->count; i++)
            *deleted += service->taken[i].deleted;
        if (!ok || !first_error(service, err))
            return false;
    }
    return true;
}
