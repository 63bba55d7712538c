/* SPDX-License-Identifier: Apache-2.0 */
/* Reading back what a new key pair really is. */
#ifndef RESEAL_HSM_KEY_CHECK_H
#define RESEAL_HSM_KEY_CHECK_H

#include "object.h"
#include "reseal/ceremony.h"

struct key_pair {
    CK_OBJECT_HANDLE private_half, public_half;
};

/* Attributes that a token may refuse to take; the key is good without them, and better with. */
enum key_option {
    OPTION_MODIFIABLE = 1, /* CKA_MODIFIABLE false */
    OPTION_DERIVE = 2,     /* CKA_DERIVE false */
    OPTION_UNWRAP_TEMPLATE = 4,
    OPTION_ALLOWED_MECHANISMS = 8,
};
#define OPTION_COUNT 4
#define OPTIONS_ALL  15u

/* What became of the options: which were taken, and why the others were not. */
struct key_options {
    unsigned taken;
    unsigned given_up;           /* taken by the token, but without effect or with a wrong one */
    CK_RV refused[OPTION_COUNT]; /* by bit number */
};

/* Values that a template only points to. */
struct option_values {
    CK_MECHANISM_TYPE allowed[2];
    struct template unwrap;
};
/* -- key_generate.c: what a planned key is asked to be -- */
/* The public half, without its numbers. */
void key_fill_public(const struct key_plan *plan, struct bytes id, struct template *out);
void key_fill_private(const struct key_plan *plan, struct bytes id, unsigned options,
                      struct option_values *values, struct template *out);
/* Options that this token is known not to honour. */
unsigned key_known_dishonoured(const struct session *session) MUST_USE;
/* *out: the key does what it is planned for, with any padding. */
bool key_works(struct session *session, struct sealing_key *key, enum custody custody, bool *out,
               struct error *err) MUST_USE;

/* Reads every attribute and fills birth->checks and birth->accepted. False only where the token
 * does not let them be read at all. */
bool key_check(struct session *session, const struct key_pair *pair, const struct key_plan *plan,
               struct bytes id, const struct key_options *options, struct key_birth *birth,
               struct error *err) MUST_USE;

/* True where CKA_UNWRAP_TEMPLATE comes back as a template. */
bool key_keeps_unwrap_template(struct session *session, const struct key_pair *pair) MUST_USE;

#endif
