/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's database: messages, their leases and dead letters, and what a transaction keeps. */
#include "hub_store_scene.h"
#include "src/hub/store_sql.h"

static void a_leased_message_is_hidden_until_it_is_given_back(void **state)
{
    struct setup *setup = *state;
    struct seen first, second;
    send_text(setup, "one");
    assert_int_equal(receive(setup, 10, 60, &first), 1);
    assert_string_equal(first.bodies[0], "one");
    assert_int_equal(receive(setup, 10, 60, &second), 0);
    assert_int_equal(extend(setup, first.receipts[0], 120), RECEIPT_GOOD);
    assert_int_equal(receive(setup, 10, 60, &second), 0);
    assert_int_equal(extend(setup, first.receipts[0], 0), RECEIPT_GOOD);
    assert_int_equal(receive(setup, 10, 60, &second), 1);
    assert_int_equal(second.receive_counts[0], 2);
}

static void messages_come_in_the_order_in_which_they_were_sent(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    const char *const texts[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++)
        send_text(setup, texts[i]);
    assert_int_equal(receive(setup, 3, 60, &seen), 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(seen.bodies[i], texts[i]);
    assert_int_equal(receive(setup, 3, 60, &seen), 1);
    assert_string_equal(seen.bodies[0], "d");
}

static void a_delayed_message_is_not_shown_before_its_time(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct queue_counts counts;
    struct seen seen;
    char id[UUID_TEXT];
    int64_t visible_ms;
    const struct outgoing message = {.body = {(const uint8_t *)"x", 1}, .delay_s = 900};
    assert_ok(stored_queue_next_visible(setup->database, setup->queue, &visible_ms, &err), &err);
    assert_true(visible_ms == INT64_MAX);
    assert_ok(stored_queue_send(setup->database, setup->queue, &message, id, &err), &err);
    assert_int_equal(receive(setup, 1, 60, &seen), 0);
    assert_ok(stored_queue_count(setup->database, setup->queue, &counts, &err), &err);
    assert_int_equal(counts.delayed, 1);
    assert_int_equal(counts.visible + counts.in_flight, 0);
    assert_ok(stored_queue_next_visible(setup->database, setup->queue, &visible_ms, &err), &err);
    assert_in_range(visible_ms - clock_real_ms(), 890000, 900000);
}

static void only_the_newest_receipt_holds(void **state)
{
    struct setup *setup = *state;
    struct seen old, new;
    send_text(setup, "one");
    assert_int_equal(receive(setup, 1, 0, &old), 1); /* back at once */
    assert_int_equal(receive(setup, 1, 60, &new), 1);
    assert_string_not_equal(old.receipts[0], new.receipts[0]);
    assert_int_equal(extend(setup, old.receipts[0], 60), RECEIPT_OTHER);
    assert_int_equal(remove_by(setup, old.receipts[0]), RECEIPT_OTHER);
    assert_int_equal(remove_by(setup, new.receipts[0]), RECEIPT_GOOD);
    assert_int_equal(remove_by(setup, new.receipts[0]), RECEIPT_GONE);
    assert_int_equal(extend(setup, new.receipts[0], 60), RECEIPT_GONE);
}

static void an_ended_lease_cannot_be_extended_but_still_deletes(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    send_text(setup, "one");
    assert_int_equal(receive(setup, 1, 0, &seen), 1);
    assert_int_equal(extend(setup, seen.receipts[0], 60), RECEIPT_EXPIRED);
    assert_int_equal(remove_by(setup, seen.receipts[0]), RECEIPT_GOOD);
    assert_int_equal(receive(setup, 1, 60, &seen), 0);
}

static void receipts_that_are_none_are_told(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    enum receipt_state found;
    struct seen seen;
    static const char *const bad[] = {"",
                                      "x",
                                      "0000000000000001",
                                      "000000000000000100000000000000000000000000000000",
                                      "ffffffffffffffff00000000000000000000000000000000",
                                      "0000000000000001 0000000000000000000000000000000",
                                      "00000000000000010000000000000000000000000000000000"};
    send_text(setup, "one");
    assert_int_equal(receive(setup, 1, 60, &seen), 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(remove_by(setup, bad[i]) == RECEIPT_MALFORMED ||
                    remove_by(setup, bad[i]) == RECEIPT_OTHER);
    assert_ok(stored_queue_delete(setup->database, setup->dead, seen.receipts[0], &found, &err),
              &err);
    assert_int_equal(found, RECEIPT_OTHER); /* of another queue */
    assert_int_equal(remove_by(setup, seen.receipts[0]), RECEIPT_GOOD);
}

static void a_message_received_too_often_goes_to_the_dead_letters(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    send_text(setup, "poison");
    for (int64_t i = 1; i <= 3; i++) {
        assert_int_equal(receive(setup, 1, 0, &seen), 1);
        assert_int_equal(seen.receive_counts[0], i);
    }
    send_text(setup, "good");
    assert_int_equal(receive(setup, 1, 60, &seen), 1); /* the good one takes its place */
    assert_string_equal(seen.bodies[0], "good");
    assert_int_equal(receive_from(setup, setup->dead, 10, 60, &seen), 1);
    assert_string_equal(seen.bodies[0], "poison");
    assert_int_equal(receive(setup, 10, 60, &seen), 0);
}

static void what_is_carried_to_another_engine_becomes_no_dead_letter(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct queue_counts counts;
    size_t count;
    send_text(setup, "request");
    for (int i = 0; i < 10; i++) { /* the hub is started again, and the engine is down */
        struct seen seen = {.count = 0};
        assert_ok(
            stored_queue_carry(setup->database, setup->queue, 1, 60, see, &seen, &count, &err),
            &err);
        assert_int_equal(count, 1);
        assert_int_equal(seen.receive_counts[0], 1);
        assert_ok(stored_queue_count(setup->database, setup->queue, &counts, &err), &err);
        assert_int_equal(counts.in_flight, 1);
        assert_int_equal(extend(setup, seen.receipts[0], 0), RECEIPT_GOOD);
    }
    assert_ok(stored_queue_count(setup->database, setup->dead, &counts, &err), &err);
    assert_int_equal(counts.visible, 0);
}

static void what_was_committed_is_there_after_a_restart_and_nothing_else(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct seen seen;
    assert_ok(database_begin(setup->database, &err), &err);
    send_text(setup, "kept");
    assert_ok(database_commit(setup->database, &err), &err);
    assert_ok(database_begin(setup->database, &err), &err);
    send_text(setup, "rolled back");
    database_rollback(setup->database);
    reopen(setup);
    assert_int_equal(receive(setup, 10, 60, &seen), 1);
    assert_string_equal(seen.bodies[0], "kept");
}

static void a_transaction_tells_whether_anything_was_written(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct seen seen;
    assert_ok(database_begin(setup->database, &err), &err);
    const struct database_mark start = database_mark(setup->database);
    assert_int_equal(receive(setup, 1, 60, &seen), 0);
    assert_true(database_unchanged(setup->database, start));
    send_text(setup, "one");
    assert_false(database_unchanged(setup->database, start));
    const struct database_mark later = database_mark(setup->database);
    assert_true(database_unchanged(setup->database, later));
    database_rollback(setup->database);
    assert_false(database_unchanged(setup->database, later));
}

/* A transaction, not yet ended, that has made a queue. */
static void begin_with_queue(struct setup *setup, const char *name)
{
    struct error err = ERROR_INIT;
    struct queue_row queue;
    assert_ok(database_begin(setup->database, &err), &err);
    stored_queue_defaults(&queue, name);
    assert_ok(stored_queue_create(setup->database, &queue, &err), &err);
}

static void queues_made_in_a_lost_transaction_are_forgotten(void **state)
{
    struct setup *setup = *state;
    begin_with_queue(setup, "brief");
    assert_non_null(stored_queue_find(setup->database, "brief"));
    database_rollback(setup->database);
    assert_null(stored_queue_find(setup->database, "brief"));
}

/* Ends every statement outside of a transaction. */
static int give_up(void *context)
{
    return sqlite3_get_autocommit(context);
}

static void queues_that_could_not_be_read_again_are_read_before_the_next_transaction(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    begin_with_queue(setup, "brief");
    sqlite3_progress_handler(setup->database->handle, 1, give_up, setup->database->handle);
    database_rollback(setup->database);
    assert_non_null(stored_queue_find(setup->database, "brief")); /* it could not be read */
    assert_refused(database_begin(setup->database, &err), &err, FAIL_IO);
    sqlite3_progress_handler(setup->database->handle, 0, NULL, NULL);
    assert_ok(database_begin(setup->database, &err), &err);
    assert_null(stored_queue_find(setup->database, "brief"));
    database_rollback(setup->database);
}

static void one_database_is_held_by_one_process_only(void **state)
{
    struct setup *setup = *state;
    sqlite3 *other = NULL;
    send_text(setup, "one");
    assert_int_equal(sqlite3_open(setup->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "SELECT * FROM queues", NULL, NULL, NULL), SQLITE_BUSY);
    sqlite3_close(other);
}

static void a_file_that_is_no_hub_database_is_refused_and_left_alone(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct database *database = NULL;
    sqlite3 *other = NULL;
    char path[64];
    snprintf(path, sizeof path, "%s/other", setup->folder);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "PRAGMA user_version = 77", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_refused(database_open(path, &database, &err), &err, FAIL_USAGE);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("this is a text and no database at all, long enough to have a header", file);
    fclose(file);
    assert_refused(database_open(path, &database, &err), &err, FAIL_IO);
    assert_null(database);
    unlink(path);
}

static void one_receive_hands_out_no_message_twice(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    send_text(setup, "tired");
    for (int i = 0; i < 3; i++)
        assert_int_equal(receive(setup, 1, 0, &seen), 1);
    send_text(setup, "fresh");
    assert_int_equal(receive(setup, 10, 0, &seen), 1);
    assert_string_equal(seen.bodies[0], "fresh");
    assert_int_equal(seen.receive_counts[0], 1);
    assert_int_equal(receive_from(setup, setup->dead, 10, 60, &seen), 1);
    assert_string_equal(seen.bodies[0], "tired");
}

static void messages_go_when_their_retention_is_over(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    for (int i = 0; i < 120; i++)
        send_text(setup, "old");
    assert_int_equal(receive(setup, 10, 3600, &seen), 10); /* leased ones go as well */
    assert_int_equal(sweep(setup, 4 * DAY_MS - 60000).messages, 0);
    struct retention_counts first = sweep(setup, 4 * DAY_MS + 1);
    assert_int_equal(first.messages, 100); /* a batch is small */
    assert_true(first.more);
    struct retention_counts rest = sweep(setup, 4 * DAY_MS + 1);
    assert_int_equal(rest.messages, 20);
    assert_false(rest.more);
    assert_int_equal(count_of(setup, "messages") + count_of(setup, "bodies"), 0);
}

static void what_is_counted_is_counted_from_indices_alone(void **state)
{
    static const enum statement counted[] = {SQL_QUEUE_HIDDEN, SQL_QUEUE_OLDEST, SQL_RECORD_COUNT,
                                             SQL_SEAL_COUNT,   SQL_SEAL_WAITING, SQL_MESSAGE_KEYED};
    struct setup *setup = *state;
    for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
        sqlite3_stmt *statement = NULL;
        char sql[1024];
        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", statement_sql[counted[i]]);
        assert_int_equal(sqlite3_prepare_v2(setup->database->handle, sql, -1, &statement, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        assert_non_null(strstr(column_text(statement, 3), "COVERING INDEX"));
        sqlite3_finalize(statement);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(a_leased_message_is_hidden_until_it_is_given_back),
        HUB_TEST(messages_come_in_the_order_in_which_they_were_sent),
        HUB_TEST(a_delayed_message_is_not_shown_before_its_time),
        HUB_TEST(only_the_newest_receipt_holds),
        HUB_TEST(an_ended_lease_cannot_be_extended_but_still_deletes),
        HUB_TEST(receipts_that_are_none_are_told),
        HUB_TEST(a_message_received_too_often_goes_to_the_dead_letters),
        HUB_TEST(one_receive_hands_out_no_message_twice),
        HUB_TEST(what_is_carried_to_another_engine_becomes_no_dead_letter),
        HUB_TEST(what_was_committed_is_there_after_a_restart_and_nothing_else),
        HUB_TEST(a_transaction_tells_whether_anything_was_written),
        HUB_TEST(queues_made_in_a_lost_transaction_are_forgotten),
        HUB_TEST(queues_that_could_not_be_read_again_are_read_before_the_next_transaction),
        HUB_TEST(one_database_is_held_by_one_process_only),
        HUB_TEST(a_file_that_is_no_hub_database_is_refused_and_left_alone),
        HUB_TEST(messages_go_when_their_retention_is_over),
        HUB_TEST(what_is_counted_is_counted_from_indices_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
