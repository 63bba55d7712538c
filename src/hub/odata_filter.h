/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of OData's $filter (OASIS OData 4.01 URL Conventions, section 5.1.1) that Graph's
 * clients use on userPfxCertificates:
 *
 *     term [and term]     term = NAME eq 'TEXT' | tolower(NAME) eq 'TEXT'
 *
 * with NAME userPrincipalName or thumbprint and each apostrophe in TEXT doubled. Both names are
 * compared without regard to ASCII case, with and without tolower, as neither has a case.
 */
#ifndef RESEAL_HUB_ODATA_FILTER_H
#define RESEAL_HUB_ODATA_FILTER_H

#include "reseal/record.h"

struct record_filter {
    bool has_upn, has_thumbprint;
    char upn[RECORD_UPN_MAX + 1]; /* folded */
    char thumbprint[RECORD_UPN_MAX + 1];
    bool empty; /* two terms that contradict each other: nothing can match */
};

/* `text` is decoded already. FAIL_INPUT says what is understood. */
bool record_filter_parse(const char *text, struct record_filter *out, struct error *err) MUST_USE;

#endif
