/* SPDX-License-Identifier: Apache-2.0 */
/* All memory is locked where the system sets no limit, and otherwise none: in processes of their
 * own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "hsm/memory_lock.h"
#include "hsm/service.h"

#define MARGIN  (1024 * 1024)
#define LATER   ((size_t)8 * 1024 * 1024)
#define NOBODY  65534

#define SKIPPED 77 /* an exit status */

/* KiB from /proc/self/status. */
static long status_value(const char *name)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtol(line + strlen(name) + 1, NULL, 10);
    }
    fclose(file);
    return value;
}

static void *touch_stack(void *argument)
{
    volatile char room[WORKER_STACK / 2];
    for (size_t i = 0; i < sizeof room; i += 512)
        room[i] = 1;
    *(int *)argument = room[0];
    return NULL;
}

/* A thread as a worker has it. */
static bool worker_runs(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int touched = 0;
    pthread_attr_init(&attributes);
    bool ok = pthread_attr_setstacksize(&attributes, WORKER_STACK) == 0 &&
              pthread_create(&thread, &attributes, touch_stack, &touched) == 0 &&
              pthread_join(thread, NULL) == 0;
    pthread_attr_destroy(&attributes);
    return ok && touched == 1;
}

/* What is asked for later is there, and weighs nothing before it is used. */
static bool later_memory_is_light(void)
{
    long before = status_value("VmRSS");
    void *volatile later = malloc(LATER);
    bool ok = later != NULL && status_value("VmRSS") - before < (long)(LATER / 1024 / 2);
    free(later);
    return ok;
}

static int in_limits(void)
{
    /* Room for what is there, but not for what is asked for later. */
    const rlim_t most = (rlim_t)status_value("VmSize") * 1024 + MARGIN;
    const struct rlimit limit = {most, most};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        return SKIPPED;
    if (geteuid() == 0 && setuid(NOBODY) != 0)
        return 10;
    if (memory_lock_all())
        return 11;
    if (status_value("VmLck") != 0)
        return 12;
    return worker_runs() && later_memory_is_light() ? 0 : 13;
}

static int without_limits(void)
{
    long before = status_value("VmRSS");
    if (!memory_lock_all())
        return SKIPPED; /* this machine does not let us */
    if (status_value("VmLck") <= 0)
        return 21;
    if (status_value("VmRSS") - before > 4096)
        return 22;
    return worker_runs() && later_memory_is_light() ? 0 : 23;
}

static int in_child(int (*run)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void check(int (*run)(void))
{
#ifdef RESEAL_SANITIZED /* a sanitizer locks nothing: its shadow memory is too large */
    (void)run;
    (void)in_child;
    skip();
#else
    int status = in_child(run);
    if (status == SKIPPED)
        skip();
    assert_int_equal(status, 0);
#endif
}

static void with_a_limit_nothing_is_locked_and_nothing_fails_later(void **state)
{
    (void)state;
    check(in_limits);
}

static void without_a_limit_all_is_locked_and_nothing_grows(void **state)
{
    (void)state;
    check(without_limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_limit_nothing_is_locked_and_nothing_fails_later),
        cmocka_unit_test(without_a_limit_all_is_locked_and_nothing_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
