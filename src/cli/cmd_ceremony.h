/* SPDX-License-Identifier: Apache-2.0 */
/* The files of `reseal ceremony`. */
#ifndef RESEAL_CLI_CMD_CEREMONY_H
#define RESEAL_CLI_CMD_CEREMONY_H

#include "command.h"

bool run_ceremony_show(const struct invocation *invocation, struct error *err) MUST_USE;
bool run_ceremony_verify(const struct invocation *invocation, struct error *err) MUST_USE;
bool run_ceremony_sign(const struct invocation *invocation, struct error *err) MUST_USE;
bool run_ceremony_note(const struct invocation *invocation, struct error *err) MUST_USE;
bool run_ceremony_commit(const struct invocation *invocation, struct error *err) MUST_USE;
bool run_ceremony_plan(const struct invocation *invocation, struct error *err) MUST_USE;
bool run_ceremony_shares(const struct invocation *invocation, struct error *err) MUST_USE;
bool run_ceremony_replicate(const struct invocation *invocation, struct error *err) MUST_USE;
extern const struct command_option ceremony_shares_options[], ceremony_replicate_options[];

#endif
