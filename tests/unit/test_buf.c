/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/check.h"
#include "reseal/buf.h"

static void a_buffer_never_passes_its_ceiling(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf buf = BUF_INIT(10);
    buf_put_text(&buf, "0123456789");
    assert_ok(buf_check(&buf, "ten", &err), &err);
    assert_string_equal(buf_text(&buf), "0123456789");
    buf_put_u8(&buf, 'x');
    assert_refused(buf_check(&buf, "ten", &err), &err, FAIL_TOO_LARGE);
    assert_int_equal(buf.len, 0);
    buf_put_u8(&buf, 'x'); /* a failure sticks */
    assert_int_equal(buf.len, 0);
    buf_reset(&buf);
    buf_put_u8(&buf, 'x');
    assert_ok(buf_check(&buf, "ten", &err), &err);
    buf_free(&buf);
}

static void an_extension_that_would_overflow_fails(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(100);
    buf_put_text(&buf, "abc");
    assert_null(buf_extend(&buf, SIZE_MAX));
    assert_true(buf.failed);
    buf_free(&buf);
}

static void consuming_keeps_the_rest(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(100);
    buf_put_text(&buf, "abcdef");
    buf_consume(&buf, 2);
    assert_int_equal(buf.len, 4);
    assert_memory_equal(buf.data, "cdef", 4);
    buf_consume(&buf, 99);
    assert_int_equal(buf.len, 0);
    buf_free(&buf);
}

static void growing_keeps_the_content_through_many_sizes(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf buf = BUF_INIT(100000);
    for (unsigned i = 0; i < 25000; i++)
        buf_put_u32(&buf, i);
    assert_ok(buf_check(&buf, "numbers", &err), &err);
    struct cursor cursor = cursor_over(buf_bytes(&buf));
    for (unsigned i = 0; i < 25000; i++) {
        uint32_t value;
        assert_true(cursor_u32(&cursor, &value));
        assert_int_equal(value, i);
    }
    assert_int_equal(cursor.left, 0);
    buf_free(&buf);
}

static void a_cursor_takes_nothing_that_is_not_there(void **state)
{
    (void)state;
    const uint8_t raw[] = {0, 0, 0, 5, 'a', 'b', 'c', 'd'};
    struct cursor cursor = {raw, sizeof raw};
    struct bytes block;
    uint64_t wide;
    char text[8];
    assert_false(cursor_block(&cursor, 100, &block)); /* says 5, has 4 */
    assert_false(cursor_text(&cursor, text, sizeof text));
    assert_int_equal(cursor.left, sizeof raw);
    assert_true(cursor_u64(&cursor, &wide));
    uint8_t byte;
    assert_false(cursor_u8(&cursor, &byte));
    struct cursor none = {NULL, 0};
    assert_false(cursor_u64(&none, &wide));
}

static void a_text_block_has_no_nul_and_fits(void **state)
{
    (void)state;
    const uint8_t with_nul[] = {0, 0, 0, 3, 'a', 0, 'c'};
    const uint8_t fitting[] = {0, 0, 0, 3, 'a', 'b', 'c'};
    char text[4], small[3];
    struct cursor cursor = {with_nul, sizeof with_nul};
    assert_false(cursor_text(&cursor, text, sizeof text));
    cursor = (struct cursor){fitting, sizeof fitting};
    assert_false(cursor_text(&cursor, small, sizeof small));
    assert_true(cursor_text(&cursor, text, sizeof text));
    assert_string_equal(text, "abc");
}

static void printed_text_is_whole(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(64);
    buf_printf(&buf, "%s-%d", "key", 42);
    buf_printf(&buf, "%s", "");
    assert_string_equal(buf_text(&buf), "key-42");
    buf_free(&buf);
    assert_string_equal(buf_text(&buf), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_never_passes_its_ceiling),
        cmocka_unit_test(an_extension_that_would_overflow_fails),
        cmocka_unit_test(consuming_keeps_the_rest),
        cmocka_unit_test(growing_keeps_the_content_through_many_sizes),
        cmocka_unit_test(a_cursor_takes_nothing_that_is_not_there),
        cmocka_unit_test(a_text_block_has_no_nul_and_fits),
        cmocka_unit_test(printed_text_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
