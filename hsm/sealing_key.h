/* SPDX-License-Identifier: Apache-2.0 */
/* What is behind `struct sealing_key`. */
#ifndef RESEAL_HSM_SEALING_KEY_H
#define RESEAL_HSM_SEALING_KEY_H

#include "object.h"

#define KEY_ID_MAX 256 /* bytes of CKA_ID that we take */

enum learned {
    LEARNED_NOTHING = 0, /* not tried yet */
    LEARNED_NO,          /* tried: this token and key cannot */
    LEARNED_YES,
};

/* How a job with one padding is done on this token: found out by doing, with a secret of our own.
 */
struct way {
    enum learned token, host, affixes; /* custody token, custody host, text around in the token */
    size_t unwrap_variant;             /* row of the unwrap templates */
    size_t host_variant;               /* row of the host decryptions */
    size_t longest;    /* bytes of password that custody token takes; 0: not tried */
    CK_RV bad_message; /* what the token says to a message that it cannot open */
    char token_call[CK_CALL_TEXT], host_call[CK_CALL_TEXT]; /* what kept it from that custody ... */
    char token_rv[CK_RV_TEXT], host_rv[CK_RV_TEXT];         /* ... by name, or a reason in words */
};

struct sealing_key {
    CK_OBJECT_HANDLE private_half;
    CK_OBJECT_HANDLE public_half; /* CK_INVALID_HANDLE: the token has none */
    char label[129];
    struct buf id;                  /* CKA_ID */
    EVP_PKEY *pkey;                 /* the public numbers */
    size_t modulus_len;             /* bytes */
    EVP_MD *digests[PADDING_COUNT]; /* fetched once; a fetch for each job costs more than hashing */
    struct way ways[PADDING_COUNT];
};

/* A key with these handles; reads id, label and public numbers. */
bool sealing_key_from_handles(struct session *session, CK_OBJECT_HANDLE private_half,
                              CK_OBJECT_HANDLE public_half, struct sealing_key **out,
                              struct error *err) MUST_USE;
/* Takes over what was learned with another handle of the same key on the same token. */
void sealing_key_adopt_ways(struct sealing_key *key, const struct sealing_key *from);

#endif
