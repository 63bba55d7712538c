/* SPDX-License-Identifier: Apache-2.0 */
/* openCryptoki's soft token: what it gives away, and what it must not be given. */
#include "hsm_fixture_transport.h"
#include "hsm_fixture_opencryptoki.h"

static struct fixture fixture;
static struct side side;

static int start(void **state)
{
    (void)state;
    fixture_opencryptoki(&fixture);
    side_open(&side, &fixture.address, fixture.pin);
    return 0;
}

static int end(void **state)
{
    (void)state;
    side_close(&side);
    fixture_end(&fixture);
    return 0;
}

/* The journey's key would come readable, and with it the sealing key. */
static void a_token_that_shows_what_it_unwraps_is_offered_no_key(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_birth birth;
    struct transport_offer offer;
    struct sealing_key *transport = NULL;
    MUST(transport_key_make(side.session, "transport", 3072, &birth, &transport, &err), err);
    assert_false(transport_offer_make(side.session, transport, &offer, &err));
    assert_int_equal(err.kind, FAIL_UNSUPPORTED);
    assert_non_null(strstr(err.text, "would let the unwrapped secret be read"));
    assert_null(offer.public_key);
    sealing_key_free(&transport);
}

static void a_key_is_confined_from_its_birth_or_when_it_is_shut(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct sealing_key *never =
        wrappable_key(&side, "never", 2048, CUSTODY_HOST, KEY_WRAPPED_NEVER);
    assert_confined(&side, never, true);
    struct sealing_key *open =
        wrappable_key(&side, "open", 2048, CUSTODY_HOST, KEY_WRAPPED_UNTIL_SHUT);
    assert_confined(&side, open, false);
    MUST(key_shut(side.session, open, &err), err);
    assert_confined(&side, open, true);
    sealing_key_free(&never);
    sealing_key_free(&open);
}

static void a_token_without_trusted_keys_says_so(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_plan plan = {.label = "guarded",
                            .bits = 2048,
                            .custody = CUSTODY_HOST,
                            .wrapping = KEY_WRAPPED_BY_TRUSTED};
    struct key_birth birth;
    struct sealing_key *key = NULL;
    assert_false(key_generate(side.session, &plan, &birth, &key, &err));
    assert_non_null(strstr(err.hint, "CKA_WRAP_WITH_TRUSTED"));
    MUST(key_label_free(side.session, "guarded", &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_that_shows_what_it_unwraps_is_offered_no_key),
        cmocka_unit_test(a_key_is_confined_from_its_birth_or_when_it_is_shut),
        cmocka_unit_test(a_token_without_trusted_keys_says_so),
    };
    return cmocka_run_group_tests(tests, start, end);
}
