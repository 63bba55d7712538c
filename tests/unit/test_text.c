/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>
#include "tests/unit/check.h"
#include "reseal/clock.h"
#include "reseal/text.h"

static void base64_has_the_vectors_of_rfc_4648(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct buf encoded = BUF_INIT(100), decoded = BUF_INIT(100);
        base64_encode(&encoded, vectors[i][0], strlen(vectors[i][0]));
        assert_string_equal(buf_text(&encoded), vectors[i][1]);
        assert_ok(base64_decode(&decoded, vectors[i][1], strlen(vectors[i][1]), "x", &err), &err);
        assert_string_equal(buf_text(&decoded), vectors[i][0]);
        buf_free(&encoded);
        buf_free(&decoded);
    }
}

static void base64_refuses_every_loose_form(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Zg",   "Zg=",  "Z===", "====", "Zm9v\n", " Zm9", "Zm9v====",
        "Zh==", "Zm9=", "Z-9v", "Zm_v", "=Zm9",   "Zm=v", "Zg==Zg==",
    };
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf decoded = BUF_INIT(100);
        assert_refused(base64_decode(&decoded, bad[i], strlen(bad[i]), "field", &err), &err,
                       FAIL_INPUT);
        assert_non_null(strstr(err.text, "field"));
        buf_free(&decoded);
    }
}

static void base64_decoding_stays_under_the_ceiling(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf decoded = BUF_INIT(2);
    assert_refused(base64_decode(&decoded, "Zm9vYmFy", 8, "field", &err), &err, FAIL_TOO_LARGE);
    buf_free(&decoded);
}

static void hexadecimal_goes_both_ways(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf decoded = BUF_INIT(16);
    char text[9];
    hex_encode(text, "\x00\xff\x10\xab", 4);
    assert_string_equal(text, "00ff10ab");
    assert_ok(hex_decode(&decoded, "00FF10ab", 8, "x", &err), &err);
    assert_memory_equal(decoded.data, "\x00\xff\x10\xab", 4);
    assert_refused(hex_decode(&decoded, "0g", 2, "x", &err), &err, FAIL_INPUT);
    assert_refused(hex_decode(&decoded, "000", 3, "x", &err), &err, FAIL_INPUT);
    buf_free(&decoded);
}

static void a_uuid_made_from_bytes_is_always_the_same(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char a[UUID_TEXT], b[UUID_TEXT], c[UUID_TEXT];
    assert_ok(uuid_from("abc", 3, a, &err), &err);
    assert_ok(uuid_from("abc", 3, b, &err), &err);
    assert_ok(uuid_from("abd", 3, c, &err), &err);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(a[14], '8');
    assert_ok(uuid_random(c, &err), &err);
    assert_int_equal(c[14], '4');
}

/* The clock of a millisecond's 4096 parts stands still for two of them now and then. */
static void uuids_in_order_sort_as_they_were_made(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    enum {
        COUNT = 200
    };
    static char made[COUNT][UUID_TEXT];
    const struct timespec pause = {.tv_nsec = 2000};
    struct timespec before, after;
    clock_gettime(CLOCK_REALTIME, &before);
    for (size_t i = 0; i < COUNT; i++) {
        assert_ok(uuid_ordered(made[i], &err), &err);
        nanosleep(&pause, NULL);
    }
    clock_gettime(CLOCK_REALTIME, &after);
    for (size_t i = 0; i < COUNT; i++) {
        char digits[13];
        assert_int_equal(strlen(made[i]), 36);
        assert_int_equal(made[i][14], '7');
        assert_non_null(strchr("89ab", made[i][19]));
        snprintf(digits, sizeof digits, "%.8s%.4s", made[i], made[i] + 9);
        long long ms = strtoll(digits, NULL, 16);
        assert_in_range(ms, before.tv_sec * 1000 + before.tv_nsec / 1000000,
                        after.tv_sec * 1000 + after.tv_nsec / 1000000);
        if (i > 0)
            assert_true(strcmp(made[i - 1], made[i]) < 0);
    }
}

static void the_nearest_name_helps_with_misspellings_only(void **state)
{
    (void)state;
    static const char *const names[] = {"module", "label", "serial", NULL};
    assert_string_equal(text_nearest("modul", names), "module");
    assert_string_equal(text_nearest("lable", names), "label");
    assert_null(text_nearest("passphrase", names));
}

static void times_of_rfc_3339_are_read_and_written(void **state)
{
    (void)state;
    int64_t ms, other;
    char text[CLOCK_TEXT];
    assert_true(clock_parse("1970-01-01T00:00:00Z", &ms));
    assert_int_equal(ms, 0);
    assert_true(clock_parse("2026-11-23T22:01:27.123Z", &ms));
    clock_format(ms, text);
    assert_string_equal(text, "2026-11-23T22:01:27.123Z");
    assert_true(clock_parse("2026-11-24T00:01:27.1234567+02:00", &other));
    assert_int_equal(ms, other);
    assert_true(clock_parse("2024-02-29T12:00:00-05:30", &ms));
    clock_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026-11-23",
        "2026-11-23 22:01:27Z",
        "2026-11-23T22:01:27",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T22:61:00Z",
        "2026-11-23T22:01:27.Z",
        "2026-11-23T22:01:27Zx",
        "2026-11-23T22:01:27+2:00",
        "20261123T220127Z",
    };
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(clock_parse(bad[i], &ms));
}

static void error_texts_cannot_steer_a_terminal(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char long_text[2000];
    error_set(&err, FAIL_INPUT, "key \"%s\"", "\x1b[2J\nx");
    assert_null(strchr(err.text, '\x1b'));
    assert_null(strchr(err.text, '\n'));
    error_set(&err, FAIL_INPUT, "%s",
              "a\xc2\x9b"
              "2J\xe2\x80\xae\xe2\x81\xa6z\xc3\xa9");
    assert_string_equal(err.text, "a??2J??????z\xc3\xa9"); /* CSI, and right-to-left overrides */
    error_set(&err, FAIL_INPUT, "key \"%s\"", "\xff\xfe");
    assert_true(utf8_is_strict(err.text, strlen(err.text)));
    for (size_t i = 0; i + 1 < sizeof long_text; i += 2)
        memcpy(long_text + i, "\xc3\xa9", 2);
    long_text[sizeof long_text - 2] = '\0';
    for (int shift = 0; shift < 4; shift++) { /* the cut falls between and inside characters */
        error_set(&err, FAIL_INPUT, "%.*s%s", shift, "abc", long_text);
        assert_true(utf8_is_strict(err.text, strlen(err.text)));
        assert_true(strlen(err.text) > 700);
        assert_null(strchr(err.text, '?'));
    }
    error_set(&err, FAIL_INPUT, "inner");
    error_context(&err, "outer %d", 1);
    assert_string_equal(err.text, "outer 1: inner");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_has_the_vectors_of_rfc_4648),
        cmocka_unit_test(base64_refuses_every_loose_form),
        cmocka_unit_test(base64_decoding_stays_under_the_ceiling),
        cmocka_unit_test(hexadecimal_goes_both_ways),
        cmocka_unit_test(a_uuid_made_from_bytes_is_always_the_same),
        cmocka_unit_test(uuids_in_order_sort_as_they_were_made),
        cmocka_unit_test(the_nearest_name_helps_with_misspellings_only),
        cmocka_unit_test(times_of_rfc_3339_are_read_and_written),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(error_texts_cannot_steer_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
