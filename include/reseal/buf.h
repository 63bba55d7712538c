/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one buffer type: bytes that grow up to a ceiling stated at birth.
 *
 * Appending never needs a check of its own: the first failure (ceiling reached, no memory) wipes
 * and empties the buffer and sticks, every later append does nothing, and buf_check tells at the
 * end. A buffer that is not checked before use is a bug. Growing, resetting and freeing wipe what
 * is left behind, because any buffer may have held something that matters.
 *
 * Reading goes through a cursor that knows how much is left; nothing is read by pointer arithmetic.
 */
#ifndef RESEAL_BUF_H
#define RESEAL_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "reseal/error.h"

/* A view of bytes owned by someone else. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

struct buf {
    uint8_t *data; /* NULL while nothing was reserved; otherwise followed by a NUL byte */
    size_t len;    /* bytes in use */
    size_t cap;    /* bytes reserved */
    size_t max;    /* the ceiling */
    bool failed;   /* an append did not fit, or there was no memory for it */
    bool starved;  /* it was memory */
};

#define BUF_INIT(ceiling)                                                                          \
    {                                                                                              \
        NULL, 0, 0, (ceiling), false, false                                                        \
    }

/* Makes room for `len` more bytes at once where they fit; a hint that cannot fail. */
void buf_reserve(struct buf *buf, size_t len);
/* Room for `len` more bytes, already counted into the buffer, to be filled by the caller; NULL on
 * failure. */
uint8_t *buf_extend(struct buf *buf, size_t len) MUST_USE;
void buf_put(struct buf *buf, const void *data, size_t len);
void buf_put_text(struct buf *buf, const char *text);
void buf_put_u8(struct buf *buf, uint8_t value);
void buf_put_u16(struct buf *buf, uint16_t value); /* big-endian, as all that follow */
void buf_put_u32(struct buf *buf, uint32_t value);
void buf_put_u64(struct buf *buf, uint64_t value);
/* A 32-bit length, then the bytes. */
void buf_put_block(struct buf *buf, const void *data, size_t len);
void buf_put_text_block(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);

/* True if every append fitted; otherwise says that `what` exceeds its ceiling (FAIL_TOO_LARGE), or
 * that there was no memory. */
bool buf_check(const struct buf *buf, const char *what, struct error *err) MUST_USE;
/* Drops the first `len` bytes and wipes their place. */
void buf_consume(struct buf *buf, size_t len);
/* Wipes and empties, keeps the memory, clears a failure. */
void buf_reset(struct buf *buf);
/* Wipes, frees, leaves an empty buffer with the same ceiling. */
void buf_free(struct buf *buf);
/* The bytes as a view, valid until the buffer changes. */
struct bytes buf_bytes(const struct buf *buf) MUST_USE;
/* The content as a C string ("" while empty), valid until the buffer changes. */
const char *buf_text(const struct buf *buf) MUST_USE;

struct cursor {
    const uint8_t *at;
    size_t left;
};

struct cursor cursor_over(struct bytes bytes) MUST_USE;
/* Each returns false, and takes nothing, if what is asked for is not there. */
bool cursor_u8(struct cursor *cursor, uint8_t *out) MUST_USE;
bool cursor_u16(struct cursor *cursor, uint16_t *out) MUST_USE;
bool cursor_u32(struct cursor *cursor, uint32_t *out) MUST_USE;
bool cursor_u64(struct cursor *cursor, uint64_t *out) MUST_USE;
bool cursor_take(struct cursor *cursor, size_t len, struct bytes *out) MUST_USE;
/* A block of at most `max` bytes. */
bool cursor_block(struct cursor *cursor, size_t max, struct bytes *out) MUST_USE;
/* A block of text without NUL, copied with its end mark into `out` of `size` bytes. */
bool cursor_text(struct cursor *cursor, char *out, size_t size) MUST_USE;

#endif
