/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub's database: one SQLite file in WAL mode with synchronous=FULL, its schema, and every
 * statement prepared once. A `struct database` belongs to one thread at a time (store.h).
 *
 * The database is held exclusively while it is open, so that two hubs never share one file.
 */
#ifndef RESEAL_HUB_STORE_DB_H
#define RESEAL_HUB_STORE_DB_H

#include <stdint.h>
#include <sqlite3.h>
#include <openssl/types.h>
#include "reseal/buf.h"

enum statement {
    /* transactions */
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_PROBE,
    /* queues */
    SQL_QUEUE_LIST,
    SQL_QUEUE_INSERT,
    SQL_QUEUE_UPDATE,
    SQL_QUEUE_HIDDEN,
    SQL_QUEUE_HIDDEN_SPARED,
    SQL_QUEUE_OLDEST,
    SQL_QUEUE_NEXT_VISIBLE,
    SQL_QUEUE_NEXT_VISIBLE_SPARED,
    SQL_QUEUE_ALLOW,
    SQL_QUEUE_SET_ALLOW,
    SQL_QUEUE_PURGE,
    SQL_QUEUE_PURGED,
    SQL_QUEUE_REMOVE,
    SQL_QUEUE_UNLINK,
    SQL_QUEUE_REMOVED,
    SQL_QUEUE_FORGET,
    SQL_SENDER_LIST,
    SQL_SENDER_INSERT,
    /* messages */
    SQL_MESSAGE_INSERT,
    SQL_MESSAGE_LAST,
    SQL_BODY_INSERT,
    SQL_MESSAGE_PICK,
    SQL_MESSAGE_PICK_SPARED,
    SQL_BODY_SELECT,
    SQL_MESSAGE_LEASE,
    SQL_MESSAGE_MOVE,
    SQL_MESSAGE_SELECT,
    SQL_MESSAGE_EXTEND,
    SQL_MESSAGE_OLD,
    SQL_MESSAGE_PEEK,
    SQL_MESSAGE_PEEK_SPARED,
    SQL_MESSAGE_REDRIVE,
    SQL_MESSAGE_DELETE,
    SQL_MESSAGE_DELETE_HELD,
    SQL_BODY_DELETE,
    SQL_MESSAGE_NOTE_KEY,
    SQL_MESSAGE_NOTE_KEYS,
    SQL_MESSAGE_KEYED,
    /* moves of dead letters */
    SQL_MOVE_INSERT,
    SQL_MOVE_RUNNING,
    SQL_MOVE_SELECT,
    SQL_MOVE_LIST,
    SQL_MOVE_UPDATE,
    SQL_MOVE_FORGET,
    SQL_MOVE_FORGET_ALL,
    /* records */
    SQL_RECORD_INSERT,
    SQL_BLOB_INSERT,
    SQL_RECORD_SELECT,
    SQL_RECORD_LIST,
    SQL_RECORD_LIST_UPN,
    SQL_RECORD_LIST_THUMBPRINT,
    SQL_RECORD_LIST_BOTH,
    SQL_RECORD_FREE_BLOB,
    SQL_RECORD_DELETE,
    SQL_RECORD_COUNT,
    /* seals: what a rotation reads and writes of records */
    SQL_SEAL_LIST,
    SQL_SEAL_COUNT,
    SQL_SEAL_WAITING,
    SQL_SEAL_SELECT,
    SQL_SEAL_UPDATE,
    /* deliveries */
    SQL_DELIVERY_INSERT,
    SQL_DELIVERY_SELECT,
    SQL_DELIVERY_STATE,
    SQL_DELIVERY_COMPLETE,
    SQL_DELIVERY_REPEAT,
    SQL_DELIVERY_EXPIRED,
    SQL_DELIVERY_NEXT_EXPIRY,
    SQL_PAYLOAD_INSERT,
    SQL_DELIVERY_OLD,
    SQL_DELIVERY_DELETE,
    SQL_PAYLOAD_DELETE,
    SQL_BLOB_DELETE,
    STATEMENT_COUNT,
};

#define QUEUE_NAME_MAX 80
#define QUEUES_MAX     256

/* One queue and its attributes; times in seconds as SQS has them. */
struct queue_row {
    int64_t id;
    char name[QUEUE_NAME_MAX + 1];
    int64_t created_ms, modified_ms;
    int64_t visibility_s; /* VisibilityTimeout */
    int64_t delay_s;      /* DelaySeconds */
    int64_t wait_s;       /* ReceiveMessageWaitTimeSeconds */
    int64_t retention_s;  /* MessageRetentionPeriod */
    int64_t dead_letter;  /* id of the dead-letter queue, 0: none */
    int64_t max_receives; /* maxReceiveCount of the RedrivePolicy */
    int64_t message_max;  /* MaximumMessageSize, bytes */
    int64_t purged_ms;    /* what was sent then or before is purged; 0: never */
    bool purging;         /* some of that is still to be deleted */
};

/* Who sends: an access key. Numbers, since each message has one. */
#define SENDER_MAX  128
#define SENDERS_MAX 1024
struct sender {
    int64_t id;
    char name[SENDER_MAX + 1];
};

struct database;

/* What the owner of the database wants to know while a transaction runs. */
struct database_events {
    void *context;
    /* A message of this queue has become visible, otherwise than by time. */
    void (*queue_changed)(void *context, int64_t queue);
    /* This delivery is no longer pending. */
    void (*delivery_completed)(void *context, const char *id);
    /* This message has been received as often as its queue allows and goes to the dead letters;
     * what is done here belongs to the same transaction. False where that failed. */
    bool (*message_given_up)(struct database *database, int64_t queue, int64_t receives,
                             struct bytes body, struct error *err);
};

struct database {
    sqlite3 *handle;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    EVP_MD *md5;
    struct tally *tally;                 /* store_tally.h */
    struct queue_row queues[QUEUES_MAX]; /* what the table of queues holds */
    size_t queue_count;
    struct sender *senders; /* what the table of senders holds */
    size_t sender_count;
    /* The id of the next message. None is used again while the hub runs: the receipt handle of a
     * message that is gone must not seem to be one of another. */
    int64_t next_message;
    bool queue_work;       /* a purge, a removed queue or a move may have something left to do */
    int64_t paced_ms;      /* monotonic; moves with a rate have moved what it gives until then; 0:
                              none ran */
    bool queues_changed;   /* or senders, in this transaction: read again if it is rolled back */
    bool queues_stale;     /* that reading failed: again before the next transaction */
    bool commit_failed;    /* what was to be written last is not on disk */
    int64_t complained_ms; /* monotonic; when a failing checkpoint was told last; 0: never */
    bool bind_failed;      /* a value could not be bound; the next step fails */
    struct database_events events;
    int64_t delivery_retention_ms; /* how long finished deliveries are kept; 0: for ever */
    int64_t requests_queue;        /* where deliveries send their requests; 0: not known */
    int64_t no_expiry_before_ms;   /* no pending delivery expires earlier; 0: not known */
    int64_t results_queue;         /* where results are taken as they are sent; 0: not known */
};

/* Opens or makes the file (mode 0600), checks its integrity and schema version. */
bool database_open(const char *path, struct database **out, struct error *err) MUST_USE;
void database_close(struct database **database);

/* The statement, ready for binding. It is to be ended by database_end or database_run. */
sqlite3_stmt *database_statement(struct database *database, enum statement which) MUST_USE;
void bind_integer(struct database *database, sqlite3_stmt *statement, int index, int64_t value);
/* Text and bytes must live until the statement is ended. A NULL text is NULL. */
void bind_text(struct database *database, sqlite3_stmt *statement, int index, const char *text);
void bind_bytes(struct database *database, sqlite3_stmt *statement, int index, struct bytes bytes);
void bind_null(struct database *database, sqlite3_stmt *statement, int index);
/* One step; *row tells whether there is a row. On failure the statement is ended. A broken
 * uniqueness is FAIL_EXISTS, everything else FAIL_IO. */
bool database_step(struct database *database, sqlite3_stmt *statement, bool *row,
                   struct error *err) MUST_USE;
void database_end(sqlite3_stmt *statement);
/* Steps a statement that gives no rows, and ends it. */
bool database_run(struct database *database, sqlite3_stmt *statement, struct error *err) MUST_USE;

/* Column access; texts and bytes are valid until the next step. */
struct bytes column_bytes(sqlite3_stmt *statement, int column) MUST_USE;
const char *column_text(sqlite3_stmt *statement, int column) MUST_USE; /* "" for NULL */

bool database_begin(struct database *database, struct error *err) MUST_USE;
/* On failure everything since database_begin is undone. */
bool database_commit(struct database *database, struct error *err) MUST_USE;
void database_rollback(struct database *database);
/* Writes something that changes nothing, where the last commit failed: the commit after it then
 * shows whether the disk takes writes again. */
bool database_probe(struct database *database, struct error *err) MUST_USE;
/* Whether anything has been written in this transaction between two moments. SQLite's savepoints
 * would tell, too, but copy every page that is written while one is open. */
struct database_mark {
    int changes;
};
struct database_mark database_mark(const struct database *database) MUST_USE;
/* False also where the whole transaction is lost (a full disk may do that). */
bool database_unchanged(const struct database *database, struct database_mark since) MUST_USE;

/* Reads the tables of queues and of senders into the cache. */
bool database_load_queues(struct database *database, struct error *err) MUST_USE;

#endif
