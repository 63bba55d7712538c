/* SPDX-License-Identifier: Apache-2.0 */
/* Rights of access keys, the hub's file of them, and secrets that are wrapped. */
#include "check.h"
#include <unistd.h>
#include "reseal/access.h"
#include "reseal/credentials.h"
#include "reseal/file.h"
#include "reseal/key_wrap.h"

static void rights_are_told_by_queue(void **state)
{
    (void)state;
    static const char rights[] = "receive:work send:results,send:work-* manage:*\tall:mine";
    assert_int_equal(rights_on(rights, "work"), RIGHT_RECEIVE | RIGHT_MANAGE);
    assert_int_equal(rights_on(rights, "results"), RIGHT_SEND | RIGHT_MANAGE);
    assert_int_equal(rights_on(rights, "work-"), RIGHT_SEND | RIGHT_MANAGE);
    assert_int_equal(rights_on(rights, "work-1"), RIGHT_SEND | RIGHT_MANAGE);
    assert_int_equal(rights_on(rights, "other"), RIGHT_MANAGE);
    assert_int_equal(rights_on(rights, "mine"), RIGHT_ANY);
    assert_int_equal(rights_on("send:work", "wor"), 0);
    assert_int_equal(rights_on("send:work", "works"), 0);
    assert_int_equal(rights_on("", "anything"), RIGHT_ANY);
    assert_int_equal(rights_on(" ", "anything"), 0); /* rights, but none */
}

static void rights_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const good[] = {"", "send:a", "all:*", "send:a receive:b-*, manage:C_1"};
    static const char *const bad[] = {"send",     "send:",    "sned:a",       "Send:a", "send:a/b",
                                      "send:*-a", "send:a**", ":a",           "*",      "send:a;b",
                                      "send: a",  "send:a:b", "send:\xc3\xa4"};
    struct error err = ERROR_INIT;
    char name[128];
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_ok(rights_valid(good[i], &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(rights_valid(bad[i], &err), &err, FAIL_USAGE);
    snprintf(name, sizeof name, "send:%081d", 0);
    assert_refused(rights_valid(name, &err), &err, FAIL_USAGE);
}

#define KEYS(name, secret)                                                                         \
    "[" name "]\naws_access_key_id = AK" name "\naws_secret_access_key = " secret "\n"

static bool load(const char *text, const struct secret *wrap, struct credentials **out,
                 struct error *err)
{
    char path[] = "/tmp/access-XXXXXX";
    int fd = mkstemp(path); /* mode 0600 */
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    bool ok = credentials_load_hub(path, wrap, out, err);
    unlink(path);
    return ok;
}

static void lines_of_rights_add_up(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct credentials *all = NULL;
    assert_ok(
        load(KEYS("one", "long enough!") "rights = send:a\nregion = x\nrights = send:b\n" KEYS(
                 "two", "long enough!"),
             NULL, &all, &err),
        &err);
    assert_int_equal(credentials_count(all), 2);
    assert_string_equal(credentials_at(all, 0)->rights, "send:a send:b");
    assert_string_equal(credentials_at(all, 1)->rights, "");
    assert_null(credentials_at(all, 2));
    credentials_free(&all);
}

/* A key without rights may do everything: nothing may be lost in silence. */
static void what_might_have_been_a_right_is_not_overlooked(void **state)
{
    (void)state;
    static const char *const bad[] = {
        KEYS("one", "long enough!") "right = send:a\n",
        KEYS("one", "long enough!") "Rights = send:a\n",
        KEYS("one", "long enough!") "rights =\n",
        KEYS("one", "long enough!") "rights = send\n",
        KEYS("one", "long enough!") "aws_secret_access_key_wrapped = v1:AAAA\n",
        "[one]\naws_access_key_id = AKONE\naws_secret_access_key_wrapped = v1:AAAA\n",
    };
    struct error err = ERROR_INIT;
    struct credentials *all = NULL;
    char line[512] = KEYS("one", "long enough!") "rights = send:a";
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(load(bad[i], NULL, &all, &err), &err, FAIL_USAGE);
    memset(line + strlen(line), ' ', 200); /* longer than the reader's line */
    strcat(line, "\n");
    assert_refused(load(line, NULL, &all, &err), &err, FAIL_USAGE);
}

static struct secret *secret_of(const char *text)
{
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    assert_ok(secret_copy(text, strlen(text), &secret, &err), &err);
    return secret;
}

static void a_wrapped_secret_opens_under_its_key_and_name_alone(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct secret *wrap = secret_of("a key that wraps"), *other = secret_of("another such key");
    struct secret *plain = secret_of("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), *opened = NULL;
    struct buf text = BUF_INIT(512), again = BUF_INIT(512);
    assert_ok(key_wrap(wrap, "AKONE", plain, &text, &err), &err);
    assert_ok(key_wrap(wrap, "AKONE", plain, &again, &err), &err);
    assert_string_not_equal(buf_text(&text), buf_text(&again)); /* a nonce of its own each time */
    assert_ok(key_unwrap(wrap, "AKONE", buf_text(&text), &opened, &err), &err);
    assert_int_equal(secret_len(opened), secret_len(plain));
    assert_memory_equal(secret_data(opened), secret_data(plain), secret_len(plain));
    secret_free(&opened);
    assert_refused(key_unwrap(other, "AKONE", buf_text(&text), &opened, &err), &err, FAIL_POLICY);
    assert_refused(key_unwrap(wrap, "AKTWO", buf_text(&text), &opened, &err), &err, FAIL_POLICY);
    text.data[10] = text.data[10] == 'A' ? 'B' : 'A';
    assert_refused(key_unwrap(wrap, "AKONE", buf_text(&text), &opened, &err), &err, FAIL_POLICY);
    static const char *const bad[] = {"", "v1:", "v2:AAAA", "v1:AAAA", "v1:!!!!", "AAAA"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(key_unwrap(wrap, "AKONE", bad[i], &opened, &err), &err, FAIL_USAGE);
    assert_null(opened);
    buf_free(&text);
    buf_free(&again);
    secret_free(&plain);
    secret_free(&wrap);
    secret_free(&other);
}

static void a_file_of_wrapped_keys_is_read(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct credentials *all = NULL;
    struct secret *wrap = secret_of("a key that wraps"), *plain = secret_of("secret half of it");
    struct buf file = BUF_INIT(1024);
    buf_put_text(&file, "[one]\naws_secret_access_key_wrapped = ");
    assert_ok(key_wrap(wrap, "AKONE", plain, &file, &err), &err);
    buf_put_text(&file, "\naws_access_key_id = AKONE\n");
    assert_ok(load(buf_text(&file), wrap, &all, &err), &err);
    const struct credential *one = credentials_by_access_key(all, "AKONE");
    assert_true(one->wrapped);
    assert_int_equal(secret_len(one->secret_access_key), secret_len(plain));
    assert_memory_equal(secret_data(one->secret_access_key), secret_data(plain), secret_len(plain));
    credentials_free(&all);
    assert_refused(load(buf_text(&file), NULL, &all, &err), &err, FAIL_USAGE);
    buf_free(&file);
    secret_free(&plain);
    secret_free(&wrap);
}

static int open_heap(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    return secret_heap_open(1 << 16, &err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_are_told_by_queue),
        cmocka_unit_test(rights_that_are_none_are_refused),
        cmocka_unit_test(lines_of_rights_add_up),
        cmocka_unit_test(what_might_have_been_a_right_is_not_overlooked),
        cmocka_unit_test(a_wrapped_secret_opens_under_its_key_and_name_alone),
        cmocka_unit_test(a_file_of_wrapped_keys_is_read),
    };
    return cmocka_run_group_tests(tests, open_heap, NULL);
}
