/* SPDX-License-Identifier: Apache-2.0 */
/* A payload (reseal/payload.h) as its device finds it: where the CMS is in it, and where PFX and
 * password are. For tests, demos and diagnosis; FAIL_INPUT where it is not of the format. */
#ifndef RESEAL_PAYLOAD_READ_H
#define RESEAL_PAYLOAD_READ_H

#include "reseal/request.h"
#include "reseal/secret.h"

/* The format of a payload that came without a name for it, by its first bytes. */
enum format payload_guess_format(struct bytes payload) MUST_USE;
/* Appends the CMS in DER, and to `pfx` the PFX where the format has it beside the CMS. */
bool payload_take_apart(enum format format, struct bytes payload, struct buf *der, struct buf *pfx,
                        struct error *err) MUST_USE;
/* From what was in the CMS to the password, which *content becomes; appends the PFX to `pfx` where
 * the format has it in there. */
bool payload_take_password(enum format format, struct secret **content, struct buf *pfx,
                           struct error *err) MUST_USE;

#endif
