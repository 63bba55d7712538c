/* SPDX-License-Identifier: Apache-2.0 */
/* What a probe has found, shown to people. */
#ifndef RESEAL_CLI_TOKEN_REPORT_H
#define RESEAL_CLI_TOKEN_REPORT_H

#include <stdio.h>
#include "reseal/token.h"

/* Describes and probes the key of that label. */
bool token_examine_key(struct session *session, const char *name, struct key_finding *out,
                       struct error *err) MUST_USE;

bool token_report_print(const struct probe_report *report, FILE *out, struct error *err) MUST_USE;

#endif
