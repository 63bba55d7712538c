/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 as people compare it: lower-case hex, and spelled for reading aloud. */
#ifndef RESEAL_DIGEST_H
#define RESEAL_DIGEST_H

#include "reseal/buf.h"

#define DIGEST_TEXT 65 /* 64 hex digits and the end mark */

bool digest_of(struct bytes content, char out[static DIGEST_TEXT], struct error *err) MUST_USE;
/* Of a file of any size. */
bool digest_of_file(const char *path, char out[static DIGEST_TEXT], struct error *err) MUST_USE;

/* The word of one hex digit: the ICAO spelling alphabet (Annex 10, volume II, 5.2.1.3) for a to f,
 * the English number for 0 to 9; NULL for anything else. */
const char *digest_word(char digit) MUST_USE;
/* Appends the words of hex digits, one blank between two. */
void digest_spell(struct buf *out, const char *hex, size_t digits);

#endif
