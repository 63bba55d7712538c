/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The secret heap is locked in memory, which is promised. A PKCS#11 module that works in software
 * has copies of its own elsewhere: these stay out of the swap space as well where the system lets
 * the process lock as much as it likes.
 */
#ifndef RESEAL_HSM_MEMORY_LOCK_H
#define RESEAL_HSM_MEMORY_LOCK_H

#include <stdbool.h>
#include "reseal/compiler.h"

/* Locks what the process has and will have, as it is touched. False: the system does not allow it
 * without a limit, and nothing was changed. */
bool memory_lock_all(void) MUST_USE;

#endif
