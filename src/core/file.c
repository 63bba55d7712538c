/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* renameat2 */
#include "reseal/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool fd_write_all(int fd, struct bytes content, struct error *err)
{
    while (content.len > 0) {
        ssize_t put = write(fd, content.data, content.len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return error_errno(err, FAIL_IO, "cannot write");
        content.data += put;
        content.len -= (size_t)put;
    }
    return true;
}

bool fd_read_all(int fd, const char *name, struct buf *out, struct error *err)
{
    uint8_t chunk[16384];
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, FAIL_IO, "cannot read %s", name);
        if (got == 0)
            return buf_check(out, name, err);
        buf_put(out, chunk, (size_t)got);
        if (!buf_check(out, name, err))
            return false;
    }
}

bool file_read(const char *path, struct buf *out, struct error *err)
{
    if (strcmp(path, "-") == 0)
        return fd_read_all(STDIN_FILENO, "standard input", out, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_open(err, path);
    bool ok = fd_read_all(fd, path, out, err);
    close(fd);
    return ok;
}

static bool sync_folder(const char *path, struct error *err)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, FAIL_IO, "cannot open the folder of %s", path);
    bool ok = fsync(fd) == 0;
    if (!ok)
        error_errno(err, FAIL_IO, "cannot sync the folder of %s", path);
    close(fd);
    return ok;
}

static bool move_into_place(const char *from, const char *path, enum file_rule rule,
                            struct error *err)
{
    unsigned flags = rule == FILE_NEW ? RENAME_NOREPLACE : 0;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, path, flags) == 0)
        return true;
    if (errno == EEXIST) {
        error_set(err, FAIL_EXISTS, "%s exists already and is never overwritten", path);
        return error_hint(err, "choose another name, or move the old file away first");
    }
    return error_errno(err, FAIL_IO, "cannot move the new file to %s", path);
}

/* A file that root replaces for a service stays one that the service may read. */
static bool keep_owner(int fd, const char *path, enum file_rule rule, struct error *err)
{
    struct stat old;
    if (rule != FILE_REPLACE || geteuid() != 0 || stat(path, &old) != 0 || !S_ISREG(old.st_mode))
        return true;
    if (fchown(fd, old.st_uid, old.st_gid) == 0)
        return true;
    return error_errno(err, FAIL_IO, "cannot give the new %s to the owner of the old one", path);
}

/* The place of a file that is being made; FAIL_EXISTS where a new one may not be. */
static bool open_temporary(const char *path, mode_t mode, enum file_rule rule,
                           char out[static PATH_MAX], int *fd, struct error *err)
{
    struct stat st;
    if (rule == FILE_NEW && lstat(path, &st) == 0) {
        error_set(err, FAIL_EXISTS, "%s exists already and is never overwritten", path);
        return error_hint(err, "choose another name, or move the old file away first");
    }
    int len = snprintf(out, PATH_MAX, "%s.XXXXXX", path);
    if (len < 0 || len >= PATH_MAX)
        return error_set(err, FAIL_IO, "the path %.64s... is too long", path);
    *fd = mkostemp(out, O_CLOEXEC);
    if (*fd < 0)
        return error_errno(err, FAIL_IO, "cannot create a file beside %s", path);
    if (keep_owner(*fd, path, rule, err)) {
        if (fchmod(*fd, mode) == 0)
            return true;
        error_errno(err, FAIL_IO, "cannot set the mode of %s", out);
    }
    close(*fd);
    unlink(out);
    return false;
}

static bool sync_file(int fd, const char *path, struct error *err)
{
    return fsync(fd) == 0 || error_errno(err, FAIL_IO, "cannot sync %s", path);
}

static bool copy_all(int from, int to, struct error *err)
{
    uint8_t chunk[65536];
    for (;;) {
        ssize_t got = read(from, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, FAIL_IO, "cannot read what is to be copied");
        if (got == 0)
            return true;
        if (!fd_write_all(to, (struct bytes){chunk, (size_t)got}, err))
            return false;
    }
}

bool file_write(const char *path, mode_t mode, enum file_rule rule, struct bytes content,
                struct error *err)
{
    char temporary[PATH_MAX];
    int fd = -1;
    if (!open_temporary(path, mode, rule, temporary, &fd, err))
        return false;
    bool ok = fd_write_all(fd, content, err) && sync_file(fd, temporary, err);
    if (!ok)
        error_context(err, "%s", path);
    ok = ok && move_into_place(temporary, path, rule, err) && sync_folder(path, err);
    if (!ok)
        unlink(temporary);
    close(fd);
    return ok;
}

bool file_copy(int from, const char *path, mode_t mode, file_check *check, struct error *err)
{
    char temporary[PATH_MAX];
    int fd = -1;
    if (!open_temporary(path, mode, FILE_NEW, temporary, &fd, err))
        return false;
    bool ok = copy_all(from, fd, err) && sync_file(fd, temporary, err);
    if (!ok)
        error_context(err, "%s", path);
    ok = ok && check(temporary, err) && move_into_place(temporary, path, FILE_NEW, err) &&
         sync_folder(path, err);
    if (!ok)
        unlink(temporary);
    close(fd);
    return ok;
}
