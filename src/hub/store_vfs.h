/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of the database to the disk: SQLite's own file access with fewer and larger writes.
 *
 * SQLite writes each page of its log by two calls, and each page that it moves from the log to the
 * database by one. Here, what follows on the last write is kept and written together with it, at
 * the latest before the file is synced, read or measured. An error of such a late write is told by
 * the call that needed it, and that is a commit at the latest, as each commit syncs.
 */
#ifndef RESEAL_HUB_STORE_VFS_H
#define RESEAL_HUB_STORE_VFS_H

#include "reseal/error.h"

#define STORE_VFS "reseal-gather"

/* Makes it known to SQLite by this name; once is enough. */
bool store_vfs_register(struct error *err) MUST_USE;

#endif
