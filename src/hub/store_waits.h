/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jobs of the store that wait, with thousands of devices in long polls: each is found by what
 * it waits for, and only those that are woken are touched.
 *
 * Who came first is first in every list here, whoever was woken first: each message goes to the
 * client that has waited longest.
 */
#ifndef RESEAL_HUB_STORE_WAITS_H
#define RESEAL_HUB_STORE_WAITS_H

#include "store.h"

#define WAITS_BUCKETS 4096 /* a power of two */

struct wait_chain {
    struct job *first, *last;
};

struct waits {
    struct job *first, *last;                /* all of them, in the order in which they came */
    struct wait_chain woken;                 /* those that are to be run */
    struct wait_chain asleep[WAITS_BUCKETS]; /* the others, by the hash of what they wait for */
    uint64_t turns;                          /* given out so far */
};

/* One more that waits, behind all others. */
void waits_add(struct waits *waits, struct job *job);
/* Takes out the first of those that are woken; it stays in the list of all. NULL: none is. */
struct job *waits_next(struct waits *waits) MUST_USE;
/* It was run, and waits on in its old place. */
void waits_resume(struct waits *waits, struct job *job);
/* It waits no more. */
void waits_remove(struct waits *waits, struct job *job);

void waits_wake(struct waits *waits, struct job *job);
void waits_wake_queue(struct waits *waits, int64_t queue);
void waits_wake_delivery(struct waits *waits, const char *id);

#endif
