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
};

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
    *out = writer;
    return true;
}

void json_writer_free(struct json_writer **writer)
{
    if (writer == NULL || *writer == NULL)
        return;
    yajl_gen_free((*writer)->gen);
    free(*writer);
    *writer = NULL;
}

static void keep(struct json_writer *writer, yajl_gen_status status)
{
    if (writer->status == yajl_gen_status_ok)
        writer->status = status;
}

static void put_string(struct json_writer *writer, const void *text, size_t len)
{
    if (!utf8_is_strict(text, len))
        keep(writer, yajl_gen_invalid_string);
    else
        keep(writer, yajl_gen_string(writer->gen, text, len));
}

static void put_key(struct json_writer *writer, const char *key)
{
    if (key != NULL)
        put_string(writer, key, strlen(key));
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
    struct buf text = BUF_INIT(len / 3 * 4 + 8);
    base64_encode(&text, data, len);
    if (text.failed)
        keep(writer, yajl_gen_in_error_state);
    else
        json_put_text_len(writer, key, buf_text(&text), text.len);
    buf_free(&text);
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
