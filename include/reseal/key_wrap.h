/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets at rest, encrypted under a key that is kept elsewhere: AES-256-GCM (NIST SP 800-38D) with
 * a key made by HKDF-SHA-256 (RFC 5869) from whatever a secret source gives, bound to a name, so
 * that one secret cannot be put into the place of another.
 *
 *     v1:BASE64(nonce of 12 bytes, ciphertext, tag of 16 bytes)
 */
#ifndef RESEAL_KEY_WRAP_H
#define RESEAL_KEY_WRAP_H

#include "reseal/secret.h"

#define KEY_WRAP_LEAST 16 /* bytes of the wrapping secret: a shorter one could be guessed */
#define KEY_WRAP_MOST  1024
#define KEY_WRAP_PLAIN 128 /* bytes that can be wrapped */

/* Reads the wrapping secret from its source. */
bool key_wrap_read(const char *source, struct secret **out, struct error *err) MUST_USE;
/* Appends the wrapped form to `out`. */
bool key_wrap(const struct secret *wrap, const char *name, const struct secret *secret,
              struct buf *out, struct error *err) MUST_USE;
/* FAIL_POLICY where it is not that name's, or was wrapped under another key. */
bool key_unwrap(const struct secret *wrap, const char *name, const char *wrapped,
                struct secret **out, struct error *err) MUST_USE;

#endif
