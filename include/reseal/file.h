/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files, read under a ceiling and written so that a reader sees the old or the new, never
 * half. */
#ifndef RESEAL_FILE_H
#define RESEAL_FILE_H

#include <sys/types.h>
#include "reseal/buf.h"

/* Appends the file's content. Over `out`'s ceiling: FAIL_TOO_LARGE. "-" reads standard input. */
bool file_read(const char *path, struct buf *out, struct error *err) MUST_USE;

enum file_rule {
    FILE_REPLACE, /* put in the place of what is there */
    FILE_NEW,     /* FAIL_EXISTS if the path exists */
};
/* Writes a temporary file beside `path`, syncs it, moves it into place and syncs the directory.
 * What root replaces keeps its owner. */
bool file_write(const char *path, mode_t mode, enum file_rule rule, struct bytes content,
                struct error *err) MUST_USE;

/* Looks at a finished file before it gets its name; false, with `err` filled, where it is no good.
 */
typedef bool file_check(const char *temporary, struct error *err);
/* The same for content that comes from a descriptor and may be larger than memory; a new file. */
bool file_copy(int from, const char *path, mode_t mode, file_check *check,
               struct error *err) MUST_USE;

/* Writes everything to a descriptor, through interruptions and short writes. */
/* Reads to the end; `name` is what errors call it. */
bool fd_read_all(int fd, const char *name, struct buf *out, struct error *err) MUST_USE;
bool fd_write_all(int fd, struct bytes content, struct error *err) MUST_USE;

#endif
