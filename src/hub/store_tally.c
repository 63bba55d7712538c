/* SPDX-License-Identifier: Apache-2.0 */
#include "store_tally.h"

#include <stdlib.h>

#define ROWS_STEP 64

/* Queues count under their ids, which are positive; states of deliveries below zero. */
#define STATE_KEY "-1 - "

struct tally_row {
    int64_t key;
    int64_t total;  /* committed */
    int64_t change; /* of the transaction under way */
};

struct tally {
    struct tally_row *rows;
    size_t count, room;
};

static struct tally_row *find(const struct tally *tally, int64_t key)
{
    for (size_t i = 0; i < tally->count; i++) {
        if (tally->rows[i].key == key)
            return &tally->rows[i];
    }
    return NULL;
}

static struct tally_row *find_or_add(struct tally *tally, int64_t key)
{
    struct tally_row *found = find(tally, key);
    if (found != NULL)
        return found;
    if (tally->count == tally->room) {
        size_t room = tally->room + ROWS_STEP;
        struct tally_row *rows = realloc(tally->rows, room * sizeof *rows);
        if (rows == NULL)
            return NULL;
        tally->rows = rows;
        tally->room = room;
    }
    found = &tally->rows[tally->count++];
    *found = (struct tally_row){.key = key};
    return found;
}

/* tally(KEY, CHANGE), called by the triggers. */
static void on_tally(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct tally *tally = sqlite3_user_data(context);
    struct tally_row *row = count == 2 ? find_or_add(tally, sqlite3_value_int64(values[0])) : NULL;
    if (row == NULL)
        sqlite3_result_error_nomem(context);
    else
        row->change += sqlite3_value_int64(values[1]);
}

static bool count_all(sqlite3 *handle, struct tally *tally)
{
    static const char *const counts[] = {
        "SELECT queue, count(*) FROM messages GROUP BY queue",
        "SELECT " STATE_KEY "state, count(*) FROM deliveries GROUP BY state",
    };
    bool ok = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(counts); i++) {
        sqlite3_stmt *statement = NULL;
        int status = sqlite3_prepare_v2(handle, counts[i], -1, &statement, NULL);
        while (status == SQLITE_OK || status == SQLITE_ROW) {
            status = sqlite3_step(statement);
            if (status != SQLITE_ROW)
                break;
            struct tally_row *row = find_or_add(tally, sqlite3_column_int64(statement, 0));
            if (row == NULL)
                status = SQLITE_NOMEM;
            else
                row->total = sqlite3_column_int64(statement, 1);
        }
        sqlite3_finalize(statement);
        ok = status == SQLITE_DONE;
    }
    return ok;
}

bool tally_open(sqlite3 *handle, struct tally **out, struct error *err)
{
    static const char triggers[] =
        "CREATE TEMP TRIGGER message_in AFTER INSERT ON main.messages "
        "BEGIN SELECT tally(NEW.queue, 1); END;"
        "CREATE TEMP TRIGGER message_out AFTER DELETE ON main.messages "
        "BEGIN SELECT tally(OLD.queue, -1); END;"
        "CREATE TEMP TRIGGER message_moved AFTER UPDATE OF queue ON main.messages "
        "BEGIN SELECT tally(OLD.queue, -1), tally(NEW.queue, 1); END;"
        "CREATE TEMP TRIGGER delivery_in AFTER INSERT ON main.deliveries "
        "BEGIN SELECT tally(" STATE_KEY "NEW.state, 1); END;"
        "CREATE TEMP TRIGGER delivery_out AFTER DELETE ON main.deliveries "
        "BEGIN SELECT tally(" STATE_KEY "OLD.state, -1); END;"
        "CREATE TEMP TRIGGER delivery_ended AFTER UPDATE OF state ON main.deliveries "
        "BEGIN SELECT tally(" STATE_KEY "OLD.state, -1), tally(" STATE_KEY "NEW.state, 1); END;";
    *out = NULL;
    struct tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL)
        return error_memory(err);
    if (count_all(handle, tally) &&
        sqlite3_create_function_v2(handle, "tally", 2, SQLITE_UTF8, tally, on_tally, NULL, NULL,
                                   NULL) == SQLITE_OK &&
        sqlite3_exec(handle, triggers, NULL, NULL, NULL) == SQLITE_OK) {
        *out = tally;
        return true;
    }
    tally_free(&tally);
    return error_set(err, FAIL_IO, "the rows of the database cannot be counted: %s",
                     sqlite3_errmsg(handle));
}

void tally_free(struct tally **tally)
{
    if (tally == NULL || *tally == NULL)
        return;
    free((*tally)->rows);
    free(*tally);
    *tally = NULL;
}

void tally_commit(struct tally *tally)
{
    for (size_t i = 0; i < tally->count; i++) {
        tally->rows[i].total += tally->rows[i].change;
        tally->rows[i].change = 0;
    }
}

void tally_rollback(struct tally *tally)
{
    for (size_t i = 0; i < tally->count; i++)
        tally->rows[i].change = 0;
}

static int64_t number_of(const struct tally *tally, int64_t key)
{
    const struct tally_row *row = find(tally, key);
    return row != NULL ? row->total + row->change : 0;
}

int64_t tally_messages(const struct tally *tally, int64_t queue)
{
    return number_of(tally, queue);
}

int64_t tally_deliveries(const struct tally *tally, int state)
{
    return number_of(tally, -1 - (int64_t)state);
}
