/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often a message was received, where its queue does not tell (not every engine counts). Only
 * the newest few messages are remembered, and only by this connector: enough that one that comes
 * back again and again spends its attempts.
 */
#include <stdio.h>
#include <string.h>
#include "connector.h"

unsigned received_count(struct received *received, const char *message_id)
{
    struct received_message *place = &received->messages[0];
    for (size_t i = 0; i < RECEIVED_MAX; i++) {
        struct received_message *at = &received->messages[i];
        if (at->count > 0 && strcmp(at->id, message_id) == 0) {
            at->used = ++received->clock;
            return ++at->count;
        }
        if (at->used < place->used)
            place = at;
    }
    snprintf(place->id, sizeof place->id, "%s", message_id);
    place->used = ++received->clock;
    place->count = 1;
    return 1;
}
