/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep of faults over custody token. */
#include "hsm_fixture_lies.h"

static void make_nss(struct fixture *made)
{
    fixture_nss(made, TEST_PIN);
}

static int start(void **state)
{
    (void)state;
    promised = CUSTODY_TOKEN;
    service_fixture_start(make_nss, CUSTODY_TOKEN);
    setting_config(&setting, token_lines, "require = token\nworkers = 1");
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
    sweep_jobs("C_UnwrapKey 1 after CKR_SESSION_CLOSED close");
}

static void whatever_a_call_says_after_a_lost_login_it_is_judged_right(void **state)
{
    (void)state;
    sweep_jobs("C_UnwrapKey 1 after CKR_USER_NOT_LOGGED_IN logout");
}

static void whatever_a_call_of_the_start_says_it_is_judged_right(void **state)
{
    (void)state;
    sweep_start();
}

static void whatever_is_said_of_a_bad_message_it_is_told_alike(void **state)
{
    (void)state;
    sweep_bad_messages("C_UnwrapKey");
}

static void what_the_token_lies_about_leads_to_no_wrong_answer(void **state)
{
    (void)state;
    sweep_lies("C_UnwrapKey");
}

static void a_token_that_counts_down_is_not_logged_in_to(void **state)
{
    (void)state;
    no_pin_where_the_token_counts_down();
}

static void assert_no_custody_token(const char *script, const char *call)
{
    struct run *run = run_try(script);
    assert_false(hello.ready);
    /* The key may not decrypt: there is no custody host either. */
    assert_int_equal(hello.error.kind, FAIL_UNSUPPORTED);
    if (strstr(hello.error.text, call) == NULL)
        fail_msg("%s", hello.error.text);
    assert_int_equal(run_end(run, true), 4);
}

static void a_secret_that_can_be_read_is_never_in_custody_token(void **state)
{
    (void)state;
    assert_no_custody_token("C_GetAttributeValue * of CKA_SENSITIVE value 00",
                            "C_GetAttributeValue(CKA_SENSITIVE)");
    assert_no_custody_token("C_GetAttributeValue * of CKA_SENSITIVE value 01\n"
                            "C_GetAttributeValue * of CKA_VALUE return CKR_OK\n"
                            "C_GetAttributeValue * of CKA_VALUE length 16\n",
                            "C_GetAttributeValue(CKA_VALUE)");
    assert_no_custody_token(
        "C_GetAttributeValue * of CKA_SENSITIVE return CKR_ATTRIBUTE_TYPE_INVALID",
        "CKR_ATTRIBUTE_TYPE_INVALID");
    must_start();
}

static void an_answer_of_the_moment_spoils_nothing_that_is_learned(void **state)
{
    (void)state;
    static const char *const scripts[] = {
        "C_UnwrapKey 1 return CKR_GENERAL_ERROR", "C_WrapKey 2 return CKR_FUNCTION_FAILED",
        "C_GenerateKey 1 return CKR_VENDOR_DEFINED+0x5", "C_DeriveKey 1 after CKR_GENERAL_ERROR"};
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct run *run = run_try(scripts[i]);
        assert_true(hello.ready);
        assert_int_equal(fault->faults(), 1);
        for (size_t k = 0; k < PADDING_COUNT; k++) {
            assert_int_equal(hello.report.keys[0].paddings[k].custody, CUSTODY_TOKEN);
            assert_string_equal(hello.report.keys[0].paddings[k].quirk, "");
        }
        assert_int_equal(run_end(run, true), 0);
    }
}

/* Custody token was promised: a token that changes its mind is refused, not followed. */
static void a_secret_that_becomes_readable_later_is_refused(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    const struct scene scene = {.setup = "", .calls = "", .when = "later"};
    struct run *run = run_start();
    fault_set(fault, "C_GetAttributeValue * of CKA_VALUE return CKR_OK\n"
                     "C_GetAttributeValue * of CKA_VALUE length 16\n");
    assert_false(job_done(&scene, run, &failure));
    assert_int_equal(failure.kind, FAIL_POLICY);
    fault_set(fault, "");
    job_must_succeed(&scene, run);
    assert_int_equal(run_end(run, true), 0);
}

/* A profile is nearly all in front of the password: half of it on each side shows nothing. */
static void text_is_tried_as_long_as_it_may_be_on_one_side(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        size_t affixes;
    } rows[] = {{"", HELPER_AFFIX_MAX}, {"text-max 40000", 16384}, {"text-max 5", 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct run *run = run_try(rows[i].script);
        assert_true(hello.ready);
        for (size_t k = 0; k < PADDING_COUNT; k++)
            assert_int_equal(hello.report.keys[0].paddings[k].affixes, rows[i].affixes);
        fault_set(fault, "");
        assert_int_equal(run_end(run, true), 0);
    }
}

/* Not the message is bad, but what the token takes: that may pass, and 4003 would be for good. */
static void a_token_that_takes_less_text_than_before_is_in_trouble(void **state)
{
    (void)state;
    struct error failure = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024), text = BUF_INIT(HELPER_AFFIX_MAX);
    struct run *run = run_start();
    struct reseal_message message = peer_job(&setting, sealing, KEY_NAME, 17, &sealed);
    assert_non_null(buf_extend(&text, 20000));
    memset(text.data, 't', text.len);
    message.prefix = buf_bytes(&text);
    fault_set(fault, "text-max 19999");
    peer_ask(run->channel, 1, &message);
    peer_failure(run->channel, 1, &failure);
    assert_int_equal(failure.kind, FAIL_TOKEN);
    fault_set(fault, "");
    assert_int_equal(run_end(run, false), 4);
    buf_free(&sealed);
    buf_free(&text);
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
        cmocka_unit_test(a_secret_that_can_be_read_is_never_in_custody_token),
        cmocka_unit_test(an_answer_of_the_moment_spoils_nothing_that_is_learned),
        cmocka_unit_test(a_secret_that_becomes_readable_later_is_refused),
        cmocka_unit_test(text_is_tried_as_long_as_it_may_be_on_one_side),
        cmocka_unit_test(a_token_that_takes_less_text_than_before_is_in_trouble),
    };
    log_open("test", LOG_AS_JSON, LEVEL_ERROR);
    return cmocka_run_group_tests(tests, start, end);
}
