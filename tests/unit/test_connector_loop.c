/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a request through the connector: what it answers, in which order, and that nothing is
 * lost. */
#include "tests/unit/connector_scene.h"

/* -- the way of a request -- */

static void a_request_is_answered_and_then_deleted(void **state)
{
    struct scene *scene = *state;
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    assert_true(position(scene, "SendMessageBatch") < position(scene, "DeleteMessageBatch"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 1);
    assert_true(log_contains(scene, "\"event\":2000"));
    assert_false(log_contains(scene, "canary-secret"));
}

static void nothing_is_deleted_before_the_result_is_taken(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 3; i++)
        peer_fault(&scene->peer,
                   (struct fault){.call = "SendMessageBatch", .status = 500, .body = "{}"});
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "SendMessageBatch", 2);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
    await(scene, "DeleteMessageBatch", 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 4);
    assert_int_equal(stop(scene), 0);
}

static void results_of_two_tries_have_one_id(void **state)
{
    struct scene *scene = *state;
    struct result first, second;
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "DeleteMessageBatch", 0);
    offer_good(scene, "request-1", 2);
    read_result(await(scene, "SendMessageBatch", 0), &first);
    read_result(await(scene, "SendMessageBatch", 1), &second);
    assert_string_equal(first.id, second.id);
    assert_string_equal(first.subject, "request-1");
    result_free(&first);
    result_free(&second);
}

static void a_lease_is_extended_while_the_work_goes_on(void **state)
{
    struct scene *scene = *state;
    start(scene, "hang-once", "");
    offer_good(scene, "request-1", 1);
    const char *extension = await(scene, "ChangeMessageVisibilityBatch", 0);
    assert_non_null(strstr(extension, "\"VisibilityTimeout\":2"));
    assert_non_null(strstr(extension, "receipt-1"));
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
}

static void a_message_handed_out_twice_is_done_once_and_the_newest_receipt_counts(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    start(scene, "hang-once", "");
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_body(scene, "m1", "receipt-old", 1, buf_text(&body), body.len);
    await(scene, "ChangeMessageVisibilityBatch", 0); /* it is in hand */
    offer_body(scene, "m1", "receipt-new", 2, buf_text(&body), body.len);
    assert_non_null(strstr(await(scene, "DeleteMessageBatch", 0), "receipt-new"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 1);
    buf_free(&body);
    request_free(&request);
}

/* The queue calls a deletion by the old receipt done, and keeps the message. */
static void a_message_handed_out_anew_is_deleted_by_the_newest_receipt(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    refuse_for_a_while(scene, "DeleteMessageBatch");
    start(scene, "good", "");
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_body(scene, "m1", "receipt-old", 1, buf_text(&body), body.len);
    await(scene, "DeleteMessageBatch", 0);
    offer_body(scene, "m1", "receipt-new", 2, buf_text(&body), body.len);
    await_containing(scene, "DeleteMessageBatch", "receipt-new");
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 1);
    buf_free(&body);
    request_free(&request);
}

static void a_message_handed_out_anew_is_given_back_by_the_newest_receipt(void **state)
{
    struct scene *scene = *state;
    refuse_for_a_while(scene, "ChangeMessageVisibilityBatch");
    start(scene, "good", "");
    offer_body(scene, "m1", "receipt-old", 1, "no request", 10);
    await(scene, "ChangeMessageVisibilityBatch", 0);
    offer_body(scene, "m1", "receipt-new", 2, "no request", 10);
    await_containing(scene, "ChangeMessageVisibilityBatch", "receipt-new");
    assert_int_equal(stop(scene), 0);
}

static void a_result_that_the_queue_refuses_for_good_is_replaced_by_a_small_one(void **state)
{
    struct scene *scene = *state;
    struct result refused, told;
    refuse_for_good(scene, "SendMessageBatch");
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    read_result(await(scene, "SendMessageBatch", 0), &refused);
    read_result(await(scene, "SendMessageBatch", 1), &told);
    assert_int_equal(refused.outcome, OUTCOME_RESEALED);
    assert_int_equal(told.outcome, OUTCOME_FAILED);
    assert_int_equal(told.code, RESULT_SERVICE);
    assert_string_equal(told.id, refused.id);
    assert_string_equal(told.subject, "request-1");
    assert_non_null(strstr(await(scene, "DeleteMessageBatch", 0), "receipt-1"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 2);
    result_free(&refused);
    result_free(&told);
}

static void a_queue_that_takes_no_result_at_all_gets_the_request_back(void **state)
{
    struct scene *scene = *state;
    refuse_for_good(scene, "SendMessageBatch");
    refuse_for_good(scene, "SendMessageBatch");
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":5");
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 2);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

/* -- what is refused -- */

static void requests_against_the_rules_are_refused_with_their_code(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    make_request(scene, "expired", &request);
    request.expires_ms = clock_real_ms() - 1000;
    offer(scene, &request, 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_PARAMETER_INVALID);
}

/* A device certificate that does not belong here, above all. */
static void what_the_helper_refuses_is_refused_with_its_reason(void **state)
{
    struct scene *scene = *state;
    struct result result;
    start(scene, "policy", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_PARAMETER_INVALID);
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_non_null(strstr(result.message, "the actor fails"));
    result_free(&result);
}

static void a_format_gets_what_its_device_takes(void **state)
{
    struct scene *scene = *state;
    static const struct {
        enum format format;
        const char *begin, *part; /* the actor's CMS is in it */
    } cases[] = {
        {FORMAT_CMS, "0\3\2\1", "0\3\2\1"},
        {FORMAT_APPLE_PROFILE, "<?xml ", "<data>MAMCAQA=</data>"},
        {FORMAT_WINDOWS_CSP, "<Atomic>", "<Data>MAMCAQA=</Data>"},
    };
    start(scene, "good", "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct request request;
        struct result result;
        make_request(scene, format_name(cases[i].format), &request);
        request.format = cases[i].format;
        offer(scene, &request, 1);
        read_result(await(scene, "SendMessageBatch", i), &result);
        assert_int_equal(result.outcome, OUTCOME_RESEALED);
        assert_int_equal(result.format, cases[i].format);
        assert_memory_equal(result.payload.data, cases[i].begin, strlen(cases[i].begin));
        assert_non_null(strstr(buf_text(&result.payload), cases[i].part));
        result_free(&result);
    }
    assert_int_equal(stop(scene), 0);
}

/* What it is made of is kept until it is answered. */
static void a_format_is_made_by_the_next_helper_when_the_first_is_lost(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct result result;
    start(scene, "die-once", "");
    make_request(scene, "request-1", &request);
    request.format = FORMAT_APPLE_PROFILE;
    offer(scene, &request, 1);
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_int_equal(result.outcome, OUTCOME_RESEALED);
    assert_int_equal(result.format, FORMAT_APPLE_PROFILE);
    assert_non_null(strstr(buf_text(&result.payload), "<data>MAMCAQA=</data>"));
    result_free(&result);
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 1);
}

static void a_format_that_needs_the_pfx_is_refused_without_it(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    make_request(scene, "no-pfx", &request);
    request.format = FORMAT_APPLE_PROFILE;
    buf_reset(&request.pfx);
    offer(scene, &request, 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_PARAMETER_INVALID);
}

/* What is around the password is more than a helper takes. */
static void a_pfx_too_large_for_its_format_is_refused(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    make_request(scene, "large-pfx", &request);
    request.format = FORMAT_APPLE_PROFILE;
    buf_reset(&request.pfx);
    assert_non_null(buf_extend(&request.pfx, 50000));
    memset(request.pfx.data, 'x', request.pfx.len);
    offer(scene, &request, 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_TOO_LARGE);
}

static void a_value_that_cannot_be_is_refused_where_the_sender_is_known(void **state)
{
    struct scene *scene = *state;
    static const char body[] = "{\"source\":\"urn:test:hub\",\"id\":\"r1\",\"specversion\":\"1.0\","
                               "\"type\":\"reseal.request.v1\"}";
    start(scene, "good", "");
    offer_body(scene, "m1", "receipt-1", 1, body, sizeof body - 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_PARAMETER_INVALID);
}

static void what_is_no_request_is_left_to_its_queue(void **state)
{
    struct scene *scene = *state;
    start(scene, "good", "");
    offer_body(scene, "m1", "receipt-1", 2, "{\"a\":1,\"a\":2}", 13);
    const char *back = await(scene, "ChangeMessageVisibilityBatch", 0);
    assert_non_null(strstr(back, "\"VisibilityTimeout\":4"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

static void a_key_of_another_connector_is_passed_on_then_answered(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    make_request(scene, "other", &request);
    snprintf(request.key_name, sizeof request.key_name, "elsewhere");
    offer(scene, &request, 1);
    await(scene, "ChangeMessageVisibilityBatch", 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    make_request(scene, "other", &request);
    snprintf(request.key_name, sizeof request.key_name, "elsewhere");
    offer(scene, &request, 3);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_NOT_SUPPORTED);
}

static void attempts_are_counted_where_the_queue_does_not(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    for (size_t i = 0; i < 3; i++) {
        make_request(scene, "other", &request);
        snprintf(request.key_name, sizeof request.key_name, "elsewhere");
        offer(scene, &request, 0);
        if (i < 2)
            await(scene, "ChangeMessageVisibilityBatch", i);
        wait_until_in_hand(scene, 0);
    }
    expect_answer(scene, OUTCOME_REFUSED, RESULT_NOT_SUPPORTED);
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "ChangeMessageVisibilityBatch"), 2);
}

static void failures_of_the_cryptography_look_alike(void **state)
{
    struct scene *scene = *state;
    struct result result;
    start(scene, "crypto", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_FAILED, RESULT_CRYPTOGRAPHY);
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_null(strstr(result.message, "actor"));
    result_free(&result);
}

int main(int argc, char **argv)
{
    actor_main(argc, argv);
    const struct CMUnitTest tests[] = {
        scene_test(a_request_is_answered_and_then_deleted),
        scene_test(nothing_is_deleted_before_the_result_is_taken),
        scene_test(results_of_two_tries_have_one_id),
        scene_test(a_lease_is_extended_while_the_work_goes_on),
        scene_test(a_message_handed_out_twice_is_done_once_and_the_newest_receipt_counts),
        scene_test(a_message_handed_out_anew_is_deleted_by_the_newest_receipt),
        scene_test(a_message_handed_out_anew_is_given_back_by_the_newest_receipt),
        scene_test(a_result_that_the_queue_refuses_for_good_is_replaced_by_a_small_one),
        scene_test(a_queue_that_takes_no_result_at_all_gets_the_request_back),
        scene_test(requests_against_the_rules_are_refused_with_their_code),
        scene_test(what_the_helper_refuses_is_refused_with_its_reason),
        scene_test(a_format_gets_what_its_device_takes),
        scene_test(a_format_is_made_by_the_next_helper_when_the_first_is_lost),
        scene_test(a_format_that_needs_the_pfx_is_refused_without_it),
        scene_test(a_pfx_too_large_for_its_format_is_refused),
        scene_test(a_value_that_cannot_be_is_refused_where_the_sender_is_known),
        scene_test(what_is_no_request_is_left_to_its_queue),
        scene_test(a_key_of_another_connector_is_passed_on_then_answered),
        scene_test(attempts_are_counted_where_the_queue_does_not),
        scene_test(failures_of_the_cryptography_look_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
