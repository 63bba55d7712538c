/* SPDX-License-Identifier: Apache-2.0 */
#include "store_waits.h"

#include <string.h>

/* -- chains: an order by turn, in which a job mostly comes last -- */

static void chain_insert(struct wait_chain *chain, struct job *job)
{
    struct job *before = chain->last;
    while (before != NULL && before->turn > job->turn)
        before = before->chain_previous;
    job->chain = chain;
    job->chain_previous = before;
    job->chain_next = before != NULL ? before->chain_next : chain->first;
    *(before != NULL ? &before->chain_next : &chain->first) = job;
    *(job->chain_next != NULL ? &job->chain_next->chain_previous : &chain->last) = job;
}

static void chain_remove(struct job *job)
{
    struct wait_chain *chain = job->chain;
    if (chain == NULL)
        return;
    *(job->chain_previous != NULL ? &job->chain_previous->chain_next : &chain->first) =
        job->chain_next;
    *(job->chain_next != NULL ? &job->chain_next->chain_previous : &chain->last) =
        job->chain_previous;
    job->chain = NULL;
}

/* -- what a job waits for: FNV-1a of a delivery's id or of a queue's number -- */

static struct wait_chain *bucket(struct waits *waits, const void *key, size_t len)
{
    const unsigned char *bytes = key;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    return &waits->asleep[(hash ^ hash >> 16) & (WAITS_BUCKETS - 1)];
}

static struct wait_chain *bucket_of(struct waits *waits, const struct job *job)
{
    return job->wait_delivery[0] != '\0'
               ? bucket(waits, job->wait_delivery, strlen(job->wait_delivery))
               : bucket(waits, &job->wait_queue, sizeof job->wait_queue);
}

/* -- the list -- */

void waits_add(struct waits *waits, struct job *job)
{
    job->turn = ++waits->turns;
    job->next = NULL;
    job->previous = waits->last;
    *(waits->last != NULL ? &waits->last->next : &waits->first) = job;
    waits->last = job;
    chain_insert(bucket_of(waits, job), job);
}

struct job *waits_next(struct waits *waits)
{
    struct job *job = waits->woken.first;
    if (job != NULL)
        chain_remove(job);
    return job;
}

void waits_resume(struct waits *waits, struct job *job)
{
    chain_insert(bucket_of(waits, job), job);
}

void waits_remove(struct waits *waits, struct job *job)
{
    chain_remove(job);
    *(job->previous != NULL ? &job->previous->next : &waits->first) = job->next;
    *(job->next != NULL ? &job->next->previous : &waits->last) = job->previous;
}

/* -- waking -- */

void waits_wake(struct waits *waits, struct job *job)
{
    if (job->chain == &waits->woken)
        return;
    chain_remove(job);
    chain_insert(&waits->woken, job);
}

void waits_wake_queue(struct waits *waits, int64_t queue)
{
    struct job *job = bucket(waits, &queue, sizeof queue)->first;
    for (struct job *next; job != NULL; job = next) {
        next = job->chain_next;
        if (job->wait_queue == queue)
            waits_wake(waits, job);
    }
}

void waits_wake_delivery(struct waits *waits, const char *id)
{
    struct job *job = bucket(waits, id, strlen(id))->first;
    for (struct job *next; job != NULL; job = next) {
        next = job->chain_next;
        if (strcmp(job->wait_delivery, id) == 0)
            waits_wake(waits, job);
    }
}
