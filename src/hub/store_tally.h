/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many messages each queue has, and how many deliveries are in each state, without counting
 * them when somebody asks: a million rows take a tenth of a second, in which nobody else is served.
 *
 * The numbers are in memory. They are counted once, at the start; from then on triggers, which live
 * in this connection and not in the file, add and subtract, whatever statement changes the rows. A
 * transaction's part counts when it is committed.
 */
#ifndef RESEAL_HUB_STORE_TALLY_H
#define RESEAL_HUB_STORE_TALLY_H

#include "store_db.h"

struct tally;

/* Counts and sets the triggers; before statements are prepared. `out` belongs to the database. */
bool tally_open(sqlite3 *handle, struct tally **out, struct error *err) MUST_USE;
void tally_free(struct tally **tally);
void tally_commit(struct tally *tally);
void tally_rollback(struct tally *tally);

/* With what the transaction under way has changed so far. */
int64_t tally_messages(const struct tally *tally, int64_t queue) MUST_USE;
int64_t tally_deliveries(const struct tally *tally, int state) MUST_USE;

#endif
