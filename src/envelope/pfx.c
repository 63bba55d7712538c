/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a PKCS#12 file (RFC 7292) step by step instead of by PKCS12_parse: each way to fail keeps
 * its own words, old algorithms are tried without changing the process's default providers, and the
 * certificate is found by the key and not by its place.
 */
#include "reseal/pfx.h"

#include <string.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include "pfx_file.h"
#include "reseal/text.h"

#define BAGS_MAX  64 /* keys, and certificates, in one file */
#define DEPTH_MAX 4  /* of SafeContents within SafeContents (RFC 7292, section 4.2.6) */

/* One try to open the file with one reading of the password. */
struct opening {
    const char *password; /* NULL is another key derivation input than "" */
    int password_len;
    struct pfx_providers *providers;
    bool authentic; /* the MAC has shown that the password is right */
    EVP_PKEY *keys[BAGS_MAX];
    size_t key_count;
    STACK_OF(X509) * certificates;
    bool legacy;
};

static bool wrong_password(struct error *err)
{
    ERR_clear_error();
    error_set(err, FAIL_CRYPTO, "the password does not open the PFX");
    return error_hint(err, "check the password; its bytes are taken as UTF-8, exactly as typed");
}

/* With a good MAC, what cannot be decrypted is not the password's fault. */
static bool cannot_decrypt(const struct opening *opening, const char *what, struct error *err)
{
    if (!opening->authentic)
        return wrong_password(err);
    error_openssl(err, FAIL_INPUT, "the PFX is damaged or uses an unknown algorithm: %s", what);
    return error_hint(err, "export it anew, with PBES2 (AES-256) or PBE-SHA1-3DES");
}

static STACK_OF(PKCS12_SAFEBAG) *
    decrypt_bags(const struct opening *opening, const PKCS7 *safe, OSSL_LIB_CTX *library)
{
    const PKCS7_ENC_CONTENT *content = safe->d.encrypted->enc_data;
    return PKCS12_item_decrypt_d2i_ex(content->algorithm, ASN1_ITEM_rptr(PKCS12_SAFEBAGS),
                                      opening->password, opening->password_len, content->enc_data,
                                      1, library, NULL);
}

/* The default providers first; what they cannot do is legacy. */
static bool open_encrypted_safe(struct opening *opening, const PKCS7 *safe,
                                STACK_OF(PKCS12_SAFEBAG) * *out, struct error *err)
{
    const PKCS7_ENCRYPT *encrypted = safe->d.encrypted;
    OSSL_LIB_CTX *library;
    if (encrypted == NULL || encrypted->enc_data == NULL || encrypted->enc_data->enc_data == NULL)
        return error_set(err, FAIL_INPUT, "the PFX has an encrypted part without content");
    if (!pfx_check_work(encrypted->enc_data->algorithm, err))
        return false;
    *out = decrypt_bags(opening, safe, NULL);
    if (*out != NULL)
        return true;
    if (!pfx_needs_legacy(encrypted->enc_data->algorithm))
        return cannot_decrypt(opening, "its certificates", err);
    ERR_clear_error();
    if (!pfx_legacy_library(opening->providers, &library, err))
        return false;
    opening->legacy = true;
    *out = decrypt_bags(opening, safe, library);
    return *out != NULL || cannot_decrypt(opening, "its certificates", err);
}

static bool add_key(struct opening *opening, const PKCS8_PRIV_KEY_INFO *info, struct error *err)
{
    if (opening->key_count == BAGS_MAX)
        return error_set(err, FAIL_TOO_LARGE, "the PFX has more than %d private keys", BAGS_MAX);
    EVP_PKEY *key = EVP_PKCS82PKEY(info);
    if (key == NULL) {
        error_openssl(err, FAIL_INPUT, "the PFX has a private key that cannot be read");
        return error_hint(err, "RSA and EC keys are known");
    }
    opening->keys[opening->key_count++] = key;
    return true;
}

static bool add_shrouded_key(struct opening *opening, const PKCS12_SAFEBAG *bag, struct error *err)
{
    const X509_ALGOR *algorithm = NULL;
    OSSL_LIB_CTX *library;
    const X509_SIG *shrouded = PKCS12_SAFEBAG_get0_pkcs8(bag);
    if (shrouded == NULL)
        return error_set(err, FAIL_INPUT, "the PFX has an empty key bag");
    X509_SIG_get0(shrouded, &algorithm, NULL);
    if (!pfx_check_work(algorithm, err))
        return false;
    PKCS8_PRIV_KEY_INFO *info =
        PKCS8_decrypt_ex(shrouded, opening->password, opening->password_len, NULL, NULL);
    if (info == NULL && pfx_needs_legacy(algorithm)) {
        ERR_clear_error();
        if (!pfx_legacy_library(opening->providers, &library, err))
            return false;
        opening->legacy = true;
        info = PKCS8_decrypt_ex(shrouded, opening->password, opening->password_len, library, NULL);
    }
    if (info == NULL)
        return cannot_decrypt(opening, "its private key", err);
    bool ok = add_key(opening, info, err);
    PKCS8_PRIV_KEY_INFO_free(info);
    return ok;
}

static bool add_certificate(struct opening *opening, const PKCS12_SAFEBAG *bag, struct error *err)
{
    if (PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate)
        return true; /* an SDSI certificate is nothing to us */
    X509 *certificate = PKCS12_SAFEBAG_get1_cert(bag);
    if (certificate == NULL)
        return error_openssl(err, FAIL_INPUT, "the PFX has a certificate that cannot be read");
    if (sk_X509_num(opening->certificates) >= BAGS_MAX) {
        X509_free(certificate);
        return error_set(err, FAIL_TOO_LARGE, "the PFX has more than %d certificates", BAGS_MAX);
    }
    if (sk_X509_push(opening->certificates, certificate) <= 0) {
        X509_free(certificate);
        return error_memory(err);
    }
    return true;
}

static bool take_bags(struct opening *opening, const STACK_OF(PKCS12_SAFEBAG) * bags, int depth,
                      struct error *err)
{
    if (depth > DEPTH_MAX)
        return error_set(err, FAIL_TOO_LARGE, "the PFX is nested deeper than %d levels", DEPTH_MAX);
    for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags); i++) {
        const PKCS12_SAFEBAG *bag = sk_PKCS12_SAFEBAG_value(bags, i);
        bool ok = true;
        switch (PKCS12_SAFEBAG_get_nid(bag)) {
        case NID_keyBag:
            ok = add_key(opening, PKCS12_SAFEBAG_get0_p8inf(bag), err);
            break;
        case NID_pkcs8ShroudedKeyBag:
            ok = add_shrouded_key(opening, bag, err);
            break;
        case NID_certBag:
            ok = add_certificate(opening, bag, err);
            break;
        case NID_safeContentsBag:
            ok = take_bags(opening, PKCS12_SAFEBAG_get0_safes(bag), depth + 1, err);
            break;
        default: /* CRLs and secrets */
            break;
        }
        if (!ok)
            return false;
    }
    return true;
}

static bool take_safe(struct opening *opening, PKCS7 *safe, struct error *err)
{
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    if (PKCS7_type_is_data(safe)) {
        bags = PKCS12_unpack_p7data(safe);
        if (bags == NULL)
            return error_openssl(err, FAIL_INPUT, "the PFX has a part that cannot be read");
    } else if (PKCS7_type_is_encrypted(safe)) {
        if (!open_encrypted_safe(opening, safe, &bags, err))
            return false;
    } else {
        return error_set(err, FAIL_UNSUPPORTED,
                         "the PFX is protected by a public key instead of a password");
    }
    bool ok = take_bags(opening, bags, 0, err);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    return ok;
}

static bool check_mac(struct opening *opening, PKCS12 *pfx, struct error *err)
{
    opening->authentic = false;
    if (!PKCS12_mac_present(pfx))
        return true;
    if (!pfx_check_mac_work(pfx, err))
        return false;
    if (PKCS12_verify_mac(pfx, opening->password, opening->password_len) != 1) {
        unsigned long code = ERR_peek_error();
        if (ERR_GET_REASON(code) == PKCS12_R_UNKNOWN_DIGEST_ALGORITHM) {
            ERR_clear_error();
            error_set(err, FAIL_UNSUPPORTED,
                      "the PFX is protected by a MAC algorithm that this OpenSSL does not know");
            return error_hint(err, "export it anew with a MAC of HMAC-SHA-256");
        }
        return wrong_password(err);
    }
    opening->authentic = true;
    return true;
}

static void opening_reset(struct opening *opening)
{
    while (opening->key_count > 0)
        EVP_PKEY_free(opening->keys[--opening->key_count]);
    while (sk_X509_num(opening->certificates) > 0)
        X509_free(sk_X509_pop(opening->certificates));
    opening->legacy = false;
}

static bool try_password(struct opening *opening, PKCS12 *pfx, struct error *err)
{
    opening_reset(opening);
    if (!check_mac(opening, pfx, err))
        return false;
    STACK_OF(PKCS7) *safes = PKCS12_unpack_authsafes(pfx);
    if (safes == NULL)
        return error_openssl(err, FAIL_INPUT, "the PFX has no content that can be read");
    bool ok = true;
    for (int i = 0; ok && i < sk_PKCS7_num(safes); i++)
        ok = take_safe(opening, sk_PKCS7_value(safes, i), err);
    sk_PKCS7_pop_free(safes, PKCS7_free);
    return ok;
}

static bool find_pair(const struct opening *opening, EVP_PKEY **key, X509 **certificate,
                      struct error *err)
{
    int count = sk_X509_num(opening->certificates);
    if (opening->key_count == 0) {
        error_set(err, FAIL_INPUT, "the PFX has no private key (%d certificate%s)", count,
                  count == 1 ? "" : "s");
        return error_hint(err, "export it anew together with its private key");
    }
    for (size_t i = 0; i < opening->key_count; i++) {
        for (int j = 0; j < count; j++) {
            *certificate = sk_X509_value(opening->certificates, j);
            *key = opening->keys[i];
            bool pair = X509_check_private_key(*certificate, *key) == 1;
            ERR_clear_error();
            if (pair)
                return true;
        }
    }
    error_set(err, FAIL_INPUT, "the PFX has no certificate that belongs to its private key%s",
              count == 0 ? ": it has no certificate at all" : "");
    return error_hint(err, "export the key together with its own certificate");
}

/*
 * An empty password is "" to some programs and no password to others, and PKCS#12 derives different
 * keys from them (RFC 7292, appendix B.1 and B.2): both are tried.
 */
static bool open_with_password(struct opening *opening, PKCS12 *pfx, const struct secret *password,
                               struct error *err)
{
    struct secret *text = NULL;
    struct bytes bytes = secret_bytes(password);
    if (!secret_new(bytes.len + 1, &text, err)) /* OpenSSL wants its end mark */
        return false;
    if (bytes.len > 0)
        memcpy(secret_data(text), bytes.data, bytes.len);
    opening->password = (const char *)secret_data(text);
    opening->password_len = (int)bytes.len;
    bool ok = try_password(opening, pfx, err);
    if (!ok && bytes.len == 0 && err->kind == FAIL_CRYPTO) {
        opening->password = NULL;
        ok = try_password(opening, pfx, err);
    }
    opening->password = NULL;
    secret_free(&text);
    return ok;
}

static bool check_password_form(const struct secret *password, struct error *err)
{
    struct bytes bytes = secret_bytes(password);
    if (bytes.len > PFX_PASSWORD_MAX)
        return error_set(err, FAIL_TOO_LARGE, "the password has %zu bytes, at most %d are taken",
                         bytes.len, PFX_PASSWORD_MAX);
    if (utf8_is_strict(bytes.data, bytes.len))
        return true;
    error_set(err, FAIL_INPUT, "the password is not text in UTF-8 without a NUL character");
    return error_hint(err, "a password typed in another encoding opens the file nowhere else; "
                           "convert it to UTF-8");
}

bool pfx_open(struct bytes pfx, const struct secret *password, struct pfx_facts *out,
              struct error *err)
{
    PKCS12 *file = NULL;
    EVP_PKEY *key = NULL;
    X509 *certificate = NULL;
    struct opening opening = {0};
    bool ok = false;
    *out = (struct pfx_facts){0};
    if (!check_password_form(password, err) || !pfx_parse(pfx, &file, err))
        return false;
    opening.certificates = sk_X509_new_null();
    if (opening.certificates == NULL) {
        error_memory(err);
        goto done;
    }
    if (!pfx_providers_new(&opening.providers, err) ||
        !open_with_password(&opening, file, password, err) ||
        !find_pair(&opening, &key, &certificate, err) ||
        !pfx_read_facts(certificate, key, out, err))
        goto done;
    out->legacy = opening.legacy;
    ok = true;
done:
    if (opening.certificates != NULL)
        opening_reset(&opening);
    sk_X509_free(opening.certificates);
    pfx_providers_free(&opening.providers);
    PKCS12_free(file);
    ERR_clear_error();
    return ok;
}
