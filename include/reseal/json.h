/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON (RFC 8259): the one reader and the one writer.
 *
 * The reader is yajl behind guards: the whole text is held under a ceiling and parsed in one piece;
 * depth, number of values, keys and strings are bounded; duplicate keys, U+0000, lone surrogates
 * and text that is not strict UTF-8 are errors (FAIL_INPUT, or FAIL_TOO_LARGE for a bound).
 */
#ifndef RESEAL_JSON_H
#define RESEAL_JSON_H

#include "reseal/buf.h"

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER, /* kept as its text; json_integer reads whole numbers */
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_limits {
    size_t bytes;  /* of the whole text */
    size_t string; /* of one string after unescaping */
    size_t values; /* in the whole text, containers included */
};
#define JSON_DEPTH_MAX 16
#define JSON_KEY_MAX   256

struct json; /* a document; owns everything below it */
struct json_value;

/* `what` names the text in errors ("request message"). */
bool json_parse(const void *text, size_t len, const struct json_limits *limits, const char *what,
                struct json **out, struct error *err) MUST_USE;
void json_free(struct json **json);

const struct json_value *json_root(const struct json *json) MUST_USE;
enum json_type json_type(const struct json_value *value) MUST_USE;
const char *json_type_name(enum json_type type) MUST_USE;

/* The member of that name, or NULL (also where `object` is NULL or no object). */
const struct json_value *json_get(const struct json_value *object, const char *key) MUST_USE;
size_t json_count(const struct json_value *container) MUST_USE;
const struct json_value *json_at(const struct json_value *container, size_t index) MUST_USE;
/* The name of an object's member by position, in the order of the text. */
const char *json_key_at(const struct json_value *object, size_t index) MUST_USE;

/* The text of a string or number, NUL-terminated, and its length; NULL for other types. */
const char *json_text(const struct json_value *value, size_t *len) MUST_USE;
bool json_true(const struct json_value *value) MUST_USE;
/* False where the value is no whole number between min and max. */
bool json_integer(const struct json_value *value, int64_t min, int64_t max, int64_t *out) MUST_USE;

/*
 * For reading by schema: the member must be there (want_) or may be (may_; *out is then NULL or the
 * fallback) and have the type. A string must have at most `max` bytes. `where` is the path of the
 * object for the error text ("data.device", or "" at the top).
 */
bool json_want_object(const struct json_value *object, const char *where, const char *key,
                      const struct json_value **out, struct error *err) MUST_USE;
bool json_want_array(const struct json_value *object, const char *where, const char *key,
                     const struct json_value **out, struct error *err) MUST_USE;
bool json_want_text(const struct json_value *object, const char *where, const char *key, size_t max,
                    const char **out, struct error *err) MUST_USE;
bool json_may_text(const struct json_value *object, const char *where, const char *key, size_t max,
                   const char **out, struct error *err) MUST_USE;
bool json_want_integer(const struct json_value *object, const char *where, const char *key,
                       int64_t min, int64_t max, int64_t *out, struct error *err) MUST_USE;
bool json_may_integer(const struct json_value *object, const char *where, const char *key,
                      int64_t min, int64_t max, int64_t fallback, int64_t *out,
                      struct error *err) MUST_USE;
/* A string of base64, decoded and appended to `out`. `max` bounds the decoded length. */
bool json_want_base64(const struct json_value *object, const char *where, const char *key,
                      size_t max, struct buf *out, struct error *err) MUST_USE;

/*
 * The writer (yajl_gen). Inside an object every value has a key; inside an array and at the top
 * `key` is NULL. Failures stick and are told by json_finish.
 */
struct json_writer;
/* `pretty` for people, otherwise one line. */
bool json_writer_new(bool pretty, struct json_writer **out, struct error *err) MUST_USE;
void json_writer_free(struct json_writer **writer);
void json_object(struct json_writer *writer, const char *key);
void json_object_end(struct json_writer *writer);
void json_array(struct json_writer *writer, const char *key);
void json_array_end(struct json_writer *writer);
/* A NULL text is written as null. */
void json_put_text(struct json_writer *writer, const char *key, const char *text);
void json_put_text_len(struct json_writer *writer, const char *key, const char *text, size_t len);
void json_put_integer(struct json_writer *writer, const char *key, int64_t number);
void json_put_bool(struct json_writer *writer, const char *key, bool value);
void json_put_null(struct json_writer *writer, const char *key);
void json_put_base64(struct json_writer *writer, const char *key, const void *data, size_t len);
/* Copies a parsed value. */
void json_put_value(struct json_writer *writer, const char *key, const struct json_value *value);
/* Appends the text to `out`. */
bool json_finish(struct json_writer *writer, struct buf *out, struct error *err) MUST_USE;

#endif
