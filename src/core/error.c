/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <openssl/err.h>
#include "reseal/text.h"

PRINTF_LIKE(3, 0)
static void format_text(char *out, size_t size, const char *format, va_list args)
{
    int len = vsnprintf(out, size, format, args);
    if (len < 0)
        out[0] = '\0';
    /* A cut in the middle of a UTF-8 sequence would make the whole text look broken. */
    if (len >= 0 && (size_t)len >= size) {
        size_t end = size - 1;
        while (end > 0 && ((unsigned char)out[end - 1] & 0xc0) == 0x80)
            end--;
        if (end > 0 && (unsigned char)out[end - 1] >= 0xc0)
            end--;
        if ((unsigned char)out[size - 2] >= 0x80)
            out[end] = '\0';
    }
    text_make_printable(out); /* error texts end up on terminals and in logs */
}

bool error_set(struct error *err, enum failure kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char text[sizeof err->text]; /* an argument may be the old text */
    format_text(text, sizeof text, format, args);
    va_end(args);
    err->kind = kind;
    err->hint[0] = '\0';
    memcpy(err->text, text, sizeof text);
    return false;
}

bool error_hint(struct error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    format_text(err->hint, sizeof err->hint, format, args);
    va_end(args);
    return false;
}

static void append_reason(struct error *err, const char *reason)
{
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", reason);
    text_make_printable(err->text);
}

bool error_context(struct error *err, const char *format, ...)
{
    char context[sizeof err->text / 2];
    char old[sizeof err->text];
    va_list args;
    va_start(args, format);
    format_text(context, sizeof context, format, args);
    va_end(args);
    memcpy(old, err->text, sizeof old);
    int len = snprintf(err->text, sizeof err->text, "%s: ", context);
    size_t used = len < 0 ? 0 : (size_t)len;
    snprintf(err->text + used, sizeof err->text - used, "%.*s", (int)(sizeof err->text - used - 1),
             old);
    text_make_printable(err->text);
    return false;
}

bool error_openssl(struct error *err, enum failure kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    format_text(err->text, sizeof err->text, format, args);
    va_end(args);
    err->kind = kind;
    err->hint[0] = '\0';
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    append_reason(err, reason != NULL ? reason : "OpenSSL gives no reason");
    ERR_clear_error();
    return false;
}

bool error_errno(struct error *err, enum failure kind, const char *format, ...)
{
    int number = errno;
    va_list args;
    va_start(args, format);
    format_text(err->text, sizeof err->text, format, args);
    va_end(args);
    err->kind = kind;
    err->hint[0] = '\0';
    char reason[128];
    if (strerror_r(number, reason, sizeof reason) != 0)
        snprintf(reason, sizeof reason, "error %d", number);
    append_reason(err, reason);
    errno = number;
    return false;
}

bool error_open(struct error *err, const char *what)
{
    int number = errno;
    error_errno(err, number == ENOENT ? FAIL_NOT_FOUND : FAIL_IO, "cannot open %s", what);
    if (number == EACCES)
        error_hint(err,
                   "this program runs as the user with number %lu: let that user read the file and "
                   "enter its folder",
                   (unsigned long)geteuid());
    return false;
}

bool error_memory(struct error *err)
{
    return error_set(err, FAIL_INTERNAL, "out of memory");
}

int error_exit_status(enum failure kind)
{
    switch (kind) {
    case FAIL_NONE:
        return 0;
    case FAIL_USAGE:
        return 2;
    case FAIL_POLICY:
        return 3;
    case FAIL_TOKEN:
    case FAIL_PIN:
        return 4;
    case FAIL_AUTH:
    case FAIL_REMOTE:
        return 5;
    case FAIL_INTERNAL:
    case FAIL_INPUT:
    case FAIL_IO:
    case FAIL_NOT_FOUND:
    case FAIL_EXISTS:
    case FAIL_TOO_LARGE:
    case FAIL_CRYPTO:
    case FAIL_UNSUPPORTED:
        return 1;
    }
    return 1;
}

const char *failure_name(enum failure kind)
{
    static const char *const names[] = {
        [FAIL_NONE] = "none",
        [FAIL_INTERNAL] = "internal",
        [FAIL_USAGE] = "usage",
        [FAIL_INPUT] = "input",
        [FAIL_IO] = "io",
        [FAIL_NOT_FOUND] = "not-found",
        [FAIL_EXISTS] = "exists",
        [FAIL_TOO_LARGE] = "too-large",
        [FAIL_POLICY] = "policy",
        [FAIL_CRYPTO] = "cryptography",
        [FAIL_UNSUPPORTED] = "unsupported",
        [FAIL_TOKEN] = "token",
        [FAIL_PIN] = "pin",
        [FAIL_AUTH] = "authentication",
        [FAIL_REMOTE] = "remote",
    };
    return (size_t)kind < ARRAY_LEN(names) ? names[kind] : "unknown";
}
