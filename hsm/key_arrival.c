/* SPDX-License-Identifier: Apache-2.0 */
/* A sealing key that comes to this token from another one. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include "custody.h"
#include "reseal/text.h"
#include "transport.h"

/* What is on the token while it is not yet known whether it stays. */
struct arrival {
    struct session *session;
    const struct wrapped_key *wrapped;
    struct key_plan plan;
    struct buf id;
    EVP_PKEY *pkey; /* as it was told */
    CK_OBJECT_HANDLE secret;
    struct key_pair pair;
    struct key_options options;
};

/* From all downwards, as for a key that is made here. CKA_MODIFIABLE is left alone, for a token may
 * give more than it was asked for, and that is taken away again. */
static const unsigned wishes[] = {
    OPTION_ALLOWED_MECHANISMS | OPTION_UNWRAP_TEMPLATE | OPTION_DERIVE,
    OPTION_ALLOWED_MECHANISMS | OPTION_DERIVE,
    OPTION_UNWRAP_TEMPLATE | OPTION_DERIVE,
    OPTION_DERIVE,
    0,
};

static bool fail_unwrap(struct arrival *arrival, CK_MECHANISM_TYPE type, CK_RV rv,
                        struct error *err)
{
    session_fail(arrival->session, "C_UnwrapKey", type, rv, err);
    enum ck_class class = ck_rv_class(rv);
    if (class == CK_CLASS_MESSAGE_BAD || class == CK_CLASS_GENERAL)
        err->kind = FAIL_CRYPTO;
    return false;
}

/* The mechanism by which it was wrapped comes first, and then those that may be the same by another
 * name. */
static CK_RV unwrap_once(struct arrival *arrival, unsigned wish, CK_MECHANISM_TYPE *tried)
{
    struct session *session = arrival->session;
    CK_RV rv = CKR_MECHANISM_INVALID;
    bool has_iv = strcmp(arrival->wrapped->mechanism, "CKM_AES_CBC_PAD") == 0;
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < wrap_way_count; i++) {
            const struct wrap_way *way = &wrap_ways[i];
            bool same = strcmp(ck_mechanism_name(way->type), arrival->wrapped->mechanism) == 0;
            if (way->has_iv != has_iv || same != (turn == 0))
                continue;
            CK_MECHANISM mechanism = wrap_mechanism(way, arrival->wrapped->iv);
            struct template template = {.count = 0};
            struct option_values values;
            key_fill_private(&arrival->plan, buf_bytes(&arrival->id), wish, &values, &template);
            CK_RV answer =
                session->f->C_UnwrapKey(session->handle, &mechanism, arrival->secret,
                                        arrival->wrapped->key.data, arrival->wrapped->key.len,
                                        template.rows, template.count, &arrival->pair.private_half);
            if (answer == CKR_OK)
                return CKR_OK;
            arrival->pair.private_half = CK_INVALID_HANDLE;
            if (rv == CKR_MECHANISM_INVALID) {
                rv = answer;
                *tried = way->type;
            }
        }
    }
    return rv;
}

static bool unwrap_private(struct arrival *arrival, struct error *err)
{
    CK_RV rv = CKR_MECHANISM_INVALID;
    CK_MECHANISM_TYPE tried = wrap_ways[0].type;
    for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
        unsigned wish = wishes[i];
        if ((wish & arrival->options.given_up) != 0)
            continue;
        rv = unwrap_once(arrival, wish, &tried);
        if (rv == CKR_OK) {
            arrival->options.taken = wish;
            return true;
        }
        if (ck_class_is_trouble(ck_rv_class(rv)))
            break;
        for (unsigned bit = 0; bit < OPTION_COUNT; bit++) {
            if (wish & (1u << bit))
                arrival->options.refused[bit] = rv;
        }
    }
    return fail_unwrap(arrival, tried, rv, err);
}

/* NSS gives an unwrapped key every use, whatever the template says. What is not planned is taken
 * away; whether that helped is for the read-back to see. */
static void narrow(struct arrival *arrival)
{
    const struct {
        CK_ATTRIBUTE_TYPE type;
        bool wanted;
    } rows[] = {
        {CKA_DECRYPT, arrival->plan.custody == CUSTODY_HOST},
        {CKA_UNWRAP, arrival->plan.custody == CUSTODY_TOKEN},
        {CKA_SIGN, false},
        {CKA_SIGN_RECOVER, false},
        {CKA_DERIVE, false},
        {CKA_EXTRACTABLE, false},
    };
    struct session *session = arrival->session;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct template template = {.count = 0};
        if (rows[i].wanted ||
            attribute_flag(session, arrival->pair.private_half, rows[i].type, NULL) != 1)
            continue;
        template_flag(&template, rows[i].type, false);
        (void)session->f->C_SetAttributeValue(session->handle, arrival->pair.private_half,
                                              template.rows, template.count);
    }
}

static bool make_public(struct arrival *arrival, struct error *err)
{
    struct session *session = arrival->session;
    struct template template = {.count = 0};
    struct buf modulus = BUF_INIT(1024), exponent = BUF_INIT(64);
    bool ok = rsa_numbers_read(arrival->pkey, &modulus, &exponent, err);
    if (ok) {
        key_fill_public(&arrival->plan, buf_bytes(&arrival->id), &template);
        template_bytes(&template, CKA_MODULUS, buf_bytes(&modulus));
        template_bytes(&template, CKA_PUBLIC_EXPONENT, buf_bytes(&exponent));
        CK_RV rv = session->f->C_CreateObject(session->handle, template.rows, template.count,
                                              &arrival->pair.public_half);
        if (rv != CKR_OK)
            ok = session_fail(session, "C_CreateObject", NO_MECHANISM, rv, err);
    }
    buf_free(&modulus);
    buf_free(&exponent);
    return ok;
}

/* The private object says itself which modulus it has: sealing_key_from_handles compares. */
static bool judge(struct arrival *arrival, struct key_birth *birth, struct sealing_key **out,
                  struct error *err)
{
    struct sealing_key *key = NULL;
    if (!sealing_key_from_handles(arrival->session, arrival->pair.private_half,
                                  arrival->pair.public_half, &key, err))
        return false;
    bool ok = EVP_PKEY_eq(key->pkey, arrival->pkey) == 1 ||
              error_set(err, FAIL_POLICY, "what came is not the key \"%s\" that was told",
                        arrival->wrapped->label);
    ok = ok && key_check(arrival->session, &arrival->pair, &arrival->plan, buf_bytes(&arrival->id),
                         &arrival->options, birth, err);
    for (size_t i = 0; ok && i < birth->check_count; i++) {
        const struct attribute_check *check = &birth->checks[i];
        if (check->ok)
            continue;
        error_set(err, FAIL_POLICY,
                  "the key \"%s\" came with %s %s instead of %s; it was destroyed",
                  arrival->plan.label, check->name, check->found, check->wanted);
        ok = error_hint(err, "this token does not keep what it was asked for");
    }
    if (ok) {
        *out = key;
        key = NULL; /* transferred */
    }
    sealing_key_free(&key);
    return ok;
}

static void undo(struct arrival *arrival, struct error *err)
{
    const CK_OBJECT_HANDLE objects[] = {arrival->pair.private_half, arrival->pair.public_half};
    for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
        CK_RV rv = objects[i] == CK_INVALID_HANDLE
                       ? CKR_OK
                       : arrival->session->f->C_DestroyObject(arrival->session->handle, objects[i]);
        if (rv != CKR_OK)
            error_hint(err, "a rejected key could not be destroyed; remove it with the tool of the "
                            "token's maker");
    }
}

/* Looked at before anything is done on the token. */
static bool check_told(struct arrival *arrival, const struct sealing_key *transport_key,
                       struct error *err)
{
    const struct wrapped_key *wrapped = arrival->wrapped;
    char fingerprint[FINGERPRINT_TEXT];
    if (!public_key_fingerprint(transport_key->pkey, fingerprint, err))
        return false;
    if (strcmp(fingerprint, wrapped->transport_fingerprint) != 0)
        return error_set(err, FAIL_CRYPTO,
                         "the key \"%s\" was wrapped for the transport key %s, not for %s",
                         wrapped->label, wrapped->transport_fingerprint, fingerprint);
    if (!public_key_parse(buf_bytes(&wrapped->public_key), "the public half", &arrival->pkey,
                          err) ||
        !public_key_fingerprint(arrival->pkey, fingerprint, err))
        return false;
    if (strcmp(fingerprint, wrapped->fingerprint) != 0)
        return error_set(err, FAIL_POLICY, "the public half of \"%s\" is not the one that is named",
                         wrapped->label);
    arrival->plan.bits = EVP_PKEY_get_bits(arrival->pkey);
    return hex_decode(&arrival->id, wrapped->id, strlen(wrapped->id), "CKA_ID", err) &&
           key_label_free(arrival->session, arrival->plan.label, err);
}

bool transport_unwrap(struct session *session, const struct sealing_key *transport_key,
                      const struct wrapped_key *wrapped, const struct key_plan *plan,
                      struct key_birth *birth, struct sealing_key **out, struct error *err)
{
    struct arrival arrival = {.session = session,
                              .wrapped = wrapped,
                              .plan = *plan,
                              .id = BUF_INIT(KEY_ID_LEN),
                              .options = {.given_up = key_known_dishonoured(session)}};
    bool ok = false;
    *out = NULL;
    memset(birth, 0, sizeof *birth);
    arrival.plan.replica = true;
    arrival.plan.wrapping = KEY_WRAPPED_NEVER;
    if (plan->custody != CUSTODY_TOKEN)
        arrival.options.given_up |= OPTION_UNWRAP_TEMPLATE;
    if (!check_told(&arrival, transport_key, err))
        goto done;
    snprintf(birth->id, sizeof birth->id, "%s", wrapped->id);
    snprintf(birth->mechanism, sizeof birth->mechanism, "C_UnwrapKey(%s)", wrapped->mechanism);
    if (!transport_secret_unwrap(session, transport_key, wrapped->hash, buf_bytes(&wrapped->secret),
                                 &arrival.secret, err)) {
        if (ck_rv_class(session->rv) == CK_CLASS_MESSAGE_BAD ||
            ck_rv_class(session->rv) == CK_CLASS_GENERAL)
            err->kind = FAIL_CRYPTO;
        goto done;
    }
    ok = unwrap_private(&arrival, err);
    if (ok) {
        narrow(&arrival);
        ok = make_public(&arrival, err) && judge(&arrival, birth, out, err);
    }
    if (!ok) {
        birth->accepted = false;
        undo(&arrival, err);
    }
done:
    object_drop(session, &arrival.secret);
    EVP_PKEY_free(arrival.pkey);
    buf_free(&arrival.id);
    return ok;
}
