/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers that are kept in memory are those that counting gives, whatever has changed the rows.
 */
#include "hub_database.h"
#include "src/hub/store_queue.h"
#include "src/hub/store_queue_admin.h"
#include "src/hub/store_tally.h"

static int begin(void **state)
{
    struct setup *setup = setup_begin();
    setup_queues(setup, 1);
    *state = setup;
    return 0;
}

static void send(struct setup *setup, int64_t delay_s)
{
    struct error err = ERROR_INIT;
    char id[UUID_TEXT];
    const struct outgoing message = {.body = {(const uint8_t *)"x", 1}, .delay_s = delay_s};
    assert_ok(stored_queue_send(setup->database, setup->queue, &message, id, &err), &err);
}

static bool keep_receipt(void *context, const struct leased *message)
{
    strcpy(context, message->receipt_handle);
    return true;
}

static void receive(struct setup *setup, int64_t lease_s, char receipt[static RECEIPT_HANDLE_TEXT])
{
    struct error err = ERROR_INIT;
    size_t count;
    assert_ok(stored_queue_receive(setup->database, setup->queue, 1, lease_s, keep_receipt, receipt,
                                   &count, &err),
              &err);
}

static void assert_counts(struct setup *setup, int64_t queue, int64_t visible, int64_t in_flight,
                          int64_t delayed)
{
    struct error err = ERROR_INIT;
    struct queue_counts counts;
    sqlite3_stmt *statement = NULL;
    assert_ok(stored_queue_count(setup->database, queue, &counts, &err), &err);
    assert_int_equal(counts.visible, visible);
    assert_int_equal(counts.in_flight, in_flight);
    assert_int_equal(counts.delayed, delayed);
    assert_int_equal(sqlite3_prepare_v2(setup->database->handle,
                                        "SELECT count(*) FROM messages WHERE queue = ?1", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    sqlite3_bind_int64(statement, 1, queue);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int64(statement, 0), visible + in_flight + delayed);
    sqlite3_finalize(statement);
}

static void messages_are_counted_as_they_come_move_and_go(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    char receipt[RECEIPT_HANDLE_TEXT];
    enum receipt_state receipt_state;
    assert_counts(setup, setup->queue, 0, 0, 0);
    send(setup, 0);
    send(setup, 0);
    send(setup, 600);
    assert_counts(setup, setup->queue, 2, 0, 1);
    receive(setup, 60, receipt);
    assert_counts(setup, setup->queue, 1, 1, 1);
    assert_ok(stored_queue_delete(setup->database, setup->queue, receipt, &receipt_state, &err),
              &err);
    assert_counts(setup, setup->queue, 1, 0, 1);
    receive(setup, 0, receipt);
    receive(setup, 60, receipt); /* one time too many */
    assert_counts(setup, setup->queue, 0, 0, 1);
    assert_counts(setup, setup->dead, 1, 0, 0);
    reopen(setup);
    assert_counts(setup, setup->queue, 0, 0, 1);
    assert_counts(setup, setup->dead, 1, 0, 0);
    assert_ok(stored_queue_purge(setup->database, setup->dead, &err), &err);
    assert_counts(setup, setup->dead, 0, 0, 0);
}

static void what_is_rolled_back_was_never_counted(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    assert_ok(database_begin(setup->database, &err), &err);
    send(setup, 0);
    assert_counts(setup, setup->queue, 1, 0, 0);
    assert_ok(database_commit(setup->database, &err), &err);
    assert_ok(database_begin(setup->database, &err), &err);
    send(setup, 0);
    send(setup, 0);
    assert_counts(setup, setup->queue, 3, 0, 0);
    database_rollback(setup->database);
    assert_counts(setup, setup->queue, 1, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_are_counted_as_they_come_move_and_go, begin,
                                        setup_end),
        cmocka_unit_test_setup_teardown(what_is_rolled_back_was_never_counted, begin, setup_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
