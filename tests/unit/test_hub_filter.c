/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's reading of addresses: percent-encoding, query parameters and $filter. */
#include "check.h"
#include "src/hub/odata_filter.h"
#include "src/hub/uri.h"

static void a_filter_reads_both_names_in_every_form(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "userPrincipalName eq 'Ann@Example.org' and thumbprint eq 'ABCD'",
        "thumbprint eq 'abcd' and userPrincipalName eq 'ann@example.org'",
        "tolower(userPrincipalName) eq 'ann@example.org' and tolower(thumbprint) eq 'abcd'",
        "  tolower( userPrincipalName )  eq  'ann@example.org'  and  thumbprint  eq  'abcd'  ",
        "thumbprint eq 'abcd' and thumbprint eq 'ABCD' and userPrincipalName eq 'ANN@example.org'",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct error err = ERROR_INIT;
        struct record_filter filter;
        assert_ok(record_filter_parse(texts[i], &filter, &err), &err);
        assert_true(filter.has_upn && filter.has_thumbprint && !filter.empty);
        assert_string_equal(filter.upn, "ann@example.org");
        assert_string_equal(filter.thumbprint, "abcd");
    }
}

static void a_doubled_apostrophe_is_one(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct record_filter filter;
    assert_ok(record_filter_parse("userPrincipalName eq 'o''brien''@x'", &filter, &err), &err);
    assert_string_equal(filter.upn, "o'brien'@x");
    assert_false(filter.has_thumbprint);
    assert_ok(record_filter_parse("userPrincipalName eq ''", &filter, &err), &err);
    assert_string_equal(filter.upn, "");
    assert_ok(record_filter_parse("userPrincipalName eq ' and '", &filter, &err), &err);
    assert_string_equal(filter.upn, " and ");
}

static void two_terms_that_contradict_match_nothing(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct record_filter filter;
    assert_ok(record_filter_parse("thumbprint eq 'a' and thumbprint eq 'b'", &filter, &err), &err);
    assert_true(filter.empty);
}

static void what_is_not_understood_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "userPrincipalName",
        "userPrincipalName eq",
        "userPrincipalName eq 'open",
        "userPrincipalName eq 'one''",
        "userPrincipalName ne 'a'",
        "userPrincipalName eq 'a' or thumbprint eq 'b'",
        "userPrincipalName eq 'a' and",
        "userPrincipalName eq 'a' thumbprint eq 'b'",
        "userPrincipalName eq 'a')",
        "tolower(userPrincipalName eq 'a'",
        "toupper(userPrincipalName) eq 'a'",
        "keyName eq 'a'",
        "userPrincipalNameX eq 'a'",
        "userPrincipalName eqx 'a'",
        "'a' eq userPrincipalName",
        "userPrincipalName eq \"a\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct error err = ERROR_INIT;
        struct record_filter filter;
        assert_refused(record_filter_parse(texts[i], &filter, &err), &err, FAIL_INPUT);
    }
}

static void a_text_longer_than_any_name_is_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct record_filter filter;
    char text[2048];
    char name[RECORD_UPN_MAX + 2];
    memset(name, 'a', sizeof name);
    name[RECORD_UPN_MAX] = '\0';
    snprintf(text, sizeof text, "userPrincipalName eq '%s'", name);
    assert_ok(record_filter_parse(text, &filter, &err), &err);
    name[RECORD_UPN_MAX] = 'a';
    name[RECORD_UPN_MAX + 1] = '\0';
    snprintf(text, sizeof text, "userPrincipalName eq '%s'", name);
    assert_refused(record_filter_parse(text, &filter, &err), &err, FAIL_INPUT);
}

static bool decodes(enum uri_part part, const char *text, const char *expected)
{
    char out[64];
    return uri_decode(part, text, strlen(text), out, sizeof out) && strcmp(out, expected) == 0;
}

static void percent_encoding_is_undone_exactly(void **state)
{
    (void)state;
    char out[4];
    assert_true(decodes(URI_PATH, "a%2Fb%2fc", "a/b/c"));
    assert_true(decodes(URI_PATH, "a+b%20c", "a+b c"));
    assert_true(decodes(URI_QUERY, "a+b%2Bc", "a b+c"));
    assert_true(decodes(URI_QUERY, "%C3%A9%F0%9F%98%80", "\xc3\xa9\xf0\x9f\x98\x80"));
    assert_true(decodes(URI_PATH, "", ""));
    assert_true(uri_decode(URI_PATH, "abc", 3, out, sizeof out));
    assert_false(uri_decode(URI_PATH, "abcd", 4, out, sizeof out)); /* no room for the end mark */
}

static void broken_escapes_and_hostile_bytes_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"%",       "%4",  "%4g", "%g4", "%00",    "a%0ab",
                                        "%1b[31m", "%7f", "%ff", "%c3", "%c0%af", "%ed%a0%80"};
    char out[64];
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(uri_decode(URI_QUERY, texts[i], strlen(texts[i]), out, sizeof out));
}

static bool parameter_is(const struct uri_parameter *parameter, const char *name, const char *value)
{
    return parameter->name.len == strlen(name) && parameter->value.len == strlen(value) &&
           memcmp(parameter->name.data, name, strlen(name)) == 0 &&
           memcmp(parameter->value.data, value, strlen(value)) == 0;
}

static void a_query_is_taken_apart_pair_by_pair(void **state)
{
    (void)state;
    struct uri_parameter parameter;
    const char *query = "&a=1&&b&c=x=y&d=";
    assert_true(uri_next_parameter(&query, &parameter) && parameter_is(&parameter, "a", "1"));
    assert_true(uri_next_parameter(&query, &parameter) && parameter_is(&parameter, "b", ""));
    assert_true(uri_next_parameter(&query, &parameter) && parameter_is(&parameter, "c", "x=y"));
    assert_true(uri_next_parameter(&query, &parameter) && parameter_is(&parameter, "d", ""));
    assert_false(uri_next_parameter(&query, &parameter));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filter_reads_both_names_in_every_form),
        cmocka_unit_test(a_doubled_apostrophe_is_one),
        cmocka_unit_test(two_terms_that_contradict_match_nothing),
        cmocka_unit_test(what_is_not_understood_is_refused),
        cmocka_unit_test(a_text_longer_than_any_name_is_refused),
        cmocka_unit_test(percent_encoding_is_undone_exactly),
        cmocka_unit_test(broken_escapes_and_hostile_bytes_are_refused),
        cmocka_unit_test(a_query_is_taken_apart_pair_by_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
