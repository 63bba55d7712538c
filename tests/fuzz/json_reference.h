/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second reader of JSON, written from RFC 8259 for comparison only: slow, obvious, and with
 * nothing in common with the one in src/core.
 */
#ifndef RESEAL_FUZZ_JSON_REFERENCE_H
#define RESEAL_FUZZ_JSON_REFERENCE_H

#include "reseal/json.h"

/* True where the text is JSON, within the limits, and free of all that our reader promises to
 * refuse. */
bool reference_accepts(const uint8_t *text, size_t len, const struct json_limits *limits) MUST_USE;
/* The same; and every value must be what `root` says, otherwise the process ends. */
bool reference_agrees(const uint8_t *text, size_t len, const struct json_limits *limits,
                      const struct json_value *root) MUST_USE;

#endif
