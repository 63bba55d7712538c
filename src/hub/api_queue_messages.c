/* SPDX-License-Identifier: Apache-2.0 */
/* Send, receive, change visibility and delete, one or up to ten at a time. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include "api_queue.h"
#include "reseal/clock.h"
#include "reseal/log.h"
#include "reseal/request.h"
#include "store_deliveries.h"

#define RECEIVE_BYTES                                                                              \
    (1024 * 1024) /* a receive stops after this much, with at least one message                    \
                   */

/* Marks one entry as failed; the others of the batch go on. */
static void entry_fail(struct entry *entry, enum sqs_error error, const char *why)
{
    entry->failed = true;
    entry->error = error;
    snprintf(entry->why, sizeof entry->why, "%.*s", (int)sizeof entry->why - 1, why);
}

/* Every byte is looked at, without a way out in between: so the compiler takes many at a time. */
static bool has_control(const unsigned char *at, size_t len)
{
    unsigned found = 0;
    for (size_t i = 0; i < len; i++)
        found |= (unsigned)(at[i] < 0x20) & (unsigned)(at[i] != '\t') & (unsigned)(at[i] != '\n') &
                 (unsigned)(at[i] != '\r');
    return found != 0;
}

/* XML 1.0, section 2.2: no control characters but tab, line feed and carriage return, no U+FFFE or
 * U+FFFF. That it is strict UTF-8 is known already. */
static bool xml_legal(const char *text, size_t len)
{
    static const size_t block = 1024;
    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0; i < len; i += block) {
        if (has_control(at + i, len - i < block ? len - i : block))
            return false;
    }
    const char *sequence = text; /* U+FFFE and U+FFFF are EF BF BE and EF BF BF */
    while ((sequence = memchr(sequence, 0xef, len - (size_t)(sequence - text))) != NULL) {
        at = (const unsigned char *)sequence;
        if (at[1] == 0xbf && at[2] >= 0xbe) /* whole sequences only, so these two are there */
            return false;
        sequence++;
    }
    return true;
}

/* MessageAttributes are not kept here; to drop them in silence would be worse than to refuse. */
static bool has_attributes(const struct json_value *object)
{
    return json_count(json_get(object, "MessageAttributes")) > 0 ||
           json_count(json_get(object, "MessageSystemAttributes")) > 0;
}

static void parse_message(struct exchange *exchange, const struct json_value *object,
                          const char *where, struct entry *entry)
{
    struct error err = ERROR_INIT;
    const char *text;
    size_t len = 0;
    if (!json_want_text(object, where, "MessageBody", MESSAGE_MAX, &text, &err) ||
        !json_may_integer(object, where, "DelaySeconds", 0, DELAY_MAX_S, -1,
                          &entry->message.delay_s, &err)) {
        entry_fail(entry, SQS_INVALID_PARAMETER_VALUE, err.text);
        return;
    }
    text = json_text(json_get(object, "MessageBody"), &len);
    entry->message.body = (struct bytes){(const uint8_t *)text, len};
    if (len == 0)
        entry_fail(entry, SQS_MISSING_PARAMETER, "MessageBody is empty");
    else if (!xml_legal(text, len))
        entry_fail(entry, SQS_INVALID_MESSAGE_CONTENTS,
                   "MessageBody has characters that XML 1.0 does not allow");
    else if (has_attributes(object))
        entry_fail(entry, SQS_UNSUPPORTED_OPERATION, "message attributes are not supported here");
    else if (EVP_Digest(text, len, entry->message.md5, NULL, exchange->hub->md5, NULL) != 1)
        entry_fail(entry, SQS_SERVICE_UNAVAILABLE, "MD5 failed");
}

static void parse_receipt(struct exchange *exchange, const struct json_value *object,
                          const char *where, struct entry *entry)
{
    struct error err = ERROR_INIT;
    (void)exchange;
    if (!json_want_text(object, where, "ReceiptHandle", 1024, &entry->receipt_handle, &err))
        entry_fail(entry, SQS_INVALID_PARAMETER_VALUE, err.text);
}

static void parse_visibility(struct exchange *exchange, const struct json_value *object,
                             const char *where, struct entry *entry)
{
    struct error err = ERROR_INIT;
    parse_receipt(exchange, object, where, entry);
    if (!entry->failed && !json_want_integer(object, where, "VisibilityTimeout", 0, LEASE_MAX_S,
                                             &entry->lease_s, &err))
        entry_fail(entry, SQS_INVALID_PARAMETER_VALUE, err.text);
}

typedef void parse_entry(struct exchange *exchange, const struct json_value *object,
                         const char *where, struct entry *entry);

/* A call that is not a batch is a batch of one, whose failure is the call's. */
static bool parse_one(struct exchange *exchange, const struct json_value *root,
                      struct queue_call *call, parse_entry *parse)
{
    call->count = 1;
    parse(exchange, root, "", &call->entries[0]);
    if (call->entries[0].failed)
        sqs_fail(exchange, call->entries[0].error, "%s", call->entries[0].why);
    return !call->entries[0].failed;
}

static bool entry_id_valid(const char *id)
{
    size_t len = strlen(id);
    return len >= 1 && len <= BATCH_ID_MAX &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == len;
}

static bool read_entry_ids(struct exchange *exchange, const struct json_value *list,
                           struct queue_call *call)
{
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        const struct json_value *item = json_at(list, i);
        if (!json_want_text(item, "Entries", "Id", 1024, &entry->id, &err))
            return queue_refuse(exchange, &err);
        if (!entry_id_valid(entry->id)) {
            sqs_fail(exchange, SQS_INVALID_BATCH_ENTRY_ID,
                     "an entry id has 1 to 80 letters, digits, '-' and '_'");
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(call->entries[k].id, entry->id) == 0) {
                sqs_fail(exchange, SQS_BATCH_ENTRY_IDS_NOT_DISTINCT,
                         "the entry id \"%s\" is given twice", entry->id);
                return false;
            }
        }
    }
    return true;
}

static bool parse_batch(struct exchange *exchange, const struct json_value *root,
                        struct queue_call *call, parse_entry *parse)
{
    struct error err = ERROR_INIT;
    const struct json_value *list;
    size_t total = 0;
    call->batch = true;
    if (!json_want_array(root, "", "Entries", &list, &err))
        return queue_refuse(exchange, &err);
    call->count = json_count(list);
    if (call->count == 0 || call->count > BATCH_MAX) {
        sqs_fail(exchange, call->count == 0 ? SQS_EMPTY_BATCH_REQUEST : SQS_TOO_MANY_ENTRIES,
                 "a batch has 1 to %d entries, this one has %zu", BATCH_MAX, call->count);
        return false;
    }
    if (!read_entry_ids(exchange, list, call))
        return false;
    for (size_t i = 0; i < call->count; i++) {
        parse(exchange, json_at(list, i), call->entries[i].id, &call->entries[i]);
        total += call->entries[i].message.body.len;
    }
    if (total <= MESSAGE_MAX)
        return true;
    sqs_fail(exchange, SQS_BATCH_REQUEST_TOO_LONG,
             "the messages have %zu bytes together, the bound is %d", total, MESSAGE_MAX);
    return false;
}

bool parse_send(struct exchange *exchange, const struct json_value *root, struct queue_call *call)
{
    return parse_one(exchange, root, call, parse_message);
}

bool parse_send_batch(struct exchange *exchange, const struct json_value *root,
                      struct queue_call *call)
{
    return parse_batch(exchange, root, call, parse_message);
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
        {"All", WANT_SENT | WANT_RECEIVE_COUNT | WANT_FIRST_RECEIVED | WANT_SENDER},
        {"SentTimestamp", WANT_SENT},
        {"ApproximateReceiveCount", WANT_RECEIVE_COUNT},
        {"ApproximateFirstReceiveTimestamp", WANT_FIRST_RECEIVED},
        {"SenderId", WANT_SENDER},
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
    exchange->job.alive = exchange_client_is_there;
    int64_t wait_s = call->wait_s >= 0 ? call->wait_s : QUEUE_WAIT_MAX_S;
    exchange->job.deadline_ms = clock_monotonic_ms() + wait_s * 1000;
    return true;
}

/* Answers with `put` for each entry that was done, and for a batch with the lists of both kinds. */
static enum job_verdict answer_entries(struct exchange *exchange,
                                       void (*put)(struct json_writer *, const struct entry *),
                                       struct error *err)
{
    struct queue_call *call = exchange->work;
    struct json_writer *json = NULL;
    if (!call->batch && call->entries[0].failed) {
        sqs_fail(exchange, call->entries[0].error, "%s", call->entries[0].why);
        return JOB_DONE;
    }
    if (!json_writer_new(false, &json, err))
        return JOB_FAILED;
    json_object(json, NULL);
    if (!call->batch)
        put(json, &call->entries[0]);
    for (int failed = 0; call->batch && failed <= 1; failed++) {
        json_array(json, failed ? "Failed" : "Successful");
        for (size_t i = 0; i < call->count; i++) {
            const struct entry *entry = &call->entries[i];
            if (entry->failed != (failed == 1))
                continue;
            json_object(json, NULL);
            json_put_text(json, "Id", entry->id);
            if (entry->failed) {
                json_put_text(json, "Code", sqs_error_code(entry->error));
                json_put_text(json, "Message", entry->why);
                json_put_bool(json, "SenderFault", true);
            } else {
                put(json, entry);
            }
            json_object_end(json);
        }
        json_array_end(json);
    }
    json_object_end(json);
    bool ok = answer_json(&exchange->answer, MHD_HTTP_OK, SQS_JSON_TYPE, json, err);
    json_writer_free(&json);
    return ok ? JOB_DONE : JOB_FAILED;
}

static void put_sent(struct json_writer *json, const struct entry *entry)
{
    char md5[2 * MD5_BYTES + 1];
    hex_encode(md5, entry->message.md5, MD5_BYTES);
    json_put_text(json, "MessageId", entry->message_id);
    json_put_text(json, "MD5OfMessageBody", md5);
}

static void put_nothing(struct json_writer *json, const struct entry *entry)
{
    (void)json;
    (void)entry;
}

/* The result queue is where results end: each is taken in the very transaction of its arrival.
 * What cannot be taken is kept for people in the dead-letter queue. */
static bool take_result(struct exchange *exchange, struct database *database, struct entry *entry,
                        struct error *err)
{
    static const char *const fates[] = {
        [RESULT_EFFECTIVE] = "result taken",
        [RESULT_REPEATED] = "result for a delivery that is complete",
        [RESULT_UNREADABLE] = "unreadable result kept in the dead-letter queue",
        [RESULT_STRAY] = "result for no delivery of this hub kept in the dead-letter queue",
    };
    enum result_fate fate;
    err->text[0] = '\0';
    if (!delivery_take_result(database, entry->message.body, &fate, err))
        return false;
    if (fate == RESULT_EFFECTIVE || fate == RESULT_REPEATED) {
        log_event(LEVEL_DEBUG, EVENT_NOTE, fates[fate], LOG_TEXT("message", entry->message_id));
        return uuid_random(entry->message_id, err);
    }
    entry->message.delay_s = 0;
    struct error reason = *err; /* sending may write over it */
    const char *why = reason.text;
    if (!stored_queue_send(database, exchange->hub->results_dead_id, &entry->message,
                           entry->message_id, err))
        return false;
    log_event(LEVEL_WARNING, EVENT_NOTE, fates[fate], LOG_TEXT("message", entry->message_id),
              LOG_TEXT("text", why));
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
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        if (entry->failed)
            continue;
        if (entry->message.delay_s < 0)
            entry->message.delay_s = queue->delay_s;
        if (results
                ? !take_result(exchange, database, entry, err)
                : !stored_queue_send(database, queue->id, &entry->message, entry->message_id, err))
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
    const struct queue_call *call;
    struct json_writer *json;
    size_t bytes;
};

static void put_attribute(struct json_writer *json, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    json_put_text(json, name, text);
}

static bool put_message(void *context, const struct leased *message)
{
    struct receiving *receiving = context;
    struct json_writer *json = receiving->json;
    unsigned want = receiving->call->want;
    char md5[2 * MD5_BYTES + 1];
    hex_encode(md5, message->md5, MD5_BYTES);
    json_object(json, NULL);
    json_put_text(json, "MessageId", message->message_id);
    json_put_text(json, "ReceiptHandle", message->receipt_handle);
    json_put_text(json, "MD5OfBody", md5);
    json_put_text_len(json, "Body", (const char *)message->body.data, message->body.len);
    if (want != 0) {
        json_object(json, "Attributes");
        if (want & WANT_SENDER)
            json_put_text(json, "SenderId", ACCOUNT);
        if (want & WANT_SENT)
            put_attribute(json, "SentTimestamp", message->sent_ms);
        if (want & WANT_RECEIVE_COUNT)
            put_attribute(json, "ApproximateReceiveCount", message->receive_count);
        if (want & WANT_FIRST_RECEIVED)
            put_attribute(json, "ApproximateFirstReceiveTimestamp", message->first_received_ms);
        json_object_end(json);
    }
    json_object_end(json);
    receiving->bytes += message->body.len;
    return receiving->bytes < RECEIVE_BYTES;
}

enum job_verdict run_receive(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct queue_call *call = exchange->work;
    struct receiving receiving = {.call = call};
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
    if (count == 0 && !job->last) {
        job->wait_queue = queue->id;
        verdict = JOB_WAIT;
        goto done;
    }
    json_array_end(receiving.json);
    json_object_end(receiving.json);
    if (count == 0) { /* an empty answer has no list at all */
        buf_reset(&exchange->answer.body);
        buf_put_text(&exchange->answer.body, "{}");
        exchange->answer.status = MHD_HTTP_OK;
        exchange->answer.content_type = SQS_JSON_TYPE;
        verdict = JOB_DONE;
    } else if (answer_json(&exchange->answer, MHD_HTTP_OK, SQS_JSON_TYPE, receiving.json, err)) {
        verdict = JOB_DONE;
    }
done:
    json_writer_free(&receiving.json);
    return verdict;
}
