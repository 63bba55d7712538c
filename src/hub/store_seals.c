/* SPDX-License-Identifier: Apache-2.0 */
#include "store_seals.h"

#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "reseal/log.h"
#include "reseal/text.h"
#include "store_tally.h"

bool seal_tag(struct bytes sealed, char out[static SEAL_TAG], struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(sealed.data, sealed.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
    hex_encode(out, digest, 32);
    return true;
}

bool seal_put_etag(struct json_writer *json, struct bytes sealed, struct error *err)
{
    char tag[SEAL_TAG], quoted[SEAL_TAG + 2];
    if (!seal_tag(sealed, tag, err))
        return false;
    snprintf(quoted, sizeof quoted, "\"%s\"", tag);
    json_put_text(json, "@odata.etag", quoted);
    return true;
}

bool seal_list(struct database *database, const char *key_name, int64_t after, int64_t limit,
               seal_each *each, void *context, struct error *err)
{
    bool row, ok = true;
    sqlite3_stmt *statement = database_statement(database, SQL_SEAL_LIST);
    bind_integer(database, statement, 1, after);
    bind_integer(database, statement, 2, limit);
    bind_text(database, statement, 3, key_name);
    while (ok) {
        if (!database_step(database, statement, &row, err))
            return false;
        if (!row)
            break;
        const struct seal_row seal = {
            .id = column_text(statement, 1),
            .provider_name = column_text(statement, 2),
            .padding = (enum padding)sqlite3_column_int(statement, 3),
            .sealed = column_bytes(statement, 4),
        };
        ok = each(context, sqlite3_column_int64(statement, 0), &seal, err);
    }
    database_end(statement);
    return ok;
}

static bool read_count(struct database *database, sqlite3_stmt *statement, int64_t *out,
                       struct error *err)
{
    bool row;
    if (!database_step(database, statement, &row, err))
        return false;
    *out = row ? sqlite3_column_int64(statement, 0) : 0;
    database_end(statement);
    return true;
}

bool seal_note_waiting(struct database *database, struct error *err)
{
    int64_t noted, all = tally_messages(database->tally, database->requests_queue);
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_KEYED);
    bind_integer(database, statement, 1, database->requests_queue);
    if (!read_count(database, statement, &noted, err))
        return false;
    if (noted == all)
        return true;
    log_event(LEVEL_INFO, EVENT_NOTE, "requests that wait are read for their sealing keys",
              LOG_NUMBER("count", all - noted));
    statement = database_statement(database, SQL_MESSAGE_NOTE_KEYS);
    bind_integer(database, statement, 1, database->requests_queue);
    return database_run(database, statement, err);
}

bool seal_counts(struct database *database, const char *key_name, int64_t *records,
                 int64_t *requests, struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_SEAL_COUNT);
    bind_text(database, statement, 1, key_name);
    if (!read_count(database, statement, records, err))
        return false;
    statement = database_statement(database, SQL_SEAL_WAITING);
    bind_integer(database, statement, 1, database->requests_queue);
    bind_text(database, statement, 2, key_name);
    return read_count(database, statement, requests, err);
}

static bool read_tag(struct database *database, const char *id, char out[static SEAL_TAG],
                     struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_SEAL_SELECT);
    bind_text(database, statement, 1, id);
    if (!database_step(database, statement, &row, err))
        return false;
    bool ok = row ? seal_tag(column_bytes(statement, 0), out, err)
                  : error_set(err, FAIL_NOT_FOUND, "there is no record \"%.128s\"", id);
    database_end(statement);
    return ok;
}

bool seal_replace(struct database *database, const struct seal_change *change, bool *matched,
                  struct error *err)
{
    char tag[SEAL_TAG];
    if (!read_tag(database, change->id, tag, err))
        return false;
    *matched = change->expected[0] == '\0' || strcmp(tag, change->expected) == 0;
    if (!*matched)
        return true;
    sqlite3_stmt *statement = database_statement(database, SQL_SEAL_UPDATE);
    bind_text(database, statement, 1, change->id);
    bind_text(database, statement, 2, change->key_name);
    bind_text(database, statement, 3, change->has_provider ? change->provider_name : NULL);
    bind_integer(database, statement, 4, change->padding);
    bind_bytes(database, statement, 5, buf_bytes(&change->sealed));
    bind_integer(database, statement, 6, clock_real_ms());
    return database_run(database, statement, err);
}
