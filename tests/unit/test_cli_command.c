/* SPDX-License-Identifier: Apache-2.0 */
/* The command line as data: what is taken, what is refused, what help says. */
#include "tests/unit/check.h"
#include "src/cli/invocation.h"

static bool run_nothing(const struct invocation *invocation, struct error *err)
{
    (void)invocation;
    (void)err;
    return true;
}

static bool run_status(const struct invocation *invocation, struct error *err)
{
    (void)err;
    invocation_set_status(invocation, 4);
    return true;
}

static const struct command_option make_options[] = {
    {"out", "FILE", "where it goes"},
    {"force", NULL, "even so"},
    {"password", "SOURCE", "where the password is"},
    {NULL, NULL, NULL},
};
static const struct command thing_commands[] = {
    {"thing", "make", "NAME...", "make things", make_options, 1, 3, run_nothing},
    {"thing", "list", "", "list things", NULL, 0, 0, run_nothing},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
static const struct command doctor[] = {
    {"doctor", "", "[PART]", "examine", NULL, 0, 1, run_status},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
static const struct command *const tables[] = {thing_commands, doctor, NULL};

#define PARSE(err, ...) parse((err), (const char *const[]){"reseal", __VA_ARGS__, NULL})

static struct invocation *parse(struct error *err, const char *const *words)
{
    char *argv[16];
    int argc = 0;
    struct invocation *invocation = NULL;
    for (; words[argc] != NULL; argc++)
        argv[argc] = strdup(words[argc]);
    argv[argc] = NULL;
    *err = (struct error)ERROR_INIT;
    bool ok = invocation_parse(tables, argc, argv, &invocation, err);
    assert_int_equal(ok, invocation != NULL);
    assert_int_equal(ok, err->kind == FAIL_NONE);
    /* Kept until the process ends: the invocation points into them. */
    static char *kept[512];
    static size_t count;
    for (int i = 0; i < argc; i++)
        kept[count++ % ARRAY_LEN(kept)] = argv[i];
    return invocation;
}

static void refused(struct error *err, const char *words, const char *hint)
{
    assert_int_equal(err->kind, FAIL_USAGE);
    if (strstr(err->text, words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, err->text);
    if (strstr(err->hint, hint) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", hint, err->hint);
}

static void takes_options_in_every_place_and_form(void **state)
{
    (void)state;
    static const char *const forms[][8] = {
        {"reseal", "thing", "make", "--out", "f", "a", "--force", NULL},
        {"reseal", "thing", "make", "a", "--force", "--out=f", NULL},
        {"reseal", "--json", "thing", "make", "--force", "--out=f", "a", NULL},
        {"reseal", "thing", "--json", "make", "--force", "--out=f", "a", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct error err;
        struct invocation *invocation = parse(&err, forms[i]);
        assert_non_null(invocation);
        assert_int_equal(invocation_wish(invocation), WISH_RUN);
        assert_string_equal(invocation_option(invocation, "out"), "f");
        assert_null(invocation_option(invocation, "password"));
        assert_true(invocation_flag(invocation, "force"));
        assert_int_equal(invocation_json(invocation), i >= 2);
        assert_int_equal(invocation_count(invocation), 1);
        assert_string_equal(invocation_argument(invocation, 0), "a");
        assert_null(invocation_argument(invocation, 1));
        invocation_free(&invocation);
    }
}

static void a_dash_is_standard_input_and_two_end_the_options(void **state)
{
    (void)state;
    struct error err;
    struct invocation *invocation = PARSE(&err, "thing", "make", "-", "--", "--force");
    assert_non_null(invocation);
    assert_int_equal(invocation_count(invocation), 2);
    assert_string_equal(invocation_argument(invocation, 0), "-");
    assert_string_equal(invocation_argument(invocation, 1), "--force");
    assert_false(invocation_flag(invocation, "force"));
    invocation_free(&invocation);
    invocation = PARSE(&err, "thing", "make", "--out=--force", "x");
    assert_non_null(invocation);
    assert_string_equal(invocation_option(invocation, "out"), "--force");
    invocation_free(&invocation);
    invocation = PARSE(&err, "thing", "make", "--out=", "x");
    assert_string_equal(invocation_option(invocation, "out"), "");
    invocation_free(&invocation);
}

static void a_misspelt_name_is_answered_with_the_nearest(void **state)
{
    (void)state;
    struct error err;
    assert_null(PARSE(&err, "thign", "make"));
    refused(&err, "no command \"thign\"", "reseal thing");
    assert_null(PARSE(&err, "thing", "mkae", "x"));
    refused(&err, "\"mkae\"", "reseal thing make");
    assert_null(PARSE(&err, "thing", "make", "--forec", "x"));
    refused(&err, "--forec", "--force");
    assert_null(PARSE(&err, "thing", "make", "--jsn", "x"));
    refused(&err, "--jsn", "--json");
    assert_null(PARSE(&err, "zzzzzzzzz"));
    refused(&err, "zzzzzzzzz", "reseal help");
    assert_null(PARSE(&err, "thing", "make", "-f", "x"));
    refused(&err, "no option --f", "");
    assert_null(PARSE(&err, "--forec"));
    refused(&err, "--forec", "");
}

static void a_wrong_use_of_an_option_is_refused(void **state)
{
    (void)state;
    struct error err;
    assert_null(PARSE(&err, "thing", "make", "x", "--out"));
    refused(&err, "--out wants a value", "FILE");
    assert_null(PARSE(&err, "thing", "make", "x", "--out", "--force"));
    refused(&err, "--out wants a value", "FILE");
    assert_null(PARSE(&err, "thing", "make", "x", "--out", "a", "--out=b"));
    refused(&err, "--out is given twice", "");
    assert_null(PARSE(&err, "thing", "make", "x", "--force=yes"));
    refused(&err, "--force takes no value", "");
    assert_null(PARSE(&err, "thing", "list", "--config", "a", "--config", "b"));
    refused(&err, "--config is given twice", "");
    assert_null(PARSE(&err, "thing", "list", "--force"));
    refused(&err, "no option --force", "");
}

static void the_number_of_words_is_checked(void **state)
{
    (void)state;
    struct error err;
    assert_null(PARSE(&err, "thing", "make"));
    refused(&err, "NAME...", "reseal thing make --help");
    assert_null(PARSE(&err, "thing", "make", "a", "b", "c", "d"));
    refused(&err, "NAME...", "--help");
    assert_null(PARSE(&err, "thing", "list", "a"));
    refused(&err, "options only", "--help");
    assert_null(PARSE(&err, "doctor", "a", "b"));
    refused(&err, "[PART]", "reseal doctor --help");
}

/* One of the words may be a secret that was put into the wrong place. */
static void values_are_never_repeated(void **state)
{
    (void)state;
    static const char *const lines[][8] = {
        {"reseal", "thing", "make", "--passwrod=hunter2", "x", NULL},
        {"reseal", "thing", "make", "--password", "a", "--password=hunter2", "x", NULL},
        {"reseal", "thing", "make", "--force=hunter2", "x", NULL},
        {"reseal", "thing", "list", "hunter2", NULL},
        {"reseal", "thing", "make", "a", "b", "c", "hunter2", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct error err;
        assert_null(parse(&err, lines[i]));
        assert_int_equal(err.kind, FAIL_USAGE);
        assert_null(strstr(err.text, "hunter2"));
        assert_null(strstr(err.hint, "hunter2"));
    }
}

static void help_is_wished_for_in_every_way(void **state)
{
    (void)state;
    static const struct {
        const char *words[6];
        enum wish wish;
        const char *says;
    } cases[] = {
        {{"reseal", NULL}, WISH_INCOMPLETE, "doctor [PART]"},
        {{"reseal", "help", NULL}, WISH_HELP, "thing make NAME..."},
        {{"reseal", "--help", NULL}, WISH_HELP, "thing list"},
        {{"reseal", "-h", NULL}, WISH_HELP, "Exit status"},
        {{"reseal", "thing", NULL}, WISH_INCOMPLETE, "make things"},
        {{"reseal", "thing", "--help", NULL}, WISH_HELP, "list things"},
        {{"reseal", "help", "thing", NULL}, WISH_HELP, "list things"},
        {{"reseal", "help", "thing", "make", NULL}, WISH_HELP, "--password SOURCE"},
        {{"reseal", "thing", "make", "--help", NULL}, WISH_HELP, "where it goes"},
        {{"reseal", "thing", "make", "a", "-h", NULL}, WISH_HELP, "--force"},
        {{"reseal", "doctor", "--help", NULL}, WISH_HELP, "usage: reseal doctor [PART]"},
        {{"reseal", "help", "doctor", NULL}, WISH_HELP, "examine"},
        {{"reseal", "--version", NULL}, WISH_VERSION, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err;
        char *text = NULL;
        size_t len = 0;
        struct invocation *invocation = parse(&err, cases[i].words);
        assert_non_null(invocation);
        assert_int_equal(invocation_wish(invocation), cases[i].wish);
        FILE *out = open_memstream(&text, &len);
        invocation_help(invocation, out);
        fclose(out);
        if (strstr(text, cases[i].says) == NULL)
            fail_msg("\"%s\" is not in the help of case %zu", cases[i].says, i);
        free(text);
        invocation_free(&invocation);
    }
}

static void help_of_what_is_not_there_is_refused(void **state)
{
    (void)state;
    struct error err;
    assert_null(PARSE(&err, "help", "thign"));
    refused(&err, "thign", "thing");
    assert_null(PARSE(&err, "help", "thing", "mak"));
    refused(&err, "mak", "make");
}

static void a_command_sets_its_own_status(void **state)
{
    (void)state;
    struct error err;
    struct invocation *invocation = PARSE(&err, "doctor");
    assert_non_null(invocation);
    assert_int_equal(invocation_status(invocation), 0);
    assert_true(invocation_run(invocation, &err));
    assert_int_equal(invocation_status(invocation), 4);
    invocation_free(&invocation);
}

static void a_configuration_may_be_missing_only_where_none_was_named(void **state)
{
    (void)state;
    struct error err;
    const struct config *config;
    struct invocation *invocation = PARSE(&err, "thing", "list", "--config", "/nowhere/x.conf");
    assert_refused(invocation_config(invocation, &config, &err), &err, FAIL_NOT_FOUND);
    assert_refused(invocation_may_config(invocation, &config, &err), &err, FAIL_NOT_FOUND);
    assert_null(config);
    invocation_free(&invocation);
}

static void a_table_is_aligned_by_characters_and_harmless(void **state)
{
    (void)state;
    static const char *const headers[] = {"A", "B", "C"};
    const char *first[] = {"J\xc3\xb6rg\xf0\x9f\x98\x80", NULL, "x"};
    const char *second[] = {"\033[31mred\n",
                            ("\xc2\x9b"
                             "31m"),
                            "y"};
    struct error err = ERROR_INIT;
    struct table *table = NULL;
    char *text = NULL;
    size_t len = 0;
    assert_ok(table_new(headers, 3, &table, &err), &err);
    assert_ok(table_row(table, first, &err), &err);
    assert_ok(table_row(table, second, &err), &err);
    FILE *out = open_memstream(&text, &len);
    table_print(table, out);
    fclose(out);
    assert_string_equal(text, "A          B      C\n"
                              "J\xc3\xb6rg\xf0\x9f\x98\x80      -      x\n"
                              "?[31mred?  ?"
                              "?31m  y\n");
    free(text);
    table_free(&table);
}

static void marks_have_no_colour_off_a_terminal(void **state)
{
    (void)state;
    FILE *out = tmpfile();
    char line[64] = "";
    print_mark(out, MARK_OK);
    print_mark(out, MARK_WARNING);
    print_mark(out, MARK_FAILURE);
    rewind(out);
    assert_non_null(fgets(line, sizeof line, out));
    assert_string_equal(line, "okwarningfailure");
    fclose(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_options_in_every_place_and_form),
        cmocka_unit_test(a_dash_is_standard_input_and_two_end_the_options),
        cmocka_unit_test(a_misspelt_name_is_answered_with_the_nearest),
        cmocka_unit_test(a_wrong_use_of_an_option_is_refused),
        cmocka_unit_test(the_number_of_words_is_checked),
        cmocka_unit_test(values_are_never_repeated),
        cmocka_unit_test(help_is_wished_for_in_every_way),
        cmocka_unit_test(help_of_what_is_not_there_is_refused),
        cmocka_unit_test(a_command_sets_its_own_status),
        cmocka_unit_test(a_configuration_may_be_missing_only_where_none_was_named),
        cmocka_unit_test(a_table_is_aligned_by_characters_and_harmless),
        cmocka_unit_test(marks_have_no_colour_off_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
