/* SPDX-License-Identifier: Apache-2.0 */
#include "store_queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/rand.h>
#include "reseal/clock.h"
#include "store_tally.h"

const struct queue_row *stored_queue_find(const struct database *database, const char *name)
{
    for (size_t i = 0; i < database->queue_count; i++) {
        if (strcmp(database->queues[i].name, name) == 0)
            return &database->queues[i];
    }
    return NULL;
}

const struct queue_row *stored_queue_by_id(const struct database *database, int64_t id)
{
    for (size_t i = 0; i < database->queue_count; i++) {
        if (database->queues[i].id == id)
            return &database->queues[i];
    }
    return NULL;
}

void stored_queue_defaults(struct queue_row *queue, const char *name)
{
    *queue = (struct queue_row){
        .visibility_s = 30, .retention_s = 345600, .message_max = MESSAGE_SIZE_DEFAULT};
    snprintf(queue->name, sizeof queue->name, "%s", name);
}

bool stored_queue_name_valid(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len <= QUEUE_NAME_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == len;
}

static void bind_queue(struct database *database, sqlite3_stmt *statement,
                       const struct queue_row *queue)
{
    int64_t now = clock_real_ms();
    bind_text(database, statement, 1, queue->name);
    bind_integer(database, statement, 3, now);
    bind_integer(database, statement, 4, queue->visibility_s);
    bind_integer(database, statement, 5, queue->delay_s);
    bind_integer(database, statement, 6, queue->wait_s);
    bind_integer(database, statement, 7, queue->retention_s);
    if (queue->dead_letter != 0)
        bind_integer(database, statement, 8, queue->dead_letter);
    else
        bind_null(database, statement, 8);
    bind_integer(database, statement, 9, queue->max_receives);
    bind_integer(database, statement, 10, queue->message_max);
}

bool stored_queue_create(struct database *database, const struct queue_row *queue,
                         struct error *err)
{
    if (database->queue_count == QUEUES_MAX)
        return error_set(err, FAIL_TOO_LARGE, "there are %d queues already, which is the bound",
                         QUEUES_MAX);
    sqlite3_stmt *statement = database_statement(database, SQL_QUEUE_INSERT);
    bind_queue(database, statement, queue);
    bind_integer(database, statement, 2, clock_real_ms());
    database->queues_changed = true;
    return database_run(database, statement, err) && database_load_queues(database, err);
}

bool stored_queue_update(struct database *database, const struct queue_row *queue,
                         struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_QUEUE_UPDATE);
    bind_queue(database, statement, queue);
    database->queues_changed = true;
    return database_run(database, statement, err) && database_load_queues(database, err);
}

void stored_queue_tell(const struct database *database, int64_t queue)
{
    if (database->events.queue_changed != NULL)
        database->events.queue_changed(database->events.context, queue);
}

int64_t sent_after_purge(const struct queue_row *queue, int64_t now_ms)
{
    return now_ms > queue->purged_ms ? now_ms : queue->purged_ms + 1;
}

bool stored_queue_note_key(struct database *database, int64_t queue, int64_t row, struct error *err)
{
    if (queue != database->requests_queue)
        return true;
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_NOTE_KEY);
    bind_integer(database, statement, 1, row);
    return database_run(database, statement, err);
}

static bool insert_body(struct database *database, int64_t row, const struct outgoing *message,
                        struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_BODY_INSERT);
    bind_integer(database, statement, 1, row);
    bind_bytes(database, statement, 2, message->body);
    if (message->attributes.len > 0)
        bind_bytes(database, statement, 3, message->attributes);
    else
        bind_null(database, statement, 3);
    return database_run(database, statement, err);
}

bool stored_queue_send(struct database *database, int64_t queue, const struct outgoing *message,
                       char message_id[static UUID_TEXT], struct error *err)
{
    int64_t now = clock_real_ms();
    const struct queue_row *settings = stored_queue_by_id(database, queue);
    if (settings == NULL)
        return error_set(err, FAIL_INTERNAL, "a send to no queue");
    if (!uuid_random(message_id, err))
        return false;
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_INSERT);
    bind_integer(database, statement, 1, queue);
    bind_integer(database, statement, 2, now + message->delay_s * 1000);
    bind_integer(database, statement, 3, sent_after_purge(settings, now));
    bind_text(database, statement, 4, message_id);
    bind_bytes(database, statement, 5, (struct bytes){message->md5, MD5_BYTES});
    bind_integer(database, statement, 6, message->sender);
    int64_t row = database->next_message++;
    bind_integer(database, statement, 7, row);
    bind_text(database, statement, 8, message->key_name);
    if (!database_run(database, statement, err) || !insert_body(database, row, message, err) ||
        (message->key_name == NULL && !stored_queue_note_key(database, queue, row, err)))
        return false;
    if (message->delay_s == 0)
        stored_queue_tell(database, queue);
    return true;
}

/* Messages that were sent at that time or before are purged and only wait to be deleted. */
static int64_t purged_until(const struct database *database, int64_t queue)
{
    const struct queue_row *settings = stored_queue_by_id(database, queue);
    return settings != NULL && settings->purging ? settings->purged_ms : INT64_MIN;
}

/* One of two statements about the messages of a queue: `spared` while a purge goes on. */
static sqlite3_stmt *choose(struct database *database, int64_t queue, enum statement all,
                            enum statement spared)
{
    int64_t purged_ms = purged_until(database, queue);
    bool purging = purged_ms != INT64_MIN;
    sqlite3_stmt *statement = database_statement(database, purging ? spared : all);
    bind_integer(database, statement, 1, queue);
    if (purging)
        bind_integer(database, statement, 9, purged_ms);
    return statement;
}

sqlite3_stmt *stored_queue_pick(struct database *database, int64_t queue, int64_t now_ms,
                                size_t max)
{
    sqlite3_stmt *statement = choose(database, queue, SQL_MESSAGE_PICK, SQL_MESSAGE_PICK_SPARED);
    bind_integer(database, statement, 2, now_ms);
    bind_integer(database, statement, 3, (int64_t)max);
    return statement;
}

/* A message that may be leased, copied out of the cursor: leasing moves it in the very index that
 * the cursor walks along. */
struct candidate {
    int64_t row, receive_count, sent_ms, first_ms, sender, source;
    char message_id[UUID_TEXT];
    uint8_t md5[MD5_BYTES];
};

static bool pick(struct database *database, int64_t queue, int64_t now, size_t max,
                 struct candidate *out, size_t *count, struct error *err)
{
    bool row;
    *count = 0;
    sqlite3_stmt *statement = stored_queue_pick(database, queue, now, max);
    while (true) {
        if (!database_step(database, statement, &row, err))
            return false;
        if (!row || *count == max)
            break;
        struct candidate *item = &out[(*count)++];
        *item = (struct candidate){.row = sqlite3_column_int64(statement, 0),
                                   .receive_count = sqlite3_column_int64(statement, 1),
                                   .sent_ms = sqlite3_column_int64(statement, 2),
                                   .first_ms = sqlite3_column_int64(statement, 3),
                                   .sender = sqlite3_column_int64(statement, 6),
                                   .source = sqlite3_column_int64(statement, 7)};
        snprintf(item->message_id, sizeof item->message_id, "%s", column_text(statement, 4));
        struct bytes md5 = column_bytes(statement, 5);
        if (md5.len == MD5_BYTES)
            memcpy(item->md5, md5.data, MD5_BYTES);
    }
    database_end(statement);
    return true;
}

/* Tells who needs to know that a message has been given up, and shows its body. */
static bool tell_given_up(struct database *database, int64_t queue, const struct candidate *item,
                          struct error *err)
{
    bool row;
    if (database->events.message_given_up == NULL)
        return true;
    sqlite3_stmt *statement = database_statement(database, SQL_BODY_SELECT);
    bind_integer(database, statement, 1, item->row);
    if (!database_step(database, statement, &row, err))
        return false;
    bool ok = !row || database->events.message_given_up(database, queue, item->receive_count,
                                                        column_bytes(statement, 0), err);
    database_end(statement);
    return ok;
}

static bool move_to_dead_letters(struct database *database, const struct candidate *item,
                                 int64_t queue, int64_t target, int64_t now, struct error *err)
{
    if (!tell_given_up(database, queue, item, err))
        return false;
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_MOVE);
    bind_integer(database, statement, 1, item->row);
    bind_integer(database, statement, 2, target);
    bind_integer(database, statement, 3, now);
    bind_integer(database, statement, 4, queue);
    const struct queue_row *dead = stored_queue_by_id(database, target);
    bool purging = dead != NULL && dead->purging; /* that purge is not meant for this one */
    bind_integer(database, statement, 5, purging ? dead->purged_ms + 1 : 0);
    if (!database_run(database, statement, err) ||
        !stored_queue_note_key(database, target, item->row, err))
        return false;
    stored_queue_tell(database, target);
    return true;
}

static void write_receipt_handle(int64_t row, const uint8_t receipt[static RECEIPT_BYTES],
                                 char out[static RECEIPT_HANDLE_TEXT])
{
    snprintf(out, RECEIPT_HANDLE_TEXT, "%016" PRIx64, (uint64_t)row);
    hex_encode(out + 16, receipt, RECEIPT_BYTES);
}

struct receive {
    struct database *database;
    int64_t now, lease_s;
    bool carried; /* by the hub itself, to another engine */
    stored_queue_each *each;
    void *context;
    bool more; /* as `each` said last */
};

static bool lease(struct receive *receive, const struct candidate *item, struct error *err)
{
    struct database *database = receive->database;
    uint8_t receipt[RECEIPT_BYTES];
    bool row;
    if (RAND_bytes(receipt, sizeof receipt) != 1)
        return error_openssl(err, FAIL_INTERNAL, "no random numbers");
    int64_t first_ms = item->first_ms != 0 ? item->first_ms : receive->now;
    /* What is carried counts as received once: so it is seen to be in flight. */
    int64_t receive_count =
        receive->carried && item->receive_count > 0 ? item->receive_count : item->receive_count + 1;
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_LEASE);
    bind_integer(database, statement, 1, item->row);
    bind_integer(database, statement, 2, receive->now + receive->lease_s * 1000);
    bind_bytes(database, statement, 3, (struct bytes){receipt, sizeof receipt});
    bind_integer(database, statement, 4, first_ms);
    bind_integer(database, statement, 5, receive_count);
    if (!database_run(database, statement, err))
        return false;
    statement = database_statement(database, SQL_BODY_SELECT);
    bind_integer(database, statement, 1, item->row);
    if (!database_step(database, statement, &row, err))
        return false;
    struct leased message = {.message_id = item->message_id,
                             .body = row ? column_bytes(statement, 0) : (struct bytes){NULL, 0},
                             .attributes =
                                 row ? column_bytes(statement, 1) : (struct bytes){NULL, 0},
                             .sender = item->sender,
                             .source = item->source,
                             .sent_ms = item->sent_ms,
                             .first_received_ms = first_ms,
                             .receive_count = receive_count};
    memcpy(message.md5, item->md5, MD5_BYTES);
    write_receipt_handle(item->row, receipt, message.receipt_handle);
    receive->more = receive->each(receive->context, &message);
    database_end(statement);
    return true;
}

/* Picks what may be leased, after all that has been received too often is out of the way. Nothing
 * is leased before that: a lease of no length would be picked again. */
static bool pick_and_clear(struct database *database, const struct queue_row *queue, int64_t now,
                           size_t max, struct candidate *out, size_t *count, struct error *err)
{
    bool moved = true; /* places are taken by others */
    while (moved) {
        if (!pick(database, queue->id, now, max, out, count, err))
            return false;
        moved = false;
        for (size_t i = 0; queue->dead_letter != 0 && i < *count; i++) {
            if (out[i].receive_count < queue->max_receives)
                continue;
            if (!move_to_dead_letters(database, &out[i], queue->id, queue->dead_letter, now, err))
                return false;
            moved = true;
        }
    }
    return true;
}

static bool lease_some(struct receive *receive, int64_t queue, unsigned max, size_t *count,
                       struct error *err)
{
    struct database *database = receive->database;
    const struct queue_row *settings = stored_queue_by_id(database, queue);
    struct candidate candidates[RECEIVE_MAX];
    size_t found;
    *count = 0;
    receive->more = true;
    receive->now = clock_real_ms();
    if (settings == NULL || max > RECEIVE_MAX)
        return error_set(err, FAIL_INTERNAL, "a receive from no queue");
    if (receive->carried
            ? !pick(database, queue, receive->now, max, candidates, &found, err)
            : !pick_and_clear(database, settings, receive->now, max, candidates, &found, err))
        return false;
    while (*count < found && receive->more) {
        if (!lease(receive, &candidates[*count], err))
            return false;
        ++*count;
    }
    if (receive->lease_s == 0 && *count > 0)
        stored_queue_tell(database, queue);
    return true;
}

bool stored_queue_receive(struct database *database, int64_t queue, unsigned max, int64_t lease_s,
                          stored_queue_each *each, void *context, size_t *count, struct error *err)
{
    struct receive receive = {
        .database = database, .lease_s = lease_s, .each = each, .context = context};
    return lease_some(&receive, queue, max, count, err);
}

bool stored_queue_carry(struct database *database, int64_t queue, unsigned max, int64_t lease_s,
                        stored_queue_each *each, void *context, size_t *count, struct error *err)
{
    struct receive receive = {.database = database,
                              .lease_s = lease_s,
                              .carried = true,
                              .each = each,
                              .context = context};
    return lease_some(&receive, queue, max, count, err);
}

/* What a receipt handle says. */
struct holding {
    int64_t row;
    uint8_t receipt[RECEIPT_BYTES];
};

static bool parse_receipt_handle(const char *text, struct holding *out)
{
    uint64_t row;
    if (strlen(text) != RECEIPT_HANDLE_TEXT - 1 ||
        strspn(text, "0123456789abcdef") != RECEIPT_HANDLE_TEXT - 1 ||
        sscanf(text, "%16" SCNx64, &row) != 1 || row > INT64_MAX)
        return false;
    out->row = (int64_t)row;
    for (size_t i = 0; i < RECEIPT_BYTES; i++) {
        const char digits[] = {text[16 + 2 * i], text[17 + 2 * i], '\0'};
        out->receipt[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

/* A statement that touches a message only where row, queue and receipt are those of the holding.
 * The receipt is 16 random bytes, so that how long SQLite compares them helps nobody. */
static sqlite3_stmt *held_statement(struct database *database, enum statement which, int64_t queue,
                                    const struct holding *holding)
{
    sqlite3_stmt *statement = database_statement(database, which);
    bind_integer(database, statement, 1, holding->row);
    bind_integer(database, statement, 2, queue);
    bind_bytes(database, statement, 3, (struct bytes){holding->receipt, RECEIPT_BYTES});
    return statement;
}

/* Why a statement has touched no message. */
static bool find_why(struct database *database, int64_t queue, const struct holding *holding,
                     enum receipt_state *state, struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_SELECT);
    bind_integer(database, statement, 1, holding->row);
    if (!database_step(database, statement, &row, err))
        return false;
    struct bytes newest = row ? column_bytes(statement, 2) : (struct bytes){NULL, 0};
    bool here = row && sqlite3_column_int64(statement, 0) == queue;
    if (!row || (here && sqlite3_column_int64(statement, 1) <= purged_until(database, queue)))
        *state = RECEIPT_GONE;
    else if (!here || newest.len != RECEIPT_BYTES ||
             memcmp(newest.data, holding->receipt, RECEIPT_BYTES) != 0)
        *state = RECEIPT_OTHER;
    else
        *state = RECEIPT_EXPIRED;
    database_end(statement);
    return true;
}

bool stored_queue_delete(struct database *database, int64_t queue, const char *receipt_handle,
                         enum receipt_state *state, struct error *err)
{
    struct holding holding;
    *state = RECEIPT_MALFORMED;
    if (!parse_receipt_handle(receipt_handle, &holding))
        return true;
    sqlite3_stmt *statement = held_statement(database, SQL_MESSAGE_DELETE_HELD, queue, &holding);
    if (!database_run(database, statement, err))
        return false;
    if (sqlite3_changes(database->handle) == 0)
        return find_why(database, queue, &holding, state, err);
    *state = RECEIPT_GOOD;
    statement = database_statement(database, SQL_BODY_DELETE);
    bind_integer(database, statement, 1, holding.row);
    return database_run(database, statement, err);
}

bool stored_queue_extend(struct database *database, int64_t queue, const char *receipt_handle,
                         int64_t lease_s, enum receipt_state *state, struct error *err)
{
    struct holding holding;
    int64_t now = clock_real_ms();
    *state = RECEIPT_MALFORMED;
    if (!parse_receipt_handle(receipt_handle, &holding))
        return true;
    sqlite3_stmt *statement = held_statement(database, SQL_MESSAGE_EXTEND, queue, &holding);
    bind_integer(database, statement, 4, now + lease_s * 1000);
    bind_integer(database, statement, 5, now);
    bind_integer(database, statement, 6, purged_until(database, queue));
    if (!database_run(database, statement, err))
        return false;
    if (sqlite3_changes(database->handle) == 0)
        return find_why(database, queue, &holding, state, err);
    *state = RECEIPT_GOOD;
    if (lease_s == 0)
        stored_queue_tell(database, queue);
    return true;
}

bool stored_queue_peek(struct database *database, int64_t queue, int64_t max,
                       stored_queue_seen *seen, void *context, struct error *err)
{
    bool row;
    sqlite3_stmt *statement = choose(database, queue, SQL_MESSAGE_PEEK, SQL_MESSAGE_PEEK_SPARED);
    bind_integer(database, statement, 2, max);
    while (true) {
        if (!database_step(database, statement, &row, err))
            return false;
        if (!row)
            break;
        const struct peeked message = {.message_id = column_text(statement, 0),
                                       .sent_ms = sqlite3_column_int64(statement, 1),
                                       .visible_ms = sqlite3_column_int64(statement, 2),
                                       .receive_count = sqlite3_column_int64(statement, 3),
                                       .body = column_bytes(statement, 4)};
        if (!seen(context, &message))
            break;
    }
    database_end(statement);
    return true;
}

bool stored_queue_count(struct database *database, int64_t queue, struct queue_counts *out,
                        struct error *err)
{
    bool row;
    sqlite3_stmt *statement = choose(database, queue, SQL_QUEUE_HIDDEN, SQL_QUEUE_HIDDEN_SPARED);
    bind_integer(database, statement, 2, clock_real_ms());
    if (!database_step(database, statement, &row, err))
        return false;
    int64_t in_flight = sqlite3_column_int64(statement, 0);
    int64_t hidden = sqlite3_column_int64(statement, 1);
    int64_t all = sqlite3_column_count(statement) > 2 ? sqlite3_column_int64(statement, 2)
                                                      : tally_messages(database->tally, queue);
    *out = (struct queue_counts){
        .visible = all - hidden, .in_flight = in_flight, .delayed = hidden - in_flight};
    database_end(statement);
    return true;
}

/* The one integer of the statement, or `fallback` where there is no row. */
static bool ask_integer(struct database *database, sqlite3_stmt *statement, int64_t fallback,
                        int64_t *out, struct error *err)
{
    bool row;
    if (!database_step(database, statement, &row, err))
        return false;
    *out = row ? sqlite3_column_int64(statement, 0) : fallback;
    database_end(statement);
    return true;
}

bool stored_queue_oldest(struct database *database, int64_t queue, int64_t *sent_ms,
                         struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_QUEUE_OLDEST);
    bind_integer(database, statement, 1, queue);
    bind_integer(database, statement, 2, purged_until(database, queue));
    return ask_integer(database, statement, 0, sent_ms, err);
}

bool stored_queue_next_visible(struct database *database, int64_t queue, int64_t *visible_ms,
                               struct error *err)
{
    sqlite3_stmt *statement =
        choose(database, queue, SQL_QUEUE_NEXT_VISIBLE, SQL_QUEUE_NEXT_VISIBLE_SPARED);
    return ask_integer(database, statement, INT64_MAX, visible_ms, err);
}
