/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/device_trust.h"

#include <stdlib.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include "reseal/file.h"

#define CA_FILE_MAX (1 << 20)

struct device_trust {
    X509_STORE *store; /* verification only reads it, so threads may share it */
    size_t count;      /* CA certificates */
    bool crl_check;
};

static bool add_cas(struct device_trust *trust, BIO *bio, const char *path, struct error *err)
{
    X509 *ca;
    while ((ca = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        int added = X509_STORE_add_cert(trust->store, ca);
        X509_free(ca);
        if (added != 1)
            return error_openssl(err, FAIL_USAGE, "device CA file %s", path);
        trust->count++;
    }
    ERR_clear_error(); /* the end of the file is an error to PEM_read */
    if (trust->count > 0)
        return true;
    error_set(err, FAIL_USAGE, "device CA file %s holds no certificate", path);
    return error_hint(err, "it must be PEM (-----BEGIN CERTIFICATE-----)");
}

static bool add_crls(struct device_trust *trust, BIO *bio, const char *path, struct error *err)
{
    X509_CRL *crl;
    size_t count = 0;
    while ((crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
        int added = X509_STORE_add_crl(trust->store, crl);
        X509_CRL_free(crl);
        if (added != 1)
            return error_openssl(err, FAIL_USAGE, "CRL file %s", path);
        count++;
    }
    ERR_clear_error();
    if (count == 0)
        return error_set(err, FAIL_USAGE, "CRL file %s holds no CRL in PEM", path);
    trust->crl_check = true;
    return true;
}

static bool load_file(struct device_trust *trust, const char *path,
                      bool (*add)(struct device_trust *, BIO *, const char *, struct error *),
                      struct error *err)
{
    struct buf content = BUF_INIT(CA_FILE_MAX);
    bool ok = false;
    if (!file_read(path, &content, err))
        goto done;
    BIO *bio = BIO_new_mem_buf(buf_text(&content), (int)content.len);
    if (bio == NULL) {
        error_memory(err);
        goto done;
    }
    ok = add(trust, bio, path, err);
    BIO_free(bio);
done:
    buf_free(&content);
    return ok;
}

bool device_trust_load(const char *ca_path, const char *crl_path, struct device_trust **out,
                       struct error *err)
{
    *out = NULL;
    struct device_trust *trust = calloc(1, sizeof *trust);
    if (trust == NULL)
        return error_memory(err);
    trust->store = X509_STORE_new();
    if (trust->store == NULL) {
        device_trust_free(&trust);
        return error_memory(err);
    }
    if (!load_file(trust, ca_path, add_cas, err) ||
        (crl_path != NULL && !load_file(trust, crl_path, add_crls, err))) {
        device_trust_free(&trust);
        return false;
    }
    *out = trust;
    return true;
}

void device_trust_free(struct device_trust **trust)
{
    if (trust == NULL || *trust == NULL)
        return;
    X509_STORE_free((*trust)->store);
    free(*trust);
    *trust = NULL;
}

size_t device_trust_count(const struct device_trust *trust)
{
    return trust->count;
}

static bool parse_der(struct bytes der, X509 **out, struct error *err)
{
    const unsigned char *at = der.data;
    *out = NULL;
    if (der.len > 0 && der.len <= INT32_MAX)
        *out = d2i_X509(NULL, &at, (long)der.len);
    if (*out != NULL && at == der.data + der.len)
        return true;
    X509_free(*out);
    *out = NULL;
    ERR_clear_error();
    return error_set(err, FAIL_INPUT, "the device certificate is no DER X.509 certificate");
}

static bool key_is_strong(X509 *certificate, struct error *err)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    if (key == NULL) {
        ERR_clear_error();
        return error_set(err, FAIL_POLICY, "the device certificate's key is of an unknown type");
    }
    int bits = EVP_PKEY_get_bits(key);
    bool rsa = EVP_PKEY_is_a(key, "RSA");
    if ((rsa && bits >= 2048) || (EVP_PKEY_is_a(key, "EC") && bits >= 256))
        return true;
    error_set(err, FAIL_POLICY, "the device certificate's key is too weak: %s of %d bits",
              rsa ? "RSA" : EVP_PKEY_get0_type_name(key), bits);
    return error_hint(err, "RSA of at least 2048 bits or EC of at least P-256 is taken");
}

static bool verify(const struct device_trust *trust, X509 *certificate, int64_t now_ms,
                   struct error *err)
{
    bool ok = false;
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    if (context == NULL || X509_STORE_CTX_init(context, trust->store, certificate, NULL) != 1) {
        error_memory(err);
        goto done;
    }
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
    /* A device CA is an anchor also where it is not self-signed. */
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
    if (trust->crl_check)
        flags |= X509_V_FLAG_CRL_CHECK;
    X509_VERIFY_PARAM_set_flags(param, flags);
    X509_VERIFY_PARAM_set_time(param, (time_t)(now_ms / 1000));
    X509_VERIFY_PARAM_set_auth_level(param, 2); /* 112 bits: no SHA-1 signature, no RSA-1024 CA */
    ok = X509_verify_cert(context) == 1;
    if (!ok) {
        int code = X509_STORE_CTX_get_error(context);
        error_set(err, FAIL_POLICY, "the device certificate is refused: %s",
                  X509_verify_cert_error_string(code));
        if (code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
            code == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
            code == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE)
            error_hint(err, "it was not issued by a CA in the connector's device_ca file");
        ERR_clear_error();
    }
done:
    X509_STORE_CTX_free(context);
    return ok;
}

bool device_certificate_check(const struct device_trust *trust, struct bytes der, int64_t now_ms,
                              X509 **out, struct error *err)
{
    X509 *certificate = NULL;
    *out = NULL;
    if (!parse_der(der, &certificate, err))
        return false;
    if (!key_is_strong(certificate, err) || !verify(trust, certificate, now_ms, err)) {
        X509_free(certificate);
        return false;
    }
    *out = certificate; /* transferred */
    return true;
}
