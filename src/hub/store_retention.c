/* SPDX-License-Identifier: Apache-2.0 */
#include "store_retention.h"

#include <stdio.h>
#include "store_deliveries.h"

#define BATCH_ROWS 100 /* messages or deliveries that one transaction deletes at most */

static bool run_for(struct database *database, enum statement which, int64_t number,
                    struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, which);
    bind_integer(database, statement, 1, number);
    return database_run(database, statement, err);
}

/* The oldest message of the queue that is not to be kept, or 0. */
static bool old_message(struct database *database, int64_t queue, int64_t sent_until_ms,
                        int64_t *id, struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_OLD);
    bind_integer(database, statement, 1, queue);
    bind_integer(database, statement, 2, sent_until_ms);
    if (!database_step(database, statement, &row, err))
        return false;
    *id = row ? sqlite3_column_int64(statement, 0) : 0;
    database_end(statement);
    return true;
}

static bool sweep_messages(struct database *database, int64_t now_ms, size_t *count,
                           struct error *err)
{
    for (size_t i = 0; i < database->queue_count; i++) {
        const struct queue_row *queue = &database->queues[i];
        while (*count < BATCH_ROWS) {
            int64_t id;
            if (!old_message(database, queue->id, now_ms - queue->retention_s * 1000, &id, err))
                return false;
            if (id == 0)
                break;
            if (!run_for(database, SQL_MESSAGE_DELETE, id, err) ||
                !run_for(database, SQL_BODY_DELETE, id, err))
                return false;
            ++*count;
        }
    }
    return true;
}

/* A delivery and the rows that it may be the last to need; 0: none. */
struct finished {
    char id[UUID_TEXT];
    int64_t blob, payload;
};

static bool old_delivery(struct database *database, enum delivery_state state,
                         int64_t expired_until_ms, struct finished *out, struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_DELIVERY_OLD);
    bind_integer(database, statement, 1, state);
    bind_integer(database, statement, 2, expired_until_ms);
    *out = (struct finished){.blob = 0};
    if (!database_step(database, statement, &row, err))
        return false;
    if (row) {
        snprintf(out->id, sizeof out->id, "%s", column_text(statement, 0));
        out->blob = sqlite3_column_int64(statement, 1);
        out->payload = sqlite3_column_int64(statement, 2);
    }
    database_end(statement);
    return true;
}

static bool delete_delivery(struct database *database, const struct finished *delivery,
                            struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_DELIVERY_DELETE);
    bind_text(database, statement, 1, delivery->id);
    return database_run(database, statement, err) &&
           run_for(database, SQL_PAYLOAD_DELETE, delivery->payload, err) &&
           run_for(database, SQL_BLOB_DELETE, delivery->blob, err);
}

static bool sweep_deliveries(struct database *database, int64_t now_ms, size_t *count,
                             struct error *err)
{
    static const enum delivery_state finished[] = {DELIVERY_RESEALED, DELIVERY_REFUSED,
                                                   DELIVERY_FAILED};
    int64_t until_ms = now_ms - database->delivery_retention_ms;
    for (size_t i = 0; i < ARRAY_LEN(finished); i++) {
        while (*count < BATCH_ROWS) {
            struct finished delivery;
            if (!old_delivery(database, finished[i], until_ms, &delivery, err))
                return false;
            if (delivery.id[0] == '\0')
                break;
            if (!delete_delivery(database, &delivery, err))
                return false;
            ++*count;
        }
    }
    return true;
}

bool retention_sweep(struct database *database, int64_t now_ms, struct retention_counts *out,
                     struct error *err)
{
    *out = (struct retention_counts){0, 0, false};
    if (!sweep_messages(database, now_ms, &out->messages, err))
        return false;
    if (database->delivery_retention_ms != 0 &&
        !sweep_deliveries(database, now_ms, &out->deliveries, err))
        return false;
    out->more = out->messages == BATCH_ROWS || out->deliveries == BATCH_ROWS;
    return true;
}
