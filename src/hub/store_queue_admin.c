/* SPDX-License-Identifier: Apache-2.0 */
#include "store_queue_admin.h"

#include <stdio.h>
#include <string.h>
#include "reseal/clock.h"
#include "store_moves.h"
#include "store_queue.h"

#define STEP_ROWS  500  /* messages that one transaction deletes at most */
#define AT_ONCE    1000 /* messages that the purge itself deletes */
#define STEP_PAUSE 25   /* milliseconds between two steps: others come between */

static bool run_for(struct database *database, enum statement which, int64_t number,
                    struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, which);
    bind_integer(database, statement, 1, number);
    return database_run(database, statement, err);
}

/* Deletes up to `max` messages of the queue that were sent at that time or before. */
static bool delete_messages(struct database *database, int64_t queue, int64_t sent_until_ms,
                            size_t max, size_t *count, struct error *err)
{
    bool row;
    for (*count = 0; *count < max; ++*count) {
        sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_OLD);
        bind_integer(database, statement, 1, queue);
        bind_integer(database, statement, 2, sent_until_ms);
        if (!database_step(database, statement, &row, err))
            return false;
        int64_t id = row ? sqlite3_column_int64(statement, 0) : 0;
        database_end(statement);
        if (!row)
            return true;
        if (!run_for(database, SQL_MESSAGE_DELETE, id, err) ||
            !run_for(database, SQL_BODY_DELETE, id, err))
            return false;
    }
    return true;
}

/* Goes on with a purge. */
static bool purge_more(struct database *database, int64_t queue, size_t max, struct error *err)
{
    size_t count = 0;
    const struct queue_row *settings = stored_queue_by_id(database, queue);
    if (settings == NULL || !settings->purging)
        return true;
    if (!delete_messages(database, queue, settings->purged_ms, max, &count, err))
        return false;
    database->queue_work = true;
    if (count == max) /* perhaps there are more */
        return true;
    database->queues_changed = true;
    return run_for(database, SQL_QUEUE_PURGED, queue, err) && database_load_queues(database, err);
}

bool stored_queue_purge(struct database *database, int64_t queue, struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_QUEUE_PURGE);
    bind_integer(database, statement, 1, queue);
    bind_integer(database, statement, 2, clock_real_ms());
    database->queues_changed = true;
    return database_run(database, statement, err) && database_load_queues(database, err) &&
           purge_more(database, queue, AT_ONCE, err);
}

bool stored_queue_remove(struct database *database, int64_t queue, struct error *err)
{
    database->queues_changed = true;
    database->queue_work = true;
    if (!run_for(database, SQL_QUEUE_UNLINK, queue, err) ||
        !run_for(database, SQL_QUEUE_REMOVE, queue, err) || !database_load_queues(database, err))
        return false;
    stored_queue_tell(database, queue); /* who waits there is told that it is gone */
    return true;
}

bool stored_queue_allow(struct database *database, int64_t queue,
                        char out[static REDRIVE_ALLOW_MAX], struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_QUEUE_ALLOW);
    bind_integer(database, statement, 1, queue);
    if (!database_step(database, statement, &row, err))
        return false;
    snprintf(out, REDRIVE_ALLOW_MAX, "%s", row ? column_text(statement, 0) : "");
    database_end(statement);
    return true;
}

bool stored_queue_set_allow(struct database *database, int64_t queue, const char *allow,
                            struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_QUEUE_SET_ALLOW);
    bind_integer(database, statement, 1, queue);
    bind_text(database, statement, 2, allow);
    return database_run(database, statement, err);
}

bool redrive_allowed(const char *allow, const char *name)
{
    size_t len = strlen(name);
    if (allow[0] == '\0')
        return true;
    for (const char *at = allow; *at != '\0'; at += *at == ' ' ? 1 : 0) {
        size_t here = strcspn(at, " ");
        if (here == len && strncmp(at, name, len) == 0)
            return strcmp(allow, REDRIVE_DENY_ALL) != 0;
        at += here;
    }
    return false;
}

const char *sender_name(const struct database *database, int64_t id)
{
    for (size_t i = 0; i < database->sender_count; i++) {
        if (database->senders[i].id == id)
            return database->senders[i].name;
    }
    return NULL;
}

bool sender_number(struct database *database, const char *name, int64_t *out, struct error *err)
{
    *out = 0;
    for (size_t i = 0; i < database->sender_count; i++) {
        if (strcmp(database->senders[i].name, name) == 0) {
            *out = database->senders[i].id;
            return true;
        }
    }
    if (database->sender_count == SENDERS_MAX)
        return true;
    sqlite3_stmt *statement = database_statement(database, SQL_SENDER_INSERT);
    bind_text(database, statement, 1, name);
    if (!database_run(database, statement, err))
        return false;
    *out = sqlite3_last_insert_rowid(database->handle);
    database->queues_changed = true; /* the number is not there if this is undone */
    struct sender *sender = &database->senders[database->sender_count++];
    sender->id = *out;
    snprintf(sender->name, sizeof sender->name, "%s", name);
    return true;
}

/* The first removed queue whose id is greater than `after`, or 0. */
static bool next_removed(struct database *database, int64_t after, int64_t *id, struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_QUEUE_REMOVED);
    bind_integer(database, statement, 1, after);
    if (!database_step(database, statement, &row, err))
        return false;
    *id = row ? sqlite3_column_int64(statement, 0) : 0;
    database_end(statement);
    return true;
}

static bool empty_removed(struct database *database, struct error *err)
{
    int64_t id = 0;
    size_t left = STEP_ROWS, count;
    while (left > 0) {
        if (!next_removed(database, id, &id, err))
            return false;
        if (id == 0)
            return true;
        if (!delete_messages(database, id, INT64_MAX, left, &count, err))
            return false;
        /* Its moves go first: where the row goes, too, nobody finds them again. */
        if (count < left && (!run_for(database, SQL_MOVE_FORGET_ALL, id, err) ||
                             !run_for(database, SQL_QUEUE_FORGET, id, err)))
            return false;
        left -= count;
    }
    database->queue_work = true;
    return true;
}

bool queue_work_step(struct database *database, int64_t now_ms, int64_t *pause_ms,
                     struct error *err)
{
    *pause_ms = STEP_PAUSE;
    database->queue_work = false; /* whoever has something left says so */
    for (size_t i = 0; i < database->queue_count; i++) {
        if (database->queues[i].purging &&
            !purge_more(database, database->queues[i].id, STEP_ROWS, err))
            return false;
    }
    return empty_removed(database, err) && moves_step(database, now_ms, pause_ms, err);
}
