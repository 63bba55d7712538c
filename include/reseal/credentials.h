/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access keys for the queue, in the AWS shared credentials format:
 *
 *     [default]
 *     aws_access_key_id = AKEXAMPLE
 *     aws_secret_access_key = ...
 *
 * The file must not be readable by every user. The secret halves live in the secure heap.
 *
 * The hub's own file may say more of each key: `rights` (access.h), and instead of the secret half
 * `aws_secret_access_key_wrapped`, the same encrypted under a key that is kept elsewhere
 * (key_wrap.h).
 */
#ifndef RESEAL_CREDENTIALS_H
#define RESEAL_CREDENTIALS_H

#include "reseal/secret.h"

#define CREDENTIALS_MAX       64
#define CREDENTIAL_RIGHTS_MAX 512

struct credential {
    char profile[64];
    char access_key_id[129];
    struct secret *secret_access_key;
    char rights[CREDENTIAL_RIGHTS_MAX]; /* the `rights` lines of the section, for the hub alone */
    bool wrapped;                       /* the file has the secret half encrypted */
};

struct credentials;

bool credentials_load(const char *path, struct credentials **out, struct error *err) MUST_USE;
/* The hub's file: every key of a section must be known, as a right that is misspelt would otherwise
 * be none, and the key without one may do everything. `wrap` is the key of key_wrap.h or NULL. */
bool credentials_load_hub(const char *path, const struct secret *wrap, struct credentials **out,
                          struct error *err) MUST_USE;
void credentials_free(struct credentials **credentials);
/* NULL where there is none. Owned by `all`. */
const struct credential *credentials_by_profile(const struct credentials *all,
                                                const char *profile) MUST_USE;
const struct credential *credentials_by_access_key(const struct credentials *all,
                                                   const char *id) MUST_USE;

size_t credentials_count(const struct credentials *all) MUST_USE;
const struct credential *credentials_at(const struct credentials *all, size_t index) MUST_USE;

#endif
