/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many messages wait in a queue, asked of the hub where [client] has a token for it (which
 * knows most), otherwise of the queue service: for `reseal queue stat` and `reseal status`.
 */
#ifndef RESEAL_QUEUE_LOOK_H
#define RESEAL_QUEUE_LOOK_H

#include "command.h"
#include "reseal/queue.h"

#define QUEUE_LOOKS_MAX 64

struct queue_look {
    char name[QUEUE_NAME_MAX + 1];
    int64_t visible, in_flight, delayed;
    int64_t oldest_age_s;                 /* -1: not told */
    char dead_letter[QUEUE_NAME_MAX + 1]; /* "": none told */
    int64_t dead;                         /* messages there; -1: not told */
};

struct queue_looks {
    size_t count;
    struct queue_look all[QUEUE_LOOKS_MAX];
};

/* True where `reseal queue` asks the hub: [client] has an api_token, and [queue] names no other
 * service. */
bool queue_look_at_hub(const struct config *config) MUST_USE;
/* Appends the address of a queue's messages at the hub. */
struct web;
bool queue_messages_url(const struct config *config, struct web *web, const char *name,
                        struct buf *out, struct error *err) MUST_USE;
/* Every queue of the hub. */
bool queue_looks_hub(const struct config *config, struct queue_looks *out,
                     struct error *err) MUST_USE;
/* Deletes all messages of one of the hub's queues; *deleted is how many there were. */
bool queue_purge_hub(const struct config *config, const char *name, int64_t *deleted,
                     struct error *err) MUST_USE;
/* The named queue, added to `out`; its dead letters are counted where they may be. */
struct queue_service;
bool queue_look_service(struct queue_service *service, const char *name, struct queue_looks *out,
                        struct error *err) MUST_USE;
/* requests and results of [queue], from wherever `config` leads. */
bool queue_looks_connector(const struct config *config, struct queue_looks *out,
                           struct error *err) MUST_USE;
/* Keeps only the queue of that name; FAIL_NOT_FOUND where there is none. */
bool queue_looks_keep(struct queue_looks *looks, const char *name, struct error *err) MUST_USE;

/* Writes an array named `key`; what is not told is null. */
void queue_looks_write(const struct queue_looks *looks, struct json_writer *json, const char *key);
/* The number, or "-" where it is not told. */
#define COUNT_TEXT 24
void queue_count_text(int64_t number, char out[static COUNT_TEXT]);
/* "3 days", "5 minutes", "12 s"; "-" where it is not told. */
#define AGE_TEXT 32
void queue_age_text(int64_t seconds, char out[static AGE_TEXT]);

#endif
