/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/result.h"

#include <stdio.h>
#include <string.h>
#include "names.h"
#include "reseal/clock.h"
#include "reseal/json.h"

#define RESULT_TYPE "reseal.result.v1"

static const struct name_row outcomes[] = {
    {OUTCOME_RESEALED, "resealed"},
    {OUTCOME_REFUSED, "refused"},
    {OUTCOME_FAILED, "failed"},
};

static const struct name_row codes[] = {
    {RESULT_NONE, "None"},
    {RESULT_SERVICE, "Service"},
    {RESULT_DATA_SERIALIZATION, "DataSerialization"},
    {RESULT_PARAMETER_INVALID, "ParameterDataInvalid"},
    {RESULT_CRYPTOGRAPHY, "Cryptography"},
    {RESULT_CERTIFICATE_NOT_FOUND, "CertificateNotFound"},
    {RESULT_CONFLICT, "Conflict"},
    {RESULT_NOT_SUPPORTED, "NotSupported"},
    {RESULT_TOO_LARGE, "PayloadTooLarge"},
    {RESULT_QUEUE_NOT_FOUND, "QueueDoesNotExist"},
    {RESULT_SERVICE_RETRY, "Service"},
    {RESULT_UNAVAILABLE, "Unavailable"},
    {RESULT_TOO_BUSY, "TooBusy"},
    {RESULT_AUTHENTICATION, "Authentication"},
};

const char *outcome_name(enum outcome outcome)
{
    return name_of(outcomes, ARRAY_LEN(outcomes), (int)outcome);
}

const char *result_code_name(enum result_code code)
{
    return name_of(codes, ARRAY_LEN(codes), (int)code);
}

bool result_code_retryable(enum result_code code)
{
    return code >= RESULT_SERVICE_RETRY;
}

void result_init(struct result *result)
{
    *result = (struct result){.payload = BUF_INIT(RESULT_PAYLOAD_MAX + 3)};
}

void result_free(struct result *result)
{
    buf_free(&result->payload);
}

bool result_address(struct result *result, const struct request *request, const char *connector,
                    struct error *err)
{
    /* The same request gives the same result id, whichever connector answers and however often. */
    struct buf key = BUF_INIT(sizeof request->source + sizeof request->id + 16);
    buf_put_text_block(&key, request->source);
    buf_put_text_block(&key, request->id);
    bool ok = buf_check(&key, "a result id", err) && uuid_from(key.data, key.len, result->id, err);
    buf_free(&key);
    snprintf(result->subject, sizeof result->subject, "%s", request->id);
    snprintf(result->source, sizeof result->source, "urn:reseal:connector:%.128s", connector);
    snprintf(result->connector, sizeof result->connector, "%.128s", connector);
    snprintf(result->key_name, sizeof result->key_name, "%s", request->key_name);
    result->format = request->format;
    result->time_ms = clock_real_ms();
    return ok;
}

static enum result_code code_of(enum failure kind)
{
    switch (kind) {
    case FAIL_INPUT:
        return RESULT_PARAMETER_INVALID;
    case FAIL_POLICY:
        return RESULT_PARAMETER_INVALID;
    case FAIL_TOO_LARGE:
        return RESULT_TOO_LARGE;
    case FAIL_CRYPTO:
        return RESULT_CRYPTOGRAPHY;
    case FAIL_UNSUPPORTED:
        return RESULT_NOT_SUPPORTED;
    case FAIL_NOT_FOUND:
        return RESULT_CERTIFICATE_NOT_FOUND;
    case FAIL_EXISTS:
        return RESULT_CONFLICT;
    case FAIL_TOKEN:
    case FAIL_PIN:
    case FAIL_REMOTE:
        return RESULT_UNAVAILABLE;
    case FAIL_AUTH:
        return RESULT_AUTHENTICATION;
    case FAIL_INTERNAL:
    case FAIL_IO:
        return RESULT_SERVICE_RETRY;
    case FAIL_NONE:
    case FAIL_USAGE:
        return RESULT_SERVICE;
    }
    return RESULT_SERVICE;
}

void result_from_error(struct result *result, const struct error *err)
{
    result->code = code_of(err->kind);
    result->outcome = err->kind == FAIL_POLICY || err->kind == FAIL_INPUT ||
                              err->kind == FAIL_TOO_LARGE || err->kind == FAIL_UNSUPPORTED
                          ? OUTCOME_REFUSED
                          : OUTCOME_FAILED;
    const char *text = err->text;
    if (err->kind == FAIL_CRYPTO) /* whatever the cause, from outside it looks the same */
        text = "the sealed password cannot be opened";
    else if (result_code_retryable(result->code)) /* what goes on inside is the log's concern */
        text = "the connector cannot do this now";
    size_t len = strnlen(text, sizeof result->message - 1);
    while (len > 0 && !utf8_is_strict(text, len)) /* never cut inside a character */
        len--;
    memcpy(result->message, text, len);
    result->message[len] = '\0';
}

static bool want_field(const struct json_value *object, const char *where, const char *key,
                       size_t least, char *out, size_t size, struct error *err)
{
    const char *text;
    return json_want_text(object, where, key, size - 1, &text, err) &&
           text_field(out, size, least, text, key, err);
}

static bool read_resealed(const struct json_value *data, struct result *result, struct error *err)
{
    const char *text;
    if (!json_want_text(data, "data", "custody", 16, &text, err))
        return false;
    if (!custody_parse(text, &result->custody) || result->custody == CUSTODY_UNUSABLE)
        return error_set(err, FAIL_INPUT, "data.custody must be token or host");
    if (!json_want_text(data, "data", "format", 32, &text, err) ||
        !format_parse(text, &result->format, err) ||
        !json_want_base64(data, "data", "payload", RESULT_PAYLOAD_MAX, &result->payload, err))
        return false;
    return want_field(data, "data", "keyName", 0, result->key_name, sizeof result->key_name, err);
}

static bool read_failure(const struct json_value *data, struct result *result, struct error *err)
{
    const struct json_value *error;
    int64_t code;
    if (!json_want_object(data, "data", "error", &error, err) ||
        !json_want_integer(error, "data.error", "code", 4000, 4199, &code, err))
        return false;
    result->code = (enum result_code)code;
    return want_field(error, "data.error", "message", 0, result->message, sizeof result->message,
                      err);
}

static bool read_data(const struct json_value *data, struct result *result, struct error *err)
{
    const char *text;
    int value;
    if (!json_want_text(data, "data", "outcome", 16, &text, err) ||
        !name_lookup(outcomes, ARRAY_LEN(outcomes), text, "outcome", &value, err))
        return false;
    result->outcome = (enum outcome)value;
    if (!want_field(data, "data", "connector", 0, result->connector, sizeof result->connector, err))
        return false;
    return result->outcome == OUTCOME_RESEALED ? read_resealed(data, result, err)
                                               : read_failure(data, result, err);
}

bool result_read(const void *text, size_t len, struct result *result, struct error *err)
{
    static const struct json_limits limits = {
        .bytes = MESSAGE_MAX, .string = MESSAGE_MAX, .values = 128};
    const struct json_value *data;
    struct json *json = NULL;
    const char *value;
    bool ok = false;
    if (!json_parse(text, len, &limits, "the result message", &json, err))
        return false;
    const struct json_value *root = json_root(json);
    if (!json_want_text(root, "", "type", 64, &value, err))
        goto done;
    if (strcmp(value, RESULT_TYPE) != 0) {
        error_set(err, FAIL_INPUT, "type must be \"" RESULT_TYPE "\", not \"%s\"", value);
        goto done;
    }
    if (!want_field(root, "", "id", 1, result->id, sizeof result->id, err) ||
        !want_field(root, "", "source", 1, result->source, sizeof result->source, err) ||
        !want_field(root, "", "subject", 1, result->subject, sizeof result->subject, err) ||
        !json_want_text(root, "", "time", 64, &value, err))
        goto done;
    if (!clock_parse(value, &result->time_ms)) {
        error_set(err, FAIL_INPUT, "time is no time of RFC 3339");
        goto done;
    }
    ok = json_want_object(root, "", "data", &data, err) && read_data(data, result, err);
done:
    json_free(&json);
    return ok;
}

static void write_data(struct json_writer *json, const struct result *result)
{
    json_object(json, "data");
    json_put_text(json, "outcome", outcome_name(result->outcome));
    if (result->outcome == OUTCOME_RESEALED) {
        json_put_text(json, "custody", custody_name(result->custody));
        json_put_text(json, "format", format_name(result->format));
        json_put_base64(json, "payload", result->payload.data, result->payload.len);
        json_put_text(json, "keyName", result->key_name);
    } else {
        json_object(json, "error");
        json_put_integer(json, "code", result->code);
        json_put_text(json, "name", result_code_name(result->code));
        json_put_bool(json, "retryable", result_code_retryable(result->code));
        json_put_text(json, "message", result->message);
        json_object_end(json);
    }
    json_put_text(json, "connector", result->connector);
    json_object_end(json);
}

bool result_write(const struct result *result, struct buf *out, struct error *err)
{
    struct json_writer *json = NULL;
    char time[CLOCK_TEXT];
    if (!json_writer_new(false, &json, err))
        return false;
    clock_format(result->time_ms, time);
    json_object(json, NULL);
    json_put_text(json, "specversion", "1.0");
    json_put_text(json, "type", RESULT_TYPE);
    json_put_text(json, "source", result->source);
    json_put_text(json, "id", result->id);
    json_put_text(json, "subject", result->subject);
    json_put_text(json, "time", time);
    json_put_text(json, "datacontenttype", "application/json");
    write_data(json, result);
    json_object_end(json);
    bool ok = json_finish(json, out, err);
    json_writer_free(&json);
    return ok;
}
