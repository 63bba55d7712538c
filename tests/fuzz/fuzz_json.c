/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one JSON reader and writer:
 *
 *   - the reader takes exactly what a second reader, written from RFC 8259, takes, and reads the
 * same values: so no guard (depth, sizes, duplicate keys, UTF-8, surrogates, NUL, numbers) has a
 * hole;
 *   - what was read can be written, for people and in one line, and is read back the same;
 *   - a whole number is one for json_integer exactly where strtoll says so and its text has digits
 * only;
 *   - reading by schema gives what is there, or an error that can be shown.
 */
#include <errno.h>
#include "fuzz.h"
#include "json_reference.h"

/* Small enough that a short input reaches each. */
static const struct json_limits limits = {.bytes = 8192, .string = 300, .values = 100};
static const struct json_limits wide = {.bytes = 1 << 20, .string = 300, .values = 100};

static bool same(const struct json_value *a, const struct json_value *b)
{
    size_t a_len = 0, b_len = 0;
    if (json_type(a) != json_type(b) || json_count(a) != json_count(b) ||
        json_true(a) != json_true(b))
        return false;
    const char *a_text = json_text(a, &a_len), *b_text = json_text(b, &b_len);
    if ((a_text == NULL) != (b_text == NULL) || a_len != b_len ||
        (a_len > 0 && memcmp(a_text, b_text, a_len) != 0))
        return false;
    for (size_t i = 0; i < json_count(a); i++) {
        if (json_type(a) == JSON_OBJECT && strcmp(json_key_at(a, i), json_key_at(b, i)) != 0)
            return false;
        if (!same(json_at(a, i), json_at(b, i)))
            return false;
    }
    return true;
}

static void check_written(const struct json_value *root, bool pretty)
{
    struct error err = ERROR_INIT;
    struct json_writer *writer = NULL;
    struct json *again = NULL;
    struct buf text = BUF_INIT(1 << 20);
    FUZZ_OK(json_writer_new(pretty, &writer, &err), &err);
    json_put_value(writer, NULL, root);
    FUZZ_OK(json_finish(writer, &text, &err), &err);
    FUZZ_OK(json_parse(text.data, text.len, &wide, "what we wrote", &again, &err), &err);
    FUZZ_CHECK(same(root, json_root(again)));
    FUZZ_CHECK(reference_agrees(text.data, text.len, &wide, json_root(again)));
    if (!pretty)
        FUZZ_CHECK(memchr(text.data, '\n', text.len) == NULL);
    json_free(&again);
    json_writer_free(&writer);
    buf_free(&text);
}

static void check_integer(const struct json_value *value)
{
    size_t len = 0;
    char *end = NULL;
    int64_t number = 0;
    const char *text = json_text(value, &len);
    if (json_type(value) != JSON_NUMBER) {
        FUZZ_CHECK(!json_integer(value, INT64_MIN, INT64_MAX, &number));
        return;
    }
    errno = 0;
    long long expected = strtoll(text, &end, 10);
    bool whole = errno == 0 && *end == '\0';
    FUZZ_CHECK(json_integer(value, INT64_MIN, INT64_MAX, &number) == whole);
    FUZZ_CHECK(!whole || number == expected);
    FUZZ_CHECK(json_integer(value, 0, 43200, &number) ==
               (whole && expected >= 0 && expected <= 43200));
}

/* A member by its name, asked for as each type. */
static void check_member(const struct json_value *object, const char *key)
{
    const struct json_value *value = json_get(object, key), *found;
    struct error err = ERROR_INIT;
    struct buf bytes = BUF_INIT(512), again = BUF_INIT(1024);
    const char *text;
    int64_t number;
    size_t len = 0;
    bool is_text = json_type(value) == JSON_STRING;
    FUZZ_CHECK(json_want_object(object, "at", key, &found, &err) ==
               (json_type(value) == JSON_OBJECT));
    FUZZ_CHECK(json_want_array(object, "at", key, &found, &err) ==
               (json_type(value) == JSON_ARRAY));
    const char *whole = json_text(value, &len);
    if (json_want_text(object, "", key, 20, &text, &err))
        FUZZ_CHECK(is_text && len <= 20 && text == whole);
    else
        FUZZ_CHECK(!is_text || len > 20);
    FUZZ_CHECK(json_may_text(object, "", key, 20, &text, &err) ==
               (json_type(value) == JSON_NULL || (is_text && len <= 20)));
    if (!json_may_integer(object, "", key, -5, 500, 7, &number, &err))
        fuzz_check_error(&err);
    else
        FUZZ_CHECK(number >= -5 && number <= 500);
    if (json_want_base64(object, "", key, 64, &bytes, &err)) {
        FUZZ_CHECK(is_text && bytes.len <= 64);
        base64_encode(&again, bytes.data, bytes.len); /* one text for one value: no stray bits */
        FUZZ_CHECK(again.len == len && (len == 0 || memcmp(again.data, whole, len) == 0));
    } else {
        fuzz_check_error(&err);
    }
    buf_free(&bytes);
    buf_free(&again);
}

static void check_values(const struct json_value *value)
{
    check_integer(value);
    for (size_t i = 0; i < json_count(value); i++) {
        if (json_type(value) == JSON_OBJECT)
            check_member(value, json_key_at(value, i));
        check_values(json_at(value, i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    bool ok = json_parse(data, size, &limits, "the text", &json, &err);
    FUZZ_CHECK(ok == (json != NULL));
    if (ok != reference_accepts(data, size, &limits)) {
        fprintf(stderr, "the readers differ: ours says %s\n", ok ? "yes" : err.text);
        abort();
    }
    if (!ok) {
        fuzz_check_error(&err);
        return 0;
    }
    FUZZ_CHECK(reference_agrees(data, size, &limits, json_root(json)));
    check_written(json_root(json), false);
    check_written(json_root(json), true);
    check_values(json_root(json));
    json_free(&json);
    FUZZ_CHECK(json == NULL);
    return 0;
}
