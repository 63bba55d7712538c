/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, CAs and certificates for tests, made in memory. */
#ifndef RESEAL_TESTS_PKI_H
#define RESEAL_TESTS_PKI_H

#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include "tests/unit/check.h"
#include "reseal/buf.h"

struct pki_wish {
    const char *name;
    EVP_PKEY *key; /* of the subject */
    X509 *issuer;  /* NULL: self-signed */
    EVP_PKEY *issuer_key;
    long from_s, until_s; /* relative to now */
    long serial;
    bool ca;
    const EVP_MD *hash; /* NULL: SHA-256 */
};

static inline X509 *pki_certificate(const struct pki_wish *wish)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_NAME_new();
    X509V3_CTX context;
    assert_non_null(x);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), wish->serial);
    X509_gmtime_adj(X509_getm_notBefore(x), wish->from_s);
    X509_gmtime_adj(X509_getm_notAfter(x), wish->until_s);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)wish->name, -1, -1,
                               0);
    X509_set_subject_name(x, name);
    X509_set_issuer_name(x, wish->issuer != NULL ? X509_get_subject_name(wish->issuer) : name);
    X509_NAME_free(name);
    X509_set_pubkey(x, wish->key);
    X509V3_set_ctx(&context, wish->issuer != NULL ? wish->issuer : x, x, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints,
                                                    wish->ca ? "critical,CA:TRUE" : "CA:FALSE");
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
    EVP_PKEY *signer = wish->issuer != NULL ? wish->issuer_key : wish->key;
    assert_true(X509_sign(x, signer, wish->hash != NULL ? wish->hash : EVP_sha256()) > 0);
    return x;
}

static inline void pki_pem(X509 *const *certificates, size_t count, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(PEM_write_bio_X509(bio, certificates[i]), 1);
    long len = BIO_get_mem_data(bio, &text);
    buf_put(out, text, (size_t)len);
    BIO_free(bio);
}

static inline void pki_der(X509 *certificate, struct buf *out)
{
    unsigned char *der = NULL;
    int len = i2d_X509(certificate, &der);
    assert_true(len > 0);
    buf_put(out, der, (size_t)len);
    OPENSSL_free(der);
}

#endif
