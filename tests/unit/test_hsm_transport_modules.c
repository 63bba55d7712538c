/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between tokens of two makers, SoftHSM and NSS softokn in one process, both ways; and what NSS
 * does not keep to: it wraps a key that is not extractable, and gives an unwrapped key every use.
 */
#include "hsm_fixture_transport.h"

static struct fixture soft_fixture, nss_fixture;
static struct fixture_device device;
static struct side soft, nss;
static struct transport_secret *soft_secret, *nss_secret;
static struct sealing_key *soft_transport, *nss_transport;

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_birth birth;
    fixture_softhsm(&soft_fixture);
    fixture_nss(&nss_fixture, TEST_PIN);
    fixture_device_make(&soft_fixture, EVP_RSA_gen(2048), &device);
    side_open(&soft, &soft_fixture.address, soft_fixture.pin);
    side_open(&nss, &nss_fixture.address, nss_fixture.pin);
    MUST(transport_secret_make(soft.session, &soft_secret, &err), err);
    MUST(transport_secret_make(nss.session, &nss_secret, &err), err);
    MUST(transport_key_make(soft.session, "transport", 3072, &birth, &soft_transport, &err), err);
    MUST(transport_key_make(nss.session, "transport", 3072, &birth, &nss_transport, &err), err);
    return 0;
}

static int end(void **state)
{
    (void)state;
    transport_secret_free(&soft_secret);
    transport_secret_free(&nss_secret);
    sealing_key_free(&soft_transport);
    sealing_key_free(&nss_transport);
    side_close(&soft);
    side_close(&nss);
    fixture_device_free(&device);
    fixture_end(&soft_fixture);
    fixture_end(&nss_fixture);
    return 0;
}

static void a_key_goes_from_softhsm_to_nss_and_reaches_custody_token_there(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_birth birth;
    struct sealing_key *key =
        wrappable_key(&soft, "raised", 2048, CUSTODY_HOST, KEY_WRAPPED_UNTIL_SHUT);
    struct sealing_key *replica =
        bring(&soft, key, soft_secret, &nss, nss_transport, CUSTODY_TOKEN, &birth);
    assert_string_equal(found_in(&birth, "CKA_UNWRAP"), "true");
    assert_string_equal(found_in(&birth, "CKA_DECRYPT"), "false");
    assert_string_equal(found_in(&birth, "CKA_SIGN"), "false");
    assert_string_equal(found_in(&birth, "CKA_EXTRACTABLE"), "false");
    assert_serves(&soft_fixture, &device, &soft, key, CUSTODY_HOST);
    assert_serves(&soft_fixture, &device, &nss, replica, CUSTODY_TOKEN);
    MUST(key_shut(soft.session, key, &err), err);
    assert_confined(&soft, key, true);
    sealing_key_free(&key);
    sealing_key_free(&replica);
}

static void a_key_goes_from_nss_to_softhsm(void **state)
{
    (void)state;
    struct key_birth birth;
    struct sealing_key *key =
        wrappable_key(&nss, "lowered", 3072, CUSTODY_TOKEN, KEY_WRAPPED_UNTIL_SHUT);
    struct sealing_key *replica =
        bring(&nss, key, nss_secret, &soft, soft_transport, CUSTODY_HOST, &birth);
    assert_serves(&soft_fixture, &device, &nss, key, CUSTODY_TOKEN);
    assert_serves(&soft_fixture, &device, &soft, replica, CUSTODY_HOST);
    assert_confined(&soft, replica, true);
    sealing_key_free(&key);
    sealing_key_free(&replica);
}

static void each_token_says_by_doing_what_it_takes(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transport_offer offer;
    MUST(transport_offer_make(nss.session, nss_transport, &offer, &err), err);
    assert_int_equal(offer.hashes, TRANSPORT_SHA256 | TRANSPORT_SHA1);
    transport_offer_free(&offer);
    MUST(transport_offer_make(soft.session, soft_transport, &offer, &err), err);
    assert_int_equal(offer.hashes, TRANSPORT_SHA1);
    transport_offer_free(&offer);
}

/* The attempt is what shows it; the attributes say something else. */
static void nss_does_not_confine_a_key(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct sealing_key *key =
        wrappable_key(&nss, "unconfined", 2048, CUSTODY_TOKEN, KEY_WRAPPED_NEVER);
    struct key_finding finding;
    MUST(sealing_key_describe(nss.session, key, &finding, &err), err);
    assert_int_equal(finding.attributes.extractable, 0);
    assert_confined(&nss, key, false);
    sealing_key_free(&key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_goes_from_softhsm_to_nss_and_reaches_custody_token_there),
        cmocka_unit_test(a_key_goes_from_nss_to_softhsm),
        cmocka_unit_test(each_token_says_by_doing_what_it_takes),
        cmocka_unit_test(nss_does_not_confine_a_key),
    };
    return cmocka_run_group_tests(tests, start, end);
}
