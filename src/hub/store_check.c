/* SPDX-License-Identifier: Apache-2.0 */
#include "store_check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>
#include "store_sql.h"

#define CHECK_ALL_BYTES (256 * 1024 * 1024)
#define MD5_LEN         16

static bool damaged(const char *what, struct error *err)
{
    error_set(err, FAIL_IO, "the database is damaged: %s", what);
    return error_hint(err, "move it away with its -wal file and put its last backup in its place: "
                           "reseal-hub restore BACKUP");
}

static bool sql_fault(sqlite3 *handle, struct error *err)
{
    int code = sqlite3_errcode(handle);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return damaged(sqlite3_errmsg(handle), err);
    error_set(err, FAIL_IO, "the database cannot be checked: %s", sqlite3_errmsg(handle));
    if (code == SQLITE_BUSY)
        return error_hint(err, "a hub is running on it: stop the hub, or check a backup");
    return false;
}

/* The first value of the statement, as text. */
static bool ask(sqlite3 *handle, const char *sql, char *out, size_t size, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) == SQLITE_OK &&
              sqlite3_step(statement) == SQLITE_ROW;
    if (ok) {
        const unsigned char *text = sqlite3_column_text(statement, 0);
        snprintf(out, size, "%s", text != NULL ? (const char *)text : "");
    } else {
        sql_fault(handle, err);
    }
    sqlite3_finalize(statement);
    return ok;
}

/* A check by SQLite, which answers "ok" or what is wrong. */
static bool sqlite_check(sqlite3 *handle, const char *pragma, struct error *err)
{
    char answer[256];
    return ask(handle, pragma, answer, sizeof answer, err) &&
           (strcmp(answer, "ok") == 0 || damaged(answer, err));
}

/* One table with its indices. */
static bool check_table(sqlite3 *handle, const char *name, struct error *err)
{
    char *pragma = sqlite3_mprintf("PRAGMA quick_check(%Q)", name);
    bool ok = pragma != NULL ? sqlite_check(handle, pragma, err) : error_memory(err);
    sqlite3_free(pragma);
    return ok;
}

static bool check_but_contents(sqlite3 *handle, struct error *err)
{
    static const char names[] = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT "
                                "IN ('bodies', 'blobs', 'payloads') AND name NOT LIKE 'sqlite_%'";
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(handle, names, -1, &statement, NULL) == SQLITE_OK;
    int status = SQLITE_DONE;
    while (ok && (status = sqlite3_step(statement)) == SQLITE_ROW)
        ok = check_table(handle, (const char *)sqlite3_column_text(statement, 0), err);
    if (status != SQLITE_DONE && status != SQLITE_ROW)
        ok = sql_fault(handle, err);
    sqlite3_finalize(statement);
    return ok;
}

bool store_check_start(sqlite3 *handle, struct error *err)
{
    static const char size_of[] =
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    char size[32];
    if (!ask(handle, size_of, size, sizeof size, err))
        return false;
    if (strtoll(size, NULL, 10) <= CHECK_ALL_BYTES)
        return sqlite_check(handle, "PRAGMA quick_check(1)", err);
    return check_but_contents(handle, err);
}

static bool check_bodies(sqlite3 *handle, struct error *err)
{
    static const char bodies[] =
        "SELECT messages.id, md5, body FROM messages LEFT JOIN bodies USING(id)";
    sqlite3_stmt *statement = NULL;
    EVP_MD *md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    bool ok = md5 != NULL && sqlite3_prepare_v2(handle, bodies, -1, &statement, NULL) == SQLITE_OK;
    int status = SQLITE_DONE;
    while (ok && (status = sqlite3_step(statement)) == SQLITE_ROW) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        char what[96];
        const void *body = sqlite3_column_blob(statement, 2);
        size_t len = (size_t)sqlite3_column_bytes(statement, 2);
        ok = body != NULL && EVP_Digest(body, len, digest, NULL, md5, NULL) == 1 &&
             sqlite3_column_bytes(statement, 1) == MD5_LEN &&
             memcmp(digest, sqlite3_column_blob(statement, 1), MD5_LEN) == 0;
        snprintf(what, sizeof what, "the body of message %lld is %s",
                 (long long)sqlite3_column_int64(statement, 0), body != NULL ? "changed" : "gone");
        if (!ok)
            (void)damaged(what, err);
    }
    if (err->kind == FAIL_NONE && (!ok || status != SQLITE_DONE))
        ok = sql_fault(handle, err);
    sqlite3_finalize(statement);
    EVP_MD_free(md5);
    return ok;
}

static bool check_references(sqlite3 *handle, struct error *err)
{
    static const struct {
        const char *sql, *what;
    } rules[] = {
        {"SELECT count(*) FROM deliveries WHERE payload IS NOT NULL AND payload NOT IN (SELECT id "
         "FROM payloads)",
         "a delivery's payload is gone"},
        {"SELECT count(*) FROM records WHERE seq NOT IN (SELECT seq FROM blobs)",
         "a record's PFX is gone"},
        {"SELECT count(*) FROM messages WHERE queue NOT IN (SELECT id FROM queues)",
         "a message belongs to no queue"},
    };
    char count[32];
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (!ask(handle, rules[i].sql, count, sizeof count, err))
            return false;
        if (strcmp(count, "0") != 0)
            return damaged(rules[i].what, err);
    }
    return true;
}

static bool is_hub_database(sqlite3 *handle, struct error *err)
{
    char owner[32];
    if (!ask(handle, "PRAGMA application_id", owner, sizeof owner, err))
        return false;
    return strtol(owner, NULL, 10) == SCHEMA_APPLICATION_ID ||
           error_set(err, FAIL_USAGE, "the file is no database of a hub");
}

/* A file that ended well, as a backup did, has no log beside it and is opened as one that nobody
 * changes, so that nothing comes into being beside it. */
static bool open_for_check(const char *path, sqlite3 **out, struct error *err)
{
    struct stat st;
    char *wal = sqlite3_mprintf("%s-wal", path);
    bool clean = wal != NULL && lstat(wal, &st) != 0;
    sqlite3_free(wal);
    if (access(path, R_OK) != 0)
        return error_errno(err, FAIL_NOT_FOUND, "cannot read %s", path);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    bool plain = strpbrk(path, "%?#") == NULL; /* characters that mean something in a URI */
    if (clean && plain)
        flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI;
    char *uri = sqlite3_mprintf("file:%s?immutable=1", path);
    int status = sqlite3_open_v2(clean && plain && uri != NULL ? uri : path, out, flags, NULL);
    sqlite3_free(uri);
    if (status == SQLITE_OK)
        return true;
    return error_set(err, FAIL_IO, "cannot open %s: %s", path, sqlite3_errstr(status));
}

bool store_check_file(const char *path, struct error *err)
{
    sqlite3 *handle = NULL;
    *err = (struct error)ERROR_INIT;
    bool ok = open_for_check(path, &handle, err) && is_hub_database(handle, err) &&
              sqlite_check(handle, "PRAGMA integrity_check(1)", err) && check_bodies(handle, err) &&
              check_references(handle, err);
    (void)sqlite3_close(handle);
    if (!ok)
        error_context(err, "%s", path);
    return ok;
}
