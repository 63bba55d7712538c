/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CMS by OpenSSL, in host memory. CMS_final and CMS_decrypt pass the content through buffers that
 * they do not wipe; so the content is written to, and read from, the cipher BIO directly.
 */
#include "reseal/cms.h"

#include <string.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

static const char *const transport_names[] = {
    [KEY_TRANSPORT_PKCS1] = "pkcs1",
    [KEY_TRANSPORT_OAEP_SHA256] = "oaepSha256",
};

const char *key_transport_name(enum key_transport transport)
{
    return (size_t)transport < ARRAY_LEN(transport_names) ? transport_names[transport] : "unknown";
}

bool key_transport_parse(const char *name, enum key_transport *out)
{
    for (size_t i = 0; i < ARRAY_LEN(transport_names); i++) {
        if (strcmp(name, transport_names[i]) == 0) {
            *out = (enum key_transport)i;
            return true;
        }
    }
    return false;
}

static const char *const form_names[CMS_FORM_COUNT] = {
    [CMS_RSA_PKCS1] = "rsaPkcs1",
    [CMS_RSA_OAEP_SHA256] = "rsaOaepSha256",
    [CMS_EC_P256] = "ecP256",
    [CMS_EC_P384] = "ecP384",
};

const char *cms_form_name(enum cms_form form)
{
    return (size_t)form < CMS_FORM_COUNT ? form_names[form] : "unknown";
}

bool cms_form_parse(const char *name, enum cms_form *out)
{
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        if (strcmp(name, form_names[i]) == 0) {
            *out = (enum cms_form)i;
            return true;
        }
    }
    return false;
}

bool cms_form_for(X509 *recipient, enum key_transport transport, enum cms_form *out)
{
    EVP_PKEY *key = X509_get0_pubkey(recipient);
    char group[32];
    if (key == NULL)
        return false;
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        *out = transport == KEY_TRANSPORT_OAEP_SHA256 ? CMS_RSA_OAEP_SHA256 : CMS_RSA_PKCS1;
        return true;
    case EVP_PKEY_EC:
        if (EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1)
            return false;
        *out = strcmp(group, SN_secp384r1) == 0 ? CMS_EC_P384 : CMS_EC_P256;
        return *out == CMS_EC_P384 || strcmp(group, SN_X9_62_prime256v1) == 0;
    default:
        return false;
    }
}

bool cms_form_is_ec(enum cms_form form)
{
    return form == CMS_EC_P256 || form == CMS_EC_P384;
}

/* Left to itself, OpenSSL derives with SHA-1. */
static bool set_agreement(CMS_RecipientInfo *info, X509 *recipient)
{
    enum cms_form form;
    EVP_PKEY_CTX *context = CMS_RecipientInfo_get0_pkey_ctx(info);
    if (!cms_form_for(recipient, KEY_TRANSPORT_PKCS1, &form))
        form = CMS_EC_P256;
    /* The function itself, X9.63, is OpenSSL's to set: it refuses a context that has one. */
    return context != NULL && EVP_PKEY_CTX_set_ecdh_kdf_md(
                                  context, form == CMS_EC_P384 ? EVP_sha384() : EVP_sha256()) == 1;
}

static bool set_transport(CMS_RecipientInfo *info, enum key_transport transport)
{
    EVP_PKEY_CTX *context = CMS_RecipientInfo_get0_pkey_ctx(info);
    if (transport != KEY_TRANSPORT_OAEP_SHA256)
        return true;
    return context != NULL && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) == 1;
}

static bool add_recipient(CMS_ContentInfo *cms, X509 *recipient, enum key_transport transport)
{
    /* CMS_KEY_PARAM leaves the key context open for the parameters; the recipient is named by
     * issuer and serial. */
    CMS_RecipientInfo *info = CMS_add1_recipient_cert(cms, recipient, CMS_KEY_PARAM);
    if (info == NULL)
        return false;
    return CMS_RecipientInfo_type(info) == CMS_RECIPINFO_AGREE ? set_agreement(info, recipient)
                                                               : set_transport(info, transport);
}

static bool write_content(CMS_ContentInfo *cms, struct bytes content)
{
    BIO *bio = CMS_dataInit(cms, NULL);
    if (bio == NULL)
        return false;
    bool ok =
        content.len <= INT32_MAX &&
        (content.len == 0 || BIO_write(bio, content.data, (int)content.len) == (int)content.len) &&
        BIO_flush(bio) == 1 && CMS_dataFinal(cms, bio) == 1;
    BIO_free_all(bio);
    return ok;
}

bool cms_encrypt(X509 *recipient, struct bytes content, enum key_transport transport,
                 struct buf *der, struct error *err)
{
    unsigned char *encoded = NULL;
    bool ok = false;
    CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, EVP_aes_256_cbc(), CMS_PARTIAL | CMS_BINARY);
    if (cms == NULL || !add_recipient(cms, recipient, transport) || !write_content(cms, content)) {
        error_openssl(err, FAIL_INTERNAL, "the CMS message cannot be made");
        goto done;
    }
    int len = i2d_CMS_ContentInfo(cms, &encoded);
    if (len <= 0) {
        error_openssl(err, FAIL_INTERNAL, "the CMS message cannot be encoded");
        goto done;
    }
    buf_put(der, encoded, (size_t)len);
    ok = buf_check(der, "a CMS message", err);
done:
    OPENSSL_free(encoded);
    CMS_ContentInfo_free(cms);
    return ok;
}

/* Reads what the cipher BIO gives; *len is how much. False where the padding was wrong. */
static bool read_content(CMS_ContentInfo *cms, struct secret *content, size_t *len)
{
    BIO *bio = CMS_dataInit(cms, NULL);
    if (bio == NULL)
        return false;
    *len = 0;
    while (*len < secret_len(content)) {
        size_t room = secret_len(content) - *len;
        int got = BIO_read(bio, secret_data(content) + *len, room > 4096 ? 4096 : (int)room);
        if (got <= 0)
            break;
        *len += (size_t)got;
    }
    BIO *cipher = BIO_find_type(bio, BIO_TYPE_CIPHER);
    bool ok = cipher != NULL && BIO_get_cipher_status(cipher) == 1;
    BIO_free_all(bio);
    return ok;
}

/*
 * Whether every key agreement wraps by AES key wrap (RFC 3565, section 2.3.2). Its variant with
 * padding (RFC 5649) must not come to OpenSSL: where the unwrapping fails, 3.0.19 wipes eight bytes
 * more than the buffer of CMS has (CRYPTO_128_unwrap_pad).
 */
static bool wraps_are_known(CMS_ContentInfo *cms)
{
    STACK_OF(CMS_RecipientInfo) *infos = CMS_get0_RecipientInfos(cms);
    for (int i = 0; i < sk_CMS_RecipientInfo_num(infos); i++) {
        CMS_RecipientInfo *info = sk_CMS_RecipientInfo_value(infos, i);
        X509_ALGOR *agreement = NULL;
        const void *value = NULL;
        int type = V_ASN1_UNDEF;
        if (CMS_RecipientInfo_type(info) != CMS_RECIPINFO_AGREE)
            continue;
        if (CMS_RecipientInfo_kari_get0_alg(info, &agreement, NULL) != 1 || agreement == NULL)
            return false;
        X509_ALGOR_get0(NULL, &type, &value, agreement);
        if (type != V_ASN1_SEQUENCE)
            return false;
        const unsigned char *at = ASN1_STRING_get0_data(value);
        X509_ALGOR *wrap = d2i_X509_ALGOR(NULL, &at, ASN1_STRING_length(value));
        int nid = wrap != NULL ? OBJ_obj2nid(wrap->algorithm) : NID_undef;
        X509_ALGOR_free(wrap);
        if (nid != NID_id_aes128_wrap && nid != NID_id_aes192_wrap && nid != NID_id_aes256_wrap)
            return false;
    }
    return true;
}

bool cms_decrypt(struct bytes der, EVP_PKEY *key, X509 *certificate, struct secret **out,
                 struct error *err)
{
    const unsigned char *at = der.data;
    struct secret *content = NULL;
    size_t len = 0;
    bool ok = false;
    *out = NULL;
    CMS_ContentInfo *cms = der.len > 0 && der.len <= CMS_DER_MAX
                               ? d2i_CMS_ContentInfo(NULL, &at, (long)der.len)
                               : NULL;
    if (cms == NULL || at != der.data + der.len ||
        OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_enveloped) {
        error_set(err, FAIL_CRYPTO, "this is no CMS EnvelopedData");
        goto done;
    }
    if (!wraps_are_known(cms)) {
        error_set(err, FAIL_CRYPTO,
                  "the CMS message wraps its key in a way that is not taken here");
        goto done;
    }
    if (!secret_new(der.len, &content, err)) /* the content is shorter than its message */
        goto done;
    if (CMS_decrypt_set1_pkey(cms, key, certificate) != 1 || !read_content(cms, content, &len)) {
        error_set(err, FAIL_CRYPTO, "the CMS message does not open with this device's key");
        goto done;
    }
    secret_truncate(content, len);
    *out = content;
    content = NULL; /* transferred */
    ok = true;
done:
    ERR_clear_error();
    secret_free(&content);
    CMS_ContentInfo_free(cms);
    return ok;
}
