/* SPDX-License-Identifier: Apache-2.0 */
#include "store_sql.h"

/*
 * What each schema adds to the one before it. A step that has been released is never changed: a new
 * wish is a new step. A column that is added with a constant default costs no writing, so that step
 * takes no longer for a million messages than for none; an index reads all of them once.
 */
static const char *const steps[] = {
    /* 3: what Amazon SQS knows of queues and messages beyond their bodies. The attributes of a
     * message stand in the row of its body, which is written, read and deleted with it anyway; a
     * message without any pays one byte for that. */
    "ALTER TABLE queues ADD COLUMN message_max INTEGER NOT NULL DEFAULT 262144;"
    "ALTER TABLE queues ADD COLUMN redrive_allow TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE queues ADD COLUMN purged_ms INTEGER NOT NULL DEFAULT 0;"
    /* Messages that were sent at purged_ms or before are still to be deleted. */
    "ALTER TABLE queues ADD COLUMN purging INTEGER NOT NULL DEFAULT 0;"
    /* The queue is deleted, its messages are on their way out. The row stays until they are gone
     * and a younger queue has a higher id: no id is ever used again. */
    "ALTER TABLE queues ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE messages ADD COLUMN sender INTEGER NOT NULL DEFAULT 0;" /* senders.id */
    "ALTER TABLE messages ADD COLUMN source INTEGER NOT NULL DEFAULT 0;" /* it was moved from there
                                                                            to the dead letters */
    "ALTER TABLE bodies ADD COLUMN attributes BLOB;"                     /* store_attributes.h */
    "CREATE TABLE senders(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"
    "CREATE TABLE moves("
    " id INTEGER PRIMARY KEY,"
    " handle TEXT NOT NULL UNIQUE,"
    " state INTEGER NOT NULL,"       /* enum move_state */
    " source INTEGER NOT NULL,"      /* queues.id */
    " destination INTEGER NOT NULL," /* queues.id; 0: where each message came from */
    " rate INTEGER NOT NULL,"        /* messages in a second; 0: as many as go */
    " started_ms INTEGER NOT NULL,"
    " to_move INTEGER NOT NULL," /* messages that were there at the start */
    " moved INTEGER NOT NULL DEFAULT 0,"
    " failure TEXT NOT NULL DEFAULT ''"
    ") STRICT;"
    "CREATE INDEX moves_by_source ON moves(source, id);",

    /* 4: what is under a sealing key, told without reading it all. */
    /* keyName of a message that is or was in the queue of requests, '' where it names none. NULL:
     * not looked at. */
    "ALTER TABLE messages ADD COLUMN key_name TEXT;"
    "CREATE INDEX messages_by_key ON messages(queue, key_name) WHERE key_name IS NOT NULL;"
    "CREATE INDEX records_by_key ON records(key_name, seq);",
};
_Static_assert(ARRAY_LEN(steps) == SCHEMA_VERSION - SCHEMA_BASE, "one step for each version");

const char *schema_step(long from)
{
    return from >= SCHEMA_BASE && from < SCHEMA_VERSION ? steps[from - SCHEMA_BASE] : NULL;
}
