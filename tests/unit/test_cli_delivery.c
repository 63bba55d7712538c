/* SPDX-License-Identifier: Apache-2.0 */
/* What the hub says of a delivery, and what a command makes of it. */
#include "tests/unit/check.h"
#include "src/cli/delivery.h"

static const struct json_limits limits = {.bytes = 65536, .string = 8192, .values = 100};

static bool read_text(const char *text, struct json **json, struct delivery *out, struct error *err)
{
    *err = (struct error)ERROR_INIT;
    assert_ok(json_parse(text, strlen(text), &limits, "text", json, err), err);
    return delivery_read(json_root(*json), out, err);
}

static void a_resealed_delivery_is_read_whole(void **state)
{
    (void)state;
    struct json *json = NULL;
    struct delivery delivery;
    struct error err;
    assert_ok(read_text("{\"id\":\"d1\",\"recordId\":\"r1\",\"state\":\"resealed\",\"format\":"
                        "\"cms\",\"custody\":\"token\",\"payload\":\"AAAA\",\"connector\":\"c\","
                        "\"createdDateTime\":\"2026-01-01T00:00:00.000Z\","
                        "\"completedDateTime\":\"2026-01-01T00:00:00.250Z\",\"error\":null}",
                        &json, &delivery, &err),
              &err);
    assert_string_equal(delivery.id, "d1");
    assert_string_equal(delivery.record_id, "r1");
    assert_int_equal(delivery.state, DELIVERY_RESEALED);
    assert_string_equal(delivery.custody, "token");
    assert_string_equal(delivery.connector, "c");
    assert_int_equal(delivery.completed_ms - delivery.created_ms, 250);
    assert_ok(delivery_check(&delivery, &err), &err);
    json_free(&json);
}

static void the_end_of_a_delivery_decides_the_exit_status(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
        const char *words;
    } cases[] = {
        {"{\"id\":\"d\",\"state\":\"refused\",\"error\":{\"code\":4002,\"name\":"
         "\"ParameterDataInvalid\",\"retryable\":false,\"message\":\"expired\"}}",
         3, "4002 ParameterDataInvalid: expired"},
        {"{\"id\":\"d\",\"state\":\"failed\",\"error\":{\"code\":4003,\"name\":\"Cryptography\","
         "\"retryable\":false}}",
         1, "4003 Cryptography"},
        {"{\"id\":\"d\",\"state\":\"failed\",\"error\":{\"code\":4101,\"name\":\"Unavailable\","
         "\"retryable\":true}}",
         5, "4101"},
        {"{\"id\":\"d\",\"state\":\"pending\"}", 5, "pending"},
        {"{\"id\":\"d\",\"state\":\"failed\"}", 1, "d"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json *json = NULL;
        struct delivery delivery;
        struct error err;
        assert_ok(read_text(cases[i].text, &json, &delivery, &err), &err);
        assert_false(delivery_check(&delivery, &err));
        assert_int_equal(error_exit_status(err.kind), cases[i].status);
        assert_non_null(strstr(err.text, cases[i].words));
        json_free(&json);
    }
}

static void what_is_no_delivery_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[]",
        "7",
        "{}",
        "{\"id\":\"d\"}",
        "{\"id\":7,\"state\":\"pending\"}",
        "{\"id\":\"d\",\"state\":\"done\"}",
        "{\"id\":\"d\",\"state\":null}",
        "{\"id\":\"d\",\"state\":\"pending\",\"custody\":1}",
        "{\"id\":\"d\",\"state\":\"pending\",\"createdDateTime\":\"yesterday\"}",
        "{\"id\":\"d\",\"state\":\"failed\",\"error\":{\"code\":\"4003\"}}",
        ("{\"id\":\"0123456789012345678901234567890123456789012345678901234567890123456789\","
         "\"state\":\"pending\"}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct json *json = NULL;
        struct delivery delivery;
        struct error err;
        if (read_text(bad[i], &json, &delivery, &err))
            fail_msg("taken: %s", bad[i]);
        assert_true(err.kind == FAIL_INPUT || err.kind == FAIL_TOO_LARGE);
        json_free(&json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resealed_delivery_is_read_whole),
        cmocka_unit_test(the_end_of_a_delivery_decides_the_exit_status),
        cmocka_unit_test(what_is_no_delivery_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
