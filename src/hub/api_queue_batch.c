/* SPDX-License-Identifier: Apache-2.0 */
/* Calls with one entry, and the same in batches of up to ten. */
#include <stdio.h>
#include <string.h>
#include "api_queue.h"

void entry_fail(struct entry *entry, enum sqs_error error, const char *why)
{
    entry->failed = true;
    entry->error = error;
    snprintf(entry->why, sizeof entry->why, "%.*s", (int)sizeof entry->why - 1, why);
}

void entries_renew(struct queue_call *call)
{
    for (size_t i = 0; i < call->count; i++)
        call->entries[i].failed = call->entries[i].malformed;
}

/* A call that is not a batch is a batch of one, whose failure is the call's. */
bool parse_one(struct exchange *exchange, const struct json_value *root, struct queue_call *call,
               parse_entry *parse)
{
    call->count = 1;
    parse(root, "", &call->entries[0]);
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

bool parse_batch(struct exchange *exchange, const struct json_value *root, struct queue_call *call,
                 parse_entry *parse)
{
    struct error err = ERROR_INIT;
    const struct json_value *list;
    size_t total = 0;
    call->batch = true;
    if (!json_want_array(root, "", "Entries", &list, &err))
        return queue_refuse(exchange, &err);
    size_t count = json_count(list);
    if (count == 0 || count > BATCH_MAX) {
        sqs_fail(exchange, count == 0 ? SQS_EMPTY_BATCH_REQUEST : SQS_TOO_MANY_ENTRIES,
                 "a batch has 1 to %d entries, this one has %zu", BATCH_MAX, count);
        return false;
    }
    call->count = count;
    if (!read_entry_ids(exchange, list, call))
        return false;
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        parse(json_at(list, i), entry->id, entry);
        entry->malformed = entry->failed;
        total += entry->size;
    }
    if (total <= MESSAGE_SIZE_LIMIT)
        return true;
    sqs_fail(exchange, SQS_BATCH_REQUEST_TOO_LONG,
             "the messages have %zu bytes together, the bound is %d", total, MESSAGE_SIZE_LIMIT);
    return false;
}

enum job_verdict answer_entries(struct exchange *exchange, put_entry *put, struct error *err)
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
        put(exchange, json, &call->entries[0]);
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
                put(exchange, json, entry);
            }
            json_object_end(json);
        }
        json_array_end(json);
    }
    json_object_end(json);
    return queue_answer(exchange, &json, err);
}
