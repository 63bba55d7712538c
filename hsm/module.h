/* SPDX-License-Identifier: Apache-2.0 */
/* One loaded and initialised PKCS#11 module (PKCS#11 v3.1, section 5.4). */
#ifndef RESEAL_HSM_MODULE_H
#define RESEAL_HSM_MODULE_H

#include <p11-kit/pkcs11.h>
#include <stdatomic.h>
#include "reseal/error.h"

struct module {
    CK_FUNCTION_LIST_PTR functions;
    bool initialized_here; /* otherwise another part of the process did, and will finalise */
    atomic_bool lost;      /* a call has said so: only a new process helps (CK_CLASS_RESTART) */
};

/* `path` without a slash is searched where the system's loader searches. `init_args` may be empty.
 */
bool module_open(const char *path, const char *init_args, struct module **out,
                 struct error *err) MUST_USE;
/* Finalises where this module was initialised here; leaves the library mapped (see module.c). */
void module_close(struct module **module);

#endif
