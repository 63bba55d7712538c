/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues and their messages: send, lease, extend, delete, dead letters.
 *
 * Everything here runs inside a transaction of the caller. A message is leased by a receipt of 16
 * random bytes that each receive replaces; the receipt handle that goes out is the message's row
 * and that receipt in hexadecimal.
 */
#ifndef RESEAL_HUB_STORE_QUEUE_H
#define RESEAL_HUB_STORE_QUEUE_H

#include "reseal/text.h"
#include "store_db.h"

#define MD5_BYTES            16
#define RECEIPT_BYTES        16
#define RECEIPT_HANDLE_TEXT  (16 + 2 * RECEIPT_BYTES + 1)
#define RECEIVE_MAX          10

#define MESSAGE_SIZE_DEFAULT 262144 /* bytes, body and attributes together */
#define MESSAGE_SIZE_LEAST   1024   /* that MaximumMessageSize can be set to */
#define MESSAGE_SIZE_LIMIT   1048576

/* NULL where there is none. Valid until queues change. */
const struct queue_row *stored_queue_find(const struct database *database,
                                          const char *name) MUST_USE;
const struct queue_row *stored_queue_by_id(const struct database *database, int64_t id) MUST_USE;
/* The attributes of a queue for which none are given. */
void stored_queue_defaults(struct queue_row *queue, const char *name);
bool stored_queue_name_valid(const char *name) MUST_USE; /* letters, digits, '-' and '_', 1..80 */
/* Makes the queue; id and times are set here. FAIL_TOO_LARGE beyond QUEUES_MAX. */
bool stored_queue_create(struct database *database, const struct queue_row *queue,
                         struct error *err) MUST_USE;
/* Writes the attributes of the queue of that name. */
bool stored_queue_update(struct database *database, const struct queue_row *queue,
                         struct error *err) MUST_USE;

struct outgoing {
    struct bytes body;
    uint8_t md5[MD5_BYTES];
    int64_t delay_s;
    struct bytes attributes; /* packed (message_attributes.h); empty: none */
    int64_t sender;          /* senders.id; 0: the hub itself */
    const char *key_name;    /* of a request, where it is known; NULL: the body is read for it */
};
/* Stores a message; `message_id` gets its UUID. */
bool stored_queue_send(struct database *database, int64_t queue, const struct outgoing *message,
                       char message_id[static UUID_TEXT], struct error *err) MUST_USE;

struct leased {
    const char *message_id;
    char receipt_handle[RECEIPT_HANDLE_TEXT];
    struct bytes body;       /* valid during the call */
    struct bytes attributes; /* packed (message_attributes.h); empty: none; valid as long */
    int64_t sender;          /* senders.id */
    int64_t source;          /* id of the queue that gave it up, 0: none did */
    uint8_t md5[MD5_BYTES];
    int64_t sent_ms, first_received_ms, receive_count;
};
/* False ends the receive after this message. */
typedef bool stored_queue_each(void *context, const struct leased *message);
/*
 * Leases up to `max` messages for `lease_s` seconds and shows each. Messages that have been
 * received as often as the redrive policy allows are moved to the dead-letter queue instead.
 */
bool stored_queue_receive(struct database *database, int64_t queue, unsigned max, int64_t lease_s,
                          stored_queue_each *each, void *context, size_t *count,
                          struct error *err) MUST_USE;
/* The same for the hub itself, which carries messages to another engine. That is no try, however
 * often it begins anew: it makes no dead letters. */
bool stored_queue_carry(struct database *database, int64_t queue, unsigned max, int64_t lease_s,
                        stored_queue_each *each, void *context, size_t *count,
                        struct error *err) MUST_USE;

enum receipt_state {
    RECEIPT_GOOD,      /* done */
    RECEIPT_MALFORMED, /* no receipt handle of ours */
    RECEIPT_GONE,      /* the message does not exist any more */
    RECEIPT_OTHER,     /* the message has been received again since, or is in another queue */
    RECEIPT_EXPIRED,   /* the lease has ended */
};
/* Deletes. A receipt whose lease has ended still deletes while nobody else has the message. */
bool stored_queue_delete(struct database *database, int64_t queue, const char *receipt_handle,
                         enum receipt_state *state, struct error *err) MUST_USE;
/* Sets the lease to `lease_s` from now; 0 gives the message back. */
bool stored_queue_extend(struct database *database, int64_t queue, const char *receipt_handle,
                         int64_t lease_s, enum receipt_state *state, struct error *err) MUST_USE;

struct peeked {
    const char *message_id;
    struct bytes body; /* valid during the call */
    int64_t sent_ms, visible_ms, receive_count;
};
/* False ends it. */
typedef bool stored_queue_seen(void *context, const struct peeked *message);
/* Shows up to `max` messages, those first that will be received next, and changes nothing. */
bool stored_queue_peek(struct database *database, int64_t queue, int64_t max,
                       stored_queue_seen *seen, void *context, struct error *err) MUST_USE;

/* The statement that gives up to `max` visible messages in their order: id, receive_count, sent_ms,
 * first_ms, message_id, md5, sender, source. What a purge under way has still to delete is not
 * among them, here and in all that follows. */
sqlite3_stmt *stored_queue_pick(struct database *database, int64_t queue, int64_t now_ms,
                                size_t max) MUST_USE;
/* Notes under which key the message is that has come into that queue, where it is the queue of
 * requests (seal_counts). */
bool stored_queue_note_key(struct database *database, int64_t queue, int64_t row,
                           struct error *err) MUST_USE;
/* The time that a message sent now gets: after the last purge, which must not take it. */
int64_t sent_after_purge(const struct queue_row *queue, int64_t now_ms) MUST_USE;
/* Tells who waits that a message of the queue has become visible. */
void stored_queue_tell(const struct database *database, int64_t queue);

struct queue_counts {
    int64_t visible, in_flight, delayed;
};
bool stored_queue_count(struct database *database, int64_t queue, struct queue_counts *out,
                        struct error *err) MUST_USE;
/* When the oldest message was sent, or 0. */
bool stored_queue_oldest(struct database *database, int64_t queue, int64_t *sent_ms,
                         struct error *err) MUST_USE;
/* When the next message is or becomes visible (milliseconds since 1970), or INT64_MAX. */
bool stored_queue_next_visible(struct database *database, int64_t queue, int64_t *visible_ms,
                               struct error *err) MUST_USE;

#endif
