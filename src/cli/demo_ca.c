/* SPDX-License-Identifier: Apache-2.0 */
#include "demo_ca.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include "reseal/compiler.h"

#define CA_DAYS       3650
#define DAY_SECONDS   86400L
#define CLOCK_SKEW    300L /* seconds by which a device's clock may be behind */
#define SERIAL_BYTES  16   /* RFC 5280, section 4.1.2.2: positive, at most 20 */
#define X509_VERSION3 2    /* the field counts from 0 */

bool device_key_make(const char *kind, EVP_PKEY **out, struct error *err)
{
    static const struct {
        const char *kind;
        size_t bits;
        const char *curve;
    } kinds[] = {
        {"rsa:1024", 1024, NULL}, {"rsa:2048", 2048, NULL}, {"rsa:3072", 3072, NULL},
        {"rsa:4096", 4096, NULL}, {"ec:P-256", 0, "P-256"}, {"ec:P-384", 0, "P-384"},
    };
    *out = NULL;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kind, kinds[i].kind) != 0)
            continue;
        *out = kinds[i].curve != NULL ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", kinds[i].curve)
                                      : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", kinds[i].bits);
        return *out != NULL || error_openssl(err, FAIL_INTERNAL, "cannot make a %s key", kind);
    }
    error_set(err, FAIL_USAGE, "\"%.32s\" is no kind of device key", kind);
    return error_hint(err, "rsa:2048, rsa:3072, rsa:4096, ec:P-256 or ec:P-384");
}

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    bool ok = number != NULL && BN_rand(number, SERIAL_BYTES * 8 - 1, BN_RAND_TOP_ONE, 0) == 1 &&
              BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return ok;
}

static bool set_validity(X509 *certificate, long days)
{
    /* An expired certificate was valid for a day before. */
    long end = days * DAY_SECONDS;
    long begin = days > 0 ? -CLOCK_SKEW : end - DAY_SECONDS;
    return X509_gmtime_adj(X509_getm_notBefore(certificate), begin) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), end) != NULL;
}

static bool set_subject(X509 *certificate, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
                                      -1, 0) == 1;
}

static bool add_extension(X509 *certificate, X509V3_CTX *context, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, context, nid, value);
    bool ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* `issuer` NULL: self-signed CA. */
static bool build(X509 *certificate, X509 *issuer, EVP_PKEY *key, const char *name, long days)
{
    X509V3_CTX context;
    bool ca = issuer == NULL;
    bool agreement = EVP_PKEY_is_a(key, "EC");
    if (X509_set_version(certificate, X509_VERSION3) != 1 || !set_serial(certificate) ||
        !set_validity(certificate, days) || !set_subject(certificate, name) ||
        X509_set_pubkey(certificate, key) != 1 ||
        X509_set_issuer_name(certificate, X509_get_subject_name(ca ? certificate : issuer)) != 1)
        return false;
    X509V3_set_ctx(&context, ca ? certificate : issuer, certificate, NULL, NULL, 0);
    if (!add_extension(certificate, &context, NID_subject_key_identifier, "hash") ||
        !add_extension(certificate, &context, NID_basic_constraints,
                       ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE"))
        return false;
    if (ca)
        return add_extension(certificate, &context, NID_key_usage, "critical,keyCertSign,cRLSign");
    /* The CMS key goes to an RSA key by transport, to an EC key by agreement (RFC 5753); the device
     * also shows itself to its management service with this certificate. */
    return add_extension(certificate, &context, NID_authority_key_identifier, "keyid:always") &&
           add_extension(certificate, &context, NID_key_usage,
                         agreement ? "critical,digitalSignature,keyAgreement"
                                   : "critical,digitalSignature,keyEncipherment") &&
           add_extension(certificate, &context, NID_ext_key_usage, "clientAuth,emailProtection");
}

static bool make_certificate(X509 *issuer, EVP_PKEY *issuer_key, EVP_PKEY *key, const char *name,
                             long days, X509 **out, struct error *err)
{
    X509 *certificate = X509_new();
    *out = NULL;
    if (certificate == NULL || !build(certificate, issuer, key, name, days) ||
        X509_sign(certificate, issuer_key, EVP_sha256()) == 0) {
        X509_free(certificate);
        error_openssl(err, FAIL_INPUT, "cannot make a certificate for \"%.64s\"", name);
        return error_hint(err, "a name has 1 to 64 characters of UTF-8");
    }
    *out = certificate;
    return true;
}

bool demo_ca_issue(const struct demo_ca *ca, EVP_PKEY *device, const char *name, long days,
                   X509 **out, struct error *err)
{
    return make_certificate(ca->certificate, ca->key, device, name, days, out, err);
}

void demo_ca_free(struct demo_ca *ca)
{
    EVP_PKEY_free(ca->key);
    X509_free(ca->certificate);
    *ca = (struct demo_ca){NULL, NULL};
}

static bool make_folder(const char *folder, struct error *err)
{
    if (mkdir(folder, 0700) == 0 || errno == EEXIST)
        return true;
    return error_errno(err, FAIL_IO, "cannot make the folder %s", folder);
}

static bool make_ca(const char *key_path, const char *certificate_path, struct demo_ca *ca,
                    struct error *err)
{
    if (!device_key_make("ec:P-256", &ca->key, err) ||
        !make_certificate(NULL, ca->key, ca->key, "Reseal demo device CA", CA_DAYS,
                          &ca->certificate, err) ||
        !write_private_key(key_path, ca->key, err))
        return false;
    if (write_certificate(certificate_path, ca->certificate, err))
        return true;
    unlink(key_path); /* ours, and of no use alone */
    return false;
}

bool demo_ca_open(const char *folder, struct demo_ca *ca, bool *made, struct error *err)
{
    char key_path[PATH_MAX], certificate_path[PATH_MAX];
    *ca = (struct demo_ca){NULL, NULL};
    *made = false;
    if (snprintf(key_path, sizeof key_path, "%s/ca.key", folder) >= (int)sizeof key_path ||
        snprintf(certificate_path, sizeof certificate_path, "%s/ca.pem", folder) >=
            (int)sizeof certificate_path)
        return error_set(err, FAIL_USAGE, "the path %.64s... is too long", folder);
    if (!make_folder(folder, err))
        return false;
    bool has_key = access(key_path, F_OK) == 0;
    bool has_certificate = access(certificate_path, F_OK) == 0;
    if (!has_key && !has_certificate) {
        *made = true;
        return make_ca(key_path, certificate_path, ca, err);
    }
    if (!has_key || !has_certificate) {
        error_set(err, FAIL_INPUT, "%s has %s but not %s", folder, has_key ? "ca.key" : "ca.pem",
                  has_key ? "ca.pem" : "ca.key");
        return error_hint(err, "a device CA is both; name another folder with --ca to make one");
    }
    if (!read_private_key(key_path, &ca->key, err) ||
        !read_certificate(certificate_path, &ca->certificate, err))
        return false;
    if (X509_check_private_key(ca->certificate, ca->key) == 1 &&
        X509_check_ca(ca->certificate) == 1)
        return true;
    return error_openssl(err, FAIL_INPUT, "ca.pem of %s is no CA certificate of ca.key", folder);
}
