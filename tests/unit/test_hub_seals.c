/* SPDX-License-Identifier: Apache-2.0 */
/* What waits under a sealing key: a key is only retired where nothing does. */
#include "hub_store_scene.h"
#include "src/hub/store_moves.h"
#include "src/hub/store_seals.h"

#define REQUEST(key) "{\"data\":{\"keyName\":\"" key "\"}}"

/* The queue "work" is that of requests. */
static int begin_hub(void **state)
{
    (void)begin(state);
    struct setup *setup = *state;
    setup->database->requests_queue = setup->queue;
    return 0;
}

static int64_t waiting(struct setup *setup, const char *key)
{
    struct error err = ERROR_INIT;
    int64_t records, requests;
    assert_ok(seal_counts(setup->database, key, &records, &requests, &err), &err);
    return requests;
}

static void requests_are_counted_under_their_key(void **state)
{
    static const char *const others[] = {"no JSON", "{}", "{\"data\":{\"keyName\":7}}", "[",
                                         REQUEST("another")};
    struct setup *setup = *state;
    struct seen seen;
    assert_int_equal(waiting(setup, "old"), 0);
    send_text(setup, REQUEST("old"));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        send_text(setup, others[i]);
    send_text(setup, REQUEST("old"));
    assert_int_equal(waiting(setup, "old"), 2);
    assert_int_equal(waiting(setup, "another"), 1);
    assert_int_equal(receive(setup, 1, 60, &seen), 1); /* what is worked on still waits */
    assert_int_equal(waiting(setup, "old"), 2);
    assert_int_equal(remove_by(setup, seen.receipts[0]), RECEIPT_GOOD);
    assert_int_equal(waiting(setup, "old"), 1);
}

static void a_request_that_was_given_up_waits_again_when_it_is_moved_back(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct move move = {.source = setup->dead, .destination = setup->queue};
    struct seen seen;
    int64_t pause_ms;
    send_text(setup, REQUEST("old"));
    for (int i = 0; i < 4; i++)
        (void)receive(setup, 1, 0, &seen);
    assert_int_equal(waiting(setup, "old"), 0);
    assert_ok(move_start(setup->database, &move, &err), &err);
    assert_ok(moves_step(setup->database, clock_real_ms(), &pause_ms, &err), &err);
    assert_int_equal(waiting(setup, "old"), 1);
}

static void send_to(struct setup *setup, int64_t queue, const char *text)
{
    struct error err = ERROR_INIT;
    char id[UUID_TEXT];
    const struct outgoing message = {.body = {(const uint8_t *)text, strlen(text)}};
    assert_ok(stored_queue_send(setup->database, queue, &message, id, &err), &err);
}

static void a_message_of_another_queue_is_looked_at_when_it_comes_to_the_requests(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct move move = {.source = setup->dead, .destination = setup->queue};
    int64_t pause_ms;
    send_to(setup, setup->dead, REQUEST("old"));
    assert_ok(move_start(setup->database, &move, &err), &err);
    assert_ok(moves_step(setup->database, clock_real_ms(), &pause_ms, &err), &err);
    assert_int_equal(waiting(setup, "old"), 1);
}

static void a_dead_letter_that_becomes_a_request_is_counted(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    setup->database->requests_queue = setup->dead;
    send_text(setup, REQUEST("old"));
    for (int i = 0; i < 4; i++)
        (void)receive(setup, 1, 0, &seen);
    assert_int_equal(waiting(setup, "old"), 1);
}

static void requests_that_are_older_than_this_are_looked_at_before_the_hub_works(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    setup->database->requests_queue = 0; /* as it was to a hub that noted no keys */
    send_text(setup, REQUEST("old"));
    send_text(setup, "no JSON");
    setup->database->requests_queue = setup->queue;
    send_text(setup, REQUEST("old"));
    assert_ok(seal_note_waiting(setup->database, &err), &err);
    assert_int_equal(waiting(setup, "old"), 2);
    assert_int_equal(count_of(setup, "messages WHERE key_name IS NULL"), 0);
    assert_ok(seal_note_waiting(setup->database, &err), &err);
    assert_int_equal(waiting(setup, "old"), 2);
}

#define SEALS_TEST(name) cmocka_unit_test_setup_teardown(name, begin_hub, setup_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEALS_TEST(requests_are_counted_under_their_key),
        SEALS_TEST(a_request_that_was_given_up_waits_again_when_it_is_moved_back),
        SEALS_TEST(a_message_of_another_queue_is_looked_at_when_it_comes_to_the_requests),
        SEALS_TEST(a_dead_letter_that_becomes_a_request_is_counted),
        SEALS_TEST(requests_that_are_older_than_this_are_looked_at_before_the_hub_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
