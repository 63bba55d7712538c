/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts that an extension has replaced.
 *
 * With some engines an extension gives a new receipt and voids the old one. The caller need not
 * know: he goes on with the receipt that came with the message, and here is what it stands for.
 * While an extension is under way, nobody knows which of both is good, so what else is asked of
 * that message waits for its answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dialect.h"
#include "reseal/clock.h"

#define FORGET_MS 60000 /* after the end of its lease, a receipt is of no use to anybody */

static struct renewed *find(const struct queue *queue, const char *receipt)
{
    for (struct renewed *at = queue->renewals; at != NULL; at = at->next) {
        if (strcmp(at->receipt, receipt) == 0)
            return at;
    }
    return NULL;
}

static void forget(struct queue *queue, const struct renewed *one)
{
    struct renewed **link = &queue->renewals;
    while (*link != NULL && *link != one)
        link = &(*link)->next;
    if (*link == NULL)
        return;
    struct renewed *gone = *link;
    *link = gone->next;
    free(gone);
}

static void forget_old(struct queue *queue)
{
    int64_t now_ms = clock_monotonic_ms();
    for (struct renewed *at = queue->renewals, *next; at != NULL; at = next) {
        next = at->next;
        if (!at->busy && at->until_ms + FORGET_MS < now_ms)
            forget(queue, at);
    }
}

const char *receipt_now(const struct operation *operation)
{
    return operation->renewed != NULL ? operation->renewed->now : buf_text(&operation->content);
}

bool receipt_take(struct queue *queue, struct operation *operation)
{
    const char *receipt = buf_text(&operation->content);
    if (!queue->client->dialect->new_receipts || operation->call == CALL_SEND)
        return true;
    struct renewed *found = find(queue, receipt);
    if (found != NULL && found->busy)
        return false;
    if (found == NULL && operation->call == CALL_EXTEND) {
        forget_old(queue);
        found = calloc(1, sizeof *found);
        if (found == NULL)
            return false; /* the next turn tries it again */
        snprintf(found->receipt, sizeof found->receipt, "%s", receipt);
        snprintf(found->now, sizeof found->now, "%s", receipt);
        found->next = queue->renewals;
        queue->renewals = found;
    }
    /* A deletion holds the entry, too: an extension after it could not succeed. */
    if (found != NULL)
        found->busy = true;
    operation->renewed = found;
    return true;
}

void receipt_replace(struct operation *operation, const char *receipt)
{
    struct renewed *renewed = operation->renewed;
    if (renewed != NULL)
        snprintf(renewed->now, sizeof renewed->now, "%s", receipt);
}

void receipt_settle(struct queue *queue, struct operation *operation, bool done)
{
    struct renewed *renewed = operation->renewed;
    operation->renewed = NULL;
    if (renewed == NULL)
        return;
    renewed->busy = false;
    if (operation->call == CALL_EXTEND && done)
        renewed->until_ms = clock_monotonic_ms() + (int64_t)operation->lease_s * 1000;
    if (done && (operation->call == CALL_DELETE || operation->lease_s == 0))
        forget(queue, renewed);
}

void receipts_free(struct queue *queue)
{
    while (queue->renewals != NULL)
        forget(queue, queue->renewals);
}
