/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sealed passwords of records, as a rotation reads and replaces them. Inside the caller's
 * transaction.
 *
 * A record's entity tag is the SHA-256 of its sealed password in hexadecimal. OAEP is randomised,
 * so a seal that was made anew has another tag, and the tag tells nothing about the password.
 */
#ifndef RESEAL_HUB_STORE_SEALS_H
#define RESEAL_HUB_STORE_SEALS_H

#include "reseal/json.h"
#include "reseal/record.h"
#include "store_db.h"

#define SEAL_TAG 65 /* with the end mark */

bool seal_tag(struct bytes sealed, char out[static SEAL_TAG], struct error *err) MUST_USE;
/* Writes the member "@odata.etag" (OData JSON 4.01, section 4.5.8), the tag in quotes (RFC 9110,
 * section 8.8.3). */
bool seal_put_etag(struct json_writer *json, struct bytes sealed, struct error *err) MUST_USE;

struct seal_row {
    const char *id, *provider_name;
    enum padding padding;
    struct bytes sealed;
};
/* Only valid during the call; false ends the list with an error. */
typedef bool seal_each(void *context, int64_t sequence, const struct seal_row *row,
                       struct error *err);
/* The records under that key with a sequence number over `after`, at most `limit`. */
bool seal_list(struct database *database, const char *key_name, int64_t after, int64_t limit,
               seal_each *each, void *context, struct error *err) MUST_USE;

/* Before the hub works: notes the keys of requests that wait since before the database noted them,
 * or in a queue that was not that of requests. */
bool seal_note_waiting(struct database *database, struct error *err) MUST_USE;
/* How many records are under that key, and how many requests that wait in the hub's queue. */
bool seal_counts(struct database *database, const char *key_name, int64_t *records,
                 int64_t *requests, struct error *err) MUST_USE;

struct seal_change {
    char id[RECORD_ID_MAX + 1];
    char expected[SEAL_TAG]; /* the tag that the record must have; empty: any */
    char key_name[RECORD_NAME_MAX + 1];
    bool has_provider;
    char provider_name[RECORD_NAME_MAX + 1];
    enum padding padding;
    struct buf sealed;
};
/* Replaces the seal of one record, all of it or nothing. *matched is false, and nothing is changed,
 * where the record has another tag. FAIL_NOT_FOUND. */
bool seal_replace(struct database *database, const struct seal_change *change, bool *matched,
                  struct error *err) MUST_USE;

#endif
