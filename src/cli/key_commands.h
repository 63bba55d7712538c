/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `reseal key` that have a file of their own. */
#ifndef RESEAL_CLI_KEY_COMMANDS_H
#define RESEAL_CLI_KEY_COMMANDS_H

#include "command.h"

bool key_rotate_run(const struct invocation *invocation, struct error *err);
bool key_inventory_run(const struct invocation *invocation, struct error *err);
bool key_retire_run(const struct invocation *invocation, struct error *err);
bool key_destroy_run(const struct invocation *invocation, struct error *err);
extern const struct command_option key_rotate_options[], key_inventory_options[];
extern const struct command_option key_retire_options[], key_destroy_options[];

#endif
