/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>
#include "tests/unit/check.h"
#include "reseal/credentials.h"
#include "reseal/file.h"
#include "reseal/settings.h"

static char folder[] = "/tmp/reseal-config-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    if (mkdtemp(folder) == NULL || !secret_heap_open(65536, &err))
        return -1;
    snprintf(path, sizeof path, "%s/reseal.conf", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static bool load(const char *text, struct config **out, struct error *err)
{
    struct bytes content = {(const uint8_t *)text, strlen(text)};
    return file_write(path, 0600, FILE_REPLACE, content, err) && settings_load(path, out, err);
}

static void values_have_types_and_defaults(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    char wanted[128];
    assert_ok(load("; comment\n# comment\n[token]\nmodule = lib/x.so\nkey = a, b b ,c\n"
                   "pin = file:pin\n[connector]\nworkers=7\nrequire = host\n",
                   &config, &err),
              &err);
    assert_int_equal(config_number(config, "connector", "workers"), 7);
    assert_string_equal(config_text(config, "connector", "require"), "host");
    assert_int_equal(config_list_count(config, "token", "key"), 3);
    assert_string_equal(config_list_at(config, "token", "key", 1), "b b");
    snprintf(wanted, sizeof wanted, "%s/lib/x.so", folder);
    assert_string_equal(config_text(config, "token", "module"), wanted);
    snprintf(wanted, sizeof wanted, "file:%s/pin", folder);
    assert_string_equal(config_text(config, "token", "pin"), wanted);
    assert_int_equal(config_number(config, "queue", "lease"), 60);
    assert_false(config_given(config, "queue", "lease"));
    assert_null(config_text(config, "hub", "database"));
    config_free(&config);
}

static void every_mistake_names_file_and_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"[token]\nmodul = x\n", ":2: unknown key \"modul\""},
        {"[tokn]\nmodule = x\n", ":1: unknown section [tokn]"},
        {"[log]\n\n[outputs]\n", ":3: unknown section [outputs]"},
        {"[connector]\n\nworkers = 65\n", ":3: workers must be a whole number from 1 to 64"},
        {"[connector]\nworkers = 2x\n", ":2: workers must be"},
        {"[connector]\nrequire = maybe\n", ":2: require must be one of"},
        {"[connector]\nworkers = 1\nworkers = 2\n", ":3: workers is given a second time"},
        {"[connector]\nrubbish\n", ":2: neither [section] nor name = value"},
        {"[token]\npin = 1234\n", ":2: pin: a secret's source"},
        {"workers = 2\n", ":1: unknown section []"},
        {"[token]\nlabel = \xff\n", "UTF-8"},
        {"[token a]\nlabel = x\n[token a]\nlabel = y\n", ":4: label is given a second time"},
        {"[token a]\nmodul = x\n", ":2: unknown key \"modul\" in section [token a]"},
        {"[token a b]\n", ":1: the name in [token NAME] must be"},
        {"[token  a]\n", ":1: the name in [token NAME] must be"},
        {"[token ]\n", ":1: the name in [token NAME] must be"},
        {"[token a234567890b234567890c234567890def]\n", ":1: the name in [token NAME] must be"},
        {"[token default]\nlabel = x\n", ":1: [token default] is written [token]"},
        {"[log a]\nlevel = info\n", ":1: unknown section [log a]"},
        {"[tokn a]\nlabel = info\n", ":1: unknown section [tokn a]"},
        {"[connector] require = token\n", ":1: something follows the section on its line"},
        {"[token a]b]\nlabel = x\n", ":1: something follows the section on its line"},
        {"[token a]\nworkers = 65\n", ":2: workers must be a whole number from 1 to 64"},
    };
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_refused(load(cases[i][0], &config, &err), &err, FAIL_USAGE);
        assert_null(config);
        if (strstr(err.text, cases[i][1]) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i][1]);
    }
    assert_refused(load("[token]\nmodul = x\n", &config, &err), &err, FAIL_USAGE);
    assert_string_equal(err.hint, "did you mean \"module\"?");
    assert_refused(load("[tokn a-1]\nmodul = x\n", &config, &err), &err, FAIL_USAGE);
    assert_string_equal(err.hint, "did you mean [token a-1]?");
    assert_refused(load("[lag]\nlevel = x\n", &config, &err), &err, FAIL_USAGE);
    assert_string_equal(err.hint, "did you mean [log]?");
}

static void a_byte_order_mark_and_comments_behind_sections_are_passed_over(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    assert_ok(load("\xef\xbb\xbf[token a] ; the first\r\nlabel = x\r\n"
                   "[connector]\t# this one\nworkers = 7",
                   &config, &err),
              &err);
    assert_string_equal(config_text(config, "token a", "label"), "x");
    assert_int_equal(config_number(config, "connector", "workers"), 7);
    config_free(&config);
}

static void each_token_has_a_section_of_its_own(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    const char *section = NULL;
    assert_ok(load("[token b-2]\nlabel = two\nworkers = 5\n[connector]\nworkers = 3\n"
                   "[token]\nlabel = one\n[token C]\nlabel = three\nkey = x, y\n",
                   &config, &err),
              &err);
    assert_int_equal(settings_token_count(config), 3);
    static const char *const names[] = {"default", "b-2", "C"};
    static const char *const labels[] = {"one", "two", "three"};
    static const unsigned workers[] = {3, 5, 3};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_ok(settings_token_find(config, names[i], &section, &err), &err);
        assert_string_equal(section, settings_token_section(config, i));
        assert_string_equal(settings_token_name(section), names[i]);
        assert_string_equal(config_text(config, section, "label"), labels[i]);
        assert_int_equal(settings_workers(config, section), workers[i]);
    }
    assert_int_equal(config_list_count(config, "token C", "key"), 2);
    assert_false(config_given(config, "token b-2", "key"));
    assert_refused(settings_token_find(config, "b", &section, &err), &err, FAIL_USAGE);
    assert_non_null(strstr(err.hint, "default, b-2, C"));
    assert_refused(settings_token_find(config, NULL, &section, &err), &err, FAIL_USAGE);
    config_free(&config);
}

/* Somebody has put all of its lines behind comment signs. */
static void a_section_without_a_key_is_no_token(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    const char *section = NULL;
    assert_ok(load("[token]\n; label = one\n[token b]\nlabel = two\n[token c]\n", &config, &err),
              &err);
    assert_int_equal(settings_token_count(config), 1);
    assert_ok(settings_token_find(config, NULL, &section, &err), &err);
    assert_string_equal(section, "token b");
    config_free(&config);
    assert_ok(load("", &config, &err), &err);
    assert_int_equal(settings_token_count(config), 1);
    assert_ok(settings_token_find(config, NULL, &section, &err), &err);
    assert_string_equal(section, "token");
    config_free(&config);
}

static void eight_tokens_are_taken_and_no_ninth(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    char text[512] = "[token]\nlabel = x\n";
    for (int i = 1; i < TOKENS_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "[token t%d]\nlabel = x\n", i);
    assert_ok(load(text, &config, &err), &err);
    assert_int_equal(settings_token_count(config), TOKENS_MAX);
    config_free(&config);
    strcat(text, "[token one-more]\nlabel = x\n");
    assert_refused(load(text, &config, &err), &err, FAIL_USAGE);
    assert_non_null(strstr(err.text, "[token one-more] is one too many: at most 8"));
}

static void a_pin_given_by_mistake_is_not_repeated(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    assert_refused(load("[token]\npin = SuperSecretPin\n", &config, &err), &err, FAIL_USAGE);
    assert_null(strstr(err.text, "SuperSecretPin"));
    assert_null(strstr(err.hint, "SuperSecretPin"));
}

static void huge_and_endless_files_are_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    size_t size = 10u << 20;
    char *text = malloc(size + 1);
    memset(text, 'x', size);
    text[size] = '\0';
    assert_refused(load(text, &config, &err), &err, FAIL_TOO_LARGE);
    text[60000] = '\0'; /* one line */
    assert_refused(load(text, &config, &err), &err, FAIL_USAGE);
    assert_non_null(strstr(err.text, ":1: the line is longer"));
    free(text);
}

static void what_show_prints_loads_again(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct config *config = NULL, *again = NULL;
    char *text = NULL;
    size_t len = 0;
    assert_ok(load("[token b]\nlabel = two\n[connector]\nworkers = 9\n[token a]\nlabel = one\n",
                   &config, &err),
              &err);
    FILE *out = open_memstream(&text, &len);
    config_print(config, out);
    fclose(out);
    assert_ok(load(text, &again, &err), &err);
    assert_int_equal(config_number(again, "connector", "workers"), 9);
    assert_int_equal(settings_token_count(again), 2);
    assert_string_equal(config_text(again, "token a", "label"), "one");
    assert_string_equal(config_text(again, "token b", "label"), "two");
    config_free(&config);
    config_free(&again);
    free(text);
}

static bool load_keys(const char *text, mode_t mode, struct credentials **out, struct error *err)
{
    struct bytes content = {(const uint8_t *)text, strlen(text)};
    return file_write(path, mode, FILE_REPLACE, content, err) && credentials_load(path, out, err);
}

static void access_keys_are_read_by_profile(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct credentials *all = NULL;
    assert_ok(
        load_keys("[default]\naws_access_key_id = AK1\naws_secret_access_key = a/b+c;=d and more\n"
                  "[two]\naws_access_key_id=AK2\naws_secret_access_key=0123456789ab\nregion = eu\n",
                  0600, &all, &err),
        &err);
    const struct credential *one = credentials_by_profile(all, "default");
    assert_non_null(one);
    assert_string_equal(one->access_key_id, "AK1");
    assert_int_equal(secret_len(one->secret_access_key), 17);
    assert_memory_equal(secret_bytes(one->secret_access_key).data, "a/b+c;=d", 8);
    assert_string_equal(credentials_by_access_key(all, "AK2")->profile, "two");
    assert_null(credentials_by_access_key(all, "AK3"));
    credentials_free(&all);
}

static void a_long_session_token_does_not_concern_us(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct credentials *all = NULL;
    char text[4096] = "[default]\naws_access_key_id = A\naws_session_token = ";
    memset(text + strlen(text), 'x', 1500);
    strcat(text, "\naws_secret_access_key = 0123456789ab\n");
    assert_ok(load_keys(text, 0600, &all, &err), &err);
    assert_int_equal(secret_len(credentials_by_profile(all, "default")->secret_access_key), 12);
    credentials_free(&all);
}

static void loose_or_incomplete_access_keys_are_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct credentials *all = NULL;
    static const char whole[] =
        "[default]\naws_access_key_id = A\naws_secret_access_key = 0123456789ab\n";
    assert_refused(load_keys(whole, 0644, &all, &err), &err, FAIL_POLICY);
    assert_refused(load_keys("[default]\naws_access_key_id = A\n", 0600, &all, &err), &err,
                   FAIL_USAGE);
    assert_refused(load_keys("", 0600, &all, &err), &err, FAIL_USAGE);
    assert_refused(
        load_keys("[default]\naws_access_key_id = A\naws_secret_access_key =\n", 0600, &all, &err),
        &err, FAIL_USAGE);
    assert_refused(
        load_keys("[default]\naws_access_key_id = A\naws_secret_access_key = 0123456789ab\n"
                  "[two]\naws_access_key_id = A\naws_secret_access_key = ba9876543210\n",
                  0600, &all, &err),
        &err, FAIL_USAGE);
    assert_non_null(strstr(err.text, "same access key id"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_types_and_defaults),
        cmocka_unit_test(every_mistake_names_file_and_line),
        cmocka_unit_test(a_byte_order_mark_and_comments_behind_sections_are_passed_over),
        cmocka_unit_test(each_token_has_a_section_of_its_own),
        cmocka_unit_test(a_section_without_a_key_is_no_token),
        cmocka_unit_test(eight_tokens_are_taken_and_no_ninth),
        cmocka_unit_test(a_pin_given_by_mistake_is_not_repeated),
        cmocka_unit_test(huge_and_endless_files_are_refused),
        cmocka_unit_test(what_show_prints_loads_again),
        cmocka_unit_test(access_keys_are_read_by_profile),
        cmocka_unit_test(a_long_session_token_does_not_concern_us),
        cmocka_unit_test(loose_or_incomplete_access_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
