/* SPDX-License-Identifier: Apache-2.0 */
/* A person at the terminal confirms by typing a word; a "y" is typed too easily. */
#ifndef RESEAL_CLI_TYPED_H
#define RESEAL_CLI_TYPED_H

#include "reseal/error.h"

/* Asks on the terminal, whatever standard input is. `what`, "the purge", is what is not done where
 * there is no terminal (FAIL_USAGE), or where something else than `wanted` is typed (FAIL_POLICY).
 */
bool typed_confirm(const char *what, const char *question, const char *wanted,
                   struct error *err) MUST_USE;

#endif
