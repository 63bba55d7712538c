/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/inventory.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "key_check.h"
#include "reseal/public_key.h"
#include "reseal/text.h"

#define ID_SHOWN 32 /* bytes */

const char *inventory_class_name(enum inventory_class class)
{
    switch (class) {
    case INVENTORY_PRIVATE_KEY:
        return "private key";
    case INVENTORY_PUBLIC_KEY:
        return "public key";
    case INVENTORY_SECRET_KEY:
        return "secret key";
    case INVENTORY_CERTIFICATE:
        return "certificate";
    case INVENTORY_DATA:
        return "data";
    case INVENTORY_OTHER:
        return "other";
    }
    return "other";
}

static enum inventory_class class_of(CK_ULONG class)
{
    switch (class) {
    case CKO_PRIVATE_KEY:
        return INVENTORY_PRIVATE_KEY;
    case CKO_PUBLIC_KEY:
        return INVENTORY_PUBLIC_KEY;
    case CKO_SECRET_KEY:
        return INVENTORY_SECRET_KEY;
    case CKO_CERTIFICATE:
        return INVENTORY_CERTIFICATE;
    case CKO_DATA:
        return INVENTORY_DATA;
    default:
        return INVENTORY_OTHER;
    }
}

/* What a token does not tell is left empty; what it is in trouble with ends the list. */
static bool read_bytes(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                       struct buf *out, struct error *err)
{
    CK_RV rv = attribute_read(session, object, type, out);
    if (ck_class_is_trouble(ck_rv_class(rv)))
        return session_fail(session, "C_GetAttributeValue", NO_MECHANISM, rv, err);
    if (rv != CKR_OK)
        buf_reset(out);
    return true;
}

static bool fingerprint(struct session *session, CK_OBJECT_HANDLE object,
                        char out[static FINGERPRINT_TEXT], struct error *err)
{
    struct buf modulus = BUF_INIT(1024), exponent = BUF_INIT(1024);
    struct error unfit = ERROR_INIT;
    EVP_PKEY *pkey = NULL;
    bool ok = read_bytes(session, object, CKA_MODULUS, &modulus, err) &&
              read_bytes(session, object, CKA_PUBLIC_EXPONENT, &exponent, err);
    /* A key of another kind or length is shown without. */
    if (ok && modulus.len > 0 && exponent.len > 0 &&
        public_key_from_numbers(buf_bytes(&modulus), buf_bytes(&exponent), &pkey, &unfit))
        ok = public_key_fingerprint(pkey, out, err);
    EVP_PKEY_free(pkey);
    buf_free(&modulus);
    buf_free(&exponent);
    return ok;
}

static bool look_at(struct session *session, CK_OBJECT_HANDLE object, struct inventory_object *out,
                    struct error *err)
{
    struct buf label = BUF_INIT(sizeof out->label - 1), id = BUF_INIT(256);
    CK_ULONG class = 0;
    CK_RV rv = attribute_number(session, object, CKA_CLASS, &class);
    if (rv != CKR_OK)
        return session_fail(session, "C_GetAttributeValue(CKA_CLASS)", NO_MECHANISM, rv, err);
    out->class = class_of(class);
    bool key = out->class == INVENTORY_PRIVATE_KEY || out->class == INVENTORY_PUBLIC_KEY;
    bool ok = read_bytes(session, object, CKA_LABEL, &label, err) &&
              read_bytes(session, object, CKA_ID, &id, err) &&
              (!key || fingerprint(session, object, out->fingerprint, err));
    if (ok) {
        snprintf(out->label, sizeof out->label, "%s", buf_text(&label));
        text_make_printable(out->label);
        hex_encode(out->id, buf_text(&id), id.len < ID_SHOWN ? id.len : ID_SHOWN);
    }
    buf_free(&label);
    buf_free(&id);
    return ok;
}

bool token_inventory(struct session *session, struct inventory_object **out, size_t *count,
                     struct error *err)
{
    CK_OBJECT_HANDLE *found = calloc(INVENTORY_MAX + 1, sizeof *found);
    struct template template = {.count = 0};
    bool ok = false;
    *count = 0;
    *out = calloc(INVENTORY_MAX + 1, sizeof **out);
    if (*out == NULL || found == NULL) {
        error_memory(err);
        goto done;
    }
    template_flag(&template, CKA_TOKEN, true);
    if (!objects_find(session, &template, found, INVENTORY_MAX + 1, count, err))
        goto done;
    if (*count > INVENTORY_MAX) {
        error_set(err, FAIL_TOO_LARGE, "token \"%s\" has more than %d objects",
                  session->token->facts.label, INVENTORY_MAX);
        goto done;
    }
    ok = true;
    for (size_t i = 0; ok && i < *count; i++)
        ok = look_at(session, found[i], &(*out)[i], err);
done:
    free(found);
    if (!ok) {
        free(*out);
        *out = NULL;
        *count = 0;
    }
    return ok;
}

static bool find_half(struct session *session, CK_OBJECT_CLASS class, struct bytes id,
                      CK_OBJECT_HANDLE *out, struct error *err)
{
    CK_OBJECT_HANDLE found[2];
    size_t count = 0;
    struct template template = {.count = 0};
    template_number(&template, CKA_CLASS, class);
    template_bytes(&template, CKA_ID, id);
    if (!objects_find(session, &template, found, ARRAY_LEN(found), &count, err))
        return false;
    if (count != 1)
        return error_set(err, FAIL_NOT_FOUND, "there %s with that CKA_ID",
                         count == 0 ? "is no such key" : "are several keys");
    *out = found[0];
    return true;
}

bool key_read_again(struct session *session, const char *id, const struct key_plan *plan,
                    struct key_birth *birth, struct error *err)
{
    struct buf raw = BUF_INIT(KEY_ID_LEN);
    const struct key_options none = {.taken = 0};
    struct key_pair pair = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    memset(birth, 0, sizeof *birth);
    bool ok = hex_decode(&raw, id, strlen(id), "CKA_ID", err) &&
              find_half(session, CKO_PRIVATE_KEY, buf_bytes(&raw), &pair.private_half, err) &&
              find_half(session, CKO_PUBLIC_KEY, buf_bytes(&raw), &pair.public_half, err) &&
              key_check(session, &pair, plan, buf_bytes(&raw), &none, birth, err);
    snprintf(birth->id, sizeof birth->id, "%s", id);
    buf_free(&raw);
    return ok;
}
