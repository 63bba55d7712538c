/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of the database while it is in use (SQLite's backup API). It is made in steps between the
 * transactions, so that nobody waits for longer than one step, and it holds all that was committed
 * before its end: what is written meanwhile goes into both.
 */
#ifndef RESEAL_HUB_STORE_BACKUP_H
#define RESEAL_HUB_STORE_BACKUP_H

#include <sqlite3.h>
#include "reseal/error.h"

struct store_backup;

/* Begins a copy to `path`, where no file may be. All calls are the store thread's. */
bool store_backup_begin(sqlite3 *source, const char *path, struct store_backup **out,
                        struct error *err) MUST_USE;
/* Copies some pages. *done: the copy is whole and closed. Then, and on failure, when the file is
 * removed, *backup is freed and NULL. */
bool store_backup_step(struct store_backup **backup, bool *done, struct error *err) MUST_USE;
/* Removes the file of a copy that is not whole. */
void store_backup_free(struct store_backup **backup);

#endif
