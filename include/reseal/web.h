/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking JSON over HTTP for commands: bearer token, CA file, bounded answers, errors in words.
 */
#ifndef RESEAL_WEB_H
#define RESEAL_WEB_H

#include "reseal/json.h"
#include "reseal/secret.h"

struct web;

/* `token` may be NULL (no Authorization); it is copied into the secure heap. */
bool web_open(const struct secret *token, const char *ca_file, struct web **out,
              struct error *err) MUST_USE;
void web_close(struct web **web);

struct web_answer {
    long status;       /* HTTP status */
    struct json *json; /* NULL where the body is empty; owned */
};
void web_answer_free(struct web_answer *answer);

/* `body` NULL: none. Statuses below 400 are success. 401 and 403: FAIL_AUTH; 404: FAIL_NOT_FOUND;
 * 409: FAIL_EXISTS; other 4xx: FAIL_INPUT with the service's code and message; 5xx, no connection:
 * FAIL_REMOTE. */
bool web_call(struct web *web, const char *method, const char *url, const struct buf *body,
              struct web_answer *out, struct error *err) MUST_USE;
/* Appends a percent-encoded URL part (RFC 3986 unreserved characters stay). */
bool web_encode(struct web *web, const char *text, struct buf *out, struct error *err) MUST_USE;

#endif
