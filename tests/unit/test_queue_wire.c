/* SPDX-License-Identifier: Apache-2.0 */
/* What the queue client does with connections, pauses and answers that are too large. */
#include "tests/unit/endless_peer.h"
#include "tests/unit/queue_scene.h"
#include <time.h>
#include "reseal/file.h"

static void send_and_wait(struct scene *scene)
{
    struct ending ending = {0};
    send_text(scene, "body", &ending);
    turn_until(scene, &ending.over, 10000);
    assert_int_equal(ending.err.kind, FAIL_NONE);
}

static void requests_one_after_the_other_share_one_connection(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 50; i++)
        send_and_wait(scene);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 50);
    assert_int_equal(scene->peer.connections, 1);
}

/* As much as may be under way at once, and nothing of it answered. */
static void hang_at_the_limit(struct scene *scene, unsigned limit)
{
    struct ending endings[200] = {0};
    struct received received = {0};
    struct error err = ERROR_INIT;
    connect_client(scene,
                   (struct queue_options){.credential = &scene->credential, .connections = limit});
    send_and_wait(scene);
    for (unsigned i = 0; i < limit; i++)
        peer_fault(&scene->peer,
                   (struct fault){.call = i == 0 ? "ReceiveMessage" : "SendMessageBatch",
                                  .kind = FAULT_HANG});
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        send_text(scene, "body", &endings[i]);
    assert_ok(queue_receive(scene->queue, 1, 30, 20, on_received, &received, &err), &err);
    while (peer_count(&scene->peer, "SendMessageBatch") < limit ||
           peer_count(&scene->peer, "ReceiveMessage") == 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    for (int i = 0; i < 5; i++) /* nothing more begins */
        assert_ok(queue_turn(scene->client, NULL, 0, 20, &err), &err);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), limit);
    assert_true(scene->peer.most_open <= limit);
    queue_client_free(&scene->client); /* calls back into what is on this stack */
}

static void there_are_never_more_connections_than_configured(void **state)
{
    hang_at_the_limit(*state, 3);
}

static void more_connections_may_be_configured(void **state)
{
    hang_at_the_limit(*state, 6);
}

static void a_receive_that_hangs_leaves_room_for_sends_at_the_least_limit(void **state)
{
    struct scene *scene = *state;
    struct received received = {0};
    struct error err = ERROR_INIT;
    connect_client(scene,
                   (struct queue_options){.credential = &scene->credential, .connections = 3});
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage", .kind = FAULT_HANG});
    assert_ok(queue_receive(scene->queue, 1, 30, 20, on_received, &received, &err), &err);
    while (peer_count(&scene->peer, "ReceiveMessage") == 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    send_and_wait(scene);
    assert_false(received.over);
    queue_receive_cancel(scene->queue);
}

static void retry_after_as_a_date_is_obeyed(void **state)
{
    struct scene *scene = *state;
    struct ending ending = {0};
    struct error err = ERROR_INIT;
    char date[64];
    time_t when = time(NULL) + 4; /* whole seconds: more than two of them are left */
    struct tm parts;
    gmtime_r(&when, &parts);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    send_and_wait(scene); /* the URL is known from here on */
    peer_fault(&scene->peer,
               (struct fault){
                   .call = "SendMessageBatch", .status = 503, .body = "{}", .retry_after = date});
    send_text(scene, "body", &ending);
    while (peer_count(&scene->peer, "SendMessageBatch") < 2)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    turn_until(scene, &ending.over, 10000);
    /* By the wall clock, as the date is: not before the second that it names. */
    assert_true(time(NULL) >= when - 1);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 3);
}

static void a_pause_counts_for_receives_too_and_has_a_bound(void **state)
{
    struct scene *scene = *state;
    struct received received;
    send_and_wait(scene);
    peer_fault(&scene->peer,
               (struct fault){.call = "ReceiveMessage", .status = 429, .retry_after = "2"});
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.err.kind, FAIL_REMOTE);
    int64_t begun = clock_monotonic_ms();
    receive(scene, &received);
    turn_until(scene, &received.over, 10000);
    assert_int_equal(received.err.kind, FAIL_NONE);
    assert_true(clock_monotonic_ms() - begun >= 1500);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 2);
}

static void an_answer_that_states_too_great_a_length_is_not_read(void **state)
{
    struct scene *scene = *state;
    struct received received;
    peer_fault(
        &scene->peer,
        (struct fault){.call = "ReceiveMessage", .status = 200, .body = "{}", .filler = 64u << 20});
    receive(scene, &received);
    turn_until(scene, &received.over, 20000);
    assert_int_equal(received.err.kind, FAIL_TOO_LARGE);
    assert_int_equal(received.count, 0);
}

static void an_answer_without_an_end_is_given_up_at_the_bound(void **state)
{
    struct scene *scene = *state;
    struct received received;
    struct error err = ERROR_INIT;
    received = (struct received){0};
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage", .kind = FAULT_STREAM});
    assert_ok(queue_receive(scene->queue, 1, 30, 0, on_received, &received, &err), &err);
    turn_until(scene, &received.over, 20000);
    assert_int_equal(received.err.kind, FAIL_TOO_LARGE);
    /* Of one message: twice its bound, and what lies in buffers between the two. */
    assert_true(__atomic_load_n(&scene->peer.streamed, __ATOMIC_RELAXED) < 32u << 20);
    receive(scene, &received); /* and the client goes on */
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.err.kind, FAIL_NONE);
}

static void header_lines_without_an_end_are_given_up_at_the_bound(void **state)
{
    struct scene *scene = *state;
    struct endless_peer endless;
    struct queue_facts facts;
    struct error err = ERROR_INIT;
    assert_true(endless_start(&endless));
    connect_client(scene, (struct queue_options){.credential = &scene->credential,
                                                 .endpoint = endless.endpoint});
    assert_refused(queue_examine(scene->queue, &facts, &err), &err, FAIL_REMOTE);
    assert_non_null(strstr(err.text, "header lines"));
    queue_client_free(&scene->client);
    endless_stop(&endless);
    assert_true(endless.sent < 32u << 20); /* what lies in buffers between the two */
}

static void proxies_that_carry_a_password_or_are_none_are_refused(void **state)
{
    static const struct {
        const char *proxy, *credentials, *no_proxy;
    } bad[] = {
        {"http://user:secret-of-proxy@127.0.0.1:3128", NULL, NULL},
        {"socks5://127.0.0.1:1080", NULL, NULL},
        {"http://127.0.0.1:3128/path", NULL, NULL},
        {"not a url", NULL, NULL},
        {"http://127.0.0.1:3128", "file:/does/not/exist", NULL},
        {NULL, NULL, "localhost"},
        {NULL, "file:/does/not/exist", NULL},
    };
    struct scene *scene = *state;
    struct queue_client *client = NULL;
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct queue_options options = {.endpoint = scene->peer.endpoint,
                                        .region = "local",
                                        .credential = &scene->credential,
                                        .proxy = bad[i].proxy,
                                        .proxy_credentials = bad[i].credentials,
                                        .no_proxy = bad[i].no_proxy};
        err = (struct error)ERROR_INIT;
        assert_false(queue_client_new(&options, &client, &err));
        assert_true(err.kind == FAIL_USAGE || err.kind == FAIL_NOT_FOUND);
        assert_null(strstr(err.text, "secret-of-proxy"));
        assert_null(client);
    }
}

static void write_proxy_credentials(void *path)
{
    struct error err = ERROR_INIT;
    static const char text[] = "user:newer-canary\n";
    struct bytes content = {(const uint8_t *)text, sizeof text - 1};
    assert_ok(file_write(path, 0600, FILE_REPLACE, content, &err), &err);
}

/* The peer stands for a proxy: it gets the whole URL, and answers 407. */
static void a_proxy_that_does_not_know_us_is_told_as_such_and_newer_credentials_are_tried(
    void **state)
{
    struct scene *scene = *state;
    struct received received;
    char path[] = "/tmp/reseal-proxy-XXXXXX", source[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "user:canary", 11) == 11);
    close(fd);
    snprintf(source, sizeof source, "file:%s", path);
    connect_client(scene, (struct queue_options){.credential = &scene->credential,
                                                 .endpoint = "http://queue.example",
                                                 .proxy = scene->peer.endpoint,
                                                 .proxy_credentials = source});
    send_and_wait(scene);
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage", .status = 407});
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.err.kind, FAIL_AUTH);
    assert_non_null(strstr(received.err.text, "the proxy http://127.0.0.1:"));
    assert_non_null(strstr(received.err.hint, "proxy_credentials"));
    assert_null(strstr(received.err.text, "canary"));
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 1);
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage",
                                            .status = 407,
                                            .taken = write_proxy_credentials,
                                            .context = path});
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.err.kind, FAIL_NONE);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 3);
    unlink(path);
}

static void the_environments_proxy_is_not_looked_at(void **state)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"};
    struct scene *scene = *state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(setenv(names[i], "http://127.0.0.1:1", 1), 0);
    connect_client(scene, (struct queue_options){.credential = &scene->credential});
    send_and_wait(scene);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(requests_one_after_the_other_share_one_connection),
        scene_test(there_are_never_more_connections_than_configured),
        scene_test(more_connections_may_be_configured),
        scene_test(a_receive_that_hangs_leaves_room_for_sends_at_the_least_limit),
        scene_test(retry_after_as_a_date_is_obeyed),
        scene_test(a_pause_counts_for_receives_too_and_has_a_bound),
        scene_test(an_answer_that_states_too_great_a_length_is_not_read),
        scene_test(an_answer_without_an_end_is_given_up_at_the_bound),
        scene_test(header_lines_without_an_end_are_given_up_at_the_bound),
        scene_test(proxies_that_carry_a_password_or_are_none_are_refused),
        scene_test(a_proxy_that_does_not_know_us_is_told_as_such_and_newer_credentials_are_tried),
        scene_test(the_environments_proxy_is_not_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
