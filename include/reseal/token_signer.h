/* SPDX-License-Identifier: Apache-2.0 */
/* A person's own key on a token (a smart card, a YubiKey's PIV, another HSM), to sign with: RSA and
 * EC keys through OpenSSL, for which libp11 makes an EVP_PKEY of them; Ed25519 by C_Sign. */
#ifndef RESEAL_TOKEN_SIGNER_H
#define RESEAL_TOKEN_SIGNER_H

#include "reseal/signing.h"
#include "reseal/token.h"

struct token_signer;

struct signer_address {
    struct token_address token;
    char label[129]; /* of the key; empty: any */
    char id[65];     /* CKA_ID in hex; empty: any */
};
/* RFC 7512: as token_address_from_uri, with object and id for the key. */
bool signer_address_from_uri(const char *uri, struct signer_address *out,
                             struct error *err) MUST_USE;
/* Loads the module and finds the token, to learn whether it has a PIN pad of its own. */
bool signer_has_pin_pad(const struct token_address *address, bool *out, struct error *err) MUST_USE;

/* `pin` NULL: the token's own pad. More than one key that fits is FAIL_POLICY. */
bool token_signer_open(const struct signer_address *address, const struct secret *pin,
                       struct token_signer **out, struct error *err) MUST_USE;
/* Owned by the signer. */
const struct signing_key *token_signer_key(const struct token_signer *signer) MUST_USE;
void token_signer_close(struct token_signer **signer);

#endif
