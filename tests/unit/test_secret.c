/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/unit/check.h"
#include "reseal/file.h"
#include "reseal/secret.h"

static char folder[] = "/tmp/reseal-secret-XXXXXX";
static char path[64];
static char source[80];

static int set_up(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    if (mkdtemp(folder) == NULL || !secret_heap_open(65536, &err))
        return -1;
    snprintf(path, sizeof path, "%s/pin", folder);
    snprintf(source, sizeof source, "file:%s", path);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void put(const char *text, size_t len, mode_t mode)
{
    struct error err = ERROR_INIT;
    struct bytes content = {(const uint8_t *)text, len};
    assert_ok(file_write(path, mode, FILE_REPLACE, content, &err), &err);
}

static void one_line_end_is_not_part_of_a_secret(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } cases[][2] = {
        {{"1234", 4}, {"1234", 4}},
        {{"1234\n", 5}, {"1234", 4}},
        {{"1234\r\n", 6}, {"1234", 4}},
        {{"12\n\n", 4}, {"12\n", 3}},
        {{" a b \n", 6}, {" a b ", 5}},
        {{"\n", 1}, {"", 0}},
        {{"", 0}, {"", 0}},
        {{"a\0b", 3}, {"a\0b", 3}},
        {{"12\r", 3}, {"12\r", 3}},
    };
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct secret *secret = NULL;
        put(cases[i][0].text, cases[i][0].len, 0600);
        assert_ok(secret_read(source, "", 255, &secret, &err), &err);
        assert_int_equal(secret_len(secret), cases[i][1].len);
        assert_memory_equal(secret_data(secret), cases[i][1].text, cases[i][1].len);
        secret_free(&secret);
        assert_null(secret);
    }
}

static void a_secret_file_open_to_every_user_is_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    put("TopSecretPin", 12, 0644);
    assert_refused(secret_read(source, "", 255, &secret, &err), &err, FAIL_POLICY);
    assert_null(secret);
    assert_null(strstr(err.text, "TopSecretPin"));
    assert_non_null(strstr(err.hint, "chmod 600"));
}

static void a_secret_file_of_another_user_is_refused_with_who_wants_it(void **state)
{
    (void)state;
    const uid_t before = geteuid(), reader = before != 0 ? before : 65534;
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    char number[24];
    put("TopSecretPin", 12, 0000);
    assert_int_equal(seteuid(reader), 0); /* root may read everything */
    bool ok = secret_read(source, "", 255, &secret, &err);
    assert_int_equal(seteuid(before), 0);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1), 0); /* which the change of user took away */
    assert_false(ok);
    assert_null(secret);
    assert_int_equal(err.kind, FAIL_IO);
    snprintf(number, sizeof number, "number %lu:", (unsigned long)reader);
    assert_non_null(strstr(err.hint, number));
}

static void a_secret_longer_than_its_bound_is_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    put("123456789", 9, 0600);
    assert_ok(secret_read(source, "", 9, &secret, &err), &err);
    secret_free(&secret);
    assert_refused(secret_read(source, "", 8, &secret, &err), &err, FAIL_TOO_LARGE);
    char *large = malloc(10u << 20);
    memset(large, 'x', 10u << 20);
    put(large, 10u << 20, 0600);
    free(large);
    assert_refused(secret_read(source, "", 255, &secret, &err), &err, FAIL_TOO_LARGE);
}

static void a_descriptor_is_read_to_its_end(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    int ends[2];
    char from[16];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "from a pipe\n", 12), 12);
    close(ends[1]);
    snprintf(from, sizeof from, "fd:%d", ends[0]);
    assert_ok(secret_read(from, "", 255, &secret, &err), &err);
    assert_int_equal(secret_len(secret), 11);
    secret_free(&secret);
    close(ends[0]);
    assert_refused(secret_read(from, "", 255, &secret, &err), &err, FAIL_IO);
}

static void a_credential_comes_from_the_service_manager(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    put("abc", 3, 0600);
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_refused(secret_read("credential:pin", "", 255, &secret, &err), &err, FAIL_USAGE);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    assert_ok(secret_read("credential:pin", "", 255, &secret, &err), &err);
    secret_free(&secret);
    assert_refused(secret_read("credential:other", "", 255, &secret, &err), &err, FAIL_NOT_FOUND);
}

static void a_source_of_no_known_form_is_refused_and_not_repeated(void **state)
{
    (void)state;
    static const char *const bad[] = {"hunter2", "",      "file:",       "fd:",
                                      "fd:-1",   "fd:1x", "credential:", "credential:../x",
                                      "env:PIN"};
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_refused(secret_source_check(bad[i], &err), &err, FAIL_USAGE);
        assert_null(strstr(err.text, "hunter2"));
    }
}

static void the_heap_for_secrets_is_locked_memory(void **state)
{
    (void)state;
    char line[256];
    long locked_kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status) != NULL)
        sscanf(line, "VmLck: %ld", &locked_kib);
    fclose(status);
    assert_true(locked_kib >= 64);
}

/* The flags of the memory at that address, as in "VmFlags: rd wr mr mw me lo dd ac". */
static void memory_flags(const void *address, char out[static 256])
{
    char line[256];
    bool here = false;
    out[0] = '\0';
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (out[0] == '\0' && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t start, end;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
            here = start <= (uintptr_t)address && (uintptr_t)address < end;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(out, 256, "%s", line + 8);
    }
    fclose(maps);
}

static void a_secret_is_in_memory_that_is_neither_swapped_nor_dumped(void **state)
{
    (void)state;
    char flags[256];
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    assert_ok(secret_copy("0123456789", 10, &secret, &err), &err);
    memory_flags(secret_data(secret), flags);
    assert_non_null(strstr(flags, " lo"));
    assert_non_null(strstr(flags, " dd"));
    memory_flags(flags, flags); /* the stack is neither: the flags tell memory apart */
    assert_null(strstr(flags, " dd"));
    secret_free(&secret);
}

static void a_hardened_process_leaves_no_core(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct rlimit limit;
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
    assert_ok(process_harden(&err), &err);
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    assert_int_equal(limit.rlim_cur, 0);
    assert_int_equal(limit.rlim_max, 0);
}

static void a_new_file_never_replaces_another(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct bytes content = {(const uint8_t *)"new", 3};
    struct stat st;
    put("old", 3, 0600);
    assert_refused(file_write(path, 0600, FILE_NEW, content, &err), &err, FAIL_EXISTS);
    struct buf read_back = BUF_INIT(100);
    assert_ok(file_read(path, &read_back, &err), &err);
    assert_string_equal(buf_text(&read_back), "old");
    buf_free(&read_back);
    assert_ok(file_write(path, 0640, FILE_REPLACE, content, &err), &err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_size, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_end_is_not_part_of_a_secret),
        cmocka_unit_test(a_secret_file_open_to_every_user_is_refused),
        cmocka_unit_test(a_secret_file_of_another_user_is_refused_with_who_wants_it),
        cmocka_unit_test(a_secret_longer_than_its_bound_is_refused),
        cmocka_unit_test(a_descriptor_is_read_to_its_end),
        cmocka_unit_test(a_credential_comes_from_the_service_manager),
        cmocka_unit_test(a_source_of_no_known_form_is_refused_and_not_repeated),
#ifndef RESEAL_SANITIZED /* the sanitizers make mlock a no-operation */
        cmocka_unit_test(the_heap_for_secrets_is_locked_memory),
#endif
        cmocka_unit_test(a_secret_is_in_memory_that_is_neither_swapped_nor_dumped),
        cmocka_unit_test(a_hardened_process_leaves_no_core),
        cmocka_unit_test(a_new_file_never_replaces_another),
    };
#ifdef RESEAL_SANITIZED
    (void)the_heap_for_secrets_is_locked_memory;
#endif
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
