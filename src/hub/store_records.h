/* SPDX-License-Identifier: Apache-2.0 */
/* The record store: Graph's userPfxCertificates in the database. Inside the caller's transaction.
 */
#ifndef RESEAL_HUB_STORE_RECORDS_H
#define RESEAL_HUB_STORE_RECORDS_H

#include "reseal/record.h"
#include "store_db.h"

/* ASCII lower case: how user principal names and thumbprints are compared. `out` has `size` bytes;
 * false where it does not fit. */
bool text_fold(const char *text, char *out, size_t size) MUST_USE;

/*
 * Gives the record its id, `{user id}-{thumbprint}`. There is no directory here to ask for the
 * user's object id, so the user id is made from the name: the first 16 bytes of the SHA-256 of the
 * folded user principal name, in hexadecimal.
 */
bool record_identify(struct record *record, struct error *err) MUST_USE;

/* Stores the record; id and times are set. FAIL_EXISTS where this user has this certificate. */
bool record_insert(struct database *database, struct record *record, struct error *err) MUST_USE;
/* Reads all of it, with its secrets, into a record made by record_init. FAIL_NOT_FOUND. */
bool record_select(struct database *database, const char *id, struct record *out,
                   struct error *err) MUST_USE;
bool record_delete(struct database *database, const char *id, struct error *err) MUST_USE;
bool record_count(struct database *database, int64_t *out, struct error *err) MUST_USE;

struct record_query {
    const char *upn;        /* NULL: any; folded */
    const char *thumbprint; /* NULL: any; folded */
    int64_t after; /* sequence number of the last record that was seen; 0: from the start */
    int64_t limit;
};
/* `record` has no secrets and is only valid during the call; false ends the list with an error. */
typedef bool record_each(void *context, int64_t sequence, const struct record *record,
                         struct error *err);
bool record_list(struct database *database, const struct record_query *query, record_each *each,
                 void *context, struct error *err) MUST_USE;

#endif
