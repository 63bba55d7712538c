/* SPDX-License-Identifier: Apache-2.0 */
/* A database of the hub in a folder of its own, which goes with it. */
#ifndef RESEAL_TEST_HUB_DATABASE_H
#define RESEAL_TEST_HUB_DATABASE_H

#include "check.h"
#include <unistd.h>
#include "src/hub/store_queue.h"

struct setup {
    char folder[32];
    char path[64];
    struct database *database;
    int64_t queue, dead; /* those of setup_queues */
};

static inline void reopen(struct setup *setup)
{
    struct error err = ERROR_INIT;
    database_close(&setup->database);
    assert_ok(database_open(setup->path, &setup->database, &err), &err);
}

static inline struct setup *setup_begin(void)
{
    struct setup *setup = calloc(1, sizeof *setup);
    assert_non_null(setup);
    strcpy(setup->folder, "/tmp/hub-store-XXXXXX");
    assert_non_null(mkdtemp(setup->folder));
    snprintf(setup->path, sizeof setup->path, "%s/hub.db", setup->folder);
    reopen(setup);
    return setup;
}

/* "work", whose messages go to "work-dead" when they were received so often. */
static inline void setup_queues(struct setup *setup, int64_t max_receives)
{
    struct error err = ERROR_INIT;
    struct queue_row queue;
    stored_queue_defaults(&queue, "work-dead");
    assert_ok(stored_queue_create(setup->database, &queue, &err), &err);
    setup->dead = stored_queue_find(setup->database, "work-dead")->id;
    stored_queue_defaults(&queue, "work");
    queue.dead_letter = setup->dead;
    queue.max_receives = max_receives;
    assert_ok(stored_queue_create(setup->database, &queue, &err), &err);
    setup->queue = stored_queue_find(setup->database, "work")->id;
}

/* A teardown of cmocka. A database that was closed leaves no log behind; a damaged one may. */
static inline int setup_end(void **state)
{
    static const char *const files[] = {"hub.db", "hub.db-wal", "hub.db-shm"};
    struct setup *setup = *state;
    char path[128];
    database_close(&setup->database);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(path, sizeof path, "%s/%s", setup->folder, files[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(setup->folder), 0);
    free(setup);
    return 0;
}

#endif
