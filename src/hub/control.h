/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door for the administrator of this machine: a socket beside the database, DATABASE.control,
 * which the rights of the file system open to the hub's user and to root. One request, a line of
 * text, gets one answer: "ok" with a descriptor, or "error" with a text.
 *
 *   backup    a copy of the database as it is now, in a file that has no name any more
 */
#ifndef RESEAL_HUB_CONTROL_H
#define RESEAL_HUB_CONTROL_H

#include "store.h"

struct control;

/* Serves in a thread of its own. */
bool control_start(struct store *store, const char *database, struct control **out,
                   struct error *err) MUST_USE;
/* Before the store stops: a backup that is under way ends with it. */
void control_stop(struct control **control);

/* The client's part: *fd is a copy of the database of the hub that is running, to be read from its
 * begin. FAIL_NOT_FOUND where none is running. */
bool control_backup(const char *database, int *fd, struct error *err) MUST_USE;

#endif
