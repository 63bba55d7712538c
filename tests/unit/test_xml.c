/* SPDX-License-Identifier: Apache-2.0 */
/* The XML reader, which reads what comes from outside, and what is written for such readers. */
#include "tests/unit/check.h"
#include "reseal/xml.h"
#include "reseal/xml_text.h"

static void count_element(void *context, const char *path, const char *text, size_t len)
{
    (void)path, (void)text, (void)len;
    ++*(size_t *)context;
}

static struct bytes bytes_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static void what_is_no_document_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "plain text",
        "<a>\xff</a>",
        "<a>\x01</a>",
        "<!DOCTYPE a [<!ENTITY x \"xx\"><!ENTITY y \"&x;&x;&x;\">]><a>&y;</a>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\" [<!ENTITY x \"xx\">]><a/>",
        "<a>&undefined;</a>",
        "<!DOCTYPE a SYSTEM \"a.dtd\"><a>x&undefined;y</a>",
        "<a><b><c><d><e><f><g/></f></e></d></c></b></a>",
    };
    size_t count = 0;
    struct error err = ERROR_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_refused(
            xml_read(bytes_of(bad[i]), XML_NO_DOCTYPE, "it", count_element, &count, &err), &err,
            FAIL_INPUT);
        assert_refused(xml_read(bytes_of(bad[i]), XML_DOCTYPE, "it", count_element, &count, &err),
                       &err, FAIL_INPUT);
    }
}

static void elements_are_told_as_they_end(void **state)
{
    size_t count = 0;
    struct error err = ERROR_INIT;
    (void)state;
    assert_ok(xml_read(bytes_of("<a><b>x &lt;&#65;</b><c/></a>"), XML_NO_DOCTYPE, "it",
                       count_element, &count, &err),
              &err);
    assert_int_equal(count, 3);
}

/* A name alone is looked up nowhere: the file that it points to does not matter. */
static void a_document_type_is_taken_where_it_is_allowed(void **state)
{
    static const char *const typed[] = {
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a SYSTEM \"file:///there/is/no/such/file\"><a/>",
        "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://127.0.0.1:1/\"><plist/>",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(typed); i++) {
        size_t count = 0;
        struct error err = ERROR_INIT;
        assert_ok(xml_read(bytes_of(typed[i]), XML_DOCTYPE, "it", count_element, &count, &err),
                  &err);
        assert_int_equal(count, 1);
        assert_refused(
            xml_read(bytes_of(typed[i]), XML_NO_DOCTYPE, "it", count_element, &count, &err), &err,
            FAIL_INPUT);
    }
}

static void keep_text(void *context, const char *path, const char *text, size_t len)
{
    (void)path;
    buf_put(context, text, len);
}

static void text_that_was_written_is_read_as_it_was(void **state)
{
    static const char *const texts[] = {
        "", "plain", "<&>]]>\"'", "&amp;", "Gr\u00fc\u00dfe \U0001f511", "two\nlines\tand a tab"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct buf xml = BUF_INIT(1024), read = BUF_INIT(1024);
        struct error err = ERROR_INIT;
        buf_put_text(&xml, "<a>");
        xml_put_text(&xml, texts[i]);
        buf_put_text(&xml, "</a>");
        assert_ok(xml_read(buf_bytes(&xml), XML_NO_DOCTYPE, "it", keep_text, &read, &err), &err);
        assert_string_equal(buf_text(&read), texts[i]);
        buf_free(&xml);
        buf_free(&read);
    }
}

static void what_xml_does_not_have_is_not_legal(void **state)
{
    static const char *const bad[] = {"\x01", "a\x1f", "\xef\xbf\xbe", "b\xef\xbf\xbf"};
    static const char *const good[] = {"", "\t\n\r", "\xef\xbf\xbd", "\x7f", "plain"};
    char longer[200];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(xml_legal(bad[i], strlen(bad[i])));
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(xml_legal(good[i], strlen(good[i])));
    for (size_t at = 0; at < sizeof longer; at++) { /* wherever it is */
        memset(longer, 'x', sizeof longer);
        assert_true(xml_legal(longer, sizeof longer));
        longer[at] = '\x02';
        assert_false(xml_legal(longer, sizeof longer));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_document_is_refused),
        cmocka_unit_test(elements_are_told_as_they_end),
        cmocka_unit_test(a_document_type_is_taken_where_it_is_allowed),
        cmocka_unit_test(text_that_was_written_is_read_as_it_was),
        cmocka_unit_test(what_xml_does_not_have_is_not_legal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
