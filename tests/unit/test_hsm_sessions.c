/* SPDX-License-Identifier: Apache-2.0 */
/* How many sessions the token helper works with where the configuration leaves it to the helper. */
#include "hsm_fixture_service.h"

/* Long enough that a busy machine does not hide what another session gains. */
#define SLOW_TOKEN "private-key-delay 100\n"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_that_is_waited_for_gets_many_sessions),
        cmocka_unit_test(no_more_sessions_are_used_than_the_token_gives),
        cmocka_unit_test(a_token_with_one_session_to_spare_is_served_by_one),
        cmocka_unit_test(the_number_in_the_configuration_counts_whatever_it_gains),
    };
    return cmocka_run_group_tests(tests, start, end);
}
