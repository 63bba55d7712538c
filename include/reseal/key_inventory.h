/* SPDX-License-Identifier: Apache-2.0 */
/* What is on a token against what the records of its ceremonies say. */
#ifndef RESEAL_KEY_INVENTORY_H
#define RESEAL_KEY_INVENTORY_H

#include "reseal/inventory.h"
#include "reseal/transcript_read.h"

enum inventory_judgement {
    INVENTORY_KNOWN,   /* as a transcript says */
    INVENTORY_UNKNOWN, /* no transcript tells of it */
    INVENTORY_ALTERED, /* it is not as a transcript says, or should not be there any more */
    INVENTORY_MISSING, /* a transcript tells of it, and it is not there */
};
/* "known", "unknown", "altered", "missing". */
const char *inventory_judgement_name(enum inventory_judgement judgement) MUST_USE;

struct inventory_entry {
    enum inventory_judgement judgement;
    struct inventory_object object; /* of a missing one: as the transcript tells it */
    const char *transcript;         /* path; NULL where none tells of it */
    enum ceremony_state state;      /* of the key by that transcript */
    char reason[320];               /* what is wrong; empty: nothing */
};

/* Looks at all objects of the token (private ones: after a login) and at every transcript of it;
 * those of other tokens are passed over. `paths` outlive the entries. */
bool key_inventory(struct session *session, const struct token_facts *token,
                   const char *const *paths, size_t path_count, struct inventory_entry **out,
                   size_t *count, struct error *err) MUST_USE; /* free(*out) */

#endif
