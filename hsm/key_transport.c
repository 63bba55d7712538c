/* SPDX-License-Identifier: Apache-2.0 */
/* The transport key of the second token, and wrapping for it on the first. */
#include "reseal/key_transport.h"

#include <stdio.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include "custody.h"
#include "key_promise.h"
#include "reseal/text.h"
#include "transport.h"

/* SoftHSM's CKM_AES_KEY_WRAP_PAD is RFC 5649, NSS's is not; with the other's check value unwrapping
 * fails, so that the two cannot be mixed up. */
const struct wrap_way wrap_ways[] = {
    {CKM_AES_KEY_WRAP_KWP, false, true},
    {CKM_AES_KEY_WRAP_PAD, false, true},
    {CKM_AES_CBC_PAD, true, false},
};
const size_t wrap_way_count = ARRAY_LEN(wrap_ways);

CK_MECHANISM wrap_mechanism(const struct wrap_way *way, const uint8_t *iv)
{
    return way->has_iv ? (CK_MECHANISM){way->type, ck_input(iv), TRANSPORT_IV_LEN}
                       : (CK_MECHANISM){way->type, NULL, 0};
}

CK_RV wrap_object(struct session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE under,
                  CK_OBJECT_HANDLE object, struct buf *out)
{
    const size_t before = out->len;
    CK_ULONG len = WRAPPED_KEY_MAX;
    uint8_t *place = buf_extend(out, len);
    if (place == NULL)
        return CKR_HOST_MEMORY;
    CK_RV rv = session->f->C_WrapKey(session->handle, mechanism, under, object, place, &len);
    if (rv == CKR_OK && (len == 0 || len > WRAPPED_KEY_MAX))
        rv = CKR_FUNCTION_FAILED;
    out->len = rv == CKR_OK ? before + len : before;
    return rv;
}

void transport_offer_free(struct transport_offer *offer)
{
    EVP_PKEY_free(offer->public_key);
    offer->public_key = NULL;
}

void wrapped_key_init(struct wrapped_key *wrapped)
{
    memset(wrapped, 0, sizeof *wrapped);
    wrapped->public_key = (struct buf)BUF_INIT(8192);
    /* With room for what C_WrapKey is given to write into. */
    wrapped->secret = (struct buf)BUF_INIT(WRAPPED_KEY_MAX);
    wrapped->key = (struct buf)BUF_INIT(WRAPPED_KEY_MAX);
}

void wrapped_key_free(struct wrapped_key *wrapped)
{
    buf_free(&wrapped->public_key);
    buf_free(&wrapped->secret);
    buf_free(&wrapped->key);
}

/* -- the transport key -- */

bool transport_key_make(struct session *session, const char *label, int bits,
                        struct key_birth *birth, struct sealing_key **out, struct error *err)
{
    struct key_plan plan = {.bits = bits, .custody = CUSTODY_TOKEN};
    *out = NULL;
    if (bits != 3072 && bits != 4096)
        return error_set(err, FAIL_USAGE, "a transport key has 3072 or 4096 bits, not %d", bits);
    if (strlen(label) >= sizeof plan.label)
        return error_set(err, FAIL_USAGE, "the label of a transport key is too long");
    snprintf(plan.label, sizeof plan.label, "%s", label);
    return key_generate(session, &plan, birth, out, err);
}

/* RSA-OAEP in software, for a secret of our own. */
static bool seal_secret(EVP_PKEY *key, enum transport_hash hash, const uint8_t *secret,
                        struct buf *out, struct error *err)
{
    bool ok = false;
    size_t len = (size_t)EVP_PKEY_get_size(key);
    const EVP_MD *digest = hash == TRANSPORT_SHA256 ? EVP_sha256() : EVP_sha1();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    uint8_t *place = buf_extend(out, len);
    if (context != NULL && place != NULL && EVP_PKEY_encrypt_init(context) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
        EVP_PKEY_CTX_set_rsa_oaep_md(context, digest) == 1 &&
        EVP_PKEY_CTX_set_rsa_mgf1_md(context, digest) == 1)
        ok = EVP_PKEY_encrypt(context, place, &len, secret, TRANSPORT_SECRET_LEN) == 1;
    EVP_PKEY_CTX_free(context);
    return ok || error_openssl(err, FAIL_INTERNAL, "cannot seal a secret for the transport key");
}

/* One hash; *works is told where the answer is the token's own. */
static bool try_hash(struct session *session, const struct sealing_key *key,
                     enum transport_hash hash, bool *works, struct error *err)
{
    uint8_t secret[TRANSPORT_SECRET_LEN];
    struct buf sealed = BUF_INIT(1024);
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    *works = false;
    if (RAND_priv_bytes(secret, sizeof secret) != 1)
        return error_openssl(err, FAIL_INTERNAL, "no random numbers for a trial");
    bool sealed_well = seal_secret(key->pkey, hash, secret, &sealed, err);
    OPENSSL_cleanse(secret, sizeof secret);
    if (sealed_well)
        *works = transport_secret_unwrap(session, key, hash, buf_bytes(&sealed), &made, err);
    object_drop(session, &made);
    buf_free(&sealed);
    return sealed_well && (*works || !session_lost(session));
}

/* A transport key that came from elsewhere opens what is wrapped for it there as well. One that was
 * there before is taken by its label, so it is asked where it was born. */
static bool check_born_here(struct session *session, const struct sealing_key *key,
                            struct error *err)
{
    static const CK_ATTRIBUTE_TYPE types[] = {CKA_SENSITIVE, CKA_ALWAYS_SENSITIVE, CKA_EXTRACTABLE,
                                              CKA_NEVER_EXTRACTABLE, CKA_LOCAL};
    const struct key_plan plan = {.custody = CUSTODY_TOKEN, .wrapping = KEY_WRAPPED_NEVER};
    const struct promised_flag *flag;
    for (size_t i = 0; (flag = promised_flag_at(i)) != NULL; i++) {
        const char *wanted = promised_flag_wanted(flag, &plan);
        bool asked = false;
        for (size_t j = 0; j < ARRAY_LEN(types); j++)
            asked = asked || (flag->half == HALF_PRIVATE && flag->type == types[j]);
        if (!asked || wanted == NULL ||
            promised_flag_mute(flag, session->token->facts.manufacturer) != NULL)
            continue;
        signed char found = attribute_flag(session, key->private_half, flag->type, NULL);
        if (found < 0 ? !flag->must_tell : (strcmp(wanted, "true") == 0) == (found == 1))
            continue;
        error_set(
            err, FAIL_POLICY,
            "the transport key \"%s\" on token \"%s\" was not made there to stay there: %s is "
            "%s",
            key->label, session->token->facts.label, flag->name,
            found < 0    ? FOUND_NOT_TOLD
            : found == 1 ? "true"
                         : "false");
        return error_hint(err, "give a label that no key there has: one is then made");
    }
    return true;
}

bool transport_offer_make(struct session *session, const struct sealing_key *transport_key,
                          struct transport_offer *out, struct error *err)
{
    static const enum transport_hash hashes[] = {TRANSPORT_SHA256, TRANSPORT_SHA1};
    struct error reason = ERROR_INIT;
    memset(out, 0, sizeof *out);
    if (!check_born_here(session, transport_key, err))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
        struct error answer = ERROR_INIT;
        bool works;
        if (!try_hash(session, transport_key, hashes[i], &works, &answer)) {
            *err = answer;
            return false;
        }
        if (works)
            out->hashes |= (unsigned)hashes[i];
        else if (reason.kind == FAIL_NONE || answer.kind == FAIL_POLICY)
            reason = answer;
    }
    if (out->hashes == 0) {
        error_set(err, FAIL_UNSUPPORTED,
                  "token \"%s\" cannot take a key from another token: %.400s",
                  session->token->facts.label, reason.text);
        return error_hint(err, "make a key on that token, and rotate the records to it");
    }
    if (!public_key_fingerprint(transport_key->pkey, out->fingerprint, err))
        return false;
    return sealing_key_public(session, transport_key, &out->public_key, err);
}

/* -- wrapping -- */

static bool describe(const struct sealing_key *key, const struct transport_offer *offer,
                     struct wrapped_key *out, struct error *err)
{
    snprintf(out->label, sizeof out->label, "%s", key->label);
    snprintf(out->transport_fingerprint, sizeof out->transport_fingerprint, "%s",
             offer->fingerprint);
    if (key->id.len != KEY_ID_LEN)
        return error_set(
            err, FAIL_UNSUPPORTED,
            "sealing key \"%s\" has a CKA_ID of %zu bytes, not %d: no ceremony made it", key->label,
            key->id.len, KEY_ID_LEN);
    hex_encode(out->id, key->id.data, key->id.len);
    return public_key_fingerprint(key->pkey, out->fingerprint, err) &&
           public_key_to_pem(key->pkey, &out->public_key, err);
}

static bool fail_wrap(struct session *session, const struct sealing_key *key,
                      CK_MECHANISM_TYPE type, CK_RV rv, struct error *err)
{
    session_fail(session, "C_WrapKey", type, rv, err);
    if (rv != CKR_KEY_UNEXTRACTABLE && rv != CKR_KEY_NOT_WRAPPABLE)
        return false;
    err->kind = FAIL_POLICY;
    error_context(err, "sealing key \"%s\"", key->label);
    return error_hint(err, rv == CKR_KEY_UNEXTRACTABLE
                               ? "it was made without backup, or has been shut: it stays here"
                               : "it goes under keys only that the security officer trusts");
}

static bool wrap_key(struct session *session, const struct sealing_key *key,
                     const struct transport_secret *secret, struct wrapped_key *out,
                     struct error *err)
{
    CK_RV rv = CKR_MECHANISM_INVALID;
    CK_MECHANISM_TYPE tried = wrap_ways[0].type;
    for (size_t i = 0; i < wrap_way_count; i++) {
        memset(out->iv, 0, sizeof out->iv);
        if (wrap_ways[i].has_iv && RAND_bytes(out->iv, sizeof out->iv) != 1)
            return error_openssl(err, FAIL_INTERNAL, "no random numbers for an IV");
        CK_MECHANISM mechanism = wrap_mechanism(&wrap_ways[i], out->iv);
        CK_RV answer =
            wrap_object(session, &mechanism, secret->object, key->private_half, &out->key);
        snprintf(out->mechanism, sizeof out->mechanism, "%s", ck_mechanism_name(wrap_ways[i].type));
        if (answer == CKR_OK)
            return true;
        /* A refusal of the key tells more than that the next mechanism is not there. */
        if (rv == CKR_MECHANISM_INVALID) {
            rv = answer;
            tried = wrap_ways[i].type;
        }
        if (ck_class_is_trouble(ck_rv_class(answer)))
            return session_fail(session, "C_WrapKey", wrap_ways[i].type, answer, err);
    }
    return fail_wrap(session, key, tried, rv, err);
}

/* The journey's key for the transport key, by the best hash that both tokens have. */
static bool wrap_secret(struct session *session, const struct sealing_key *key,
                        const struct transport_secret *secret, const struct transport_offer *offer,
                        struct wrapped_key *out, struct error *err)
{
    static const enum transport_hash hashes[] = {TRANSPORT_SHA256, TRANSPORT_SHA1};
    const CK_OBJECT_HANDLE known[] = {key->private_half, key->public_half, secret->object};
    CK_OBJECT_HANDLE under = CK_INVALID_HANDLE;
    CK_RV rv = CKR_MECHANISM_PARAM_INVALID;
    if (!wrapping_key_import(session, offer->public_key, known, ARRAY_LEN(known), &under, err))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(hashes) && rv != CKR_OK; i++) {
        struct transport_oaep oaep;
        if (!(offer->hashes & (unsigned)hashes[i]))
            continue;
        transport_oaep_fill(hashes[i], &oaep);
        rv = wrap_object(session, &oaep.mechanism, under, secret->object, &out->secret);
        out->hash = hashes[i];
    }
    object_drop(session, &under);
    return rv == CKR_OK || session_fail(session, "C_WrapKey", CKM_RSA_PKCS_OAEP, rv, err);
}

bool transport_wrap(struct session *session, const struct sealing_key *key,
                    const struct transport_secret *secret, const struct transport_offer *offer,
                    struct wrapped_key *out, struct error *err)
{
    return describe(key, offer, out, err) && wrap_key(session, key, secret, out, err) &&
           wrap_secret(session, key, secret, offer, out, err);
}
