/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/custody.h"

#include <string.h>

static const char *const names[] = {
    [CUSTODY_UNUSABLE] = "unusable",
    [CUSTODY_HOST] = "host",
    [CUSTODY_TOKEN] = "token",
};

const char *custody_name(enum custody custody)
{
    return (size_t)custody < ARRAY_LEN(names) ? names[custody] : "unknown";
}

bool custody_parse(const char *name, enum custody *out)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum custody)i;
            return true;
        }
    }
    return false;
}
