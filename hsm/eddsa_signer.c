/* SPDX-License-Identifier: Apache-2.0 */
#include "eddsa_signer.h"

#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <string.h>
#include "reseal/text.h"

#define POINT_LEN     32 /* RFC 8032, section 5.1.5 */
#define SIGNATURE_LEN 64 /* RFC 8032, section 5.1.6 */
#define ID_MAX        32 /* bytes of CKA_ID: what an address has room for */

/* What the address and the type of the key say, of one of its halves. */
static bool fill_template(const struct signer_address *address, CK_OBJECT_CLASS class,
                          struct buf *id, struct template *out, struct error *err)
{
    *out = (struct template){.count = 0};
    template_number(out, CKA_CLASS, class);
    template_number(out, CKA_KEY_TYPE, CKK_EC_EDWARDS);
    if (address->label[0] != '\0')
        template_bytes(out, CKA_LABEL,
                       (struct bytes){(const uint8_t *)address->label, strlen(address->label)});
    if (address->id[0] == '\0')
        return true;
    if (!hex_decode(id, address->id, strlen(address->id), "the URI's id", err))
        return false;
    template_bytes(out, CKA_ID, buf_bytes(id));
    return true;
}

/* CKA_EC_POINT is the bare point, or a DER OCTET STRING with the point in it. */
static bool read_point(struct session *session, CK_OBJECT_HANDLE object, EVP_PKEY **out,
                       struct error *err)
{
    struct buf value = BUF_INIT(256);
    CK_RV rv = attribute_read(session, object, CKA_EC_POINT, &value);
    struct bytes point = buf_bytes(&value);
    if (rv == CKR_OK && point.len == POINT_LEN + 2 && point.data[0] == V_ASN1_OCTET_STRING &&
        point.data[1] == POINT_LEN)
        point = (struct bytes){point.data + 2, POINT_LEN};
    if (rv != CKR_OK)
        session_fail(session, "C_GetAttributeValue(CKA_EC_POINT)", NO_MECHANISM, rv, err);
    else if (point.len != POINT_LEN)
        error_set(err, FAIL_UNSUPPORTED,
                  "the Edwards key on token \"%s\" has a point of %zu bytes, and Ed25519 has %d",
                  session->token->facts.label, point.len, POINT_LEN);
    else if ((*out = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, point.data, point.len)) ==
             NULL)
        error_openssl(err, FAIL_CRYPTO, "the public half of the Ed25519 key is none");
    buf_free(&value);
    return *out != NULL;
}

static bool find(struct session *session, const struct signer_address *address,
                 CK_OBJECT_CLASS class, CK_OBJECT_HANDLE found[static 2], size_t *count,
                 struct error *err)
{
    struct template template;
    struct buf id = BUF_INIT(ID_MAX);
    bool ok = fill_template(address, class, &id, &template, err) &&
              objects_find(session, &template, found, 2, count, err);
    buf_free(&id);
    return ok;
}

/* The public half of a private key has its CKA_ID. */
static bool find_public(struct session *session, CK_OBJECT_HANDLE private_half,
                        const struct signer_address *address, EVP_PKEY **out, struct error *err)
{
    struct signer_address of_public = *address;
    CK_OBJECT_HANDLE found[2];
    size_t count = 0;
    struct buf id = BUF_INIT(ID_MAX);
    if (attribute_read(session, private_half, CKA_ID, &id) == CKR_OK && id.len > 0) {
        hex_encode(of_public.id, id.data, id.len);
        of_public.label[0] = '\0';
    }
    buf_free(&id);
    if (!find(session, &of_public, CKO_PUBLIC_KEY, found, &count, err))
        return false;
    if (count == 1)
        return read_point(session, found[0], out, err);
    error_set(err, FAIL_NOT_FOUND,
              "token \"%s\" has %s public half of the Ed25519 key, by which its signatures are "
              "checked",
              session->token->facts.label, count == 0 ? "no" : "more than one");
    return error_hint(err, "put its public key object on the token, with the same CKA_ID");
}

bool eddsa_signer_open(struct session *session, const struct signer_address *address,
                       struct eddsa_signer *out, bool *found, struct error *err)
{
    CK_OBJECT_HANDLE objects[2];
    size_t count = 0;
    *found = false;
    *out = (struct eddsa_signer){.session = session};
    if (!find(session, address, CKO_PRIVATE_KEY, objects, &count, err))
        return false;
    if (count == 0)
        return true;
    if (count > 1) {
        error_set(err, FAIL_POLICY, "more than one key of token \"%s\" fits the URI",
                  session->token->facts.label);
        return error_hint(err, "name it by its id as well");
    }
    *found = true;
    out->private_half = objects[0];
    return find_public(session, objects[0], address, &out->public_half, err);
}

bool eddsa_signer_sign(void *context, struct bytes message, struct buf *out, struct error *err)
{
    const struct eddsa_signer *signer = context;
    struct session *session = signer->session;
    CK_MECHANISM mechanism = {CKM_EDDSA, NULL, 0}; /* no parameters: Ed25519 itself */
    uint8_t signature[2 * SIGNATURE_LEN];
    CK_ULONG len = sizeof signature;
    CK_RV rv = session->f->C_SignInit(session->handle, &mechanism, signer->private_half);
    if (rv != CKR_OK)
        return session_fail(session, "C_SignInit", CKM_EDDSA, rv, err);
    rv = session->f->C_Sign(session->handle, ck_input(message.data), message.len, signature, &len);
    if (rv == CKR_OK && len != SIGNATURE_LEN)
        rv = CKR_FUNCTION_FAILED;
    if (rv != CKR_OK)
        return session_fail(session, "C_Sign", CKM_EDDSA, rv, err);
    buf_put(out, signature, len);
    return buf_check(out, "the signature", err);
}

void eddsa_signer_close(struct eddsa_signer *signer)
{
    EVP_PKEY_free(signer->public_half);
    *signer = (struct eddsa_signer){.session = NULL};
}
