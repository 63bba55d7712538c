/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that witnesses sign with, and the one kind of signature that each makes. */
#ifndef RESEAL_CEREMONY_WITNESS_KEY_H
#define RESEAL_CEREMONY_WITNESS_KEY_H

#include <openssl/types.h>
#include "reseal/secret.h"
#include "reseal/signing.h"

/* A public key (PEM) of a kind that can sign here: RSA of 2048 bits or more, P-256, P-384, P-521 or
 * Ed25519. */
bool witness_key_load(const char *path, EVP_PKEY **out, struct error *err) MUST_USE;
/* The same in DER (SubjectPublicKeyInfo). */
bool witness_key_parse(struct bytes der, EVP_PKEY **out, struct error *err) MUST_USE;

#endif
