/* SPDX-License-Identifier: Apache-2.0 */
#include "module.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ck_rv.h"

/*
 * CK_C_INITIALIZE_ARGS as NSS reads it: a LibraryParameters pointer stands where the standard has
 * pReserved, and pReserved comes after it. Other modules see the standard structure with pReserved
 * NULL, because init_args are given to NSS only.
 */
struct initialize_args {
    CK_C_INITIALIZE_ARGS standard;
    void *reserved_of_nss;
};

static bool get_function_list(const char *path, CK_FUNCTION_LIST_PTR *out, struct error *err)
{
    /*
     * The handle is never closed: modules leave threads and exit handlers behind that must not find
     * their code unmapped. RTLD_NOW, so that a missing symbol is found here and not in the middle
     * of a job; RTLD_LOCAL, so that two modules' symbols cannot meet.
     */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *reason = dlerror();
        bool missing = strchr(path, '/') != NULL && access(path, F_OK) != 0 && errno == ENOENT;
        error_set(err, missing ? FAIL_NOT_FOUND : FAIL_TOKEN, "cannot load the PKCS#11 module %s",
                  reason != NULL ? reason : path);
        return error_hint(err, "give the path of the module (.so) of the token's maker");
    }
    CK_C_GetFunctionList get = NULL;
    /* ISO C knows no conversion from object to function pointer; POSIX promises that dlsym's does
     * it. */
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (get == NULL) {
        dlclose(library);
        return error_set(err, FAIL_TOKEN, "%s is not a PKCS#11 module: it has no C_GetFunctionList",
                         path);
    }
    CK_RV rv = get(out);
    if (rv != CKR_OK || *out == NULL) {
        char name[CK_RV_TEXT];
        ck_rv_text(rv, name);
        return error_set(err, FAIL_TOKEN, "%s: C_GetFunctionList: %s", path, name);
    }
    return true;
}

static bool initialize(struct module *module, const char *path, const char *init_args,
                       struct error *err)
{
    char parameters[1025];
    struct initialize_args args = {.standard = {.flags = CKF_OS_LOCKING_OK}};
    if (init_args[0] != '\0') {
        size_t len = strlen(init_args);
        if (len >= sizeof parameters)
            return error_set(err, FAIL_USAGE, "init_args of %zu bytes are over the bound of %zu",
                             len, sizeof parameters - 1);
        memcpy(parameters, init_args, len + 1);
        args.standard.pReserved = parameters;
    }
    CK_RV rv = module->functions->C_Initialize(&args);
    if (rv == CKR_OK) {
        module->initialized_here = true;
        return true;
    }
    if (rv == CKR_CRYPTOKI_ALREADY_INITIALIZED)
        return true;
    char name[CK_RV_TEXT];
    ck_rv_text(rv, name);
    error_set(err, FAIL_TOKEN, "%s: C_Initialize: %s", path, name);
    return error_hint(err, init_args[0] != '\0'
                               ? "check init_args, and the module's own configuration"
                               : "check the module's own configuration; NSS wants init_args");
}

bool module_open(const char *path, const char *init_args, struct module **out, struct error *err)
{
    *out = NULL;
    struct module *module = calloc(1, sizeof *module);
    if (module == NULL)
        return error_memory(err);
    if (!get_function_list(path, &module->functions, err) ||
        !initialize(module, path, init_args, err)) {
        free(module);
        return false;
    }
    *out = module;
    return true;
}

void module_close(struct module **module)
{
    if (module == NULL || *module == NULL)
        return;
    if ((*module)->initialized_here)
        (*module)->functions->C_Finalize(NULL);
    free(*module);
    *module = NULL;
}
