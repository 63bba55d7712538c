/* SPDX-License-Identifier: Apache-2.0 */
/* The whole connector with the second dialect of the queue. */
#include "tests/unit/connector_scene.h"
#include "reseal/text.h"

static int open_azure(void **state)
{
    assert_int_equal(open_scene(state), 0);
    struct scene *scene = *state;
    scene->queue = "engine = azure\nidle_poll = 1\n";
    write_text(scene->folder, "credentials", 0600,
               "AccountName=account;AccountKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    return 0;
}

/* One request, as the service hands it out. */
static void offer_azure(struct scene *scene, unsigned count)
{
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX), answer = BUF_INIT(2 * MESSAGE_MAX);
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    buf_printf(&answer,
               "<QueueMessagesList><QueueMessage><MessageId>m-1</MessageId><PopReceipt>r1"
               "</PopReceipt><DequeueCount>%u</DequeueCount><MessageText>",
               count);
    base64_encode(&answer, body.data, body.len);
    buf_put_text(&answer, "</MessageText></QueueMessage></QueueMessagesList>");
    peer_offer(&scene->peer, buf_text(&answer));
    buf_free(&answer);
    buf_free(&body);
    request_free(&request);
}

static void expect_result(struct scene *scene, enum outcome outcome, enum result_code code)
{
    struct result result;
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(1 << 20);
    const char *sent = strstr(await(scene, "POST messages", 0), "<MessageText>");
    assert_non_null(sent);
    sent += strlen("<MessageText>");
    assert_ok(base64_decode(&text, sent, strcspn(sent, "<"), "result", &err), &err);
    result_init(&result);
    assert_ok(result_read(text.data, text.len, &result, &err), &err);
    assert_int_equal(result.outcome, outcome);
    assert_int_equal(result.code, code);
    assert_string_equal(result.subject, "request-1");
    result_free(&result);
    buf_free(&text);
}

static void a_request_is_answered_and_then_deleted(void **state)
{
    struct scene *scene = *state;
    start(scene, "good", "");
    offer_azure(scene, 1);
    expect_result(scene, OUTCOME_RESEALED, RESULT_NONE);
    (void)await(scene, "DELETE message", 0);
    assert_true(position(scene, "POST messages") < position(scene, "DELETE message"));
    assert_int_equal(stop(scene), 0);
    assert_false(log_contains(scene, "AAECAwQF"));
}

static void a_lease_is_extended_and_the_deletion_has_the_newest_receipt(void **state)
{
    struct scene *scene = *state;
    start(scene, "hang-once", ""); /* a second of waiting, at a lease of two */
    offer_azure(scene, 1);
    (void)await(scene, "DELETE message", 0);
    assert_int_equal(stop(scene), 0);
    size_t extensions = peer_count(&scene->peer, "PUT message");
    char newest[32];
    assert_true(extensions >= 1);
    snprintf(newest, sizeof newest, "new-%zu", extensions);
    for (size_t i = 0; i < scene->peer.seen_count; i++) {
        if (strcmp(scene->peer.seen[i].call, "DELETE message") == 0)
            assert_string_equal(scene->peer.seen[i].receipt, newest);
    }
}

static void a_result_that_does_not_fit_is_answered_as_too_large(void **state)
{
    struct scene *scene = *state;
    start(scene, "large", "");
    offer_azure(scene, 1);
    expect_result(scene, OUTCOME_FAILED, RESULT_TOO_LARGE);
    (void)await(scene, "DELETE message", 0);
    assert_int_equal(stop(scene), 0);
}

#define azure_test(name) cmocka_unit_test_setup_teardown(name, open_azure, close_scene)

int main(int argc, char **argv)
{
    actor_main(argc, argv);
    const struct CMUnitTest tests[] = {
        azure_test(a_request_is_answered_and_then_deleted),
        azure_test(a_lease_is_extended_and_the_deletion_has_the_newest_receipt),
        azure_test(a_result_that_does_not_fit_is_answered_as_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
