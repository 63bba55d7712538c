/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking JSON over HTTP for commands: bearer token, CA file, bounded answers, errors in words.
 *
 * Only http and https are spoken and no redirect is followed, so that the token goes nowhere but to
 * the URL that was asked for.
 */
#ifndef RESEAL_WEB_H
#define RESEAL_WEB_H

#include "reseal/json.h"
#include "reseal/secret.h"

#define WEB_BODY_MAX (4 * 1024 * 1024) /* bytes of one answer */

struct web;

/* `token` may be NULL (no Authorization); it is copied into the secure heap. */
bool web_open(const struct secret *token, const char *ca_file, struct web **out,
              struct error *err) MUST_USE;
void web_close(struct web **web);
/* The client certificate and its key, PEM files, for services that want one. */
bool web_identify(struct web *web, const char *certificate, const char *key,
                  struct error *err) MUST_USE;

struct web_answer {
    long status;         /* HTTP status */
    char request_id[80]; /* as the service names the call; empty: it does not */
    char code[64];       /* of its error, "invalid_client"; empty: it says none */
    struct json *json;   /* NULL where the body is empty; owned */
};
void web_answer_free(struct web_answer *answer);

/*
 * `body` NULL: none. Statuses from 200 to 299 are success. 401 and 403: FAIL_AUTH; 404:
 * FAIL_NOT_FOUND; 409: FAIL_EXISTS; 413: FAIL_TOO_LARGE; other 4xx: FAIL_INPUT; 408, 429, 5xx, no
 * connection, an answer that is no JSON: FAIL_REMOTE. The text has the service's code and message
 * and its request-id. After 429 and 503 the call is tried again a few times, waiting as long as
 * Retry-After or x-ms-retry-after-ms ask for, within bounds.
 */
bool web_call(struct web *web, const char *method, const char *url, const struct buf *body,
              struct web_answer *out, struct error *err) MUST_USE;
/* The same under the condition that what is at the URL has this entity tag, in its quotes
 * (If-Match; RFC 9110, section 13.1.1). Where it has not, the call fails with status 412. */
bool web_call_if(struct web *web, const char *method, const char *url, const char *if_match,
                 const struct buf *body, struct web_answer *out, struct error *err) MUST_USE;
/* POST of a form (application/x-www-form-urlencoded), as OAuth has it. */
bool web_post_form(struct web *web, const char *url, const struct buf *form, struct web_answer *out,
                   struct error *err) MUST_USE;
/* Appends a percent-encoded URL part (RFC 3986 unreserved characters stay). */
bool web_encode(struct web *web, const char *text, struct buf *out, struct error *err) MUST_USE;
/* Checks that `url` is absolute http or https without user, query and fragment. `what` names it in
 * the error (FAIL_USAGE). */
bool web_check_base(const char *url, const char *what, struct error *err) MUST_USE;
/* Where a secret of a login is to go: https, or this machine itself; FAIL_USAGE otherwise. */
bool web_check_private(const char *url, const char *what, struct error *err) MUST_USE;
/* True if both have the same scheme, host and port (RFC 6454). */
bool web_same_origin(const char *a, const char *b) MUST_USE;

#endif
