/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of the noun `token` that have a file of their own. */
#ifndef RESEAL_CLI_CMD_TOKEN_H
#define RESEAL_CLI_CMD_TOKEN_H

#include "token_options.h"

bool run_token_matrix(const struct invocation *invocation, struct error *err) MUST_USE;
bool run_token_login(const struct invocation *invocation, struct error *err) MUST_USE;

#endif
