/* SPDX-License-Identifier: Apache-2.0 */
/* One delivery as the hub's API tells it: GET /v1/deliveries/{id}. */
#ifndef RESEAL_DELIVERY_H
#define RESEAL_DELIVERY_H

#include "reseal/json.h"

#define DELIVERY_TEXT_MAX (1024 * 1024)
#define DELIVERY_ID_MAX   64

enum delivery_state {
    DELIVERY_PENDING,
    DELIVERY_RESEALED,
    DELIVERY_REFUSED,
    DELIVERY_FAILED,
};

/* Texts belong to the JSON document that was read and may be NULL, except for id and state. */
struct delivery {
    const char *id;
    enum delivery_state state;
    const char *state_name;
    const char *record_id, *format, *custody, *connector;
    int64_t created_ms, completed_ms; /* 0: not said */
    int64_t error_code;               /* 0: no error */
    bool error_retryable;
    const char *error_name, *error_message;
};

/* FAIL_INPUT where the object is no delivery. */
bool delivery_read(const struct json_value *object, struct delivery *out,
                   struct error *err) MUST_USE;
/* True for a resealed one; otherwise what the connector said: refused is FAIL_POLICY, failed is
 * FAIL_REMOTE where another try may help and FAIL_INPUT where not. Pending is FAIL_REMOTE. */
bool delivery_check(const struct delivery *delivery, struct error *err) MUST_USE;

#endif
