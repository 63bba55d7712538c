/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include "reseal/json.h"
#include "reseal/text.h"

struct json_writer {
    yajl_gen gen;
    yajl_gen_status status; /* the first one that was not ok */
    struct buf literal;     /* a string value as it is written, with its quotes */
};

#define LITERAL_MAX (64 * 1024 * 1024)

bool json_writer_new(bool pretty, struct json_writer **out, struct error *err)
{
    *out = NULL;
    struct json_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return error_memory(err);
    writer->gen = yajl_gen_alloc(NULL);
    if (writer->gen == NULL) {
        free(writer);
        return error_memory(err);
    }
    yajl_gen_config(writer->gen, yajl_gen_beautify, pretty ? 1 : 0);
    yajl_gen_config(writer->gen, yajl_gen_indent_string, "  ");
    writer->status = yajl_gen_status_ok;
    writer->literal = (struct buf)BUF_INIT(LITERAL_MAX);
    *out = writer;
    return true;
}

void json_writer_free(struct json_writer **writer)
{
    if (writer == NULL || *writer == NULL)
        return;
    yajl_gen_free((*writer)->gen);
    buf_free(&(*writer)->literal);
    free(*writer);
    *writer = NULL;
}

static void keep(struct json_writer *writer, yajl_gen_status status)
{
    if (writer->status == yajl_gen_status_ok)
        writer->status = status;
}

static void put_key(struct json_writer *writer, const char *key)
{
    if (key == NULL)
        return;
    if (!utf8_is_strict(key, strlen(key)))
        keep(writer, yajl_gen_invalid_string);
    else
        keep(writer, yajl_gen_string(writer->gen, (const unsigned char *)key, strlen(key)));
}

/* Length of what needs no escape at the beginning of `text` (RFC 8259, section 7), eight bytes at
 * a time as long as all of them are such. */
static size_t plain_span(const uint8_t *text, size_t len)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t at = 0;
    while (len - at >= 8) {
        uint64_t word;
        memcpy(&word, text + at, sizeof word);
        uint64_t quote = word ^ ones * '"', back = word ^ ones * '\\';
        /* A byte below n has its high bit set in word - ones * n, and none in word. */
        uint64_t found = (word - ones * 0x20) & ~word;
        found |= ((quote - ones) & ~quote) | ((back - ones) & ~back);
        if ((found & highs) != 0)
            break;
        at += 8;
    }
    while (at < len && text[at] >= 0x20 && text[at] != '"' && text[at] != '\\')
        at++;
    return at;
}

static void put_escape(struct buf *out, uint8_t byte)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *found = byte != 0 ? strchr(from, byte) : NULL;
    if (found != NULL) {
        buf_put_u8(out, '\\');
        buf_put_u8(out, (uint8_t)to[found - from]);
    } else {
        buf_printf(out, "\\u%04X", byte);
    }
}

/* Writes what `literal` holds. yajl takes a number as the text that it is, and so this one: its own
 * way to write a string goes byte by byte, which is most of the work where messages are long. */
static void put_literal(struct json_writer *writer)
{
    if (writer->literal.failed)
        keep(writer, yajl_gen_in_error_state);
    else
        keep(writer, yajl_gen_number(writer->gen, buf_text(&writer->literal), writer->literal.len));
}

static void put_string(struct json_writer *writer, const void *text, size_t len)
{
    struct buf *out = &writer->literal;
    const uint8_t *at = text;
    if (!utf8_is_strict(text, len)) {
        keep(writer, yajl_gen_invalid_string);
        return;
    }
    buf_reset(out);
    buf_reserve(out, len + 2);
    buf_put_u8(out, '"');
    while (len > 0) {
        size_t plain = plain_span(at, len);
        buf_put(out, at, plain);
        at += plain;
        len -= plain;
        if (len == 0)
            break;
        put_escape(out, *at++);
        len--;
    }
    buf_put_u8(out, '"');
    put_literal(writer);
}

void json_object(struct json_writer *writer, const char *key)
{
    put_key(writer, key);
    keep(writer, yajl_gen_map_open(writer->gen));
}

void json_object_end(struct json_writer *writer)
{
    keep(writer, yajl_gen_map_close(writer->gen));
}

void json_array(struct json_writer *writer, const char *key)
{
    put_key(writer, key);
    keep(writer, yajl_gen_array_open(writer->gen));
}

void json_array_end(struct json_writer *writer)
{
    keep(writer, yajl_gen_array_close(writer->gen));
}

void json_put_text(struct json_writer *writer, const char *key, const char *text)
{
    if (text == NULL)
        json_put_null(writer, key);
    else
        json_put_text_len(writer, key, text, strlen(text));
}

void json_put_text_len(struct json_writer *writer, const char *key, const char *text, size_t len)
{
    put_key(writer, key);
    put_string(writer, text, len);
}

void json_put_integer(struct json_writer *writer, const char *key, int64_t number)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%" PRId64, number);
    put_key(writer, key);
    keep(writer, yajl_gen_number(writer->gen, text, (size_t)len));
}

void json_put_bool(struct json_writer *writer, const char *key, bool value)
{
    put_key(writer, key);
    keep(writer, yajl_gen_bool(writer->gen, value ? 1 : 0));
}

void json_put_null(struct json_writer *writer, const char *key)
{
    put_key(writer, key);
    keep(writer, yajl_gen_null(writer->gen));
}

void json_put_base64(struct json_writer *writer, const char *key, const void *data, size_t len)
{
    put_key(writer, key);
    buf_reset(&writer->literal);
    buf_reserve(&writer->literal, len / 3 * 4 + 6);
    buf_put_u8(&writer->literal, '"');
    base64_encode(&writer->literal, data, len);
    buf_put_u8(&writer->literal, '"');
    put_literal(writer);
}

void json_put_value(struct json_writer *writer, const char *key, const struct json_value *value)
{
    size_t len = 0;
    const char *text = json_text(value, &len);
    switch (json_type(value)) {
    case JSON_NULL:
        json_put_null(writer, key);
        return;
    case JSON_BOOL:
        json_put_bool(writer, key, json_true(value));
        return;
    case JSON_NUMBER:
        put_key(writer, key);
        keep(writer, yajl_gen_number(writer->gen, text, len));
        return;
    case JSON_STRING:
        json_put_text_len(writer, key, text, len);
        return;
    case JSON_ARRAY:
        json_array(writer, key);
        for (size_t i = 0; i < json_count(value); i++)
            json_put_value(writer, NULL, json_at(value, i));
        json_array_end(writer);
        return;
    case JSON_OBJECT:
        json_object(writer, key);
        for (size_t i = 0; i < json_count(value); i++)
            json_put_value(writer, json_key_at(value, i), json_at(value, i));
        json_object_end(writer);
        return;
    }
}

bool json_finish(struct json_writer *writer, struct buf *out, struct error *err)
{
    const unsigned char *text = NULL;
    size_t len = 0;
    if (writer->status == yajl_gen_invalid_string)
        return error_set(err, FAIL_INPUT,
                         "a text that is not strict UTF-8 cannot be written as JSON");
    if (writer->status != yajl_gen_status_ok && writer->status != yajl_gen_generation_complete)
        return error_set(err, FAIL_INTERNAL, "JSON was not written (yajl status %d)",
                         (int)writer->status);
    if (yajl_gen_get_buf(writer->gen, &text, &len) != yajl_gen_status_ok)
        return error_set(err, FAIL_INTERNAL, "JSON was not written");
    buf_put(out, text, len);
    return buf_check(out, "a JSON text", err);
}
