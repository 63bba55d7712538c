/* SPDX-License-Identifier: Apache-2.0 */
/* What comes as a result, by the hub's own queue or by another engine's. */
#ifndef RESEAL_HUB_RESULT_INTAKE_H
#define RESEAL_HUB_RESULT_INTAKE_H

#include "hub.h"
#include "store_queue.h"

/* Ends the delivery that the result is for, once: a second result for it changes nothing. What is
 * no result, or for no delivery of this hub, is kept in the dead-letter queue of results, for
 * people; where it is no text, as base64. `id` is that of the message, given in any case. */
bool result_intake(const struct hub *hub, struct database *database, const struct outgoing *message,
                   char id[static UUID_TEXT], struct error *err) MUST_USE;

#endif
