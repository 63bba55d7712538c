/* SPDX-License-Identifier: Apache-2.0 */
#include "store_sql.h"

/*
 * The schema of version SCHEMA_BASE, which is never changed: store_schema.c has the steps from
 * there.
 *
 * Bodies and payloads have tables of their own: SQLite writes a row as a whole, and a lease that is
 * taken or extended must not copy the 30 KB beside it.
 */
const char schema_sql[] =
    "CREATE TABLE queues("
    " id INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL UNIQUE,"
    " created_ms INTEGER NOT NULL,"
    " modified_ms INTEGER NOT NULL,"
    " visibility_s INTEGER NOT NULL,"
    " delay_s INTEGER NOT NULL,"
    " wait_s INTEGER NOT NULL,"
    " retention_s INTEGER NOT NULL,"
    " dead_letter INTEGER REFERENCES queues(id),"
    " max_receives INTEGER NOT NULL"
    ") STRICT;"

    "CREATE TABLE messages("
    " id INTEGER PRIMARY KEY,"
    " queue INTEGER NOT NULL,"
    " visible_ms INTEGER NOT NULL," /* hidden before this time: delayed, or leased */
    " receive_count INTEGER NOT NULL DEFAULT 0,"
    " receipt BLOB," /* of the newest lease, 16 random bytes; NULL: never received */
    " sent_ms INTEGER NOT NULL,"
    " first_ms INTEGER NOT NULL DEFAULT 0," /* first received */
    " message_id TEXT NOT NULL,"
    " md5 BLOB NOT NULL"
    ") STRICT;"
    /* receive_count changes with visible_ms only; with it the index alone answers the counts. */
    "CREATE INDEX messages_by_visibility ON messages(queue, visible_ms, id, receive_count);"
    "CREATE INDEX messages_by_age ON messages(queue, sent_ms);"
    "CREATE TABLE bodies(id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"

    "CREATE TABLE records("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT," /* never used again: pages stay where they are */
    " id TEXT NOT NULL UNIQUE,"
    " upn TEXT NOT NULL,"
    " upn_folded TEXT NOT NULL," /* ASCII lower case */
    " thumbprint TEXT NOT NULL,"
    " purpose INTEGER NOT NULL,"
    " not_before_ms INTEGER NOT NULL,"
    " not_after_ms INTEGER NOT NULL,"
    " provider_name TEXT NOT NULL,"
    " key_name TEXT NOT NULL,"
    " padding INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " modified_ms INTEGER NOT NULL,"
    " sealed BLOB NOT NULL"
    ") STRICT;"
    "CREATE INDEX records_by_upn ON records(upn_folded, seq);"
    "CREATE INDEX records_by_thumbprint ON records(thumbprint, seq);"
    /* The PFX of the record with that sequence number. A delivery's payload belongs to this PFX and
     * to no other, so it stays while a delivery refers to it, also when its record is deleted and
     * another one with the same id takes its place. */
    "CREATE TABLE blobs(seq INTEGER PRIMARY KEY, pfx BLOB NOT NULL) STRICT;"

    "CREATE TABLE deliveries("
    " id TEXT NOT NULL PRIMARY KEY,"
    " state INTEGER NOT NULL," /* enum delivery_state */
    " record_id TEXT NOT NULL,"
    " blob INTEGER NOT NULL," /* blobs.seq */
    " device_id TEXT NOT NULL,"
    " platform INTEGER NOT NULL,"
    " format INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL,"
    " completed_ms INTEGER NOT NULL DEFAULT 0,"
    " custody INTEGER NOT NULL DEFAULT 0,"
    " connector TEXT NOT NULL DEFAULT '',"
    " code INTEGER NOT NULL DEFAULT 0,"
    " message TEXT NOT NULL DEFAULT '',"
    " payload INTEGER," /* payloads.id */
    " results_received INTEGER NOT NULL DEFAULT 0,"
    " results_effective INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX deliveries_by_state ON deliveries(state, expires_ms);"
    "CREATE INDEX deliveries_by_blob ON deliveries(blob);"
    "CREATE TABLE payloads(id INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;";

#define RECORD_COLUMNS                                                                             \
    "SELECT seq, id, upn, thumbprint, purpose, not_before_ms, not_after_ms, provider_name, "       \
    "key_name, padding, created_ms, modified_ms"

#define PICKED_COLUMNS                                                                             \
    "SELECT id, receive_count, sent_ms, first_ms, message_id, md5, sender, source "
#define PEEKED_COLUMNS "SELECT message_id, sent_ms, visible_ms, receive_count, body "
#define NOTE_KEY                                                                                   \
    "UPDATE messages SET key_name = ifnull((SELECT CASE WHEN json_valid(CAST(body AS TEXT)) "      \
    "THEN json_extract(CAST(body AS TEXT), '$.data.keyName') END "                                 \
    "FROM bodies WHERE bodies.id = messages.id), '') WHERE "

/* What a purge under way spares (?9: queue_row.purged_ms). The index of age leads past what it has
 * still to delete, which may be a million rows; sorting what came since is little beside that. */
#define SPARED    "FROM messages INDEXED BY messages_by_age "
#define IS_SPARED "WHERE queue = ?1 AND sent_ms > ?9 "

const char *const statement_sql[STATEMENT_COUNT] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_PROBE] = "UPDATE queues SET id = id WHERE id = (SELECT min(id) FROM queues)",

    [SQL_QUEUE_LIST] = "SELECT id, name, created_ms, modified_ms, visibility_s, delay_s, wait_s, "
                       "retention_s, ifnull(dead_letter, 0), max_receives, message_max, purged_ms, "
                       "purging FROM queues WHERE removed = 0 ORDER BY id",
    [SQL_QUEUE_INSERT] =
        "INSERT INTO queues(name, created_ms, modified_ms, visibility_s, delay_s, wait_s, "
        "retention_s, dead_letter, max_receives, message_max) "
        "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [SQL_QUEUE_UPDATE] =
        "UPDATE queues SET modified_ms = ?3, visibility_s = ?4, delay_s = ?5, wait_s = ?6, "
        "retention_s = ?7, dead_letter = ?8, max_receives = ?9, message_max = ?10 WHERE name = ?1",
    /* As many rows as are leased or delayed; all the others are known without being read. */
    [SQL_QUEUE_HIDDEN] = "SELECT count(*) FILTER (WHERE receive_count > 0), count(*) FROM messages "
                         "WHERE queue = ?1 AND visible_ms > ?2",
    [SQL_QUEUE_HIDDEN_SPARED] =
        "SELECT count(*) FILTER (WHERE visible_ms > ?2 AND receive_count > 0), "
        "count(*) FILTER (WHERE visible_ms > ?2), count(*) " SPARED IS_SPARED,
    [SQL_QUEUE_OLDEST] =
        "SELECT ifnull(min(sent_ms), 0) FROM messages WHERE queue = ?1 AND sent_ms > ?2",
    [SQL_QUEUE_NEXT_VISIBLE] =
        "SELECT visible_ms FROM messages WHERE queue = ?1 ORDER BY visible_ms LIMIT 1",
    [SQL_QUEUE_NEXT_VISIBLE_SPARED] =
        "SELECT visible_ms " SPARED IS_SPARED "ORDER BY visible_ms LIMIT 1",
    [SQL_QUEUE_ALLOW] = "SELECT redrive_allow FROM queues WHERE id = ?1",
    [SQL_QUEUE_SET_ALLOW] = "UPDATE queues SET redrive_allow = ?2 WHERE id = ?1",
    [SQL_QUEUE_PURGE] =
        "UPDATE queues SET purging = 1, purged_ms = max(?2, purged_ms, "
        "(SELECT ifnull(max(sent_ms), 0) FROM messages WHERE queue = ?1)) WHERE id = ?1",
    [SQL_QUEUE_PURGED] = "UPDATE queues SET purging = 0 WHERE id = ?1",
    [SQL_QUEUE_REMOVE] =
        "UPDATE queues SET removed = 1, name = '/' || id, dead_letter = NULL WHERE id = ?1",
    [SQL_QUEUE_UNLINK] =
        "UPDATE queues SET dead_letter = NULL, max_receives = 0 WHERE dead_letter = ?1",
    [SQL_QUEUE_REMOVED] = "SELECT id FROM queues WHERE removed = 1 AND id > ?1 ORDER BY id LIMIT 1",
    [SQL_QUEUE_FORGET] =
        "DELETE FROM queues WHERE id = ?1 AND removed = 1 AND id < (SELECT max(id) FROM queues)",
    [SQL_SENDER_LIST] = "SELECT id, name FROM senders ORDER BY id LIMIT 1024",
    [SQL_SENDER_INSERT] = "INSERT INTO senders(name) VALUES(?1)",

    [SQL_MESSAGE_INSERT] =
        "INSERT INTO messages(id, queue, visible_ms, sent_ms, message_id, md5, sender, key_name) "
        "VALUES(?7, ?1, ?2, ?3, ?4, ?5, ?6, ?8)",
    [SQL_MESSAGE_LAST] = "SELECT ifnull(max(id), 0) FROM messages",
    [SQL_BODY_INSERT] = "INSERT INTO bodies(id, body, attributes) VALUES(?1, ?2, ?3)",
    [SQL_MESSAGE_PICK] = PICKED_COLUMNS "FROM messages WHERE queue = ?1 AND visible_ms <= ?2 "
                                        "ORDER BY visible_ms, id LIMIT ?3",
    [SQL_MESSAGE_PICK_SPARED] =
        PICKED_COLUMNS SPARED IS_SPARED "AND visible_ms <= ?2 ORDER BY visible_ms, id LIMIT ?3",
    [SQL_BODY_SELECT] = "SELECT body, attributes FROM bodies WHERE id = ?1",
    [SQL_MESSAGE_LEASE] = "UPDATE messages SET visible_ms = ?2, receipt = ?3, first_ms = ?4, "
                          "receive_count = ?5 WHERE id = ?1",
    [SQL_MESSAGE_MOVE] =
        "UPDATE messages SET queue = ?2, visible_ms = ?3, receipt = NULL, source = ?4, "
        "sent_ms = max(sent_ms, ?5) WHERE id = ?1",
    [SQL_MESSAGE_REDRIVE] =
        "UPDATE messages SET queue = ?2, visible_ms = ?3, sent_ms = max(?3, ?4), message_id = ?5, "
        "receive_count = 0, first_ms = 0, receipt = NULL, source = 0 WHERE id = ?1",
    [SQL_MESSAGE_SELECT] = "SELECT queue, sent_ms, receipt FROM messages WHERE id = ?1",
    [SQL_MESSAGE_EXTEND] = "UPDATE messages SET visible_ms = ?4 WHERE id = ?1 AND queue = ?2 AND "
                           "receipt = ?3 AND visible_ms > ?5 AND sent_ms > ?6",
    [SQL_MESSAGE_OLD] =
        "SELECT id FROM messages WHERE queue = ?1 AND sent_ms <= ?2 ORDER BY sent_ms LIMIT 1",
    [SQL_MESSAGE_PEEK] = PEEKED_COLUMNS "FROM messages JOIN bodies USING(id) WHERE queue = ?1 "
                                        "ORDER BY visible_ms, id LIMIT ?2",
    [SQL_MESSAGE_PEEK_SPARED] =
        PEEKED_COLUMNS SPARED "JOIN bodies USING(id) " IS_SPARED "ORDER BY visible_ms, id LIMIT ?2",
    [SQL_MESSAGE_DELETE] = "DELETE FROM messages WHERE id = ?1",
    [SQL_MESSAGE_DELETE_HELD] =
        "DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND receipt = ?3",
    [SQL_BODY_DELETE] = "DELETE FROM bodies WHERE id = ?1",
    [SQL_MESSAGE_NOTE_KEY] = NOTE_KEY "id = ?1 AND key_name IS NULL",
    [SQL_MESSAGE_NOTE_KEYS] = NOTE_KEY "queue = ?1 AND key_name IS NULL",
    [SQL_MESSAGE_KEYED] = "SELECT count(*) FROM messages WHERE queue = ?1 AND key_name IS NOT NULL",

    [SQL_MOVE_INSERT] = "INSERT INTO moves(handle, state, source, destination, rate, started_ms, "
                        "to_move) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [SQL_MOVE_RUNNING] = "SELECT id, source, destination, rate, moved FROM moves "
                         "WHERE state = 0 AND id > ?1 ORDER BY id LIMIT 1",
    [SQL_MOVE_SELECT] = "SELECT id, state, source, moved FROM moves WHERE handle = ?1",
    [SQL_MOVE_LIST] = "SELECT handle, state, destination, rate, started_ms, to_move, moved, "
                      "failure FROM moves WHERE source = ?1 ORDER BY id DESC LIMIT ?2",
    [SQL_MOVE_UPDATE] = "UPDATE moves SET state = ?2, moved = ?3, failure = ?4 WHERE id = ?1",
    [SQL_MOVE_FORGET] = "DELETE FROM moves WHERE source = ?1 AND id <= (SELECT id FROM moves "
                        "WHERE source = ?1 ORDER BY id DESC LIMIT 1 OFFSET 10)",
    [SQL_MOVE_FORGET_ALL] = "DELETE FROM moves WHERE source = ?1",

    [SQL_RECORD_INSERT] =
        "INSERT INTO records(id, upn, upn_folded, thumbprint, purpose, not_before_ms, "
        "not_after_ms, provider_name, key_name, padding, created_ms, modified_ms, sealed) "
        "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12)",
    [SQL_BLOB_INSERT] = "INSERT INTO blobs(seq, pfx) VALUES(?1, ?2)",
    [SQL_RECORD_SELECT] =
        RECORD_COLUMNS ", sealed, pfx FROM records JOIN blobs USING(seq) WHERE id = ?1",
    [SQL_RECORD_LIST] = RECORD_COLUMNS " FROM records WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    [SQL_RECORD_LIST_UPN] =
        RECORD_COLUMNS " FROM records WHERE seq > ?1 AND upn_folded = ?3 ORDER BY seq LIMIT ?2",
    [SQL_RECORD_LIST_THUMBPRINT] =
        RECORD_COLUMNS " FROM records WHERE seq > ?1 AND thumbprint = ?4 ORDER BY seq LIMIT ?2",
    [SQL_RECORD_LIST_BOTH] = RECORD_COLUMNS
    " FROM records WHERE seq > ?1 AND upn_folded = ?3 AND thumbprint = ?4 ORDER BY seq LIMIT ?2",
    [SQL_RECORD_FREE_BLOB] =
        "DELETE FROM blobs WHERE seq = (SELECT seq FROM records WHERE id = ?1) "
        "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE blob = blobs.seq)",
    [SQL_RECORD_DELETE] = "DELETE FROM records WHERE id = ?1",
    [SQL_RECORD_COUNT] = "SELECT count(*) FROM records",

    [SQL_SEAL_LIST] = "SELECT seq, id, provider_name, padding, sealed FROM records "
                      "WHERE seq > ?1 AND key_name = ?3 ORDER BY seq LIMIT ?2",
    [SQL_SEAL_COUNT] = "SELECT count(*) FROM records WHERE key_name = ?1",
    [SQL_SEAL_WAITING] = "SELECT count(*) FROM messages WHERE queue = ?1 AND key_name = ?2",
    [SQL_SEAL_SELECT] = "SELECT sealed FROM records WHERE id = ?1",
    [SQL_SEAL_UPDATE] = "UPDATE records SET key_name = ?2, "
                        "provider_name = ifnull(?3, provider_name), padding = ?4, sealed = ?5, "
                        "modified_ms = max(?6, modified_ms + 1) WHERE id = ?1",

    [SQL_DELIVERY_INSERT] =
        "INSERT INTO deliveries(id, state, record_id, blob, device_id, platform, format, "
        "created_ms, expires_ms) "
        "VALUES(?1, 0, ?2, (SELECT seq FROM records WHERE id = ?2), ?3, ?4, ?5, ?6, ?7)",
    [SQL_DELIVERY_SELECT] =
        "SELECT d.state, d.record_id, d.device_id, d.platform, d.format, d.created_ms, "
        "d.expires_ms, d.completed_ms, d.custody, d.connector, d.code, d.message, "
        "d.results_received, d.results_effective, p.payload, b.pfx FROM deliveries d "
        "LEFT JOIN payloads p ON p.id = d.payload "
        "LEFT JOIN blobs b ON b.seq = d.blob AND d.payload IS NOT NULL WHERE d.id = ?1",
    [SQL_DELIVERY_STATE] = "SELECT state FROM deliveries WHERE id = ?1",
    [SQL_DELIVERY_COMPLETE] =
        "UPDATE deliveries SET state = ?2, completed_ms = ?3, custody = ?4, connector = ?5, "
        "code = ?6, message = ?7, payload = ?8, results_received = results_received + ?9, "
        "results_effective = results_effective + ?9 WHERE id = ?1",
    [SQL_DELIVERY_REPEAT] =
        "UPDATE deliveries SET results_received = results_received + 1 WHERE id = ?1",
    [SQL_DELIVERY_EXPIRED] = "SELECT id FROM deliveries WHERE state = 0 AND expires_ms <= ?1 ORDER "
                             "BY expires_ms LIMIT 1",
    [SQL_DELIVERY_NEXT_EXPIRY] =
        "SELECT expires_ms FROM deliveries WHERE state = 0 ORDER BY expires_ms LIMIT 1",
    [SQL_PAYLOAD_INSERT] = "INSERT INTO payloads(payload) VALUES(?1)",
    [SQL_DELIVERY_OLD] = "SELECT id, blob, ifnull(payload, 0) FROM deliveries "
                         "WHERE state = ?1 AND expires_ms <= ?2 ORDER BY expires_ms LIMIT 1",
    [SQL_DELIVERY_DELETE] = "DELETE FROM deliveries WHERE id = ?1",
    [SQL_PAYLOAD_DELETE] = "DELETE FROM payloads WHERE id = ?1",
    [SQL_BLOB_DELETE] = "DELETE FROM blobs WHERE seq = ?1 "
                        "AND NOT EXISTS (SELECT 1 FROM records WHERE seq = ?1) "
                        "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE blob = ?1)",
};
