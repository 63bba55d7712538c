/* SPDX-License-Identifier: Apache-2.0 */
#include "api_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/clock.h"

#define TARGET_PREFIX "AmazonSQS."
#define VALUES_MAX    512

static const struct operation {
    const char *name;
    queue_parse *parse;
    job_run *run;
} operations[] = {
    {"SendMessage", parse_send, run_send},
    {"SendMessageBatch", parse_send_batch, run_send},
    {"ReceiveMessage", parse_receive, run_receive},
    {"ChangeMessageVisibility", parse_change, run_change},
    {"ChangeMessageVisibilityBatch", parse_change_batch, run_change},
    {"DeleteMessage", parse_delete, run_delete},
    {"DeleteMessageBatch", parse_delete_batch, run_delete},
    {"GetQueueUrl", parse_get_url, run_get_url},
    {"GetQueueAttributes", parse_get_attributes, run_get_attributes},
    {"SetQueueAttributes", parse_set_attributes, run_set_attributes},
    {"CreateQueue", parse_create, run_create},
};

static const char *header_of(const void *context, const char *name)
{
    return exchange_header(context, name);
}

static struct sigv4_request signed_request(const struct exchange *exchange)
{
    return (struct sigv4_request){
        .method = exchange->method,
        .path = exchange->uri,
        .query = exchange->query,
        .header = header_of,
        .context = exchange,
        .body = buf_bytes(&exchange->body),
        .now_ms = clock_real_ms(),
    };
}

static void refuse_signature(struct exchange *exchange, enum sigv4_verdict verdict,
                             const struct error *err)
{
    static const enum sqs_error errors[] = {
        [SIGV4_GOOD] = SQS_SERVICE_UNAVAILABLE, /* never asked for */
        [SIGV4_MISSING] = SQS_MISSING_AUTHENTICATION_TOKEN,
        [SIGV4_INCOMPLETE] = SQS_INCOMPLETE_SIGNATURE,
        [SIGV4_UNKNOWN_KEY] = SQS_INVALID_CLIENT_TOKEN_ID,
        [SIGV4_EXPIRED] = SQS_REQUEST_EXPIRED,
        [SIGV4_FUTURE] = SQS_REQUEST_IN_THE_FUTURE,
        [SIGV4_MISMATCH] = SQS_SIGNATURE_DOES_NOT_MATCH,
        [SIGV4_FAULT] = SQS_SERVICE_UNAVAILABLE,
    };
    sqs_fail(exchange, errors[verdict], "%s; %s", err->text, err->hint);
}

void queue_check(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    char region[SIGV4_REGION_MAX + 1];
    const struct sigv4_request request = signed_request(exchange);
    enum sigv4_verdict verdict = sigv4_check_headers(exchange->hub->sigv4, &request, region, &err);
    if (verdict != SIGV4_GOOD)
        refuse_signature(exchange, verdict, &err);
}

void queue_fail(struct exchange *exchange, const struct error *err)
{
    bool hint = err->hint[0] != '\0';
    enum sqs_error error = SQS_SERVICE_UNAVAILABLE;
    if (err->kind == FAIL_TOO_LARGE)
        error = SQS_REQUEST_TOO_LARGE;
    sqs_fail(exchange, error, "%s%s%s", err->text, hint ? "; " : "", err->hint);
}

bool queue_refuse(struct exchange *exchange, const struct error *err)
{
    if (err->kind == FAIL_INTERNAL)
        sqs_fail(exchange, SQS_SERVICE_UNAVAILABLE, "%s", err->text);
    else
        sqs_fail(exchange, SQS_INVALID_PARAMETER_VALUE, "%s", err->text);
    return false;
}

const struct queue_row *queue_of_call(struct exchange *exchange, const struct database *database)
{
    const struct queue_call *call = exchange->work;
    const struct queue_row *queue = stored_queue_find(database, call->queue);
    if (queue == NULL)
        sqs_fail(exchange, SQS_QUEUE_DOES_NOT_EXIST, "there is no queue \"%s\"", call->queue);
    return queue;
}

void queue_put_url(const struct exchange *exchange, struct json_writer *json, const char *name)
{
    char base[BASE_URL], url[512];
    exchange_base_url(exchange, base);
    snprintf(url, sizeof url, "%s/" ACCOUNT "/%s", base, name);
    json_put_text(json, "QueueUrl", url);
}

static void free_call(void *work)
{
    struct queue_call *call = work;
    json_free(&call->json);
    free(call);
}

static const struct operation *operation_of(struct exchange *exchange)
{
    const char *target = exchange_header(exchange, "X-Amz-Target");
    if (!exchange_content_type(exchange, SQS_JSON_TYPE)) {
        sqs_fail(exchange, SQS_UNKNOWN_OPERATION,
                 "this service speaks the JSON protocol only: Content-Type " SQS_JSON_TYPE);
        return NULL;
    }
    if (target != NULL && strncmp(target, TARGET_PREFIX, strlen(TARGET_PREFIX)) == 0) {
        for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
            if (strcmp(operations[i].name, target + strlen(TARGET_PREFIX)) == 0)
                return &operations[i];
        }
    }
    sqs_fail(exchange, SQS_UNKNOWN_OPERATION, "X-Amz-Target \"%.128s\" names no operation here",
             target != NULL ? target : "");
    return NULL;
}

/* The queue's name is what follows the last '/' of its URL. */
static bool read_queue(struct exchange *exchange, const struct json_value *root,
                       struct queue_call *call)
{
    struct error err = ERROR_INIT;
    const char *text;
    bool by_name = json_get(root, "QueueUrl") == NULL && json_get(root, "QueueName") != NULL;
    const char *key = by_name ? "QueueName" : "QueueUrl";
    if (json_get(root, key) == NULL) {
        sqs_fail(exchange, SQS_MISSING_PARAMETER, "%s is missing", key);
        return false;
    }
    if (!json_want_text(root, "", key, 1024, &text, &err))
        return queue_refuse(exchange, &err);
    const char *slash = strrchr(text, '/');
    const char *name = slash != NULL && !by_name ? slash + 1 : text;
    if (!stored_queue_name_valid(name)) {
        sqs_fail(exchange, by_name ? SQS_INVALID_PARAMETER_VALUE : SQS_QUEUE_DOES_NOT_EXIST,
                 "\"%.128s\" is no name of a queue: 1 to 80 letters, digits, '-' and '_'", name);
        return false;
    }
    snprintf(call->queue, sizeof call->queue, "%s", name);
    return true;
}

static bool parse_body(struct exchange *exchange, struct queue_call *call)
{
    static const struct json_limits limits = {
        .bytes = QUEUE_BODY_MAX, .string = QUEUE_BODY_MAX, .values = VALUES_MAX};
    struct error err = ERROR_INIT;
    if (!json_parse(exchange->body.data, exchange->body.len, &limits, "the request", &call->json,
                    &err)) {
        sqs_fail(exchange, err.kind == FAIL_INTERNAL ? SQS_SERVICE_UNAVAILABLE : SQS_SERIALIZATION,
                 "%s", err.text);
        return false;
    }
    if (json_type(json_root(call->json)) == JSON_OBJECT)
        return true;
    sqs_fail(exchange, SQS_SERIALIZATION, "the request must be a JSON object");
    return false;
}

void queue_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct queue_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        error_memory(&err);
        queue_fail(exchange, &err);
        return;
    }
    exchange->work = call;
    exchange->work_free = free_call;
    const struct sigv4_request request = signed_request(exchange);
    enum sigv4_verdict verdict = sigv4_verify(exchange->hub->sigv4, &request, call->region, &err);
    if (verdict != SIGV4_GOOD) {
        refuse_signature(exchange, verdict, &err);
        return;
    }
    exchange->authenticated = true;
    const struct operation *operation = operation_of(exchange);
    if (operation == NULL || !parse_body(exchange, call))
        return;
    const struct json_value *root = json_root(call->json);
    if (!read_queue(exchange, root, call) || !operation->parse(exchange, root, call))
        return;
    buf_free(&exchange->body); /* everything is in the parsed call now */
    exchange->job.run = operation->run;
}
