/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep of faults over custody host. */
#include "hsm_fixture_lies.h"

static int start(void **state)
{
    (void)state;
    promised = CUSTODY_HOST;
    service_fixture_start(fixture_softhsm, CUSTODY_HOST);
    setting_config(&setting, token_lines, "require = host\nworkers = 1");
    return 0;
}

static int end(void **state)
{
    (void)state;
    print_message("%lu cases\n", cases);
    service_fixture_end();
    return 0;
}

static void whatever_a_call_of_a_job_says_it_is_judged_right(void **state)
{
    (void)state;
    sweep_jobs("");
}

static void whatever_a_call_says_after_a_lost_session_it_is_judged_right(void **state)
{
    (void)state;
    sweep_jobs("C_Decrypt 1 after CKR_SESSION_CLOSED close");
}

static void whatever_a_call_says_after_a_lost_login_it_is_judged_right(void **state)
{
    (void)state;
    sweep_jobs("C_Decrypt 1 after CKR_USER_NOT_LOGGED_IN logout");
}

static void whatever_a_call_of_the_start_says_it_is_judged_right(void **state)
{
    (void)state;
    sweep_start();
}

static void whatever_is_said_of_a_bad_message_it_is_told_alike(void **state)
{
    (void)state;
    sweep_bad_messages("C_Decrypt");
}

static void what_the_token_lies_about_leads_to_no_wrong_answer(void **state)
{
    (void)state;
    sweep_lies("C_Decrypt");
}

static void a_token_that_counts_down_is_not_logged_in_to(void **state)
{
    (void)state;
    no_pin_where_the_token_counts_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_a_call_of_the_start_says_it_is_judged_right),
        cmocka_unit_test(whatever_a_call_of_a_job_says_it_is_judged_right),
        cmocka_unit_test(whatever_a_call_says_after_a_lost_session_it_is_judged_right),
        cmocka_unit_test(whatever_a_call_says_after_a_lost_login_it_is_judged_right),
        cmocka_unit_test(whatever_is_said_of_a_bad_message_it_is_told_alike),
        cmocka_unit_test(what_the_token_lies_about_leads_to_no_wrong_answer),
        cmocka_unit_test(a_token_that_counts_down_is_not_logged_in_to),
    };
    log_open("test", LOG_AS_JSON, LEVEL_ERROR);
    return cmocka_run_group_tests(tests, start, end);
}
