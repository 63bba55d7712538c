/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4, the server's side: is this request from someone who holds one of our
 * access keys, and is it, to the last byte, what he signed?
 *
 * One verifier serves one thread.
 */
#ifndef RESEAL_HUB_SIGV4_H
#define RESEAL_HUB_SIGV4_H

#include "reseal/credentials.h"

#define SIGV4_REGION_MAX 64
#define SIGV4_SKEW_MAX_S 900 /* how far the signer's clock may be from ours */

enum sigv4_verdict {
    SIGV4_GOOD,
    SIGV4_MISSING,     /* not signed at all */
    SIGV4_INCOMPLETE,  /* signed in a way that is not SigV4 for SQS, or that leaves too much out */
    SIGV4_UNKNOWN_KEY, /* nobody here has this access key */
    SIGV4_EXPIRED,     /* signed too long ago */
    SIGV4_FUTURE,      /* signed by a clock that is ahead of ours */
    SIGV4_MISMATCH,    /* the signature is not that of this request */
    SIGV4_FAULT,       /* our own failure */
};

struct sigv4_request {
    const char *method;
    const char *path;  /* as it came, percent-encoded */
    const char *query; /* as it came; only "" is accepted */
    /* The value of a header by its lower-case name, or NULL. */
    const char *(*header)(const void *context, const char *name);
    const void *context;
    struct bytes body;
    int64_t now_ms; /* real time */
};

/* Who has signed. */
struct sigv4_signer {
    char region[SIGV4_REGION_MAX + 1];   /* that was signed for */
    const struct credential *credential; /* owned by the credentials; NULL: not known */
};

struct sigv4;

/* `credentials` outlive the verifier. */
bool sigv4_open(const struct credentials *credentials, struct sigv4 **out,
                struct error *err) MUST_USE;
void sigv4_close(struct sigv4 **sigv4);
/* From now on these credentials count. */
void sigv4_renew(struct sigv4 *sigv4, const struct credentials *credentials);

/* Everything that can be told from the headers, before a body is accepted: form, key and clock.
 * On anything but SIGV4_GOOD `err` says why. */
enum sigv4_verdict sigv4_check_headers(const struct sigv4 *sigv4,
                                       const struct sigv4_request *request,
                                       struct sigv4_signer *signer, struct error *err) MUST_USE;
/* The same and the signature itself. */
enum sigv4_verdict sigv4_verify(struct sigv4 *sigv4, const struct sigv4_request *request,
                                struct sigv4_signer *signer, struct error *err) MUST_USE;

#endif
