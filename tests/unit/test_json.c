/* SPDX-License-Identifier: Apache-2.0 */
/* Every guard of the JSON reader: what yajl alone would let pass is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "reseal/json.h"

static const struct json_limits limits = {.bytes = 1 << 20, .string = 4096, .values = 100};

static enum failure parse(const char *text, size_t len)
{
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    bool ok = json_parse(text, len, &limits, "text", &json, &err);
    assert_int_equal(ok, json != NULL);
    json_free(&json);
    return ok ? FAIL_NONE : err.kind;
}

static enum failure parse_text(const char *text)
{
    return parse(text, strlen(text));
}

static void reads_members_by_name_and_type(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    const char text[] =
        "{\"a\":\"x\\u00e9\\ud83d\\ude00\",\"n\":-42,\"l\":[1,2,3],\"t\":true,\"z\":null}";
    assert_true(json_parse(text, sizeof text - 1, &limits, "text", &json, &err));
    const struct json_value *root = json_root(json);
    const char *a;
    int64_t n;
    assert_true(json_want_text(root, "", "a", 10, &a, &err));
    assert_string_equal(a, "x\xc3\xa9\xf0\x9f\x98\x80");
    assert_true(json_want_integer(root, "", "n", -100, 100, &n, &err));
    assert_int_equal(n, -42);
    assert_int_equal(json_count(json_get(root, "l")), 3);
    assert_true(json_true(json_get(root, "t")));
    assert_int_equal(json_type(json_get(root, "z")), JSON_NULL);
    assert_null(json_get(root, "missing"));
    assert_false(json_want_integer(root, "data", "n", 0, 100, &n, &err));
    assert_non_null(strstr(err.text, "data.n"));
    assert_false(json_want_text(root, "data", "n", 10, &a, &err));
    assert_non_null(strstr(err.text, "data.n must be string, not number"));
    json_free(&json);
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",      " ",        "{",         "[1,]",      "{\"a\":1,}", "nul",   "01",     "NaN",
        "[1] x", "\"a\nb\"", "/* c */ 1", "{\"a\" 1}", "\"\\x\"",    "[1 2]", "\"abc",  "-",
        "\v1",   "[1\f]",    "[1]\"abc",  "{} tru",    "\"a\"\"",    "1 -",   "true\"", "[]-1",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse_text(bad[i]), FAIL_INPUT);
}

static void refuses_duplicate_keys_also_when_escaped(void **state)
{
    (void)state;
    assert_int_equal(parse_text("{\"a\":1,\"a\":2}"), FAIL_INPUT);
    assert_int_equal(parse_text("{\"a\":1,\"\\u0061\":2}"), FAIL_INPUT);
    assert_int_equal(parse_text("{\"a\":{\"a\":1},\"b\":{\"a\":1}}"), FAIL_NONE);
}

static void refuses_loose_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\"\xc0\xaf\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xf8\x88\x80\x80\x80\"",
        ("\xef\xbb\xbf"
         "1"), /* a byte order mark is no JSON */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse_text(bad[i]), FAIL_INPUT);
    assert_int_equal(parse("\"a\0b\"", 5), FAIL_INPUT);
}

static void refuses_half_surrogates_and_nul_escapes(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\"\\ud800\"", "\"\\udc00\"",     "\"\\ud800\\ud800\"", "\"\\ud800x\"",
        "\"\\u0000\"", "{\"\\u0000\":1}", "\"\\ud800\\u0041\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse_text(bad[i]), FAIL_INPUT);
    assert_int_equal(parse_text("\"\\\\u0000\""), FAIL_NONE); /* a backslash, then text */
    assert_int_equal(parse_text("\"\\ud83d\\ude00\""), FAIL_NONE);
}

static void bounds_depth_values_strings_and_size(void **state)
{
    (void)state;
    size_t deep = 100000;
    char *text = malloc(deep * 2);
    memset(text, '[', deep);
    memset(text + deep, ']', deep);
    assert_int_equal(parse(text, deep * 2), FAIL_TOO_LARGE);
    assert_int_equal(parse(text, deep), FAIL_TOO_LARGE);
    assert_int_equal(parse(text + deep - JSON_DEPTH_MAX, 2 * JSON_DEPTH_MAX), FAIL_NONE);
    assert_int_equal(parse(text + deep - JSON_DEPTH_MAX - 1, 2 * JSON_DEPTH_MAX + 2),
                     FAIL_TOO_LARGE);
    memset(text, '1', deep * 2);
    assert_int_equal(parse(text, 5000), FAIL_TOO_LARGE); /* a number of 5,000 digits */
    for (size_t i = 0; i < 1000; i += 2) {
        text[i] = i == 0 ? '[' : ',';
        text[i + 1] = '1';
    }
    text[1000] = ']';
    assert_int_equal(parse(text, 1001), FAIL_TOO_LARGE); /* 501 values */
    free(text);
    char *huge = calloc(1, (1 << 20) + 1);
    memset(huge, ' ', (1 << 20) + 1);
    assert_int_equal(parse(huge, (1 << 20) + 1), FAIL_TOO_LARGE);
    free(huge);
}

static void keeps_numbers_within_their_range(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    const char text[] = "[1e999999,1.5,9223372036854775808,-1,12]";
    int64_t n = 0;
    assert_true(json_parse(text, sizeof text - 1, &limits, "text", &json, &err));
    for (size_t i = 0; i < 4; i++)
        assert_false(json_integer(json_at(json_root(json), i), 0, INT64_MAX, &n));
    assert_true(json_integer(json_at(json_root(json), 4), 0, INT64_MAX, &n));
    assert_int_equal(n, 12);
    json_free(&json);
}

static void every_cut_of_a_message_is_refused(void **state)
{
    (void)state;
    const char text[] = "{\"a\":[1,\"b\\u00e9\",{\"c\":null}],\"d\":\"\xf0\x9f\x98\x80\"}";
    for (size_t len = 0; len < sizeof text - 1; len++)
        assert_int_equal(parse(text, len), FAIL_INPUT);
    assert_int_equal(parse(text, sizeof text - 1), FAIL_NONE);
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    struct json_writer *writer = NULL;
    struct buf out = BUF_INIT(4096);
    const char text[] = "{\"a\":[1,\"b\\\"\xc3\xa9\",{\"c\":null}],\"d\":true,\"e\":{}}";
    assert_true(json_parse(text, sizeof text - 1, &limits, "text", &json, &err));
    assert_true(json_writer_new(false, &writer, &err));
    json_put_value(writer, NULL, json_root(json));
    assert_true(json_finish(writer, &out, &err));
    assert_string_equal(buf_text(&out), text);
    json_writer_free(&writer);
    json_free(&json);
    buf_free(&out);
}

/* Every ASCII character at every place of a word of eight bytes, and the ends of both. */
static void writes_every_character_so_that_it_is_read_back(void **state)
{
    (void)state;
    for (int c = 1; c < 0x80; c++) {
        for (size_t place = 0; place < 11; place++) {
            struct error err = ERROR_INIT;
            struct buf out = BUF_INIT(1024);
            struct json_writer *writer = NULL;
            struct json *json = NULL;
            char text[12] = "abcdefgh\xc3\xa9z";
            size_t len;
            if (place != 8 && place != 9) /* those two belong together */
                text[place] = (char)c;
            assert_true(json_writer_new(place % 2 == 1, &writer, &err));
            json_array(writer, NULL);
            json_put_text(writer, NULL, text);
            json_put_base64(writer, NULL, text, place);
            json_array_end(writer);
            assert_true(json_finish(writer, &out, &err));
            assert_true(json_parse(out.data, out.len, &limits, "the text", &json, &err));
            assert_string_equal(json_text(json_at(json_root(json), 0), &len), text);
            assert_int_equal(len, strlen(text));
            json_writer_free(&writer);
            json_free(&json);
            buf_free(&out);
        }
    }
}

static void escapes_only_what_must_be_escaped(void **state)
{
    struct error err = ERROR_INIT;
    struct buf out = BUF_INIT(1024);
    struct json_writer *writer = NULL;
    (void)state;
    assert_true(json_writer_new(false, &writer, &err));
    json_put_text(writer, NULL, "a/\"\\\b\f\n\r\t\x01\x1f\x7f\xe2\x82\xac");
    assert_true(json_finish(writer, &out, &err));
    assert_string_equal(buf_text(&out),
                        "\"a/\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001F\x7f\xe2\x82\xac\"");
    json_writer_free(&writer);
    buf_free(&out);
}

static void does_not_write_broken_utf8(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct json_writer *writer = NULL;
    struct buf out = BUF_INIT(4096);
    assert_true(json_writer_new(false, &writer, &err));
    json_put_text(writer, NULL, "\xff");
    assert_false(json_finish(writer, &out, &err));
    assert_int_equal(err.kind, FAIL_INPUT);
    json_writer_free(&writer);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_members_by_name_and_type),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_duplicate_keys_also_when_escaped),
        cmocka_unit_test(refuses_loose_utf8),
        cmocka_unit_test(refuses_half_surrogates_and_nul_escapes),
        cmocka_unit_test(bounds_depth_values_strings_and_size),
        cmocka_unit_test(keeps_numbers_within_their_range),
        cmocka_unit_test(every_cut_of_a_message_is_refused),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(writes_every_character_so_that_it_is_read_back),
        cmocka_unit_test(escapes_only_what_must_be_escaped),
        cmocka_unit_test(does_not_write_broken_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
