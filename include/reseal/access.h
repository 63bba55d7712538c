/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an access key may do. In the hub's credentials file each key may have lines
 *
 *     rights = receive:reseal-requests send:reseal-results
 *
 * of RIGHT:QUEUE, where RIGHT is send, receive, manage or all, and QUEUE a name or the beginning of
 * names with a '*' behind it. A key without such a line may do everything.
 */
#ifndef RESEAL_ACCESS_H
#define RESEAL_ACCESS_H

#include <stdbool.h>
#include "reseal/error.h"

enum right {
    RIGHT_SEND = 1,
    RIGHT_RECEIVE = 2, /* and with it to extend, give back and delete what was received */
    RIGHT_MANAGE = 4,  /* make, set, purge and delete queues, move dead letters */
    RIGHT_ANY = 7,     /* one of them: to find the queue and to see its attributes */
};

/* What `rights` (credential.rights, "" for everything) says for the queue of that name: the sum of
 * the rights. */
unsigned rights_on(const char *rights, const char *queue) MUST_USE;
/* True if the text has the form above. */
bool rights_valid(const char *rights, struct error *err) MUST_USE;

#endif
