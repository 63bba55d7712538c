/* SPDX-License-Identifier: Apache-2.0 */
#include "store_backup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_PAGES 256 /* 1 MiB: a millisecond or two */

struct store_backup {
    sqlite3 *copy;
    sqlite3_backup *backup;
    char *path;
    bool whole;
};

static bool copy_failed(struct store_backup **backup, int status, struct error *err)
{
    error_set(err, FAIL_IO, "the copy of the database cannot be written: %s",
              sqlite3_errstr(status));
    if (status == SQLITE_FULL)
        error_hint(err, "a backup needs as much room beside the database as that has");
    store_backup_free(backup);
    return false;
}

/* The file is made here, so that its mode does not depend on anybody's umask. */
static bool make_file(const char *path, struct error *err)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, FAIL_IO, "cannot create %s", path);
    close(fd);
    return true;
}

bool store_backup_begin(sqlite3 *source, const char *path, struct store_backup **out,
                        struct error *err)
{
    /* Who makes a whole copy syncs and checks it; half of one is of no use. */
    static const char careless[] =
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2048";
    *out = NULL;
    struct store_backup *backup = calloc(1, sizeof *backup);
    if (backup == NULL || (backup->path = strdup(path)) == NULL) {
        free(backup);
        return error_memory(err);
    }
    if (!make_file(path, err)) {
        free(backup->path);
        free(backup);
        return false;
    }
    int status =
        sqlite3_open_v2(path, &backup->copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (status == SQLITE_OK)
        status = sqlite3_exec(backup->copy, careless, NULL, NULL, NULL);
    if (status != SQLITE_OK)
        return copy_failed(&backup, status, err);
    backup->backup = sqlite3_backup_init(backup->copy, "main", source, "main");
    if (backup->backup == NULL)
        return copy_failed(&backup, sqlite3_errcode(backup->copy), err);
    *out = backup;
    return true;
}

bool store_backup_step(struct store_backup **backup, bool *done, struct error *err)
{
    struct store_backup *now = *backup;
    *done = false;
    int status = sqlite3_backup_step(now->backup, STEP_PAGES);
    if (status == SQLITE_OK)
        return true;
    if (status != SQLITE_DONE)
        return copy_failed(backup, status, err);
    status = sqlite3_backup_finish(now->backup);
    now->backup = NULL;
    if (status != SQLITE_OK)
        return copy_failed(backup, status, err);
    now->whole = *done = true;
    store_backup_free(backup);
    return true;
}

void store_backup_free(struct store_backup **backup)
{
    if (backup == NULL || *backup == NULL)
        return;
    if ((*backup)->backup != NULL)
        (void)sqlite3_backup_finish((*backup)->backup);
    (void)sqlite3_close((*backup)->copy);
    if (!(*backup)->whole)
        unlink((*backup)->path);
    free((*backup)->path);
    free(*backup);
    *backup = NULL;
}
