/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guarded reader. yajl by itself takes duplicate keys, loose UTF-8, lone surrogates, U+0000,
 * vertical tabs and form feeds between values, half a token after the end, and any depth; each of
 * these is refused here, before yajl sees the text or in its callbacks.
 */
#include "reseal/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>
#include "reseal/secret.h"
#include "reseal/text.h"

struct json_value {
    enum json_type type;
    bool truth;
    size_t len;               /* of the text */
    const char *text;         /* strings and numbers */
    const char *key;          /* name inside an object, otherwise NULL */
    struct json_value *first; /* first child of a container */
    struct json_value *last;
    struct json_value *next; /* next sibling */
    size_t count;            /* children of a container */
};

/* Values and texts are carved from blocks that are freed together. */
struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(max_align_t) unsigned char data[];
};

struct json {
    struct arena_block *blocks;
    struct json_value *root;
};

struct reader {
    yajl_handle yajl;
    struct json *json;
    const struct json_limits *limits;
    const char *what;
    struct error *err;
    struct json_value *open[JSON_DEPTH_MAX]; /* containers that are being read */
    size_t depth;
    size_t values;
    const char *key; /* of the value to come */
    size_t end;      /* bytes up to the end of the root, once it is whole */
};

#define ARENA_BLOCK 8192

static void *arena_take(struct json *json, size_t size)
{
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct arena_block *block = json->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t room = size > ARENA_BLOCK ? size : ARENA_BLOCK;
        block = malloc(sizeof *block + room);
        if (block == NULL)
            return NULL;
        block->next = json->blocks;
        block->used = 0;
        block->size = room;
        json->blocks = block;
    }
    void *place = block->data + block->used;
    block->used += size;
    return place;
}

static const char *arena_text(struct json *json, const unsigned char *text, size_t len)
{
    char *copy = arena_take(json, len + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

/* Puts a new value into the container that is open, or makes it the root. */
static struct json_value *add_value(struct reader *reader, enum json_type type)
{
    if (++reader->values > reader->limits->values) {
        error_set(reader->err, FAIL_TOO_LARGE, "%s has more than %zu JSON values", reader->what,
                  reader->limits->values);
        return NULL;
    }
    struct json_value *value = arena_take(reader->json, sizeof *value);
    if (value == NULL) {
        error_memory(reader->err);
        return NULL;
    }
    *value = (struct json_value){.type = type, .key = reader->key};
    reader->key = NULL;
    if (reader->depth == 0) {
        reader->json->root = value;
        reader->end = yajl_get_bytes_consumed(reader->yajl);
        return value;
    }
    struct json_value *parent = reader->open[reader->depth - 1];
    if (parent->last != NULL)
        parent->last->next = value;
    else
        parent->first = value;
    parent->last = value;
    parent->count++;
    return value;
}

static int open_container(struct reader *reader, enum json_type type)
{
    if (reader->depth == JSON_DEPTH_MAX) {
        error_set(reader->err, FAIL_TOO_LARGE, "%s is nested deeper than %d levels", reader->what,
                  JSON_DEPTH_MAX);
        return 0;
    }
    struct json_value *value = add_value(reader, type);
    if (value == NULL)
        return 0;
    reader->open[reader->depth++] = value;
    return 1;
}

static int on_null(void *context)
{
    return add_value(context, JSON_NULL) != NULL;
}

static int on_boolean(void *context, int truth)
{
    struct json_value *value = add_value(context, JSON_BOOL);
    if (value == NULL)
        return 0;
    value->truth = truth != 0;
    return 1;
}

static int add_text(struct reader *reader, enum json_type type, const unsigned char *text,
                    size_t len)
{
    if (len > reader->limits->string) {
        error_set(reader->err, FAIL_TOO_LARGE, "%s has a %s of %zu bytes, the bound is %zu",
                  reader->what, json_type_name(type), len, reader->limits->string);
        return 0;
    }
    struct json_value *value = add_value(reader, type);
    if (value == NULL)
        return 0;
    value->len = len;
    value->text = arena_text(reader->json, text, len);
    return value->text != NULL ? 1 : error_memory(reader->err);
}

static int on_number(void *context, const char *text, size_t len)
{
    return add_text(context, JSON_NUMBER, (const unsigned char *)text, len);
}

static int on_string(void *context, const unsigned char *text, size_t len)
{
    return add_text(context, JSON_STRING, text, len);
}

static int on_object(void *context)
{
    return open_container(context, JSON_OBJECT);
}

static int on_array(void *context)
{
    return open_container(context, JSON_ARRAY);
}

static int on_end(void *context)
{
    struct reader *reader = context;
    if (--reader->depth == 0)
        reader->end = yajl_get_bytes_consumed(reader->yajl);
    return 1;
}

static int on_key(void *context, const unsigned char *text, size_t len)
{
    struct reader *reader = context;
    if (len > JSON_KEY_MAX)
        return error_set(reader->err, FAIL_TOO_LARGE, "%s has a key of more than %d bytes",
                         reader->what, JSON_KEY_MAX);
    const char *key = arena_text(reader->json, text, len);
    if (key == NULL)
        return error_memory(reader->err);
    if (json_get(reader->open[reader->depth - 1], key) != NULL)
        return error_set(reader->err, FAIL_INPUT, "%s has the key \"%s\" twice in one object",
                         reader->what, key);
    reader->key = key;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_object,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_array,
    .yajl_end_array = on_end,
};

/* The code unit of "\uXXXX" at `at`, or -1. */
static int escaped_unit(const char *at, size_t left)
{
    if (left < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    int unit = 0;
    for (size_t i = 2; i < 6; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* Refuses \u0000 and surrogates without their pair (RFC 8259, section 8.2), which yajl lets pass.
 */
static bool check_escapes(const char *text, size_t len, const char *what, struct error *err)
{
    const char *end = text + len;
    const char *at = text;
    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        int unit = escaped_unit(at, (size_t)(end - at));
        if (unit < 0) { /* another escape, or a broken one that yajl refuses */
            at += end - at >= 2 ? 2 : 1;
            continue;
        }
        if (unit == 0)
            return error_set(err, FAIL_INPUT, "%s contains U+0000", what);
        at += 6;
        if (unit < 0xd800 || unit > 0xdfff)
            continue;
        int low = unit < 0xdc00 ? escaped_unit(at, (size_t)(end - at)) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return error_set(err, FAIL_INPUT, "%s contains half of a surrogate pair", what);
        at += 6;
    }
    return true;
}

/* yajl takes a token that only begins behind the root ("[1]\"abc", "{}tru"): it waits for the rest
 * and never asks for it. A number as the root ends with the text, or is followed by what yajl
 * refuses. */
static bool stands_alone(const struct reader *reader, const unsigned char *text, size_t len)
{
    if (reader->json->root == NULL || reader->depth > 0)
        return true; /* cut short: yajl tells */
    for (size_t i = reader->end; i < len; i++) {
        if (memchr(" \t\r\n", text[i], 4) == NULL)
            return false;
    }
    return true;
}

static bool run_yajl(struct reader *reader, const unsigned char *text, size_t len)
{
    bool ok = false;
    yajl_handle handle = yajl_alloc(&callbacks, NULL, reader);
    if (handle == NULL)
        return error_memory(reader->err);
    reader->yajl = handle;
    yajl_config(handle, yajl_dont_validate_strings, 1); /* done before, and strictly */
    yajl_status status = yajl_parse(handle, text, len);
    bool alone = status != yajl_status_ok || stands_alone(reader, text, len);
    if (status == yajl_status_ok)
        status = yajl_complete_parse(handle);
    if (!alone)
        error_set(reader->err, FAIL_INPUT, "%s goes on after its end (byte %zu of %zu)",
                  reader->what, reader->end, len);
    else if (status == yajl_status_ok && reader->json->root != NULL)
        ok = true;
    else if (status != yajl_status_client_canceled) /* otherwise a callback has said why */
        error_set(reader->err, FAIL_INPUT,
                  "%s is not JSON, or ends too early (near byte %zu of %zu)", reader->what,
                  yajl_get_bytes_consumed(handle), len);
    yajl_free(handle);
    return ok;
}

bool json_parse(const void *text, size_t len, const struct json_limits *limits, const char *what,
                struct json **out, struct error *err)
{
    *out = NULL;
    if (len > limits->bytes)
        return error_set(err, FAIL_TOO_LARGE, "%s has %zu bytes, the bound is %zu", what, len,
                         limits->bytes);
    if (len == 0)
        return error_set(err, FAIL_INPUT, "%s is empty", what);
    if (!utf8_is_strict(text, len))
        return error_set(err, FAIL_INPUT, "%s is not strict UTF-8", what);
    /* yajl takes these two for white space; RFC 8259, section 2, does not. */
    if (memchr(text, '\v', len) != NULL || memchr(text, '\f', len) != NULL)
        return error_set(err, FAIL_INPUT, "%s contains a control character", what);
    if (!check_escapes(text, len, what, err))
        return false;
    struct json *json = calloc(1, sizeof *json);
    if (json == NULL)
        return error_memory(err);
    struct reader reader = {.json = json, .limits = limits, .what = what, .err = err};
    if (!run_yajl(&reader, text, len)) {
        json_free(&json);
        return false;
    }
    *out = json;
    return true;
}

void json_free(struct json **json)
{
    if (json == NULL || *json == NULL)
        return;
    for (struct arena_block *block = (*json)->blocks, *next; block != NULL; block = next) {
        next = block->next;
        memory_wipe(block->data, block->used); /* tokens come in JSON, too */
        free(block);
    }
    free(*json);
    *json = NULL;
}

const struct json_value *json_root(const struct json *json)
{
    return json->root;
}

enum json_type json_type(const struct json_value *value)
{
    return value->type;
}

const char *json_type_name(enum json_type type)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",     [JSON_BOOL] = "true or false", [JSON_NUMBER] = "number",
        [JSON_STRING] = "string", [JSON_ARRAY] = "array",        [JSON_OBJECT] = "object",
    };
    return names[type];
}

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    if (object == NULL || object->type != JSON_OBJECT)
        return NULL;
    for (const struct json_value *child = object->first; child != NULL; child = child->next) {
        if (strcmp(child->key, key) == 0)
            return child;
    }
    return NULL;
}

size_t json_count(const struct json_value *container)
{
    return container != NULL ? container->count : 0;
}

const struct json_value *json_at(const struct json_value *container, size_t index)
{
    const struct json_value *child = container != NULL ? container->first : NULL;
    while (child != NULL && index-- > 0)
        child = child->next;
    return child;
}

const char *json_key_at(const struct json_value *object, size_t index)
{
    const struct json_value *child = json_at(object, index);
    return child != NULL ? child->key : NULL;
}

const char *json_text(const struct json_value *value, size_t *len)
{
    if (value == NULL || (value->type != JSON_STRING && value->type != JSON_NUMBER))
        return NULL;
    if (len != NULL)
        *len = value->len;
    return value->text;
}

bool json_true(const struct json_value *value)
{
    return value != NULL && value->type == JSON_BOOL && value->truth;
}

bool json_integer(const struct json_value *value, int64_t min, int64_t max, int64_t *out)
{
    if (value == NULL || value->type != JSON_NUMBER ||
        strspn(value->text, "-0123456789") != value->len)
        return false;
    errno = 0;
    intmax_t number = strtoimax(value->text, NULL, 10);
    if (errno != 0 || number < min || number > max)
        return false;
    *out = (int64_t)number;
    return true;
}
