/* SPDX-License-Identifier: Apache-2.0 */
/* What the attributes of a sealing key must be, by its plan: for reading back what was made, and
 * for judging a record of that years later, without the token. */
#ifndef RESEAL_HSM_KEY_PROMISE_H
#define RESEAL_HSM_KEY_PROMISE_H

#include "object.h"
#include "reseal/ceremony.h"

/* The words that a record uses besides "true", "false" and "any". */
#define FOUND_NOT_TOLD    "not told"
#define FOUND_NOT_TAKEN   "not taken"
#define FOUND_LEFT_OUT    "left out"
#define FOUND_AS_PLANNED  "as planned"
#define FOUND_TEMPLATE    "set"
#define WANTED_TEMPLATE   "CKA_SENSITIVE true"
#define WANTED_GENERATION "CKM_RSA_PKCS_KEY_PAIR_GEN"

enum key_half {
    HALF_PRIVATE,
    HALF_PUBLIC,
};

enum promised_value {
    WANT_TRUE,
    WANT_FALSE,
    WANT_FOR_TOKEN, /* true in a key for custody token, false in one for custody host */
    WANT_FOR_HOST,
    WANT_IF_WRAPPED,  /* true in a key that can be wrapped for another token */
    WANT_IF_TRUSTED,  /* true in one that only trusted keys may wrap; not asked for otherwise */
    WANT_IF_AT_HOME,  /* true in a key that was made on this token */
    WANT_IF_CONFINED, /* true in one that was made here and was never to be wrapped */
    WANT_ANY,
};

struct promised_flag {
    const char *name; /* in the record */
    CK_ATTRIBUTE_TYPE type;
    enum key_half half;
    enum promised_value want;
    bool must_tell; /* an answer is needed; otherwise "not told" is good enough */
};

/* The flags in their order; NULL after the last. */
const struct promised_flag *promised_flag_at(size_t index) MUST_USE;
/* "true", "false", "any"; NULL where the plan does not ask for it. */
const char *promised_flag_wanted(const struct promised_flag *flag,
                                 const struct key_plan *plan) MUST_USE;
/* What is recorded where the tokens of that maker give an answer that is known to mean nothing, or
 * NULL. */
const char *promised_flag_mute(const struct promised_flag *flag, const char *manufacturer) MUST_USE;

/* What the sealing key may be used for, in CKA_ALLOWED_MECHANISMS. */
size_t key_allowed_mechanisms(enum custody custody, CK_MECHANISM_TYPE out[static 2]) MUST_USE;

#endif
