/* SPDX-License-Identifier: Apache-2.0 */
#include "sealing_key.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include "reseal/ceremony.h"
#include "reseal/text.h"

#define SEALING_KEY_BITS_MIN 2048
#define SEALING_KEY_BITS_MAX 4096

/* *told is false where the token does not give them out; an object that is not there gives nothing.
 */
static bool read_numbers(struct session *session, CK_OBJECT_HANDLE object, struct buf *modulus,
                         struct buf *exponent, bool *told, struct error *err)
{
    *told = false;
    if (object == CK_INVALID_HANDLE)
        return true;
    CK_RV rv = attribute_read(session, object, CKA_MODULUS, modulus);
    if (rv == CKR_OK)
        rv = attribute_read(session, object, CKA_PUBLIC_EXPONENT, exponent);
    /* A token in trouble has said nothing about its key. */
    if (ck_class_is_trouble(ck_rv_class(rv)))
        return session_fail(session, "C_GetAttributeValue", NO_MECHANISM, rv, err);
    *told = rv == CKR_OK && modulus->len > 0 && exponent->len > 0;
    return true;
}

/* Shorter ones are not safe any more (NIST SP 800-131A); no record or message has room for longer
 * ones, or for a modulus that does not fill its bytes. */
static bool check_bits(const struct sealing_key *key, struct error *err)
{
    int bits = EVP_PKEY_get_bits(key->pkey);
    if (bits >= SEALING_KEY_BITS_MIN && bits <= SEALING_KEY_BITS_MAX && bits % 8 == 0)
        return true;
    error_set(err, FAIL_POLICY, "sealing key \"%s\" has %d bits; %d to %d in whole bytes are taken",
              key->label, bits, SEALING_KEY_BITS_MIN, SEALING_KEY_BITS_MAX);
    return error_hint(err, "`reseal ceremony run` makes a key that fits");
}

/* The private object says of itself which modulus it works with; the public object beside it is
 * asked only where the private one does not tell, and for the exponent. */
static bool load_public(struct session *session, struct sealing_key *key, struct error *err)
{
    bool ok = false;
    bool own = false, beside = false;
    struct buf modulus = BUF_INIT(1024), exponent = BUF_INIT(1024);
    struct buf modulus_beside = BUF_INIT(1024), exponent_beside = BUF_INIT(1024);
    if (!read_numbers(session, key->private_half, &modulus, &exponent, &own, err) ||
        !read_numbers(session, key->public_half, &modulus_beside, &exponent_beside, &beside, err))
        goto done;
    if (own && beside &&
        (modulus.len != modulus_beside.len ||
         memcmp(modulus.data, modulus_beside.data, modulus.len) != 0)) {
        error_set(err, FAIL_POLICY,
                  "the public and the private object of sealing key \"%s\" are not one pair",
                  key->label);
        error_hint(err, "remove the object that does not belong there, with the tool of the "
                        "token's maker");
        goto done;
    }
    if (!own && !beside) {
        error_set(err, FAIL_UNSUPPORTED,
                  "the token does not give the modulus and exponent of sealing key \"%s\"",
                  key->label);
        goto done;
    }
    if (!public_key_from_numbers(buf_bytes(own ? &modulus : &modulus_beside),
                                 buf_bytes(own ? &exponent : &exponent_beside), &key->pkey, err)) {
        error_context(err, "sealing key \"%s\"", key->label);
        goto done;
    }
    if (!check_bits(key, err))
        goto done;
    key->modulus_len = (size_t)EVP_PKEY_get_size(key->pkey);
    ok = true;
done:
    buf_free(&modulus);
    buf_free(&exponent);
    buf_free(&modulus_beside);
    buf_free(&exponent_beside);
    return ok;
}

static bool fetch_digests(struct sealing_key *key, struct error *err)
{
    for (int i = 0; i < PADDING_COUNT; i++) {
        const char *name = padding_hash((enum padding)(PADDING_FIRST + i));
        key->digests[i] = EVP_MD_fetch(NULL, name, NULL);
        if (key->digests[i] == NULL)
            return error_openssl(err, FAIL_INTERNAL, "cannot fetch %s", name);
    }
    return true;
}

bool sealing_key_from_handles(struct session *session, CK_OBJECT_HANDLE private_half,
                              CK_OBJECT_HANDLE public_half, struct sealing_key **out,
                              struct error *err)
{
    *out = NULL;
    bool ok = false;
    struct buf label = BUF_INIT(sizeof((struct sealing_key *)0)->label - 1);
    struct sealing_key *key = calloc(1, sizeof *key);
    if (key == NULL)
        return error_memory(err);
    key->id = (struct buf)BUF_INIT(KEY_ID_MAX);
    key->private_half = private_half;
    key->public_half = public_half;
    CK_RV rv = attribute_read(session, private_half, CKA_LABEL, &label);
    if (rv != CKR_OK) {
        session_fail(session, "C_GetAttributeValue(CKA_LABEL)", NO_MECHANISM, rv, err);
        goto done;
    }
    if (memchr(buf_text(&label), 0, label.len) != NULL ||
        !utf8_is_strict(buf_text(&label), label.len)) {
        error_set(err, FAIL_TOKEN, "token \"%s\" gives a label of the sealing key that is no text",
                  session->token->facts.label);
        goto done;
    }
    memcpy(key->label, buf_text(&label), label.len + 1);
    /* A key may be without an id: it is shown, never relied upon. */
    if (attribute_read(session, private_half, CKA_ID, &key->id) != CKR_OK)
        buf_reset(&key->id);
    if (!load_public(session, key, err) || !fetch_digests(key, err))
        goto done;
    *out = key;
    key = NULL; /* transferred */
    ok = true;
done:
    buf_free(&label);
    sealing_key_free(&key);
    return ok;
}

static bool find_by_label(struct session *session, CK_OBJECT_CLASS class, const char *label,
                          CK_OBJECT_HANDLE found[static 2], size_t *count, struct error *err)
{
    struct template template = {.count = 0};
    template_number(&template, CKA_CLASS, class);
    template_bytes(&template, CKA_LABEL, (struct bytes){(const uint8_t *)label, strlen(label)});
    return objects_find(session, &template, found, 2, count, err);
}

static bool fail_missing(struct session *session, const char *label, struct error *err)
{
    bool logged_in = false;
    if (!session_logged_in(session, &logged_in, err))
        return false;
    error_set(err, FAIL_NOT_FOUND, "no private key with label \"%s\" on token \"%s\"%s", label,
              session->token->facts.label,
              logged_in ? "" : " (private keys are seen after a login only)");
    return error_hint(err, "`reseal key list` shows the keys; `reseal ceremony run` makes one");
}

bool sealing_key_find(struct session *session, const char *label, struct sealing_key **out,
                      struct error *err)
{
    *out = NULL;
    CK_OBJECT_HANDLE private_halves[2], public_halves[2];
    size_t count = 0, public_count = 0;
    if (!find_by_label(session, CKO_PRIVATE_KEY, label, private_halves, &count, err))
        return false;
    if (count == 0)
        return fail_missing(session, label, err);
    if (count > 1) {
        error_set(err, FAIL_POLICY, "more than one private key with label \"%s\" on token \"%s\"",
                  label, session->token->facts.label);
        return error_hint(err, "give each key a label of its own: which one seals is not guessed");
    }
    CK_ULONG type = 0;
    CK_RV rv = attribute_number(session, private_halves[0], CKA_KEY_TYPE, &type);
    if (rv != CKR_OK)
        return session_fail(session, "C_GetAttributeValue", NO_MECHANISM, rv, err);
    if (type != CKK_RSA)
        return error_set(err, FAIL_UNSUPPORTED, "the key with label \"%s\" is not an RSA key",
                         label);
    if (!find_by_label(session, CKO_PUBLIC_KEY, label, public_halves, &public_count, err))
        return false;
    if (!sealing_key_from_handles(session, private_halves[0],
                                  public_count == 1 ? public_halves[0] : CK_INVALID_HANDLE, out,
                                  err))
        return false;
    /* The name is told to the connector, and looked for again in each session. */
    if (strcmp((*out)->label, label) == 0)
        return true;
    sealing_key_free(out);
    return error_set(err, FAIL_TOKEN,
                     "token \"%s\" finds a key by the label \"%s\" and gives another",
                     session->token->facts.label, label);
}

void sealing_key_free(struct sealing_key **key)
{
    if (key == NULL || *key == NULL)
        return;
    buf_free(&(*key)->id);
    EVP_PKEY_free((*key)->pkey);
    EVP_PKEY_free((*key)->rotation_target);
    for (int i = 0; i < PADDING_COUNT; i++)
        EVP_MD_free((*key)->digests[i]);
    free(*key);
    *key = NULL;
}

void sealing_key_adopt_ways(struct sealing_key *key, const struct sealing_key *from)
{
    memcpy(key->ways, from->ways, sizeof key->ways);
}

bool sealing_key_describe(struct session *session, const struct sealing_key *key,
                          struct key_finding *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    memcpy(out->name, key->label, sizeof out->name);
    size_t shown = key->id.len < 32 ? key->id.len : 32;
    hex_encode(out->id, buf_text(&key->id), shown);
    out->bits = EVP_PKEY_get_bits(key->pkey);
    if (!public_key_fingerprint(key->pkey, out->fingerprint, err))
        return false;
    CK_OBJECT_HANDLE object = key->private_half;
    const struct {
        CK_ATTRIBUTE_TYPE type;
        signed char *place;
    } rows[] = {
        {CKA_SENSITIVE, &out->attributes.sensitive},
        {CKA_ALWAYS_SENSITIVE, &out->attributes.always_sensitive},
        {CKA_EXTRACTABLE, &out->attributes.extractable},
        {CKA_NEVER_EXTRACTABLE, &out->attributes.never_extractable},
        {CKA_LOCAL, &out->attributes.local},
        {CKA_UNWRAP, &out->attributes.unwrap},
        {CKA_DECRYPT, &out->attributes.decrypt},
        {CKA_SIGN, &out->attributes.sign},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CK_RV rv;
        *rows[i].place = attribute_flag(session, object, rows[i].type, &rv);
        if (ck_class_is_trouble(ck_rv_class(rv)))
            return session_fail(session, "C_GetAttributeValue", NO_MECHANISM, rv, err);
    }
    for (int i = 0; i < PADDING_COUNT; i++)
        out->paddings[i].padding = (enum padding)(PADDING_FIRST + i);
    return true;
}

bool sealing_key_public(struct session *session, const struct sealing_key *key, EVP_PKEY **out,
                        struct error *err)
{
    (void)session; /* read when the key was found */
    *out = NULL;
    if (EVP_PKEY_up_ref(key->pkey) != 1)
        return error_openssl(err, FAIL_INTERNAL, "cannot share a public key");
    *out = key->pkey;
    return true;
}
