/* SPDX-License-Identifier: Apache-2.0 */
#include "store_records.h"

#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "reseal/text.h"

#define USER_ID_BYTES 16

bool text_fold(const char *text, char *out, size_t size)
{
    size_t len = strlen(text);
    if (len >= size)
        return false;
    for (size_t i = 0; i <= len; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
    return true;
}

bool record_identify(struct record *record, struct error *err)
{
    char folded[RECORD_UPN_MAX + 1], thumbprint[RECORD_THUMBPRINT];
    char user_id[2 * USER_ID_BYTES + 1];
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (!text_fold(record->user_principal_name, folded, sizeof folded) ||
        !text_fold(record->thumbprint, thumbprint, sizeof thumbprint))
        return error_set(err, FAIL_TOO_LARGE, "userPrincipalName or thumbprint is too long");
    if (EVP_Digest(folded, strlen(folded), digest, NULL, EVP_sha256(), NULL) != 1)
        return error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
    hex_encode(user_id, digest, USER_ID_BYTES);
    snprintf(record->id, sizeof record->id, "%s-%s", user_id, thumbprint);
    return true;
}

bool record_insert(struct database *database, struct record *record, struct error *err)
{
    char folded[RECORD_UPN_MAX + 1], thumbprint[RECORD_THUMBPRINT];
    if (!record_identify(record, err))
        return false;
    if (!text_fold(record->user_principal_name, folded, sizeof folded) ||
        !text_fold(record->thumbprint, thumbprint, sizeof thumbprint))
        return error_set(err, FAIL_TOO_LARGE, "userPrincipalName or thumbprint is too long");
    record->created_ms = record->modified_ms = clock_real_ms();
    sqlite3_stmt *statement = database_statement(database, SQL_RECORD_INSERT);
    bind_text(database, statement, 1, record->id);
    bind_text(database, statement, 2, record->user_principal_name);
    bind_text(database, statement, 3, folded);
    bind_text(database, statement, 4, thumbprint);
    bind_integer(database, statement, 5, record->purpose);
    bind_integer(database, statement, 6, record->not_before_ms);
    bind_integer(database, statement, 7, record->not_after_ms);
    bind_text(database, statement, 8, record->provider_name);
    bind_text(database, statement, 9, record->key_name);
    bind_integer(database, statement, 10, record->padding);
    bind_integer(database, statement, 11, record->created_ms);
    bind_bytes(database, statement, 12, buf_bytes(&record->sealed));
    if (database_run(database, statement, err)) {
        int64_t sequence = sqlite3_last_insert_rowid(database->handle);
        statement = database_statement(database, SQL_BLOB_INSERT);
        bind_integer(database, statement, 1, sequence);
        bind_bytes(database, statement, 2, buf_bytes(&record->pfx));
        return database_run(database, statement, err);
    }
    if (err->kind != FAIL_EXISTS)
        return false;
    error_set(err, FAIL_EXISTS, "a certificate with thumbprint %s is stored for %s already",
              thumbprint, record->user_principal_name);
    return error_hint(err, "delete the record %s first", record->id);
}

/* The columns that RECORD_COLUMNS of the statements names, in that order. */
static void read_columns(sqlite3_stmt *statement, struct record *out)
{
    snprintf(out->id, sizeof out->id, "%s", column_text(statement, 1));
    snprintf(out->user_principal_name, sizeof out->user_principal_name, "%s",
             column_text(statement, 2));
    snprintf(out->thumbprint, sizeof out->thumbprint, "%s", column_text(statement, 3));
    out->purpose = (enum purpose)sqlite3_column_int(statement, 4);
    out->not_before_ms = sqlite3_column_int64(statement, 5);
    out->not_after_ms = sqlite3_column_int64(statement, 6);
    snprintf(out->provider_name, sizeof out->provider_name, "%s", column_text(statement, 7));
    snprintf(out->key_name, sizeof out->key_name, "%s", column_text(statement, 8));
    out->padding = (enum padding)sqlite3_column_int(statement, 9);
    out->created_ms = sqlite3_column_int64(statement, 10);
    out->modified_ms = sqlite3_column_int64(statement, 11);
}

static bool no_record(const char *id, struct error *err)
{
    error_set(err, FAIL_NOT_FOUND, "there is no record \"%.128s\"", id);
    return error_hint(err, "list the records to see the ids");
}

bool record_select(struct database *database, const char *id, struct record *out, struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_RECORD_SELECT);
    bind_text(database, statement, 1, id);
    if (!database_step(database, statement, &row, err))
        return false;
    if (row) {
        struct bytes sealed = column_bytes(statement, 12);
        struct bytes pfx = column_bytes(statement, 13);
        read_columns(statement, out);
        buf_put(&out->sealed, sealed.data, sealed.len);
        buf_put(&out->pfx, pfx.data, pfx.len);
    }
    database_end(statement);
    if (!row)
        return no_record(id, err);
    return buf_check(&out->sealed, "the sealed password of a record", err) &&
           buf_check(&out->pfx, "the PFX of a record", err);
}

bool record_delete(struct database *database, const char *id, struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_RECORD_FREE_BLOB);
    bind_text(database, statement, 1, id);
    if (!database_run(database, statement, err))
        return false;
    statement = database_statement(database, SQL_RECORD_DELETE);
    bind_text(database, statement, 1, id);
    if (!database_run(database, statement, err))
        return false;
    return sqlite3_changes(database->handle) == 1 || no_record(id, err);
}

bool record_count(struct database *database, int64_t *out, struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_RECORD_COUNT);
    if (!database_step(database, statement, &row, err))
        return false;
    *out = sqlite3_column_int64(statement, 0);
    database_end(statement);
    return true;
}

bool record_list(struct database *database, const struct record_query *query, record_each *each,
                 void *context, struct error *err)
{
    bool row, ok = true;
    bool by_upn = query->upn != NULL, by_thumbprint = query->thumbprint != NULL;
    enum statement which = by_upn && by_thumbprint ? SQL_RECORD_LIST_BOTH
                           : by_upn                ? SQL_RECORD_LIST_UPN
                           : by_thumbprint         ? SQL_RECORD_LIST_THUMBPRINT
                                                   : SQL_RECORD_LIST;
    sqlite3_stmt *statement = database_statement(database, which);
    bind_integer(database, statement, 1, query->after);
    bind_integer(database, statement, 2, query->limit);
    if (by_upn)
        bind_text(database, statement, 3, query->upn);
    if (by_thumbprint)
        bind_text(database, statement, 4, query->thumbprint);
    while (ok) {
        struct record record;
        if (!database_step(database, statement, &row, err))
            return false;
        if (!row)
            break;
        record_init(&record);
        read_columns(statement, &record);
        ok = each(context, sqlite3_column_int64(statement, 0), &record, err);
        record_free(&record);
    }
    database_end(statement);
    return ok;
}
