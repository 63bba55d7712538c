/* SPDX-License-Identifier: Apache-2.0 */
/* A helper that has done many jobs, or has grown, gives way to a fresh one; nothing is lost by it.
 */
#include "tests/unit/connector_scene.h"

#define FRESH     "a fresh token helper takes over"
#define NOT_FRESH "no fresh token helper can take over yet"
#define LOST      "the token helper is lost"

static void offer_many(struct scene *scene, unsigned count, unsigned copies)
{
    static unsigned offered; /* no id twice: one that is in hand would be taken for the same */
    for (unsigned i = 0; i < count; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%u", offered++);
        offer_for(scene, ACTOR_KEY, id, 3, copies); /* each with the last of its attempts */
    }
}

/* Every request was done by the first helper that had it. */
static void expect_all_done_once(struct scene *scene, int64_t count)
{
    wait_for_counts(scene, "resealed", count);
    assert_int_equal(count_of(scene, "retried"), 0);
    assert_int_equal(count_of(scene, "failed") + count_of(scene, "refused"), 0);
}

static void a_helper_that_has_done_its_jobs_gives_way_without_a_job_lost_or_late(void **state)
{
    struct scene *scene = *state;
    start(scene, "good", "helper_jobs = 10\n");
    wait_for_state(scene, "serving");
    offer_many(scene, 8, 10);
    wait_for_log_count(scene, FRESH, 1);
    offer_many(scene, 2, 10);
    expect_all_done_once(scene, 100);
    wait_for_log_count(scene, FRESH, 2);
    assert_int_equal(log_count(scene, LOST), 0);
    assert_true(actor_starts(scene->config) >= 3);
    assert_int_equal(stop(scene), 0);
}

static void a_helper_that_has_grown_gives_way(void **state)
{
    struct scene *scene = *state;
    start(scene, "grow", "helper_jobs = 0\nhelper_growth = 2\n");
    wait_for_state(scene, "serving");
    offer_many(scene, 26, 10); /* enough to be warm, and to be asked a few times */
    expect_all_done_once(scene, 260);
    wait_for_log_count(scene, FRESH, 1);
    assert_int_equal(actor_starts(scene->config), 2); /* the second one does not grow */
    assert_int_equal(stop(scene), 0);
}

static void the_old_helper_serves_on_where_no_fresh_one_comes_up(void **state)
{
    struct scene *scene = *state;
    start(scene, "second-refuses", "helper_jobs = 5\n");
    wait_for_state(scene, "serving");
    offer_many(scene, 3, 4);
    wait_for_log_count(scene, NOT_FRESH, 1);
    offer_many(scene, 3, 4);
    expect_all_done_once(scene, 24);
    wait_for_log_count(scene, FRESH, 1); /* the third one comes up, after a pause */
    assert_int_equal(stop(scene), 0);
}

static void a_pin_that_is_refused_to_a_fresh_helper_is_not_tried_again(void **state)
{
    struct scene *scene = *state;
    start(scene, "pin-for-first-only", "helper_jobs = 5\n");
    wait_for_state(scene, "serving");
    offer_many(scene, 3, 4);
    wait_for_log_count(scene, "the PIN was refused to a fresh token helper", 1);
    offer_many(scene, 4, 10);
    expect_all_done_once(scene, 52);
    assert_int_equal(actor_starts(scene->config), 2);
    assert_int_equal(stop(scene), 0);
}

/* True where what the helpers were told begins so: see helper_actor.h. */
static bool trace_begins(const struct scene *scene, const char *expected)
{
    struct buf text = BUF_INIT(1 << 20);
    struct error err = ERROR_INIT;
    char path[4300];
    actor_file(scene->config, "default", "trace", path);
    bool same =
        file_read(path, &text, &err) && strncmp(buf_text(&text), expected, strlen(expected)) == 0;
    buf_free(&text);
    return same;
}

static void wait_for_trace(const struct scene *scene, const char *expected)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    while (!trace_begins(scene, expected)) {
        if (clock_monotonic_ms() > end)
            fail_msg("the helpers were not told %s", expected);
        nanosleep(&pause, NULL);
    }
}

/* No two of a token's helpers can spend a try each: 1 is LOGIN_HELD, 2 LOGIN_NEVER. */
static void a_helper_leaves_the_pin_alone_while_a_fresh_one_tries_it(void **state)
{
    struct scene *scene = *state;
    start(scene, "pin-for-first-only", "helper_jobs = 5\n");
    wait_for_state(scene, "serving");
    offer_many(scene, 3, 4);
    wait_for_trace(scene, "start 1\nrule 1 1\nstart 2\nrule 1 2\n");
    offer_many(scene, 2, 4);
    expect_all_done_once(scene, 20);
    assert_int_equal(actor_starts(scene->config), 2);
    assert_int_equal(stop(scene), 0);
}

static void a_helper_may_log_in_again_where_no_fresh_one_came_up(void **state)
{
    struct scene *scene = *state;
    start(scene, "second-refuses", "helper_jobs = 5\n");
    wait_for_state(scene, "serving");
    offer_many(scene, 3, 4);
    wait_for_log_count(scene, NOT_FRESH, 1);
    wait_for_trace(scene, "start 1\nrule 1 1\nstart 2\nrule 1 0\n");
    assert_int_equal(stop(scene), 0);
}

/* Its jobs go to the other, which has the login to itself. */
static void a_helper_that_leaves_logs_in_no_more(void **state)
{
    struct scene *scene = *state;
    start(scene, "slow", "helper_jobs = 1\n");
    wait_for_state(scene, "serving");
    offer_for(scene, ACTOR_KEY, "r", 3, 3);
    wait_for_log_count(scene, FRESH, 1);
    wait_for_counts(scene, "resealed", 3);
    assert_true(trace_begins(scene, "start 1\nrule 1 1\nstart 2\nrule 1 2\n"));
    assert_int_equal(stop(scene), 0);
}

/* Whoever dies while a fresh helper starts: each job with the last of its attempts is done, and
 * none is given back. */
static void expect_no_job_lost_by(struct scene *scene, const char *actor, const char *losses)
{
    start(scene, actor, "helper_jobs = 5\n");
    wait_for_state(scene, "serving");
    offer_many(scene, 4, 4);
    wait_for_counts(scene, "resealed", 16);
    assert_int_equal(count_of(scene, "failed") + count_of(scene, "refused"), 0);
    assert_int_equal(log_count(scene, "request is given back"), 0);
    wait_for_log_count(scene, losses, 1);
    wait_for_state(scene, "serving");
    assert_int_equal(stop(scene), 0);
}

static void the_old_helper_may_die_while_a_fresh_one_starts(void **state)
{
    struct scene *scene = *state;
    expect_no_job_lost_by(scene, "first-dies", LOST);
    /* No third is started beside the second. */
    assert_true(trace_begins(scene, "start 1\nrule 1 1\nstart 2\nrule 2 "));
}

static void a_fresh_helper_may_die_while_it_starts(void **state)
{
    struct scene *scene = *state;
    expect_no_job_lost_by(scene, "second-dies", NOT_FRESH);
    assert_int_equal(log_count(scene, FRESH), 0);
}

static void both_helpers_may_die_while_the_fresh_one_starts(void **state)
{
    struct scene *scene = *state;
    expect_no_job_lost_by(scene, "both-die", LOST);
}

static void jobs_in_the_old_helpers_hands_are_finished_by_it(void **state)
{
    struct scene *scene = *state;
    start(scene, "slow", "helper_jobs = 1\n"); /* each job outlasts the start of a fresh one */
    wait_for_state(scene, "serving");
    offer_for(scene, ACTOR_KEY, "r", 3, 4);
    expect_all_done_once(scene, 4);
    wait_for_log_count(scene, FRESH, 1);
    assert_int_equal(stop(scene), 0);
}

int main(int argc, char **argv)
{
    actor_main(argc, argv);
    const struct CMUnitTest tests[] = {
        scene_test(a_helper_that_has_done_its_jobs_gives_way_without_a_job_lost_or_late),
        scene_test(a_helper_that_has_grown_gives_way),
        scene_test(the_old_helper_serves_on_where_no_fresh_one_comes_up),
        scene_test(a_pin_that_is_refused_to_a_fresh_helper_is_not_tried_again),
        scene_test(a_helper_leaves_the_pin_alone_while_a_fresh_one_tries_it),
        scene_test(a_helper_may_log_in_again_where_no_fresh_one_came_up),
        scene_test(a_helper_that_leaves_logs_in_no_more),
        scene_test(the_old_helper_may_die_while_a_fresh_one_starts),
        scene_test(a_fresh_helper_may_die_while_it_starts),
        scene_test(both_helpers_may_die_while_the_fresh_one_starts),
        scene_test(jobs_in_the_old_helpers_hands_are_finished_by_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
