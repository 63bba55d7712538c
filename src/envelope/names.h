/* SPDX-License-Identifier: Apache-2.0 */
/* Enumerations by name: one table each, read in both directions. */
#ifndef RESEAL_ENVELOPE_NAMES_H
#define RESEAL_ENVELOPE_NAMES_H

#include <stddef.h>
#include "reseal/error.h"

struct name_row {
    int value;
    const char *name;
};

/* FAIL_INPUT with `what` where no row has the name. */
bool name_lookup(const struct name_row *rows, size_t count, const char *name, const char *what,
                 int *out, struct error *err) MUST_USE;
/* "unknown" where no row has the value. */
const char *name_of(const struct name_row *rows, size_t count, int value) MUST_USE;
/* Copies a text that must fit, have no control characters and, with `least` 1, not be empty. */
bool text_field(char *out, size_t size, size_t least, const char *text, const char *what,
                struct error *err) MUST_USE;

#endif
