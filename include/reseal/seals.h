/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed passwords of a hub's records, read and replaced by whoever rotates a sealing key.
 *
 * Graph itself never gives a sealed password back, so reading them is the hub's own API
 * (/v1/seals), under a token of its own. Replacing one is a PATCH of the record under the condition
 * that it still has the seal that was read.
 */
#ifndef RESEAL_SEALS_H
#define RESEAL_SEALS_H

#include "reseal/record.h"
#include "reseal/web.h"

#define SEAL_ETAG_MAX 96 /* bytes of an entity tag, quotes included */

struct seals;

/* `hub` ends before "/v1", `records` before "/deviceManagement"; `web` has the rotation token and
 * outlives the client. */
bool seals_open(struct web *web, const char *hub, const char *records, struct seals **out,
                struct error *err) MUST_USE;
void seals_close(struct seals **seals);

struct seal {
    char id[RECORD_ID_MAX + 1]; /* of the record */
    char etag[SEAL_ETAG_MAX + 1];
    char provider_name[RECORD_NAME_MAX + 1];
    enum padding padding;
    struct buf sealed;
};

/* A page of the seals under one key. */
struct seal_page {
    int64_t records;  /* under the key when the first page was read; -1: not told */
    int64_t requests; /* that wait in the hub's queue with a seal of the key; -1: not told */
    size_t count, unreadable; /* seals here, and what could not be read as one */
    struct seal *seals;
    int64_t next; /* for the next page; 0: this was the last */
};
void seal_page_free(struct seal_page *page);
/* `after` is 0 for the first page, otherwise `next` of the page before. `most`: seals wished for; 0
 * gives the counts alone. */
bool seals_read(struct seals *seals, const char *key_name, int64_t after, int most,
                struct seal_page *out, struct error *err) MUST_USE;

/* What a record is to be sealed with from now on. */
struct new_seal {
    const char *key_name;
    const char *provider_name; /* NULL: as it is */
    enum padding padding;
    struct bytes sealed;
};
/* FAIL_EXISTS where the record has another seal by now, and nothing was changed; FAIL_NOT_FOUND
 * where it is gone. */
bool seals_replace(struct seals *seals, const struct seal *old, const struct new_seal *seal,
                   struct error *err) MUST_USE;

#endif
