/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves of dead letters back to where they came from, or to another queue: StartMessageMoveTask and
 * its like. A move goes on in the background and over a restart, until no visible message is left.
 */
#ifndef RESEAL_HUB_STORE_MOVES_H
#define RESEAL_HUB_STORE_MOVES_H

#include "reseal/text.h"
#include "store_db.h"

#define MOVE_RATE_MAX 500 /* messages in a second */
#define MOVES_LISTED  10  /* that are kept for each queue */

/* Stored as numbers: never renumber. */
enum move_state {
    MOVE_RUNNING = 0,
    MOVE_COMPLETED = 1,
    MOVE_CANCELLED = 2,
    MOVE_FAILED = 3,
};
const char *move_state_name(enum move_state state) MUST_USE; /* as SQS has it */

struct move {
    char handle[UUID_TEXT];
    enum move_state state;
    int64_t source;      /* id of the queue */
    int64_t destination; /* id of the queue; 0: where each message came from */
    int64_t rate;        /* messages in a second; 0: as many as go */
    int64_t started_ms, to_move, moved;
    const char *failure; /* valid during the call; "" */
};

/* Starts a move; handle and started_ms are set here. FAIL_EXISTS where one runs for that source. */
bool move_start(struct database *database, struct move *move, struct error *err) MUST_USE;
/* The source of a move. FAIL_NOT_FOUND where no move has this handle. */
bool move_find(struct database *database, const char *handle, int64_t *source,
               struct error *err) MUST_USE;
/* Ends a running move. FAIL_NOT_FOUND where no move has this handle, FAIL_USAGE where it has ended
 * already. *moved: what it has moved. */
bool move_cancel(struct database *database, const char *handle, int64_t *moved,
                 struct error *err) MUST_USE;
/* Shows the newest moves of a source, newest first. */
bool move_list(struct database *database, int64_t source, int64_t max,
               void (*each)(void *context, const struct move *move), void *context,
               struct error *err) MUST_USE;
/* One step of every running move; see queue_work_step. */
bool moves_step(struct database *database, int64_t now_ms, int64_t *pause_ms,
                struct error *err) MUST_USE;

#endif
