/* SPDX-License-Identifier: Apache-2.0 */
/* Every object on a token, as it is now; and a key's attributes, read back again. */
#ifndef RESEAL_INVENTORY_H
#define RESEAL_INVENTORY_H

#include "reseal/ceremony.h"

#define INVENTORY_MAX 1024 /* objects that are looked at */

enum inventory_class {
    INVENTORY_PRIVATE_KEY,
    INVENTORY_PUBLIC_KEY,
    INVENTORY_SECRET_KEY,
    INVENTORY_CERTIFICATE,
    INVENTORY_DATA,
    INVENTORY_OTHER,
};
/* "private key" ... */
const char *inventory_class_name(enum inventory_class class) MUST_USE;

struct inventory_object {
    enum inventory_class class;
    char label[129];
    char id[65];                        /* CKA_ID in hex, cut to 32 bytes */
    char fingerprint[FINGERPRINT_TEXT]; /* of an RSA key that tells its numbers; otherwise empty */
};

/* Token objects only; private ones are seen after a login. FAIL_TOO_LARGE over INVENTORY_MAX. */
bool token_inventory(struct session *session, struct inventory_object **out, size_t *count,
                     struct error *err) MUST_USE; /* free(*out) */

/* Reads the attributes of the pair with that CKA_ID again, as key_generate did. What the token did
 * not take at its birth is not asked for. FAIL_NOT_FOUND where either half is missing. */
bool key_read_again(struct session *session, const char *id, const struct key_plan *plan,
                    struct key_birth *birth, struct error *err) MUST_USE;

#endif
