/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `reseal key` that have a file of their own. */
#ifndef RESEAL_CLI_KEY_COMMANDS_H
#define RESEAL_CLI_KEY_COMMANDS_H

#include "command.h"

bool key_rotate_run(const struct invocation *invocation, struct error *err);
extern const struct command_option key_rotate_options[];

#endif
