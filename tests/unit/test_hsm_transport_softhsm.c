/* SPDX-License-Identifier: Apache-2.0 */
/* Between two tokens of SoftHSM, which knows CKA_WRAP_WITH_TRUSTED and keeps to it. */
#include "hsm_fixture_transport.h"

static struct fixture fixture;
static struct fixture_device device;
static struct side first, second;
static struct transport_secret *trusted, *ordinary;
static struct sealing_key *transport, *another; /* on the second token */
static struct key_birth transport_birth;
static const char so_pin[] = "so-pin-1";

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token_address address;
    struct secret *pin = NULL;
    fixture_softhsm(&fixture);
    another_softhsm(&fixture, "third", &address);
    another_softhsm(&fixture, "second", &address);
    fixture_device_make(&fixture, EVP_RSA_gen(2048), &device);
    MUST(secret_copy(so_pin, strlen(so_pin), &pin, &err), err);
    MUST(token_open(&fixture.address, &first.token, &err), err);
    MUST(transport_secret_make_trusted(first.token, pin, &trusted, &err), err);
    MUST(token_login(first.token, fixture.pin, &err), err);
    MUST(session_open(first.token, SESSION_READ_WRITE, &first.session, &err), err);
    MUST(transport_secret_make(first.session, &ordinary, &err), err);
    side_open(&second, &address, fixture.pin);
    MUST(transport_key_make(second.session, "transport", 3072, &transport_birth, &transport, &err),
         err);
    MUST(transport_key_make(second.session, "another", 3072, &transport_birth, &another, &err),
         err);
    secret_free(&pin);
    return 0;
}

static int end(void **state)
{
    (void)state;
    transport_secret_free(&trusted);
    transport_secret_free(&ordinary);
    sealing_key_free(&transport);
    sealing_key_free(&another);
    side_close(&second);
    side_close(&first);
    fixture_device_free(&device);
    fixture_end(&fixture);
    return 0;
}

static void a_key_without_backup_can_be_wrapped_in_no_way(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transport_offer offer;
    struct wrapped_key wrapped;
    struct sealing_key *key =
        wrappable_key(&first, "confined", 2048, CUSTODY_HOST, KEY_WRAPPED_NEVER);
    assert_confined(&first, key, true);
    MUST(transport_offer_make(second.session, transport, &offer, &err), err);
    struct transport_secret *const secrets[] = {ordinary, trusted};
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        wrapped_key_init(&wrapped);
        assert_false(transport_wrap(first.session, key, secrets[i], &offer, &wrapped, &err));
        assert_int_equal(err.kind, FAIL_POLICY);
        assert_non_null(strstr(err.text, "CKR_KEY_UNEXTRACTABLE"));
        assert_int_equal(wrapped.key.len, 0);
        wrapped_key_free(&wrapped);
    }
    transport_offer_free(&offer);
    sealing_key_free(&key);
}

static void the_replica_serves_what_was_sealed_for_the_first(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_birth birth;
    struct sealing_key *key =
        wrappable_key(&first, "shared", 2048, CUSTODY_HOST, KEY_WRAPPED_BY_TRUSTED);
    struct sealing_key *replica =
        bring(&first, key, trusted, &second, transport, CUSTODY_HOST, &birth);
    assert_int_equal(EVP_PKEY_eq(key->pkey, replica->pkey), 1);
    assert_int_equal(replica->id.len, key->id.len);
    assert_memory_equal(replica->id.data, key->id.data, key->id.len);
    assert_true(birth.accepted);
    assert_string_equal(found_in(&birth, "CKA_EXTRACTABLE"), "false");
    assert_string_equal(found_in(&birth, "CKA_SENSITIVE"), "true");
    assert_string_equal(found_in(&birth, "CKA_DECRYPT"), "true");
    assert_string_equal(found_in(&birth, "CKA_UNWRAP"), "false");
    assert_string_equal(found_in(&birth, "CKA_SIGN"), "false");
    assert_serves(&fixture, &device, &first, key, CUSTODY_HOST);
    assert_serves(&fixture, &device, &second, replica, CUSTODY_HOST);
    assert_confined(&second, replica, true);
    /* The first is open to the security officer's keys still, and then shut. */
    char ck_rv[CK_RV_TEXT];
    MUST(key_shut(first.session, key, &err), err);
    assert_confined(&first, key, true);
    MUST(key_is_unreadable(first.session, key, ck_rv, &err), err);
    MUST(key_is_unreadable(second.session, replica, ck_rv, &err), err);
    struct transport_offer offer;
    struct wrapped_key again;
    MUST(transport_offer_make(second.session, transport, &offer, &err), err);
    wrapped_key_init(&again);
    assert_false(transport_wrap(first.session, key, trusted, &offer, &again, &err));
    assert_int_equal(err.kind, FAIL_POLICY);
    wrapped_key_free(&again);
    transport_offer_free(&offer);
    sealing_key_free(&key);
    sealing_key_free(&replica);
}

/* Who has its private half elsewhere would open what is wrapped for it. */
static void nothing_is_wrapped_for_a_key_that_came_from_elsewhere(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_birth birth;
    struct transport_offer offer;
    struct sealing_key *key =
        wrappable_key(&first, "planted", 2048, CUSTODY_TOKEN, KEY_WRAPPED_BY_TRUSTED);
    struct sealing_key *replica =
        bring(&first, key, trusted, &second, transport, CUSTODY_TOKEN, &birth);
    assert_false(transport_offer_make(second.session, replica, &offer, &err));
    assert_int_equal(err.kind, FAIL_POLICY);
    assert_non_null(strstr(err.text, "was not made there"));
    transport_offer_free(&offer);
    sealing_key_free(&key);
    sealing_key_free(&replica);
}

static void only_a_key_of_the_security_officer_wraps_a_guarded_one(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transport_offer offer;
    struct wrapped_key wrapped;
    struct sealing_key *key =
        wrappable_key(&first, "guarded", 2048, CUSTODY_HOST, KEY_WRAPPED_BY_TRUSTED);
    assert_confined(&first, key, true); /* by keys of the user's */
    MUST(transport_offer_make(second.session, transport, &offer, &err), err);
    wrapped_key_init(&wrapped);
    assert_false(transport_wrap(first.session, key, ordinary, &offer, &wrapped, &err));
    assert_int_equal(err.kind, FAIL_POLICY);
    assert_non_null(strstr(err.text, "CKR_KEY_NOT_WRAPPABLE"));
    wrapped_key_free(&wrapped);
    wrapped_key_init(&wrapped);
    MUST(transport_wrap(first.session, key, trusted, &offer, &wrapped, &err), err);
    assert_int_equal(wrapped.hash, TRANSPORT_SHA1); /* SoftHSM 2.6 and 2.7 have no other */
    /* The user cannot make a trusted one. */
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE row = {CKA_TRUSTED, &yes, sizeof yes};
    assert_int_not_equal(
        first.session->f->C_SetAttributeValue(first.session->handle, key->public_half, &row, 1),
        CKR_OK);
    wrapped_key_free(&wrapped);
    transport_offer_free(&offer);
    sealing_key_free(&key);
}

static void a_key_that_is_open_until_shut_is_wrapped_by_the_user(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_birth birth;
    struct sealing_key *key =
        wrappable_key(&first, "open", 2048, CUSTODY_HOST, KEY_WRAPPED_UNTIL_SHUT);
    assert_confined(&first, key, false);
    struct sealing_key *replica =
        bring(&first, key, ordinary, &second, transport, CUSTODY_HOST, &birth);
    assert_serves(&fixture, &device, &second, replica, CUSTODY_HOST);
    MUST(key_shut(first.session, key, &err), err);
    assert_confined(&first, key, true);
    assert_confined(&second, replica, true);
    sealing_key_free(&key);
    sealing_key_free(&replica);
}

static void assert_comes_not(struct sealing_key *for_key, const struct wrapped_key *wrapped,
                             enum failure kind)
{
    struct error err = ERROR_INIT;
    struct key_plan plan = {.label = "copy", .custody = CUSTODY_HOST};
    struct key_birth birth;
    struct sealing_key *replica = NULL;
    assert_false(transport_unwrap(second.session, for_key, wrapped, &plan, &birth, &replica, &err));
    assert_null(replica);
    if (err.kind != kind)
        fail_msg("%s: %s", failure_name(err.kind), err.text);
    MUST(key_label_free(second.session, "copy", &err), err);
}

static void what_is_damaged_or_for_another_key_leaves_nothing_behind(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct wrapped_key wrapped;
    struct key_birth birth;
    struct transport_offer offer;
    struct sealing_key *key =
        wrappable_key(&first, "damaged", 2048, CUSTODY_HOST, KEY_WRAPPED_UNTIL_SHUT);
    MUST(transport_offer_make(second.session, transport, &offer, &err), err);
    wrapped_key_init(&wrapped);
    MUST(transport_wrap(first.session, key, ordinary, &offer, &wrapped, &err), err);
    assert_comes_not(another, &wrapped, FAIL_CRYPTO);
    const size_t places[] = {0, wrapped.key.len / 2, wrapped.key.len - 1};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        wrapped.key.data[places[i]] ^= 1;
        assert_comes_not(transport, &wrapped, FAIL_CRYPTO);
        wrapped.key.data[places[i]] ^= 1;
    }
    wrapped.secret.data[7] ^= 1;
    assert_comes_not(transport, &wrapped, FAIL_CRYPTO);
    wrapped.secret.data[7] ^= 1;
    /* Another public half than the one that belongs to it. */
    struct buf told = wrapped.public_key;
    char fingerprint[FINGERPRINT_TEXT];
    memcpy(fingerprint, wrapped.fingerprint, sizeof fingerprint);
    wrapped.public_key = (struct buf)BUF_INIT(8192);
    MUST(public_key_to_pem(another->pkey, &wrapped.public_key, &err), err);
    assert_comes_not(transport, &wrapped, FAIL_POLICY);
    MUST(public_key_fingerprint(another->pkey, wrapped.fingerprint, &err), err);
    assert_comes_not(transport, &wrapped, FAIL_POLICY);
    buf_free(&wrapped.public_key);
    wrapped.public_key = told;
    memcpy(wrapped.fingerprint, fingerprint, sizeof fingerprint);
    struct key_plan plan = {.label = "copy", .custody = CUSTODY_HOST};
    struct sealing_key *replica = NULL;
    MUST(transport_unwrap(second.session, transport, &wrapped, &plan, &birth, &replica, &err), err);
    struct sealing_key *twice = NULL;
    assert_false(
        transport_unwrap(second.session, transport, &wrapped, &plan, &birth, &twice, &err));
    assert_int_equal(err.kind, FAIL_EXISTS);
    sealing_key_free(&replica);
    wrapped_key_free(&wrapped);
    transport_offer_free(&offer);
    sealing_key_free(&key);
}

static void a_transport_key_is_long_enough_and_for_unwrapping_alone(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_birth birth;
    struct sealing_key *made = NULL;
    assert_false(transport_key_make(second.session, "short", 2048, &birth, &made, &err));
    assert_int_equal(err.kind, FAIL_USAGE);
    assert_null(made);
    assert_string_equal(found_in(&transport_birth, "CKA_UNWRAP"), "true");
    assert_string_equal(found_in(&transport_birth, "CKA_DECRYPT"), "false");
    assert_string_equal(found_in(&transport_birth, "CKA_SIGN"), "false");
    assert_string_equal(found_in(&transport_birth, "CKA_EXTRACTABLE"), "false");
    assert_confined(&second, transport, true);
}

static void a_wrong_so_pin_is_tried_once(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct secret *pin = NULL;
    struct transport_secret *secret = NULL;
    struct token_address address;
    struct token *token = NULL;
    address = fixture.address;
    snprintf(address.label, sizeof address.label, "third");
    MUST(secret_copy("wrong-pin", 9, &pin, &err), err);
    MUST(token_open(&address, &token, &err), err);
    assert_false(transport_secret_make_trusted(token, pin, &secret, &err));
    assert_int_equal(err.kind, FAIL_PIN);
    assert_null(secret);
    assert_null(strstr(err.text, "wrong-pin"));
    secret_free(&pin);
    token_close(&token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_without_backup_can_be_wrapped_in_no_way),
        cmocka_unit_test(the_replica_serves_what_was_sealed_for_the_first),
        cmocka_unit_test(nothing_is_wrapped_for_a_key_that_came_from_elsewhere),
        cmocka_unit_test(only_a_key_of_the_security_officer_wraps_a_guarded_one),
        cmocka_unit_test(a_key_that_is_open_until_shut_is_wrapped_by_the_user),
        cmocka_unit_test(what_is_damaged_or_for_another_key_leaves_nothing_behind),
        cmocka_unit_test(a_transport_key_is_long_enough_and_for_unwrapping_alone),
        cmocka_unit_test(a_wrong_so_pin_is_tried_once),
    };
    return cmocka_run_group_tests(tests, start, end);
}
