/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memmem, timegm */
#include "pfx_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/pkcs7.h>
#include <openssl/provider.h>
#include <openssl/x509.h>
#include "reseal/text.h"

#define ITERATIONS_MAX 5000000 /* some seconds of work; today's advice is below one million */

static bool looks_like_text(struct bytes bytes, const char *alphabet)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] == '\0' || strchr(alphabet, bytes.data[i]) == NULL)
            return false;
    }
    return true;
}

static bool is_der_certificate(struct bytes bytes)
{
    const unsigned char *at = bytes.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)bytes.len);
    X509_free(certificate);
    return certificate != NULL;
}

static bool is_der_key(struct bytes bytes)
{
    const unsigned char *at = bytes.data;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)bytes.len);
    EVP_PKEY_free(key);
    return key != NULL;
}

static bool is_pkcs7(struct bytes bytes)
{
    const unsigned char *at = bytes.data;
    PKCS7 *bundle = d2i_PKCS7(NULL, &at, (long)bytes.len);
    PKCS7_free(bundle);
    return bundle != NULL;
}

/* True for the head of a DER sequence that claims more bytes than there are. */
static bool is_cut_short(struct bytes bytes)
{
    const unsigned char *at = bytes.data;
    long len = 0;
    int tag = 0, class = 0;
    if (bytes.data[0] != 0x30)
        return false;
    /* 0x80: an error; the only one left for this tag is a length beyond the end. */
    int flags = ASN1_get_object(&at, &len, &tag, &class, (long)bytes.len);
    return (flags & 0x80) != 0 || bytes.len < 16;
}

/* "-----BEGIN CERTIFICATE-----" -> "CERTIFICATE". */
static bool pem_label(struct bytes bytes, char *out, size_t size)
{
    static const char begin[] = "-----BEGIN ";
    const uint8_t *at = memmem(bytes.data, bytes.len, begin, sizeof begin - 1);
    if (at == NULL)
        return false;
    at += sizeof begin - 1;
    size_t len = 0, left = (size_t)(bytes.data + bytes.len - at);
    while (len < left && len + 1 < size && at[len] >= ' ' && at[len] < 0x7f && at[len] != '-')
        len++;
    memcpy(out, at, len);
    out[len] = '\0';
    return true;
}

static bool not_a_pfx(struct bytes bytes, struct error *err)
{
    static const char base64[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n";
    static const char export[] = "make one with: openssl pkcs12 -export -inkey KEY -in CERTIFICATE";
    char label[48];
    const char *likeness = NULL, *hint = export;
    ERR_clear_error();
    if (bytes.len == 0) {
        likeness = "it is empty";
    } else if (pem_label(bytes, label, sizeof label)) {
        error_set(err, FAIL_INPUT, "this is no PFX (PKCS#12) file: it is PEM text (BEGIN %s)",
                  label);
        return error_hint(err, "%s", export);
    } else if (looks_like_text(bytes, base64)) {
        likeness = "it looks like base64 text";
        hint = "decode it first: base64 -d";
    } else if (bytes.len > 4 && memcmp(bytes.data, "\xfe\xed\xfe\xed", 4) == 0) {
        likeness = "it is a Java key store";
        hint = "convert it with: keytool -importkeystore -deststoretype pkcs12";
    } else if (is_cut_short(bytes)) {
        likeness = "it is cut short";
        hint = "copy it again, as a binary file";
    } else if (is_der_certificate(bytes)) {
        likeness = "it is a certificate without a key (DER)";
    } else if (is_pkcs7(bytes)) {
        likeness = "it is a PKCS#7 or CMS message";
    } else if (is_der_key(bytes)) {
        likeness = "it is a private key (DER)";
    } else {
        likeness = bytes.data[0] == 0x30 ? "it is other or damaged ASN.1" : "it is no ASN.1";
    }
    ERR_clear_error();
    error_set(err, FAIL_INPUT, "this is no PFX (PKCS#12) file: %s", likeness);
    return error_hint(err, "%s", hint);
}

bool pfx_parse(struct bytes bytes, PKCS12 **out, struct error *err)
{
    const unsigned char *at = bytes.data;
    *out = NULL;
    if (bytes.len == 0 || bytes.len > INT_MAX)
        return not_a_pfx(bytes, err);
    PKCS12 *pfx = d2i_PKCS12(NULL, &at, (long)bytes.len);
    if (pfx == NULL)
        return not_a_pfx(bytes, err);
    size_t rest = bytes.len - (size_t)(at - bytes.data);
    if (rest > 0) {
        PKCS12_free(pfx);
        error_set(err, FAIL_INPUT, "the PFX is followed by %zu bytes that do not belong to it",
                  rest);
        return error_hint(err, "copy it again, as a binary file");
    }
    *out = pfx;
    return true;
}

struct pfx_providers {
    OSSL_LIB_CTX *library;
    OSSL_PROVIDER *legacy, *standard;
};

bool pfx_providers_new(struct pfx_providers **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL || error_memory(err);
}

void pfx_providers_free(struct pfx_providers **providers)
{
    if (providers == NULL || *providers == NULL)
        return;
    if ((*providers)->legacy != NULL)
        OSSL_PROVIDER_unload((*providers)->legacy);
    if ((*providers)->standard != NULL)
        OSSL_PROVIDER_unload((*providers)->standard);
    OSSL_LIB_CTX_free((*providers)->library);
    free(*providers);
    *providers = NULL;
}

bool pfx_legacy_library(struct pfx_providers *providers, OSSL_LIB_CTX **out, struct error *err)
{
    *out = NULL;
    if (providers->library == NULL)
        providers->library = OSSL_LIB_CTX_new();
    if (providers->library == NULL)
        return error_memory(err);
    if (providers->standard == NULL)
        providers->standard = OSSL_PROVIDER_load(providers->library, "default");
    if (providers->legacy == NULL)
        providers->legacy = OSSL_PROVIDER_load(providers->library, "legacy");
    if (providers->standard == NULL || providers->legacy == NULL) {
        error_openssl(err, FAIL_UNSUPPORTED,
                      "the PFX uses an old algorithm (RC2 or the like), and OpenSSL's legacy "
                      "provider cannot be loaded");
        return error_hint(err, "install it (Debian 13: openssl-provider-legacy), or export the PFX "
                               "with newer algorithms");
    }
    *out = providers->library;
    return true;
}

bool pfx_needs_legacy(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *object = NULL;
    const void *parameters = NULL;
    int type = 0, cipher;
    X509_ALGOR_get0(&object, &type, &parameters, algorithm);
    switch (OBJ_obj2nid(object)) {
    case NID_pbe_WithSHA1And40BitRC2_CBC:
    case NID_pbe_WithSHA1And128BitRC2_CBC:
    case NID_pbe_WithSHA1And40BitRC4:
    case NID_pbe_WithSHA1And128BitRC4:
    case NID_pbeWithMD2AndDES_CBC:
    case NID_pbeWithMD5AndDES_CBC:
    case NID_pbeWithSHA1AndDES_CBC:
    case NID_pbeWithMD2AndRC2_CBC:
    case NID_pbeWithMD5AndRC2_CBC:
    case NID_pbeWithSHA1AndRC2_CBC:
        return true;
    case NID_pbes2:
        break;
    default:
        return false;
    }
    PBE2PARAM *pbes2 =
        type == V_ASN1_SEQUENCE ? ASN1_item_unpack(parameters, ASN1_ITEM_rptr(PBE2PARAM)) : NULL;
    if (pbes2 == NULL)
        return false;
    X509_ALGOR_get0(&object, NULL, NULL, pbes2->encryption);
    cipher = OBJ_obj2nid(object);
    PBE2PARAM_free(pbes2);
    return cipher == NID_des_cbc || cipher == NID_rc2_cbc || cipher == NID_rc4;
}

static bool check_iterations(const ASN1_INTEGER *iterations, struct error *err)
{
    int64_t count = 0;
    if (iterations == NULL)
        return true; /* one, by default */
    if (ASN1_INTEGER_get_int64(&count, iterations) == 1 && count > 0 && count <= ITERATIONS_MAX)
        return true;
    ERR_clear_error();
    error_set(err, FAIL_TOO_LARGE,
              "the PFX asks for a key derivation of %lld rounds, at most %d "
              "are done",
              (long long)count, ITERATIONS_MAX);
    return error_hint(err, "export it anew; 600000 rounds are plenty");
}

static bool check_pbes2_work(const ASN1_STRING *parameters, struct error *err)
{
    bool ok = true;
    const ASN1_OBJECT *object = NULL;
    const void *inner = NULL;
    int type = 0;
    PBE2PARAM *pbes2 = ASN1_item_unpack(parameters, ASN1_ITEM_rptr(PBE2PARAM));
    if (pbes2 == NULL)
        return true; /* the decryption will say so */
    X509_ALGOR_get0(&object, &type, &inner, pbes2->keyfunc);
    if (OBJ_obj2nid(object) == NID_id_pbkdf2 && type == V_ASN1_SEQUENCE) {
        PBKDF2PARAM *pbkdf2 = ASN1_item_unpack(inner, ASN1_ITEM_rptr(PBKDF2PARAM));
        if (pbkdf2 != NULL)
            ok = check_iterations(pbkdf2->iter, err);
        PBKDF2PARAM_free(pbkdf2);
    }
    PBE2PARAM_free(pbes2);
    return ok;
}

bool pfx_check_work(const X509_ALGOR *algorithm, struct error *err)
{
    const ASN1_OBJECT *object = NULL;
    const void *parameters = NULL;
    int type = 0;
    bool ok = true;
    X509_ALGOR_get0(&object, &type, &parameters, algorithm);
    if (type != V_ASN1_SEQUENCE)
        return true;
    if (OBJ_obj2nid(object) == NID_pbes2) {
        ok = check_pbes2_work(parameters, err);
    } else {
        PBEPARAM *simple = ASN1_item_unpack(parameters, ASN1_ITEM_rptr(PBEPARAM));
        if (simple != NULL)
            ok = check_iterations(simple->iter, err);
        PBEPARAM_free(simple);
    }
    if (ok)
        ERR_clear_error();
    return ok;
}

bool pfx_check_mac_work(const PKCS12 *pfx, struct error *err)
{
    const ASN1_INTEGER *iterations = NULL;
    PKCS12_get0_mac(NULL, NULL, NULL, &iterations, pfx);
    return check_iterations(iterations, err);
}

static bool time_ms(const ASN1_TIME *time, int64_t *out, struct error *err)
{
    struct tm tm = {0};
    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return error_openssl(err, FAIL_INPUT, "the certificate has a time that cannot be read");
    *out = (int64_t)timegm(&tm) * 1000;
    return true;
}

/* RFC 2253 form, but with UTF-8 as it is; cut between characters. */
static bool subject_text(const X509 *certificate, char *out, size_t size, struct error *err)
{
    bool ok = false;
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    if (bio == NULL)
        return error_memory(err);
    if (X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, flags) < 0) {
        error_openssl(err, FAIL_INPUT, "the certificate has a subject that cannot be read");
        goto done;
    }
    long all = BIO_get_mem_data(bio, &text);
    size_t len = all > 0 ? (size_t)all : 0;
    if (len > size - 1) {
        len = size - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    if (len > 0)
        memcpy(out, text, len);
    out[len] = '\0';
    if (!utf8_is_strict(out, strlen(out))) {
        error_set(err, FAIL_INPUT, "the certificate has a subject that is no text");
        goto done;
    }
    ok = true;
done:
    BIO_free(bio);
    return ok;
}

bool pfx_read_facts(X509 *certificate, const EVP_PKEY *key, struct pfx_facts *out,
                    struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    /* SHA-1 names the certificate, as everywhere in this trade; nothing is signed with it. */
    if (X509_digest(certificate, EVP_sha1(), digest, &len) != 1 || len != 20)
        return error_openssl(err, FAIL_INTERNAL, "the certificate has no thumbprint");
    hex_encode(out->thumbprint, digest, len);
    if (!time_ms(X509_get0_notBefore(certificate), &out->not_before_ms, err) ||
        !time_ms(X509_get0_notAfter(certificate), &out->not_after_ms, err) ||
        !subject_text(certificate, out->subject, sizeof out->subject, err))
        return false;
    const char *type = EVP_PKEY_get0_type_name(key);
    snprintf(out->key_type, sizeof out->key_type, "%s", type != NULL ? type : "unknown");
    out->key_bits = EVP_PKEY_get_bits(key);
    return true;
}
