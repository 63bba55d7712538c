/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a password is sealed: RSA-OAEP (RFC 8017, section 7.1) with an empty label and the MGF1 hash
 * equal to the OAEP hash. The names and numbers are those of Graph's userPfxPaddingScheme; pkcs1
 * and oaepSha1 are refused everywhere.
 */
#ifndef RESEAL_PADDING_H
#define RESEAL_PADDING_H

#include <stddef.h>
#include "reseal/error.h"

enum padding {
    OAEP_SHA256 = 3,
    OAEP_SHA384 = 4,
    OAEP_SHA512 = 5,
};
#define PADDING_FIRST OAEP_SHA256
#define PADDING_LAST  OAEP_SHA512
#define PADDING_COUNT 3

/* Reads "oaepSha256" and so on; "none" means oaepSha512, as in Graph. pkcs1 and oaepSha1 are
 * FAIL_POLICY, anything else FAIL_INPUT. */
bool padding_parse(const char *name, enum padding *out, struct error *err) MUST_USE;
/* True for the three numbers above. */
bool padding_valid(int number) MUST_USE;
const char *padding_name(enum padding padding) MUST_USE;
/* Name of the hash for OpenSSL: "SHA256" ... */
const char *padding_hash(enum padding padding) MUST_USE;
/* Length of the hash in bytes. */
size_t padding_hash_len(enum padding padding) MUST_USE;
/* Longest password, in bytes, that a key of `bits` takes: modulus length - 2 * hash length - 2. */
size_t padding_room(enum padding padding, int bits) MUST_USE;

#endif
