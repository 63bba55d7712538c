/* SPDX-License-Identifier: Apache-2.0 */
#include "store_moves.h"

#include <stdio.h>
#include <string.h>
#include "reseal/clock.h"
#include "store_queue.h"

#define STEP_ROWS  100  /* messages that one step of a move takes */
#define SLOW_PAUSE 100  /* milliseconds between two steps of a move with a rate */
#define PACE_MOST  1000 /* milliseconds whose messages one step catches up with */

const char *move_state_name(enum move_state state)
{
    switch (state) {
    case MOVE_RUNNING:
        return "RUNNING";
    case MOVE_COMPLETED:
        return "COMPLETED";
    case MOVE_CANCELLED:
        return "CANCELLED";
    case MOVE_FAILED:
        return "FAILED";
    }
    return "FAILED";
}

struct running {
    int64_t id, source, destination, rate, moved;
};

/* The first running move after that id; id 0 in `out` where there is none. */
static bool next_running(struct database *database, int64_t after, struct running *out,
                         struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_MOVE_RUNNING);
    bind_integer(database, statement, 1, after);
    *out = (struct running){.id = 0};
    if (!database_step(database, statement, &row, err))
        return false;
    if (row)
        *out = (struct running){.id = sqlite3_column_int64(statement, 0),
                                .source = sqlite3_column_int64(statement, 1),
                                .destination = sqlite3_column_int64(statement, 2),
                                .rate = sqlite3_column_int64(statement, 3),
                                .moved = sqlite3_column_int64(statement, 4)};
    database_end(statement);
    return true;
}

static bool update(struct database *database, int64_t id, enum move_state state, int64_t moved,
                   const char *failure, struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_MOVE_UPDATE);
    bind_integer(database, statement, 1, id);
    bind_integer(database, statement, 2, state);
    bind_integer(database, statement, 3, moved);
    bind_text(database, statement, 4, failure);
    return database_run(database, statement, err);
}

bool move_start(struct database *database, struct move *move, struct error *err)
{
    struct running running = {.id = 0};
    do {
        if (!next_running(database, running.id, &running, err))
            return false;
        if (running.id != 0 && running.source == move->source)
            return error_set(err, FAIL_EXISTS, "a move from this queue is under way");
    } while (running.id != 0);
    if (!uuid_random(move->handle, err))
        return false;
    move->started_ms = clock_real_ms();
    sqlite3_stmt *statement = database_statement(database, SQL_MOVE_INSERT);
    bind_text(database, statement, 1, move->handle);
    bind_integer(database, statement, 2, MOVE_RUNNING);
    bind_integer(database, statement, 3, move->source);
    bind_integer(database, statement, 4, move->destination);
    bind_integer(database, statement, 5, move->rate);
    bind_integer(database, statement, 6, move->started_ms);
    bind_integer(database, statement, 7, move->to_move);
    if (!database_run(database, statement, err))
        return false;
    statement = database_statement(database, SQL_MOVE_FORGET);
    bind_integer(database, statement, 1, move->source);
    database->queue_work = true;
    return database_run(database, statement, err);
}

struct found {
    int64_t id, source, moved;
    enum move_state state;
};

static bool find(struct database *database, const char *handle, struct found *out,
                 struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_MOVE_SELECT);
    bind_text(database, statement, 1, handle);
    *out = (struct found){.id = 0};
    if (!database_step(database, statement, &row, err))
        return false;
    if (row)
        *out = (struct found){.id = sqlite3_column_int64(statement, 0),
                              .state = (enum move_state)sqlite3_column_int(statement, 1),
                              .source = sqlite3_column_int64(statement, 2),
                              .moved = sqlite3_column_int64(statement, 3)};
    database_end(statement);
    return row || error_set(err, FAIL_NOT_FOUND, "no move has this task handle");
}

bool move_find(struct database *database, const char *handle, int64_t *source, struct error *err)
{
    struct found found;
    bool ok = find(database, handle, &found, err);
    *source = found.source;
    return ok;
}

bool move_cancel(struct database *database, const char *handle, int64_t *moved, struct error *err)
{
    struct found found;
    bool ok = find(database, handle, &found, err);
    *moved = found.moved;
    if (!ok)
        return false;
    if (found.state != MOVE_RUNNING)
        return error_set(err, FAIL_USAGE, "this move has ended already");
    return update(database, found.id, MOVE_CANCELLED, found.moved, "", err);
}

bool move_list(struct database *database, int64_t source, int64_t max,
               void (*each)(void *context, const struct move *move), void *context,
               struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_MOVE_LIST);
    bind_integer(database, statement, 1, source);
    bind_integer(database, statement, 2, max);
    bool row;
    while (true) {
        if (!database_step(database, statement, &row, err))
            return false;
        if (!row)
            break;
        struct move move = {.state = (enum move_state)sqlite3_column_int(statement, 1),
                            .source = source,
                            .destination = sqlite3_column_int64(statement, 2),
                            .rate = sqlite3_column_int64(statement, 3),
                            .started_ms = sqlite3_column_int64(statement, 4),
                            .to_move = sqlite3_column_int64(statement, 5),
                            .moved = sqlite3_column_int64(statement, 6),
                            .failure = column_text(statement, 7)};
        snprintf(move.handle, sizeof move.handle, "%s", column_text(statement, 0));
        each(context, &move);
    }
    database_end(statement);
    return true;
}

/* Moves one message to the end of the destination, as a new one in all but body and attributes. */
static bool redrive(struct database *database, int64_t message, const struct queue_row *target,
                    int64_t now_ms, struct error *err)
{
    char message_id[UUID_TEXT];
    if (!uuid_random(message_id, err))
        return false;
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_REDRIVE);
    bind_integer(database, statement, 1, message);
    bind_integer(database, statement, 2, target->id);
    bind_integer(database, statement, 3, now_ms);
    bind_integer(database, statement, 4, target->purged_ms + 1);
    bind_text(database, statement, 5, message_id);
    if (!database_run(database, statement, err) ||
        !stored_queue_note_key(database, target->id, message, err))
        return false;
    stored_queue_tell(database, target->id);
    return true;
}

struct step {
    int64_t ids[STEP_ROWS], sources[STEP_ROWS];
    size_t count;
};

static bool pick(struct database *database, int64_t queue, int64_t now_ms, size_t max,
                 struct step *out, struct error *err)
{
    bool row;
    out->count = 0;
    sqlite3_stmt *statement = stored_queue_pick(database, queue, now_ms, max);
    while (true) {
        if (!database_step(database, statement, &row, err))
            return false;
        if (!row || out->count == max)
            break;
        out->ids[out->count] = sqlite3_column_int64(statement, 0);
        out->sources[out->count++] = sqlite3_column_int64(statement, 7);
    }
    database_end(statement);
    return true;
}

/* The time whose messages a step moves; monotonic, as the wall clock may be set. */
struct span {
    int64_t from_ms, to_ms;
};

static struct span next_span(const struct database *database)
{
    int64_t now_ms = clock_monotonic_ms(), from_ms = database->paced_ms;
    if (from_ms == 0)
        from_ms = now_ms - SLOW_PAUSE;
    if (from_ms < now_ms - PACE_MOST) /* a long stall is not made up for by a flood */
        from_ms = now_ms - PACE_MOST;
    return (struct span){from_ms, now_ms};
}

/* How many messages the rate gives in that time; none is lost or given twice between two. */
static size_t allowance(const struct running *move, struct span span)
{
    if (move->rate == 0)
        return STEP_ROWS;
    int64_t due = span.to_ms * move->rate / 1000 - span.from_ms * move->rate / 1000;
    return due < STEP_ROWS ? (size_t)due : STEP_ROWS;
}

static bool step_one(struct database *database, struct running *move, int64_t now_ms,
                     struct span span, struct error *err)
{
    struct step step;
    size_t max = allowance(move, span);
    database->queue_work = true;
    if (max == 0)
        return true;
    if (stored_queue_by_id(database, move->source) == NULL)
        return update(database, move->id, MOVE_FAILED, move->moved,
                      "AWS.SimpleQueueService.NonExistentQueue", err);
    if (!pick(database, move->source, now_ms, max, &step, err))
        return false;
    if (step.count == 0)
        return update(database, move->id, MOVE_COMPLETED, move->moved, "", err);
    for (size_t i = 0; i < step.count; i++) {
        int64_t id = move->destination != 0 ? move->destination : step.sources[i];
        const struct queue_row *target = stored_queue_by_id(database, id);
        if (target == NULL || target->id == database->results_queue)
            return update(database, move->id, MOVE_FAILED, move->moved,
                          move->destination != 0 ? "AWS.SimpleQueueService.NonExistentQueue"
                                                 : "CouldNotDetermineMessageSource",
                          err);
        if (!redrive(database, step.ids[i], target, now_ms, err))
            return false;
        move->moved++;
    }
    return update(database, move->id, MOVE_RUNNING, move->moved, "", err);
}

bool moves_step(struct database *database, int64_t now_ms, int64_t *pause_ms, struct error *err)
{
    struct running move = {.id = 0};
    const struct span span = next_span(database);
    bool quick = database->queue_work; /* others want to go on soon */
    database->paced_ms = 0;
    while (true) {
        if (!next_running(database, move.id, &move, err))
            return false;
        if (move.id == 0)
            break;
        quick = quick || move.rate == 0;
        database->paced_ms = span.to_ms; /* also where this is undone: slower, never a flood */
        if (!step_one(database, &move, now_ms, span, err))
            return false;
    }
    if (!quick)
        *pause_ms = SLOW_PAUSE;
    return true;
}
