/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the database whole? At the start of the hub as far as the time allows, for `reseal-hub check`,
 * backup and restore altogether.
 */
#ifndef RESEAL_HUB_STORE_CHECK_H
#define RESEAL_HUB_STORE_CHECK_H

#include <sqlite3.h>
#include "reseal/error.h"

/*
 * All of a database of up to 256 MiB; of a larger one everything but the tables of contents (bodies
 * of messages, PFX files, payloads), which are most of it: a million messages take a second or two.
 * FAIL_IO where it is damaged.
 */
bool store_check_start(sqlite3 *handle, struct error *err) MUST_USE;

/*
 * Everything: SQLite's integrity_check, that every message has its body and every body the MD5 that
 * it came with, and that nothing refers to what is not there. The file must be a hub's database
 * that nobody else has open; it is not changed.
 */
bool store_check_file(const char *path, struct error *err) MUST_USE;

#endif
