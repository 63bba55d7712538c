/* SPDX-License-Identifier: Apache-2.0 */
/* Queues themselves: making, finding, reading and setting attributes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api_queue.h"
#include "reseal/clock.h"

enum queue_attribute {
    ATTRIBUTE_VISIBILITY,
    ATTRIBUTE_DELAY,
    ATTRIBUTE_WAIT,
    ATTRIBUTE_RETENTION,
    ATTRIBUTE_SIZE,
    ATTRIBUTE_REDRIVE,
    ATTRIBUTE_ALLOW,
    SETTABLE_COUNT,
    ATTRIBUTE_VISIBLE = SETTABLE_COUNT,
    ATTRIBUTE_IN_FLIGHT,
    ATTRIBUTE_DELAYED,
    ATTRIBUTE_CREATED,
    ATTRIBUTE_MODIFIED,
    ATTRIBUTE_OLDEST,
    ATTRIBUTE_ARN,
    ATTRIBUTE_COUNT,
};
#define ALL_ATTRIBUTES ((1U << ATTRIBUTE_COUNT) - 1)

static const struct {
    const char *name;
    int64_t min, max; /* of the settable numbers */
} attributes[] = {
    [ATTRIBUTE_VISIBILITY] = {"VisibilityTimeout", 0, LEASE_MAX_S},
    [ATTRIBUTE_DELAY] = {"DelaySeconds", 0, DELAY_MAX_S},
    [ATTRIBUTE_WAIT] = {"ReceiveMessageWaitTimeSeconds", 0, QUEUE_WAIT_MAX_S},
    [ATTRIBUTE_RETENTION] = {"MessageRetentionPeriod", 60, 1209600},
    [ATTRIBUTE_SIZE] = {"MaximumMessageSize", MESSAGE_SIZE_LEAST, MESSAGE_SIZE_LIMIT},
    [ATTRIBUTE_REDRIVE] = {"RedrivePolicy", 0, 0},
    [ATTRIBUTE_ALLOW] = {"RedriveAllowPolicy", 0, 0},
    [ATTRIBUTE_VISIBLE] = {"ApproximateNumberOfMessages", 0, 0},
    [ATTRIBUTE_IN_FLIGHT] = {"ApproximateNumberOfMessagesNotVisible", 0, 0},
    [ATTRIBUTE_DELAYED] = {"ApproximateNumberOfMessagesDelayed", 0, 0},
    [ATTRIBUTE_CREATED] = {"CreatedTimestamp", 0, 0},
    [ATTRIBUTE_MODIFIED] = {"LastModifiedTimestamp", 0, 0},
    /* Not one of SQS, which tells this by CloudWatch and by this name. */
    [ATTRIBUTE_OLDEST] = {"ApproximateAgeOfOldestMessage", 0, 0},
    [ATTRIBUTE_ARN] = {"QueueArn", 0, 0},
};

/* ATTRIBUTE_COUNT where there is none of that name. */
static enum queue_attribute attribute_of(const char *name)
{
    size_t i = 0;
    while (i < ATTRIBUTE_COUNT && strcmp(attributes[i].name, name) != 0)
        i++;
    return (enum queue_attribute)i;
}

static bool bad_value(struct exchange *exchange, enum queue_attribute attribute, const char *why)
{
    sqs_fail(exchange, SQS_INVALID_ATTRIBUTE_VALUE, "%s: %s", attributes[attribute].name, why);
    return false;
}

static bool whole_number(const char *text, int64_t min, int64_t max, int64_t *out)
{
    size_t len = strlen(text);
    if (len == 0 || len > 10 || strspn(text, "0123456789") != len)
        return false;
    *out = strtoll(text, NULL, 10);
    return *out >= min && *out <= max;
}

static int64_t *setting_of(struct queue_row *queue, enum queue_attribute attribute)
{
    return attribute == ATTRIBUTE_VISIBILITY ? &queue->visibility_s
           : attribute == ATTRIBUTE_DELAY    ? &queue->delay_s
           : attribute == ATTRIBUTE_WAIT     ? &queue->wait_s
           : attribute == ATTRIBUTE_SIZE     ? &queue->message_max
                                             : &queue->retention_s;
}

/* An attribute that cannot be set. Some of those that SQS has are asked for by name in wide use, so
 * their refusal says why. */
static bool refuse_name(struct exchange *exchange, const char *name, const char *value)
{
    if (strcmp(name, "FifoQueue") == 0 && value != NULL && strcmp(value, "true") == 0)
        sqs_fail(exchange, SQS_UNSUPPORTED_OPERATION,
                 "FIFO queues are not supported here, standard queues are");
    else
        sqs_fail(exchange, SQS_INVALID_ATTRIBUTE_NAME, "the attribute \"%s\" cannot be set", name);
    return false;
}

static bool read_attributes(struct exchange *exchange, const struct json_value *object,
                            struct queue_call *call)
{
    for (size_t i = 0; i < json_count(object); i++) {
        enum queue_attribute attribute = attribute_of(json_key_at(object, i));
        const struct json_value *value = json_at(object, i);
        const char *text = json_text(value, NULL);
        if (attribute >= SETTABLE_COUNT) {
            return refuse_name(exchange, json_key_at(object, i), text);
        }
        if (text == NULL || json_type(value) != JSON_STRING)
            return bad_value(exchange, attribute, "the value must be a text");
        call->attributes |= 1U << attribute;
        if (attribute == ATTRIBUTE_REDRIVE) {
            if (!redrive_policy_read(exchange, text, call))
                return false;
        } else if (attribute == ATTRIBUTE_ALLOW) {
            if (!redrive_allow_read(exchange, text, call))
                return false;
        } else if (!whole_number(text, attributes[attribute].min, attributes[attribute].max,
                                 setting_of(&call->settings, attribute))) {
            char why[96];
            snprintf(why, sizeof why, "must be from %" PRId64 " to %" PRId64,
                     attributes[attribute].min, attributes[attribute].max);
            return bad_value(exchange, attribute, why);
        }
    }
    return true;
}

static bool may_attributes(struct exchange *exchange, const struct json_value *root,
                           struct queue_call *call)
{
    struct error err = ERROR_INIT;
    const struct json_value *object = json_get(root, "Attributes");
    if (object == NULL || json_type(object) == JSON_NULL)
        return true;
    if (!json_want_object(root, "", "Attributes", &object, &err))
        return queue_refuse(exchange, &err);
    return read_attributes(exchange, object, call);
}

bool parse_get_url(struct exchange *exchange, const struct json_value *root,
                   struct queue_call *call)
{
    (void)exchange;
    (void)root;
    (void)call; /* the queue's name is all there is */
    return true;
}

bool parse_create(struct exchange *exchange, const struct json_value *root, struct queue_call *call)
{
    stored_queue_defaults(&call->settings, call->queue);
    return may_attributes(exchange, root, call);
}

bool parse_set_attributes(struct exchange *exchange, const struct json_value *root,
                          struct queue_call *call)
{
    return may_attributes(exchange, root, call);
}

bool parse_get_attributes(struct exchange *exchange, const struct json_value *root,
                          struct queue_call *call)
{
    const struct json_value *names = json_get(root, "AttributeNames");
    if (names != NULL && json_type(names) != JSON_ARRAY && json_type(names) != JSON_NULL) {
        sqs_fail(exchange, SQS_INVALID_PARAMETER_VALUE, "AttributeNames must be an array");
        return false;
    }
    for (size_t i = 0; i < json_count(names); i++) {
        const char *name = json_text(json_at(names, i), NULL);
        enum queue_attribute attribute = attribute_of(name != NULL ? name : "");
        if (name != NULL && strcmp(name, "All") == 0) {
            call->attributes = ALL_ATTRIBUTES;
        } else if (attribute == ATTRIBUTE_COUNT) {
            sqs_fail(exchange, SQS_INVALID_ATTRIBUTE_NAME, "there is no attribute \"%.64s\"",
                     name != NULL ? name : "");
            return false;
        } else {
            call->attributes |= 1U << attribute;
        }
    }
    return true;
}

static enum job_verdict answer_url(struct exchange *exchange, struct error *err)
{
    const struct queue_call *call = exchange->work;
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return JOB_FAILED;
    json_object(json, NULL);
    queue_put_url(exchange, json, "QueueUrl", call->queue);
    json_object_end(json);
    return queue_answer(exchange, &json, err);
}

enum job_verdict run_get_url(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    if (queue_of_call(exchange, database) == NULL)
        return JOB_DONE;
    return answer_url(exchange, err);
}

/* Puts the attributes that the call gives over `queue`. Where they may not be, *applied is false
 * and the exchange is answered. */
static enum job_verdict apply_attributes(struct exchange *exchange, struct database *database,
                                         struct queue_row *queue, bool *applied, struct error *err)
{
    struct queue_call *call = exchange->work;
    *applied = true;
    for (int i = 0; i < ATTRIBUTE_REDRIVE; i++) {
        enum queue_attribute attribute = (enum queue_attribute)i;
        if (call->attributes & 1U << attribute)
            *setting_of(queue, attribute) = *setting_of(&call->settings, attribute);
    }
    if ((call->attributes & 1U << ATTRIBUTE_REDRIVE) == 0)
        return JOB_DONE;
    return redrive_policy_apply(exchange, database, queue, applied, err);
}

static bool same_settings(const struct queue_row *a, const struct queue_row *b)
{
    return a->visibility_s == b->visibility_s && a->delay_s == b->delay_s &&
           a->wait_s == b->wait_s && a->retention_s == b->retention_s &&
           a->dead_letter == b->dead_letter && a->max_receives == b->max_receives &&
           a->message_max == b->message_max;
}

/* Whether a RedriveAllowPolicy that the call gives is the one that the queue has. */
static bool same_allow(const struct queue_call *call, struct database *database, int64_t queue,
                       bool *same, struct error *err)
{
    char allow[REDRIVE_ALLOW_MAX];
    *same = true;
    if ((call->attributes & 1U << ATTRIBUTE_ALLOW) == 0)
        return true;
    if (!stored_queue_allow(database, queue, allow, err))
        return false;
    *same = strcmp(allow, call->redrive.allow) == 0;
    return true;
}

/* Writes the RedriveAllowPolicy of the call, where it gives one. */
static bool write_allow(const struct queue_call *call, struct database *database, struct error *err)
{
    const struct queue_row *queue = stored_queue_find(database, call->queue);
    return queue == NULL || (call->attributes & 1U << ATTRIBUTE_ALLOW) == 0 ||
           stored_queue_set_allow(database, queue->id, call->redrive.allow, err);
}

enum job_verdict run_create(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct queue_call *call = exchange->work;
    const struct queue_row *existing = stored_queue_find(database, call->queue);
    struct queue_row wanted;
    bool applied, same = true;
    stored_queue_defaults(&wanted, call->queue);
    if (existing != NULL) /* what is not given does not differ */
        wanted = *existing;
    if (apply_attributes(exchange, database, &wanted, &applied, err) == JOB_FAILED)
        return JOB_FAILED;
    if (!applied)
        return JOB_DONE;
    if (existing != NULL && !same_allow(call, database, existing->id, &same, err))
        return JOB_FAILED;
    if (existing != NULL && (!same || !same_settings(existing, &wanted))) {
        sqs_fail(exchange, SQS_QUEUE_NAME_EXISTS, "the queue \"%s\" exists with other attributes",
                 call->queue);
        return JOB_DONE;
    }
    if (existing == NULL && !stored_queue_create(database, &wanted, err)) {
        if (err->kind != FAIL_TOO_LARGE)
            return JOB_FAILED;
        sqs_fail(exchange, SQS_UNSUPPORTED_OPERATION, "%s", err->text);
        return JOB_DONE;
    }
    if (!write_allow(call, database, err))
        return JOB_FAILED;
    return answer_url(exchange, err);
}

enum job_verdict run_set_attributes(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    struct queue_row wanted = *queue;
    bool applied;
    if (apply_attributes(exchange, database, &wanted, &applied, err) == JOB_FAILED)
        return JOB_FAILED;
    if (!applied)
        return JOB_DONE;
    if (!stored_queue_update(database, &wanted, err) || !write_allow(exchange->work, database, err))
        return JOB_FAILED;
    return queue_answer_empty(exchange);
}

static bool put_attributes(struct json_writer *json, const struct queue_call *call,
                           struct database *database, const struct queue_row *queue,
                           const struct queue_counts *counts, int64_t oldest_s, struct error *err)
{
    const int64_t numbers[ATTRIBUTE_ARN] = {
        [ATTRIBUTE_VISIBILITY] = queue->visibility_s,
        [ATTRIBUTE_DELAY] = queue->delay_s,
        [ATTRIBUTE_WAIT] = queue->wait_s,
        [ATTRIBUTE_RETENTION] = queue->retention_s,
        [ATTRIBUTE_VISIBLE] = counts->visible,
        [ATTRIBUTE_IN_FLIGHT] = counts->in_flight,
        [ATTRIBUTE_DELAYED] = counts->delayed,
        [ATTRIBUTE_CREATED] = queue->created_ms / 1000,
        [ATTRIBUTE_MODIFIED] = queue->modified_ms / 1000,
        [ATTRIBUTE_SIZE] = queue->message_max,
        [ATTRIBUTE_OLDEST] = oldest_s,
    };
    char text[ARN_TEXT];
    for (int i = 0; i < ATTRIBUTE_COUNT; i++) {
        enum queue_attribute attribute = (enum queue_attribute)i;
        if ((call->attributes & 1U << attribute) == 0)
            continue;
        if (attribute == ATTRIBUTE_REDRIVE) {
            redrive_policy_put(json, call, database, queue);
            continue;
        }
        if (attribute == ATTRIBUTE_ALLOW) {
            if (!redrive_allow_put(json, call, database, queue, err))
                return false;
            continue;
        }
        if (attribute == ATTRIBUTE_ARN)
            queue_arn(call, queue->name, text);
        else
            snprintf(text, sizeof text, "%" PRId64, numbers[attribute]);
        json_put_text(json, attributes[attribute].name, text);
    }
    return true;
}

static bool age_of_oldest(struct database *database, int64_t queue, int64_t *seconds,
                          struct error *err)
{
    int64_t sent_ms;
    if (!stored_queue_oldest(database, queue, &sent_ms, err))
        return false;
    int64_t age_ms = sent_ms != 0 ? clock_real_ms() - sent_ms : 0;
    *seconds = age_ms > 0 ? age_ms / 1000 : 0;
    return true;
}

enum job_verdict run_get_attributes(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct queue_call *call = exchange->work;
    struct queue_counts counts = {0, 0, 0};
    struct json_writer *json = NULL;
    int64_t oldest_s = 0;
    const unsigned counted =
        1U << ATTRIBUTE_VISIBLE | 1U << ATTRIBUTE_IN_FLIGHT | 1U << ATTRIBUTE_DELAYED;
    const struct queue_row *queue = queue_of_call(exchange, database);
    if (queue == NULL)
        return JOB_DONE;
    if ((call->attributes & counted) != 0 && !stored_queue_count(database, queue->id, &counts, err))
        return JOB_FAILED;
    if ((call->attributes & 1U << ATTRIBUTE_OLDEST) != 0 &&
        !age_of_oldest(database, queue->id, &oldest_s, err))
        return JOB_FAILED;
    if (!json_writer_new(false, &json, err))
        return JOB_FAILED;
    json_object(json, NULL);
    json_object(json, "Attributes");
    if (!put_attributes(json, call, database, queue, &counts, oldest_s, err)) {
        json_writer_free(&json);
        return JOB_FAILED;
    }
    json_object_end(json);
    json_object_end(json);
    return queue_answer(exchange, &json, err);
}
