/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a rotation promises, for every token alike. The test of one token says before it includes
 * this: rotate_token_open, which begins its fixture; ROTATE_CUSTODY, which it reaches, and
 * ROTATE_LACKS, which it does not; ROTATE_LONGEST, bytes of the longest password that it opens.
 */
#ifndef RESEAL_TEST_HSM_FIXTURE_ROTATE_RUN_H
#define RESEAL_TEST_HSM_FIXTURE_ROTATE_RUN_H

#include "hsm_fixture_rotate.h"

static struct fixture fixture;
static struct token *token;
static struct session *session;
static struct fixture_device device;
static struct sealing_key *old_key, *new_key, *longer_key;

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    rotate_token_open(&fixture);
    fixture_device_make(&fixture, EVP_RSA_gen(2048), &device);
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    old_key = fixture_key(session, "old", 2048, ROTATE_CUSTODY);
    new_key = fixture_key(session, "new", 2048, ROTATE_CUSTODY);
    longer_key = fixture_key(session, "longer", 3072, ROTATE_CUSTODY);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sealing_key_free(&old_key);
    sealing_key_free(&new_key);
    sealing_key_free(&longer_key);
    session_close(&session);
    token_close(&token);
    fixture_device_free(&device);
    fixture_end(&fixture);
    return 0;
}

static void what_was_sealed_with_the_old_key_opens_with_the_new_one(void **state)
{
    (void)state;
    assert_rotates_everything(&fixture, &device, session, old_key, new_key, ROTATE_CUSTODY,
                              ROTATE_LONGEST);
}

static void keys_of_different_lengths_are_rotated_both_ways(void **state)
{
    (void)state;
    const struct rotate_job job = {
        .padding = OAEP_SHA512, .new_padding = OAEP_SHA512, .custody = ROTATE_CUSTODY};
    assert_rotates(&fixture, &device, session, old_key, longer_key, &job, 126);
    assert_rotates(&fixture, &device, session, longer_key, old_key, &job, 126);
}

static void bad_seals_cannot_be_told_apart(void **state)
{
    (void)state;
    assert_bad_seals_look_alike(session, old_key, new_key, ROTATE_CUSTODY);
}

static void nothing_stays_on_the_token(void **state)
{
    (void)state;
    struct rotate_job job = {
        .padding = OAEP_SHA256, .new_padding = OAEP_SHA384, .custody = ROTATE_CUSTODY};
    size_t before = fixture_session_objects(session);
    assert_rotates(&fixture, &device, session, old_key, new_key, &job, 24);
    assert_bad_seals_look_alike(session, old_key, new_key, ROTATE_CUSTODY);
    assert_int_equal(fixture_session_objects(session), before);
}

static void a_key_is_not_rotated_to_itself(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct rotate_finding finding;
    assert_false(
        token_rotate_probe(session, old_key, old_key, OAEP_SHA256, OAEP_SHA256, &finding, &err));
    assert_int_equal(err.kind, FAIL_POLICY);
}

static void custody_is_never_lowered(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024), rotated = BUF_INIT(1024);
    fixture_seal(old_key->pkey, OAEP_SHA256, "Secret-4711", 11, &sealed);
    const struct rotate_job job = {.padding = OAEP_SHA256,
                                   .new_padding = OAEP_SHA256,
                                   .custody = ROTATE_LACKS,
                                   .sealed = buf_bytes(&sealed)};
    assert_false(token_rotate(session, old_key, new_key, &job, &rotated, &err));
    assert_int_equal(err.kind, FAIL_UNSUPPORTED);
    assert_non_null(strstr(err.text, "CKR_"));
    assert_int_equal(rotated.len, 0);
    assert_rotates_with(session, old_key, new_key, OAEP_SHA256, OAEP_SHA256, ROTATE_CUSTODY);
    buf_free(&sealed);
    buf_free(&rotated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_with_the_old_key_opens_with_the_new_one),
        cmocka_unit_test(keys_of_different_lengths_are_rotated_both_ways),
        cmocka_unit_test(bad_seals_cannot_be_told_apart),
        cmocka_unit_test(nothing_stays_on_the_token),
        cmocka_unit_test(a_key_is_not_rotated_to_itself),
        cmocka_unit_test(custody_is_never_lowered),
    };
    return cmocka_run_group_tests(tests, start, end);
}

#endif
