/* SPDX-License-Identifier: Apache-2.0 */
/* openCryptoki's soft token, in a room of its own: see tests/e2e/opencryptoki.py, which keeps it.
 */
#ifndef RESEAL_TESTS_HSM_FIXTURE_OPENCRYPTOKI_H
#define RESEAL_TESTS_HSM_FIXTURE_OPENCRYPTOKI_H

#include "hsm_fixture.h"
#include <dlfcn.h>
#include <glob.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#define OPENCRYPTOKI_PIN "4711-ock" /* it takes 8 bytes at most */

/* The only file that matches. */
static inline void fixture_find(const char *pattern, char *out, size_t size)
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0)
        fail_msg("%s is not installed", pattern);
    snprintf(out, size, "%s", found.gl_pathv[0]);
    globfree(&found);
}

/* The calls as such: the C library declares them only beyond POSIX. From now on this thread, and
 * what it starts, is where the keeper is. */
static inline void fixture_enter_room(pid_t keeper)
{
    static const char *const kinds[] = {"mnt", "ipc"};
    char folder[256];
    assert_non_null(getcwd(folder, sizeof folder));
    assert_int_equal(syscall(SYS_unshare, CLONE_FS), 0);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%ld/ns/%s", (long)keeper, kinds[i]);
        int namespace = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(namespace >= 0);
        assert_int_equal(syscall(SYS_setns, namespace, 0), 0);
        close(namespace);
    }
    assert_int_equal(chdir(folder), 0);
}

static inline void fixture_start_keeper(struct fixture *fixture, const char *pin_file)
{
    static const char script[] = RESEAL_SOURCE "/tests/e2e/opencryptoki.py";
    const char *const words[] = {"unshare", "--mount",  "--ipc",  "python3", "-B",
                                 script,    TEST_LABEL, pin_file, NULL};
    char *argv[ARRAY_LEN(words)] = {NULL};
    for (size_t i = 0; words[i] != NULL; i++)
        argv[i] = strdup(words[i]);
    int orders[2], answers[2];
    assert_int_equal(pipe(orders), 0);
    assert_int_equal(pipe(answers), 0);
    /* Kept by no program that this one starts: the keeper ends when we do, however we end. */
    assert_int_equal(fcntl(orders[1], F_SETFD, FD_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, orders[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answers[1], STDOUT_FILENO);
    assert_int_equal(posix_spawnp(&fixture->keeper, argv[0], &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; argv[i] != NULL; i++)
        free(argv[i]);
    close(orders[0]);
    close(answers[1]);
    fixture->keeper_orders = orders[1];
    char ready[6];
    FILE *answer = fdopen(answers[0], "r");
    assert_non_null(answer);
    bool is_ready = fread(ready, 1, sizeof ready, answer) == sizeof ready;
    fclose(answer);
    if (!is_ready || memcmp(ready, "ready\n", sizeof ready) != 0)
        fail_msg("there is no room for openCryptoki; it takes root");
}

static inline void fixture_opencryptoki(struct fixture *fixture)
{
    struct error err = ERROR_INIT;
    char pin_file[96], part[256];
    fixture_start(fixture);
    fixture_path(fixture, "pin", pin_file);
    fixture_write(pin_file, OPENCRYPTOKI_PIN "\n");
    fixture_start_keeper(fixture, pin_file);
    fixture_enter_room(fixture->keeper);
    fixture_find("/usr/lib/*/opencryptoki/libopencryptoki.so.0", fixture->address.module,
                 sizeof fixture->address.module);
    snprintf(fixture->address.label, sizeof fixture->address.label, TEST_LABEL);
    MUST(secret_copy(OPENCRYPTOKI_PIN, strlen(OPENCRYPTOKI_PIN), &fixture->pin, &err), err);
    /* The library unmaps its token's part at the end; what that part leaves behind can be seen to
     * be its own only while it is there. */
    fixture_find("/usr/lib/*/opencryptoki/stdll/libpkcs11_sw.so", part, sizeof part);
    assert_non_null(dlopen(part, RTLD_LAZY | RTLD_LOCAL));
}

#endif
