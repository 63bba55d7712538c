/* SPDX-License-Identifier: Apache-2.0 */
/* How many sessions the token helper works with where the configuration leaves it to the helper. */
#include "hsm_fixture_service.h"
#include "reseal/clock.h"

/* Long enough that a busy machine does not hide what another session gains. */
#define SLOW_TOKEN "private-key-delay 250\n"

static int start(void **state)
{
    (void)state;
    service_fixture_start(fixture_softhsm, CUSTODY_HOST);
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_fixture_end();
    return 0;
}

/* Starts with that, does a job, ends; how many sessions it had. */
static unsigned sessions_with(const char *settings, const char *script)
{
    setting_config(&setting, token_lines, settings);
    struct run *run = run_try(script);
    if (!hello.ready)
        fail_msg("%s", hello.error.text);
    ask(run, 1);
    peer_success(&setting, run->channel, 1, 17, CUSTODY_HOST);
    assert_int_equal(run_end(run, true), 0);
    assert_int_equal(fault->sessions(), 0);
    return hello.sessions;
}

static void a_token_that_is_waited_for_gets_many_sessions(void **state)
{
    (void)state;
    assert_true(sessions_with("require = host\nworkers = auto", SLOW_TOKEN) >= 8);
}

static void no_more_sessions_are_used_than_the_token_gives(void **state)
{
    (void)state;
    unsigned sessions =
        sessions_with("require = host\nworkers = auto", SLOW_TOKEN "sessions-max 6\n");
    assert_true(sessions >= 2 && sessions <= 6);
}

static void a_token_with_one_session_to_spare_is_served_by_one(void **state)
{
    (void)state;
    /* One holds the login, one was the probe's, the third is a worker's. */
    assert_int_equal(sessions_with("require = host\nworkers = auto", "sessions-max 3\n"), 1);
}

static void the_number_in_the_configuration_counts_whatever_it_gains(void **state)
{
    (void)state;
    assert_int_equal(sessions_with("require = host\nworkers = 3", ""), 3);
}

/* The other lane is never given back: only time can help. */
static void who_waits_for_a_lane_tries_one_that_has_rested(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct lanes *lanes = NULL;
    struct session stand_in; /* never used */
    MUST(lanes_new(2, &lanes, &err), err);
    struct lane *open = lanes_take(lanes), *resting = lanes_take(lanes);
    open->session = &stand_in;
    lanes_give(lanes, open);
    int64_t until_ms = clock_monotonic_ms() + 200;
    resting->rest_until_ms = until_ms;
    lanes_give(lanes, resting);
    assert_ptr_equal(lanes_take(lanes), open);
    assert_ptr_equal(lanes_take(lanes), resting);
    assert_true(clock_monotonic_ms() >= until_ms);
    open->session = NULL;
    lanes_give(lanes, open);
    lanes_give(lanes, resting);
    lanes_free(&lanes);
}

/* Otherwise its worker would take it again and again while the others are at work. */
static void a_lane_that_got_its_session_and_then_failed_is_not_short_of_sessions(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct lanes *lanes = NULL;
    bool denied = false;
    setting_config(&setting, token_lines, "require = host\nworkers = 1");
    struct run *run = run_try("");
    assert_true(hello.ready);
    MUST(lanes_new(1, &lanes, &err), err);
    struct lane *lane = lanes_take(lanes);
    fault_set(fault, "sessions-max 3");
    assert_false(lane_open(&run->service, lane, &denied, &err));
    assert_true(denied && lane->rest_until_ms > clock_monotonic_ms());
    fault_set(fault, "C_FindObjectsInit * return CKR_GENERAL_ERROR");
    assert_false(lane_open(&run->service, lane, &denied, &err));
    assert_int_equal(err.kind, FAIL_TOKEN);
    assert_true(!denied && lane->rest_until_ms == 0);
    fault_set(fault, "");
    MUST(lane_open(&run->service, lane, &denied, &err), err);
    assert_non_null(lane->keys[0]);
    lanes_give(lanes, lane);
    lanes_free(&lanes);
    assert_int_equal(run_end(run, true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_that_is_waited_for_gets_many_sessions),
        cmocka_unit_test(no_more_sessions_are_used_than_the_token_gives),
        cmocka_unit_test(a_token_with_one_session_to_spare_is_served_by_one),
        cmocka_unit_test(who_waits_for_a_lane_tries_one_that_has_rested),
        cmocka_unit_test(a_lane_that_got_its_session_and_then_failed_is_not_short_of_sessions),
        cmocka_unit_test(the_number_in_the_configuration_counts_whatever_it_gains),
    };
    return cmocka_run_group_tests(tests, start, end);
}
