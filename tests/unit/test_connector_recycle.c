/* SPDX-License-Identifier: Apache-2.0 */
/* A helper that has done many jobs, or has grown, gives way to a fresh one; nothing is lost by it.
 */
#include "tests/unit/connector_scene.h"

#define FRESH "a fresh token helper takes over"

static void offer_many(struct scene *scene, unsigned count, unsigned copies)
{
    for (unsigned i = 0; i < count; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%u", i);
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
    expect_all_done_once(scene, 80);
    wait_for_log_count(scene, FRESH, 2);
    assert_int_equal(log_count(scene, "the token helper is lost"), 0);
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
    wait_for_log_count(scene, "no fresh token helper can take over yet", 1);
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
        scene_test(jobs_in_the_old_helpers_hands_are_finished_by_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
