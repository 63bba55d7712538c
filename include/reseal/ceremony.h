/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a sealing key on the token, with every attribute read back: the PKCS#11 side of a
 * ceremony.
 */
#ifndef RESEAL_CEREMONY_H
#define RESEAL_CEREMONY_H

#include "reseal/token.h"

#define KEY_ID_LEN 20 /* bytes of CKA_ID, from the token's random generator */

struct key_plan {
    char label[129];
    int bits;             /* 2048, 3072 or 4096 */
    enum custody custody; /* CUSTODY_TOKEN: UNWRAP only, DECRYPT false; CUSTODY_HOST: DECRYPT,
                             UNWRAP false */
};

/* One attribute as wanted and as found: the token's answer in words. */
struct attribute_check {
    char name[48];   /* "CKA_SENSITIVE" */
    char wanted[64]; /* "true", "false", "any" */
    char found[64];  /* "true", "false", "not told (CKR_ATTRIBUTE_TYPE_INVALID)" */
    bool ok;
};
#define ATTRIBUTE_CHECKS_MAX 32

struct key_birth {
    char id[2 * KEY_ID_LEN + 1]; /* CKA_ID in hex */
    char mechanism[64];          /* name of the generation mechanism */
    size_t check_count;
    struct attribute_check checks[ATTRIBUTE_CHECKS_MAX];
    bool accepted; /* every check ok; otherwise the pair was destroyed */
};

/* FAIL_EXISTS where an object of the label is on the token, private, public, certificate or secret.
 */
bool key_label_free(struct session *session, const char *label, struct error *err) MUST_USE;

/*
 * Generates the pair (C_GenerateKeyPair, CKM_RSA_PKCS_KEY_PAIR_GEN, exponent 65537), reads every
 * attribute back and destroys both halves on a mismatch. A mismatch is a false return with
 * FAIL_POLICY and `birth` filled.
 */
bool key_generate(struct session *session, const struct key_plan *plan, struct key_birth *birth,
                  struct sealing_key **out, struct error *err) MUST_USE;

/* Tries to read CKA_PRIVATE_EXPONENT and the primes; true when the token refuses, with its CK_RV by
 * name. */
bool key_is_unreadable(struct session *session, const struct sealing_key *key,
                       char ck_rv[static CK_RV_TEXT], struct error *err) MUST_USE;

/* The public half as the token has it, for the caller to free by EVP_PKEY_free. */
bool sealing_key_public(struct session *session, const struct sealing_key *key, EVP_PKEY **out,
                        struct error *err) MUST_USE;

/* Destroys both halves. */
bool key_destroy(struct session *session, const struct sealing_key *key,
                 struct error *err) MUST_USE;

#endif
