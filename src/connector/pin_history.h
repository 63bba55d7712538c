/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of the PIN of one token, from all its helpers: it outlives each of them. */
#ifndef RESEAL_CONNECTOR_PIN_HISTORY_H
#define RESEAL_CONNECTOR_PIN_HISTORY_H

#include "reseal/error.h"

struct pin_history {
    int fd;               /* number of the descriptor that it is read from (fd:N), or -1; it is the
                             nursery's, which puts it back to its beginning */
    bool once;            /* a pipe, which gives it only once */
    bool dropped;         /* it has served, and the descriptor was given up */
    bool read;            /* a helper was started, and may have read the descriptor */
    bool good;            /* a helper has logged in with it */
    unsigned unclear;     /* helpers in a row that were lost while they logged in */
    struct error refusal; /* FAIL_PIN: nobody tries it until a person has acted; FAIL_NONE before */
};

/* While the descriptor is ours still: sees what it is. -1: none. */
void pin_look_at(struct pin_history *pin, int fd);
/* Before a helper is started: the PIN was never refused, and the descriptor has it. */
bool pin_is_there(const struct pin_history *pin, struct error *err) MUST_USE;
/* True where the PIN can be read once more: not from a pipe. */
bool pin_can_be_read_again(const struct pin_history *pin) MUST_USE;
/* A helper has logged in with it. True, once, where its descriptor is of no more use. */
bool pin_has_served(struct pin_history *pin) MUST_USE;
/* A helper was lost while it logged in: true where the PIN must be taken for a refused one. */
bool pin_is_to_blame(struct pin_history *pin) MUST_USE;

#endif
