/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/device_trust.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include "reseal/file.h"

#define CA_FILE_MAX (1 << 20)

/*
 * Reading a certificate and checking its chain costs OpenSSL 3.0 more than all else that a request
 * costs outside the token, and a device asks for each certificate of its user's history. So what
 * was accepted is kept for a while, found by the SHA-256 of its DER.
 */
#define KNOWN_COUNT       256
#define KNOWN_LIFETIME_MS (5 * 60 * 1000) /* then the whole check is done again: a CA may expire   \
                                           */

struct known_certificate {
    uint8_t digest[32];
    X509 *certificate;         /* NULL: the place is free */
    int64_t from_ms, until_ms; /* accepted between these, real time */
};

struct device_trust {
    X509_STORE *store; /* verification only reads it, so threads may share it */
    size_t count;      /* CA certificates */
    bool crl_check;
    pthread_mutex_t lock;                        /* guards `known` */
    struct known_certificate known[KNOWN_COUNT]; /* the place follows from the digest */
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
    pthread_mutex_init(&trust->lock, NULL);
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
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        X509_free((*trust)->known[i].certificate);
    X509_STORE_free((*trust)->store);
    pthread_mutex_destroy(&(*trust)->lock);
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

static struct known_certificate *known_place(struct device_trust *trust,
                                             const uint8_t digest[static 32])
{
    return &trust->known[(digest[0] << 8 | digest[1]) % KNOWN_COUNT];
}

/* A certificate that was accepted lately, with a reference for the caller; or NULL. */
static X509 *recall(struct device_trust *trust, const uint8_t digest[static 32], int64_t now_ms)
{
    X509 *found = NULL;
    struct known_certificate *place = known_place(trust, digest);
    pthread_mutex_lock(&trust->lock);
    if (place->certificate != NULL && memcmp(place->digest, digest, sizeof place->digest) == 0 &&
        now_ms >= place->from_ms && now_ms < place->until_ms &&
        X509_up_ref(place->certificate) == 1)
        found = place->certificate;
    pthread_mutex_unlock(&trust->lock);
    return found;
}

/* Seconds from `now_ms` to a time of the certificate; 0 where it cannot be said. */
static int64_t seconds_until(const ASN1_TIME *time, int64_t now_ms)
{
    int days = 0, seconds = 0;
    ASN1_TIME *now = ASN1_TIME_set(NULL, (time_t)(now_ms / 1000));
    if (now == NULL || ASN1_TIME_diff(&days, &seconds, now, time) != 1)
        days = seconds = 0;
    ASN1_TIME_free(now);
    return (int64_t)days * 86400 + seconds;
}

static void remember(struct device_trust *trust, const uint8_t digest[static 32], X509 *certificate,
                     int64_t now_ms)
{
    int64_t left_ms = seconds_until(X509_get0_notAfter(certificate), now_ms) * 1000;
    if (left_ms > KNOWN_LIFETIME_MS)
        left_ms = KNOWN_LIFETIME_MS;
    if (left_ms <= 0 || X509_up_ref(certificate) != 1)
        return;
    struct known_certificate *place = known_place(trust, digest);
    pthread_mutex_lock(&trust->lock);
    X509_free(place->certificate);
    memcpy(place->digest, digest, sizeof place->digest);
    place->certificate = certificate;
    place->from_ms = now_ms;
    place->until_ms = now_ms + left_ms;
    pthread_mutex_unlock(&trust->lock);
}

bool device_certificate_check(struct device_trust *trust, struct bytes der, int64_t now_ms,
                              X509 **out, struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    X509 *certificate = NULL;
    *out = NULL;
    if (EVP_Digest(der.data, der.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
    *out = recall(trust, digest, now_ms);
    if (*out != NULL)
        return true;
    if (!parse_der(der, &certificate, err))
        return false;
    if (!key_is_strong(certificate, err) || !verify(trust, certificate, now_ms, err)) {
        X509_free(certificate);
        return false;
    }
    remember(trust, digest, certificate, now_ms);
    *out = certificate; /* transferred */
    return true;
}
