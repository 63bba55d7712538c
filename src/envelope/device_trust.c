/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/device_trust.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <openssl/x509_vfy.h>
#include "reseal/file.h"
#include "reseal/log.h"

#define CA_FILE_MAX (1 << 20)
#define LOOK_MS     5000 /* how often the files are looked at for a change */

/*
 * Reading a certificate and checking its chain costs OpenSSL 3.0 more than all else that a request
 * costs outside the token, and a device asks for each certificate of its user's history. So what
 * was accepted is kept for a while, found by the SHA-256 of its DER.
 */
#define KNOWN_COUNT 256
#define KNOWN_LIFETIME_MS                                                                          \
    (5 * 60 * 1000) /* then the whole check is done again: a CA may expire                         \
                     */

struct known_certificate {
    uint8_t digest[32];
    X509 *certificate;         /* NULL: the place is free */
    int64_t from_ms, until_ms; /* accepted between these, real time */
};

/* What tells a changed file from the one that was read. */
struct file_stamp {
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct device_trust {
    char *ca_path, *crl_path; /* crl_path NULL: revocation is not checked */
    pthread_mutex_t lock;     /* guards all that follows */
    X509_STORE *store;        /* verification only reads it; whoever uses it holds a reference */
    size_t count;             /* CA certificates */
    struct file_stamp ca_stamp, crl_stamp;
    int64_t looked_ms;                           /* when the files were looked at, real time */
    struct known_certificate known[KNOWN_COUNT]; /* the place follows from the digest */
};

/* PEM_read asks for the pass phrase of an encrypted block on the terminal unless told otherwise. */
static int no_pass_phrase(char *out, int size, int writing, void *context)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)context;
    return 0;
}

/* The end of a PEM file looks like an error; a damaged block must not pass for the end. */
static bool at_pem_end(const char *what, const char *path, struct error *err)
{
    unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return true;
    }
    return error_openssl(err, FAIL_USAGE, "%s %s has a damaged block", what, path);
}

static bool add_cas(X509_STORE *store, BIO *bio, const char *path, size_t *count, struct error *err)
{
    X509 *ca;
    while ((ca = PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL)) != NULL) {
        int added = X509_STORE_add_cert(store, ca);
        X509_free(ca);
        if (added != 1)
            return error_openssl(err, FAIL_USAGE, "device CA file %s", path);
        (*count)++;
    }
    if (!at_pem_end("device CA file", path, err))
        return false;
    if (*count > 0)
        return true;
    error_set(err, FAIL_USAGE, "device CA file %s holds no certificate", path);
    return error_hint(err, "it must be PEM (-----BEGIN CERTIFICATE-----)");
}

static bool add_crls(X509_STORE *store, BIO *bio, const char *path, size_t *count,
                     struct error *err)
{
    X509_CRL *crl;
    while ((crl = PEM_read_bio_X509_CRL(bio, NULL, no_pass_phrase, NULL)) != NULL) {
        int added = X509_STORE_add_crl(store, crl);
        X509_CRL_free(crl);
        if (added != 1)
            return error_openssl(err, FAIL_USAGE, "CRL file %s", path);
        (*count)++;
    }
    if (!at_pem_end("CRL file", path, err))
        return false;
    return *count > 0 ? true : error_set(err, FAIL_USAGE, "CRL file %s holds no CRL in PEM", path);
}

typedef bool add_fn(X509_STORE *store, BIO *bio, const char *path, size_t *count,
                    struct error *err);

static bool load_file(X509_STORE *store, const char *path, add_fn *add, size_t *count,
                      struct error *err)
{
    struct buf content = BUF_INIT(CA_FILE_MAX);
    bool ok = false;
    *count = 0;
    if (!file_read(path, &content, err))
        goto done;
    BIO *bio = BIO_new_mem_buf(buf_text(&content), (int)content.len);
    if (bio == NULL) {
        error_memory(err);
        goto done;
    }
    ERR_clear_error();
    ok = add(store, bio, path, count, err);
    BIO_free(bio);
done:
    buf_free(&content);
    return ok;
}

static struct file_stamp stamp_of(const char *path)
{
    struct stat st;
    if (path == NULL || stat(path, &st) != 0)
        return (struct file_stamp){0};
    return (struct file_stamp){st.st_ino, st.st_size, st.st_mtim};
}

static bool same_stamp(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

static void forget_all(struct device_trust *trust)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        X509_free(trust->known[i].certificate);
        trust->known[i].certificate = NULL;
    }
}

/* Reads both files and puts them in the place of what was there. The stamps are taken before, so
 * that a change while they are read is seen the next time. */
static bool read_files(struct device_trust *trust, struct error *err)
{
    size_t cas, crls;
    X509_STORE *store = X509_STORE_new();
    trust->ca_stamp = stamp_of(trust->ca_path);
    trust->crl_stamp = stamp_of(trust->crl_path);
    if (store == NULL)
        return error_memory(err);
    if (!load_file(store, trust->ca_path, add_cas, &cas, err) ||
        (trust->crl_path != NULL && !load_file(store, trust->crl_path, add_crls, &crls, err))) {
        X509_STORE_free(store);
        return false;
    }
    X509_STORE_free(trust->store);
    trust->store = store;
    trust->count = cas;
    forget_all(trust);
    return true;
}

/* A CRL is replaced every few days, and a CA is added: both count without a restart. Files that
 * cannot be read leave what was read before, whose CRLs expire by themselves. */
static void look_for_changes(struct device_trust *trust, int64_t now_ms)
{
    struct error err = ERROR_INIT;
    if (now_ms >= trust->looked_ms && now_ms - trust->looked_ms < LOOK_MS)
        return;
    trust->looked_ms = now_ms;
    struct file_stamp ca = stamp_of(trust->ca_path), crl = stamp_of(trust->crl_path);
    if (same_stamp(&ca, &trust->ca_stamp) && same_stamp(&crl, &trust->crl_stamp))
        return;
    if (read_files(trust, &err))
        log_event(LEVEL_INFO, EVENT_NOTE, "device CAs and CRLs were read anew",
                  LOG_NUMBER("device_cas", trust->count));
    else
        log_error(LEVEL_ERROR, EVENT_NOTE,
                  "changed device CAs or CRLs cannot be used, the old ones stay in force", &err);
}

bool device_trust_load(const char *ca_path, const char *crl_path, struct device_trust **out,
                       struct error *err)
{
    bool ok = false;
    *out = NULL;
    struct device_trust *trust = calloc(1, sizeof *trust);
    if (trust == NULL)
        return error_memory(err);
    pthread_mutex_init(&trust->lock, NULL);
    trust->ca_path = strdup(ca_path);
    trust->crl_path = crl_path != NULL ? strdup(crl_path) : NULL;
    if (trust->ca_path == NULL || (crl_path != NULL && trust->crl_path == NULL)) {
        error_memory(err);
        goto done;
    }
    if (!read_files(trust, err))
        goto done;
    *out = trust;
    trust = NULL; /* transferred */
    ok = true;
done:
    device_trust_free(&trust);
    return ok;
}

void device_trust_free(struct device_trust **trust)
{
    if (trust == NULL || *trust == NULL)
        return;
    forget_all(*trust);
    X509_STORE_free((*trust)->store);
    pthread_mutex_destroy(&(*trust)->lock);
    free((*trust)->ca_path);
    free((*trust)->crl_path);
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

/* A CA's key signs; whoever has it needs no delivery, and no device has it. */
static bool is_no_ca(X509 *certificate, struct error *err)
{
    if ((X509_get_extension_flags(certificate) & EXFLAG_CA) == 0)
        return true;
    error_set(err, FAIL_POLICY, "the device certificate is that of a CA");
    return error_hint(err, "name the certificate that the CA has issued to the device");
}

/* A CRL that is missing or out of its time is our fault and soon mended; no device is refused for
 * it for good. */
static bool is_our_trouble(int code)
{
    return code == X509_V_ERR_UNABLE_TO_GET_CRL || code == X509_V_ERR_CRL_HAS_EXPIRED ||
           code == X509_V_ERR_CRL_NOT_YET_VALID;
}

static bool refused(X509_STORE_CTX *context, struct error *err)
{
    int code = X509_STORE_CTX_get_error(context);
    const char *reason = X509_verify_cert_error_string(code);
    ERR_clear_error();
    if (is_our_trouble(code)) {
        error_set(err, FAIL_TOKEN, "no device certificate can be checked now: %s", reason);
        return error_hint(err, "renew the file of device_crl; it is read again by itself");
    }
    if (code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
        code == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
        code == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE) {
        error_set(err, FAIL_POLICY,
                  "the device certificate is refused: no configured device_ca "
                  "has issued it");
        return error_hint(err, "name another device, or add its CA to the connector's device_ca "
                               "file");
    }
    return error_set(err, FAIL_POLICY, "the device certificate is refused: %s", reason);
}

static bool verify(X509_STORE *store, bool crl_check, X509 *certificate, int64_t now_ms,
                   struct error *err)
{
    bool ok = false;
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    if (context == NULL || X509_STORE_CTX_init(context, store, certificate, NULL) != 1) {
        error_memory(err);
        goto done;
    }
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
    /* A device CA is an anchor also where it is not self-signed. */
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
    if (crl_check)
        flags |= X509_V_FLAG_CRL_CHECK;
    X509_VERIFY_PARAM_set_flags(param, flags);
    X509_VERIFY_PARAM_set_time(param, (time_t)(now_ms / 1000));
    X509_VERIFY_PARAM_set_auth_level(param, 2); /* 112 bits: no SHA-1 signature, no RSA-1024 CA */
    ok = X509_verify_cert(context) == 1 || refused(context, err);
done:
    X509_STORE_CTX_free(context);
    return ok;
}

static struct known_certificate *known_place(struct device_trust *trust,
                                             const uint8_t digest[static 32])
{
    return &trust->known[(digest[0] << 8 | digest[1]) % KNOWN_COUNT];
}

/* A certificate that was accepted lately, or NULL; and what to check another one with. The caller
 * owns a reference to both. */
static X509 *recall(struct device_trust *trust, const uint8_t digest[static 32], int64_t now_ms,
                    X509_STORE **store)
{
    X509 *found = NULL;
    struct known_certificate *place = known_place(trust, digest);
    pthread_mutex_lock(&trust->lock);
    look_for_changes(trust, now_ms);
    *store = X509_STORE_up_ref(trust->store) == 1 ? trust->store : NULL;
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
                     const X509_STORE *store, int64_t now_ms)
{
    int64_t left_ms = seconds_until(X509_get0_notAfter(certificate), now_ms) * 1000;
    if (left_ms > KNOWN_LIFETIME_MS)
        left_ms = KNOWN_LIFETIME_MS;
    if (left_ms <= 0 || X509_up_ref(certificate) != 1)
        return;
    struct known_certificate *place = known_place(trust, digest);
    pthread_mutex_lock(&trust->lock);
    if (store == trust->store) { /* what it was checked with is still in force */
        X509_free(place->certificate);
        memcpy(place->digest, digest, sizeof place->digest);
        place->certificate = certificate;
        place->from_ms = now_ms;
        place->until_ms = now_ms + left_ms;
        certificate = NULL; /* transferred */
    }
    pthread_mutex_unlock(&trust->lock);
    X509_free(certificate);
}

bool device_certificate_check(struct device_trust *trust, struct bytes der, int64_t now_ms,
                              X509 **out, struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    X509 *certificate = NULL;
    X509_STORE *store = NULL;
    bool ok = false;
    *out = NULL;
    if (EVP_Digest(der.data, der.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
    certificate = recall(trust, digest, now_ms, &store);
    if (certificate == NULL) {
        if (!parse_der(der, &certificate, err) || !key_is_strong(certificate, err) ||
            !is_no_ca(certificate, err))
            goto done;
        if (store == NULL) {
            error_memory(err);
            goto done;
        }
        if (!verify(store, trust->crl_path != NULL, certificate, now_ms, err))
            goto done;
        remember(trust, digest, certificate, store, now_ms);
    }
    *out = certificate;
    certificate = NULL; /* transferred */
    ok = true;
done:
    X509_free(certificate);
    X509_STORE_free(store);
    return ok;
}
