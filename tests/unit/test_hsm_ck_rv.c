/* SPDX-License-Identifier: Apache-2.0 */
/* Return values by name and by what they mean. */
#include "hsm/ck_rv.h"
#include "tests/unit/check.h"

static void every_value_of_the_standard_has_its_name(void **state)
{
    (void)state;
    static const struct {
        CK_RV rv;
        const char *name;
    } rows[] = {
        {0x0, "CKR_OK"},
        {0x2, "CKR_HOST_MEMORY"},
        {0x5, "CKR_GENERAL_ERROR"},
        {0x7, "CKR_ARGUMENTS_BAD"},
        {0x30, "CKR_DEVICE_ERROR"},
        {0x32, "CKR_DEVICE_REMOVED"},
        {0x68, "CKR_KEY_FUNCTION_NOT_PERMITTED"},
        {0x70, "CKR_MECHANISM_INVALID"},
        {0xa0, "CKR_PIN_INCORRECT"},
        {0xb3, "CKR_SESSION_HANDLE_INVALID"},
        {0xf0, "CKR_UNWRAPPING_KEY_HANDLE_INVALID"},
        {0x101, "CKR_USER_NOT_LOGGED_IN"},
        {0x110, "CKR_WRAPPED_KEY_INVALID"},
        {0x190, "CKR_CRYPTOKI_NOT_INITIALIZED"},
        {0x200, "CKR_FUNCTION_REJECTED"},
    };
    char text[CK_RV_TEXT];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ck_rv_text(rows[i].rv, text);
        assert_string_equal(text, rows[i].name);
    }
}

static void values_outside_the_standard_are_shown_as_what_they_are(void **state)
{
    (void)state;
    char text[CK_RV_TEXT];
    ck_rv_text(0x80000012UL, text);
    assert_string_equal(text, "CKR_VENDOR_DEFINED+0x12");
    ck_rv_text(0x7777, text);
    assert_string_equal(text, "CK_RV 0x7777");
    ck_rv_text(~0UL, text);
    assert_memory_equal(text, "CKR_VENDOR_DEFINED+0x", 21);
}

static void no_name_is_longer_than_its_place(void **state)
{
    (void)state;
    char text[CK_RV_TEXT], call[CK_CALL_TEXT];
    for (CK_RV rv = 0; rv < 0x300; rv++) {
        ck_rv_text(rv, text);
        assert_true(strlen(text) < CK_RV_TEXT - 1);
    }
    ck_call_text("C_GenerateKeyPair", CKM_RSA_PKCS_KEY_PAIR_GEN, call);
    assert_string_equal(call, "C_GenerateKeyPair(CKM_RSA_PKCS_KEY_PAIR_GEN)");
    assert_true(strlen(call) < sizeof((struct padding_finding *)0)->call);
    ck_call_text("C_DeriveKey", CKM_CONCATENATE_DATA_AND_BASE, call);
    assert_true(strlen(call) < sizeof((struct padding_finding *)0)->call);
    ck_call_text("C_Login", NO_MECHANISM, call);
    assert_string_equal(call, "C_Login");
    ck_call_text("C_WrapKey", 0x80001234UL, call);
    assert_string_equal(call, "C_WrapKey(0x80001234)");
}

static void classes_say_what_to_do(void **state)
{
    (void)state;
    static const struct {
        CK_RV rv;
        enum ck_class class;
    } rows[] = {
        {CKR_OK, CK_CLASS_FINE},
        {CKR_SESSION_HANDLE_INVALID, CK_CLASS_SESSION_LOST},
        {CKR_SESSION_CLOSED, CK_CLASS_SESSION_LOST},
        {CKR_USER_NOT_LOGGED_IN, CK_CLASS_LOGIN_LOST},
        {CKR_DEVICE_REMOVED, CK_CLASS_TOKEN_GONE},
        {CKR_TOKEN_NOT_PRESENT, CK_CLASS_TOKEN_GONE},
        {CKR_DEVICE_ERROR, CK_CLASS_TOKEN_GONE},
        {CKR_SESSION_COUNT, CK_CLASS_FEWER_SESSIONS},
        {CKR_DEVICE_MEMORY, CK_CLASS_FEWER_SESSIONS},
        {CKR_HOST_MEMORY, CK_CLASS_FEWER_SESSIONS},
        {CKR_CRYPTOKI_NOT_INITIALIZED, CK_CLASS_RESTART},
        {CKR_WRAPPED_KEY_INVALID, CK_CLASS_MESSAGE_BAD},
        {CKR_ENCRYPTED_DATA_INVALID, CK_CLASS_MESSAGE_BAD},
        {CKR_MECHANISM_INVALID, CK_CLASS_NOT_THIS_WAY},
        {CKR_PIN_INCORRECT, CK_CLASS_PIN},
        {CKR_PIN_LOCKED, CK_CLASS_PIN},
        {CKR_GENERAL_ERROR, CK_CLASS_GENERAL},
        {CKR_VENDOR_DEFINED + 1, CK_CLASS_GENERAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(ck_rv_class(rows[i].rv), rows[i].class);
    assert_true(ck_class_is_trouble(CK_CLASS_TOKEN_GONE));
    assert_false(ck_class_is_trouble(CK_CLASS_MESSAGE_BAD));
    assert_false(ck_class_is_trouble(CK_CLASS_GENERAL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_of_the_standard_has_its_name),
        cmocka_unit_test(values_outside_the_standard_are_shown_as_what_they_are),
        cmocka_unit_test(no_name_is_longer_than_its_place),
        cmocka_unit_test(classes_say_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
