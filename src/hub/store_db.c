/* SPDX-License-Identifier: Apache-2.0 */
#include "store_db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "reseal/log.h"
#include "store_check.h"
#include "store_sql.h"
#include "store_tally.h"
#include "store_vfs.h"

#define BUSY_TIMEOUT_MS 2000 /* another process may just be ending */
#define STATEMENT_BYTES (-1) /* the text ends with a NUL */
#define LOG_PAGES       4000 /* of 4 KiB; more than these in the log go into the database */
#define COMPLAIN_MS     60000

/* The order matters: exclusive locking must be chosen before the write-ahead log is first read, so
 * that its index stays in this process. */
static const char *const pragmas[] = {
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8192",            /* KiB */
    "PRAGMA journal_size_limit = 67108864", /* bytes that the log keeps after a peak */
    /* What is stored is sealed already; zeroing each freed page would double the writing. */
    "PRAGMA secure_delete = FAST",
};

/* What to do where the system's own error says more than SQLite's. */
static bool hint_of_system(int number, struct error *err)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return error_hint(err, "make room on the disk of the database");
    case EROFS:
        return error_hint(err, "the file system is read-only: see the kernel's log, mount it "
                               "writable, start the hub again");
    default:
        return error_hint(err, "see the kernel's log for the disk of the database; where the disk "
                               "fails, restore the last backup on another one");
    }
}

static bool sql_failed(const struct database *database, struct error *err)
{
    int code = sqlite3_errcode(database->handle);
    enum failure kind = code == SQLITE_CONSTRAINT ? FAIL_EXISTS : FAIL_IO;
    error_set(err, kind, "the database refuses: %s", sqlite3_errmsg(database->handle));
    switch (code) {
    case SQLITE_FULL:
        return hint_of_system(ENOSPC, err);
    case SQLITE_IOERR:
        return hint_of_system(sqlite3_system_errno(database->handle), err);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return error_hint(err, "check the rights of the database file and of its folder");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_hint(err, "another process holds the database; one hub owns one file");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_hint(err, "restore the database from its last backup (reseal-hub restore)");
    default:
        return false;
    }
}

static bool execute(struct database *database, const char *sql, struct error *err)
{
    if (sqlite3_exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    return sql_failed(database, err);
}

/* The one value of a PRAGMA, as text. */
static bool ask(struct database *database, const char *sql, char *out, size_t size,
                struct error *err)
{
    sqlite3_stmt *statement = NULL;
    bool ok = false;
    if (sqlite3_prepare_v2(database->handle, sql, STATEMENT_BYTES, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        snprintf(out, size, "%s", column_text(statement, 0));
        ok = true;
    } else {
        sql_failed(database, err);
    }
    sqlite3_finalize(statement);
    return ok;
}

/* Brings an empty file (version 0) or an older schema to the present one; all of it or nothing. */
static bool make_schema(struct database *database, long found, struct error *err)
{
    char set[128];
    const char *step;
    snprintf(set, sizeof set, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             SCHEMA_APPLICATION_ID, SCHEMA_VERSION);
    if (!execute(database, "BEGIN EXCLUSIVE", err))
        return false;
    bool ok = found != 0 || execute(database, schema_sql, err);
    for (long at = found != 0 ? found : SCHEMA_BASE; ok && (step = schema_step(at)) != NULL; at++)
        ok = execute(database, step, err);
    if (ok && execute(database, set, err) && execute(database, "COMMIT", err))
        return true;
    (void)sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
    return false;
}

static bool ensure_schema(struct database *database, struct error *err)
{
    char version[32], application[32];
    if (!ask(database, "PRAGMA user_version", version, sizeof version, err) ||
        !ask(database, "PRAGMA application_id", application, sizeof application, err))
        return false;
    long found = strtol(version, NULL, 10);
    long owner = strtol(application, NULL, 10);
    if (found == SCHEMA_VERSION && owner == SCHEMA_APPLICATION_ID)
        return true;
    bool older = owner == SCHEMA_APPLICATION_ID && schema_step(found) != NULL;
    if (older || (found == 0 && owner == 0))
        return make_schema(database, found, err);
    error_set(err, FAIL_USAGE, "the file is no hub database of schema %d to %d (found schema %ld)",
              SCHEMA_BASE, SCHEMA_VERSION, found);
    return error_hint(err, "use the reseal-hub that made it, or name another file in hub.database");
}

static bool prepare_all(struct database *database, struct error *err)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        if (sqlite3_prepare_v3(database->handle, statement_sql[i], STATEMENT_BYTES,
                               SQLITE_PREPARE_PERSISTENT, &database->statements[i],
                               NULL) != SQLITE_OK)
            return sql_failed(database, err);
    }
    return true;
}

static bool find_next_message(struct database *database, struct error *err)
{
    bool row;
    sqlite3_stmt *statement = database_statement(database, SQL_MESSAGE_LAST);
    if (!database_step(database, statement, &row, err))
        return false;
    database->next_message = sqlite3_column_int64(statement, 0) + 1;
    database_end(statement);
    return true;
}

/* After a commit. What SQLite does by itself, but told where it fails: the log then grows, and
 * nothing else would show it. The commit is on disk whatever happens here. */
static int on_committed(void *context, sqlite3 *handle, const char *name, int pages)
{
    struct database *database = context;
    struct error err = ERROR_INIT;
    int64_t now = clock_monotonic_ms();
    if (pages < LOG_PAGES ||
        sqlite3_wal_checkpoint_v2(handle, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) == SQLITE_OK)
        return SQLITE_OK;
    if (database->complained_ms == 0 || now - database->complained_ms >= COMPLAIN_MS) {
        (void)sql_failed(database, &err);
        log_error(LEVEL_ERROR, EVENT_NOTE,
                  "the write-ahead log cannot be moved into the database and grows", &err);
        database->complained_ms = now;
    }
    return SQLITE_OK;
}

static bool set_up(struct database *database, struct error *err)
{
    char mode[32];
    (void)sqlite3_busy_timeout(database->handle, BUSY_TIMEOUT_MS);
    for (size_t i = 0; i < ARRAY_LEN(pragmas); i++) {
        if (!execute(database, pragmas[i], err))
            return false;
    }
    (void)sqlite3_wal_hook(database->handle, on_committed, database);
    if (!ask(database, "PRAGMA journal_mode", mode, sizeof mode, err))
        return false;
    if (strcmp(mode, "wal") != 0)
        return error_set(err, FAIL_IO, "SQLite keeps no write-ahead log here (journal mode %s)",
                         mode);
    return store_check_start(database->handle, err) && ensure_schema(database, err) &&
           tally_open(database->handle, &database->tally, err) && prepare_all(database, err) &&
           database_load_queues(database, err) && find_next_message(database, err);
}

bool database_open(const char *path, struct database **out, struct error *err)
{
    bool ok = false;
    *out = NULL;
    struct database *database = calloc(1, sizeof *database);
    if (database == NULL)
        return error_memory(err);
    database->senders = calloc(SENDERS_MAX, sizeof *database->senders);
    database->queue_work = true; /* whatever was left when the file was closed */
    if (database->senders == NULL) {
        free(database);
        return error_memory(err);
    }
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    if (!store_vfs_register(err))
        goto done;
    int status = sqlite3_open_v2(path, &database->handle, flags, STORE_VFS);
    if (status != SQLITE_OK) {
        error_set(err, FAIL_IO, "cannot open the database %s: %s", path, sqlite3_errstr(status));
        error_hint(err, "the folder must exist and be writable for the user of the hub");
        goto done;
    }
    if (sqlite3_db_readonly(database->handle, "main") == 1) {
        error_set(err, FAIL_IO, "the database %s can be read, but not written", path);
        error_hint(err, "check the rights of the database file and of its folder, and whether its "
                        "file system is mounted read-only");
        goto done;
    }
    database->md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    if (database->md5 == NULL) {
        error_openssl(err, FAIL_INTERNAL, "OpenSSL has no MD5, which the queue protocol needs");
        goto done;
    }
    if (!set_up(database, err)) {
        error_context(err, "%s", path);
        goto done;
    }
    *out = database;
    database = NULL; /* transferred */
    ok = true;
done:
    database_close(&database);
    return ok;
}

void database_close(struct database **database)
{
    if (database == NULL || *database == NULL)
        return;
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        (void)sqlite3_finalize((*database)->statements[i]);
    (void)sqlite3_close((*database)->handle);
    tally_free(&(*database)->tally);
    EVP_MD_free((*database)->md5);
    free((*database)->senders);
    free(*database);
    *database = NULL;
}

sqlite3_stmt *database_statement(struct database *database, enum statement which)
{
    database->bind_failed = false;
    return database->statements[which];
}

static void keep(struct database *database, int status)
{
    if (status != SQLITE_OK)
        database->bind_failed = true;
}

void bind_integer(struct database *database, sqlite3_stmt *statement, int index, int64_t value)
{
    keep(database, sqlite3_bind_int64(statement, index, value));
}

void bind_text(struct database *database, sqlite3_stmt *statement, int index, const char *text)
{
    keep(database, sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC));
}

void bind_bytes(struct database *database, sqlite3_stmt *statement, int index, struct bytes bytes)
{
    /* A NULL pointer would be bound as NULL, not as no bytes. */
    const void *data = bytes.data != NULL ? (const void *)bytes.data : "";
    keep(database, sqlite3_bind_blob64(statement, index, data, bytes.len, SQLITE_STATIC));
}

void bind_null(struct database *database, sqlite3_stmt *statement, int index)
{
    keep(database, sqlite3_bind_null(statement, index));
}

void database_end(sqlite3_stmt *statement)
{
    (void)sqlite3_reset(statement); /* repeats the failure of the last step, already told */
    (void)sqlite3_clear_bindings(statement);
}

bool database_step(struct database *database, sqlite3_stmt *statement, bool *row, struct error *err)
{
    *row = false;
    if (database->bind_failed) {
        database_end(statement);
        return error_memory(err);
    }
    int status = sqlite3_step(statement);
    if (status == SQLITE_ROW || status == SQLITE_DONE) {
        *row = status == SQLITE_ROW;
        return true;
    }
    sql_failed(database, err);
    database_end(statement);
    return false;
}

bool database_run(struct database *database, sqlite3_stmt *statement, struct error *err)
{
    bool row;
    if (!database_step(database, statement, &row, err))
        return false;
    database_end(statement);
    return true;
}

struct bytes column_bytes(sqlite3_stmt *statement, int column)
{
    const void *data = sqlite3_column_blob(statement, column);
    return (struct bytes){data, (size_t)sqlite3_column_bytes(statement, column)};
}

const char *column_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    return text != NULL ? (const char *)text : "";
}

static bool run_plain(struct database *database, enum statement which, struct error *err)
{
    return database_run(database, database_statement(database, which), err);
}

bool database_begin(struct database *database, struct error *err)
{
    if (database->queues_stale && !database_load_queues(database, err))
        return false;
    database->queues_stale = database->queues_changed = false;
    return run_plain(database, SQL_BEGIN, err);
}

static void queues_after_undo(struct database *database)
{
    struct error ignored = ERROR_INIT;
    if (database->queues_changed)
        database->queues_stale = !database_load_queues(database, &ignored);
}

bool database_commit(struct database *database, struct error *err)
{
    bool written = sqlite3_txn_state(database->handle, NULL) == SQLITE_TXN_WRITE;
    bool ok = run_plain(database, SQL_COMMIT, err);
    if (written || !ok) /* one that only reads says nothing of the disk */
        database->commit_failed = !ok;
    if (ok) {
        tally_commit(database->tally);
        return true;
    }
    database_rollback(database);
    return false;
}

void database_rollback(struct database *database)
{
    struct error ignored = ERROR_INIT;
    if (sqlite3_get_autocommit(database->handle) == 0)
        (void)!run_plain(database, SQL_ROLLBACK, &ignored);
    tally_rollback(database->tally);
    queues_after_undo(database);
}

bool database_probe(struct database *database, struct error *err)
{
    return !database->commit_failed || run_plain(database, SQL_PROBE, err);
}

struct database_mark database_mark(const struct database *database)
{
    return (struct database_mark){sqlite3_total_changes(database->handle)};
}

bool database_unchanged(const struct database *database, struct database_mark since)
{
    return sqlite3_get_autocommit(database->handle) == 0 &&
           sqlite3_total_changes(database->handle) == since.changes;
}

static bool load_senders(struct database *database, struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_SENDER_LIST);
    size_t count = 0;
    bool row;
    while (true) {
        if (!database_step(database, statement, &row, err))
            return false;
        if (!row || count == SENDERS_MAX)
            break;
        struct sender *sender = &database->senders[count++];
        sender->id = sqlite3_column_int64(statement, 0);
        snprintf(sender->name, sizeof sender->name, "%s", column_text(statement, 1));
    }
    database_end(statement);
    database->sender_count = count;
    return true;
}

bool database_load_queues(struct database *database, struct error *err)
{
    sqlite3_stmt *statement = database_statement(database, SQL_QUEUE_LIST);
    size_t count = 0;
    bool row;
    while (true) {
        if (!database_step(database, statement, &row, err))
            return false;
        if (!row || count == QUEUES_MAX)
            break;
        struct queue_row *queue = &database->queues[count++];
        *queue = (struct queue_row){
            .id = sqlite3_column_int64(statement, 0),
            .created_ms = sqlite3_column_int64(statement, 2),
            .modified_ms = sqlite3_column_int64(statement, 3),
            .visibility_s = sqlite3_column_int64(statement, 4),
            .delay_s = sqlite3_column_int64(statement, 5),
            .wait_s = sqlite3_column_int64(statement, 6),
            .retention_s = sqlite3_column_int64(statement, 7),
            .dead_letter = sqlite3_column_int64(statement, 8),
            .max_receives = sqlite3_column_int64(statement, 9),
            .message_max = sqlite3_column_int64(statement, 10),
            .purged_ms = sqlite3_column_int64(statement, 11),
            .purging = sqlite3_column_int64(statement, 12) != 0,
        };
        snprintf(queue->name, sizeof queue->name, "%s", column_text(statement, 1));
    }
    database_end(statement);
    database->queue_count = count;
    return load_senders(database, err);
}
