/* SPDX-License-Identifier: Apache-2.0 */
/* What the hub's database keeps where the disk is full while it reads: SQLite reads back what waits
 * to be written, and makes room in its cache by writing. */
#include "hub_store_scene.h"
#include <errno.h>

/* The default VFS, whose writes find the disk full as long as `full` is set. */
static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    sqlite3_io_methods methods;
    const sqlite3_io_methods *real_methods;
    bool full;
} disk;

static int write_to_disk(sqlite3_file *file, const void *data, int amount, sqlite3_int64 offset)
{
    if (!disk.full)
        return disk.real_methods->xWrite(file, data, amount, offset);
    errno = ENOSPC;
    return SQLITE_FULL;
}

static int open_on_disk(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                        int *flags_out)
{
    (void)vfs;
    int status = disk.real->xOpen(disk.real, name, file, flags, flags_out);
    if (status != SQLITE_OK)
        return status;
    disk.real_methods = file->pMethods;
    disk.methods = *file->pMethods;
    disk.methods.xWrite = write_to_disk;
    file->pMethods = &disk.methods;
    return SQLITE_OK;
}

static int begin_on_disk(void **state)
{
    if (disk.real == NULL) {
        disk.real = sqlite3_vfs_find(NULL);
        disk.vfs = *disk.real;
        disk.vfs.zName = "full-disk";
        disk.vfs.pNext = NULL;
        disk.vfs.xOpen = open_on_disk;
        assert_int_equal(sqlite3_vfs_register(&disk.vfs, 1), SQLITE_OK);
    }
    return begin(state);
}

static void run(struct setup *setup, const char *sql)
{
    assert_int_equal(sqlite3_exec(setup->database->handle, sql, NULL, NULL, NULL), SQLITE_OK);
}

static bool is_sound(struct setup *setup)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(
        sqlite3_prepare_v2(setup->database->handle, "PRAGMA integrity_check", -1, &statement, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    bool sound = strcmp(column_text(statement, 0), "ok") == 0;
    sqlite3_finalize(statement);
    return sound;
}

/* Sends messages of more than the cache holds; the disk is full while that one is sent. False where
 * a send was refused for it. */
static bool send_many(struct setup *setup, int full_at, struct error *err)
{
    bool sent = true;
    for (int i = 0; i < 60 && sent; i++) {
        char id[UUID_TEXT];
        uint8_t body[3000];
        memset(body, 'a' + i % 20, sizeof body);
        const struct outgoing message = {.body = {body, sizeof body}};
        disk.full = i == full_at;
        sent = stored_queue_send(setup->database, setup->queue, &message, id, err);
        disk.full = false;
    }
    return sent;
}

static void a_disk_that_is_full_in_a_read_takes_the_whole_transaction(void **state)
{
    struct setup *setup = *state;
    size_t refused = 0;
    run(setup, "PRAGMA cache_size = 10");
    for (int at = 1; at < 60; at++) {
        struct error err = ERROR_INIT;
        assert_ok(database_begin(setup->database, &err), &err);
        if (send_many(setup, at, &err)) {
            assert_ok(database_commit(setup->database, &err), &err);
        } else {
            assert_int_equal(err.kind, FAIL_IO);
            assert_non_null(strstr(err.hint, "make room"));
            assert_int_not_equal(sqlite3_get_autocommit(setup->database->handle), 0);
            database_rollback(setup->database);
            refused++;
        }
        assert_true(is_sound(setup));
    }
    assert_true(refused > 0);
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, begin_on_disk, setup_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(a_disk_that_is_full_in_a_read_takes_the_whole_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
