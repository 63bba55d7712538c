/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CMS EnvelopedData (RFC 5652, section 6) for one recipient, named by issuer and serial number:
 * AES-256-CBC content encryption (RFC 3565); for an RSA device key transport by PKCS#1 v1.5
 * (RFC 3370, section 4.2.1) or RSAES-OAEP with SHA-256 (RFC 3560); for an EC device key agreement
 * by ephemeral-static ECDH with the X9.63 key derivation function and AES-256 key wrap (RFC 5753,
 * section 3.1).
 */
#ifndef RESEAL_CMS_H
#define RESEAL_CMS_H

#include <openssl/types.h>
#include "reseal/buf.h"
#include "reseal/secret.h"

#define CMS_DER_MAX (96 * 1024) /* bytes of one EnvelopedData that we make or take */
#define CMS_IV      16
#define CMS_KEY     32

enum key_transport {
    KEY_TRANSPORT_PKCS1 = 0,
    KEY_TRANSPORT_OAEP_SHA256 = 1,
};
const char *key_transport_name(enum key_transport transport) MUST_USE; /* "pkcs1", "oaepSha256" */
bool key_transport_parse(const char *name, enum key_transport *out) MUST_USE;

/* How the content key reaches the device: which of these a token can make is found out one by one.
 */
enum cms_form {
    CMS_RSA_PKCS1,
    CMS_RSA_OAEP_SHA256,
    CMS_EC_P256, /* ECDH with SHA-256 in the key derivation */
    CMS_EC_P384, /* ECDH with SHA-384 */
};
#define CMS_FORM_COUNT 4
const char *cms_form_name(
    enum cms_form form) MUST_USE; /* "rsaPkcs1", "rsaOaepSha256", "ecP256" ... */
bool cms_form_parse(const char *name, enum cms_form *out) MUST_USE;
/* False: the device's key is of a kind that a token is not asked to wrap for (P-521 ...); only
 * cms_encrypt serves it. */
bool cms_form_for(X509 *recipient, enum key_transport transport, enum cms_form *out) MUST_USE;
bool cms_form_is_ec(enum cms_form form) MUST_USE;

/* Appends ECC-CMS-SharedInfo (RFC 5753, section 7.2), which goes into the key derivation of an EC
 * form: AES-256 key wrap, no ukm, 256 bits. */
bool cms_shared_info(struct buf *out, struct error *err) MUST_USE;

/* What a token has produced: the message is put together around it, no secret takes part. */
struct cms_parts {
    uint8_t iv[CMS_IV];
    struct bytes encrypted_content; /* AES-256-CBC with PKCS#7 padding */
    struct bytes encrypted_key;     /* the AES key under the recipient's RSA key, or key-wrapped */
    enum cms_form form;
    struct bytes originator; /* EC forms: the ephemeral public point, uncompressed (SEC 1, 2.3.3) */
};
bool cms_assemble(X509 *recipient, const struct cms_parts *parts, struct buf *der,
                  struct error *err) MUST_USE;

/* Encrypts in host memory (OpenSSL's CMS). RSA recipients with the transport given; EC recipients
 * by ECDH key agreement (RFC 5753), where the transport does not matter. P-256 and P-384 get the
 * algorithms that the forms above name, other curves P-256's. */
bool cms_encrypt(X509 *recipient, struct bytes content, enum key_transport transport,
                 struct buf *der, struct error *err) MUST_USE;

/* The device's side: opens the message with the key of `certificate`. Every failure is FAIL_CRYPTO.
 */
bool cms_decrypt(struct bytes der, EVP_PKEY *key, X509 *certificate, struct secret **out,
                 struct error *err) MUST_USE;

#endif
