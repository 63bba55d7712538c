/* SPDX-License-Identifier: Apache-2.0 */
/* PKCS#12 files (RFC 7292): opening with the password and the facts a record needs. */
#ifndef RESEAL_PFX_H
#define RESEAL_PFX_H

#include "reseal/buf.h"
#include "reseal/record.h"
#include "reseal/secret.h"

#define PFX_PASSWORD_MAX 1024 /* bytes of UTF-8; the sealing key sets the real bound */

struct pfx_facts {
    char thumbprint[RECORD_THUMBPRINT]; /* of the certificate that belongs to the key */
    int64_t not_before_ms, not_after_ms;
    char subject[256]; /* RFC 2253, UTF-8 */
    char key_type[16]; /* "RSA", "EC" ... */
    int key_bits;
    bool legacy; /* needs RC2 or other algorithms of OpenSSL's legacy provider */
};

/*
 * Opens the PFX. Each of these has its own error: no PFX at all (FAIL_INPUT), wrong password
 * (FAIL_CRYPTO, "the password does not open"), no private key (FAIL_INPUT), no certificate that
 * belongs to the key. Legacy files (3DES, RC2-40) are opened too.
 */
bool pfx_open(struct bytes pfx, const struct secret *password, struct pfx_facts *out,
              struct error *err) MUST_USE;

#endif
