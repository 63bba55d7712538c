/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to whole queues: purge, removal, who may send dead letters there, and the work that
 * is left over for the background, a little at a time.
 */
#ifndef RESEAL_HUB_STORE_QUEUE_ADMIN_H
#define RESEAL_HUB_STORE_QUEUE_ADMIN_H

#include "store_db.h"

/* Purges what has been sent until now. A queue of ordinary length is empty at once, the rest of a
 * long one goes in the background. */
bool stored_queue_purge(struct database *database, int64_t queue, struct error *err) MUST_USE;
/* Removes the queue; its messages go in the background. Queues that sent their dead letters there
 * keep them from now on. */
bool stored_queue_remove(struct database *database, int64_t queue, struct error *err) MUST_USE;

/*
 * Which queues may send their dead letters to this one: "" for all, "denyAll", or the names of up
 * to ten, with a blank between them.
 */
#define REDRIVE_ALLOW_NAMES 10
#define REDRIVE_ALLOW_MAX   (REDRIVE_ALLOW_NAMES * (QUEUE_NAME_MAX + 1) + 1)
#define REDRIVE_DENY_ALL    "denyAll "
bool stored_queue_allow(struct database *database, int64_t queue,
                        char out[static REDRIVE_ALLOW_MAX], struct error *err) MUST_USE;
bool stored_queue_set_allow(struct database *database, int64_t queue, const char *allow,
                            struct error *err) MUST_USE;
/* Whether the queue of that name is among those that the text allows. */
bool redrive_allowed(const char *allow, const char *name) MUST_USE;

/* The number of a sender, which is made where there is none yet; 0 where there are too many. */
bool sender_number(struct database *database, const char *name, int64_t *out,
                   struct error *err) MUST_USE;
const char *sender_name(const struct database *database, int64_t id) MUST_USE; /* NULL: none */

/*
 * One step of what is left over by purges, removals and moves. *pause_ms: when to come again;
 * database->queue_work is false where nothing is left.
 */
bool queue_work_step(struct database *database, int64_t now_ms, int64_t *pause_ms,
                     struct error *err) MUST_USE;

#endif
