/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that loses power: SQLite's way to the disk, which remembers what was written since the
 * last sync of each file. At the moment that was chosen it takes a picture of what a disk would
 * hold: all that was synced, and of the rest some sectors and not others, as the seed has it.
 */
#ifndef RESEAL_TEST_POWER_CUT_H
#define RESEAL_TEST_POWER_CUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sqlite3.h>

#define CUT_FILES  3 /* database, log, rollback journal */
#define CUT_SECTOR 512

struct cut_write {
    sqlite3_int64 offset; /* or the new size, where data is NULL */
    uint8_t *data;
    size_t len;
};

/* What is known of one file, by the ending of its name. */
struct cut_image {
    uint8_t *synced;
    size_t len;
    struct cut_write *writes; /* since then */
    size_t count, room;
    uint8_t *picture;
    size_t picture_len;
};

struct cut_file {
    sqlite3_file base;
    sqlite3_file *file;
    struct cut_image *image;
};

static sqlite3_vfs cut_vfs, *cut_below;
static struct cut_image cut_images[CUT_FILES];
static uint64_t cut_seed;
static long cut_countdown; /* writes and syncs until the power goes; 0: it is gone or stays */
static bool cut_happened;

static uint32_t cut_random(uint32_t bound)
{
    cut_seed = cut_seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(cut_seed >> 33) % bound;
}

static void cut_apply(uint8_t **data, size_t *len, const struct cut_write *write, bool torn)
{
    size_t end = (size_t)write->offset + write->len;
    if (write->data == NULL) {
        if (*len > end)
            *len = end;
        return;
    }
    if (*len < end) {
        *data = realloc(*data, end);
        memset(*data + *len, 0, end - *len);
        *len = end;
    }
    for (size_t at = 0; at < write->len; at += CUT_SECTOR) {
        size_t piece = write->len - at < CUT_SECTOR ? write->len - at : CUT_SECTOR;
        if (!torn || cut_random(2) == 0)
            memcpy(*data + (size_t)write->offset + at, write->data + at, piece);
    }
}

static void cut_take_picture(struct cut_image *image)
{
    uint8_t *data = malloc(image->len + 1);
    size_t len = image->len;
    if (len > 0)
        memcpy(data, image->synced, len);
    uint32_t kept = cut_random(3); /* none, some, most of what was not synced */
    for (size_t i = 0; i < image->count; i++) {
        if (cut_random(4) < kept * 2)
            cut_apply(&data, &len, &image->writes[i], cut_random(2) == 0);
    }
    free(image->picture);
    image->picture = data;
    image->picture_len = len;
}

static void cut_tick(void)
{
    if (cut_countdown == 0 || --cut_countdown > 0)
        return;
    cut_happened = true;
    for (size_t i = 0; i < CUT_FILES; i++)
        cut_take_picture(&cut_images[i]);
}

static void cut_remember(struct cut_image *image, const void *data, size_t len,
                         sqlite3_int64 offset)
{
    if (image->count == image->room) {
        image->room = image->room * 2 + 64;
        image->writes = realloc(image->writes, image->room * sizeof *image->writes);
    }
    struct cut_write *write = &image->writes[image->count++];
    *write = (struct cut_write){.offset = offset, .len = len};
    if (data != NULL) {
        write->data = malloc(len);
        memcpy(write->data, data, len);
    }
}

static void cut_forget(struct cut_image *image)
{
    for (size_t i = 0; i < image->count; i++)
        free(image->writes[i].data);
    image->count = 0;
}

static int cut_write(sqlite3_file *file, const void *data, int amount, sqlite3_int64 offset)
{
    struct cut_file *cut = (struct cut_file *)file;
    cut_remember(cut->image, data, (size_t)amount, offset);
    cut_tick();
    return cut->file->pMethods->xWrite(cut->file, data, amount, offset);
}

static int cut_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct cut_file *cut = (struct cut_file *)file;
    cut_remember(cut->image, NULL, 0, size);
    cut_tick();
    return cut->file->pMethods->xTruncate(cut->file, size);
}

static int cut_sync(sqlite3_file *file, int flags)
{
    struct cut_file *cut = (struct cut_file *)file;
    struct cut_image *image = cut->image;
    (void)flags; /* the disk of this machine need not be asked */
    cut_tick();
    for (size_t i = 0; i < image->count; i++)
        cut_apply(&image->synced, &image->len, &image->writes[i], false);
    cut_forget(image);
    return SQLITE_OK;
}

static int cut_read(sqlite3_file *file, void *data, int amount, sqlite3_int64 offset)
{
    struct cut_file *cut = (struct cut_file *)file;
    return cut->file->pMethods->xRead(cut->file, data, amount, offset);
}

static int cut_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct cut_file *cut = (struct cut_file *)file;
    return cut->file->pMethods->xFileSize(cut->file, size);
}

static int cut_close(sqlite3_file *file)
{
    struct cut_file *cut = (struct cut_file *)file;
    return cut->file->pMethods->xClose(cut->file);
}

static int cut_lock(sqlite3_file *file, int level)
{
    struct cut_file *cut = (struct cut_file *)file;
    return cut->file->pMethods->xLock(cut->file, level);
}

static int cut_unlock(sqlite3_file *file, int level)
{
    struct cut_file *cut = (struct cut_file *)file;
    return cut->file->pMethods->xUnlock(cut->file, level);
}

static int cut_reserved(sqlite3_file *file, int *out)
{
    struct cut_file *cut = (struct cut_file *)file;
    return cut->file->pMethods->xCheckReservedLock(cut->file, out);
}

static int cut_control(sqlite3_file *file, int operation, void *argument)
{
    struct cut_file *cut = (struct cut_file *)file;
    return cut->file->pMethods->xFileControl(cut->file, operation, argument);
}

static int cut_sector(sqlite3_file *file)
{
    (void)file;
    return CUT_SECTOR;
}

static int cut_characteristics(sqlite3_file *file)
{
    struct cut_file *cut = (struct cut_file *)file;
    return cut->file->pMethods->xDeviceCharacteristics(cut->file);
}

static const sqlite3_io_methods cut_methods = {.iVersion = 1,
                                               .xClose = cut_close,
                                               .xRead = cut_read,
                                               .xWrite = cut_write,
                                               .xTruncate = cut_truncate,
                                               .xSync = cut_sync,
                                               .xFileSize = cut_size,
                                               .xLock = cut_lock,
                                               .xUnlock = cut_unlock,
                                               .xCheckReservedLock = cut_reserved,
                                               .xFileControl = cut_control,
                                               .xSectorSize = cut_sector,
                                               .xDeviceCharacteristics = cut_characteristics};

/* The image of a file that is being opened is what the file holds. */
static void cut_load(struct cut_image *image, sqlite3_file *file)
{
    sqlite3_int64 size = 0;
    cut_forget(image);
    (void)file->pMethods->xFileSize(file, &size);
    image->len = (size_t)size;
    image->synced = realloc(image->synced, image->len + 1);
    if (size > 0)
        (void)file->pMethods->xRead(file, image->synced, (int)size, 0);
}

static int cut_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct cut_file *cut = (struct cut_file *)file;
    (void)vfs;
    *cut = (struct cut_file){.file = (sqlite3_file *)(cut + 1)};
    int status = cut_below->xOpen(cut_below, name, cut->file, flags, out);
    if (status != SQLITE_OK)
        return status;
    cut->image = &cut_images[(flags & SQLITE_OPEN_MAIN_DB) != 0 ? 0
                             : (flags & SQLITE_OPEN_WAL) != 0   ? 1
                                                                : 2];
    cut_load(cut->image, cut->file);
    cut->base.pMethods = &cut_methods;
    return SQLITE_OK;
}

/* From now on every database lies on this disk. */
static void cut_install(void)
{
    cut_below = sqlite3_vfs_find(NULL);
    cut_vfs = *cut_below;
    cut_vfs.zName = "power-cut";
    cut_vfs.pNext = NULL;
    cut_vfs.szOsFile = (int)sizeof(struct cut_file) + cut_below->szOsFile;
    cut_vfs.xOpen = cut_open;
    (void)sqlite3_vfs_register(&cut_vfs, 1);
}

/* The power goes at the n-th write or sync from now. */
static void cut_after(long n)
{
    cut_countdown = n;
    cut_happened = false;
}

/* What the disk holds after the power came back: database and log, written under this name. */
static bool cut_write_pictures(const char *path)
{
    static const char *const endings[] = {"", "-wal"};
    for (size_t i = 0; i < 2; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        FILE *file = fopen(name, "wb");
        const struct cut_image *image = &cut_images[i];
        if (file == NULL ||
            fwrite(image->picture, 1, image->picture_len, file) != image->picture_len ||
            fclose(file) != 0)
            return false;
    }
    return true;
}

static void cut_remove(void)
{
    (void)sqlite3_vfs_unregister(&cut_vfs);
    for (size_t i = 0; i < CUT_FILES; i++) {
        cut_forget(&cut_images[i]);
        free(cut_images[i].writes);
        free(cut_images[i].synced);
        free(cut_images[i].picture);
    }
}

#endif
