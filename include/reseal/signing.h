/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures of people: RSA-PSS with SHA-256 (RFC 8017, section 8.1), ECDSA with SHA-256 (FIPS
 * 186-5), Ed25519 (RFC 8032). Which one follows from the key.
 */
#ifndef RESEAL_SIGNING_H
#define RESEAL_SIGNING_H

#include <openssl/types.h>
#include "reseal/buf.h"

#define SIGNATURE_MAX 1024 /* bytes */

enum signature_kind {
    SIGNATURE_RSA_PSS,
    SIGNATURE_ECDSA,
    SIGNATURE_ED25519,
};
/* "rsa-pss-sha256", "ecdsa-sha256", "ed25519". */
const char *signature_kind_name(enum signature_kind kind) MUST_USE;
/* FAIL_UNSUPPORTED for a key that makes none of them, or is too short. */
bool signature_kind_of(EVP_PKEY *key, enum signature_kind *out, struct error *err) MUST_USE;

/* A key that signs: OpenSSL does it, or somebody else does with what OpenSSL has the public half of
 * only. */
struct signing_key {
    EVP_PKEY *key;
    /* Appends the signature of the kind that follows from the key; NULL: OpenSSL signs. */
    bool (*sign)(void *context, struct bytes message, struct buf *out, struct error *err);
    void *context;
};

/* Appends the signature over the message. What somebody else made is checked (FAIL_CRYPTO). */
bool signature_make(const struct signing_key *key, struct bytes message, struct buf *out,
                    struct error *err) MUST_USE;
/* FAIL_CRYPTO where it is none by that key over that message. */
bool signature_check(EVP_PKEY *key, struct bytes message, struct bytes signature,
                     struct error *err) MUST_USE;

#endif
