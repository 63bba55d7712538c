/* SPDX-License-Identifier: Apache-2.0 */
/* The queue client against a real HTTP server that misbehaves on request. */
#include "tests/unit/queue_scene.h"

/* -- batches -- */

static void what_is_asked_in_one_turn_travels_in_batches_of_ten(void **state)
{
    struct scene *scene = *state;
    struct ending endings[23] = {0};
    for (size_t i = 0; i < 23; i++)
        send_text(scene, "body", &endings[i]);
    assert_int_equal(queue_in_flight(scene->client), 23);
    for (size_t i = 0; i < 23; i++)
        turn_until(scene, &endings[i].over, 5000);
    for (size_t i = 0; i < 23; i++) {
        assert_int_equal(endings[i].err.kind, FAIL_NONE);
        assert_int_equal(endings[i].times, 1);
    }
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 3);
    assert_int_equal(peer_count(&scene->peer, "GetQueueUrl"), 1);
    assert_int_equal(queue_in_flight(scene->client), 0);
}

static void a_batch_of_sends_stays_under_256_kib(void **state)
{
    struct scene *scene = *state;
    struct ending endings[3] = {0};
    char *large = malloc(100001);
    memset(large, 'x', 100000);
    large[100000] = '\0';
    for (size_t i = 0; i < 3; i++)
        send_text(scene, large, &endings[i]);
    for (size_t i = 0; i < 3; i++)
        turn_until(scene, &endings[i].over, 5000);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 2);
    free(large);
}

static void what_is_sent_arrives_as_it_was(void **state)
{
    struct scene *scene = *state;
    const struct json_limits limits = {.bytes = 1 << 20, .string = 1 << 20, .values = 100};
    const char text[] = "{\"a\":\"<&>]]\\\"'\\n \xf0\x9f\x98\x80\"}";
    struct ending ending = {0};
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    send_text(scene, text, &ending);
    turn_until(scene, &ending.over, 5000);
    const char *body = peer_body(&scene->peer, "SendMessageBatch", 0);
    assert_ok(json_parse(body, strlen(body), &limits, "request", &json, &err), &err);
    const struct json_value *entry = json_at(json_get(json_root(json), "Entries"), 0);
    assert_string_equal(json_text(json_get(entry, "MessageBody"), NULL), text);
    assert_string_equal(json_text(json_get(json_root(json), "QueueUrl"), NULL),
                        "http://q.example/1/work");
    json_free(&json);
}

static void deletes_and_extensions_carry_receipt_and_lease(void **state)
{
    struct scene *scene = *state;
    struct ending deleted = {0}, extended = {0};
    struct error err = ERROR_INIT;
    assert_ok(queue_delete(scene->queue, "receipt-1", on_done, &deleted, &err), &err);
    assert_ok(queue_extend(scene->queue, "receipt-2", 77, on_done, &extended, &err), &err);
    turn_until(scene, &deleted.over, 5000);
    turn_until(scene, &extended.over, 5000);
    assert_non_null(strstr(peer_body(&scene->peer, "DeleteMessageBatch", 0), "receipt-1"));
    const char *extension = peer_body(&scene->peer, "ChangeMessageVisibilityBatch", 0);
    assert_non_null(strstr(extension, "receipt-2"));
    assert_non_null(strstr(extension, "\"VisibilityTimeout\":77"));
}

/* Two deletes asked for in different turns. True where they travelled together; the time between
 * the turns may be too long for that on a busy machine. */
static bool travel_together(struct scene *scene, bool more_expected)
{
    struct ending first = {0}, second = {0};
    struct error err = ERROR_INIT;
    size_t before = peer_count(&scene->peer, "DeleteMessageBatch");
    queue_gather(scene->client, more_expected);
    assert_ok(queue_delete(scene->queue, "receipt-1", on_done, &first, &err), &err);
    assert_ok(queue_turn(scene->client, NULL, 0, 0, &err), &err);
    assert_ok(queue_delete(scene->queue, "receipt-2", on_done, &second, &err), &err);
    turn_until(scene, &first.over, 5000);
    turn_until(scene, &second.over, 5000);
    return peer_count(&scene->peer, "DeleteMessageBatch") == before + 1;
}

static void batches_wait_for_company_only_while_more_is_expected(void **state)
{
    struct scene *scene = *state;
    bool together = false;
    (void)travel_together(scene, false); /* the URL is known from here on */
    assert_false(travel_together(scene, false));
    for (int i = 0; i < 50 && !together; i++)
        together = travel_together(scene, true);
    assert_true(together);
}

/* -- another try -- */

static void a_send_is_tried_again_after_any_passing_fault(void **state)
{
    struct scene *scene = *state;
    const struct fault faults[] = {
        {.call = "SendMessageBatch", .status = 500, .body = "oops"},
        {.call = "SendMessageBatch", .kind = FAULT_DROP},
        {.call = "SendMessageBatch", .kind = FAULT_CUT},
        {.call = "SendMessageBatch", .status = 200, .body = "{\"Successful\":[{\"Id\":\"0\""},
        {.call = "SendMessageBatch", .status = 200, .body = "{}"},
        {.call = "SendMessageBatch", .status = 302, .body = ""},
        {.call = "SendMessageBatch",
         .status = 400,
         .body = "{\"__type\":\"com.amazonaws.sqs#RequestThrottled\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct ending ending = {0};
        size_t before = peer_count(&scene->peer, "SendMessageBatch");
        peer_fault(&scene->peer, faults[i]);
        send_text(scene, "body", &ending);
        turn_until(scene, &ending.over, 10000);
        assert_int_equal(ending.err.kind, FAIL_NONE);
        assert_int_equal(ending.times, 1);
        assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), before + 2);
    }
}

static void the_url_is_asked_for_again_until_it_is_told(void **state)
{
    struct scene *scene = *state;
    struct ending ending = {0};
    fault(scene, "GetQueueUrl", 503, NULL);
    fault(scene, "GetQueueUrl", 200, "{\"QueueUrl\":5}");
    send_text(scene, "body", &ending);
    turn_until(scene, &ending.over, 10000);
    assert_int_equal(ending.err.kind, FAIL_NONE);
    assert_int_equal(peer_count(&scene->peer, "GetQueueUrl"), 3);
}

static void retry_after_is_obeyed_by_every_call(void **state)
{
    struct scene *scene = *state;
    struct ending sent = {0}, deleted = {0};
    struct error err = ERROR_INIT;
    peer_fault(&scene->peer,
               (struct fault){
                   .call = "SendMessageBatch", .status = 429, .body = "{}", .retry_after = "2"});
    send_text(scene, "body", &sent);
    while (peer_count(&scene->peer, "SendMessageBatch") == 0 || queue_in_flight(scene->client) == 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    int64_t begun = clock_monotonic_ms();
    assert_ok(queue_delete(scene->queue, "receipt", on_done, &deleted, &err), &err);
    turn_until(scene, &deleted.over, 10000);
    assert_true(clock_monotonic_ms() - begun >= 1500);
    turn_until(scene, &sent.over, 10000);
}

static void entries_of_a_batch_have_their_own_ends(void **state)
{
    struct scene *scene = *state;
    struct ending endings[4] = {0};
    fault(scene, "SendMessageBatch", 200,
          "{\"Successful\":[{\"Id\":\"0\"}],\"Failed\":["
          "{\"Id\":\"1\",\"SenderFault\":true,\"Code\":\"InvalidMessageContents\",\"Message\":"
          "\"bad\"},"
          "{\"Id\":\"2\",\"SenderFault\":false,\"Code\":\"InternalError\"}]}");
    for (size_t i = 0; i < 4; i++)
        send_text(scene, i == 1 ? "bad one" : "good one", &endings[i]);
    for (size_t i = 0; i < 4; i++)
        turn_until(scene, &endings[i].over, 10000);
    assert_int_equal(endings[0].err.kind, FAIL_NONE);
    assert_int_equal(endings[1].err.kind, FAIL_INPUT);
    assert_non_null(strstr(endings[1].err.text, "InvalidMessageContents"));
    assert_int_equal(endings[2].err.kind, FAIL_NONE); /* tried again */
    assert_int_equal(endings[3].err.kind, FAIL_NONE); /* not named by the answer: tried again */
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(endings[i].times, 1);
}

static void a_bad_entry_does_not_take_its_batch_with_it(void **state)
{
    struct scene *scene = *state;
    struct ending endings[3] = {0};
    /* The batch as a whole, then the one in the middle by itself. */
    fault(scene, "SendMessageBatch", 400, "{\"__type\":\"com.amazonaws.sqs#InvalidBatch\"}");
    for (size_t i = 0; i < 3; i++)
        send_text(scene, i == 0 ? "bad one" : "good one", &endings[i]);
    fault(scene, "SendMessageBatch", 400, "{\"__type\":\"com.amazonaws.sqs#InvalidBatch\"}");
    for (size_t i = 0; i < 3; i++)
        turn_until(scene, &endings[i].over, 10000);
    assert_int_equal(endings[0].err.kind, FAIL_INPUT);
    assert_int_equal(endings[1].err.kind, FAIL_NONE);
    assert_int_equal(endings[2].err.kind, FAIL_NONE);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 4);
}

static void an_outdated_receipt_is_final(void **state)
{
    struct scene *scene = *state;
    struct ending ending = {0};
    struct error err = ERROR_INIT;
    fault(scene, "ChangeMessageVisibilityBatch", 200,
          "{\"Failed\":[{\"Id\":\"0\",\"SenderFault\":true,\"Code\":\"ReceiptHandleIsInvalid\"}]}");
    assert_ok(queue_extend(scene->queue, "old", 5, on_done, &ending, &err), &err);
    turn_until(scene, &ending.over, 5000);
    assert_int_equal(ending.err.kind, FAIL_INPUT);
    assert_int_equal(peer_count(&scene->peer, "ChangeMessageVisibilityBatch"), 1);
}

/* A connector extends a lease, then gives the message back; the service is busy for a moment. */
static void give_back_after_a_failed_extension(struct scene *scene, bool in_flight)
{
    struct ending extended = {0}, returned = {0};
    struct error err = ERROR_INIT;
    fault(scene, "ChangeMessageVisibilityBatch", 503, NULL);
    assert_ok(queue_extend(scene->queue, "mine", 60, on_done, &extended, &err), &err);
    size_t wanted = peer_count(&scene->peer, "ChangeMessageVisibilityBatch") + 1;
    while (peer_count(&scene->peer, "ChangeMessageVisibilityBatch") < wanted)
        assert_ok(queue_turn(scene->client, NULL, 0, in_flight ? 0 : 20, &err), &err);
    for (int i = 0; i < 5 && !in_flight; i++) /* its failure is read; it is not due again */
        assert_ok(queue_turn(scene->client, NULL, 0, 5, &err), &err);
    assert_ok(queue_extend(scene->queue, "mine", 0, on_done, &returned, &err), &err);
    while (queue_in_flight(scene->client) > 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    assert_int_equal(extended.times, 1);
    assert_int_equal(extended.err.kind, FAIL_REMOTE);
    assert_int_equal(returned.times, 1);
    assert_int_equal(returned.err.kind, FAIL_NONE);
    assert_int_equal(peer_count(&scene->peer, "ChangeMessageVisibilityBatch"), wanted + 1);
}

static void what_was_given_back_is_not_hidden_by_an_older_extension(void **state)
{
    give_back_after_a_failed_extension(*state, false);
    give_back_after_a_failed_extension(*state, true);
}

static void a_queue_that_is_made_anew_is_found_under_its_new_url(void **state)
{
    struct scene *scene = *state;
    struct ending ending = {0};
    fault(scene, "SendMessageBatch", 400,
          "{\"__type\":\"com.amazonaws.sqs#QueueDoesNotExist\",\"message\":\"gone\"}");
    send_text(scene, "body", &ending);
    turn_until(scene, &ending.over, 10000);
    assert_int_equal(ending.err.kind, FAIL_NONE);
    assert_int_equal(peer_count(&scene->peer, "GetQueueUrl"), 2);
}

/* -- receives -- */

static void messages_come_with_receipt_and_count(void **state)
{
    struct scene *scene = *state;
    struct received received;
    peer_offer(&scene->peer,
               "{\"Messages\":[{\"MessageId\":\"m1\",\"ReceiptHandle\":\"r1\",\"Body\":\"hello\","
               "\"MD5OfBody\":\"5d41402abc4b2a76b9719d911017c592\","
               "\"Attributes\":{\"ApproximateReceiveCount\":\"3\"}}]}");
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.err.kind, FAIL_NONE);
    assert_int_equal(received.count, 1);
    assert_string_equal(received.bodies[0], "hello");
    assert_string_equal(received.receipts[0], "r1");
    assert_int_equal(received.receive_count, 3);
}

static void a_message_that_was_changed_on_its_way_is_left_out(void **state)
{
    struct scene *scene = *state;
    struct received received;
    peer_offer(&scene->peer,
               "{\"Messages\":[{\"MessageId\":\"m1\",\"ReceiptHandle\":\"r1\",\"Body\":\"hellp\","
               "\"MD5OfBody\":\"5d41402abc4b2a76b9719d911017c592\"},"
               "{\"MessageId\":\"\",\"ReceiptHandle\":\"r4\",\"Body\":\"of no id\"},"
               "{\"MessageId\":\"m5\",\"ReceiptHandle\":\"\",\"Body\":\"of no receipt\"},"
               "{\"MessageId\":\"m2\",\"ReceiptHandle\":\"r2\",\"Body\":\"whole\"},"
               "{\"MessageId\":\"m3\",\"Body\":\"without receipt\"}]}");
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.count, 1);
    assert_string_equal(received.bodies[0], "whole");
}

static void a_failed_receive_is_the_callers_to_repeat(void **state)
{
    static const struct {
        unsigned status;
        const char *body;
        enum failure kind;
    } cases[] = {
        {500, "oops", FAIL_REMOTE},
        {429, "", FAIL_REMOTE},
        {200, "{\"Messages\":[{", FAIL_REMOTE},
        {200, "[]", FAIL_REMOTE},
        {200, "\xff\xfe", FAIL_REMOTE},
        {403, "", FAIL_AUTH},
        {400, "{\"__type\":\"com.amazon.coral.service#UnrecognizedClientException\"}", FAIL_AUTH},
        {400, "{\"__type\":\"AWS.SimpleQueueService.NonExistentQueue\"}", FAIL_NOT_FOUND},
        {400, "{\"__type\":\"com.amazonaws.sqs#OverLimit\"}", FAIL_REMOTE},
    };
    struct scene *scene = *state;
    struct received received;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t before = peer_count(&scene->peer, "ReceiveMessage");
        fault(scene, "ReceiveMessage", cases[i].status, cases[i].body);
        receive(scene, &received);
        turn_until(scene, &received.over, 5000);
        assert_int_equal(received.err.kind, cases[i].kind);
        assert_int_equal(received.count, 0);
        assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), before + 1);
    }
}

static void an_answer_over_the_bound_is_refused(void **state)
{
    struct scene *scene = *state;
    struct received received;
    peer_fault(
        &scene->peer,
        (struct fault){.call = "ReceiveMessage", .status = 200, .body = "{}", .filler = 40u << 20});
    receive(scene, &received);
    turn_until(scene, &received.over, 20000);
    assert_int_equal(received.err.kind, FAIL_TOO_LARGE);
    receive(scene, &received); /* and the client goes on */
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.err.kind, FAIL_NONE);
}

static void a_long_poll_ends_at_once_when_cancelled(void **state)
{
    struct scene *scene = *state;
    struct received received = {0};
    struct error err = ERROR_INIT;
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage", .kind = FAULT_HANG});
    assert_ok(queue_receive(scene->queue, 1, 30, 20, on_received, &received, &err), &err);
    while (peer_count(&scene->peer, "ReceiveMessage") == 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    queue_receive_cancel(scene->queue);
    assert_true(received.over);
    assert_int_equal(received.count, 0);
    assert_int_equal(received.err.kind, FAIL_NONE);
    assert_int_equal(queue_in_flight(scene->client), 0);
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
}

static void sends_go_on_while_a_receive_waits(void **state)
{
    struct scene *scene = *state;
    struct received received = {0};
    struct ending ending = {0};
    struct error err = ERROR_INIT;
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage", .kind = FAULT_HANG});
    assert_ok(queue_receive(scene->queue, 1, 30, 20, on_received, &received, &err), &err);
    while (peer_count(&scene->peer, "ReceiveMessage") == 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    send_text(scene, "body", &ending);
    turn_until(scene, &ending.over, 2000);
    assert_false(received.over);
    queue_receive_cancel(scene->queue);
}

/* -- life -- */

static void every_callback_runs_once_when_the_client_goes(void **state)
{
    struct scene *scene = *state;
    struct ending waiting = {0}, running = {0};
    struct received received = {0};
    struct error err = ERROR_INIT;
    peer_fault(&scene->peer, (struct fault){.call = "SendMessageBatch", .kind = FAULT_HANG});
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage", .kind = FAULT_HANG});
    send_text(scene, "running", &running);
    assert_ok(queue_receive(scene->queue, 1, 30, 20, on_received, &received, &err), &err);
    while (peer_count(&scene->peer, "SendMessageBatch") == 0 ||
           peer_count(&scene->peer, "ReceiveMessage") == 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    send_text(scene, "waiting", &waiting);
    queue_client_free(&scene->client);
    assert_int_equal(waiting.times, 1);
    assert_int_equal(waiting.err.kind, FAIL_REMOTE);
    assert_int_equal(running.times, 1);
    assert_int_equal(running.err.kind, FAIL_REMOTE);
    assert_true(received.over);
    assert_int_equal(received.err.kind, FAIL_REMOTE);
}

static void the_callers_descriptors_wake_the_turn(void **state)
{
    struct scene *scene = *state;
    struct error err = ERROR_INIT;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    int64_t begun = clock_monotonic_ms();
    assert_ok(queue_turn(scene->client, &fd, 1, 10000, &err), &err);
    assert_true(fd.revents & POLLIN);
    close(ends[1]);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_ok(queue_turn(scene->client, &fd, 1, 10000, &err), &err);
    assert_true(fd.revents & POLLHUP);
    assert_true(clock_monotonic_ms() - begun < 5000);
    close(ends[0]);
}

static void a_service_that_is_away_is_a_remote_failure_in_words(void **state)
{
    struct scene *scene = *state;
    struct queue_client *client = NULL;
    struct queue *queue = NULL;
    struct queue_facts facts;
    struct error err = ERROR_INIT;
    struct queue_options options = {
        .endpoint = "http://127.0.0.1:1", .region = "local", .credential = &scene->credential};
    assert_ok(queue_client_new(&options, &client, &err), &err);
    assert_ok(queue_named(client, "work", &queue, &err), &err);
    assert_refused(queue_examine(queue, &facts, &err), &err, FAIL_REMOTE);
    assert_non_null(strstr(err.text, "127.0.0.1:1"));
    assert_true(err.hint[0] != '\0');
    queue_client_free(&client);
}

static void endpoints_that_cannot_be_signed_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "ftp://127.0.0.1/",
        "http://user:password@127.0.0.1/",
        "http://127.0.0.1/?a=b",
        "http://127.0.0.1/a%20b",
        "http://127.0.0.1/#x",
    };
    struct scene *scene = *state;
    struct queue_client *client = NULL;
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct queue_options options = {
            .endpoint = bad[i], .region = "local", .credential = &scene->credential};
        assert_refused(queue_client_new(&options, &client, &err), &err, FAIL_USAGE);
        assert_null(client);
        assert_null(strstr(err.text, "password@"));
    }
}

static void an_examination_tells_counts_and_clock(void **state)
{
    struct scene *scene = *state;
    struct queue_facts facts;
    struct error err = ERROR_INIT;
    assert_ok(queue_examine(scene->queue, &facts, &err), &err);
    assert_int_equal(facts.visible, 7);
    assert_int_equal(facts.in_flight, 2);
    assert_int_equal(facts.delayed, 1);
    assert_true(llabs((long long)facts.clock_skew_ms) < 3000);
    fault(scene, "GetQueueAttributes", 403, "{\"__type\":\"x#SignatureDoesNotMatch\"}");
    assert_refused(queue_examine(scene->queue, &facts, &err), &err, FAIL_AUTH);
    assert_true(err.hint[0] != '\0');
}

static void calls_are_signed_and_the_secret_key_is_nowhere(void **state)
{
    struct scene *scene = *state;
    struct ending ending = {0};
    send_text(scene, "body", &ending);
    turn_until(scene, &ending.over, 5000);
    for (size_t i = 0; i < scene->peer.seen_count; i++) {
        const struct seen_call *seen = &scene->peer.seen[i];
        assert_non_null(strstr(seen->authorization, "AWS4-HMAC-SHA256 Credential=AKTEST/"));
        assert_non_null(strstr(seen->authorization, "/local/sqs/aws4_request"));
        assert_non_null(strstr(seen->authorization, "x-amz-target"));
        assert_null(strstr(seen->authorization, SECRET_KEY));
        assert_null(strstr(seen->body, SECRET_KEY));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(what_is_asked_in_one_turn_travels_in_batches_of_ten),
        scene_test(a_batch_of_sends_stays_under_256_kib),
        scene_test(what_is_sent_arrives_as_it_was),
        scene_test(deletes_and_extensions_carry_receipt_and_lease),
        scene_test(batches_wait_for_company_only_while_more_is_expected),
        scene_test(a_send_is_tried_again_after_any_passing_fault),
        scene_test(the_url_is_asked_for_again_until_it_is_told),
        scene_test(retry_after_is_obeyed_by_every_call),
        scene_test(entries_of_a_batch_have_their_own_ends),
        scene_test(a_bad_entry_does_not_take_its_batch_with_it),
        scene_test(an_outdated_receipt_is_final),
        scene_test(what_was_given_back_is_not_hidden_by_an_older_extension),
        scene_test(a_queue_that_is_made_anew_is_found_under_its_new_url),
        scene_test(messages_come_with_receipt_and_count),
        scene_test(a_message_that_was_changed_on_its_way_is_left_out),
        scene_test(a_failed_receive_is_the_callers_to_repeat),
        scene_test(an_answer_over_the_bound_is_refused),
        scene_test(a_long_poll_ends_at_once_when_cancelled),
        scene_test(sends_go_on_while_a_receive_waits),
        scene_test(every_callback_runs_once_when_the_client_goes),
        scene_test(the_callers_descriptors_wake_the_turn),
        scene_test(a_service_that_is_away_is_a_remote_failure_in_words),
        scene_test(endpoints_that_cannot_be_signed_are_refused),
        scene_test(an_examination_tells_counts_and_clock),
        scene_test(calls_are_signed_and_the_secret_key_is_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
