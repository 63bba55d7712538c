/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub's file of access keys as text: sections are added, taken out and rewritten, everything
 * else (comments, order) stays as it is. The file is replaced as a whole and keeps owner and mode,
 * so a running hub sees the old or the new.
 */
#ifndef RESEAL_CLI_ACCESS_FILE_H
#define RESEAL_CLI_ACCESS_FILE_H

#include <sys/types.h>
#include "reseal/config.h"
#include "reseal/credentials.h"

struct access_file {
    const char *path;
    struct secret *wrap;     /* NULL: secret halves are kept in clear */
    struct credentials *all; /* NULL: there is no file yet */
    struct buf text;
    mode_t mode;
};

/* Reads hub.credentials of the configuration. `from` is the source of the key that it is wrapped
 * under now, NULL for hub.access_key_wrap. Close it also after a failure. */
bool access_file_open(const struct config *config, const char *from, struct access_file *file,
                      struct error *err) MUST_USE;
void access_file_close(struct access_file *file);

/* Appends a section. */
bool access_file_add(struct access_file *file, const struct credential *credential,
                     struct error *err) MUST_USE;
/* Takes a section out. FAIL_NOT_FOUND where there is none; FAIL_POLICY for the last one, which a
 * hub would not take. */
bool access_file_remove(struct access_file *file, const char *name, struct error *err) MUST_USE;
/* Wraps every secret half under hub.access_key_wrap; *count: how many were not before. */
bool access_file_wrap(struct access_file *file, size_t *count, struct error *err) MUST_USE;
/* Writes the text into the place of the file. */
bool access_file_save(const struct access_file *file, struct error *err) MUST_USE;

/* A profile in the AWS shared credentials format, as a client reads it. */
void access_profile_put(struct buf *out, const char *profile, const struct credential *credential);

#endif
