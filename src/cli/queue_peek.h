/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal queue peek`: at the hub without touching anything, elsewhere by a receive that is given
 * back. */
#ifndef RESEAL_QUEUE_PEEK_H
#define RESEAL_QUEUE_PEEK_H

#include "command.h"

bool queue_peek_run(const struct invocation *invocation, struct error *err) MUST_USE;

#endif
