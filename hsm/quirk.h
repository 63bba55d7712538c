/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of particular tokens and cannot be found out by doing. How a token does the job is
 * tried (way.c, with the variants of custody_token.c, content_key.c and custody_host.c): only what
 * no trial tells stands in these tables, by the token's own words about itself.
 */
#ifndef RESEAL_HSM_QUIRK_H
#define RESEAL_HSM_QUIRK_H

#include <p11-kit/pkcs11.h>
#include "reseal/probe_report.h"

/* Whether that answer of C_Login, which says nothing by itself, is known to be none about the PIN
 * on this token. */
bool quirk_login_is_harmless(const struct token_facts *token, CK_RV rv) MUST_USE;

/* Writes what would raise the custody of that form, in words; nothing where it is the highest. */
void quirk_advice(const struct token_facts *token, const struct key_attributes *key,
                  const struct form_finding *form, char *out, size_t size);

#endif
