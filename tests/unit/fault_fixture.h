/* SPDX-License-Identifier: Apache-2.0 */
/* The fault module (tests/fault/fault.h) between a test in this process and its token. */
#ifndef RESEAL_TESTS_FAULT_FIXTURE_H
#define RESEAL_TESTS_FAULT_FIXTURE_H

#include <dlfcn.h>
#include <limits.h>
#include "hsm_fixture.h"
#include "tests/fault/fault.h"

static inline void fault_module_path(char *out, size_t size)
{
    char own[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
    assert_true(len > 0);
    own[len] = '\0';
    *strrchr(own, '/') = '\0';
    int needed = snprintf(out, size, "%s/libreseal-fault.so", own);
    assert_true(needed > 0 && (size_t)needed < size);
}

static inline void fault_set(const struct fault_control *fault, const char *script)
{
    if (!fault->set(script))
        fail_msg("the script was refused: %s", script);
}

/* The fixture's token is reached through the fault module from now on. */
static inline const struct fault_control *fault_load(struct fixture *fixture)
{
    char script[sizeof fixture->address.module + 16];
    snprintf(script, sizeof script, "module %s\n", fixture->address.module);
    fault_module_path(fixture->address.module, sizeof fixture->address.module);
    static void *library; /* stays, as its script must */
    library = dlopen(fixture->address.module, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail_msg("%s", dlerror());
    const struct fault_control *fault = dlsym(library, FAULT_CONTROL);
    assert_non_null(fault);
    fault_set(fault, script);
    return fault;
}

#endif
