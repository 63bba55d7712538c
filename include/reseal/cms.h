/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CMS EnvelopedData (RFC 5652, section 6) for one recipient, named by issuer and serial number:
 * AES-256-CBC content encryption (RFC 3565), key transport by RSA PKCS#1 v1.5 (RFC 3370,
 * section 4.2.1) or RSAES-OAEP with SHA-256 (RFC 3560).
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

/* What a token has produced: the message is put together around it, no secret takes part. */
struct cms_parts {
    uint8_t iv[CMS_IV];
    struct bytes encrypted_content; /* AES-256-CBC with PKCS#7 padding */
    struct bytes encrypted_key;     /* the AES key under the recipient's RSA key */
    enum key_transport transport;
};
bool cms_assemble(X509 *recipient, const struct cms_parts *parts, struct buf *der,
                  struct error *err) MUST_USE;

/* Encrypts in host memory (OpenSSL's CMS). RSA recipients with the transport given; EC recipients
 * by ECDH key agreement (RFC 5753), where the transport does not matter. */
bool cms_encrypt(X509 *recipient, struct bytes content, enum key_transport transport,
                 struct buf *der, struct error *err) MUST_USE;

/* The device's side: opens the message with the key of `certificate`. Every failure is FAIL_CRYPTO.
 */
bool cms_decrypt(struct bytes der, EVP_PKEY *key, X509 *certificate, struct secret **out,
                 struct error *err) MUST_USE;

#endif
