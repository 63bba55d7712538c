/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may come in: the access keys of the queue and the tokens of the API. Both are files that are
 * read again when they change, so that keys are added and taken away while the hub runs; a file
 * that cannot be used leaves everything as it was.
 *
 * Of the tokens only their SHA-256 is held, and the file may give no more than that ("sha256:HEX"):
 * a token is long and random, so its digest gives nothing away. Access keys cannot be kept so:
 * whoever verifies a signature needs the key that made it. They may be encrypted at rest
 * (key_wrap.h).
 *
 * Belongs to the server thread.
 */
#ifndef RESEAL_HUB_HUB_KEYS_H
#define RESEAL_HUB_HUB_KEYS_H

#include "reseal/config.h"
#include "reseal/credentials.h"

enum token_kind {
    TOKEN_API,      /* hub.api_token: records and deliveries */
    TOKEN_ROTATION, /* hub.rotation_token: reads and replaces sealed passwords; may be none */
};
#define TOKEN_KINDS 2

struct hub_keys;

bool hub_keys_open(const struct config *config, struct hub_keys **out, struct error *err) MUST_USE;
void hub_keys_close(struct hub_keys **keys);
const struct credentials *hub_keys_credentials(const struct hub_keys *keys) MUST_USE;
/* Constant in time for all tokens of one length. */
bool hub_keys_token_good(const struct hub_keys *keys, enum token_kind kind,
                         const char *token) MUST_USE;
bool hub_keys_has_tokens(const struct hub_keys *keys, enum token_kind kind) MUST_USE;
enum renewal {
    RENEW_AT_TIMES, /* look at the files where nobody has for a moment */
    RENEW_LOOK,     /* look at them: somebody came with a key that is not known */
    RENEW_READ,     /* read them, changed or not */
};
/* Reads the files that have changed. True where the access keys are others: what was got from the
 * old ones is void. */
bool hub_keys_renew(struct hub_keys *keys, enum renewal how) MUST_USE;

#endif
