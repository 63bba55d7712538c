/* SPDX-License-Identifier: Apache-2.0 */
/* What lists of tokens and keys promise, whatever the module. */
#ifndef RESEAL_TESTS_HSM_FIXTURE_LISTS_H
#define RESEAL_TESTS_HSM_FIXTURE_LISTS_H

#include "hsm_fixture_messages.h"
#include "tests/unit/check.h"

#define LISTED_KEY "listed"

static struct fixture fixture;
static char listed_fingerprint[FINGERPRINT_TEXT];

/* A token with one key, closed again: lists load the module anew. */
static inline void lists_start(enum custody custody)
{
    struct error err = ERROR_INIT;
    struct token *token = NULL;
    struct session *session = NULL;
    struct key_finding finding;
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    struct sealing_key *key = fixture_key(session, LISTED_KEY, 2048, custody);
    MUST(sealing_key_describe(session, key, &finding, &err), err);
    memcpy(listed_fingerprint, finding.fingerprint, sizeof listed_fingerprint);
    sealing_key_free(&key);
    session_close(&session);
    token_close(&token);
}

static int lists_end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static void tokens_are_listed_with_the_state_of_their_pin(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token_list_item *items = NULL;
    size_t count = 0, found = 0;
    MUST(token_list(&fixture.address, &items, &count, &err), err);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(items[i].facts.label, fixture.address.label) != 0)
            continue;
        found++;
        assert_true(items[i].initialized);
        assert_true(items[i].login_required);
        assert_int_equal(items[i].pin_state, PIN_STATE_OK);
        assert_true(items[i].facts.serial[0] != '\0');
        assert_true(items[i].facts.library[0] != '\0');
    }
    assert_int_equal(found, 1);
    free(items);
}

static void without_the_pin_public_halves_are_listed_only(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_list_item *keys = NULL;
    size_t count = 0;
    MUST(key_list(&fixture.address, NULL, &keys, &count, &err), err);
    assert_int_equal(count, 1);
    assert_string_equal(keys[0].label, LISTED_KEY);
    assert_true(keys[0].has_public);
    assert_false(keys[0].has_private);
    free(keys);
}

static void with_the_pin_both_halves_are_one_line(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_list_item *keys = NULL;
    size_t count = 0;
    MUST(key_list(&fixture.address, fixture.pin, &keys, &count, &err), err);
    assert_int_equal(count, 1);
    assert_string_equal(keys[0].label, LISTED_KEY);
    assert_string_equal(keys[0].type, "RSA");
    assert_int_equal(keys[0].bits, 2048);
    assert_int_equal(strlen(keys[0].id), 2 * KEY_ID_LEN);
    assert_string_equal(keys[0].fingerprint, listed_fingerprint);
    assert_true(keys[0].has_public);
    assert_true(keys[0].has_private);
    free(keys);
}

static void the_exported_key_is_the_one_on_the_token(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char fingerprint[FINGERPRINT_TEXT];
    EVP_PKEY *key = NULL;
    MUST(key_export(&fixture.address, NULL, LISTED_KEY, &key, &err), err);
    MUST(public_key_fingerprint(key, fingerprint, &err), err);
    assert_string_equal(fingerprint, listed_fingerprint);
    EVP_PKEY_free(key);
    key = NULL;
    assert_refused(key_export(&fixture.address, NULL, "no-such-key", &key, &err), &err,
                   FAIL_NOT_FOUND);
    assert_null(key);
}

/* Last: it may leave the token with a failed try. */
static void a_wrong_pin_is_refused_and_nothing_is_listed(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct secret *wrong = NULL;
    struct key_list_item *keys = NULL;
    size_t count = 0;
    MUST(secret_copy("9999-wrong", 10, &wrong, &err), err);
    assert_refused(key_list(&fixture.address, wrong, &keys, &count, &err), &err, FAIL_PIN);
    assert_null(strstr(err.text, "9999"));
    assert_null(keys);
    secret_free(&wrong);
}

static inline int lists_run(int (*start)(void **))
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_listed_with_the_state_of_their_pin),
        cmocka_unit_test(without_the_pin_public_halves_are_listed_only),
        cmocka_unit_test(with_the_pin_both_halves_are_one_line),
        cmocka_unit_test(the_exported_key_is_the_one_on_the_token),
        cmocka_unit_test(a_wrong_pin_is_refused_and_nothing_is_listed),
    };
    return cmocka_run_group_tests(tests, start, lists_end);
}

#endif
