/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* O_TMPFILE */
/* A token or a helper that fails: no request is lost, and no PIN is tried twice. */
#include "tests/unit/connector_scene.h"

/* -- token and helper -- */

static void a_token_failure_is_tried_again(void **state)
{
    struct scene *scene = *state;
    start(scene, "token-trouble-once", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
}

static void a_token_that_is_away_spends_no_attempts(void **state)
{
    struct scene *scene = *state;
    set_token(scene, true);
    start(scene, "token-away", "");
    offer_good(scene, "request-1", 3); /* the last of its attempts */
    await(scene, "ReceiveMessage", 0);
    wait_for_log_count(scene, "the token is away", 1);
    wait_for_state(scene, "waiting");
    expect_helper_error(scene, "the actor fails");
    /* Kept: its lease is extended over several tries in vain. */
    for (size_t i = 0; i < 5; i++)
        assert_non_null(
            strstr(await(scene, "ChangeMessageVisibilityBatch", i), "\"VisibilityTimeout\":2"));
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    set_token(scene, false);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    wait_for_state(scene, "serving");
    assert_int_equal(log_count(scene, "the token is away"), 1);
    assert_int_equal(log_count(scene, "the token answers again"), 1);
    assert_int_equal(stop(scene), 0);
}

static void while_the_token_is_away_little_is_received_and_tried_rarely(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    set_token(scene, true);
    start(scene, "token-away", "");
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_copies(scene, "m", "receipt-1", 1, buf_text(&body), body.len, 3);
    wait_for_log_count(scene, "the token is away", 1);
    size_t polls = peer_count(&scene->peer, "ReceiveMessage");
    for (size_t i = 0; i < 4; i++)
        await(scene, "ChangeMessageVisibilityBatch", i);
    /* Three in hand: at 1, 3 and 7 seconds each has been tried, and not before is more received. */
    assert_true(peer_count(&scene->peer, "ReceiveMessage") <= polls + 1);
    assert_true(log_count(scene, "the request waits until the token is back") < 8);
    set_token(scene, false);
    await(scene, "DeleteMessageBatch", 0);
    wait_for_state(scene, "serving");
    assert_int_equal(stop(scene), 0);
    buf_free(&body);
    request_free(&request);
}

static void a_request_that_expires_while_the_token_is_away_is_answered(void **state)
{
    struct scene *scene = *state;
    struct request request;
    set_token(scene, true);
    start(scene, "token-away", "");
    make_request(scene, "request-1", &request);
    request.expires_ms = clock_real_ms() + 3000;
    offer(scene, &request, 1);
    expect_answer(scene, OUTCOME_FAILED, RESULT_UNAVAILABLE);
    assert_int_equal(stop(scene), 0);
}

/* Alone it looks like a token that is away, until another request is served. */
static void a_request_that_the_token_fails_on_ends_while_others_are_served(void **state)
{
    struct scene *scene = *state;
    struct result result;
    start(scene, "poison", "");
    offer_poison(scene, "poison-1", 1);
    wait_for_log_count(scene, "the token is away", 1);
    offer_good(scene, "request-2", 1);
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_int_equal(result.outcome, OUTCOME_RESEALED);
    result_free(&result);
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":5");
    offer_poison(scene, "poison-1", 3);
    wait_for_log_count(scene, "the token is away", 2);
    offer_good(scene, "request-3", 1);
    read_result(await(scene, "SendMessageBatch", 2), &result);
    assert_string_equal(result.subject, "poison-1");
    assert_int_equal(result.code, RESULT_UNAVAILABLE);
    assert_true(result_code_retryable(result.code));
    result_free(&result);
    assert_int_equal(stop(scene), 0);
}

/* The last of four waits for two seconds, with a deadline of one. */
static void a_helper_that_makes_progress_is_not_replaced(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    start(scene, "slow", "");
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_copies(scene, "m", "receipt-1", 1, buf_text(&body), body.len, 4);
    wait_for_log_count(scene, "\"request done\"", 4);
    assert_int_equal(actor_starts(scene->config), 1);
    assert_int_equal(stop(scene), 0);
    buf_free(&body);
    request_free(&request);
}

static void the_job_of_a_bad_helper_is_done_by_the_next(void **state)
{
    static const char *const actors[] = {"die-once", "hang-once",   "wrong-number",
                                         "garbage",  "hello-twice", "weak-answer"};
    for (size_t i = 0; i < ARRAY_LEN(actors); i++) {
        void *each = NULL;
        open_scene(&each);
        struct scene *scene = each;
        start(scene, actors[i], "");
        offer_good(scene, "request-1", 1);
        expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
        assert_int_equal(stop(scene), 0);
        assert_true(log_contains(scene, "\"event\":1002"));
        assert_int_equal(actor_starts(scene->config), 2);
        close_scene(&each);
    }
    (void)state;
}

static void a_job_that_kills_every_helper_is_given_back(void **state)
{
    struct scene *scene = *state;
    start(scene, "die", "");
    offer_good(scene, "request-1", 1);
    /* extensions of the lease may come first */
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":5");
    assert_int_equal(actor_starts(scene->config), 3);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

static void a_request_whose_key_has_gone_is_left_to_other_connectors_at_first(void **state)
{
    struct scene *scene = *state;
    struct result result;
    start(scene, "key-gone", "");
    offer_good(scene, "request-1", 1);
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":5");
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    offer_good(scene, "request-2", 3); /* the last of its attempts */
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_string_equal(result.subject, "request-2");
    assert_int_not_equal(result.outcome, OUTCOME_RESEALED);
    result_free(&result);
    wait_for_state(scene, "serving"); /* the token is not away for that */
    assert_int_equal(stop(scene), 0);
}

static void a_refused_pin_is_tried_once_and_ends_the_start(void **state)
{
    struct scene *scene = *state;
    start(scene, "refuse-pin", "");
    assert_int_equal(wait_for_end(scene), 4);
    assert_int_equal(actor_starts(scene->config), 1);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
}

/* A crash in C_Login may have spent a try: each restart would spend another. */
static void a_helper_lost_in_its_login_has_tried_the_pin(void **state)
{
    static const char *const actors[] = {"die-in-login", "exit-in-login", "garbage-in-login"};
    for (size_t i = 0; i < ARRAY_LEN(actors); i++) {
        void *each = NULL;
        open_scene(&each);
        struct scene *scene = each;
        start(scene, actors[i], "");
        assert_int_equal(wait_for_end(scene), 4);
        assert_int_equal(actor_starts(scene->config), 1);
        assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
        assert_true(log_contains(scene, "the PIN is not tried again by itself"));
        close_scene(&each);
    }
    (void)state;
}

static void a_token_that_is_away_at_the_start_is_waited_for(void **state)
{
    struct scene *scene = *state;
    start(scene, "refuse-token-once", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    assert_int_equal(actor_starts(scene->config), 2);
}

static void less_custody_than_required_is_no_start(void **state)
{
    struct scene *scene = *state;
    start(scene, "host", "");
    assert_int_equal(wait_for_end(scene), 3);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
    assert_true(log_contains(scene, "custody host at best"));
}

static void a_pin_refused_later_leaves_it_up_to_tell(void **state)
{
    struct scene *scene = *state;
    start(scene, "pin-later", "");
    wait_for_state(scene, "halted");
    struct json *json = ask_status(scene);
    const struct json_value *error = json_get(json_get(json_root(json), "helper"), "error");
    assert_string_equal(json_text(json_get(error, "kind"), NULL), "pin");
    json_free(&json);
    assert_int_equal(actor_starts(scene->config), 2);
    assert_int_equal(stop(scene), 0);
}

static void two_helpers_in_a_row_lost_in_their_login_halt(void **state)
{
    struct scene *scene = *state;
    start(scene, "die-in-login-later", "");
    wait_for_state(scene, "halted");
    struct json *json = ask_status(scene);
    const struct json_value *error = json_get(json_get(json_root(json), "helper"), "error");
    assert_string_equal(json_text(json_get(error, "kind"), NULL), "pin");
    assert_non_null(strstr(json_text(json_get(error, "text"), NULL), "while it logged in"));
    json_free(&json);
    assert_int_equal(actor_starts(scene->config), 3);
    assert_int_equal(stop(scene), 0);
}

static void a_pin_refused_in_a_job_halts_and_gives_the_job_back(void **state)
{
    struct scene *scene = *state;
    start(scene, "pin-in-job", "");
    offer_good(scene, "request-1", 3); /* the last of its attempts: a counted try would answer it */
    wait_for_state(scene, "halted");
    const char *back = await(scene, "ChangeMessageVisibilityBatch", 0);
    assert_non_null(strstr(back, "receipt-1"));
    assert_non_null(strstr(back, "\"VisibilityTimeout\":5"));
    struct json *json = ask_status(scene);
    const struct json_value *error = json_get(json_get(json_root(json), "helper"), "error");
    assert_string_equal(json_text(json_get(error, "kind"), NULL), "pin");
    json_free(&json);
    assert_int_equal(stop(scene), 0);
    assert_int_equal(actor_starts(scene->config), 1);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

static bool has_descriptor(pid_t pid, int fd)
{
    struct stat info;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    return lstat(path, &info) == 0;
}

static void wait_for_drop(pid_t pid, int fd)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    while (has_descriptor(pid, fd)) {
        assert_true(clock_monotonic_ms() < end);
        nanosleep(&pause, NULL);
    }
}

static void a_pin_from_a_pipe_is_not_replaced_by_nothing(void **state)
{
    struct scene *scene = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], 20), 20);
    scene->pin = "fd:20";
    start(scene, "die-once", "");
    wait_for_state(scene, "serving");
    assert_false(has_descriptor(scene->pid, 20)); /* never while it talks to the network */
    wait_for_drop(starter_of(scene), 20);         /* it has served, and goes */
    offer_good(scene, "request-1", 1);
    wait_for_state(scene, "halted");
    assert_int_equal(actor_starts(scene->config), 1);
    assert_non_null(strstr(await(scene, "ChangeMessageVisibilityBatch", 0), "receipt-1"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
    close(ends[0]);
    close(ends[1]);
    close(20);
}

static void a_pin_from_a_file_descriptor_serves_every_start(void **state)
{
    struct scene *scene = *state;
    char byte;
    int fd = open(scene->folder, O_TMPFILE | O_RDWR, 0600);
    assert_true(fd >= 0);
    assert_int_equal(dup2(fd, 20), 20);
    assert_int_equal(write(20, "x", 1), 1); /* as if read to its end */
    scene->pin = "fd:20";
    start(scene, "die-once", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    assert_false(has_descriptor(scene->pid, 20));
    assert_true(has_descriptor(starter_of(scene), 20));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(read(20, &byte, 1), 1); /* at its beginning again */
    close(fd);
    close(20);
}

/* Of what its starter passes over nothing is left: it goes when it is told to. */
static void a_helper_begins_with_the_signals_of_a_fresh_process(void **state)
{
    struct scene *scene = *state;
    char path[64], line[256], ignored[64] = "";
    start(scene, "good", "");
    wait_for_state(scene, "serving");
    snprintf(path, sizeof path, "/proc/%d/status", (int)helper_of(scene));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        (void)!sscanf(line, "SigIgn: %63s", ignored);
    fclose(file);
    assert_string_equal(ignored, "0000000000000000");
    assert_int_equal(stop(scene), 0);
}

/* What was begun is finished; a fresh reseald is needed for fresh helpers. */
static void without_its_starter_it_finishes_and_ends(void **state)
{
    struct scene *scene = *state;
    int status = 0;
    start(scene, "slow", "");
    offer_good(scene, "request-1", 1);
    wait_until_in_hand(scene, 1);
    assert_int_equal(kill(starter_of(scene), SIGKILL), 0);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    assert_int_equal(waitpid(scene->pid, &status, 0), scene->pid);
    scene->pid = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_true(log_contains(scene, "the process that starts token helpers has ended"));
}

int main(int argc, char **argv)
{
    actor_main(argc, argv);
    const struct CMUnitTest tests[] = {
        scene_test(without_its_starter_it_finishes_and_ends),
        scene_test(a_helper_begins_with_the_signals_of_a_fresh_process),
        scene_test(a_token_failure_is_tried_again),
        scene_test(a_token_that_is_away_spends_no_attempts),
        scene_test(while_the_token_is_away_little_is_received_and_tried_rarely),
        scene_test(a_request_that_expires_while_the_token_is_away_is_answered),
        scene_test(a_request_that_the_token_fails_on_ends_while_others_are_served),
        scene_test(a_helper_that_makes_progress_is_not_replaced),
        scene_test(the_job_of_a_bad_helper_is_done_by_the_next),
        scene_test(a_job_that_kills_every_helper_is_given_back),
        scene_test(a_request_whose_key_has_gone_is_left_to_other_connectors_at_first),
        scene_test(a_refused_pin_is_tried_once_and_ends_the_start),
        scene_test(a_helper_lost_in_its_login_has_tried_the_pin),
        scene_test(a_token_that_is_away_at_the_start_is_waited_for),
        scene_test(less_custody_than_required_is_no_start),
        scene_test(a_pin_refused_later_leaves_it_up_to_tell),
        scene_test(two_helpers_in_a_row_lost_in_their_login_halt),
        scene_test(a_pin_refused_in_a_job_halts_and_gives_the_job_back),
        scene_test(a_pin_from_a_pipe_is_not_replaced_by_nothing),
        scene_test(a_pin_from_a_file_descriptor_serves_every_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
