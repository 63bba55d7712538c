/* SPDX-License-Identifier: Apache-2.0 */
#include "api_graph.h"

#include <string.h>
#include <strings.h>

#define BODY_VALUES_MAX 256

void graph_fail_with(struct exchange *exchange, unsigned status, enum result_code code,
                     const struct error *err)
{
    struct error ignored = ERROR_INIT;
    struct json_writer *json = NULL;
    char message[sizeof err->text + sizeof err->hint + 8];
    answer_reset(&exchange->answer);
    exchange->answer.status = status; /* stands even where the text does not fit into memory */
    if (!json_writer_new(false, &json, &ignored))
        return;
    bool hint = err->hint[0] != '\0';
    snprintf(message, sizeof message, "%s%s%s", err->text, hint ? "; " : "", err->hint);
    json_object(json, NULL);
    json_object(json, "error");
    json_put_text(json, "code", result_code_name(code));
    json_put_integer(json, "number", code);
    json_put_bool(json, "retryable", result_code_retryable(code));
    json_put_text(json, "message", message);
    json_object_end(json);
    json_object_end(json);
    (void)!answer_json(&exchange->answer, status, JSON_TYPE, json, &ignored);
    json_writer_free(&json);
}

void graph_fail(struct exchange *exchange, const struct error *err)
{
    switch (err->kind) {
    case FAIL_INPUT:
    case FAIL_USAGE:
    case FAIL_POLICY:
    case FAIL_CRYPTO:
        graph_fail_with(exchange, MHD_HTTP_BAD_REQUEST, RESULT_PARAMETER_INVALID, err);
        return;
    case FAIL_TOO_LARGE:
        graph_fail_with(exchange, MHD_HTTP_CONTENT_TOO_LARGE, RESULT_TOO_LARGE, err);
        return;
    case FAIL_NOT_FOUND:
        graph_fail_with(exchange, MHD_HTTP_NOT_FOUND, RESULT_CERTIFICATE_NOT_FOUND, err);
        return;
    case FAIL_EXISTS:
        graph_fail_with(exchange, MHD_HTTP_CONFLICT, RESULT_CONFLICT, err);
        return;
    case FAIL_UNSUPPORTED:
        graph_fail_with(exchange, MHD_HTTP_BAD_REQUEST, RESULT_NOT_SUPPORTED, err);
        return;
    case FAIL_AUTH:
        graph_fail_with(exchange, MHD_HTTP_UNAUTHORIZED, RESULT_AUTHENTICATION, err);
        return;
    case FAIL_NONE:
    case FAIL_INTERNAL:
    case FAIL_IO:
    case FAIL_TOKEN:
    case FAIL_PIN:
    case FAIL_REMOTE:
        graph_fail_with(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, RESULT_SERVICE_RETRY, err);
        return;
    }
}

static bool has_bearer(struct exchange *exchange, enum token_kind kind)
{
    static const char scheme[] = "Bearer ";
    struct hub *hub = exchange->hub;
    const char *header = exchange_header(exchange, "Authorization");
    if (header == NULL || strncasecmp(header, scheme, sizeof scheme - 1) != 0)
        return false;
    hub_renew(hub, RENEW_AT_TIMES);
    const char *token = header + sizeof scheme - 1;
    if (hub_keys_token_good(hub->keys, kind, token))
        return true;
    hub_renew(hub, RENEW_LOOK);
    return hub_keys_token_good(hub->keys, kind, token);
}

static void refuse_bearer(struct exchange *exchange, const char *setting)
{
    struct error err = ERROR_INIT;
    error_set(&err, FAIL_AUTH, "%s",
              exchange_header(exchange, "Authorization") == NULL
                  ? "the request has no Authorization header"
                  : "this is not the hub's bearer token");
    error_hint(&err, "send \"Authorization: Bearer TOKEN\" with the token of %s", setting);
    graph_fail(exchange, &err);
}

void graph_check(struct exchange *exchange)
{
    if (has_bearer(exchange, TOKEN_API))
        exchange->authenticated = true;
    else
        refuse_bearer(exchange, "hub.api_token");
}

void seals_check(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    if (has_bearer(exchange, TOKEN_ROTATION)) {
        exchange->authenticated = true;
    } else if (has_bearer(exchange, TOKEN_API)) {
        error_set(&err, FAIL_POLICY,
                  "sealed passwords are given to the holder of hub.rotation_token alone");
        error_hint(&err, "%s",
                   hub_keys_has_tokens(exchange->hub->keys, TOKEN_ROTATION)
                       ? "use that token"
                       : "this hub has no rotation token");
        graph_fail_with(exchange, MHD_HTTP_FORBIDDEN, RESULT_AUTHENTICATION, &err);
    } else {
        refuse_bearer(exchange, "hub.rotation_token");
    }
}

static void check_json(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    if (exchange->answer.status != 0 || exchange_content_type(exchange, JSON_TYPE))
        return;
    error_set(&err, FAIL_INPUT, "the body must be declared as Content-Type: " JSON_TYPE);
    graph_fail_with(exchange, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, RESULT_DATA_SERIALIZATION, &err);
}

void graph_check_json(struct exchange *exchange)
{
    graph_check(exchange);
    check_json(exchange);
}

void seal_change_check(struct exchange *exchange)
{
    if (has_bearer(exchange, TOKEN_ROTATION))
        exchange->authenticated = true;
    else
        graph_check(exchange);
    check_json(exchange);
}

bool graph_body(struct exchange *exchange, const char *what, struct json **out)
{
    struct error err = ERROR_INIT;
    const struct json_limits limits = {
        .bytes = exchange->body_max, .string = exchange->body_max, .values = BODY_VALUES_MAX};
    if (json_parse(exchange->body.data, exchange->body.len, &limits, what, out, &err)) {
        if (json_type(json_root(*out)) == JSON_OBJECT)
            return true;
        error_set(&err, FAIL_INPUT, "%s must be an object, not %s", what,
                  json_type_name(json_type(json_root(*out))));
        json_free(out);
    }
    if (err.kind == FAIL_INTERNAL)
        graph_fail(exchange, &err);
    else
        graph_fail_with(exchange, MHD_HTTP_BAD_REQUEST, RESULT_DATA_SERIALIZATION, &err);
    return false;
}
