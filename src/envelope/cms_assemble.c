/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting an EnvelopedData together around what a token has encrypted. OpenSSL's CMS cannot take
 * finished ciphertext, so the few types of RFC 5652 that are needed are declared here with its
 * ASN.1 templates.
 */
#include "reseal/cms.h"

#include <string.h>
#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

/* RFC 5652, section 10.2.4 */
typedef struct {
    X509_NAME *issuer;
    ASN1_INTEGER *serial;
} ISSUER_AND_SERIAL;

/* RFC 5652, section 6.2.1 */
typedef struct {
    ASN1_INTEGER *version;
    ISSUER_AND_SERIAL *rid;
    X509_ALGOR *algorithm;
    ASN1_OCTET_STRING *encrypted_key;
} KEY_TRANS_RECIPIENT;

/* RFC 5652, section 6.2.2: OriginatorPublicKey, and the one choice of OriginatorIdentifierOrKey
 * that ephemeral keys take */
typedef struct {
    X509_ALGOR *algorithm;
    ASN1_BIT_STRING *public_key;
} ORIGINATOR_KEY;

typedef struct {
    int type;
    union {
        ORIGINATOR_KEY *key;
    } d;
} ORIGINATOR;

typedef struct {
    ISSUER_AND_SERIAL *rid;
    ASN1_OCTET_STRING *encrypted_key;
} RECIPIENT_ENCRYPTED_KEY;

typedef struct {
    ASN1_INTEGER *version;
    ORIGINATOR *originator;
    X509_ALGOR *algorithm;
    OPENSSL_STACK *keys; /* of RECIPIENT_ENCRYPTED_KEY */
} KEY_AGREE_RECIPIENT;

/* RFC 5652, section 6.2 */
#define RECIPIENT_TRANS 0
#define RECIPIENT_AGREE 1
typedef struct {
    int type;
    union {
        KEY_TRANS_RECIPIENT *trans;
        KEY_AGREE_RECIPIENT *agree;
    } d;
} RECIPIENT;

/* RFC 5652, section 6.1 */
typedef struct {
    ASN1_OBJECT *content_type;
    X509_ALGOR *algorithm;
    ASN1_OCTET_STRING *encrypted_content;
} ENCRYPTED_CONTENT;

typedef struct {
    ASN1_INTEGER *version;
    OPENSSL_STACK *recipients; /* of RECIPIENT */
    ENCRYPTED_CONTENT *content;
} ENVELOPED_DATA;

/* RFC 5652, section 3 */
typedef struct {
    ASN1_OBJECT *content_type;
    ENVELOPED_DATA *enveloped;
} CONTENT_INFO;

/* RFC 5753, section 7.2 */
typedef struct {
    X509_ALGOR *key_info;
    ASN1_OCTET_STRING *supp_pub_info;
} SHARED_INFO;

/* The formatter takes what follows the last of these for a part of it: it is on again behind the
 * first function. */
/* clang-format off */
ASN1_SEQUENCE(ISSUER_AND_SERIAL) = {
    ASN1_SIMPLE(ISSUER_AND_SERIAL, issuer, X509_NAME),
    ASN1_SIMPLE(ISSUER_AND_SERIAL, serial, ASN1_INTEGER),
} static_ASN1_SEQUENCE_END(ISSUER_AND_SERIAL)

ASN1_SEQUENCE(KEY_TRANS_RECIPIENT) = {
    ASN1_SIMPLE(KEY_TRANS_RECIPIENT, version, ASN1_INTEGER),
    ASN1_SIMPLE(KEY_TRANS_RECIPIENT, rid, ISSUER_AND_SERIAL),
    ASN1_SIMPLE(KEY_TRANS_RECIPIENT, algorithm, X509_ALGOR),
    ASN1_SIMPLE(KEY_TRANS_RECIPIENT, encrypted_key, ASN1_OCTET_STRING),
} static_ASN1_SEQUENCE_END(KEY_TRANS_RECIPIENT)

ASN1_SEQUENCE(ORIGINATOR_KEY) = {
    ASN1_SIMPLE(ORIGINATOR_KEY, algorithm, X509_ALGOR),
    ASN1_SIMPLE(ORIGINATOR_KEY, public_key, ASN1_BIT_STRING),
} static_ASN1_SEQUENCE_END(ORIGINATOR_KEY)

ASN1_CHOICE(ORIGINATOR) = {
    ASN1_IMP(ORIGINATOR, d.key, ORIGINATOR_KEY, 1),
} static_ASN1_CHOICE_END(ORIGINATOR)

ASN1_SEQUENCE(RECIPIENT_ENCRYPTED_KEY) = {
    ASN1_SIMPLE(RECIPIENT_ENCRYPTED_KEY, rid, ISSUER_AND_SERIAL),
    ASN1_SIMPLE(RECIPIENT_ENCRYPTED_KEY, encrypted_key, ASN1_OCTET_STRING),
} static_ASN1_SEQUENCE_END(RECIPIENT_ENCRYPTED_KEY)

ASN1_SEQUENCE(KEY_AGREE_RECIPIENT) = {
    ASN1_SIMPLE(KEY_AGREE_RECIPIENT, version, ASN1_INTEGER),
    ASN1_EXP(KEY_AGREE_RECIPIENT, originator, ORIGINATOR, 0),
    ASN1_SIMPLE(KEY_AGREE_RECIPIENT, algorithm, X509_ALGOR),
    ASN1_SEQUENCE_OF(KEY_AGREE_RECIPIENT, keys, RECIPIENT_ENCRYPTED_KEY),
} static_ASN1_SEQUENCE_END(KEY_AGREE_RECIPIENT)

ASN1_CHOICE(RECIPIENT) = {
    ASN1_SIMPLE(RECIPIENT, d.trans, KEY_TRANS_RECIPIENT),
    ASN1_IMP(RECIPIENT, d.agree, KEY_AGREE_RECIPIENT, 1),
} static_ASN1_CHOICE_END(RECIPIENT)

ASN1_SEQUENCE(ENCRYPTED_CONTENT) = {
    ASN1_SIMPLE(ENCRYPTED_CONTENT, content_type, ASN1_OBJECT),
    ASN1_SIMPLE(ENCRYPTED_CONTENT, algorithm, X509_ALGOR),
    ASN1_IMP(ENCRYPTED_CONTENT, encrypted_content, ASN1_OCTET_STRING, 0),
} static_ASN1_SEQUENCE_END(ENCRYPTED_CONTENT)

ASN1_SEQUENCE(ENVELOPED_DATA) = {
    ASN1_SIMPLE(ENVELOPED_DATA, version, ASN1_INTEGER),
    ASN1_SET_OF(ENVELOPED_DATA, recipients, RECIPIENT),
    ASN1_SIMPLE(ENVELOPED_DATA, content, ENCRYPTED_CONTENT),
} static_ASN1_SEQUENCE_END(ENVELOPED_DATA)

ASN1_SEQUENCE(CONTENT_INFO) = {
    ASN1_SIMPLE(CONTENT_INFO, content_type, ASN1_OBJECT),
    ASN1_EXP(CONTENT_INFO, enveloped, ENVELOPED_DATA, 0),
} static_ASN1_SEQUENCE_END(CONTENT_INFO)

ASN1_SEQUENCE(SHARED_INFO) = {
    ASN1_SIMPLE(SHARED_INFO, key_info, X509_ALGOR),
    ASN1_EXP(SHARED_INFO, supp_pub_info, ASN1_OCTET_STRING, 2),
} static_ASN1_SEQUENCE_END(SHARED_INFO)

/* RSAES-OAEP-params with SHA-256 for both hashes (RFC 4055, section 4.1). */
static ASN1_STRING *oaep_parameters(void)
{
    ASN1_STRING *out = NULL;
    ASN1_STRING *inner = NULL;
    X509_ALGOR *mgf_hash = X509_ALGOR_new();
    RSA_OAEP_PARAMS *params = RSA_OAEP_PARAMS_new();
    if (mgf_hash == NULL || params == NULL)
        goto done;
    params->hashFunc = X509_ALGOR_new();
    params->maskGenFunc = X509_ALGOR_new();
    if (params->hashFunc == NULL || params->maskGenFunc == NULL ||
        !X509_ALGOR_set0(params->hashFunc, OBJ_nid2obj(NID_sha256), V_ASN1_NULL, NULL) ||
        !X509_ALGOR_set0(mgf_hash, OBJ_nid2obj(NID_sha256), V_ASN1_NULL, NULL))
        goto done;
    inner = ASN1_item_pack(mgf_hash, ASN1_ITEM_rptr(X509_ALGOR), NULL);
    if (inner == NULL ||
        !X509_ALGOR_set0(params->maskGenFunc, OBJ_nid2obj(NID_mgf1), V_ASN1_SEQUENCE, inner))
        goto done;
    inner = NULL; /* transferred */
    out = ASN1_item_pack(params, ASN1_ITEM_rptr(RSA_OAEP_PARAMS), NULL);
done:
    ASN1_STRING_free(inner);
    X509_ALGOR_free(mgf_hash);
    RSA_OAEP_PARAMS_free(params);
    return out;
}
/* clang-format on */

static bool set_transport(X509_ALGOR *algorithm, enum cms_form form)
{
    if (form == CMS_RSA_PKCS1)
        return X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_rsaEncryption), V_ASN1_NULL, NULL) == 1;
    ASN1_STRING *parameters = oaep_parameters();
    if (parameters != NULL &&
        X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_rsaesOaep), V_ASN1_SEQUENCE, parameters) == 1)
        return true;
    ASN1_STRING_free(parameters);
    return false;
}

static bool set_octets(ASN1_OCTET_STRING *out, struct bytes bytes)
{
    return bytes.len <= INT32_MAX && ASN1_OCTET_STRING_set(out, bytes.data, (int)bytes.len) == 1;
}

/* The wrap algorithm has no parameters at all (RFC 3565, section 2.3.2). */
static bool set_key_wrap(X509_ALGOR *algorithm)
{
    return X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_id_aes256_wrap), V_ASN1_UNDEF, NULL) == 1;
}

/* RFC 5753, section 7.1.4: the parameter of the agreement is the wrap algorithm. */
static bool set_agreement(X509_ALGOR *algorithm, enum cms_form form)
{
    int nid = form == CMS_EC_P384 ? NID_dhSinglePass_stdDH_sha384kdf_scheme
                                  : NID_dhSinglePass_stdDH_sha256kdf_scheme;
    X509_ALGOR *wrap = X509_ALGOR_new();
    ASN1_STRING *packed = NULL;
    if (wrap != NULL && set_key_wrap(wrap))
        packed = ASN1_item_pack(wrap, ASN1_ITEM_rptr(X509_ALGOR), NULL);
    X509_ALGOR_free(wrap);
    if (packed != NULL &&
        X509_ALGOR_set0(algorithm, OBJ_nid2obj(nid), V_ASN1_SEQUENCE, packed) == 1)
        return true;
    ASN1_STRING_free(packed);
    return false;
}

static bool set_rid(ISSUER_AND_SERIAL *rid, X509 *certificate)
{
    return X509_NAME_set(&rid->issuer, X509_get_issuer_name(certificate)) == 1 &&
           ASN1_STRING_copy(rid->serial, X509_get0_serialNumber(certificate)) == 1;
}

static bool fill_trans(RECIPIENT *recipient, X509 *certificate, const struct cms_parts *parts)
{
    KEY_TRANS_RECIPIENT *trans =
        (KEY_TRANS_RECIPIENT *)ASN1_item_new(ASN1_ITEM_rptr(KEY_TRANS_RECIPIENT));
    if (trans == NULL)
        return false;
    recipient->type = RECIPIENT_TRANS;
    recipient->d.trans = trans;
    return ASN1_INTEGER_set(trans->version, 0) == 1 && /* issuerAndSerialNumber */
           set_rid(trans->rid, certificate) && set_transport(trans->algorithm, parts->form) &&
           set_octets(trans->encrypted_key, parts->encrypted_key);
}

/* The curve is the recipient's: the parameters of the ephemeral key are absent (RFC 5753, 3.1.1).
 */
static bool fill_originator(ORIGINATOR *originator, struct bytes point)
{
    ORIGINATOR_KEY *key = (ORIGINATOR_KEY *)ASN1_item_new(ASN1_ITEM_rptr(ORIGINATOR_KEY));
    if (key == NULL)
        return false;
    originator->type = 0;
    originator->d.key = key;
    key->public_key->flags &= ~(ASN1_STRING_FLAG_BITS_LEFT | 7);
    key->public_key->flags |=
        ASN1_STRING_FLAG_BITS_LEFT; /* whole bytes, whatever the last bits are */
    return X509_ALGOR_set0(key->algorithm, OBJ_nid2obj(NID_X9_62_id_ecPublicKey), V_ASN1_UNDEF,
                           NULL) == 1 &&
           set_octets(key->public_key, point);
}

static bool fill_agree(RECIPIENT *recipient, X509 *certificate, const struct cms_parts *parts)
{
    KEY_AGREE_RECIPIENT *agree =
        (KEY_AGREE_RECIPIENT *)ASN1_item_new(ASN1_ITEM_rptr(KEY_AGREE_RECIPIENT));
    if (agree == NULL)
        return false;
    recipient->type = RECIPIENT_AGREE;
    recipient->d.agree = agree;
    RECIPIENT_ENCRYPTED_KEY *key =
        (RECIPIENT_ENCRYPTED_KEY *)ASN1_item_new(ASN1_ITEM_rptr(RECIPIENT_ENCRYPTED_KEY));
    if (key == NULL || OPENSSL_sk_push(agree->keys, key) <= 0) {
        ASN1_item_free((ASN1_VALUE *)key, ASN1_ITEM_rptr(RECIPIENT_ENCRYPTED_KEY));
        return false;
    }
    return ASN1_INTEGER_set(agree->version, 3) == 1 &&
           fill_originator(agree->originator, parts->originator) &&
           set_agreement(agree->algorithm, parts->form) && set_rid(key->rid, certificate) &&
           set_octets(key->encrypted_key, parts->encrypted_key);
}

static bool fill_recipient(RECIPIENT *recipient, X509 *certificate, const struct cms_parts *parts)
{
    return cms_form_is_ec(parts->form) ? fill_agree(recipient, certificate, parts)
                                       : fill_trans(recipient, certificate, parts);
}

static bool fill_content(ENCRYPTED_CONTENT *content, const struct cms_parts *parts)
{
    ASN1_OCTET_STRING *iv = ASN1_OCTET_STRING_new();
    if (iv == NULL || !ASN1_OCTET_STRING_set(iv, parts->iv, CMS_IV) ||
        !X509_ALGOR_set0(content->algorithm, OBJ_nid2obj(NID_aes_256_cbc), V_ASN1_OCTET_STRING,
                         iv)) {
        ASN1_OCTET_STRING_free(iv);
        return false;
    }
    content->content_type = OBJ_nid2obj(NID_pkcs7_data);
    return set_octets(content->encrypted_content, parts->encrypted_content);
}

static CONTENT_INFO *build(X509 *recipient, const struct cms_parts *parts)
{
    RECIPIENT *item = (RECIPIENT *)ASN1_item_new(ASN1_ITEM_rptr(RECIPIENT));
    CONTENT_INFO *info = (CONTENT_INFO *)ASN1_item_new(ASN1_ITEM_rptr(CONTENT_INFO));
    bool ok = false;
    if (item == NULL || info == NULL)
        goto done;
    info->content_type = OBJ_nid2obj(NID_pkcs7_enveloped);
    if (info->enveloped->content->encrypted_content == NULL)
        info->enveloped->content->encrypted_content = ASN1_OCTET_STRING_new();
    if (info->enveloped->content->encrypted_content == NULL ||
        !ASN1_INTEGER_set(info->enveloped->version, cms_form_is_ec(parts->form) ? 2 : 0) ||
        !fill_content(info->enveloped->content, parts) || !fill_recipient(item, recipient, parts) ||
        OPENSSL_sk_push(info->enveloped->recipients, item) <= 0)
        goto done;
    item = NULL; /* transferred */
    ok = true;
done:
    ASN1_item_free((ASN1_VALUE *)item, ASN1_ITEM_rptr(RECIPIENT));
    if (!ok) {
        ASN1_item_free((ASN1_VALUE *)info, ASN1_ITEM_rptr(CONTENT_INFO));
        info = NULL;
    }
    return info;
}

bool cms_assemble(X509 *recipient, const struct cms_parts *parts, struct buf *der,
                  struct error *err)
{
    unsigned char *encoded = NULL;
    CONTENT_INFO *info = build(recipient, parts);
    if (info == NULL)
        return error_openssl(err, FAIL_INTERNAL, "the CMS message cannot be put together");
    int len = ASN1_item_i2d((const ASN1_VALUE *)info, &encoded, ASN1_ITEM_rptr(CONTENT_INFO));
    ASN1_item_free((ASN1_VALUE *)info, ASN1_ITEM_rptr(CONTENT_INFO));
    if (len <= 0)
        return error_openssl(err, FAIL_INTERNAL, "the CMS message cannot be encoded");
    buf_put(der, encoded, (size_t)len);
    OPENSSL_free(encoded);
    return buf_check(der, "a CMS message", err);
}

bool cms_shared_info(struct buf *out, struct error *err)
{
    static const uint8_t key_bits[4] = {0, 0, 1, 0}; /* 256 */
    unsigned char *encoded = NULL;
    int len = 0;
    SHARED_INFO *info = (SHARED_INFO *)ASN1_item_new(ASN1_ITEM_rptr(SHARED_INFO));
    if (info != NULL && set_key_wrap(info->key_info) &&
        set_octets(info->supp_pub_info, (struct bytes){key_bits, sizeof key_bits}))
        len = ASN1_item_i2d((const ASN1_VALUE *)info, &encoded, ASN1_ITEM_rptr(SHARED_INFO));
    ASN1_item_free((ASN1_VALUE *)info, ASN1_ITEM_rptr(SHARED_INFO));
    if (len <= 0)
        return error_openssl(err, FAIL_INTERNAL,
                             "the shared info of a key agreement cannot be made");
    buf_put(out, encoded, (size_t)len);
    OPENSSL_free(encoded);
    return buf_check(out, "the shared info of a key agreement", err);
}
