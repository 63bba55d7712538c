/* SPDX-License-Identifier: Apache-2.0 */
/* A PIN is tried once, and not at all where a wrong one could lock the token. */
#include "hsm/token_private.h"
#include "fault_fixture.h"

static struct fixture fixture;
static struct token *token;
static const struct fault_control *fault;

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    fixture_softhsm(&fixture);
    fault = fault_load(&fixture);
    MUST(token_open(&fixture.address, &token, &err), err);
    return 0;
}

static int end(void **state)
{
    (void)state;
    token_close(&token);
    fixture_end(&fixture);
    return 0;
}

static bool try_pin(const char *text, struct error *err)
{
    struct secret *pin = NULL;
    MUST(secret_copy(text, strlen(text), &pin, err), *err);
    bool ok = token_login(token, pin, err);
    secret_free(&pin);
    return ok;
}

static void a_token_that_counts_down_is_left_alone(void **state)
{
    (void)state;
    static const struct {
        const char *flag;
        enum pin_state state;
    } rows[] = {
        {"CKF_USER_PIN_COUNT_LOW", PIN_STATE_COUNT_LOW},
        {"CKF_USER_PIN_FINAL_TRY", PIN_STATE_FINAL_TRY},
        {"CKF_USER_PIN_LOCKED", PIN_STATE_LOCKED},
        {"CKF_USER_PIN_TO_BE_CHANGED", PIN_STATE_EXPIRED},
    };
    fault->reset();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = ERROR_INIT;
        enum pin_state found;
        char script[96];
        snprintf(script, sizeof script, "C_GetTokenInfo * flags %s", rows[i].flag);
        fault_set(fault, script);
        MUST(token_pin_state(token, &found, &err), err);
        assert_int_equal(found, rows[i].state);
        assert_false(try_pin(TEST_PIN, &err));
        assert_int_equal(err.kind, FAIL_PIN);
        assert_non_null(strstr(err.text, pin_state_text(rows[i].state)));
        assert_true(err.hint[0] != '\0');
    }
    fault_set(fault, "");
    assert_int_equal(fault->calls("C_Login"), 0);
}

static void a_pin_of_impossible_length_burns_no_try(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    size_t min, max;
    enum pin_state found;
    token_pin_bounds(token, &min, &max);
    assert_true(min > 1 && max >= min);
    fault->reset();
    assert_false(try_pin("", &err));
    assert_int_equal(err.kind, FAIL_PIN);
    assert_false(token_login(token, NULL, &err)); /* no PIN pad */
    assert_int_equal(err.kind, FAIL_USAGE);
    assert_int_equal(fault->calls("C_Login"), 0);
    MUST(token_pin_state(token, &found, &err), err);
    assert_int_equal(found, PIN_STATE_OK);
}

static void only_a_failure_that_is_not_the_pins_is_worth_another_try(void **state)
{
    (void)state;
    static const struct {
        CK_RV rv;
        enum failure kind;
        const char *name;
    } rows[] = {
        {CKR_PIN_INCORRECT, FAIL_PIN, "CKR_PIN_INCORRECT"},
        {CKR_PIN_LOCKED, FAIL_PIN, "CKR_PIN_LOCKED"},
        /* This token is SoftHSM, which says so while another process writes the token's file. */
        {CKR_GENERAL_ERROR, FAIL_TOKEN, "CKR_GENERAL_ERROR"},
        {CKR_FUNCTION_FAILED, FAIL_PIN, "CKR_FUNCTION_FAILED"},
        {CKR_FUNCTION_CANCELED, FAIL_PIN, "CKR_FUNCTION_CANCELED"},
        {CKR_USER_NOT_LOGGED_IN, FAIL_PIN, "CKR_USER_NOT_LOGGED_IN"},
        {CKR_ENCRYPTED_DATA_INVALID, FAIL_PIN, "CKR_ENCRYPTED_DATA_INVALID"},
        {CKR_USER_TYPE_INVALID, FAIL_PIN, "CKR_USER_TYPE_INVALID"},
        {CKR_VENDOR_DEFINED + 0x12, FAIL_PIN, "CKR_VENDOR_DEFINED+0x12"},
        {0x7777, FAIL_PIN, "CK_RV 0x7777"},
        {CKR_SESSION_HANDLE_INVALID, FAIL_TOKEN, "CKR_SESSION_HANDLE_INVALID"},
        {CKR_DEVICE_REMOVED, FAIL_TOKEN, "CKR_DEVICE_REMOVED"},
        {CKR_DEVICE_MEMORY, FAIL_TOKEN, "CKR_DEVICE_MEMORY"},
        {CKR_CRYPTOKI_NOT_INITIALIZED, FAIL_TOKEN, "CKR_CRYPTOKI_NOT_INITIALIZED"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = ERROR_INIT;
        char script[96];
        snprintf(script, sizeof script, "C_Login * return 0x%lx", rows[i].rv);
        fault_set(fault, script);
        fault->reset();
        assert_false(try_pin(TEST_PIN, &err));
        assert_int_equal(fault->calls("C_Login"), 1);
        assert_int_equal(err.kind, rows[i].kind);
        assert_non_null(strstr(err.text, rows[i].name));
        bool again = strstr(err.text, "not be tried again by itself") == NULL;
        assert_int_equal(again, rows[i].kind != FAIL_PIN);
    }
    fault_set(fault, "");
    /* Those that the token seemed to have ended are open in truth. */
    assert_int_equal(token->f->C_CloseAllSessions(token->slot), CKR_OK);
}

static int announced; /* times */
static bool heard;

static bool announce(void *context, struct error *err)
{
    assert_ptr_equal(context, &announced);
    assert_int_equal(fault->calls("C_Login"),
                     0); /* before, not after: the module may never return */
    announced++;
    return heard ? true : error_set(err, FAIL_IO, "nobody hears");
}

static void a_pin_is_tried_only_after_it_was_announced(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    fault->reset();
    token_before_first_login(token, announce, &announced);
    fault_set(fault, "C_GetTokenInfo * flags CKF_USER_PIN_FINAL_TRY");
    assert_false(try_pin(TEST_PIN, &err)); /* not tried, so there is nothing to say */
    fault_set(fault, "");
    assert_int_equal(announced, 0);
    heard = false;
    assert_false(try_pin(TEST_PIN, &err));
    assert_int_equal(err.kind, FAIL_IO);
    assert_int_equal(announced, 1);
    assert_int_equal(fault->calls("C_Login"), 0);
    heard = true;
    MUST(try_pin(TEST_PIN, &err), err);
    assert_int_equal(announced, 2);
    assert_int_equal(fault->calls("C_Login"), 1);
    MUST(try_pin(TEST_PIN, &err), err);
    assert_int_equal(announced, 2);
    token_logout(token);
}

static void logging_in_twice_is_success(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct session *session = NULL;
    bool logged_in = false;
    if (!try_pin(TEST_PIN, &err) || !try_pin(TEST_PIN, &err))
        fail_msg("%s", err.text);
    MUST(session_open(token, SESSION_READ_ONLY, &session, &err), err);
    MUST(session_logged_in(session, &logged_in, &err), err);
    assert_true(logged_in);
    session_close(&session);
    token_logout(token);
    MUST(session_open(token, SESSION_READ_ONLY, &session, &err), err);
    MUST(session_logged_in(session, &logged_in, &err), err);
    assert_false(logged_in);
    session_close(&session);
}

static void a_person_who_was_told_may_try_and_no_further_than_that(void **state)
{
    (void)state;
    static const struct {
        const char *flag;
        enum pin_state told;
        bool tried;
    } rows[] = {
        {"CKF_USER_PIN_COUNT_LOW", PIN_STATE_OK, false},
        {"CKF_USER_PIN_COUNT_LOW", PIN_STATE_COUNT_LOW, true},
        {"CKF_USER_PIN_FINAL_TRY", PIN_STATE_COUNT_LOW, false},
        {"CKF_USER_PIN_FINAL_TRY", PIN_STATE_FINAL_TRY, true},
        {"CKF_USER_PIN_LOCKED", PIN_STATE_LOCKED, false},
        {"CKF_USER_PIN_TO_BE_CHANGED", PIN_STATE_EXPIRED, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = ERROR_INIT;
        char script[96];
        fault->reset();
        snprintf(script, sizeof script, "C_GetTokenInfo * flags %s", rows[i].flag);
        fault_set(fault, script);
        assert_int_equal(token_login_told(token, fixture.pin, rows[i].told, &err), rows[i].tried);
        assert_int_equal(err.kind, rows[i].tried ? FAIL_NONE : FAIL_PIN);
        assert_int_equal(fault->calls("C_Login"), rows[i].tried);
        token_logout(token);
    }
    fault_set(fault, "");
}

/* Last: the token has a failed try afterwards. */
static void a_wrong_pin_burns_exactly_one_try(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    enum pin_state found;
    fault->reset();
    assert_false(try_pin("9999-wrong", &err));
    assert_int_equal(err.kind, FAIL_PIN);
    assert_non_null(strstr(err.text, "CKR_PIN_INCORRECT"));
    assert_null(strstr(err.text, "9999"));
    assert_int_equal(fault->calls("C_Login"), 1);
    MUST(token_pin_state(token, &found, &err), err);
    assert_int_equal(found, PIN_STATE_COUNT_LOW);
    for (int i = 0; i < 5; i++) {
        assert_false(try_pin("9999-wrong", &err));
        assert_int_equal(err.kind, FAIL_PIN);
        assert_non_null(strstr(err.hint, "reseal token login"));
    }
    assert_int_equal(fault->calls("C_Login"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_that_counts_down_is_left_alone),
        cmocka_unit_test(a_pin_of_impossible_length_burns_no_try),
        cmocka_unit_test(only_a_failure_that_is_not_the_pins_is_worth_another_try),
        cmocka_unit_test(a_pin_is_tried_only_after_it_was_announced),
        cmocka_unit_test(logging_in_twice_is_success),
        cmocka_unit_test(a_person_who_was_told_may_try_and_no_further_than_that),
        cmocka_unit_test(a_wrong_pin_burns_exactly_one_try),
    };
    return cmocka_run_group_tests(tests, start, end);
}
