/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of keys on a token, and a public key of it, through libp11. Where libp11 cannot list
 * them they are found by our own calls: 0.4.12 of Debian 12 gives up on a token with any key of a
 * type that it does not know, such as Ed25519.
 */
#include <libp11.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/text.h"
#include "shared_token.h"

#define ID_MAX   32   /* bytes of CKA_ID that are shown */
#define KEYS_MAX 4096 /* of each half, by our own calls */

enum key_kind {
    KIND_RSA,
    KIND_EC,
    KIND_EDWARDS,
    KIND_OTHER,
};

/* One object, a private or a public key. */
struct listed_key {
    CK_OBJECT_HANDLE object; /* CK_INVALID_HANDLE: libp11 told of it, and it is not found again */
    bool is_private;
    enum key_kind kind;
    char label[129];
    uint8_t id[ID_MAX];
    size_t id_len;
};

struct listed_keys {
    struct listed_key *all;
    size_t count;
};

static void take_name(struct listed_key *out, const char *label, const void *id, size_t id_len)
{
    snprintf(out->label, sizeof out->label, "%s", label != NULL ? label : "");
    out->id_len = id_len < ID_MAX ? id_len : ID_MAX;
    if (out->id_len > 0)
        memcpy(out->id, id, out->id_len);
}

/* -- by libp11 -- */

/*
 * The object behind libp11's entry. libp11 0.4.12 never frees a key whose PKCS11_get_public_key was
 * called (the RSA structure and the key hold each other), so the numbers are read by attribute.
 */
static bool find_object(struct session *session, const PKCS11_KEY *key, CK_OBJECT_HANDLE *out,
                        struct error *err)
{
    CK_OBJECT_HANDLE found[1];
    size_t count = 0;
    struct template template = {.count = 0};
    template_number(&template, CKA_CLASS, key->isPrivate ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY);
    if (key->label != NULL)
        template_bytes(&template, CKA_LABEL,
                       (struct bytes){(const uint8_t *)key->label, strlen(key->label)});
    if (key->id_len > 0)
        template_bytes(&template, CKA_ID, (struct bytes){key->id, key->id_len});
    if (!objects_find(session, &template, found, 1, &count, err))
        return false;
    *out = count == 1 ? found[0] : CK_INVALID_HANDLE;
    return true;
}

static enum key_kind kind_by_libp11(PKCS11_KEY *key)
{
    int type = PKCS11_get_key_type(key);
    return type == EVP_PKEY_RSA       ? KIND_RSA
           : type == EVP_PKEY_EC      ? KIND_EC
           : type == EVP_PKEY_ED25519 ? KIND_EDWARDS
                                      : KIND_OTHER;
}

static bool take_listed(struct session *session, PKCS11_KEY *keys, unsigned int count,
                        struct listed_keys *out, struct error *err)
{
    for (unsigned int i = 0; i < count; i++) {
        struct listed_key *key = &out->all[out->count++];
        key->is_private = keys[i].isPrivate != 0;
        key->kind = kind_by_libp11(&keys[i]);
        take_name(key, keys[i].label, keys[i].id, keys[i].id_len);
        if (!find_object(session, &keys[i], &key->object, err))
            return false;
    }
    return true;
}

/* *known is false where libp11 cannot list what is on this token. Public keys come first. */
static bool list_by_libp11(struct shared_token *shared, struct listed_keys *out, bool *known,
                           struct error *err)
{
    PKCS11_KEY *private_keys = NULL, *public_keys = NULL;
    unsigned int private_count = 0, public_count = 0;
    *known = PKCS11_enumerate_public_keys(shared->listed, &public_keys, &public_count) == 0 &&
             PKCS11_enumerate_keys(shared->listed, &private_keys, &private_count) == 0;
    ERR_clear_error();
    if (!*known)
        return true;
    out->all = calloc((size_t)private_count + public_count + 1, sizeof *out->all);
    if (out->all == NULL)
        return error_memory(err);
    return take_listed(shared->session, public_keys, public_count, out, err) &&
           take_listed(shared->session, private_keys, private_count, out, err);
}

/* -- by our own calls -- */

static bool look_at(struct session *session, CK_OBJECT_HANDLE object, bool is_private,
                    struct listed_key *out, struct error *err)
{
    CK_ULONG type = 0;
    struct buf label = BUF_INIT(sizeof out->label - 1), id = BUF_INIT(1024);
    CK_RV rv = attribute_number(session, object, CKA_KEY_TYPE, &type);
    if (rv != CKR_OK)
        return session_fail(session, "C_GetAttributeValue(CKA_KEY_TYPE)", NO_MECHANISM, rv, err);
    out->object = object;
    out->is_private = is_private;
    out->kind = type == CKK_RSA          ? KIND_RSA
                : type == CKK_EC         ? KIND_EC
                : type == CKK_EC_EDWARDS ? KIND_EDWARDS
                                         : KIND_OTHER;
    bool named = attribute_read(session, object, CKA_LABEL, &label) == CKR_OK;
    bool numbered = attribute_read(session, object, CKA_ID, &id) == CKR_OK;
    take_name(out, named ? buf_text(&label) : "", id.data, numbered ? id.len : 0);
    buf_free(&label);
    buf_free(&id);
    return true;
}

static bool find_keys(struct session *session, bool is_private, struct listed_keys *out,
                      struct error *err)
{
    CK_OBJECT_HANDLE *found = calloc(KEYS_MAX, sizeof *found);
    struct template template = {.count = 0};
    size_t count = 0;
    if (found == NULL)
        return error_memory(err);
    template_number(&template, CKA_CLASS, is_private ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY);
    bool ok = objects_find(session, &template, found, KEYS_MAX, &count, err);
    for (size_t i = 0; ok && i < count; i++)
        ok = look_at(session, found[i], is_private, &out->all[out->count++], err);
    free(found);
    return ok;
}

static bool list_by_calls(struct session *session, struct listed_keys *out, struct error *err)
{
    out->all = calloc((size_t)2 * KEYS_MAX, sizeof *out->all);
    if (out->all == NULL)
        return error_memory(err);
    return find_keys(session, false, out, err) && find_keys(session, true, out, err);
}

static bool list_all(struct shared_token *shared, struct listed_keys *out, struct error *err)
{
    bool known = false;
    return list_by_libp11(shared, out, &known, err) &&
           (known || list_by_calls(shared->session, out, err));
}

/* -- what they are -- */

/* The length in bits, 0 where the token tells no numbers. *out stays NULL then, and for numbers
 * that are not those of a sealing key. */
static int read_public(struct session *session, const struct listed_key *key, EVP_PKEY **out)
{
    struct buf modulus = BUF_INIT(4096), exponent = BUF_INIT(4096);
    struct error unfit = ERROR_INIT;
    int bits = 0;
    *out = NULL;
    if (key->object != CK_INVALID_HANDLE &&
        attribute_read(session, key->object, CKA_MODULUS, &modulus) == CKR_OK &&
        attribute_read(session, key->object, CKA_PUBLIC_EXPONENT, &exponent) == CKR_OK) {
        bits = (int)modulus.len * 8;
        if (public_key_from_numbers(buf_bytes(&modulus), buf_bytes(&exponent), out, &unfit))
            bits = EVP_PKEY_get_bits(*out);
    }
    buf_free(&modulus);
    buf_free(&exponent);
    return bits;
}

/* CKA_EC_PARAMS is mostly the curve's object identifier (PKCS#11 v3.1, section 6.3.3). */
static int read_curve(struct session *session, const struct listed_key *key)
{
    struct buf params = BUF_INIT(1024);
    int bits = 0;
    if (key->object != CK_INVALID_HANDLE &&
        attribute_read(session, key->object, CKA_EC_PARAMS, &params) == CKR_OK && params.len > 0) {
        const unsigned char *at = params.data;
        ASN1_OBJECT *curve = d2i_ASN1_OBJECT(NULL, &at, (long)params.len);
        EC_GROUP *group = curve != NULL ? EC_GROUP_new_by_curve_name(OBJ_obj2nid(curve)) : NULL;
        bits = group != NULL ? EC_GROUP_order_bits(group) : 0;
        EC_GROUP_free(group);
        ASN1_OBJECT_free(curve);
        ERR_clear_error();
    }
    buf_free(&params);
    return bits;
}

/* The item of the same pair, or a new one. */
static struct key_list_item *place_for(struct key_list_item *items, size_t *count,
                                       const struct listed_key *key)
{
    struct key_list_item item = {.bits = 0};
    memcpy(item.label, key->label, sizeof item.label);
    text_make_printable(item.label);
    hex_encode(item.id, key->id, key->id_len);
    for (size_t i = 0; i < *count; i++) {
        bool twin = key->is_private ? items[i].has_private : items[i].has_public;
        if (!twin && strcmp(items[i].label, item.label) == 0 && strcmp(items[i].id, item.id) == 0)
            return &items[i];
    }
    items[*count] = item;
    return &items[(*count)++];
}

static bool add_key(struct session *session, struct key_list_item *items, size_t *count,
                    const struct listed_key *key, struct error *err)
{
    static const char *const names[] = {
        [KIND_RSA] = "RSA", [KIND_EC] = "EC", [KIND_EDWARDS] = "Edwards", [KIND_OTHER] = "other"};
    struct key_list_item *item = place_for(items, count, key);
    EVP_PKEY *pkey = NULL;
    bool ok = true;
    if (key->is_private)
        item->has_private = true;
    else
        item->has_public = true;
    snprintf(item->type, sizeof item->type, "%s", names[key->kind]);
    if (item->bits > 0)
        return true; /* from the other half */
    if (key->kind == KIND_EC)
        item->bits = read_curve(session, key);
    if (key->kind == KIND_RSA) {
        item->bits = read_public(session, key, &pkey);
        ok = pkey == NULL || public_key_fingerprint(pkey, item->fingerprint, err);
    }
    EVP_PKEY_free(pkey);
    return ok;
}

bool key_list(const struct token_address *address, const struct secret *pin,
              struct key_list_item **out, size_t *count, struct error *err)
{
    struct shared_token shared = {.token = NULL};
    struct listed_keys keys = {NULL, 0};
    struct key_list_item *items = NULL;
    size_t found = 0;
    bool ok = false;
    *out = NULL;
    *count = 0;
    if (!shared_open(address, pin, false, &shared, err) || !list_all(&shared, &keys, err))
        goto done;
    items = calloc(keys.count + 1, sizeof *items);
    if (items == NULL) {
        error_memory(err);
        goto done;
    }
    for (size_t i = 0; i < keys.count; i++) {
        if (!add_key(shared.session, items, &found, &keys.all[i], err))
            goto done;
    }
    *out = items;
    items = NULL; /* transferred */
    *count = found;
    ok = true;
done:
    free(items);
    free(keys.all);
    shared_close(&shared);
    return ok;
}

/* The one key of that label. */
static bool pick(const struct listed_keys *keys, bool is_private, const char *label,
                 const struct listed_key **out, struct error *err)
{
    for (size_t i = 0; i < keys->count; i++) {
        const struct listed_key *key = &keys->all[i];
        if (key->is_private != is_private || strcmp(key->label, label) != 0)
            continue;
        if (*out != NULL) {
            error_set(err, FAIL_POLICY, "more than one key with label \"%s\" on the token", label);
            return error_hint(err, "give each key a label of its own");
        }
        *out = key;
    }
    return true;
}

bool key_export(const struct token_address *address, const struct secret *pin, const char *label,
                EVP_PKEY **out, struct error *err)
{
    struct shared_token shared = {.token = NULL};
    struct listed_keys keys = {NULL, 0};
    const struct listed_key *key = NULL;
    bool ok = false;
    *out = NULL;
    if (!shared_open(address, pin, false, &shared, err) || !list_all(&shared, &keys, err) ||
        !pick(&keys, false, label, &key, err))
        goto done;
    /* Some tokens keep no public object; the private one tells the numbers, after a login. */
    if (key == NULL && !pick(&keys, true, label, &key, err))
        goto done;
    if (key == NULL) {
        error_set(err, FAIL_NOT_FOUND, "no key with label \"%s\" on token \"%s\"", label,
                  shared.token->facts.label);
        error_hint(err, "`reseal key list` shows the keys%s",
                   pin == NULL ? "; with the PIN, private ones too" : "");
        goto done;
    }
    (void)read_public(shared.session, key, out);
    ok = *out != NULL;
    if (!ok)
        error_set(err, FAIL_UNSUPPORTED,
                  "the key with label \"%s\" is no RSA key of 2048 to 4096 bits", label);
done:
    free(keys.all);
    shared_close(&shared);
    return ok;
}
