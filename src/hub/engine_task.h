/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's thread asks of the store: each task is one job there, and comes back ended. */
#ifndef RESEAL_HUB_ENGINE_TASK_H
#define RESEAL_HUB_ENGINE_TASK_H

#include "hub.h"
#include "reseal/queue.h"
#include "store_queue.h"

#define PARCEL_LEASE_S 60

enum task_kind {
    TASK_LEASE,  /* requests that are to be sent; waits for some */
    TASK_DELETE, /* the engine has taken it */
    TASK_EXTEND, /* it is still to be sent, or (lease_s 0) given back */
    TASK_REFUSE, /* the engine will never take it: its delivery ends */
    TASK_RESULT, /* what came from the engine */
};

struct task_item {
    char message_id[UUID_TEXT];
    char receipt[RECEIPT_HANDLE_TEXT];
    struct buf body;
};

struct task {
    struct job job;
    struct task *next;
    enum task_kind kind;
    const struct hub *hub;
    struct parcel *parcel; /* that it is about */
    /* asked */
    char receipt[QUEUE_RECEIPT_MAX + 1]; /* of the hub's queue; TASK_RESULT: of the engine's */
    int64_t lease_s;
    struct buf body;   /* TASK_REFUSE: the request; TASK_RESULT: the result */
    char message[128]; /* TASK_REFUSE: why */
    unsigned max;      /* TASK_LEASE */
    /* told */
    struct error error; /* FAIL_NONE: done, and on disk */
    struct task_item items[RECEIVE_MAX];
    size_t count;
    /* where it goes when it has ended */
    void (*ended)(void *context, struct task *task); /* in the store's thread */
    void *context;
};

struct task *task_new(const struct hub *hub, enum task_kind kind) MUST_USE;
void task_submit(struct task *task);
void task_free(struct task *task);

#endif
