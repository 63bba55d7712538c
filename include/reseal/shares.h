/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shares of a PIN: `needed` of `count` people have it together, and fewer know nothing of it but
 * that it is not longer than so many bytes (Shamir's scheme over GF(2^8), by libgfshare).
 *
 * A share is one line to be printed and typed in again: base32 (RFC 4648, section 6) in groups of
 * four. It says what it is (how many are needed, how many there are, its number, the set that it
 * belongs to) and has a checksum, so that a slip of the pen is found and named when it is typed.
 * That shares which are each whole belong together, and give the PIN, is told by a digest that is
 * shared with it.
 *
 * Shares and PIN are in the secure heap alone. libgfshare works in ordinary memory, so it gets them
 * under a one-time pad: the scheme is linear, and the pad comes out as it went in.
 */
#ifndef RESEAL_SHARES_H
#define RESEAL_SHARES_H

#include "reseal/secret.h"

#define SHARES_MAX       16
#define SHARE_SECRET_MAX 255  /* bytes of what is shared */
#define SHARE_LINE_MAX   1024 /* bytes of a line, with room for what people add */
#define SHARE_SET_TEXT   9    /* hex digits of a set, and the end mark */

struct share_facts {
    unsigned needed, count;
    unsigned number; /* from 1 */
    char set[SHARE_SET_TEXT];
};

/* Makes `count` lines, each for one person; 2 <= needed <= count <= SHARES_MAX. `out` has `count`
 * places, which the caller frees. */
bool shares_make(const struct secret *secret, unsigned needed, unsigned count, struct secret **out,
                 struct share_facts *facts, struct error *err) MUST_USE;

struct share_joining;
bool share_joining_new(struct share_joining **out, struct error *err) MUST_USE;
void share_joining_free(struct share_joining **joining);
/*
 * Adds one line; blanks, line ends and dashes in it do not count, nor does the case of letters.
 * FAIL_INPUT: it is no share, or its checksum is wrong; FAIL_POLICY: it is of another set;
 * FAIL_EXISTS: it was added before. `facts` is filled as far as the line could be read.
 */
bool share_joining_add(struct share_joining *joining, struct bytes line, struct share_facts *facts,
                       struct error *err) MUST_USE;
/* The same for a text: one share a line; empty lines, and those that begin with '#', are for
 * people. The error names the line. */
bool share_joining_take(struct share_joining *joining, struct bytes text,
                        struct error *err) MUST_USE;
/* How many more are needed; 0: it can be joined. 1 before the first. */
unsigned share_joining_missing(const struct share_joining *joining) MUST_USE;
/* FAIL_POLICY where the shares do not give what was shared: one of them was altered as a whole. */
bool share_joining_finish(struct share_joining *joining, struct secret **out,
                          struct error *err) MUST_USE;

#endif
