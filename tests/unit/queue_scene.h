/* SPDX-License-Identifier: Apache-2.0 */
/* A queue client before a real HTTP server that misbehaves on request: what its tests share. */
#ifndef TEST_QUEUE_SCENE_H
#define TEST_QUEUE_SCENE_H

#include "tests/unit/check.h"
#include "tests/unit/http_peer.h"
#include <fcntl.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/log.h"
#include "reseal/queue.h"

#define SECRET_KEY "canary-secret-access-key"

struct scene {
    struct peer peer;
    struct credential credential;
    struct queue_client *client;
    struct queue *queue;
};

/* How one operation ended. */
struct ending {
    bool over;
    unsigned times;
    struct error err;
};

struct received {
    bool over;
    size_t count;
    char bodies[QUEUE_BATCH_MAX][64];
    char receipts[QUEUE_BATCH_MAX][64];
    unsigned receive_count;
    struct error err;
};

static inline void on_done(void *context, const struct error *err)
{
    struct ending *ending = context;
    ending->over = true;
    ending->times++;
    ending->err = err != NULL ? *err : (struct error)ERROR_INIT;
}

static inline void on_received(void *context, const struct error *err,
                               const struct queue_message *messages, size_t count)
{
    struct received *received = context;
    received->over = true;
    received->count = count;
    received->err = err != NULL ? *err : (struct error)ERROR_INIT;
    for (size_t i = 0; i < count; i++) {
        snprintf(received->bodies[i], sizeof received->bodies[i], "%.*s", (int)messages[i].body.len,
                 (const char *)messages[i].body.data);
        snprintf(received->receipts[i], sizeof received->receipts[i], "%.60s", messages[i].receipt);
        received->receive_count = messages[i].receive_count;
    }
}

/* A client with the options given; the peer is its endpoint where they name none. */
static inline void connect_client(struct scene *scene, struct queue_options options)
{
    struct error err = ERROR_INIT;
    queue_client_free(&scene->client);
    if (options.endpoint == NULL)
        options.endpoint = scene->peer.endpoint;
    options.region = "local";
    assert_ok(queue_client_new(&options, &scene->client, &err), &err);
    assert_ok(queue_named(scene->client, "work", &scene->queue, &err), &err);
}

static inline int open_scene(void **state)
{
    struct error err = ERROR_INIT;
    struct scene *scene = calloc(1, sizeof *scene);
    assert_ok(secret_heap_open(65536, &err), &err);
    assert_true(peer_start(&scene->peer));
    snprintf(scene->credential.access_key_id, sizeof scene->credential.access_key_id, "AKTEST");
    assert_ok(
        secret_copy(SECRET_KEY, strlen(SECRET_KEY), &scene->credential.secret_access_key, &err),
        &err);
    connect_client(scene, (struct queue_options){.credential = &scene->credential});
    *state = scene;
    return 0;
}

static inline int close_scene(void **state)
{
    struct scene *scene = *state;
    queue_client_free(&scene->client);
    peer_stop(&scene->peer);
    secret_free(&scene->credential.secret_access_key);
    free(scene);
    return 0;
}

/* Turns until the flag is set; a promise that takes longer than `bound_ms` is broken. */
static inline void turn_until(struct scene *scene, const bool *flag, int64_t bound_ms)
{
    struct error err = ERROR_INIT;
    int64_t end = clock_monotonic_ms() + bound_ms;
    while (!*flag) {
        assert_true(clock_monotonic_ms() < end);
        assert_ok(queue_turn(scene->client, NULL, 0, 1000, &err), &err);
    }
}

static inline void send_text(struct scene *scene, const char *text, struct ending *ending)
{
    struct error err = ERROR_INIT;
    struct bytes body = {(const uint8_t *)text, strlen(text)};
    assert_ok(queue_send(scene->queue, body, on_done, ending, &err), &err);
}

static inline void receive(struct scene *scene, struct received *received)
{
    struct error err = ERROR_INIT;
    *received = (struct received){0};
    assert_ok(queue_receive(scene->queue, 10, 30, 0, on_received, received, &err), &err);
}

static inline void fault(struct scene *scene, const char *call, unsigned status, const char *body)
{
    peer_fault(&scene->peer, (struct fault){.call = call, .status = status, .body = body});
}

#define scene_test(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

#endif
