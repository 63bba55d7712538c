/* SPDX-License-Identifier: Apache-2.0 */
/* Tables as spreadsheets write them. */
#include "tests/unit/check.h"
#include "src/cli/csv.h"

/* All cells of all rows, each in brackets, rows ended by '/'; or the error. */
static void read_all(const char *text, struct buf *out)
{
    struct buf content = BUF_INIT(65536);
    struct csv csv;
    struct error err = ERROR_INIT;
    char *cells[CSV_COLUMNS_MAX];
    bool found = true;
    buf_reset(out);
    buf_put_text(&content, text);
    if (!csv_open(&content, &csv, &err))
        goto done;
    for (size_t i = 0; i < csv.columns; i++)
        buf_printf(out, "{%s}", csv.names[i]);
    while (found) {
        if (!csv_next(&csv, cells, &found, &err))
            goto done;
        if (!found)
            break;
        buf_printf(out, "/%u", csv.line);
        for (size_t i = 0; i < csv.columns; i++)
            buf_printf(out, "[%s]", cells[i]);
    }
done:
    if (err.kind != FAIL_NONE) {
        assert_int_equal(err.kind, FAIL_INPUT);
        buf_printf(out, "!%s", err.text);
    }
    buf_free(&content);
}

static void rows_are_read_as_rfc_4180_writes_them(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"a,b\n1,2\n", "{a}{b}/2[1][2]"},
        {"a,b\r\n1,2\r\n3,4", "{a}{b}/2[1][2]/3[3][4]"},
        {"a;b\n1,5;2\n", "{a}{b}/2[1,5][2]"},
        {"a\tb\n1\t2\n", "{a}{b}/2[1][2]"},
        {"\xef\xbb\xbf"
         "a,b\n,\n",
         "{a}{b}/2[][]"},
        {"a,b\n\n\n1,2\n\n", "{a}{b}/4[1][2]"},
        {"a,b\n\"1,\"\"x\"\"\",\"\"\n", "{a}{b}/2[1,\"x\"][]"},
        {"a,b\n\"two\nlines\",2\n3,4\n", "{a}{b}/2[two\nlines][2]/4[3][4]"},
        {"\"a;x\",b\n1,2\n", "{a;x}{b}/2[1][2]"},
        {"a\n1\n2", "{a}/2[1]/3[2]"},
        {"a,b\n 1 ,Gr\u00fc\u00dfe \U0001f511\n", "{a}{b}/2[ 1 ][Gr\u00fc\u00dfe \U0001f511]"},
        {"a,b", "{a}{b}"},
    };
    struct buf out = BUF_INIT(65536);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        read_all(cases[i].text, &out);
        assert_string_equal(buf_text(&out), cases[i].wanted);
    }
    buf_free(&out);
}

static void what_is_no_table_is_told_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"", "!it is empty"},
        {"\n\n", "!it is empty"},
        {"a,\xff\n", "!it is not text in UTF-8"},
        {"a,b\n1\n", "!line 2: it has fewer cells"},
        {"a,b\n1,2\n1,2,3\n", "!line 3: it has more cells"},
        {"a,b\n\"1,2\n", "!line 2: a quote is never closed"},
        {"a,b\n\"1\"x,2\n", "!line 2: there is something behind"},
        {"a,b\n1\"2,3\n", "!line 2: there is a quote inside"},
        {"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\n", "!line 1: it has more cells"},
    };
    struct buf out = BUF_INIT(65536);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        read_all(cases[i].text, &out);
        if (strstr(buf_text(&out), cases[i].wanted) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", cases[i].wanted, buf_text(&out));
    }
    buf_free(&out);
}

static void columns_are_found_by_name_in_any_case(void **state)
{
    (void)state;
    struct buf content = BUF_INIT(1024);
    struct csv csv;
    struct error err = ERROR_INIT;
    buf_put_text(&content, "PFX,User\n");
    assert_ok(csv_open(&content, &csv, &err), &err);
    assert_int_equal(csv_column(&csv, "pfx"), 0);
    assert_int_equal(csv_column(&csv, "USER"), 1);
    assert_int_equal(csv_column(&csv, "purpose"), CSV_COLUMNS_MAX);
    buf_free(&content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read_as_rfc_4180_writes_them),
        cmocka_unit_test(what_is_no_table_is_told_with_its_line),
        cmocka_unit_test(columns_are_found_by_name_in_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
