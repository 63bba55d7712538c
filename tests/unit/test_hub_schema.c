/* SPDX-License-Identifier: Apache-2.0 */
/* A database of an older hub is brought to the present schema, with all that is in it. */
#include "check.h"
#include <sqlite3.h>
#include <unistd.h>
#include "src/hub/store_queue.h"
#include "src/hub/store_sql.h"

struct setup {
    char folder[32];
    char path[64];
};

static int begin(void **state)
{
    struct setup *setup = calloc(1, sizeof *setup);
    assert_non_null(setup);
    strcpy(setup->folder, "/tmp/hub-schema-XXXXXX");
    assert_non_null(mkdtemp(setup->folder));
    snprintf(setup->path, sizeof setup->path, "%s/hub.db", setup->folder);
    *state = setup;
    return 0;
}

static int end(void **state)
{
    static const char *const files[] = {"hub.db", "hub.db-wal", "hub.db-shm"};
    struct setup *setup = *state;
    char path[128];
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(path, sizeof path, "%s/%s", setup->folder, files[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(setup->folder), 0);
    free(setup);
    return 0;
}

static void run(sqlite3 *handle, const char *sql)
{
    if (sqlite3_exec(handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(handle));
}

/* A database of the base schema with two queues and a message. */
static void make_old(const struct setup *setup, const char *extra)
{
    sqlite3 *handle = NULL;
    char set[128];
    assert_int_equal(sqlite3_open(setup->path, &handle), SQLITE_OK);
    run(handle, "PRAGMA journal_mode = WAL");
    run(handle, schema_sql);
    snprintf(set, sizeof set, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             SCHEMA_APPLICATION_ID, SCHEMA_BASE);
    run(handle, set);
    run(handle, "INSERT INTO queues VALUES(1, 'work-dead', 5, 5, 30, 0, 0, 345600, NULL, 0);"
                "INSERT INTO queues VALUES(2, 'work', 5, 6, 30, 0, 0, 345600, 1, 3);"
                "INSERT INTO messages VALUES(7, 2, 1000, 2, x'00112233445566778899aabbccddeeff',"
                " 1000, 1000, 'an id', x'0123456789abcdef0123456789abcdef');"
                "INSERT INTO bodies VALUES(7, x'6f6c64')");
    run(handle, extra);
    sqlite3_close(handle);
}

static bool is_the_old_one(void *context, const struct leased *message)
{
    bool *found = context;
    assert_int_equal(message->receive_count, 3);
    assert_string_equal(message->message_id, "an id");
    assert_int_equal(message->body.len, 3);
    assert_memory_equal(message->body.data, "old", 3);
    *found = true;
    return true;
}

static void an_older_database_keeps_its_queues_and_messages(void **state)
{
    const struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct database *database = NULL;
    make_old(setup, "");
    for (int i = 0; i < 2; i++) { /* the second time it is of the present schema */
        assert_ok(database_open(setup->path, &database, &err), &err);
        assert_int_equal(database->queue_count, 2);
        database_close(&database);
    }
    assert_ok(database_open(setup->path, &database, &err), &err);
    const struct queue_row *queue = stored_queue_find(database, "work");
    assert_non_null(queue);
    assert_int_equal(queue->dead_letter, 1);
    assert_int_equal(queue->max_receives, 3);
    size_t count;
    bool found = false;
    assert_ok(
        stored_queue_receive(database, queue->id, 10, 30, is_the_old_one, &found, &count, &err),
        &err);
    assert_true(found);
    database_close(&database);
}

static void a_step_that_fails_leaves_the_file_as_it_was(void **state)
{
    const struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct database *database = NULL;
    sqlite3 *handle = NULL;
    make_old(setup, "CREATE TABLE moves(id INTEGER)"); /* in the way of the last step's table */
    assert_refused(database_open(setup->path, &database, &err), &err, FAIL_IO);
    assert_int_equal(sqlite3_open(setup->path, &handle), SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(handle, "SELECT removed FROM queues", NULL, NULL, NULL),
                         SQLITE_OK);
    run(handle, "DROP TABLE moves");
    sqlite3_close(handle);
    assert_ok(database_open(setup->path, &database, &err), &err);
    database_close(&database);
}

static void a_newer_database_is_refused(void **state)
{
    const struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct database *database = NULL;
    char set[64];
    snprintf(set, sizeof set, "PRAGMA user_version = %d", SCHEMA_VERSION + 1);
    make_old(setup, set);
    assert_refused(database_open(setup->path, &database, &err), &err, FAIL_USAGE);
}

#define SCHEMA_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCHEMA_TEST(an_older_database_keeps_its_queues_and_messages),
        SCHEMA_TEST(a_step_that_fails_leaves_the_file_as_it_was),
        SCHEMA_TEST(a_newer_database_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
