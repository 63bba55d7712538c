/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Amazon SQS, AWS JSON 1.0 protocol, signed with SigV4 by libcurl.
 *
 * What libcurl 7.88 signs rightly (found by trying): a body given by CURLOPT_POSTFIELDS, a plain
 * path without a query, and headers of which none is suppressed. So "Expect:" is not suppressed
 * either: it is not sent for bodies under 1 MiB, and a batch stays far below; should one be sent,
 * the wait for "100 Continue" is a millisecond.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include "dialect.h"
#include "reseal/credentials.h"
#include "reseal/json.h"
#include "reseal/log.h"
#include "reseal/text.h"

#define RECEIVE_COUNT_NAME "ApproximateReceiveCount"
#define MD5_TEXT           33

static const char *const names[CALL_COUNT] = {
    [CALL_URL] = "GetQueueUrl",
    [CALL_RECEIVE] = "ReceiveMessage",
    [CALL_SEND] = "SendMessageBatch",
    [CALL_DELETE] = "DeleteMessageBatch",
    [CALL_EXTEND] = "ChangeMessageVisibilityBatch",
    [CALL_ATTRIBUTES] = "GetQueueAttributes",
};

/* -- the access key -- */

/* libcurl wants the secret with an end mark. */
static bool take_credential(const struct credential *credential, struct access_key *out,
                            struct error *err)
{
    struct bytes secret = secret_bytes(credential->secret_access_key);
    snprintf(out->id, sizeof out->id, "%s", credential->access_key_id);
    if (!secret_new(secret.len + 1, &out->secret, err))
        return false;
    memcpy(secret_data(out->secret), secret.data, secret.len);
    return true;
}

static bool sqs_load_key(const struct queue_client *client, struct access_key *out,
                         struct error *err)
{
    struct credentials *all = NULL;
    const char *path = client->keys.path, *profile = client->keys.profile;
    if (client->keys.fixed != NULL)
        return take_credential(client->keys.fixed, out, err);
    if (!credentials_load(path, &all, err))
        return false;
    const struct credential *found = credentials_by_profile(all, profile);
    bool ok = found != NULL && take_credential(found, out, err);
    if (found == NULL) {
        error_set(err, FAIL_USAGE, "%s has no section [%s]", path, profile);
        error_hint(err, "set profile of [queue] to a section of that file");
    }
    credentials_free(&all);
    return ok;
}

static bool add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL)
        return false;
    *list = longer;
    return true;
}

static bool sqs_open(struct queue_client *client, struct error *err)
{
    char provider[128], target[96];
    for (enum call call = 0; call < CALL_COUNT; call++) {
        snprintf(target, sizeof target, "X-Amz-Target: AmazonSQS.%s", names[call]);
        if (!add_header(&client->headers[call], "Content-Type: application/x-amz-json-1.0") ||
            !add_header(&client->headers[call], target))
            return error_memory(err);
    }
    if (client->keys.generation == 0)
        return true;
    if (strchr(client->region, ':') != NULL || client->region[0] == '\0')
        return error_set(err, FAIL_USAGE, "\"%.64s\" is no region that can be signed for",
                         client->region);
    snprintf(provider, sizeof provider, "aws:amz:%s:sqs", client->region);
    client->provider = strdup(provider);
    return client->provider != NULL || error_memory(err);
}

/* -- what we ask -- */

static void put_one_name(struct json_writer *json, const char *key, const char *name)
{
    json_array(json, key);
    json_put_text(json, NULL, name);
    json_array_end(json);
}

static void put_receive(struct json_writer *json, const struct receive *receive)
{
    json_put_integer(json, "MaxNumberOfMessages", receive->max);
    json_put_integer(json, "VisibilityTimeout", receive->lease_s);
    json_put_integer(json, "WaitTimeSeconds", receive->wait_s);
    /* AttributeNames is the older name of the same thing; engines know one or the other. */
    put_one_name(json, "AttributeNames", RECEIVE_COUNT_NAME);
    put_one_name(json, "MessageSystemAttributeNames", RECEIVE_COUNT_NAME);
}

static void put_entry(struct json_writer *json, const struct operation *operation, size_t index)
{
    char id[24];
    const char *content = buf_text(&operation->content);
    snprintf(id, sizeof id, "%zu", index);
    json_object(json, NULL);
    json_put_text(json, "Id", id);
    if (operation->call == CALL_SEND)
        json_put_text_len(json, "MessageBody", content, operation->content.len);
    else
        json_put_text_len(json, "ReceiptHandle", content, operation->content.len);
    if (operation->call == CALL_EXTEND)
        json_put_integer(json, "VisibilityTimeout", operation->lease_s);
    json_object_end(json);
}

static void put_parameters(struct json_writer *json, const struct exchange *exchange)
{
    switch (exchange->call) {
    case CALL_URL:
        json_put_text(json, "QueueName", exchange->queue->name);
        return;
    case CALL_RECEIVE:
        put_receive(json, &exchange->queue->receive);
        return;
    case CALL_SEND:
    case CALL_DELETE:
    case CALL_EXTEND:
        json_array(json, "Entries");
        for (size_t i = 0; i < exchange->count; i++)
            put_entry(json, exchange->operations[i], i);
        json_array_end(json);
        return;
    case CALL_ATTRIBUTES:
        put_one_name(json, "AttributeNames", "All"); /* one that is not known would be refused */
        return;
    }
}

static bool write_body(struct exchange *exchange, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return false;
    json_object(json, NULL);
    if (exchange->call != CALL_URL)
        json_put_text(json, "QueueUrl", exchange->queue->url);
    put_parameters(json, exchange);
    json_object_end(json);
    bool ok = json_finish(json, &exchange->body, err);
    json_writer_free(&json);
    return ok;
}

/* A handle keeps what it signs with until the key has changed. */
static bool sign_with(struct exchange *exchange)
{
    const struct queue_client *client = exchange->client;
    const struct access_key *key = &client->keys.key;
    CURL *easy = exchange->easy;
    if (exchange->signed_with == client->keys.generation)
        return true;
    struct bytes secret = secret_bytes(key->secret);
    exchange->signed_with = client->keys.generation;
    return curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, client->provider) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERNAME, key->id) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PASSWORD, (const char *)secret.data) == CURLE_OK;
}

static bool sqs_write_request(struct exchange *exchange, struct error *err)
{
    const struct queue_client *client = exchange->client;
    CURL *easy = exchange->easy;
    if (!write_body(exchange, err))
        return false;
    if (curl_easy_setopt(easy, CURLOPT_URL, client->endpoint) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, client->headers[exchange->call]) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, (const char *)exchange->body.data) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body.len) ==
            CURLE_OK &&
        sign_with(exchange))
        return true;
    return error_set(err, FAIL_INTERNAL, "libcurl cannot prepare %s", names[exchange->call]);
}

/* -- what the service answers -- */

static bool parse(const struct exchange *exchange, struct json **out, struct error *err)
{
    const struct json_limits limits = {
        .bytes = exchange->answer.max, .string = exchange->answer.max, .values = 1024};
    char what[96];
    snprintf(what, sizeof what, "the answer to %s", names[exchange->call]);
    if (!json_parse(exchange->answer.data, exchange->answer.len, &limits, what, out, err)) {
        err->kind = FAIL_REMOTE; /* a cut or broken answer: the next may be whole */
        return false;
    }
    if (json_type(json_root(*out)) == JSON_OBJECT)
        return true;
    json_free(out);
    return error_set(err, FAIL_REMOTE, "%s is no JSON object", what);
}

/* Errors are named "com.amazonaws.sqs#QueueDoesNotExist", older
 * "AWS.SimpleQueueService.NonExistentQueue". */
static const char *error_short_name(const char *type)
{
    const char *hash = strrchr(type, '#');
    if (hash != NULL)
        return hash + 1;
    const char *dot = strrchr(type, '.');
    return dot != NULL ? dot + 1 : type;
}

struct error_name {
    const char *name;
    enum failure kind;
};

static const struct error_name error_names[] = {
    {"QueueDoesNotExist", FAIL_NOT_FOUND},
    {"NonExistentQueue", FAIL_NOT_FOUND},
    {"AccessDenied", FAIL_AUTH},
    {"AccessDeniedException", FAIL_AUTH},
    {"ExpiredToken", FAIL_AUTH},
    {"ExpiredTokenException", FAIL_AUTH},
    {"IncompleteSignature", FAIL_AUTH},
    {"IncompleteSignatureException", FAIL_AUTH},
    {"InvalidClientTokenId", FAIL_AUTH},
    {"InvalidSecurity", FAIL_AUTH},
    {"InvalidSignatureException", FAIL_AUTH},
    {"MissingAuthenticationToken", FAIL_AUTH},
    {"MissingAuthenticationTokenException", FAIL_AUTH},
    {"NotAuthorized", FAIL_AUTH},
    {"OptInRequired", FAIL_AUTH},
    {"RequestExpired", FAIL_AUTH},
    {"SignatureDoesNotMatch", FAIL_AUTH},
    {"UnrecognizedClientException", FAIL_AUTH},
    {"InternalError", FAIL_REMOTE},
    {"InternalFailure", FAIL_REMOTE},
    {"KmsThrottled", FAIL_REMOTE},
    {"OverLimit", FAIL_REMOTE},
    {"RequestThrottled", FAIL_REMOTE},
    {"RequestTimeout", FAIL_REMOTE},
    {"ServiceUnavailable", FAIL_REMOTE},
    {"Throttling", FAIL_REMOTE},
    {"ThrottlingException", FAIL_REMOTE},
};

static enum failure kind_by_name(const char *type, enum failure otherwise)
{
    const char *name = error_short_name(type);
    for (size_t i = 0; i < ARRAY_LEN(error_names); i++) {
        if (strcmp(error_names[i].name, name) == 0)
            return error_names[i].kind;
    }
    return otherwise;
}

static void failure_hint(struct error *err, const struct queue *queue)
{
    if (err->kind == FAIL_AUTH)
        error_hint(err, "check access key, secret key and region of [queue], what the key is "
                        "allowed to do, and this machine's clock");
    else if (err->kind == FAIL_NOT_FOUND)
        error_hint(err, "create the queue \"%s\", or correct its name in [queue]", queue->name);
}

static void sqs_read_failure(const struct exchange *exchange, long status, struct error *err)
{
    struct error broken = ERROR_INIT;
    struct json *json = NULL;
    const char *type = NULL, *message = NULL;
    enum failure kind = failure_by_status(status);
    if (parse(exchange, &json, &broken)) {
        const struct json_value *root = json_root(json);
        type = json_text(json_get(root, "__type"), NULL);
        message = json_text(json_get(root, "message"), NULL);
        if (message == NULL)
            message = json_text(json_get(root, "Message"), NULL);
    }
    if (type != NULL)
        kind = kind_by_name(type, kind);
    error_set(err, kind, "%s on queue \"%s\" at %s: HTTP status %ld%s%.64s%s%.200s",
              names[exchange->call], exchange->queue->name, exchange->client->endpoint, status,
              type != NULL ? ", " : "", type != NULL ? error_short_name(type) : "",
              message != NULL ? ": " : "", message != NULL ? message : "");
    failure_hint(err, exchange->queue);
    json_free(&json);
}

static bool sqs_read_url(const struct exchange *exchange, char url[static QUEUE_URL_MAX + 1],
                         struct error *err)
{
    struct json *json = NULL;
    const char *text;
    if (!parse(exchange, &json, err))
        return false;
    bool ok = json_want_text(json_root(json), "", "QueueUrl", QUEUE_URL_MAX, &text, err);
    if (ok)
        snprintf(url, QUEUE_URL_MAX + 1, "%s", text);
    else
        err->kind = FAIL_REMOTE;
    json_free(&json);
    return ok;
}

/* SQS writes the numbers of attributes as strings. */
static bool attribute_number(const struct json_value *attributes, const char *name, int64_t *out)
{
    const char *text = json_text(json_get(attributes, name), NULL);
    char *end = NULL;
    *out = 0;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    *out = strtoll(text, &end, 10);
    return *end == '\0';
}

/* RedrivePolicy is a text with JSON in it; its ARN ends with the name of a queue. */
static void read_redrive(const char *text, struct queue_facts *out)
{
    const struct json_limits limits = {.bytes = ANSWER_BYTES, .string = 1024, .values = 64};
    struct error unread = ERROR_INIT;
    struct json *json = NULL;
    if (text == NULL ||
        !json_parse(text, strlen(text), &limits, "the RedrivePolicy", &json, &unread))
        return;
    const struct json_value *root = json_root(json);
    const char *arn = json_text(json_get(root, "deadLetterTargetArn"), NULL);
    const char *colon = arn != NULL ? strrchr(arn, ':') : NULL;
    if (colon != NULL && strlen(colon + 1) <= QUEUE_NAME_MAX)
        snprintf(out->dead_letter, sizeof out->dead_letter, "%s", colon + 1);
    int64_t receives;
    if (attribute_number(root, "maxReceiveCount", &receives) && receives <= INT32_MAX)
        out->max_receives = (unsigned)receives;
    json_free(&json);
}

static bool sqs_read_attributes(const struct exchange *exchange, struct queue_facts *out,
                                struct error *err)
{
    const struct json_value *attributes;
    struct json *json = NULL;
    if (!parse(exchange, &json, err))
        return false;
    bool ok = json_want_object(json_root(json), "", "Attributes", &attributes, err);
    if (!ok)
        err->kind = FAIL_REMOTE;
    else if (!attribute_number(attributes, "ApproximateNumberOfMessages", &out->visible))
        ok = error_set(err, FAIL_REMOTE, "the answer to %s does not tell the number of messages",
                       names[exchange->call]);
    if (ok) { /* not every engine counts these */
        (void)!attribute_number(attributes, "ApproximateNumberOfMessagesNotVisible",
                                &out->in_flight);
        (void)!attribute_number(attributes, "ApproximateNumberOfMessagesDelayed", &out->delayed);
        /* reseal-hub tells it, named like Amazon's metric */
        if (json_get(attributes, "ApproximateAgeOfOldestMessage") != NULL)
            (void)!attribute_number(attributes, "ApproximateAgeOfOldestMessage",
                                    &out->oldest_age_s);
        read_redrive(json_text(json_get(attributes, "RedrivePolicy"), NULL), out);
    }
    json_free(&json);
    return ok;
}

/* The entry's place in the batch: we named them "0" to "9". */
static bool entry_index(const struct json_value *entry, size_t count, size_t *out)
{
    size_t len = 0;
    const char *id = json_text(json_get(entry, "Id"), &len);
    if (id == NULL || len != 1 || id[0] < '0' || id[0] > '9')
        return false;
    *out = (size_t)(id[0] - '0');
    return *out < count;
}

static void read_failed_entry(const struct exchange *exchange, const struct json_value *entry,
                              struct error *err)
{
    const char *code = json_text(json_get(entry, "Code"), NULL);
    const char *message = json_text(json_get(entry, "Message"), NULL);
    bool ours = json_true(json_get(entry, "SenderFault"));
    enum failure kind = ours ? FAIL_INPUT : FAIL_REMOTE;
    if (code != NULL && ours)
        kind = kind_by_name(code, kind);
    error_set(err, kind, "%s on queue \"%s\" refused one entry: %.64s%s%.200s",
              names[exchange->call], exchange->queue->name,
              code != NULL ? error_short_name(code) : "no code given", message != NULL ? ": " : "",
              message != NULL ? message : "");
    failure_hint(err, exchange->queue);
}

static bool sqs_read_batch(struct exchange *exchange, struct error errors[static QUEUE_BATCH_MAX],
                           struct error *err)
{
    struct json *json = NULL;
    size_t index;
    if (!parse(exchange, &json, err))
        return false;
    for (size_t i = 0; i < exchange->count; i++)
        error_set(&errors[i], FAIL_REMOTE, "the answer to %s does not name this entry",
                  names[exchange->call]);
    const struct json_value *good = json_get(json_root(json), "Successful");
    const struct json_value *bad = json_get(json_root(json), "Failed");
    for (size_t i = 0; i < json_count(good); i++) {
        if (entry_index(json_at(good, i), exchange->count, &index))
            errors[index].kind = FAIL_NONE;
    }
    for (size_t i = 0; i < json_count(bad); i++) {
        if (entry_index(json_at(bad, i), exchange->count, &index))
            read_failed_entry(exchange, json_at(bad, i), &errors[index]);
    }
    json_free(&json);
    return true;
}

/* True where no digest is given, or MD5 is not to be had (FIPS mode): it guards against accidents
 * only. */
static bool md5_fits(const char *body, size_t len, const char *wanted)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[2 * EVP_MAX_MD_SIZE + 1];
    size_t digest_len = 0;
    if (wanted == NULL || EVP_Q_digest(NULL, "MD5", NULL, body, len, digest, &digest_len) != 1)
        return true;
    hex_encode(text, digest, digest_len);
    return text_equal_nocase(text, wanted);
}

static unsigned receive_count(const struct json_value *message)
{
    int64_t number;
    if (!attribute_number(json_get(message, "Attributes"), RECEIVE_COUNT_NAME, &number))
        return 0;
    return number > INT32_MAX ? INT32_MAX : (unsigned)number;
}

static bool read_message(const struct json_value *entry, struct queue_message *out,
                         struct error *err)
{
    const char *id, *receipt;
    size_t len = 0;
    *out = (struct queue_message){0};
    if (!json_want_text(entry, "Messages[]", "MessageId", QUEUE_MESSAGE_ID_MAX, &id, err) ||
        !json_want_text(entry, "Messages[]", "ReceiptHandle", QUEUE_RECEIPT_MAX, &receipt, err))
        return false;
    if (id[0] == '\0' || receipt[0] == '\0')
        return error_set(err, FAIL_INPUT, "Messages[].%s is empty",
                         id[0] == '\0' ? "MessageId" : "ReceiptHandle");
    const struct json_value *value = json_get(entry, "Body");
    const char *body = json_text(value, &len);
    if (body == NULL || json_type(value) != JSON_STRING)
        return error_set(err, FAIL_INPUT, "message %s has no body", id);
    if (!md5_fits(body, len, json_text(json_get(entry, "MD5OfBody"), NULL)))
        return error_set(err, FAIL_INPUT, "message %s does not have the MD5 that it came with", id);
    snprintf(out->message_id, sizeof out->message_id, "%s", id);
    snprintf(out->receipt, sizeof out->receipt, "%s", receipt);
    out->body.data = (const uint8_t *)body;
    out->body.len = len;
    out->receive_count = receive_count(entry);
    return true;
}

static bool sqs_read_messages(const struct exchange *exchange, struct message_set *out,
                              struct error *err)
{
    struct error skipped = ERROR_INIT;
    if (!parse(exchange, &out->json, err))
        return false;
    const struct json_value *list = json_get(json_root(out->json), "Messages");
    size_t given = json_count(list);
    for (size_t i = 0; i < given && out->count < QUEUE_BATCH_MAX; i++) {
        if (read_message(json_at(list, i), &out->messages[out->count], &skipped))
            out->count++;
        else
            log_error(LEVEL_WARNING, EVENT_POLL_FAILED, "a message is left where it is", &skipped);
    }
    return true;
}

const struct dialect dialect_sqs = {
    .name = "sqs",
    .calls = names,
    .batch_max = QUEUE_BATCH_MAX,
    .message_max = QUEUE_MESSAGE_MAX,
    .long_poll = true,
    .asks_url = true,
    .redrives = true,
    .load_key = sqs_load_key,
    .open = sqs_open,
    .write_request = sqs_write_request,
    .read_failure = sqs_read_failure,
    .read_url = sqs_read_url,
    .read_attributes = sqs_read_attributes,
    .read_batch = sqs_read_batch,
    .read_messages = sqs_read_messages,
};
