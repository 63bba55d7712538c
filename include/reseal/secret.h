/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets: passwords and PINs.
 *
 * They live in OpenSSL's secure heap only: locked into memory, left out of core dumps, guarded by
 * unmapped pages, wiped when freed. A process calls secret_heap_open once before its first secret.
 */
#ifndef RESEAL_SECRET_H
#define RESEAL_SECRET_H

#include "reseal/buf.h"

struct secret;

/* Reserves the heap, `bytes` a power of two. A heap that the system will not lock is a failure,
 * with the limit to raise in the hint: a secret that may be swapped is not held. Calling it again
 * is harmless. */
bool secret_heap_open(size_t bytes, struct error *err) MUST_USE;

/* A secret of `len` zero bytes (0 is allowed). */
bool secret_new(size_t len, struct secret **out, struct error *err) MUST_USE;
bool secret_copy(const void *data, size_t len, struct secret **out, struct error *err) MUST_USE;
uint8_t *secret_data(struct secret *secret) MUST_USE;
struct bytes secret_bytes(const struct secret *secret) MUST_USE;
size_t secret_len(const struct secret *secret) MUST_USE;
/* Makes it shorter; the bytes beyond are wiped. */
void secret_truncate(struct secret *secret, size_t len);
/* Wipes, frees and sets the caller's pointer to NULL. NULL is allowed. */
void secret_free(struct secret **secret);

/* Overwrites memory in a way that the compiler keeps. */
void memory_wipe(void *data, size_t len);

/*
 * Reads a secret from where a person or a service keeps it; it is never taken from argv,
 * environment or the configuration itself. `source` is one of
 *
 * - file:PATH, the file's content; refused where others may read the file
 * - fd:N, what descriptor N gives until its end
 * - credential:NAME, the systemd credential of that name ($CREDENTIALS_DIRECTORY/NAME)
 * - prompt, asked on the terminal without echo, `prompt` being the question
 * - shares:prompt, shares of it, asked for one by one (reseal/shares.h)
 * - shares:fd:N, the same, one a line, from descriptor N
 *
 * One line end at the end (LF or CRLF) is not part of the secret. At most `max` bytes.
 */
bool secret_read(const char *source, const char *prompt, size_t max, struct secret **out,
                 struct error *err) MUST_USE;
/* True if `source` has one of the forms above; does not read it. */
bool secret_source_check(const char *source, struct error *err) MUST_USE;
/* Fills `out` and returns true where the source is a file, which need not be there. */
bool secret_source_path(const char *source, char *out, size_t size) MUST_USE;

/* Makes this process non-dumpable, sets RLIMIT_CORE to 0 and ignores SIGPIPE. */
bool process_harden(struct error *err) MUST_USE;

#endif
