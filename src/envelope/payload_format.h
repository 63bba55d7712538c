/* SPDX-License-Identifier: Apache-2.0 */
/* One file per format of a payload (reseal/payload.h), and what they share. */
#ifndef RESEAL_ENVELOPE_PAYLOAD_FORMAT_H
#define RESEAL_ENVELOPE_PAYLOAD_FORMAT_H

#include "reseal/payload.h"

#define WINDOWS_SOFTWARE 3U /* KeyLocation */

/* The thumbprint of the request, which may be in either case, in the one that is wanted. */
void thumbprint_in_case(const struct request *request, bool capital, char out[RECORD_THUMBPRINT]);

bool apple_check(const struct request *request, struct error *err) MUST_USE;
bool apple_around_password(const struct payload_options *options, const struct request *request,
                           struct buf *prefix, struct buf *suffix, struct error *err) MUST_USE;
bool apple_write(const struct payload_options *options, const struct request *request,
                 struct bytes der, struct buf *out, struct error *err) MUST_USE;

void windows_write(const struct payload_options *options, const struct request *request,
                   struct bytes der, struct buf *out);

#endif
