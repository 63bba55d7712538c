/* SPDX-License-Identifier: Apache-2.0 */
/* A queue client for Azure Storage Queue before a server that misbehaves: what its tests share. */
#ifndef TEST_AZURE_SCENE_H
#define TEST_AZURE_SCENE_H

#include "tests/unit/queue_scene.h"
#include "reseal/file.h"

#define KEY_TEXT "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* 0, 1, ... 31 */

struct account {
    struct scene *scene;
    char path[64];
};

static inline void write_connection(const struct account *account, const char *text)
{
    struct error err = ERROR_INIT;
    struct bytes content = {(const uint8_t *)text, strlen(text)};
    assert_ok(file_write(account->path, 0600, FILE_REPLACE, content, &err), &err);
}

static inline int open_account(void **state)
{
    struct account *account = calloc(1, sizeof *account);
    void *scene = NULL;
    char text[256];
    assert_int_equal(open_scene(&scene), 0);
    account->scene = scene;
    snprintf(account->path, sizeof account->path, "/tmp/reseal-azure-XXXXXX");
    int fd = mkstemp(account->path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(text, sizeof text,
             "AccountName=account;AccountKey=" KEY_TEXT ";QueueEndpoint=%s/account/",
             account->scene->peer.endpoint);
    write_connection(account, text);
    *state = account;
    return 0;
}

static inline int close_account(void **state)
{
    struct account *account = *state;
    void *scene = account->scene;
    unlink(account->path);
    close_scene(&scene);
    free(account);
    return 0;
}

/* connect_client, without the endpoint that it would give. */
static inline struct scene *connect_azure(struct account *account, unsigned max_receives)
{
    struct scene *scene = account->scene;
    struct error err = ERROR_INIT;
    struct queue_options options = {.engine = QUEUE_AZURE,
                                    .credentials = account->path,
                                    .idle_poll_s = 1,
                                    .max_receives = max_receives};
    queue_client_free(&scene->client);
    assert_ok(queue_client_new(&options, &scene->client, &err), &err);
    assert_ok(queue_named(scene->client, "orders", &scene->queue, &err), &err);
    return scene;
}

static inline void offer_one(struct scene *scene, const char *text, unsigned count)
{
    char body[1024];
    snprintf(
        body, sizeof body,
        "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList><QueueMessage>"
        "<MessageId>m-1</MessageId><InsertionTime>x</InsertionTime><PopReceipt>r+1=</PopReceipt>"
        "<DequeueCount>%u</DequeueCount><MessageText>%s</MessageText>"
        "</QueueMessage></QueueMessagesList>",
        count, text);
    peer_offer(&scene->peer, body);
}

static inline const struct seen_call *seen(struct scene *scene, const char *call, size_t n)
{
    for (size_t i = 0; i < scene->peer.seen_count; i++) {
        if (strcmp(scene->peer.seen[i].call, call) == 0 && n-- == 0)
            return &scene->peer.seen[i];
    }
    fail_msg("%s was not seen so often", call);
    abort(); /* fail_msg does not come back, which compilers do not know */
}

#define account_test(name) cmocka_unit_test_setup_teardown(name, open_account, close_account)

#endif
