/* SPDX-License-Identifier: Apache-2.0 */
/* How a connector starts, tells about itself, and ends. */
#include "tests/unit/connector_scene.h"

/* -- the start -- */

static void without_device_ca_it_does_not_start(void **state)
{
    struct scene *scene = *state;
    scene->without_ca = true;
    start(scene, "good", "");
    assert_int_equal(wait_for_end(scene), 2);
    assert_true(log_contains(scene, "device_ca"));
    scene->without_ca = false;
    write_text(scene->folder, "ca.pem", 0600, "nothing");
    start(scene, "good", "");
    assert_int_not_equal(wait_for_end(scene), 0);
    assert_int_equal(actor_starts(scene->config), 0);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
}

/* -- status and the end -- */

static void the_status_tells_who_serves_what(void **state)
{
    struct scene *scene = *state;
    struct stat info;
    char path[128];
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "DeleteMessageBatch", 0);
    struct json *json = ask_status(scene);
    const struct json_value *root = json_root(json);
    int64_t number;
    assert_string_equal(json_text(json_get(root, "program"), NULL), "reseald");
    assert_string_equal(json_text(json_get(root, "connector"), NULL), "c1");
    assert_string_equal(json_text(json_get(root, "state"), NULL), "serving");
    assert_true(json_integer(json_get(root, "pid"), scene->pid, scene->pid, &number));
    assert_true(json_true(json_get(json_get(root, "helper"), "ready")));
    assert_true(json_true(json_get(json_get(root, "queue"), "lastPollOk")));
    assert_true(json_integer(json_get(json_get(root, "counts"), "resealed"), 1, 1, &number));
    assert_int_equal(json_count(json_get(root, "keys")), 1);
    json_free(&json);
    snprintf(path, sizeof path, "%s/status", scene->folder);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stop(scene), 0);
    /* It cannot take its socket away any more; who comes next does. */
    start(scene, "good", "");
    wait_for_state(scene, "serving");
    assert_int_equal(stop(scene), 0);
}

static void a_second_connector_at_the_same_socket_does_not_start(void **state)
{
    struct scene *scene = *state;
    start(scene, "good", "");
    await(scene, "ReceiveMessage", 0);
    pid_t first = scene->pid;
    start(scene, "good", "");
    assert_int_equal(wait_for_end(scene), 1);
    scene->pid = first;
    assert_int_equal(stop(scene), 0);
}

static void what_has_begun_is_finished_after_sigterm(void **state)
{
    struct scene *scene = *state;
    peer_fault(&scene->peer,
               (struct fault){.call = "SendMessageBatch", .status = 500, .body = "{}"});
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "SendMessageBatch", 0); /* refused once: the result is still with us */
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 2);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 1);
    size_t polls = peer_count(&scene->peer, "ReceiveMessage");
    assert_true(polls >= 1);
}

/* Many more requests than a connector could begin, all in one answer. */
static void start_with_eight(struct scene *scene)
{
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_copies(scene, "message", "receipt", 1, buf_text(&body), body.len, 8);
    start(scene, "slow", "workers = 1\n");
    wait_for_log_count(scene, "request taken", 8);
    buf_free(&body);
    request_free(&request);
}

static void what_has_not_begun_is_given_back_at_once_when_it_stops(void **state)
{
    struct scene *scene = *state;
    start_with_eight(scene);
    assert_int_equal(stop(scene), 0);
    size_t deleted = peer_entries(&scene->peer, "DeleteMessageBatch", "");
    size_t given_back =
        peer_entries(&scene->peer, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":0");
    assert_in_range(given_back, 1, 4); /* the helper has two sessions and two jobs ahead */
    assert_int_equal(given_back + deleted, 8);
}

static void the_end_of_a_terminal_ends_it_in_order(void **state)
{
    struct scene *scene = *state;
    start_with_eight(scene);
    assert_int_equal(kill(scene->pid, SIGHUP), 0);
    assert_int_equal(wait_for_end(scene), 0);
    assert_int_equal(
        peer_entries(&scene->peer, "DeleteMessageBatch", "") +
            peer_entries(&scene->peer, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":0"),
        8);
}

static void nothing_is_received_while_nobody_is_free(void **state)
{
    struct scene *scene = *state;
    start_with_eight(scene);
    size_t polls = peer_count(&scene->peer, "ReceiveMessage");
    await(scene, "SendMessageBatch", 0);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), polls);
    for (size_t i = 0; i < polls; i++) /* and never more than the free slots */
        assert_null(strstr(peer_body(&scene->peer, "ReceiveMessage", i), "Messages\":10"));
}

static void a_long_poll_does_not_hold_up_the_end(void **state)
{
    struct scene *scene = *state;
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage", .kind = FAULT_HANG});
    start(scene, "good", "");
    await(scene, "ReceiveMessage", 0);
    int64_t begun = clock_monotonic_ms();
    assert_int_equal(stop(scene), 0);
    assert_true(clock_monotonic_ms() - begun < 10000);
}

static void a_second_sigterm_ends_at_once(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 20; i++)
        peer_fault(&scene->peer,
                   (struct fault){.call = "SendMessageBatch", .status = 500, .body = "{}"});
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "SendMessageBatch", 0);
    kill(scene->pid, SIGTERM);
    await(scene, "SendMessageBatch", 1);
    assert_int_equal(stop(scene), 1);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

int main(int argc, char **argv)
{
    actor_main(argc, argv);
    const struct CMUnitTest tests[] = {
        scene_test(without_device_ca_it_does_not_start),
        scene_test(the_status_tells_who_serves_what),
        scene_test(a_second_connector_at_the_same_socket_does_not_start),
        scene_test(what_has_begun_is_finished_after_sigterm),
        scene_test(what_has_not_begun_is_given_back_at_once_when_it_stops),
        scene_test(the_end_of_a_terminal_ends_it_in_order),
        scene_test(nothing_is_received_while_nobody_is_free),
        scene_test(a_long_poll_does_not_hold_up_the_end),
        scene_test(a_second_sigterm_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
