/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of tokens and keys, and public keys, through libp11. */
#include <libp11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ec.h>
#include <openssl/objects.h>
#include "object.h"
#include "shared_token.h"

static void take_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
    for (unsigned char *at = (unsigned char *)out; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
}

/* libp11 tells no firmware version: that one number comes from the function list. */
static void fill_item(const struct module *module, PKCS11_SLOT *slot, struct token_list_item *out)
{
    const PKCS11_TOKEN *token = slot->token;
    CK_TOKEN_INFO info = {0};
    CK_INFO library = {0};
    memset(out, 0, sizeof *out);
    CK_SLOT_ID id = PKCS11_get_slotid_from_slot(slot);
    if (module->functions->C_GetTokenInfo(id, &info) == CKR_OK &&
        module->functions->C_GetInfo(&library) == CKR_OK)
        token_facts_fill(&info, &library, id, &out->facts);
    out->facts.slot = id;
    take_text(out->facts.label, sizeof out->facts.label, token->label);
    take_text(out->facts.serial, sizeof out->facts.serial, token->serialnr);
    take_text(out->facts.manufacturer, sizeof out->facts.manufacturer, token->manufacturer);
    take_text(out->facts.model, sizeof out->facts.model, token->model);
    out->initialized = token->initialized != 0;
    out->login_required = token->loginRequired != 0;
    out->pin_state =
        pin_state_from_flags((token->userPinSet ? CKF_USER_PIN_INITIALIZED : 0) |
                             (token->userPinCountLow ? CKF_USER_PIN_COUNT_LOW : 0) |
                             (token->userPinFinalTry ? CKF_USER_PIN_FINAL_TRY : 0) |
                             (token->userPinLocked ? CKF_USER_PIN_LOCKED : 0) |
                             (token->userPinToBeChanged ? CKF_USER_PIN_TO_BE_CHANGED : 0));
}

bool token_list(const struct token_address *address, struct token_list_item **out, size_t *count,
                struct error *err)
{
    *out = NULL;
    *count = 0;
    bool ok = false;
    struct module *module = NULL;
    struct library library = {NULL, NULL, 0, false};
    struct token_list_item *items = NULL;
    size_t found = 0;
    if (!module_open(address->module, address->init_args, &module, err) ||
        !library_open(address, &library, err))
        goto done;
    items = calloc((size_t)library.slot_count + 1, sizeof *items);
    if (items == NULL) {
        error_memory(err);
        goto done;
    }
    for (unsigned int i = 0; i < library.slot_count; i++) {
        if (library.slots[i].token != NULL)
            fill_item(module, &library.slots[i], &items[found++]);
    }
    *out = items;
    items = NULL; /* transferred */
    *count = found;
    ok = true;
done:
    free(items);
    library_close(&library);
    module_close(&module);
    return ok;
}

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

/* *out stays NULL where the token tells no numbers, or not those of a sealing key. */
static bool read_public(struct session *session, PKCS11_KEY *key, EVP_PKEY **out, int *bits,
                        struct error *err)
{
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    struct error unfit = ERROR_INIT;
    struct buf modulus = BUF_INIT(4096), exponent = BUF_INIT(4096);
    *out = NULL;
    *bits = 0;
    if (!find_object(session, key, &object, err))
        return false;
    if (object != CK_INVALID_HANDLE &&
        attribute_read(session, object, CKA_MODULUS, &modulus) == CKR_OK &&
        attribute_read(session, object, CKA_PUBLIC_EXPONENT, &exponent) == CKR_OK) {
        *bits = (int)modulus.len * 8;
        if (public_key_from_numbers(buf_bytes(&modulus), buf_bytes(&exponent), out, &unfit))
            *bits = EVP_PKEY_get_bits(*out);
    }
    buf_free(&modulus);
    buf_free(&exponent);
    return true;
}

/* CKA_EC_PARAMS is mostly the curve's object identifier (PKCS#11 v3.1, section 6.3.3). */
static bool read_curve(struct session *session, PKCS11_KEY *key, int *bits, struct error *err)
{
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    struct buf params = BUF_INIT(1024);
    *bits = 0;
    if (!find_object(session, key, &object, err))
        return false;
    if (object != CK_INVALID_HANDLE &&
        attribute_read(session, object, CKA_EC_PARAMS, &params) == CKR_OK && params.len > 0) {
        const unsigned char *at = params.data;
        ASN1_OBJECT *curve = d2i_ASN1_OBJECT(NULL, &at, (long)params.len);
        EC_GROUP *group = curve != NULL ? EC_GROUP_new_by_curve_name(OBJ_obj2nid(curve)) : NULL;
        *bits = group != NULL ? EC_GROUP_order_bits(group) : 0;
        EC_GROUP_free(group);
        ASN1_OBJECT_free(curve);
        ERR_clear_error();
    }
    buf_free(&params);
    return true;
}

static void key_id(const PKCS11_KEY *key, char out[static 65])
{
    static const char digits[] = "0123456789abcdef";
    size_t len = key->id_len < 32 ? key->id_len : 32;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[key->id[i] >> 4];
        out[2 * i + 1] = digits[key->id[i] & 15];
    }
    out[2 * len] = '\0';
}

/* The item of the same pair, or a new one. */
static struct key_list_item *place_for(struct key_list_item *items, size_t *count, PKCS11_KEY *key)
{
    struct key_list_item item = {.bits = 0};
    take_text(item.label, sizeof item.label, key->label);
    key_id(key, item.id);
    for (size_t i = 0; i < *count; i++) {
        bool twin = key->isPrivate ? items[i].has_private : items[i].has_public;
        if (!twin && strcmp(items[i].label, item.label) == 0 && strcmp(items[i].id, item.id) == 0)
            return &items[i];
    }
    items[*count] = item;
    return &items[(*count)++];
}

static bool add_key(struct session *session, struct key_list_item *items, size_t *count,
                    PKCS11_KEY *key, struct error *err)
{
    struct key_list_item *item = place_for(items, count, key);
    if (key->isPrivate)
        item->has_private = true;
    else
        item->has_public = true;
    int type = PKCS11_get_key_type(key);
    snprintf(item->type, sizeof item->type, "%s",
             type == EVP_PKEY_RSA  ? "RSA"
             : type == EVP_PKEY_EC ? "EC"
                                   : "other");
    if (item->bits > 0)
        return true; /* from the other half */
    if (type == EVP_PKEY_EC)
        return read_curve(session, key, &item->bits, err);
    if (type != EVP_PKEY_RSA)
        return true;
    EVP_PKEY *pkey = NULL;
    bool ok = read_public(session, key, &pkey, &item->bits, err) &&
              (pkey == NULL || public_key_fingerprint(pkey, item->fingerprint, err));
    EVP_PKEY_free(pkey);
    return ok;
}

/* Both enumerations of libp11; either list may be empty. */
static bool enumerate(struct shared_token *shared, PKCS11_KEY **private_keys,
                      unsigned int *private_count, PKCS11_KEY **public_keys,
                      unsigned int *public_count, struct error *err)
{
    if (PKCS11_enumerate_public_keys(shared->listed, public_keys, public_count) != 0 ||
        PKCS11_enumerate_keys(shared->listed, private_keys, private_count) != 0)
        return error_openssl(err, FAIL_TOKEN, "libp11 cannot list the keys of token \"%s\"",
                             shared->token->facts.label);
    return true;
}

bool key_list(const struct token_address *address, const struct secret *pin,
              struct key_list_item **out, size_t *count, struct error *err)
{
    *out = NULL;
    *count = 0;
    bool ok = false;
    struct shared_token shared = {.token = NULL};
    struct key_list_item *items = NULL;
    PKCS11_KEY *private_keys = NULL, *public_keys = NULL;
    unsigned int private_count = 0, public_count = 0;
    size_t found = 0;
    if (!shared_open(address, pin, false, &shared, err) ||
        !enumerate(&shared, &private_keys, &private_count, &public_keys, &public_count, err))
        goto done;
    items = calloc((size_t)private_count + public_count + 1, sizeof *items);
    if (items == NULL) {
        error_memory(err);
        goto done;
    }
    for (unsigned int i = 0; i < public_count; i++) {
        if (!add_key(shared.session, items, &found, &public_keys[i], err))
            goto done;
    }
    for (unsigned int i = 0; i < private_count; i++) {
        if (!add_key(shared.session, items, &found, &private_keys[i], err))
            goto done;
    }
    *out = items;
    items = NULL; /* transferred */
    *count = found;
    ok = true;
done:
    free(items);
    shared_close(&shared);
    return ok;
}

/* The one key of that label. */
static bool pick(PKCS11_KEY *keys, unsigned int count, const char *label, PKCS11_KEY **out,
                 struct error *err)
{
    for (unsigned int i = 0; i < count; i++) {
        if (keys[i].label == NULL || strcmp(keys[i].label, label) != 0)
            continue;
        if (*out != NULL) {
            error_set(err, FAIL_POLICY, "more than one key with label \"%s\" on the token", label);
            return error_hint(err, "give each key a label of its own");
        }
        *out = &keys[i];
    }
    return true;
}

bool key_export(const struct token_address *address, const struct secret *pin, const char *label,
                EVP_PKEY **out, struct error *err)
{
    *out = NULL;
    bool ok = false;
    struct shared_token shared = {.token = NULL};
    PKCS11_KEY *private_keys = NULL, *public_keys = NULL, *key = NULL;
    unsigned int private_count = 0, public_count = 0;
    int bits = 0;
    if (!shared_open(address, pin, false, &shared, err) ||
        !enumerate(&shared, &private_keys, &private_count, &public_keys, &public_count, err) ||
        !pick(public_keys, public_count, label, &key, err))
        goto done;
    /* Some tokens keep no public object; the private one tells the numbers, after a login. */
    if (key == NULL && !pick(private_keys, private_count, label, &key, err))
        goto done;
    if (key == NULL) {
        error_set(err, FAIL_NOT_FOUND, "no key with label \"%s\" on token \"%s\"", label,
                  shared.token->facts.label);
        error_hint(err, "`reseal key list` shows the keys%s",
                   pin == NULL ? "; with the PIN, private ones too" : "");
        goto done;
    }
    if (!read_public(shared.session, key, out, &bits, err))
        goto done;
    if (*out == NULL) {
        error_set(err, FAIL_UNSUPPORTED,
                  "the key with label \"%s\" is no RSA key of 2048 to 4096 bits", label);
        goto done;
    }
    ok = true;
done:
    shared_close(&shared);
    return ok;
}
