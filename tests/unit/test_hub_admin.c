/* SPDX-License-Identifier: Apache-2.0 */
/* Purges, removals and moves of dead letters: at once for who asks, a little at a time on disk. */
#include "hub_database.h"
#include <sqlite3.h>
#include "reseal/clock.h"
#include "src/hub/store_moves.h"
#include "src/hub/store_queue.h"
#include "src/hub/store_queue_admin.h"

static int begin(void **state)
{
    struct setup *setup = setup_begin();
    *state = setup;
    return 0;
}

static int64_t make(struct setup *setup, const char *name, int64_t dead_letter)
{
    struct error err = ERROR_INIT;
    struct queue_row queue;
    stored_queue_defaults(&queue, name);
    queue.dead_letter = dead_letter;
    queue.max_receives = dead_letter != 0 ? 1 : 0;
    assert_ok(stored_queue_create(setup->database, &queue, &err), &err);
    return stored_queue_find(setup->database, name)->id;
}

static void send(struct setup *setup, int64_t queue, size_t count)
{
    struct error err = ERROR_INIT;
    char id[UUID_TEXT];
    const struct outgoing message = {.body = {(const uint8_t *)"x", 1},
                                     .attributes = {(const uint8_t *)"packed", 6}};
    assert_ok(database_begin(setup->database, &err), &err);
    for (size_t i = 0; i < count; i++)
        assert_ok(stored_queue_send(setup->database, queue, &message, id, &err), &err);
    assert_ok(database_commit(setup->database, &err), &err);
}

static int64_t ask(struct setup *setup, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(setup->database->handle, sql, -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t answer = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return answer;
}

/* Does it in a transaction of its own, as the store thread would. */
#define in_transaction(setup, call, err)                                                           \
    do {                                                                                           \
        assert_ok(database_begin((setup)->database, err), err);                                    \
        assert_ok(call, err);                                                                      \
        assert_ok(database_commit((setup)->database, err), err);                                   \
    } while (0)

static int64_t waiting(struct setup *setup, int64_t queue)
{
    struct error err = ERROR_INIT;
    struct queue_counts counts;
    assert_ok(stored_queue_count(setup->database, queue, &counts, &err), &err);
    return counts.visible + counts.in_flight + counts.delayed;
}

/* Steps of the background until nothing is left; how many it took. */
static int work(struct setup *setup)
{
    struct error err = ERROR_INIT;
    int64_t pause_ms;
    int steps = 0;
    while (setup->database->queue_work) {
        in_transaction(setup, queue_work_step(setup->database, clock_real_ms(), &pause_ms, &err),
                       &err);
        assert_true(pause_ms > 0 && pause_ms < 1000);
        assert_true(++steps < 1000);
    }
    return steps;
}

static void a_long_purge_goes_on_over_a_restart_and_spares_what_came_after(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t queue = make(setup, "work", 0), other = make(setup, "other", 0);
    send(setup, queue, 3000);
    send(setup, other, 7);
    in_transaction(setup, stored_queue_purge(setup->database, queue, &err), &err);
    assert_int_equal(ask(setup, "SELECT count(*) FROM messages"), 2007); /* for the background */
    assert_int_equal(waiting(setup, queue), 0);
    send(setup, queue, 5);
    reopen(setup);
    assert_true(setup->database->queue_work);
    assert_true(stored_queue_find(setup->database, "work")->purging);
    assert_true(work(setup) >= 4);
    assert_false(stored_queue_find(setup->database, "work")->purging);
    assert_int_equal(waiting(setup, queue), 5);
    assert_int_equal(waiting(setup, other), 7);
    assert_int_equal(ask(setup, "SELECT count(*) FROM bodies"), 12);
}

static bool pass_by(void *context, const struct leased *message)
{
    (void)context;
    (void)message;
    return true;
}

static size_t receive(struct setup *setup, int64_t queue, unsigned max, int64_t lease_s)
{
    struct error err = ERROR_INIT;
    size_t count;
    assert_ok(
        stored_queue_receive(setup->database, queue, max, lease_s, pass_by, NULL, &count, &err),
        &err);
    return count;
}

static bool count_peeked(void *context, const struct peeked *message)
{
    size_t *count = context;
    (void)message;
    ++*count;
    return true;
}

static void what_is_being_purged_is_seen_by_nobody(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t queue = make(setup, "work", 0), visible_ms, sent_ms;
    size_t peeked = 0;
    send(setup, queue, 1500);
    in_transaction(setup, stored_queue_purge(setup->database, queue, &err), &err);
    assert_int_equal(receive(setup, queue, 10, 60), 0);
    assert_ok(stored_queue_next_visible(setup->database, queue, &visible_ms, &err), &err);
    assert_true(visible_ms == INT64_MAX); /* who waits there would be woken over and over */
    assert_ok(stored_queue_oldest(setup->database, queue, &sent_ms, &err), &err);
    assert_int_equal(sent_ms, 0);
    assert_ok(stored_queue_peek(setup->database, queue, 10, count_peeked, &peeked, &err), &err);
    assert_int_equal(peeked, 0);
    send(setup, queue, 5);
    assert_ok(stored_queue_next_visible(setup->database, queue, &visible_ms, &err), &err);
    assert_true(visible_ms != INT64_MAX);
    assert_ok(stored_queue_peek(setup->database, queue, 10, count_peeked, &peeked, &err), &err);
    assert_int_equal(peeked, 5);
    assert_int_equal(receive(setup, queue, 10, 60), 5);
    assert_int_equal(waiting(setup, queue), 5);
    work(setup);
    assert_int_equal(waiting(setup, queue), 5);
}

static bool keep_receipt(void *context, const struct leased *message)
{
    memcpy(context, message->receipt_handle, RECEIPT_HANDLE_TEXT);
    return true;
}

static void a_lease_does_not_outlive_a_purge(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t queue = make(setup, "work", 0);
    char receipt[RECEIPT_HANDLE_TEXT];
    enum receipt_state found;
    size_t count;
    send(setup, queue, 1);
    assert_ok(
        stored_queue_receive(setup->database, queue, 1, 60, keep_receipt, receipt, &count, &err),
        &err);
    assert_int_equal(sqlite3_exec(setup->database->handle,
                                  "UPDATE messages SET sent_ms = sent_ms + 60000", NULL, NULL,
                                  NULL),
                     SQLITE_OK); /* the last that the purge deletes */
    send(setup, queue, 1500);
    in_transaction(setup, stored_queue_purge(setup->database, queue, &err), &err);
    assert_ok(stored_queue_extend(setup->database, queue, receipt, 60, &found, &err), &err);
    assert_int_equal(found, RECEIPT_GONE);
    work(setup);
    assert_int_equal(ask(setup, "SELECT count(*) FROM messages"), 0);
}

static void what_is_being_purged_becomes_no_dead_letter_and_is_not_moved(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t pause_ms, dead = make(setup, "dead", 0), queue = make(setup, "work", dead);
    struct move move = {.source = dead, .destination = queue};
    send(setup, queue, 1500);
    assert_int_equal(receive(setup, queue, 10, 0), 10); /* as often as the queue allows */
    send(setup, dead, 1500);
    in_transaction(setup, stored_queue_purge(setup->database, queue, &err), &err);
    in_transaction(setup, stored_queue_purge(setup->database, dead, &err), &err);
    assert_int_equal(receive(setup, queue, 10, 0), 0);
    assert_ok(move_start(setup->database, &move, &err), &err);
    for (int i = 0; i < 2; i++) /* while some is still there */
        in_transaction(setup, moves_step(setup->database, clock_real_ms(), &pause_ms, &err), &err);
    assert_int_equal(ask(setup, "SELECT moved FROM moves"), 0);
    work(setup);
    assert_int_equal(ask(setup, "SELECT count(*) FROM messages"), 0);
}

static void a_purge_by_a_clock_that_was_set_back_takes_all_and_spares_what_follows(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t queue = make(setup, "work", 0);
    send(setup, queue, 3);
    assert_int_equal(sqlite3_exec(setup->database->handle,
                                  "UPDATE messages SET sent_ms = sent_ms + 3600000", NULL, NULL,
                                  NULL),
                     SQLITE_OK);
    in_transaction(setup, stored_queue_purge(setup->database, queue, &err), &err);
    assert_int_equal(waiting(setup, queue), 0);
    send(setup, queue, 2);
    setup->database->queue_work = true;
    work(setup);
    assert_int_equal(waiting(setup, queue), 2);
}

static void a_removed_queue_leaves_nothing_and_its_id_is_not_used_again(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t dead = make(setup, "dead", 0), queue = make(setup, "work", dead);
    send(setup, queue, 1200);
    send(setup, dead, 3);
    in_transaction(setup, stored_queue_remove(setup->database, queue, &err), &err);
    assert_null(stored_queue_find(setup->database, "work"));
    assert_null(stored_queue_by_id(setup->database, queue));
    int64_t again = make(setup, "work", 0);
    assert_true(again > queue);
    assert_int_equal(waiting(setup, again), 0);
    in_transaction(setup, stored_queue_remove(setup->database, dead, &err), &err);
    reopen(setup);
    assert_true(work(setup) >= 3);
    assert_int_equal(ask(setup, "SELECT count(*) FROM messages"), 0);
    assert_int_equal(ask(setup, "SELECT count(*) FROM bodies"), 0);
    assert_int_equal(ask(setup, "SELECT count(*) FROM queues"), 1);
    in_transaction(setup, stored_queue_remove(setup->database, again, &err), &err);
    work(setup);
    assert_true(make(setup, "work", 0) > again);
}

static void a_removed_dead_letter_queue_frees_its_source(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    size_t count;
    int64_t dead = make(setup, "dead", 0), queue = make(setup, "work", dead);
    send(setup, queue, 1);
    in_transaction(setup, stored_queue_remove(setup->database, dead, &err), &err);
    assert_int_equal(stored_queue_by_id(setup->database, queue)->dead_letter, 0);
    for (int i = 0; i < 5; i++) {
        assert_ok(stored_queue_receive(setup->database, queue, 1, 0, pass_by, NULL, &count, &err),
                  &err);
        assert_int_equal(count, 1);
    }
}

static void a_dead_letter_that_comes_during_a_purge_is_spared(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    size_t count;
    int64_t dead = make(setup, "dead", 0), queue = make(setup, "work", dead);
    send(setup, queue, 1); /* older than all that is purged */
    send(setup, dead, 2500);
    in_transaction(setup, stored_queue_purge(setup->database, dead, &err), &err);
    for (int i = 0; i < 2; i++)
        assert_ok(stored_queue_receive(setup->database, queue, 1, 0, pass_by, NULL, &count, &err),
                  &err);
    work(setup);
    assert_int_equal(waiting(setup, dead), 1);
}

static void a_lost_transaction_takes_purge_and_sender_with_it(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t queue = make(setup, "work", 0), number, again;
    send(setup, queue, 10);
    assert_ok(database_begin(setup->database, &err), &err);
    assert_ok(stored_queue_purge(setup->database, queue, &err), &err);
    assert_ok(sender_number(setup->database, "AKONE", &number, &err), &err);
    assert_string_equal(sender_name(setup->database, number), "AKONE");
    database_rollback(setup->database);
    assert_int_equal(waiting(setup, queue), 10);
    assert_int_equal(stored_queue_by_id(setup->database, queue)->purged_ms, 0);
    assert_null(sender_name(setup->database, number));
    assert_ok(sender_number(setup->database, "AKTWO", &number, &err), &err);
    assert_ok(sender_number(setup->database, "AKONE", &again, &err), &err);
    assert_true(number > 0 && again > 0 && number != again);
    reopen(setup);
    assert_string_equal(sender_name(setup->database, number), "AKTWO");
}

static void a_move_goes_on_over_a_restart(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t pause_ms, source;
    int64_t dead = make(setup, "dead", 0), queue = make(setup, "work", dead);
    struct move move = {.source = dead, .destination = queue};
    send(setup, dead, 250);
    assert_ok(move_start(setup->database, &move, &err), &err);
    in_transaction(setup, queue_work_step(setup->database, clock_real_ms(), &pause_ms, &err), &err);
    assert_in_range(waiting(setup, queue), 1, 249);
    reopen(setup);
    assert_ok(move_find(setup->database, move.handle, &source, &err), &err);
    assert_int_equal(source, dead);
    work(setup);
    assert_int_equal(waiting(setup, queue), 250);
    assert_int_equal(waiting(setup, dead), 0);
    assert_int_equal(ask(setup, "SELECT count(*) FROM messages WHERE receive_count > 0"), 0);
}

/* One step of a move, by a wall clock that is so far off; how many it has moved in all. */
static int64_t move_some(struct setup *setup, int64_t off_ms)
{
    struct error err = ERROR_INIT;
    int64_t pause_ms;
    in_transaction(setup, moves_step(setup->database, clock_real_ms() + off_ms, &pause_ms, &err),
                   &err);
    return ask(setup, "SELECT moved FROM moves");
}

static void a_move_keeps_its_rate_whatever_the_clock_says(void **state)
{
    static const int64_t off_ms[] = {0, 3600000, -3600000};
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t dead = make(setup, "dead", 0), queue = make(setup, "work", dead);
    struct move move = {.source = dead, .destination = queue, .rate = 20};
    send(setup, dead, 200);
    assert_int_equal(sqlite3_exec(setup->database->handle, "UPDATE messages SET visible_ms = 0",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_ok(move_start(setup->database, &move, &err), &err);
    int64_t moved = move_some(setup, 0);
    assert_int_equal(moved, 2);
    for (size_t i = 0; i < ARRAY_LEN(off_ms); i++) {
        setup->database->paced_ms = clock_monotonic_ms() - 500; /* the last step was then */
        int64_t now = move_some(setup, off_ms[i]);
        assert_in_range(now - moved, 10, 15);
        moved = now;
    }
    setup->database->paced_ms = 1; /* and after a long stall, a second's worth */
    assert_in_range(move_some(setup, 0) - moved, 20, 21);
    assert_int_equal(ask(setup, "SELECT state FROM moves"), MOVE_RUNNING);
}

static void a_move_ends_where_its_queue_is_removed(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t moved;
    int64_t dead = make(setup, "dead", 0), queue = make(setup, "work", dead);
    struct move move = {.source = dead, .destination = queue};
    send(setup, dead, 10);
    assert_ok(move_start(setup->database, &move, &err), &err);
    assert_refused(move_start(setup->database, &move, &err), &err, FAIL_EXISTS);
    in_transaction(setup, stored_queue_remove(setup->database, queue, &err), &err);
    work(setup);
    assert_int_equal(waiting(setup, dead), 10);
    assert_int_equal(ask(setup, "SELECT state FROM moves"), MOVE_FAILED);
    assert_int_equal(ask(setup, "SELECT count(*) FROM moves WHERE failure <> ''"), 1);
    struct error refused = ERROR_INIT;
    assert_false(move_cancel(setup->database, "no handle", &moved, &refused));
    assert_int_equal(refused.kind, FAIL_NOT_FOUND);
}

static void a_removed_queue_takes_its_moves_along(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    int64_t dead = make(setup, "dead", 0), other = make(setup, "other", 0);
    int64_t queue = make(setup, "work", dead), pause_ms;
    struct move move = {.source = dead, .destination = queue};
    struct move kept = {.source = other, .destination = queue};
    send(setup, dead, 600);
    assert_ok(move_start(setup->database, &kept, &err), &err);
    for (int i = 0; i < 2; i++) { /* one that has ended, one under way */
        assert_ok(move_start(setup->database, &move, &err), &err);
        if (i == 0)
            work(setup);
    }
    send(setup, dead, 600);
    in_transaction(setup, stored_queue_remove(setup->database, dead, &err), &err);
    in_transaction(setup, queue_work_step(setup->database, clock_real_ms(), &pause_ms, &err), &err);
    assert_int_equal(ask(setup, "SELECT count(*) FROM moves"), 3); /* it is not empty yet */
    work(setup);
    assert_int_equal(ask(setup, "SELECT count(*) FROM moves"), 1);
    assert_int_equal(ask(setup, "SELECT source FROM moves"), other);
}

static void who_may_send_dead_letters_is_told_by_name(void **state)
{
    (void)state;
    assert_true(redrive_allowed("", "any"));
    assert_false(redrive_allowed(REDRIVE_DENY_ALL, "any"));
    assert_false(redrive_allowed(REDRIVE_DENY_ALL, "denyAll"));
    assert_true(redrive_allowed("one two ", "one"));
    assert_true(redrive_allowed("one two ", "two"));
    assert_false(redrive_allowed("one two ", "on"));
    assert_false(redrive_allowed("one two ", "three"));
}

#define ADMIN_TEST(name) cmocka_unit_test_setup_teardown(name, begin, setup_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ADMIN_TEST(a_long_purge_goes_on_over_a_restart_and_spares_what_came_after),
        ADMIN_TEST(what_is_being_purged_is_seen_by_nobody),
        ADMIN_TEST(a_lease_does_not_outlive_a_purge),
        ADMIN_TEST(what_is_being_purged_becomes_no_dead_letter_and_is_not_moved),
        ADMIN_TEST(a_purge_by_a_clock_that_was_set_back_takes_all_and_spares_what_follows),
        ADMIN_TEST(a_removed_queue_leaves_nothing_and_its_id_is_not_used_again),
        ADMIN_TEST(a_removed_dead_letter_queue_frees_its_source),
        ADMIN_TEST(a_dead_letter_that_comes_during_a_purge_is_spared),
        ADMIN_TEST(a_lost_transaction_takes_purge_and_sender_with_it),
        ADMIN_TEST(a_move_goes_on_over_a_restart),
        ADMIN_TEST(a_move_keeps_its_rate_whatever_the_clock_says),
        ADMIN_TEST(a_move_ends_where_its_queue_is_removed),
        ADMIN_TEST(a_removed_queue_takes_its_moves_along),
        cmocka_unit_test(who_may_send_dead_letters_is_told_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
