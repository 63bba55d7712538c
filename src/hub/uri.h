/* SPDX-License-Identifier: Apache-2.0 */
/* Request targets (RFC 3986): percent-encoding and query parameters. */
#ifndef RESEAL_HUB_URI_H
#define RESEAL_HUB_URI_H

#include "reseal/buf.h"

enum uri_part {
    URI_PATH,  /* '+' stands for itself */
    URI_QUERY, /* '+' stands for a space */
};
/* Decodes into `out` of `size` bytes. False for a broken escape, a control character, text that is
 * not strict UTF-8, or no room. */
bool uri_decode(enum uri_part part, const char *text, size_t len, char *out, size_t size) MUST_USE;

/* One name=value pair of a query as it stands in the text. */
struct uri_parameter {
    struct bytes name, value, whole;
};
/* Takes the next pair from *query; false at its end. */
bool uri_next_parameter(const char **query, struct uri_parameter *out) MUST_USE;

#endif
