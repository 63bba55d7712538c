/* SPDX-License-Identifier: Apache-2.0 */
/* Which slot holds our token: tokens move, others come in their place, and modules miscount. */
#include "hsm/token_private.h"
#include "hsm_fixture.h"

#define OTHER_SLOT 0x7700UL

static struct fixture fixture;
static struct token *token;
static CK_FUNCTION_LIST changed;
static CK_FUNCTION_LIST_PTR real;
static CK_SLOT_ID own_slot;
static int sessions, logins;

/* -- the module, with a token that went to another slot -- */

static enum {
    AT_HOME,
    MOVED,    /* our token is in the other slot, its own is empty */
    REPLACED, /* a token with its label came in its slot */
    TAKEN,    /* its slot is empty; in the other is a token with its label */
} place;
static CK_TOKEN_INFO stranger;

static CK_RV slot_list(CK_BBOOL present, CK_SLOT_ID_PTR slots, CK_ULONG_PTR count)
{
    if (place == AT_HOME)
        return real->C_GetSlotList(present, slots, count);
    assert_non_null(slots);
    assert_true(*count >= 2);
    slots[0] = own_slot;
    slots[1] = OTHER_SLOT;
    *count = 2;
    return CKR_OK;
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
    bool other = slot == OTHER_SLOT;
    if (place == AT_HOME || (place == MOVED && other))
        return real->C_GetTokenInfo(own_slot, info);
    if ((place == REPLACED && !other) || (place == TAKEN && other)) {
        *info = stranger;
        return CKR_OK;
    }
    return CKR_TOKEN_NOT_PRESENT;
}

/* Whatever token is there takes sessions and logins. */
static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application,
                          CK_NOTIFY notify, CK_SESSION_HANDLE_PTR out)
{
    CK_TOKEN_INFO info;
    CK_RV rv = token_info(slot, &info);
    if (rv != CKR_OK)
        return rv;
    sessions++;
    return real->C_OpenSession(own_slot, flags, application, notify, out);
}

static CK_RV counted_login(CK_SESSION_HANDLE handle, CK_USER_TYPE type, CK_UTF8CHAR_PTR pin,
                           CK_ULONG len)
{
    logins++;
    return real->C_Login(handle, type, pin, len);
}

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    fixture_softhsm(&fixture);
    assert_string_equal(fixture.address.serial, ""); /* the label alone names the token */
    MUST(token_open(&fixture.address, &token, &err), err);
    real = token->f;
    own_slot = token->slot;
    assert_int_equal(real->C_GetTokenInfo(own_slot, &stranger), CKR_OK);
    stranger.serialNumber[0] = stranger.serialNumber[0] == '0' ? '1' : '0';
    changed = *real;
    changed.C_GetSlotList = slot_list;
    changed.C_GetTokenInfo = token_info;
    changed.C_OpenSession = open_session;
    changed.C_Login = counted_login;
    token->f = &changed;
    return 0;
}

static int end(void **state)
{
    (void)state;
    token->f = real;
    token_close(&token);
    fixture_end(&fixture);
    return 0;
}

/* -- promises -- */

static void a_token_that_moved_is_found_in_its_new_slot(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct session *session = NULL;
    place = MOVED;
    MUST(session_open(token, SESSION_READ_ONLY, &session, &err), err);
    assert_int_equal(token->slot, OTHER_SLOT);
    MUST(token_login(token, fixture.pin, &err), err);
    session_close(&session);
    token_logout(token);
    place = AT_HOME;
    token->slot = own_slot;
}

static void a_token_with_the_same_label_gets_no_session_and_no_pin(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct error err = ERROR_INIT;
        struct session *session = NULL;
        place = i == 0 ? REPLACED : TAKEN;
        sessions = logins = 0;
        assert_false(session_open(token, SESSION_READ_ONLY, &session, &err));
        assert_int_equal(err.kind, FAIL_TOKEN);
        assert_non_null(strstr(err.text, "CKR_TOKEN_NOT_PRESENT"));
        assert_int_equal(token->slot, own_slot);
        assert_false(token_login(token, fixture.pin, &err));
        assert_int_equal(err.kind, FAIL_TOKEN); /* ours may come back */
        assert_int_equal(sessions, 0);
        assert_int_equal(logins, 0);
    }
    place = AT_HOME;
    struct error err = ERROR_INIT;
    struct session *session = NULL;
    MUST(session_open(token, SESSION_READ_ONLY, &session, &err), err);
    session_close(&session);
}

static CK_RV boastful_list(CK_BBOOL present, CK_SLOT_ID_PTR slots, CK_ULONG_PTR count)
{
    (void)present;
    for (CK_ULONG i = 0; i < *count; i++)
        slots[i] = OTHER_SLOT;
    *count += 100000;
    return CKR_OK;
}

static int asked; /* for the info of a slot that the list held */

static CK_RV absent_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
    (void)info;
    assert_int_equal(slot, OTHER_SLOT);
    asked++;
    return CKR_TOKEN_NOT_PRESENT;
}

static void a_module_that_counts_more_slots_than_it_gave_is_read_no_further(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    CK_FUNCTION_LIST boastful = *real;
    CK_TOKEN_INFO info;
    CK_SLOT_ID slot;
    boastful.C_GetSlotList = boastful_list;
    boastful.C_GetTokenInfo = absent_info;
    asked = 0;
    assert_false(token_find_slot(&boastful, &fixture.address, &slot, &info, &err));
    assert_int_equal(err.kind, FAIL_NOT_FOUND);
    assert_true(asked > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_that_moved_is_found_in_its_new_slot),
        cmocka_unit_test(a_token_with_the_same_label_gets_no_session_and_no_pin),
        cmocka_unit_test(a_module_that_counts_more_slots_than_it_gave_is_read_no_further),
    };
    return cmocka_run_group_tests(tests, start, end);
}
