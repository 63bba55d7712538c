/* SPDX-License-Identifier: Apache-2.0 */
/* What has been kept for long enough goes: old messages and finished deliveries. */
#ifndef RESEAL_HUB_STORE_RETENTION_H
#define RESEAL_HUB_STORE_RETENTION_H

#include "store_db.h"

struct retention_counts {
    size_t messages, deliveries;
    bool more; /* there may be more of them: the batch was full */
};
/*
 * Deletes a batch, which is small so that nobody waits for it: messages that were sent longer ago
 * than their queue's MessageRetentionPeriod, leased ones included, as SQS has it; and deliveries
 * that are finished and whose request has expired longer ago than delivery_retention_ms, with their
 * payloads.
 */
bool retention_sweep(struct database *database, int64_t now_ms, struct retention_counts *out,
                     struct error *err) MUST_USE;

#endif
