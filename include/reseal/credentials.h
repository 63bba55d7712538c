/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access keys for the queue, in the AWS shared credentials format:
 *
 *     [default]
 *     aws_access_key_id = AKEXAMPLE
 *     aws_secret_access_key = ...
 *
 * The file must not be readable by every user. The secret halves live in the secure heap.
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
};

struct credentials;

bool credentials_load(const char *path, struct credentials **out, struct error *err) MUST_USE;
void credentials_free(struct credentials **credentials);
/* NULL where there is none. Owned by `all`. */
const struct credential *credentials_by_profile(const struct credentials *all,
                                                const char *profile) MUST_USE;
const struct credential *credentials_by_access_key(const struct credentials *all,
                                                   const char *id) MUST_USE;

#endif
