/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/secret.h"

static void buf_fail(struct buf *buf, bool starved)
{
    size_t max = buf->max;
    buf_free(buf);
    buf->max = max;
    buf->failed = true;
    buf->starved = starved;
}

/* Moves to a larger place by hand: realloc would leave an unwiped copy behind. */
static bool buf_grow(struct buf *buf, size_t need)
{
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < need)
        cap *= 2;
    if (cap > buf->max)
        cap = buf->max;
    uint8_t *data = malloc(cap + 1);
    if (data == NULL)
        return false;
    if (buf->data != NULL) {
        memcpy(data, buf->data, buf->len);
        memory_wipe(buf->data, buf->len);
        free(buf->data);
    }
    data[buf->len] = '\0';
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_reserve(struct buf *buf, size_t len)
{
    if (!buf->failed && len <= buf->max - buf->len && buf->len + len > buf->cap)
        (void)buf_grow(buf, buf->len + len);
}

uint8_t *buf_extend(struct buf *buf, size_t len)
{
    if (buf->failed)
        return NULL;
    if (len > buf->max - buf->len) {
        buf_fail(buf, false);
        return NULL;
    }
    size_t need = buf->len + len;
    if ((buf->data == NULL || need > buf->cap) && !buf_grow(buf, need)) {
        buf_fail(buf, true);
        return NULL;
    }
    uint8_t *place = buf->data + buf->len;
    buf->len = need;
    buf->data[need] = '\0';
    return place;
}

void buf_put(struct buf *buf, const void *data, size_t len)
{
    uint8_t *place = buf_extend(buf, len);
    if (place != NULL && len > 0)
        memcpy(place, data, len);
}

void buf_put_text(struct buf *buf, const char *text)
{
    buf_put(buf, text, strlen(text));
}

void buf_put_u8(struct buf *buf, uint8_t value)
{
    buf_put(buf, &value, 1);
}

void buf_put_u16(struct buf *buf, uint16_t value)
{
    uint8_t raw[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    buf_put(buf, raw, sizeof raw);
}

void buf_put_u32(struct buf *buf, uint32_t value)
{
    buf_put_u16(buf, (uint16_t)(value >> 16));
    buf_put_u16(buf, (uint16_t)value);
}

void buf_put_u64(struct buf *buf, uint64_t value)
{
    buf_put_u32(buf, (uint32_t)(value >> 32));
    buf_put_u32(buf, (uint32_t)value);
}

void buf_put_block(struct buf *buf, const void *data, size_t len)
{
    if (len > UINT32_MAX) {
        buf_fail(buf, false);
        return;
    }
    buf_put_u32(buf, (uint32_t)len);
    buf_put(buf, data, len);
}

void buf_put_text_block(struct buf *buf, const char *text)
{
    buf_put_block(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    uint8_t *place = len < 0 ? NULL : buf_extend(buf, (size_t)len);
    if (place != NULL) /* the end mark goes where buf_extend keeps one */
        vsnprintf((char *)place, (size_t)len + 1, format, again);
    va_end(again);
    va_end(args);
}

bool buf_check(const struct buf *buf, const char *what, struct error *err)
{
    if (!buf->failed)
        return true;
    if (buf->starved)
        return error_memory(err);
    return error_set(err, FAIL_TOO_LARGE, "%s exceeds its bound of %zu bytes", what, buf->max);
}

void buf_consume(struct buf *buf, size_t len)
{
    if (len > buf->len)
        len = buf->len;
    if (len == 0)
        return;
    size_t rest = buf->len - len;
    memmove(buf->data, buf->data + len, rest);
    memory_wipe(buf->data + rest, len);
    buf->len = rest;
}

void buf_reset(struct buf *buf)
{
    if (buf->data != NULL) {
        memory_wipe(buf->data, buf->len);
        buf->data[0] = '\0';
    }
    buf->len = 0;
    buf->failed = buf->starved = false;
}

void buf_free(struct buf *buf)
{
    buf_reset(buf);
    free(buf->data);
    buf->data = NULL;
    buf->cap = 0;
}

struct bytes buf_bytes(const struct buf *buf)
{
    return (struct bytes){buf->data, buf->len};
}

const char *buf_text(const struct buf *buf)
{
    return buf->data != NULL ? (const char *)buf->data : "";
}

struct cursor cursor_over(struct bytes bytes)
{
    return (struct cursor){bytes.data, bytes.len};
}

bool cursor_take(struct cursor *cursor, size_t len, struct bytes *out)
{
    if (len > cursor->left)
        return false;
    *out = (struct bytes){cursor->at, len};
    if (len > 0)
        cursor->at += len;
    cursor->left -= len;
    return true;
}

bool cursor_u8(struct cursor *cursor, uint8_t *out)
{
    struct bytes raw;
    if (!cursor_take(cursor, 1, &raw))
        return false;
    *out = raw.data[0];
    return true;
}

bool cursor_u16(struct cursor *cursor, uint16_t *out)
{
    struct bytes raw;
    if (!cursor_take(cursor, 2, &raw))
        return false;
    *out = (uint16_t)(raw.data[0] << 8 | raw.data[1]);
    return true;
}

bool cursor_u32(struct cursor *cursor, uint32_t *out)
{
    struct bytes raw;
    if (!cursor_take(cursor, 4, &raw))
        return false;
    *out = (uint32_t)raw.data[0] << 24 | (uint32_t)raw.data[1] << 16 | (uint32_t)raw.data[2] << 8 |
           raw.data[3];
    return true;
}

bool cursor_u64(struct cursor *cursor, uint64_t *out)
{
    struct cursor ahead = *cursor;
    uint32_t high, low;
    if (!cursor_u32(&ahead, &high) || !cursor_u32(&ahead, &low))
        return false;
    *out = (uint64_t)high << 32 | low;
    *cursor = ahead;
    return true;
}

bool cursor_block(struct cursor *cursor, size_t max, struct bytes *out)
{
    struct cursor ahead = *cursor;
    uint32_t len;
    if (!cursor_u32(&ahead, &len) || len > max || !cursor_take(&ahead, len, out))
        return false;
    *cursor = ahead;
    return true;
}

bool cursor_text(struct cursor *cursor, char *out, size_t size)
{
    struct cursor ahead = *cursor;
    struct bytes raw;
    if (size == 0 || !cursor_block(&ahead, size - 1, &raw))
        return false;
    if (raw.len > 0 && memchr(raw.data, '\0', raw.len) != NULL)
        return false;
    if (raw.len > 0)
        memcpy(out, raw.data, raw.len);
    out[raw.len] = '\0';
    *cursor = ahead;
    return true;
}
