/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a sealing key on the token, with every attribute read back: the PKCS#11 side of a
 * ceremony.
 */
#ifndef RESEAL_CEREMONY_H
#define RESEAL_CEREMONY_H

#include "reseal/token.h"

#define KEY_ID_LEN  20 /* bytes of CKA_ID, from the token's random generator */
#define KEY_ID_TEXT (2 * KEY_ID_LEN + 1)

/* Whether the key can be wrapped for another token (reseal/key_transport.h). */
enum key_wrapping {
    KEY_WRAPPED_NEVER,      /* CKA_EXTRACTABLE false from its birth */
    KEY_WRAPPED_UNTIL_SHUT, /* by whoever is logged in, until key_shut; then never again */
    KEY_WRAPPED_BY_TRUSTED, /* CKA_WRAP_WITH_TRUSTED: under a key of the SO's only, until key_shut
                             */
};

/* "never", "until-shut", "trusted". */
const char *key_wrapping_name(enum key_wrapping wrapping) MUST_USE;
bool key_wrapping_parse(const char *name, enum key_wrapping *out) MUST_USE;

struct key_plan {
    char label[129];
    int bits;             /* 2048, 3072 or 4096 */
    enum custody custody; /* CUSTODY_TOKEN: UNWRAP only, DECRYPT false; CUSTODY_HOST: DECRYPT,
                             UNWRAP false */
    enum key_wrapping wrapping;
    bool replica; /* not made on this token, but brought to it */
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
    char id[KEY_ID_TEXT]; /* CKA_ID in hex */
    char mechanism[64];   /* name of the generation mechanism */
    size_t check_count;
    struct attribute_check checks[ATTRIBUTE_CHECKS_MAX];
    bool accepted; /* every check ok; otherwise the pair was destroyed */
};

/*
 * What a read-back must tell of a key of that plan, for judging a record of it without the token:
 * the names in their order, NULL after the last; and whether one attribute, as recorded, keeps the
 * promise (`check->ok`, the recorder's own judgement, is not looked at). `manufacturer` is the
 * token's.
 */
const char *key_promise_name(const struct key_plan *plan, size_t index) MUST_USE;
bool key_promise_kept(const struct key_plan *plan, const char *manufacturer,
                      const struct attribute_check *check) MUST_USE;

/* FAIL_EXISTS where an object of the label is on the token, private, public, certificate or secret.
 */
bool key_label_free(struct session *session, const char *label, struct error *err) MUST_USE;

/* A random CKA_ID that is not in use on the token, in hex: chosen before the key is made, so that
 * it can be written down before. */
bool key_id_choose(struct session *session, char id[static KEY_ID_TEXT],
                   struct error *err) MUST_USE;

/*
 * Generates the pair (C_GenerateKeyPair, CKM_RSA_PKCS_KEY_PAIR_GEN, exponent 65537), reads every
 * attribute back and destroys both halves on a mismatch. A mismatch is a false return with
 * FAIL_POLICY and `birth` filled.
 */
bool key_generate(struct session *session, const struct key_plan *plan, struct key_birth *birth,
                  struct sealing_key **out, struct error *err) MUST_USE;
/* The same with a CKA_ID of key_id_choose. */
bool key_generate_as(struct session *session, const struct key_plan *plan, const char *id,
                     struct key_birth *birth, struct sealing_key **out, struct error *err) MUST_USE;

/* What is on the token under a CKA_ID: after a ceremony was cut off while the key was made. */
struct key_remains {
    size_t private_keys, public_keys, others;
};
bool key_remains_find(struct session *session, const char *id, struct key_remains *out,
                      struct error *err) MUST_USE;
/* Destroys every private and public key with that CKA_ID; FAIL_POLICY, and nothing destroyed, where
 * one of them has another label than `label`. */
bool key_remains_destroy(struct session *session, const char *id, const char *label,
                         struct error *err) MUST_USE;

/*
 * Tries the direction of custody that the key was not made for, with a sealed secret of our own: a
 * key for custody token is asked to decrypt, a key for custody host to unwrap. *refused tells the
 * outcome; `call` and `ck_rv` what the token refused, and how.
 */
bool key_try_other_custody(struct session *session, struct sealing_key *key, enum custody made_for,
                           enum padding padding, bool *refused, char call[static CK_CALL_TEXT],
                           char ck_rv[static CK_RV_TEXT], struct error *err) MUST_USE;
/* Unwraps a secret of our own with the key, as for a job in custody token, and tries to read its
 * CKA_VALUE: true when the token refuses, with its CK_RV by name. Only where custody token works
 * with that padding. */
bool key_secret_is_unreadable(struct session *session, struct sealing_key *key,
                              enum padding padding, char ck_rv[static CK_RV_TEXT],
                              struct error *err) MUST_USE;

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
