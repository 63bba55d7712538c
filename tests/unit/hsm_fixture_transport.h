/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing keys that go from one token to another, of one module or of two. */
#ifndef RESEAL_TESTS_HSM_FIXTURE_TRANSPORT_H
#define RESEAL_TESTS_HSM_FIXTURE_TRANSPORT_H

#include "hsm/custody.h"
#include "hsm/token_private.h"
#include "hsm_fixture_messages.h"
#include "reseal/key_transport.h"

/* One side of a journey: a token with a user logged in. */
struct side {
    struct token *token;
    struct session *session;
};

static inline void side_open(struct side *side, const struct token_address *address,
                             const struct secret *pin)
{
    struct error err = ERROR_INIT;
    MUST(token_open(address, &side->token, &err), err);
    MUST(token_login(side->token, pin, &err), err);
    MUST(session_open(side->token, SESSION_READ_WRITE, &side->session, &err), err);
}

static inline void side_close(struct side *side)
{
    session_close(&side->session);
    token_close(&side->token);
}

/* A further token of SoftHSM, beside the fixture's own. */
static inline void another_softhsm(const struct fixture *fixture, const char *label,
                                   struct token_address *out)
{
    const char *const init[] = {"softhsm2-util", "--init-token", "--free", "--label", label,
                                "--so-pin",      "so-pin-2",     "--pin",  TEST_PIN,  NULL};
    assert_int_equal(fixture_run(init), 0);
    *out = fixture->address;
    snprintf(out->label, sizeof out->label, "%s", label);
}

static inline struct sealing_key *wrappable_key(struct side *side, const char *label, int bits,
                                                enum custody custody, enum key_wrapping wrapping)
{
    struct error err = ERROR_INIT;
    struct key_plan plan = {.bits = bits, .custody = custody, .wrapping = wrapping};
    struct key_birth birth;
    struct sealing_key *key = NULL;
    snprintf(plan.label, sizeof plan.label, "%s", label);
    MUST(key_generate(side->session, &plan, &birth, &key, &err), err);
    assert_true(birth.accepted);
    return key;
}

/* The check of that name, as found. */
static inline const char *found_in(const struct key_birth *birth, const char *name)
{
    for (size_t i = 0; i < birth->check_count; i++) {
        if (strcmp(birth->checks[i].name, name) == 0)
            return birth->checks[i].found;
    }
    fail_msg("%s was not read back", name);
    return "";
}

/* Brings the key over, and gives what came. */
static inline struct sealing_key *bring(struct side *from, struct sealing_key *key,
                                        struct transport_secret *secret, struct side *to,
                                        struct sealing_key *transport, enum custody custody,
                                        struct key_birth *birth)
{
    struct error err = ERROR_INIT;
    struct transport_offer offer;
    struct wrapped_key wrapped;
    struct sealing_key *replica = NULL;
    struct key_plan plan = {.custody = custody};
    snprintf(plan.label, sizeof plan.label, "%s", key->label);
    MUST(transport_offer_make(to->session, transport, &offer, &err), err);
    wrapped_key_init(&wrapped);
    MUST(transport_wrap(from->session, key, secret, &offer, &wrapped, &err), err);
    MUST(transport_unwrap(to->session, transport, &wrapped, &plan, birth, &replica, &err), err);
    assert_true(birth->accepted);
    assert_int_equal(EVP_PKEY_eq(key->pkey, replica->pkey), 1);
    wrapped_key_free(&wrapped);
    transport_offer_free(&offer);
    return replica;
}

/* What is sealed with the public key is resealed by both tokens, and the device opens both. */
static inline void assert_serves(const struct fixture *fixture, const struct fixture_device *device,
                                 struct side *side, struct sealing_key *key, enum custody custody)
{
    for (enum padding padding = PADDING_FIRST; padding <= PADDING_LAST; padding++) {
        const struct fixture_case test = {.padding = padding, .custody = custody, .len = 24};
        assert_reseals(fixture, device, side->session, key, &test);
    }
}

static inline void assert_confined(struct side *side, const struct sealing_key *key, bool wanted)
{
    struct error err = ERROR_INIT;
    struct wrap_attempt attempts[WRAP_ATTEMPTS_MAX];
    size_t count = 0;
    bool confined = false;
    MUST(key_try_wrap(side->session, key, attempts, &count, &confined, &err), err);
    assert_true(count >= 5);
    if (confined != wanted) {
        for (size_t i = 0; i < count; i++)
            print_message("%s: %s\n", attempts[i].mechanism, attempts[i].ck_rv);
        fail_msg("the key \"%s\" can%s be wrapped", key->label, confined ? "not" : "");
    }
}

#endif
