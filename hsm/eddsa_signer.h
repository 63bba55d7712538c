/* SPDX-License-Identifier: Apache-2.0 */
/* A person's Ed25519 key on a token, by our own calls: libp11 0.4.12 of Debian 12 does not list
 * keys of that type (PKCS#11 v3.1, section 6.3.16; RFC 8032). */
#ifndef RESEAL_HSM_EDDSA_SIGNER_H
#define RESEAL_HSM_EDDSA_SIGNER_H

#include "object.h"
#include "reseal/token_signer.h"

struct eddsa_signer {
    struct session *session;
    CK_OBJECT_HANDLE private_half;
    EVP_PKEY *public_half;
};

/* *found is false where no such key fits the address; more than one is FAIL_POLICY. The session
 * stays the caller's and must outlive the signer. */
bool eddsa_signer_open(struct session *session, const struct signer_address *address,
                       struct eddsa_signer *out, bool *found, struct error *err) MUST_USE;
/* For struct signing_key: `context` is the signer. */
bool eddsa_signer_sign(void *context, struct bytes message, struct buf *out,
                       struct error *err) MUST_USE;
void eddsa_signer_close(struct eddsa_signer *signer);

#endif
