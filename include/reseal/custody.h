/* SPDX-License-Identifier: Apache-2.0 */
/* Where the password existed in clear while it was resealed. */
#ifndef RESEAL_CUSTODY_H
#define RESEAL_CUSTODY_H

#include <stdbool.h>
#include "reseal/compiler.h"

enum custody {
    CUSTODY_UNUSABLE = 0, /* the token cannot do it at all */
    CUSTODY_HOST = 1,     /* in locked memory of the token helper, for microseconds */
    CUSTODY_TOKEN = 2,    /* only inside the token */
};

/* "unusable", "host", "token". */
const char *custody_name(enum custody custody) MUST_USE;
bool custody_parse(const char *name, enum custody *out) MUST_USE;

#endif
