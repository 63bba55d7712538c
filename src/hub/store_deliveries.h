/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliveries: one wish of one device for one record. A delivery is pending until its first readable
 * result arrives or its time runs out; whatever comes later is counted and changes nothing.
 *
 * The delivery's id is the id of its request message, and so the subject of every result.
 */
#ifndef RESEAL_HUB_STORE_DELIVERIES_H
#define RESEAL_HUB_STORE_DELIVERIES_H

#include "reseal/request.h"
#include "reseal/result.h"
#include "store_db.h"

#define HUB_SOURCE "urn:reseal:hub"

/* Stored as numbers: never renumber. */
enum delivery_state {
    DELIVERY_PENDING = 0,
    DELIVERY_RESEALED = 1,
    DELIVERY_REFUSED = 2,
    DELIVERY_FAILED = 3,
};
#define DELIVERY_STATES 4
const char *delivery_state_name(enum delivery_state state) MUST_USE;

struct delivery_order {
    char record_id[RECORD_ID_MAX + 1];
    char device_id[DEVICE_ID_MAX + 1];
    enum platform platform;
    enum format format;
    struct bytes certificate; /* DER */
    int64_t lifetime_ms;      /* from now until the request expires */
    int64_t queue;            /* where the request goes */
};
/* Stores the delivery and sends its request. FAIL_NOT_FOUND where there is no such record. */
bool delivery_create(struct database *database, const struct delivery_order *order,
                     char id[static UUID_TEXT], struct error *err) MUST_USE;

/* FAIL_NOT_FOUND where there is none. */
bool delivery_state(struct database *database, const char *id, enum delivery_state *out,
                    struct error *err) MUST_USE;
/* Writes the delivery as one JSON object at the top level of the writer. */
bool delivery_write(struct database *database, const char *id, struct json_writer *json,
                    struct error *err) MUST_USE;

enum result_fate {
    RESULT_EFFECTIVE,  /* completed its delivery */
    RESULT_REPEATED,   /* came for a delivery that was complete; counted */
    RESULT_UNREADABLE, /* no result message; `err` says why */
    RESULT_STRAY,      /* for a delivery that is not known here */
};
/* Takes the body of a result message. Unreadable and stray results change nothing. */
bool delivery_take_result(struct database *database, struct bytes body, enum result_fate *fate,
                          struct error *err) MUST_USE;

/* Ends the pending deliveries whose time has run out (4101, worth another try). */
bool delivery_expire(struct database *database, int64_t now_ms, size_t *count,
                     struct error *err) MUST_USE;
/* For message_given_up: ends the delivery whose request nobody could do (4101). */
bool delivery_give_up(struct database *database, int64_t queue, int64_t receives, struct bytes body,
                      struct error *err) MUST_USE;
/* When the next pending delivery expires, or INT64_MAX. A time after `now_ms` may be too early, as
 * the delivery that was to expire then may have ended meanwhile. */
bool delivery_next_expiry(struct database *database, int64_t now_ms, int64_t *expires_ms,
                          struct error *err) MUST_USE;
void delivery_counts(const struct database *database, int64_t out[static DELIVERY_STATES]);

#endif
