/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding a ceremony: its steps in order, each told on standard error, done, and recorded. What
 * changes the token or makes a file is announced in the record first, so that a ceremony that was
 * cut off at any moment is gone on with, or undone, by the next run of the same plan.
 */
#ifndef RESEAL_CEREMONY_RUN_H
#define RESEAL_CEREMONY_RUN_H

#include <stdio.h>
#include "reseal/error.h"

struct ceremony;
struct json_writer;

struct ceremony_options {
    const char *plan;    /* path */
    const char *pin;     /* a secret's source, instead of the plan's; NULL: the plan's */
    const char *softhsm; /* SoftHSM's module, for a rehearsal; NULL: where it usually is */
    bool confirmed;      /* --yes: nobody is asked; refused where the plan does not allow it */
    bool rehearse;       /* on a throw-away token, with throw-away outputs */
    bool dry_run;        /* look at the token and try what it can do, and leave nothing */
    bool look_only;      /* check plan and token without a login, and do nothing */
    bool offline;        /* with look_only: the token is not at hand */
    bool abandon;        /* undo what an unfinished ceremony has left, and close it as failed */
};

/* Runs the ceremony as far as it goes. *out is filled as far as it came, also on failure, and is
 * ended by ceremony_end. */
bool ceremony_run(const struct ceremony_options *options, struct ceremony **out,
                  struct error *err) MUST_USE;
void ceremony_end(struct ceremony **ceremony);

/* With look_only: what was found, for ceremony_checklist; valid as long as the ceremony. */
struct checklist_facts;
void ceremony_facts_for(const struct ceremony *ceremony, struct checklist_facts *out);

/* True where a thing that was not found is the module or the token, and not the plan or the PIN's
 * file, which are read before. */
bool ceremony_sought_token(const struct ceremony *ceremony) MUST_USE;
/* True once the plan was read. */
bool ceremony_has_plan(const struct ceremony *ceremony) MUST_USE;
/* What came out, for people, on standard error; and the lines of a configuration that uses the key.
 */
void ceremony_print_result(const struct ceremony *ceremony, FILE *talk, FILE *data);
/* The same as members of an open object. */
void ceremony_write_result(const struct ceremony *ceremony, struct json_writer *json);

#endif
