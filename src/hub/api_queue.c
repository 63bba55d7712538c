/* SPDX-License-Identifier: Apache-2.0 */
#include "api_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/clock.h"

#define TARGET_PREFIX "AmazonSQS."
#define VALUES_MAX    1024

static const struct operation {
    const char *name;
    queue_parse *parse;
    job_run *run;
    unsigned rights; /* on the queue that the call names; 0: it names none, or in its own way */
} operations[] = {
    {"SendMessage", parse_send, run_send, RIGHT_SEND},
    {"SendMessageBatch", parse_send_batch, run_send, RIGHT_SEND},
    {"ReceiveMessage", parse_receive, run_receive, RIGHT_RECEIVE},
    {"ChangeMessageVisibility", parse_change, run_change, RIGHT_RECEIVE},
    {"ChangeMessageVisibilityBatch", parse_change_batch, run_change, RIGHT_RECEIVE},
    {"DeleteMessage", parse_delete, run_delete, RIGHT_RECEIVE},
    {"DeleteMessageBatch", parse_delete_batch, run_delete, RIGHT_RECEIVE},
    {"GetQueueUrl", parse_get_url, run_get_url, RIGHT_ANY},
    {"GetQueueAttributes", parse_get_attributes, run_get_attributes, RIGHT_ANY},
    {"SetQueueAttributes", parse_set_attributes, run_set_attributes, RIGHT_MANAGE},
    {"CreateQueue", parse_create, run_create, RIGHT_MANAGE},
    {"ListQueues", parse_list, run_list, 0},
    {"ListDeadLetterSourceQueues", parse_list_sources, run_list_sources, RIGHT_ANY},
    {"PurgeQueue", parse_queue_alone, run_purge, RIGHT_MANAGE},
    {"DeleteQueue", parse_queue_alone, run_delete_queue, RIGHT_MANAGE},
    {"StartMessageMoveTask", parse_start_move, run_start_move, 0},
    {"ListMessageMoveTasks", parse_list_moves, run_list_moves, 0},
    {"CancelMessageMoveTask", parse_cancel_move, run_cancel_move, 0},
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
    struct sigv4_signer signer;
    hub_renew(exchange->hub, RENEW_AT_TIMES);
    const struct sigv4_request request = signed_request(exchange);
    enum sigv4_verdict verdict = sigv4_check_headers(exchange->hub->sigv4, &request, &signer, &err);
    if (verdict == SIGV4_UNKNOWN_KEY) {
        hub_renew(exchange->hub, RENEW_LOOK);
        err = (struct error)ERROR_INIT;
        verdict = sigv4_check_headers(exchange->hub->sigv4, &request, &signer, &err);
    }
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

bool queue_permit(struct exchange *exchange, unsigned rights, const char *queue)
{
    const struct queue_call *call = exchange->work;
    if ((rights_on(call->rights, queue) & rights) != 0)
        return true;
    sqs_fail(exchange, SQS_ACCESS_DENIED,
             "the access key %s has no right to do this on the queue \"%s\"", call->access_key,
             queue);
    return false;
}

bool queue_is_own(const struct hub *hub, int64_t queue)
{
    return queue == hub->requests_id || queue == hub->results_id ||
           queue == hub->requests_dead_id || queue == hub->results_dead_id;
}

void queue_put_url(const struct exchange *exchange, struct json_writer *json, const char *key,
                   const char *name)
{
    char base[BASE_URL], url[512];
    exchange_base_url(exchange, base);
    snprintf(url, sizeof url, "%s/" ACCOUNT "/%s", base, name);
    json_put_text(json, key, url);
}

#define ARN_BEGIN "arn:aws:sqs:"

void queue_arn(const struct queue_call *call, const char *name, char out[static ARN_TEXT])
{
    snprintf(out, ARN_TEXT, ARN_BEGIN "%s:" ACCOUNT ":%s", call->signer.region, name);
}

/* Region and account of an ARN mean nothing here: it is one hub. */
bool queue_of_arn(const char *arn, char out[static QUEUE_NAME_MAX + 1])
{
    const char *colon = strrchr(arn, ':');
    if (strncmp(arn, ARN_BEGIN, strlen(ARN_BEGIN)) != 0 || !stored_queue_name_valid(colon + 1))
        return false;
    snprintf(out, QUEUE_NAME_MAX + 1, "%s", colon + 1);
    return true;
}

enum job_verdict queue_answer(struct exchange *exchange, struct json_writer **json,
                              struct error *err)
{
    bool ok = answer_json(&exchange->answer, MHD_HTTP_OK, SQS_JSON_TYPE, *json, err);
    json_writer_free(json);
    return ok ? JOB_DONE : JOB_FAILED;
}

enum job_verdict queue_answer_empty(struct exchange *exchange)
{
    answer_reset(&exchange->answer);
    buf_put_text(&exchange->answer.body, "{}");
    exchange->answer.status = MHD_HTTP_OK;
    exchange->answer.content_type = SQS_JSON_TYPE;
    return JOB_DONE;
}

static void free_call(void *work)
{
    struct queue_call *call = work;
    for (size_t i = 0; i < call->count && i < BATCH_MAX; i++)
        buf_free(&call->entries[i].attributes);
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

/* Whether it is somebody of ours who calls, and who. */
static bool authenticate(struct exchange *exchange, struct queue_call *call)
{
    struct error err = ERROR_INIT;
    const struct sigv4_request request = signed_request(exchange);
    enum sigv4_verdict verdict = sigv4_verify(exchange->hub->sigv4, &request, &call->signer, &err);
    if (verdict != SIGV4_GOOD) {
        refuse_signature(exchange, verdict, &err);
        return false;
    }
    const struct credential *credential = call->signer.credential;
    snprintf(call->access_key, sizeof call->access_key, "%s", credential->access_key_id);
    snprintf(call->rights, sizeof call->rights, "%s", credential->rights);
    call->signer.credential = NULL; /* may be gone when the job runs */
    exchange->authenticated = true;
    return true;
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
    if (!authenticate(exchange, call))
        return;
    const struct operation *operation = operation_of(exchange);
    if (operation == NULL || !parse_body(exchange, call))
        return;
    const struct json_value *root = json_root(call->json);
    if (operation->rights != 0 && (!read_queue(exchange, root, call) ||
                                   !queue_permit(exchange, operation->rights, call->queue)))
        return;
    if (!operation->parse(exchange, root, call))
        return;
    buf_free(&exchange->body); /* everything is in the parsed call now */
    exchange->job.run = operation->run;
}
