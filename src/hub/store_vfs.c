/* SPDX-License-Identifier: Apache-2.0 */
#include "store_vfs.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sqlite3.h>

/* SQLite's unix VFS takes the length of a write modulo 128 KiB and calls a full disk what it so
 * makes of 128 KiB: stay below. */
#define GATHER_BYTES (64 * 1024)

/* SQLite gives the memory for this: `base` comes first, the file of the VFS below comes after. */
struct gathering {
    sqlite3_file base;
    sqlite3_file *file;
    uint8_t *data; /* GATHER_BYTES */
    size_t len;    /* bytes that wait in it */
    sqlite3_int64 offset;
};

static sqlite3_vfs gather_vfs;
static sqlite3_vfs *below;

/* sqlite3_file is the first member, which makes this cast good (C17, section 6.7.2.1). */
static struct gathering *gathering_of(sqlite3_file *file)
{
    return (struct gathering *)file;
}

/* Writes what waits. Where that fails it is dropped: SQLite gives the transaction up, and what it
 * writes next begins anew. */
static int flush(struct gathering *gathering)
{
    size_t len = gathering->len;
    gathering->len = 0;
    if (len == 0)
        return SQLITE_OK;
    return gathering->file->pMethods->xWrite(gathering->file, gathering->data, (int)len,
                                             gathering->offset);
}

/* The same, for what is no write itself. Where a read finds the disk full, SQLite undoes that one
 * statement and goes on with the transaction, of which pages have been dropped here; after an error
 * of the disk it undoes all of it. */
static int flush_aside(struct gathering *gathering)
{
    int status = flush(gathering);
    return status == SQLITE_FULL ? SQLITE_IOERR_WRITE : status;
}

static int on_write(sqlite3_file *file, const void *data, int amount, sqlite3_int64 offset)
{
    struct gathering *gathering = gathering_of(file);
    size_t len = (size_t)amount;
    bool follows = offset == gathering->offset + (sqlite3_int64)gathering->len;
    if (!follows || len > GATHER_BYTES - gathering->len) {
        int status = flush(gathering);
        if (status != SQLITE_OK)
            return status;
        gathering->offset = offset;
    }
    if (len > GATHER_BYTES)
        return gathering->file->pMethods->xWrite(gathering->file, data, amount, offset);
    memcpy(gathering->data + gathering->len, data, len);
    gathering->len += len;
    return SQLITE_OK;
}

static int on_read(sqlite3_file *file, void *data, int amount, sqlite3_int64 offset)
{
    struct gathering *gathering = gathering_of(file);
    bool apart = offset + amount <= gathering->offset ||
                 offset >= gathering->offset + (sqlite3_int64)gathering->len;
    int status = apart ? SQLITE_OK : flush_aside(gathering);
    if (status != SQLITE_OK)
        return status;
    return gathering->file->pMethods->xRead(gathering->file, data, amount, offset);
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct gathering *gathering = gathering_of(file);
    int status = flush(gathering);
    if (status != SQLITE_OK)
        return status;
    return gathering->file->pMethods->xTruncate(gathering->file, size);
}

static int on_sync(sqlite3_file *file, int flags)
{
    struct gathering *gathering = gathering_of(file);
    int status = flush(gathering);
    if (status != SQLITE_OK)
        return status;
    return gathering->file->pMethods->xSync(gathering->file, flags);
}

static int on_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct gathering *gathering = gathering_of(file);
    int status = flush_aside(gathering);
    if (status != SQLITE_OK)
        return status;
    return gathering->file->pMethods->xFileSize(gathering->file, size);
}

static int on_close(sqlite3_file *file)
{
    struct gathering *gathering = gathering_of(file);
    int flushed = flush(gathering);
    int closed = gathering->file->pMethods->xClose(gathering->file);
    free(gathering->data);
    gathering->data = NULL;
    return flushed != SQLITE_OK ? flushed : closed;
}

static int on_lock(sqlite3_file *file, int level)
{
    struct gathering *gathering = gathering_of(file);
    return gathering->file->pMethods->xLock(gathering->file, level);
}

static int on_unlock(sqlite3_file *file, int level)
{
    struct gathering *gathering = gathering_of(file);
    int status = flush_aside(gathering); /* others may read from now on */
    if (status != SQLITE_OK)
        return status;
    return gathering->file->pMethods->xUnlock(gathering->file, level);
}

static int on_check_reserved(sqlite3_file *file, int *reserved)
{
    struct gathering *gathering = gathering_of(file);
    return gathering->file->pMethods->xCheckReservedLock(gathering->file, reserved);
}

static int on_control(sqlite3_file *file, int operation, void *argument)
{
    struct gathering *gathering = gathering_of(file);
    return gathering->file->pMethods->xFileControl(gathering->file, operation, argument);
}

static int on_sector_size(sqlite3_file *file)
{
    struct gathering *gathering = gathering_of(file);
    return gathering->file->pMethods->xSectorSize(gathering->file);
}

static int on_characteristics(sqlite3_file *file)
{
    struct gathering *gathering = gathering_of(file);
    return gathering->file->pMethods->xDeviceCharacteristics(gathering->file);
}

/* Version 1: no shared memory, which exclusive locking has no need of, and no mapping of pages. */
static const sqlite3_io_methods methods = {.iVersion = 1,
                                           .xClose = on_close,
                                           .xRead = on_read,
                                           .xWrite = on_write,
                                           .xTruncate = on_truncate,
                                           .xSync = on_sync,
                                           .xFileSize = on_file_size,
                                           .xLock = on_lock,
                                           .xUnlock = on_unlock,
                                           .xCheckReservedLock = on_check_reserved,
                                           .xFileControl = on_control,
                                           .xSectorSize = on_sector_size,
                                           .xDeviceCharacteristics = on_characteristics};

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                   int *flags_out)
{
    (void)vfs;
    if ((flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) == 0)
        return below->xOpen(below, name, file, flags, flags_out); /* it is that file altogether */
    struct gathering *gathering = gathering_of(file);
    *gathering = (struct gathering){.file = (sqlite3_file *)(gathering + 1)};
    gathering->data = malloc(GATHER_BYTES);
    if (gathering->data == NULL)
        return SQLITE_NOMEM;
    int status = below->xOpen(below, name, gathering->file, flags, flags_out);
    if (status != SQLITE_OK) {
        if (gathering->file->pMethods != NULL)
            (void)gathering->file->pMethods->xClose(gathering->file);
        free(gathering->data);
        return status; /* without methods it is not closed again */
    }
    gathering->base.pMethods = &methods;
    return SQLITE_OK;
}

bool store_vfs_register(struct error *err)
{
    if (below != NULL)
        return true;
    /* Its count of its own memory, which nobody asks for, takes a lock at every allocation. Too
     * late where SQLite is in use already: then it goes on counting. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    below = sqlite3_vfs_find(NULL);
    if (below == NULL)
        return error_set(err, FAIL_INTERNAL, "SQLite knows no way to the disk");
    gather_vfs = *below;
    gather_vfs.zName = STORE_VFS;
    gather_vfs.pNext = NULL;
    gather_vfs.szOsFile = (int)sizeof(struct gathering) + below->szOsFile;
    gather_vfs.xOpen = on_open;
    if (sqlite3_vfs_register(&gather_vfs, 0) != SQLITE_OK)
        return error_set(err, FAIL_INTERNAL, "SQLite takes no VFS");
    return true;
}
