/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a file has changed since it was looked at last. */
#ifndef RESEAL_HUB_WATCHED_FILE_H
#define RESEAL_HUB_WATCHED_FILE_H

#include <stdbool.h>
#include <sys/stat.h>
#include "reseal/error.h"

struct watched_file {
    const char *path; /* owned by the caller; NULL: never changes */
    bool there;
    struct stat seen;
};

/* Looks, and says whether something is other than the last time; true the first time. */
bool watched_file_changed(struct watched_file *file) MUST_USE;

#endif
