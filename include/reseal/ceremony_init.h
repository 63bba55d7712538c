/* SPDX-License-Identifier: Apache-2.0 */
/* Initialising the token of a plan: a step of its own, with a confirmation and a record of its own,
 * because everything that was on the token is lost. */
#ifndef RESEAL_CEREMONY_INIT_H
#define RESEAL_CEREMONY_INIT_H

#include "reseal/ceremony_plan.h"
#include "reseal/token_init.h"

struct init_options {
    const char *plan;   /* path; module and label are taken from it */
    const char *so_pin; /* a secret's source; NULL: prompt */
    const char *pin;    /* the same for the user PIN that is set */
    struct token_place place;
    bool confirmed; /* --yes: only for a token that is not initialised yet, where the plan allows */
};

struct init_result {
    struct token_facts before, after;
    bool was_initialized;
    char record[1024]; /* path of the record: that of the plan's transcript with ".init" behind */
};

bool ceremony_init(const struct init_options *options, struct init_result *out,
                   struct error *err) MUST_USE;

#endif
