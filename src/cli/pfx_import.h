/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RESEAL_PFX_IMPORT_H
#define RESEAL_PFX_IMPORT_H

#include "command.h"

/* `reseal pfx import [FILE...]`. */
bool pfx_import_run(const struct invocation *invocation, struct error *err) MUST_USE;

#endif
