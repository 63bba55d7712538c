/* SPDX-License-Identifier: Apache-2.0 */
/* Making a token of an empty slot, or anew of an old one (PKCS#11 v3.1, section 5.5). */
#ifndef RESEAL_TOKEN_INIT_H
#define RESEAL_TOKEN_INIT_H

#include "reseal/token.h"

/* Which slot: the first that is initialised by nobody yet, one by number, or the token of a serial.
 */
struct token_place {
    bool by_slot;
    unsigned long slot;
    const char *serial; /* NULL: not by serial */
};

/* What is in the slot now: whoever confirms must see what is lost. */
struct token_before {
    struct token_facts facts;
    bool initialized; /* there is a token, and all that is on it will be destroyed */
    bool pin_pad;
};

/* Looks, and changes nothing. */
bool token_init_look(const struct token_address *address, const struct token_place *place,
                     struct token_before *out, struct error *err) MUST_USE;

/*
 * C_InitToken with the SO PIN and address->label, then, as the SO, C_InitPIN with the user PIN. A
 * token that is initialised already wants its own SO PIN, tried once. `expected` is what
 * token_init_look has shown: if the slot holds something else by now, nothing is done. *out tells
 * the new token; its serial and slot may be others than before.
 */
bool token_init(const struct token_address *address, const struct token_before *expected,
                const struct secret *so_pin, const struct secret *pin, struct token_facts *out,
                struct error *err) MUST_USE;

#endif
