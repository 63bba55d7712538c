/* SPDX-License-Identifier: Apache-2.0 */
#include "delivery.h"

#include <string.h>
#include "reseal/clock.h"

static bool read_state(const char *name, enum delivery_state *out)
{
    static const char *const names[] = {"pending", "resealed", "refused", "failed"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum delivery_state)i;
            return true;
        }
    }
    return false;
}

static bool read_time(const struct json_value *object, const char *key, int64_t *out,
                      struct error *err)
{
    const char *text;
    *out = 0;
    if (!json_may_text(object, "", key, 64, &text, err))
        return false;
    if (text == NULL || clock_parse(text, out))
        return true;
    return error_set(err, FAIL_INPUT, "%s must be a time (RFC 3339)", key);
}

static bool read_error(const struct json_value *object, struct delivery *out, struct error *err)
{
    const struct json_value *error = json_get(object, "error");
    if (error == NULL || json_type(error) != JSON_OBJECT)
        return true;
    const struct json_value *retryable = json_get(error, "retryable");
    out->error_retryable = retryable != NULL && json_true(retryable);
    return json_may_integer(error, "error", "code", 0, 9999, 0, &out->error_code, err) &&
           json_may_text(error, "error", "name", 64, &out->error_name, err) &&
           json_may_text(error, "error", "message", 1024, &out->error_message, err);
}

bool delivery_read(const struct json_value *object, struct delivery *out, struct error *err)
{
    *out = (struct delivery){0};
    if (object == NULL || json_type(object) != JSON_OBJECT)
        return error_set(err, FAIL_INPUT, "a delivery must be a JSON object");
    if (!json_want_text(object, "", "id", DELIVERY_ID_MAX, &out->id, err) ||
        !json_want_text(object, "", "state", 32, &out->state_name, err))
        return false;
    if (!read_state(out->state_name, &out->state))
        return error_set(err, FAIL_INPUT, "\"%.32s\" is no state of a delivery", out->state_name);
    return json_may_text(object, "", "recordId", 256, &out->record_id, err) &&
           json_may_text(object, "", "format", 32, &out->format, err) &&
           json_may_text(object, "", "custody", 32, &out->custody, err) &&
           json_may_text(object, "", "connector", 256, &out->connector, err) &&
           read_time(object, "createdDateTime", &out->created_ms, err) &&
           read_time(object, "completedDateTime", &out->completed_ms, err) &&
           read_error(object, out, err);
}

bool delivery_check(const struct delivery *delivery, struct error *err)
{
    enum failure kind = FAIL_REMOTE;
    switch (delivery->state) {
    case DELIVERY_RESEALED:
        return true;
    case DELIVERY_PENDING:
        return error_set(err, FAIL_REMOTE, "the delivery %s is still pending", delivery->id);
    case DELIVERY_REFUSED:
        kind = FAIL_POLICY;
        break;
    case DELIVERY_FAILED:
        kind = delivery->error_retryable ? FAIL_REMOTE : FAIL_INPUT;
        break;
    }
    error_set(err, kind, "the delivery %s was %s: %lld %s%s%s", delivery->id,
              delivery->state == DELIVERY_REFUSED ? "refused" : "not done",
              (long long)delivery->error_code,
              delivery->error_name != NULL ? delivery->error_name : "",
              delivery->error_message != NULL ? ": " : "",
              delivery->error_message != NULL ? delivery->error_message : "");
    if (kind == FAIL_REMOTE)
        return error_hint(err, "asking again may help");
    return error_hint(err, "the connector's log says more about %s", delivery->id);
}
