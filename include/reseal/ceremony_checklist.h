/* SPDX-License-Identifier: Apache-2.0 */
/* A ceremony on paper: what will happen, in plain words, with columns for initials and time. */
#ifndef RESEAL_CEREMONY_CHECKLIST_H
#define RESEAL_CEREMONY_CHECKLIST_H

#include <stdio.h>
#include "reseal/ceremony_plan.h"

struct checklist_facts {
    const struct ceremony_plan *plan;
    const struct token_facts *token; /* as it was found; NULL: it was not looked at */
};

enum checklist_form {
    CHECKLIST_MARKDOWN,
    CHECKLIST_HTML, /* for the printer: one file, no script, page breaks between the parts */
};

/* What will happen, step by step. */
void ceremony_narrate(const struct checklist_facts *facts, FILE *out);
/* Appends the whole checklist with its exceptions log. */
void ceremony_checklist(const struct checklist_facts *facts, enum checklist_form form,
                        struct buf *out);

#endif
