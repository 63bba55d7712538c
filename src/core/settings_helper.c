/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memrchr */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "reseal/settings.h"

bool settings_helper(const struct config *config, char *out, size_t size, struct error *err)
{
    const char *given = config_text(config, "connector", "helper");
    const char *path = given != NULL ? given : RESEAL_LIBEXECDIR "/reseal-hsm";
    if (strlen(path) >= size)
        return error_set(err, FAIL_USAGE, "the path of the token helper is too long");
    memcpy(out, path, strlen(path) + 1);
    if (given != NULL || access(path, X_OK) == 0)
        return true;
    char beside[PATH_MAX] = "";
    ssize_t len = readlink("/proc/self/exe", beside, sizeof beside - 1);
    char *slash = len > 0 ? memrchr(beside, '/', (size_t)len) : NULL;
    if (slash == NULL || (size_t)(slash - beside) + sizeof "/reseal-hsm" > sizeof beside)
        return true; /* starting it will say what is wrong */
    memcpy(slash, "/reseal-hsm", sizeof "/reseal-hsm");
    if (strlen(beside) < size && access(beside, X_OK) == 0)
        memcpy(out, beside, strlen(beside) + 1);
    return true;
}
