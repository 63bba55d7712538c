/* SPDX-License-Identifier: Apache-2.0 */
#include "admin.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "control.h"
#include "reseal/file.h"
#include "store_check.h"

/* Copies, syncs, checks, and only then gives the copy its name. */
static bool keep_copy(int from, const char *path, struct error *err)
{
    return file_copy(from, path, 0600, store_check_file, err);
}

static bool run_backup(const struct config *config, const char *file, struct error *err)
{
    const char *database;
    struct stat st;
    int fd = -1;
    if (!config_want(config, "hub", "database", &database, err))
        return false;
    if (lstat(file, &st) == 0) { /* before the hub has the work */
        error_set(err, FAIL_EXISTS, "%s exists already and is never overwritten", file);
        return error_hint(err, "choose another name, or move the old file away first");
    }
    if (!control_backup(database, &fd, err))
        return false;
    bool ok = keep_copy(fd, file, err);
    close(fd);
    if (!ok && err->hint[0] == '\0')
        error_hint(err, "FILE is a new one in a folder that is there, and that you may write to");
    if (ok)
        fprintf(stderr, "reseal-hub: %s is a backup of %s, synced and checked\n", file, database);
    return ok;
}

static bool run_check(const struct config *config, const char *file, struct error *err)
{
    const char *path = file;
    if (path == NULL && !config_want(config, "hub", "database", &path, err))
        return false;
    if (!store_check_file(path, err))
        return false;
    fprintf(stderr, "reseal-hub: %s is whole\n", path);
    return true;
}

/* Nothing of another database may be there: its log would be taken for the restored one's. */
static bool place_is_free(const char *database, struct error *err)
{
    static const char *const endings[] = {"", "-wal", "-journal"};
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        char path[PATH_MAX];
        struct stat st;
        snprintf(path, sizeof path, "%s%s", database, endings[i]);
        if (lstat(path, &st) == 0) {
            error_set(err, FAIL_EXISTS, "%s exists and is never overwritten", path);
            return error_hint(err, "stop the hub and move its database away, with its -wal file");
        }
    }
    return true;
}

/* As root the new file would belong to root, and the hub could not open it. */
static bool give_to_owner_of_folder(const char *path, struct error *err)
{
    char folder[PATH_MAX];
    struct stat st;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[1] = '\0';
    if (geteuid() != 0 || stat(slash != NULL ? folder : ".", &st) != 0 || st.st_uid == 0)
        return true;
    return lchown(path, st.st_uid, st.st_gid) == 0 ||
           error_errno(err, FAIL_IO, "cannot give %s to the owner of its folder", path);
}

static bool run_restore(const struct config *config, const char *file, struct error *err)
{
    const char *database;
    if (!config_want(config, "hub", "database", &database, err) || !place_is_free(database, err))
        return false;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, errno == ENOENT ? FAIL_NOT_FOUND : FAIL_IO, "cannot open %s", file);
        return error_hint(err, "FILE is one that `reseal-hub backup` has written");
    }
    bool ok = keep_copy(fd, database, err) && give_to_owner_of_folder(database, err);
    close(fd);
    if (ok)
        fprintf(stderr, "reseal-hub: %s is restored from %s and checked; start the hub\n", database,
                file);
    return ok;
}

const struct admin_command admin_commands[ADMIN_COMMANDS] = {
    {"backup", "FILE", true, false,
     "copies the database of the hub that is running; checks the copy", run_backup},
    {"check", "[FILE]", false, true,
     "looks whether the database of a stopped hub, or FILE, is whole", run_check},
    {"restore", "FILE", true, false, "puts a checked copy of the backup FILE where no database is",
     run_restore},
};
