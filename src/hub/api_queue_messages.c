/* SPDX-License-Identifier: Apache-2.0 */
/* Send, receive, change visibility and delete, one or up to ten at a time. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include "api_queue.h"
#include "reseal/log.h"
#include "reseal/request.h"
#include "reseal/xml_text.h"
#include "result_intake.h"
#include "store_deliveries.h"

#define RECEIVE_BYTES                                                                              \
    (1024 * 1024) /* a receive stops after this much, with at least one message                    \
                   */

/* The attributes, and with them what the message counts. */
static void parse_attributes(const struct json_value *object, struct entry *entry)
{
    struct error err = ERROR_INIT;
    size_t size = 0;
    if (!message_attributes_read(object, &entry->attributes, &size, &err))
        entry_fail(entry,
                   err.kind == FAIL_INPUT ? SQS_INVALID_PARAMETER_VALUE : SQS_SERVICE_UNAVAILABLE,
                   err.text);
    entry->message.attributes = buf_bytes(&entry->attributes);
    entry->size = entry->message.body.len + size;
}

static void parse_message(const struct json_value *object, const char *where, struct entry *entry)
{
    struct error err = ERROR_INIT;
    const char *text;
    size_t len = 0;
    if (!json_want_text(object, where, "MessageBody", QUEUE_BODY_MAX, &text, &err) ||
        !json_may_integer(object, where, "DelaySeconds", 0, DELAY_MAX_S, -1,
                          &entry->message.delay_s, &err)) {
        entry_fail(entry, SQS_INVALID_PARAMETER_VALUE, err.text);
        return;
    }
    text = json_text(json_get(object, "MessageBody"), &len);
    entry->message.body = (struct bytes){(const uint8_t *)text, len};
    entry->size = len;
    if (len == 0)
        entry_fail(entry, SQS_MISSING_PARAMETER, "MessageBody is empty");
    else if (!xml_legal(text, len))
        entry_fail(entry, SQS_INVALID_MESSAGE_CONTENTS,
                   "MessageBody has characters that XML 1.0 does not allow");
    else if (json_get(object, "MessageGroupId") != NULL ||
             json_get(object, "MessageDeduplicationId") != NULL)
        entry_fail(entry, SQS_INVALID_PARAMETER_VALUE,
                   "MessageGroupId and MessageDeduplicationId belong to FIFO queues, which are "
                   "not supported here");
    else
        parse_attributes(object, entry);
}

static void parse_receipt(const struct json_value *object, const char *where, struct entry *entry)
{
    struct error err = ERROR_INIT;
    if (!json_want_text(object, where, "ReceiptHandle", 1024, &entry->receipt_handle, &err))
        entry_fail(entry, SQS_INVALID_PARAMETER_VALUE, err.text);
}

static void parse_visibility(const struct json_value *object, const char *where,
                             struct entry *entry)
{
    struct error err = ERROR_INIT;
    parse_receipt(object, where, entry);
    if (!entry->failed && !json_want_integer(object, where, "VisibilityTimeout", 0, LEASE_MAX_S,
                                             &entry->lease_s, &err))
        entry_fail(entry, SQS_INVALID_PARAMETER_VALUE, err.text);
}

/* MD5OfMessageBody; here and not by the store's thread, which has more to do with a large body: it
 * copies it to the disk. */
static void digest_bodies(const struct hub *hub, struct queue_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        const struct bytes body = entry->message.body;
        if (!entry->failed &&
            EVP_Digest(body.data, body.len, entry->message.md5, NULL, hub->md5, NULL) != 1) {
            entry_fail(entry, SQS_SERVICE_UNAVAILABLE, "MD5 failed");
            entry->malformed = true; /* for each run of the job */
        }
    }
}

bool parse_send(struct exchange *exchange, const struct json_value *root, struct queue_call *call)
{
    if (!parse_one(exchange, root, call, parse_message))
        return false;
    digest_bodies(exchange->hub, call);
    return true;
}

bool parse_send_batch(struct exchange *exchange, const struct json_value *root,
                      struct queue_call *call)
{
    if (!parse_batch(exchange, root, call, parse_message))
        return false;
    digest_bodies(exchange->hub, call);
    return true;
}

bool parse_change(struct exchange *exchange, const struct json_value *root, struct queue_call *call)
{
    return parse_one(exchange, root, call, parse_visibility);
}

bool parse_change_batch(struct exchange *exchange, const struct json_value *root,
                        struct queue_call *call)
{
    return parse_batch(exchange, root, call, parse_visibility);
}

bool parse_delete(struct exchange *exchange, const struct json_value *root, struct queue_call *call)
{
    return parse_one(exchange, root, call, parse_receipt);
}

bool parse_delete_batch(struct exchange *exchange, const struct json_value *root,
                        struct queue_call *call)
{
    return parse_batch(exchange, root, call, parse_receipt);
}

static void want_attributes(const struct json_value *names, unsigned *want)
{
    static const struct {
        const char *name;
        unsigned bits;
    } rows[] = {
        {"All", WANT_SENT | WANT_RECEIVE_COUNT | WANT_FIRST_RECEIVED | WANT_SENDER | WANT_TRACE |
                    WANT_SOURCE},
        {"SentTimestamp", WANT_SENT},
        {"ApproximateReceiveCount", WANT_RECEIVE_COUNT},
        {"ApproximateFirstReceiveTimestamp", WANT_FIRST_RECEIVED},
        {"SenderId", WANT_SENDER},
        {"AWSTraceHeader", WANT_TRACE},
        {"DeadLetterQueueSourceArn", WANT_SOURCE},
    };
    for (size_t i = 0; i < json_count(names); i++) {
        const char *name = json_text(json_at(names, i), NULL);
        for (size_t k = 0; name != NULL && k < ARRAY_LEN(rows); k++) {
            if (strcmp(rows[k].name, name) == 0)
                *want |= rows[k].bits;
        }
    }
}

bool parse_receive(struct exchange *exchange, const struct json_value *root,
                   struct queue_call *call)
{
    struct error err = ERROR_INIT;
    if (!json_may_integer(root, "", "MaxNumberOfMessages", 1, RECEIVE_MAX, 1, &call->max, &err) ||
        !json_may_integer(root, "", "VisibilityTimeout", 0, LEASE_MAX_S, -1, &call->lease_s,
                          &err) ||
        !json_may_integer(root, "", "WaitTimeSeconds", 0, QUEUE_WAIT_MAX_S, -1, &call->wait_s,
                          &err))
        return queue_refuse(exchange, &err);
    want_attributes(json_get(root, "MessageSystemAttributeNames"), &call->want);
    want_attributes(json_get(root, "AttributeNames"), &call->want); /* the older name */
    call->names = json_get(root, "MessageAttributeNames");
    exchange->job.alive = exchange_client_is_there;
    int64_t wait_s = call->wait_s >= 0 ? call->wait_s : QUEUE_WAIT_MAX_S;
    exchange->job.deadline_ms = job_deadline_ms(wait_s);
    return true;
}

static void put_md5(struct json_writer *json, const char *key, const uint8_t md5[static MD5_BYTES])
{
    char text[2 * MD5_BYTES + 1];
    hex_encode(text, md5, MD5_BYTES);
    json_put_text(json, key, text);
}

static void put_sent(struct exchange *exchange, struct json_writer *json, const struct entry *entry)
{
    struct attribute_digests digests;
    json_put_text(json, "MessageId", entry->message_id);
    put_md5(json, "MD5OfMessageBody", entry->message.md5);
    /* A digest that cannot be made is left out, as it is optional. */
    if (!message_attributes_digest(entry->message.attributes, exchange->hub->md5, &digests))
        return;
    if (digests.has_attributes)
        put_md5(json, "MD5OfMessageAttributes", digests.attributes);
    if (digests.has_system)
        put_md5(json, "MD5OfMessageSystemAttributes", digests.system);
}

static void put_nothing(struct exchange *exchange, struct json_writer *json,
                        const struct entry *entry)
{
    (void)exchange;
    (void)json;
    (void)entry;
}

/* Marks an entry that is more than the queue takes. */
static bool too_large(struct entry *entry, const struct queue_row *queue)
{
    char why[128];
    if (entry->size <= (size_t)queue->message_max)
        return false;
    snprintf(why, sizeof why,
             "the message has %zu bytes with its attributes, the queue's MaximumMessageSize is "
             "%" PRId64,
             entry->size, queue->message_max);
    entry_fail(entry, SQS_INVALID_PARAMETER_VALUE, why);
    return true;
}

enum job_verdict run_send(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct queue_call *call = exchange->work;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    bool results = queue->id == exchange->hub->results_id;
    int64_t sender;
    if (!sender_number(database, call->access_key, &sender, err))
        return JOB_FAILED;
    entries_renew(call);
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        if (entry->failed || too_large(entry, queue))
            continue;
        struct outgoing message = entry->message;
        if (message.delay_s < 0)
            message.delay_s = queue->delay_s;
        message.sender = sender;
        if (results ? !result_intake(exchange->hub, database, &message, entry->message_id, err)
                    : !stored_queue_send(database, queue->id, &message, entry->message_id, err))
            return JOB_FAILED;
    }
    return answer_entries(exchange, put_sent, err);
}

/* Receipt handles that do not hold, in the words of SQS. */
static void judge_receipt(struct entry *entry, enum receipt_state state, bool gone_is_fine)
{
    switch (state) {
    case RECEIPT_GOOD:
        return;
    case RECEIPT_GONE:
        if (!gone_is_fine)
            entry_fail(entry, SQS_INVALID_PARAMETER_VALUE,
                       "the message of this receipt handle does not exist any more");
        return;
    case RECEIPT_MALFORMED:
        entry_fail(entry, SQS_RECEIPT_HANDLE_IS_INVALID, "this is no receipt handle");
        return;
    case RECEIPT_OTHER:
        entry_fail(entry, SQS_RECEIPT_HANDLE_IS_INVALID,
                   "the message has been received again since, this receipt handle has ended");
        return;
    case RECEIPT_EXPIRED:
        entry_fail(entry, SQS_MESSAGE_NOT_INFLIGHT, "the message is not in flight any more");
        return;
    }
}

enum job_verdict run_change(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct queue_call *call = exchange->work;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    entries_renew(call);
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        enum receipt_state state;
        if (entry->failed)
            continue;
        if (!stored_queue_extend(database, queue->id, entry->receipt_handle, entry->lease_s, &state,
                                 err))
            return JOB_FAILED;
        judge_receipt(entry, state, false);
    }
    return answer_entries(exchange, put_nothing, err);
}

enum job_verdict run_delete(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct queue_call *call = exchange->work;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    entries_renew(call);
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        enum receipt_state state;
        if (entry->failed)
            continue;
        if (!stored_queue_delete(database, queue->id, entry->receipt_handle, &state, err))
            return JOB_FAILED;
        judge_receipt(entry, state, true); /* a second delete of the same is a success */
    }
    return answer_entries(exchange, put_nothing, err);
}

/* The answer to a receive while messages are added to it. */
struct receiving {
    const struct exchange *exchange;
    const struct queue_call *call;
    const struct database *database;
    struct json_writer *json;
    size_t bytes;
    bool failed; /* a digest could not be made */
};

static void put_number(struct json_writer *json, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    json_put_text(json, name, text);
}

static void put_system(const struct receiving *receiving, const struct leased *message)
{
    struct json_writer *json = receiving->json;
    unsigned want = receiving->call->want;
    char arn[ARN_TEXT];
    struct bytes trace = message_trace_header(message->attributes);
    const char *sender = sender_name(receiving->database, message->sender);
    const struct queue_row *source = stored_queue_by_id(receiving->database, message->source);
    if (want & WANT_SENDER)
        json_put_text(json, "SenderId", sender != NULL ? sender : ACCOUNT);
    if (want & WANT_SENT)
        put_number(json, "SentTimestamp", message->sent_ms);
    if (want & WANT_RECEIVE_COUNT)
        put_number(json, "ApproximateReceiveCount", message->receive_count);
    if (want & WANT_FIRST_RECEIVED)
        put_number(json, "ApproximateFirstReceiveTimestamp", message->first_received_ms);
    if ((want & WANT_TRACE) && trace.len > 0)
        json_put_text_len(json, "AWSTraceHeader", (const char *)trace.data, trace.len);
    if ((want & WANT_SOURCE) && source != NULL) {
        queue_arn(receiving->call, source->name, arn);
        json_put_text(json, "DeadLetterQueueSourceArn", arn);
    }
}

static bool put_message(void *context, const struct leased *message)
{
    struct receiving *receiving = context;
    struct json_writer *json = receiving->json;
    json_object(json, NULL);
    json_put_text(json, "MessageId", message->message_id);
    json_put_text(json, "ReceiptHandle", message->receipt_handle);
    put_md5(json, "MD5OfBody", message->md5);
    json_put_text_len(json, "Body", (const char *)message->body.data, message->body.len);
    if (receiving->call->want != 0) {
        json_object(json, "Attributes");
        put_system(receiving, message);
        json_object_end(json);
    }
    if (!message_attributes_write(message->attributes, receiving->call->names,
                                  receiving->exchange->hub->md5, json))
        receiving->failed = true;
    json_object_end(json);
    receiving->bytes += message->body.len + message->attributes.len;
    return receiving->bytes < RECEIVE_BYTES;
}

enum job_verdict run_receive(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct queue_call *call = exchange->work;
    struct receiving receiving = {.exchange = exchange, .call = call, .database = database};
    enum job_verdict verdict = JOB_FAILED;
    size_t count = 0;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    int64_t lease_s = call->lease_s >= 0 ? call->lease_s : queue->visibility_s;
    if (call->wait_s < 0) { /* only the queue knows how long; the longest was assumed */
        call->wait_s = queue->wait_s;
        job->deadline_ms -= (QUEUE_WAIT_MAX_S - queue->wait_s) * 1000;
        job->last = job->last || queue->wait_s == 0;
    }
    if (!json_writer_new(false, &receiving.json, err))
        return JOB_FAILED;
    json_object(receiving.json, NULL);
    json_array(receiving.json, "Messages");
    if (!stored_queue_receive(database, queue->id, (unsigned)call->max, lease_s, put_message,
                              &receiving, &count, err))
        goto done;
    if (receiving.failed) {
        error_openssl(err, FAIL_INTERNAL, "MD5 failed");
        goto done;
    }
    if (count == 0 && !job->last) {
        job->wait_queue = queue->id;
        verdict = JOB_WAIT;
        goto done;
    }
    json_array_end(receiving.json);
    json_object_end(receiving.json);
    if (count == 0) { /* an empty answer has no list at all */
        verdict = queue_answer_empty(exchange);
    } else if (answer_json(&exchange->answer, MHD_HTTP_OK, SQS_JSON_TYPE, receiving.json, err)) {
        verdict = JOB_DONE;
    }
done:
    json_writer_free(&receiving.json);
    return verdict;
}
