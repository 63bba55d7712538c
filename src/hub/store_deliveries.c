/* SPDX-License-Identifier: Apache-2.0 */
#include "store_deliveries.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "reseal/json.h"
#include "store_queue.h"
#include "store_records.h"
#include "store_tally.h"

#define EXPIRE_AT_ONCE 1000 /* deliveries that one transaction ends at most */

const char *delivery_state_name(enum delivery_state state)
{
    static const char *const names[DELIVERY_STATES] = {
        [DELIVERY_PENDING] = "pending",
        [DELIVERY_RESEALED] = "resealed",
        [DELIVERY_REFUSED] = "refused",
        [DELIVERY_FAILED] = "failed",
    };
    return (size_t)state < DELIVERY_STATES ? names[state] : "unknown";
}

/* The request is the record and the device's part of the order. */
static bool fill_request(const struct delivery_order *order, const char *id, int64_t now,
                         struct record *record, struct request *request, struct error *err)
{
    snprintf(request->id, sizeof request->id, "%s", id);
    snprintf(request->source, sizeof request->source, "%s", HUB_SOURCE);
    snprintf(request->key_name, sizeof request->key_name, "%s", record->key_name);
    snprintf(request->provider_name, sizeof request->provider_name, "%s", record->provider_name);
    snprintf(request->thumbprint, sizeof request->thumbprint, "%s", record->thumbprint);
    snprintf(request->user_principal_name, sizeof request->user_principal_name, "%s",
             record->user_principal_name);
    snprintf(request->device_id, sizeof request->device_id, "%s", order->device_id);
    request->time_ms = now;
    request->expires_ms = now + order->lifetime_ms;
    request->padding = record->padding;
    request->purpose = record->purpose;
    request->platform = order->platform;
    request->format = order->format;
    request->sealed = record->sealed;
    record->sealed = (struct buf)BUF_INIT(0); /* transferred */
    request->pfx = record->pfx;
    record->pfx = (struct buf)BUF_INIT(0); /* transferred */
    buf_put(&request->device_certificate, order->certificate.data, order->certificate.len);
    return buf_check(&request->device_certificate, "the device certificate", err);
}

static bool insert_delivery(struct database *database, const struct delivery_order *order,
                            const struct request *request, struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_DELIVERY_INSERT);
    bind_text(database, statement, 1, request->id);
    bind_text(database, statement, 2, order->record_id);
    bind_text(database, statement, 3, order->device_id);
    bind_integer(database, statement, 4, order->platform);
    bind_integer(database, statement, 5, order->format);
    bind_integer(database, statement, 6, request->time_ms);
    bind_integer(database, statement, 7, request->expires_ms);
    if (request->expires_ms < database->no_expiry_before_ms)
        database->no_expiry_before_ms = request->expires_ms;
    return database_run(database, statement, err);
}

/* The message that carries the request; its body is `text`. */
static bool make_message(const struct database *database, const struct request *request,
                         struct buf *text, struct outgoing *message, struct error *err)
{
    *message = (struct outgoing){.key_name = request->key_name};
    if (!request_write(request, text, err))
        return false;
    message->body = buf_bytes(text);
    if (EVP_Digest(text->data, text->len, message->md5, NULL, database->md5, NULL) == 1)
        return true;
    return error_openssl(err, FAIL_INTERNAL, "MD5 failed");
}

bool delivery_create(struct database *database, const struct delivery_order *order,
                     char id[static UUID_TEXT], struct error *err)
{
    struct request request;
    struct record record;
    struct outgoing message;
    struct buf text = BUF_INIT(MESSAGE_MAX);
    char message_id[UUID_TEXT];
    bool ok = false;
    request_init(&request);
    record_init(&record);
    /* In the order of time, so that a new row goes to the end of the index and not anywhere in it.
     */
    if (!uuid_ordered(id, err) || !record_select(database, order->record_id, &record, err) ||
        !fill_request(order, id, clock_real_ms(), &record, &request, err) ||
        !make_message(database, &request, &text, &message, err))
        goto done; /* nothing has been written yet */
    if (!insert_delivery(database, order, &request, err) ||
        !stored_queue_send(database, order->queue, &message, message_id, err))
        goto done;
    ok = true;
done:
    buf_free(&text);
    record_free(&record);
    request_free(&request);
    return ok;
}

static bool no_delivery(const char *id, struct error *err)
{
    return error_set(err, FAIL_NOT_FOUND, "there is no delivery \"%.64s\"", id);
}

bool delivery_state(struct database *database, const char *id, enum delivery_state *out,
                    struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_DELIVERY_STATE);
    bind_text(database, statement, 1, id);
    if (!database_step(database, statement, &row, err))
        return false;
    if (row)
        *out = (enum delivery_state)sqlite3_column_int(statement, 0);
    database_end(statement);
    return row || no_delivery(id, err);
}

static void put_time(struct json_writer *json, const char *key, int64_t ms)
{
    char text[CLOCK_TEXT];
    if (ms == 0) {
        json_put_null(json, key);
        return;
    }
    clock_format(ms, text);
    json_put_text(json, key, text);
}

static void put_error(struct json_writer *json, sqlite3_stmt *statement)
{
    enum result_code code = (enum result_code)sqlite3_column_int(statement, 10);
    if (code == RESULT_NONE) {
        json_put_null(json, "error");
        return;
    }
    json_object(json, "error");
    json_put_integer(json, "code", code);
    json_put_text(json, "name", result_code_name(code));
    json_put_bool(json, "retryable", result_code_retryable(code));
    json_put_text(json, "message", column_text(statement, 11));
    json_object_end(json);
}

static void put_bytes(struct json_writer *json, const char *key, sqlite3_stmt *statement,
                      int column)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL) {
        json_put_null(json, key);
        return;
    }
    struct bytes bytes = column_bytes(statement, column);
    json_put_base64(json, key, bytes.data, bytes.len);
}

/* The columns are those of SQL_DELIVERY_SELECT. */
static void write_row(struct json_writer *json, const char *id, sqlite3_stmt *statement)
{
    enum delivery_state state = (enum delivery_state)sqlite3_column_int(statement, 0);
    json_object(json, NULL);
    json_put_text(json, "id", id);
    json_put_text(json, "recordId", column_text(statement, 1));
    json_put_text(json, "state", delivery_state_name(state));
    json_object(json, "device");
    json_put_text(json, "id", column_text(statement, 2));
    json_put_text(json, "platform", platform_name((enum platform)sqlite3_column_int(statement, 3)));
    json_object_end(json);
    json_put_text(json, "format", format_name((enum format)sqlite3_column_int(statement, 4)));
    if (state == DELIVERY_RESEALED)
        json_put_text(json, "custody",
                      custody_name((enum custody)sqlite3_column_int(statement, 8)));
    else
        json_put_null(json, "custody");
    put_bytes(json, "payload", statement, 14);
    put_bytes(json, "encryptedPfxBlob", statement, 15);
    const char *connector = column_text(statement, 9);
    json_put_text(json, "connector", connector[0] != '\0' ? connector : NULL);
    put_time(json, "createdDateTime", sqlite3_column_int64(statement, 5));
    put_time(json, "expiresDateTime", sqlite3_column_int64(statement, 6));
    put_time(json, "completedDateTime", sqlite3_column_int64(statement, 7));
    put_error(json, statement);
    json_put_integer(json, "resultsReceived", sqlite3_column_int64(statement, 12));
    json_put_integer(json, "resultsEffective", sqlite3_column_int64(statement, 13));
    json_object_end(json);
}

bool delivery_write(struct database *database, const char *id, struct json_writer *json,
                    struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_DELIVERY_SELECT);
    bind_text(database, statement, 1, id);
    if (!database_step(database, statement, &row, err))
        return false;
    if (row)
        write_row(json, id, statement);
    database_end(statement);
    return row || no_delivery(id, err);
}

/* What a delivery ends with. */
struct completion {
    enum delivery_state state;
    enum custody custody;
    const char *connector;
    enum result_code code;
    const char *message;
    struct bytes payload;
    int64_t results; /* 1: ended by a result, 0: by time */
};

static bool complete(struct database *database, const char *id, const struct completion *end,
                     struct error *err)
{
    int64_t payload = 0;
    sqlite3_stmt *statement;
    if (end->state == DELIVERY_RESEALED) {
        statement = database_statement(database, SQL_PAYLOAD_INSERT);
        bind_bytes(database, statement, 1, end->payload);
        if (!database_run(database, statement, err))
            return false;
        payload = sqlite3_last_insert_rowid(database->handle);
    }
    statement = database_statement(database, SQL_DELIVERY_COMPLETE);
    bind_text(database, statement, 1, id);
    bind_integer(database, statement, 2, end->state);
    bind_integer(database, statement, 3, clock_real_ms());
    bind_integer(database, statement, 4, end->custody);
    bind_text(database, statement, 5, end->connector);
    bind_integer(database, statement, 6, end->code);
    bind_text(database, statement, 7, end->message);
    if (payload != 0)
        bind_integer(database, statement, 8, payload);
    else
        bind_null(database, statement, 8);
    bind_integer(database, statement, 9, end->results);
    if (!database_run(database, statement, err))
        return false;
    if (database->events.delivery_completed != NULL)
        database->events.delivery_completed(database->events.context, id);
    return true;
}

static bool apply_result(struct database *database, const struct result *result,
                         enum result_fate *fate, struct error *err)
{
    enum delivery_state state;
    if (!delivery_state(database, result->subject, &state, err)) {
        *fate = RESULT_STRAY;
        return err->kind == FAIL_NOT_FOUND;
    }
    if (state != DELIVERY_PENDING) {
        *fate = RESULT_REPEATED;
        sqlite3_stmt *statement = database_statement(database, SQL_DELIVERY_REPEAT);
        bind_text(database, statement, 1, result->subject);
        return database_run(database, statement, err);
    }
    struct completion end = {.connector = result->connector, .message = "", .results = 1};
    switch (result->outcome) {
    case OUTCOME_RESEALED:
        end.state = DELIVERY_RESEALED;
        end.custody = result->custody;
        end.payload = buf_bytes(&result->payload);
        break;
    case OUTCOME_REFUSED:
    case OUTCOME_FAILED:
        end.state = result->outcome == OUTCOME_REFUSED ? DELIVERY_REFUSED : DELIVERY_FAILED;
        end.code = result->code;
        end.message = result->message;
        break;
    }
    *fate = RESULT_EFFECTIVE;
    return complete(database, result->subject, &end, err);
}

bool delivery_take_result(struct database *database, struct bytes body, enum result_fate *fate,
                          struct error *err)
{
    struct result result;
    bool ok = true;
    result_init(&result);
    if (result_read(body.data, body.len, &result, err))
        ok = apply_result(database, &result, fate, err);
    else if (err->kind == FAIL_INPUT || err->kind == FAIL_TOO_LARGE || err->kind == FAIL_POLICY)
        *fate = RESULT_UNREADABLE;
    else
        ok = false;
    result_free(&result);
    return ok;
}

bool delivery_expire(struct database *database, int64_t now_ms, size_t *count, struct error *err)
{
    static const struct completion expired = {
        .state = DELIVERY_FAILED,
        .connector = "",
        .code = RESULT_UNAVAILABLE,
        .message = "no connector answered before the request expired",
    };
    for (*count = 0; *count < EXPIRE_AT_ONCE; ++*count) {
        char id[UUID_TEXT];
        bool row;
        sqlite3_stmt *statement = database_statement(database, SQL_DELIVERY_EXPIRED);
        bind_integer(database, statement, 1, now_ms);
        if (!database_step(database, statement, &row, err))
            return false;
        if (row)
            snprintf(id, sizeof id, "%s", column_text(statement, 0));
        database_end(statement);
        if (!row)
            return true;
        if (!complete(database, id, &expired, err))
            return false;
    }
    return true;
}

bool delivery_give_up(struct database *database, int64_t queue, int64_t receives, struct bytes body,
                      struct error *err)
{
    struct request request;
    struct error unreadable = ERROR_INIT;
    enum delivery_state state;
    char message[96];
    bool addressed = false, ok = true;
    if (queue != database->requests_queue)
        return true;
    request_init(&request);
    (void)!request_read(body.data, body.len, &request, &addressed, &unreadable);
    /* What is no request of ours is a dead letter like any other. */
    if (!addressed || !delivery_state(database, request.id, &state, err)) {
        ok = !addressed || err->kind == FAIL_NOT_FOUND;
    } else if (state == DELIVERY_PENDING) {
        snprintf(message, sizeof message, "given up after %" PRId64 " tries", receives);
        const struct completion end = {.state = DELIVERY_FAILED,
                                       .connector = "",
                                       .code = RESULT_UNAVAILABLE,
                                       .message = message};
        ok = complete(database, request.id, &end, err);
    }
    request_free(&request);
    return ok;
}

bool delivery_next_expiry(struct database *database, int64_t now_ms, int64_t *expires_ms,
                          struct error *err)
{
    bool row;
    *expires_ms = database->no_expiry_before_ms;
    if (*expires_ms > now_ms)
        return true;
    sqlite3_stmt *statement = database_statement(database, SQL_DELIVERY_NEXT_EXPIRY);
    if (!database_step(database, statement, &row, err))
        return false;
    *expires_ms = row ? sqlite3_column_int64(statement, 0) : INT64_MAX;
    database->no_expiry_before_ms = *expires_ms;
    database_end(statement);
    return true;
}

void delivery_counts(const struct database *database, int64_t out[static DELIVERY_STATES])
{
    for (int state = 0; state < DELIVERY_STATES; state++)
        out[state] = tally_deliveries(database->tally, state);
}
