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

/* Rows of the tables of variants that a job is done with (custody.h). */
struct variants {
    size_t unwrap; /* templates of the unwrapped password */
    size_t point;  /* encodings of an EC device's public point */
    size_t host;   /* decryptions in custody host */
};

/* Whether custody token can make one form of message, and what kept it from that. */
struct form_way {
    enum learned token;
    char call[CK_CALL_TEXT];
    char rv[CK_RV_TEXT]; /* by name, or a reason in words */
};

/* How a job with one padding is done on this token: found out by doing, with a secret of our own.
 */
struct way {
    struct form_way forms[CMS_FORM_COUNT];
    enum learned host;
    struct variants variants;
    bool unwrap_known;  /* variants.unwrap has worked */
    bool affixes_known; /* `affixes` was tried */
    size_t affixes;     /* bytes of text around the password that custody token takes */
    size_t longest;     /* bytes of password that custody token takes; 0: not tried */
    CK_RV bad_message[CUSTODY_TOKEN + 1]; /* what the token says, in each custody, to a message that
                                             it cannot open; CKR_OK: nothing that needs care */
    char host_call[CK_CALL_TEXT], host_rv[CK_RV_TEXT]; /* what kept it from custody host */
};

/* How passwords go from one sealing key to another with these paddings: rotation.c. */
struct rotation_way {
    enum learned token, host;
    size_t unwrap; /* row of the table of templates that works in custody token */
    char call[CK_CALL_TEXT], rv[CK_RV_TEXT];           /* what kept it from custody token */
    char host_call[CK_CALL_TEXT], host_rv[CK_RV_TEXT]; /* ... and from custody host */
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
    EVP_PKEY *rotation_target; /* the key that `rotations` are about; NULL: none was tried */
    struct rotation_way rotations[PADDING_COUNT][PADDING_COUNT]; /* by old and new padding */
};

/* A key with these handles; reads id, label and public numbers. */
bool sealing_key_from_handles(struct session *session, CK_OBJECT_HANDLE private_half,
                              CK_OBJECT_HANDLE public_half, struct sealing_key **out,
                              struct error *err) MUST_USE;
/* Takes over what was learned with another handle of the same key on the same token. */
void sealing_key_adopt_ways(struct sealing_key *key, const struct sealing_key *from);

#endif
