/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RESEAL_DEVICE_OPEN_H
#define RESEAL_DEVICE_OPEN_H

#include "command.h"

/* `reseal device open`. */
bool device_open_run(const struct invocation *invocation, struct error *err) MUST_USE;

#endif
