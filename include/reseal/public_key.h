/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public half of a sealing key: files, fingerprint, and sealing with it. No token is needed.
 *
 * Forms: PEM SubjectPublicKeyInfo (RFC 7468), and CNG RSAPUBLICBLOB (BCRYPT_RSAKEY_BLOB: magic
 * "RSA1", lengths little-endian, then exponent and modulus big-endian).
 */
#ifndef RESEAL_PUBLIC_KEY_H
#define RESEAL_PUBLIC_KEY_H

#include <openssl/types.h>
#include "reseal/buf.h"
#include "reseal/padding.h"
#include "reseal/secret.h"

#define FINGERPRINT_TEXT 65 /* SHA-256 in hex and the end mark */

/* Reads either form and checks for RSA of 2048 to 4096 bits. The caller frees the key by
 * EVP_PKEY_free. */
bool public_key_parse(struct bytes content, const char *what, EVP_PKEY **out,
                      struct error *err) MUST_USE;
bool public_key_load(const char *path, EVP_PKEY **out, struct error *err) MUST_USE;
/* From big-endian modulus and exponent, as PKCS#11 gives them. */
bool public_key_from_numbers(struct bytes modulus, struct bytes exponent, EVP_PKEY **out,
                             struct error *err) MUST_USE;

bool public_key_to_pem(EVP_PKEY *key, struct buf *out, struct error *err) MUST_USE;
bool public_key_to_cng(EVP_PKEY *key, struct buf *out, struct error *err) MUST_USE;
/* SHA-256 of the DER SubjectPublicKeyInfo, lower-case hex. */
bool public_key_fingerprint(EVP_PKEY *key, char out[static FINGERPRINT_TEXT],
                            struct error *err) MUST_USE;

/*
 * Appends RSA-OAEP(password). A password over the room of padding and key is FAIL_INPUT, with both
 * numbers in the text.
 */
bool password_seal(EVP_PKEY *key, enum padding padding, const struct secret *password,
                   struct buf *out, struct error *err) MUST_USE;

#endif
