/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error type.
 *
 * A function that can fail returns bool, takes a `struct error *` as its last parameter (never
 * NULL) and fills it when it returns false. The text is made once, where the facts are: what was
 * done, on what, why it failed. The hint says what a person can do about it. No secret is ever put
 * into either.
 */
#ifndef RESEAL_ERROR_H
#define RESEAL_ERROR_H

#include <stdbool.h>
#include "reseal/compiler.h"

enum failure {
    FAIL_NONE = 0,
    FAIL_INTERNAL,    /* a resource ran out, or a bug of ours */
    FAIL_USAGE,       /* the command line or the configuration is wrong */
    FAIL_INPUT,       /* bytes from outside that are not what they must be */
    FAIL_IO,          /* a file, a descriptor or the system refused */
    FAIL_NOT_FOUND,   /* what was named does not exist */
    FAIL_EXISTS,      /* what should be made is there already */
    FAIL_TOO_LARGE,   /* over a stated bound */
    FAIL_POLICY,      /* allowed by the means at hand, but not by the rules */
    FAIL_CRYPTO,      /* the cryptography of one message failed; the cause is never told apart */
    FAIL_UNSUPPORTED, /* a valid wish that this build, token or format cannot fulfil */
    FAIL_TOKEN,       /* the token cannot do it now; another try may succeed */
    FAIL_PIN,         /* the PIN was refused or must not be tried; stop until a person acts */
    FAIL_AUTH,        /* the other side does not accept our credentials */
    FAIL_REMOTE,      /* the other side is away or answers with a fault */
};

struct error {
    enum failure kind;
    char text[768]; /* what, where, why; one line of UTF-8, no full stop at the end */
    char hint[384]; /* what to do; may be empty */
};

#define ERROR_INIT                                                                                 \
    {                                                                                              \
        FAIL_NONE, "", ""                                                                          \
    }

/* Sets kind and text and empties the hint. Always returns false, so that `return error_set(...)`
 * reads as what it is. Control characters and bytes that are not UTF-8 are replaced in the text. */
bool error_set(struct error *err, enum failure kind, const char *format, ...) PRINTF_LIKE(3, 4);

/* Sets the text of what could not be opened from errno: FAIL_NOT_FOUND where it is not there, else
 * FAIL_IO. Where the user may not, the hint names that user. Always false. */
bool error_open(struct error *err, const char *what);
/* Sets the hint of an error that has been set. Returns false. */
bool error_hint(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts "context: " before the text. Returns false. */
bool error_context(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* As error_set, with ": " and the text of OpenSSL's newest queued error; empties OpenSSL's queue.
 */
bool error_openssl(struct error *err, enum failure kind, const char *format, ...) PRINTF_LIKE(3, 4);

/* As error_set, with ": " and the text of errno. */
bool error_errno(struct error *err, enum failure kind, const char *format, ...) PRINTF_LIKE(3, 4);

bool error_memory(struct error *err);

/* The exit status of a program that ends with this failure: 0 done, 1 failed, 2 usage, 3 refused by
 * policy, 4 token, 5 remote. */
int error_exit_status(enum failure kind) MUST_USE;

/* The kind as one lower-case word, for logs and JSON. */
const char *failure_name(enum failure kind) MUST_USE;

#endif
