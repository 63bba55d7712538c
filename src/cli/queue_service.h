/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `reseal queue` does at the queue service of [queue], whatever engine that is: with the
 * operations that every one has (receive, send, delete, extend), and waiting for their answers.
 */
#ifndef RESEAL_QUEUE_SERVICE_H
#define RESEAL_QUEUE_SERVICE_H

#include "reseal/config.h"
#include "reseal/queue.h"

struct queue_service;

/* The client of [queue]; `profile` is another section of its credentials file, or NULL. */
bool queue_service_open(const struct config *config, const char *profile,
                        struct queue_service **out, struct error *err) MUST_USE;
void queue_service_close(struct queue_service **service);

bool queue_service_facts(struct queue_service *service, const char *name, struct queue_facts *out,
                         struct error *err) MUST_USE;

/* False ends the look at messages. */
typedef bool queue_service_seen(void *context, const struct queue_message *message,
                                struct error *err);
/* Takes up to `max` messages (ten at most) for one second, and shows each; *shown is how many. To
 * the service that is a receive, and counts as one. */
bool queue_service_peek(struct queue_service *service, const char *name, size_t max,
                        queue_service_seen *seen, void *context, size_t *shown,
                        struct error *err) MUST_USE;
/* Moves up to `max` messages; each is deleted in `from` only after `to` has it. *moved counts those
 * that are in `to`, also on failure. */
bool queue_service_move(struct queue_service *service, const char *from, const char *to, size_t max,
                        size_t *moved, struct error *err) MUST_USE;
/* Deletes all that can be received. *deleted counts, also on failure. */
bool queue_service_purge(struct queue_service *service, const char *name, size_t *deleted,
                         struct error *err) MUST_USE;

#endif
