/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/signing.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#define RSA_BITS_MIN 2048 /* NIST SP 800-131A */
#define EC_BITS_MIN  256

const char *signature_kind_name(enum signature_kind kind)
{
    switch (kind) {
    case SIGNATURE_RSA_PSS:
        return "rsa-pss-sha256";
    case SIGNATURE_ECDSA:
        return "ecdsa-sha256";
    case SIGNATURE_ED25519:
        return "ed25519";
    }
    return "unknown";
}

bool signature_kind_of(EVP_PKEY *key, enum signature_kind *out, struct error *err)
{
    int type = EVP_PKEY_get_base_id(key), bits = EVP_PKEY_get_bits(key);
    if (type == EVP_PKEY_ED25519)
        *out = SIGNATURE_ED25519;
    else if (type == EVP_PKEY_RSA && bits >= RSA_BITS_MIN)
        *out = SIGNATURE_RSA_PSS;
    else if (type == EVP_PKEY_EC && bits >= EC_BITS_MIN)
        *out = SIGNATURE_ECDSA;
    else {
        error_set(err, FAIL_UNSUPPORTED, "a key of this kind (%d bits) does not sign here", bits);
        return error_hint(err, "use RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519");
    }
    return true;
}

/* The salt is as long as the hash (FIPS 186-5, section 5.4). */
static bool set_padding(EVP_PKEY_CTX *context, enum signature_kind kind)
{
    return kind != SIGNATURE_RSA_PSS ||
           (EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1);
}

static bool sign_by_openssl(EVP_PKEY *key, struct bytes message, struct buf *out, struct error *err)
{
    enum signature_kind kind;
    EVP_PKEY_CTX *context = NULL; /* owned by the next */
    bool ok = false;
    if (!signature_kind_of(key, &kind, err))
        return false;
    const EVP_MD *digest = kind == SIGNATURE_ED25519 ? NULL : EVP_sha256();
    EVP_MD_CTX *signing = EVP_MD_CTX_new();
    size_t len = SIGNATURE_MAX;
    uint8_t signature[SIGNATURE_MAX];
    if (signing == NULL || EVP_DigestSignInit(signing, &context, digest, NULL, key) != 1 ||
        !set_padding(context, kind) ||
        EVP_DigestSign(signing, signature, &len, message.data, message.len) != 1) {
        error_openssl(err, FAIL_CRYPTO, "the key makes no %s signature", signature_kind_name(kind));
        goto done;
    }
    buf_put(out, signature, len);
    ok = buf_check(out, "the signature", err);
done:
    EVP_MD_CTX_free(signing);
    return ok;
}

bool signature_check(EVP_PKEY *key, struct bytes message, struct bytes signature, struct error *err)
{
    enum signature_kind kind;
    EVP_PKEY_CTX *context = NULL; /* owned by the next */
    if (!signature_kind_of(key, &kind, err))
        return false;
    const EVP_MD *digest = kind == SIGNATURE_ED25519 ? NULL : EVP_sha256();
    EVP_MD_CTX *checking = EVP_MD_CTX_new();
    bool ok =
        checking != NULL && EVP_DigestVerifyInit(checking, &context, digest, NULL, key) == 1 &&
        set_padding(context, kind) &&
        EVP_DigestVerify(checking, signature.data, signature.len, message.data, message.len) == 1;
    EVP_MD_CTX_free(checking);
    ERR_clear_error();
    return ok || error_set(err, FAIL_CRYPTO, "the signature is not one by that key over that text");
}

bool signature_make(const struct signing_key *key, struct bytes message, struct buf *out,
                    struct error *err)
{
    size_t before = out->len;
    if (key->sign == NULL)
        return sign_by_openssl(key->key, message, out, err);
    return key->sign(key->context, message, out, err) &&
           signature_check(key->key, message, (struct bytes){out->data + before, out->len - before},
                           err);
}
