/* SPDX-License-Identifier: Apache-2.0 */
#include "watched_file.h"

#include <stddef.h>

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* A file that is replaced is another one; one that is written to in place, perhaps to the same
 * length and within the grain of its times, at least shows the change of its status. */
static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
           same_time(&a->st_mtim, &b->st_mtim) && same_time(&a->st_ctim, &b->st_ctim);
}

bool watched_file_changed(struct watched_file *file)
{
    struct stat now;
    if (file->path == NULL)
        return false;
    bool there = stat(file->path, &now) == 0;
    bool changed = there != file->there || (there && !same(&now, &file->seen));
    file->there = there;
    if (there)
        file->seen = now;
    return changed;
}
