/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two dialects of the queue benchmark: Amazon SQS (JSON protocol, signed with SigV4) and Azure
 * Queue Storage (REST and XML, signed with SharedKey). One request for each call; its text goes to
 * `out` of the connection.
 */
#ifndef RESEAL_BENCH_QUEUE_ENGINE_H
#define RESEAL_BENCH_QUEUE_ENGINE_H

#include "queue_http.h"

#define ENGINE_BATCH_MAX 10
#define HANDLE_MAX       512

/* What a receive gives for each message and later calls need. */
struct held {
    char id[64];             /* Azure only */
    char handle[HANDLE_MAX]; /* receipt handle, pop receipt */
};

struct engine {
    const char *url;    /* http://ADDRESS:PORT */
    const char *host;   /* ADDRESS:PORT */
    const char *queue;  /* its name */
    const char *key;    /* access key id; account */
    const char *secret; /* secret access key; account key in base64 */
    /* Messages that one send, extend or delete may take; a receive always takes a batch. */
    size_t batch_max;
    void (*create)(const struct engine *engine, struct buf *out);
    /* `count` messages of the same text. */
    void (*send)(const struct engine *engine, struct buf *out, const char *text, size_t count);
    void (*receive)(const struct engine *engine, struct buf *out, size_t max);
    /* What an answer to `receive` holds. */
    size_t (*received)(char *body, struct held *out, size_t max);
    void (*extend)(const struct engine *engine, struct buf *out, const struct held *held,
                   size_t count);
    /* Takes what an answer to `extend` has changed. */
    void (*extended)(const char *head, struct held *held);
    void (*delete)(const struct engine *engine, struct buf *out, const struct held *held,
                   size_t count);
    /* How many of `count` entries a 2xx answer says were done. */
    size_t (*done)(const char *body, size_t count);
};

extern const struct engine engine_sqs, engine_azure;

#endif
