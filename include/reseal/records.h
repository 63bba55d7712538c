/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client of a record store with the shape of Graph's userPfxCertificates (beta): the hub, or
 * Microsoft Graph.
 */
#ifndef RESEAL_RECORDS_H
#define RESEAL_RECORDS_H

#include "reseal/record.h"
#include "reseal/web.h"

struct records;

/* `url` ends before "/deviceManagement": "https://graph.microsoft.com/beta". `web` outlives the
 * client. */
bool records_open(struct web *web, const char *url, struct records **out,
                  struct error *err) MUST_USE;
void records_close(struct records **records);

/* POST; fills id, created and modified. */
bool records_post(struct records *records, struct record *record, struct error *err) MUST_USE;
bool records_get(struct records *records, const char *id, struct record *out,
                 struct error *err) MUST_USE;
bool records_delete(struct records *records, const char *id, struct error *err) MUST_USE;

typedef bool records_each(void *context, const struct record *record, struct error *err);
/* Calls `each` for every record, page by page (@odata.nextLink); `upn` and `thumbprint` narrow the
 * list unless NULL. */
bool records_list(struct records *records, const char *upn, const char *thumbprint,
                  records_each *each, void *context, struct error *err) MUST_USE;

#endif
