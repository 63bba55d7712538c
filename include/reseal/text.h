/* SPDX-License-Identifier: Apache-2.0 */
/* Text encodings: strict UTF-8 (RFC 3629), base64 (RFC 4648 section 4), hexadecimal, UUIDs (RFC
 * 9562). */
#ifndef RESEAL_TEXT_H
#define RESEAL_TEXT_H

#include "reseal/buf.h"

/* True for UTF-8 without overlong forms, surrogates, code points above U+10FFFF or NUL. */
bool utf8_is_strict(const void *data, size_t len) MUST_USE;

/* The length of the character at `at` where it could steer a terminal or turn the reading direction
 * of a log (C0, DEL, C1, U+2028, U+2029 and the bidirectional controls); otherwise 0. */
size_t text_control_len(const char *at) MUST_USE;
/* Replaces such characters by question marks, and every byte beyond ASCII where the text is not
 * UTF-8. */
void text_make_printable(char *text);

/* Appends the base64 of the bytes. */
void base64_encode(struct buf *out, const void *data, size_t len);
/* The same in the alphabet for URLs, without padding (section 5). */
void base64url_encode(struct buf *out, const void *data, size_t len);
/* Appends the decoded bytes. Strict: no white space, right padding, no stray bits. `what` names the
 * field in the error (FAIL_INPUT). */
bool base64_decode(struct buf *out, const char *text, size_t len, const char *what,
                   struct error *err) MUST_USE;

/* Lower-case hexadecimal with an end mark; `out` has room for 2 * len + 1 characters. */
void hex_encode(char *out, const void *data, size_t len);
bool hex_decode(struct buf *out, const char *text, size_t len, const char *what,
                struct error *err) MUST_USE;

#define UUID_TEXT 37 /* 36 characters and the end mark */
/* A random UUID (version 4). */
bool uuid_random(char out[static UUID_TEXT], struct error *err) MUST_USE;
/* A UUID that begins with the time (version 7, RFC 9562 section 5.7, the time of day to 1/4096 ms
 * by section 6.2, method 3): those made later sort behind, unless the clock is set back. 62 bits of
 * it are random. */
bool uuid_ordered(char out[static UUID_TEXT], struct error *err) MUST_USE;
/* A UUID made from the SHA-256 of the bytes (version 8): the same bytes give the same UUID. */
bool uuid_from(const void *data, size_t len, char out[static UUID_TEXT],
               struct error *err) MUST_USE;

/* strcmp without regard to ASCII case. */
bool text_equal_nocase(const char *a, const char *b) MUST_USE;
/* Comparison whose time does not depend on where the inputs differ. */
bool text_equal_constant_time(const char *a, const char *b) MUST_USE;
/* The name in `names` (NULL-terminated) nearest to `word`, or NULL where none is near. */
const char *text_nearest(const char *word, const char *const *names) MUST_USE;

#endif
