/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content key of a message in custody token: made on the token, and wrapped there for the
 * device. For an RSA device under its public key (PKCS#11 v3.1, section 6.1); for an EC device
 * under a key that the token agrees on with it, by a key pair that lives for this one message (RFC
 * 5753, section 3.1; PKCS#11 v3.1, section 6.3). Neither the content key nor the agreed key leaves
 * it.
 */
#include <string.h>
#include <openssl/asn1.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include "custody.h"

#define KEY_WRAP_LEN (CMS_KEY + 8) /* RFC 3394, section 2.2.1 */
#define POINT_MAX    (1 + 2 * 48)  /* an uncompressed point of P-384 */

static const struct template_row content_key_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_AES},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_PRIVATE, ROW_FLAG, true},
    {CKA_SENSITIVE, ROW_FLAG, true},
    {CKA_EXTRACTABLE, ROW_FLAG, true},
    {CKA_WRAP, ROW_FLAG, true},
    {CKA_VALUE_LEN, ROW_NUMBER, CMS_KEY},
};

static const struct template_row recipient_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_PUBLIC_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_RSA},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_WRAP, ROW_FLAG, true},
};

static const struct template_row ephemeral_public_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_PUBLIC_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_EC},
    {CKA_TOKEN, ROW_FLAG, false},
};

static const struct template_row ephemeral_private_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_PRIVATE_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_EC},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_PRIVATE, ROW_FLAG, true},
    {CKA_SENSITIVE, ROW_FLAG, true},
    {CKA_EXTRACTABLE, ROW_FLAG, false},
    {CKA_DERIVE, ROW_FLAG, true},
};

static const struct template_row agreed_key_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_AES},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_PRIVATE, ROW_FLAG, true},
    {CKA_SENSITIVE, ROW_FLAG, true},
    {CKA_EXTRACTABLE, ROW_FLAG, false},
    {CKA_WRAP, ROW_FLAG, true},
    {CKA_VALUE_LEN, ROW_NUMBER, CMS_KEY},
};

/* The standard takes the device's point in both encodings (PKCS#11 v3.1, section 6.3.17); tokens
 * take one of them. */
static const struct {
    bool der;
    const char *quirk;
} point_variants[] = {
    {false, ""},
    {true, "an EC device's point is given as a DER OCTET STRING"},
};

size_t point_variant_count(void)
{
    return ARRAY_LEN(point_variants);
}

const char *point_variant_quirk(size_t variant)
{
    return point_variants[variant].quirk;
}

bool content_key_make(struct session *session, const struct sealing_key *key, CK_OBJECT_HANDLE *out,
                      struct error *err)
{
    const CK_OBJECT_HANDLE known[] = {key->private_half, key->public_half};
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    struct template template = {.count = 0};
    template_rows(&template, content_key_rows, ARRAY_LEN(content_key_rows));
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_RV rv = session->f->C_GenerateKey(session->handle, &mechanism, template.rows, template.count,
                                         &made);
    if (rv != CKR_OK)
        return session_fail(session, "C_GenerateKey", CKM_AES_KEY_GEN, rv, err);
    return object_take(session, "C_GenerateKey", made, known, ARRAY_LEN(known), out, err) &&
           secret_require_unreadable(session, *out, err);
}

/* What a wrapping holds on the token, besides what was there before. */
struct wrapping {
    struct session *session;
    const struct sealing_key *key;
    CK_OBJECT_HANDLE content_key;
    EVP_PKEY *device;
    enum cms_form form;
    CK_OBJECT_HANDLE recipient;                             /* of an RSA device */
    CK_OBJECT_HANDLE public_half, private_half, agreed_key; /* for an EC device */
};

static bool take_made(struct wrapping *wrapping, const char *function, CK_OBJECT_HANDLE made,
                      CK_OBJECT_HANDLE *place, struct error *err)
{
    const CK_OBJECT_HANDLE known[] = {wrapping->content_key,     wrapping->recipient,
                                      wrapping->public_half,     wrapping->private_half,
                                      wrapping->agreed_key,      wrapping->key->private_half,
                                      wrapping->key->public_half};
    return object_take(wrapping->session, function, made, known, ARRAY_LEN(known), place, err);
}

/* C_WrapKey to a length that is known before: a token that gives another one has not done what it
 * was asked for. */
static bool wrap_to(struct wrapping *wrapping, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE under,
                    size_t wanted, struct buf *out, struct error *err)
{
    struct session *session = wrapping->session;
    CK_ULONG len = wanted;
    uint8_t *place = buf_extend(out, wanted);
    if (place == NULL)
        return buf_check(out, "the wrapped content key", err);
    CK_RV rv = session->f->C_WrapKey(session->handle, mechanism, under, wrapping->content_key,
                                     place, &len);
    if (rv != CKR_OK)
        return session_fail(session, "C_WrapKey", mechanism->mechanism, rv, err);
    if (len != wanted) {
        session_fail(session, "C_WrapKey", mechanism->mechanism, CKR_FUNCTION_FAILED, err);
        return error_set(err, FAIL_TOKEN,
                         "token \"%s\" wrapped the content key to %lu bytes instead of %zu",
                         session->token->facts.label, len, wanted);
    }
    return true;
}

/* -- an RSA device -- */

static bool read_number(EVP_PKEY *key, const char *name, struct buf *out)
{
    BIGNUM *number = NULL;
    bool ok = false;
    if (EVP_PKEY_get_bn_param(key, name, &number) == 1) {
        uint8_t *place = buf_extend(out, (size_t)BN_num_bytes(number));
        ok = place != NULL && BN_bn2bin(number, place) == (int)out->len;
    }
    BN_free(number);
    return ok;
}

bool rsa_numbers_read(EVP_PKEY *pkey, struct buf *modulus, struct buf *exponent, struct error *err)
{
    if (read_number(pkey, OSSL_PKEY_PARAM_RSA_N, modulus) &&
        read_number(pkey, OSSL_PKEY_PARAM_RSA_E, exponent))
        return true;
    return error_openssl(err, FAIL_UNSUPPORTED, "the numbers of an RSA key cannot be read");
}

bool wrapping_key_import(struct session *session, EVP_PKEY *pkey, const CK_OBJECT_HANDLE *known,
                         size_t count, CK_OBJECT_HANDLE *out, struct error *err)
{
    bool ok = false;
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    struct buf modulus = BUF_INIT(2048), exponent = BUF_INIT(2048);
    struct template template = {.count = 0};
    if (!rsa_numbers_read(pkey, &modulus, &exponent, err))
        goto done;
    template_rows(&template, recipient_rows, ARRAY_LEN(recipient_rows));
    template_bytes(&template, CKA_MODULUS, buf_bytes(&modulus));
    template_bytes(&template, CKA_PUBLIC_EXPONENT, buf_bytes(&exponent));
    CK_RV rv = session->f->C_CreateObject(session->handle, template.rows, template.count, &made);
    if (rv != CKR_OK) {
        session_fail(session, "C_CreateObject", NO_MECHANISM, rv, err);
        goto done;
    }
    ok = object_take(session, "C_CreateObject", made, known, count, out, err);
done:
    buf_free(&modulus);
    buf_free(&exponent);
    return ok;
}

static bool import_recipient(struct wrapping *wrapping, struct error *err)
{
    const CK_OBJECT_HANDLE known[] = {wrapping->content_key, wrapping->key->private_half,
                                      wrapping->key->public_half};
    return wrapping_key_import(wrapping->session, wrapping->device, known, ARRAY_LEN(known),
                               &wrapping->recipient, err);
}

static bool transport(struct wrapping *wrapping, struct buf *encrypted_key, struct error *err)
{
    CK_RSA_PKCS_OAEP_PARAMS params = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, NULL, 0};
    CK_MECHANISM mechanism = {CKM_RSA_PKCS, NULL, 0};
    if (wrapping->form == CMS_RSA_OAEP_SHA256)
        mechanism = (CK_MECHANISM){CKM_RSA_PKCS_OAEP, &params, sizeof params};
    bool ok = import_recipient(wrapping, err) &&
              wrap_to(wrapping, &mechanism, wrapping->recipient,
                      (size_t)EVP_PKEY_get_size(wrapping->device), encrypted_key, err);
    object_drop(wrapping->session, &wrapping->recipient);
    return ok;
}

/* -- an EC device -- */

struct curve {
    int nid;
    size_t point_len; /* of an uncompressed point (SEC 1, section 2.3.3) */
    CK_ULONG kdf;     /* X9.63 with that hash */
};

static const struct curve *curve_of(enum cms_form form)
{
    static const struct curve p256 = {NID_X9_62_prime256v1, 1 + 2 * 32, CKD_SHA256_KDF};
    static const struct curve p384 = {NID_secp384r1, 1 + 2 * 48, CKD_SHA384_KDF};
    return form == CMS_EC_P384 ? &p384 : &p256;
}

static bool make_ephemeral(struct wrapping *wrapping, const struct curve *curve, struct error *err)
{
    struct session *session = wrapping->session;
    struct template public_half = {.count = 0}, private_half = {.count = 0};
    CK_OBJECT_HANDLE made[2] = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    unsigned char *oid = NULL;
    int len = i2d_ASN1_OBJECT(OBJ_nid2obj(curve->nid), &oid);
    if (len <= 0)
        return error_openssl(err, FAIL_INTERNAL, "the name of a curve cannot be encoded");
    template_rows(&public_half, ephemeral_public_rows, ARRAY_LEN(ephemeral_public_rows));
    template_bytes(&public_half, CKA_EC_PARAMS, (struct bytes){oid, (size_t)len});
    template_rows(&private_half, ephemeral_private_rows, ARRAY_LEN(ephemeral_private_rows));
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_RV rv = session->f->C_GenerateKeyPair(session->handle, &mechanism, public_half.rows,
                                             public_half.count, private_half.rows,
                                             private_half.count, &made[0], &made[1]);
    OPENSSL_free(oid);
    if (rv != CKR_OK)
        return session_fail(session, "C_GenerateKeyPair", CKM_EC_KEY_PAIR_GEN, rv, err);
    return take_made(wrapping, "C_GenerateKeyPair", made[0], &wrapping->public_half, err) &&
           take_made(wrapping, "C_GenerateKeyPair", made[1], &wrapping->private_half, err);
}

/* CKA_EC_POINT is a DER OCTET STRING with the point in it; some tokens give the bare point. */
static bool read_point(struct wrapping *wrapping, const struct curve *curve, struct buf *out,
                       struct error *err)
{
    struct session *session = wrapping->session;
    const size_t wanted = curve->point_len;
    struct buf value = BUF_INIT(2 * POINT_MAX);
    CK_RV rv = attribute_read(session, wrapping->public_half, CKA_EC_POINT, &value);
    struct bytes point = buf_bytes(&value);
    if (rv == CKR_OK && point.len == wanted + 2 && point.data[0] == V_ASN1_OCTET_STRING &&
        point.data[1] == wanted)
        point = (struct bytes){point.data + 2, wanted};
    bool fine =
        rv == CKR_OK && point.len == wanted && point.data[0] == POINT_CONVERSION_UNCOMPRESSED;
    if (fine)
        buf_put(out, point.data, point.len);
    buf_free(&value);
    if (!fine)
        return session_fail(session, "C_GetAttributeValue(CKA_EC_POINT)", NO_MECHANISM,
                            rv != CKR_OK ? rv : CKR_FUNCTION_FAILED, err);
    return buf_check(out, "an ephemeral point", err);
}

/* The device's own point, in the encoding that the token wants. By its coordinates, as a
 * certificate may carry it compressed. */
static bool device_point(EVP_PKEY *pkey, const struct curve *curve, bool der, struct buf *out,
                         struct error *err)
{
    BIGNUM *x = NULL, *y = NULL;
    const int half = (int)(curve->point_len - 1) / 2;
    if (der) {
        buf_put_u8(out, V_ASN1_OCTET_STRING);
        buf_put_u8(out, (uint8_t)curve->point_len);
    }
    uint8_t *place = buf_extend(out, curve->point_len);
    bool ok = place != NULL && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 &&
              EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1;
    if (ok) {
        place[0] = POINT_CONVERSION_UNCOMPRESSED;
        ok = BN_bn2binpad(x, place + 1, half) == half &&
             BN_bn2binpad(y, place + 1 + half, half) == half;
    }
    BN_free(x);
    BN_free(y);
    return ok ? true : error_openssl(err, FAIL_UNSUPPORTED, "the device's EC key cannot be read");
}

static bool derive(struct wrapping *wrapping, const struct curve *curve, size_t point_variant,
                   struct error *err)
{
    bool ok = false;
    struct session *session = wrapping->session;
    struct buf point = BUF_INIT(2 * POINT_MAX), shared_info = BUF_INIT(256);
    struct template template = {.count = 0};
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    if (!device_point(wrapping->device, curve, point_variants[point_variant].der, &point, err) ||
        !cms_shared_info(&shared_info, err))
        goto done;
    CK_ECDH1_DERIVE_PARAMS params = {curve->kdf, shared_info.len, shared_info.data, point.len,
                                     point.data};
    CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &params, sizeof params};
    template_rows(&template, agreed_key_rows, ARRAY_LEN(agreed_key_rows));
    CK_RV rv = session->f->C_DeriveKey(session->handle, &mechanism, wrapping->private_half,
                                       template.rows, template.count, &made);
    if (rv != CKR_OK) {
        session_fail(session, "C_DeriveKey", CKM_ECDH1_DERIVE, rv, err);
        goto done;
    }
    ok = take_made(wrapping, "C_DeriveKey", made, &wrapping->agreed_key, err) &&
         secret_require_unreadable(session, wrapping->agreed_key, err);
done:
    buf_free(&point);
    buf_free(&shared_info);
    return ok;
}

static bool agree(struct wrapping *wrapping, size_t point_variant, struct buf *encrypted_key,
                  struct buf *originator, struct error *err)
{
    const struct curve *curve = curve_of(wrapping->form);
    CK_MECHANISM mechanism = {CKM_AES_KEY_WRAP, NULL, 0};
    bool ok = make_ephemeral(wrapping, curve, err) &&
              read_point(wrapping, curve, originator, err) &&
              derive(wrapping, curve, point_variant, err) &&
              wrap_to(wrapping, &mechanism, wrapping->agreed_key, KEY_WRAP_LEN, encrypted_key, err);
    object_drop(wrapping->session, &wrapping->agreed_key);
    object_drop(wrapping->session, &wrapping->private_half);
    object_drop(wrapping->session, &wrapping->public_half);
    return ok;
}

bool content_key_wrap(struct session *session, const struct sealing_key *key,
                      CK_OBJECT_HANDLE content_key, const struct reseal_job *job,
                      enum cms_form form, size_t point_variant, struct buf *encrypted_key,
                      struct buf *originator, struct error *err)
{
    struct wrapping wrapping = {
        .session = session,
        .key = key,
        .content_key = content_key,
        .device = X509_get0_pubkey(job->recipient),
        .form = form,
    };
    return cms_form_is_ec(form) ? agree(&wrapping, point_variant, encrypted_key, originator, err)
                                : transport(&wrapping, encrypted_key, err);
}
