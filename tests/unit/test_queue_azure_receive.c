/* SPDX-License-Identifier: Apache-2.0 */
/* Receives from Azure Storage Queue: without long poll, and what was received too often. */
#include "tests/unit/azure_scene.h"

static void an_empty_queue_is_polled_more_and_more_rarely(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct received received = {0};
    struct error err = ERROR_INIT;
    int64_t begun = clock_monotonic_ms();
    assert_ok(queue_receive(scene->queue, 10, 30, 3, on_received, &received, &err), &err);
    turn_until(scene, &received.over, 20000);
    assert_int_equal(received.err.kind, FAIL_NONE);
    assert_int_equal(received.count, 0);
    assert_true(clock_monotonic_ms() - begun >= 2900);
    /* At least 0.1, 0.2, 0.4, 0.5, 0.5, ... seconds apart. */
    assert_in_range(peer_count(&scene->peer, "GET messages"), 2, 10);
}

static void a_message_ends_the_wait(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct received received = {0};
    struct error err = ERROR_INIT;
    assert_ok(queue_receive(scene->queue, 10, 30, 20, on_received, &received, &err), &err);
    while (peer_count(&scene->peer, "GET messages") < 2)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    assert_false(received.over);
    offer_one(scene, "aGVsbG8=", 1);
    turn_until(scene, &received.over, 10000);
    assert_int_equal(received.count, 1);
}

static void a_wait_can_be_cancelled_between_two_polls(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct received received = {0};
    struct error err = ERROR_INIT;
    assert_ok(queue_receive(scene->queue, 10, 30, 20, on_received, &received, &err), &err);
    while (peer_count(&scene->peer, "GET messages") < 1)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    queue_receive_cancel(scene->queue);
    assert_true(received.over);
    assert_int_equal(queue_in_flight(scene->client), 0);
}

static void what_was_received_too_often_goes_to_the_poison_queue(void **state)
{
    struct scene *scene = connect_azure(*state, 5);
    struct received received;
    struct error err = ERROR_INIT;
    offer_one(scene, "aGVsbG8=", 5);
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.count, 1);
    offer_one(scene, "aGVsbG8=", 6);
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.count, 0);
    while (queue_in_flight(scene->client) > 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    const struct seen_call *sent = seen(scene, "POST messages", 0);
    assert_string_equal(sent->url, "/account/orders-poison/messages");
    assert_non_null(strstr(sent->body, "aGVsbG8="));
    const struct seen_call *deleted = seen(scene, "DELETE message", 0);
    assert_string_equal(deleted->url, "/account/orders/messages/m-1");
    assert_true(sent < deleted); /* sent first */
}

static void who_only_looks_moves_nothing(void **state)
{
    struct scene *scene = connect_azure(*state, 5);
    struct received received;
    queue_look_only(scene->client);
    offer_one(scene, "aGVsbG8=", 6);
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.count, 1);
    assert_int_equal(peer_count(&scene->peer, "POST messages"), 0);
}

static void behind_poison_it_is_looked_for_others_at_once(void **state)
{
    struct scene *scene = connect_azure(*state, 5);
    struct received received = {0};
    struct error err = ERROR_INIT;
    assert_ok(queue_receive(scene->queue, 10, 30, 20, on_received, &received, &err), &err);
    int64_t begun = clock_monotonic_ms();
    for (unsigned i = 1; i <= 20; i++) { /* the answers between them are not empty */
        offer_one(scene, "aGVsbG8=", i < 20 ? 6 : 1);
        while (!received.over && peer_count(&scene->peer, "GET messages") < i)
            assert_ok(queue_turn(scene->client, NULL, 0, 5, &err), &err);
    }
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.count, 1);
    assert_true(clock_monotonic_ms() - begun < 3000);
}

static void a_poison_queue_that_does_not_take_them_fills_no_memory(void **state)
{
    struct scene *scene = connect_azure(*state, 5);
    struct received received;
    for (int i = 0; i < 60; i++)
        peer_fault(&scene->peer, (struct fault){.call = "POST messages", .status = 503});
    for (int i = 0; i < 60; i++) {
        offer_one(scene, "aGVsbG8=", 6);
        receive(scene, &received);
        turn_until(scene, &received.over, 5000);
        assert_int_equal(received.count, 0);
        assert_in_range(queue_in_flight(scene->client), 0, 32);
    }
    assert_int_equal(queue_in_flight(scene->client), 32);
    assert_int_equal(peer_count(&scene->peer, "DELETE message"), 0);
}

static void a_poison_queue_that_is_not_there_costs_no_message(void **state)
{
    struct scene *scene = connect_azure(*state, 1);
    struct received received;
    struct error err = ERROR_INIT;
    for (int i = 0; i < 20; i++)
        peer_fault(&scene->peer, (struct fault){.call = "POST messages",
                                                .status = 400,
                                                .body = "<Error><Code>InvalidUri</Code></Error>"});
    offer_one(scene, "aGVsbG8=", 2);
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    while (queue_in_flight(scene->client) > 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    assert_int_equal(peer_count(&scene->peer, "DELETE message"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        account_test(an_empty_queue_is_polled_more_and_more_rarely),
        account_test(a_message_ends_the_wait),
        account_test(a_wait_can_be_cancelled_between_two_polls),
        account_test(what_was_received_too_often_goes_to_the_poison_queue),
        account_test(who_only_looks_moves_nothing),
        account_test(behind_poison_it_is_looked_for_others_at_once),
        account_test(a_poison_queue_that_does_not_take_them_fills_no_memory),
        account_test(a_poison_queue_that_is_not_there_costs_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
