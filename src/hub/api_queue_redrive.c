/* SPDX-License-Identifier: Apache-2.0 */
/* RedrivePolicy and RedriveAllowPolicy: where dead letters go, and from where they may come. Both
 * are JSON in the text of a queue's attribute. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api_queue.h"

#define RECEIVES_MAX 1000

static bool bad(struct exchange *exchange, const char *attribute, const char *why)
{
    sqs_fail(exchange, SQS_INVALID_ATTRIBUTE_VALUE, "%s: %s", attribute, why);
    return false;
}

static bool parse(struct exchange *exchange, const char *attribute, const char *text,
                  struct json **out)
{
    static const struct json_limits limits = {.bytes = 4096, .string = 1024, .values = 32};
    struct error err = ERROR_INIT;
    if (!json_parse(text, strlen(text), &limits, attribute, out, &err))
        return bad(exchange, attribute, err.text);
    if (json_type(json_root(*out)) == JSON_OBJECT)
        return true;
    json_free(out);
    return bad(exchange, attribute, "must be a JSON object");
}

/* A number, which SDKs also write as a text. */
static bool read_receives(const struct json_value *value, int64_t *out)
{
    const char *text = json_text(value, NULL);
    size_t len = text != NULL ? strlen(text) : 0;
    if (len == 0 || len > 4 || strspn(text, "0123456789") != len)
        return false;
    *out = strtoll(text, NULL, 10);
    return *out >= 1 && *out <= RECEIVES_MAX;
}

/* {"deadLetterTargetArn":"arn:aws:sqs:REGION:ACCOUNT:NAME","maxReceiveCount":5} */
bool redrive_policy_read(struct exchange *exchange, const char *text, struct queue_call *call)
{
    static const char name[] = "RedrivePolicy";
    struct json *json = NULL;
    bool ok = false;
    call->settings.max_receives = 0;
    call->redrive.dead_letter[0] = '\0';
    if (text[0] == '\0') /* an empty text takes the policy away */
        return true;
    if (!parse(exchange, name, text, &json))
        return false;
    const struct json_value *root = json_root(json);
    const char *arn = json_text(json_get(root, "deadLetterTargetArn"), NULL);
    if (!read_receives(json_get(root, "maxReceiveCount"), &call->settings.max_receives))
        bad(exchange, name, "maxReceiveCount must be from 1 to 1000");
    else if (arn == NULL || !queue_of_arn(arn, call->redrive.dead_letter))
        bad(exchange, name, "deadLetterTargetArn is no ARN of a queue");
    else /* or messages would come by a detour to where their sender may not send */
        ok = queue_permit(exchange, RIGHT_MANAGE | RIGHT_SEND, call->redrive.dead_letter);
    json_free(&json);
    return ok;
}

/* Appends the names of the queues in the list of ARNs, with a blank behind each. */
static bool read_sources(const struct json_value *list, char out[static REDRIVE_ALLOW_MAX])
{
    char name[QUEUE_NAME_MAX + 1];
    size_t used = 0, count = json_count(list);
    if (count == 0 || count > REDRIVE_ALLOW_NAMES || json_type(list) != JSON_ARRAY)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *arn = json_text(json_at(list, i), NULL);
        if (arn == NULL || !queue_of_arn(arn, name))
            return false;
        used += (size_t)snprintf(out + used, REDRIVE_ALLOW_MAX - used, "%s ", name);
    }
    return true;
}

/* {"redrivePermission":"allowAll|denyAll|byQueue","sourceQueueArns":[...]} */
bool redrive_allow_read(struct exchange *exchange, const char *text, struct queue_call *call)
{
    static const char name[] = "RedriveAllowPolicy";
    struct json *json = NULL;
    bool ok = true;
    call->redrive.allow[0] = '\0';
    if (text[0] == '\0')
        return true;
    if (!parse(exchange, name, text, &json))
        return false;
    const struct json_value *root = json_root(json);
    const struct json_value *sources = json_get(root, "sourceQueueArns");
    const char *permission = json_text(json_get(root, "redrivePermission"), NULL);
    if (permission == NULL)
        permission = "";
    bool by_queue = strcmp(permission, "byQueue") == 0;
    if (strcmp(permission, "denyAll") == 0)
        snprintf(call->redrive.allow, sizeof call->redrive.allow, "%s", REDRIVE_DENY_ALL);
    else if (!by_queue && strcmp(permission, "allowAll") != 0)
        ok = bad(exchange, name, "redrivePermission must be allowAll, denyAll or byQueue");
    if (ok && !by_queue && json_count(sources) > 0)
        ok = bad(exchange, name, "sourceQueueArns belong to the permission byQueue");
    if (ok && by_queue && !read_sources(sources, call->redrive.allow))
        ok = bad(exchange, name, "byQueue needs sourceQueueArns, 1 to 10 ARNs of queues");
    json_free(&json);
    return ok;
}

/* Whether dead letters of `target` come to this queue in the end. */
static bool leads_to(const struct database *database, const struct queue_row *target, int64_t queue)
{
    size_t steps = 0; /* a circle that another version made must not be followed for ever */
    while (target != NULL && target->id != queue && steps++ < QUEUES_MAX)
        target = stored_queue_by_id(database, target->dead_letter);
    return target != NULL;
}

enum job_verdict redrive_policy_apply(struct exchange *exchange, struct database *database,
                                      struct queue_row *queue, bool *applied, struct error *err)
{
    static const char name[] = "RedrivePolicy";
    const struct queue_call *call = exchange->work;
    char allow[REDRIVE_ALLOW_MAX];
    *applied = true;
    queue->max_receives = call->settings.max_receives;
    queue->dead_letter = 0;
    if (call->redrive.dead_letter[0] == '\0')
        return JOB_DONE;
    const struct queue_row *target = stored_queue_find(database, call->redrive.dead_letter);
    if (target == NULL || strcmp(target->name, queue->name) == 0) {
        *applied = bad(exchange, name, "deadLetterTargetArn must name another queue that exists");
        return JOB_DONE;
    }
    if (target->id == database->results_queue) {
        *applied =
            bad(exchange, name, "no dead letters go to the queue whose messages are results");
        return JOB_DONE;
    }
    if (leads_to(database, target, queue->id)) {
        *applied = bad(exchange, name, "dead letters of that queue come back to this one");
        return JOB_DONE;
    }
    if (!stored_queue_allow(database, target->id, allow, err))
        return JOB_FAILED;
    if (!redrive_allowed(allow, queue->name)) {
        *applied = bad(exchange, name, "the RedriveAllowPolicy of that queue does not allow it");
        return JOB_DONE;
    }
    queue->dead_letter = target->id;
    return JOB_DONE;
}

void redrive_policy_put(struct json_writer *json, const struct queue_call *call,
                        const struct database *database, const struct queue_row *queue)
{
    char text[ARN_TEXT + 80], arn[ARN_TEXT];
    const struct queue_row *target = stored_queue_by_id(database, queue->dead_letter);
    if (target == NULL)
        return;
    queue_arn(call, target->name, arn);
    snprintf(text, sizeof text, "{\"deadLetterTargetArn\":\"%s\",\"maxReceiveCount\":%" PRId64 "}",
             arn, queue->max_receives);
    json_put_text(json, "RedrivePolicy", text);
}

/* The names of the packed form as ARNs; names have no character that JSON escapes. */
static void put_sources(struct buf *text, const struct queue_call *call, const char *allow)
{
    char name[QUEUE_NAME_MAX + 1], arn[ARN_TEXT];
    buf_put_text(text, ",\"sourceQueueArns\":[");
    for (const char *at = allow; *at != '\0';) {
        size_t len = strcspn(at, " ");
        snprintf(name, sizeof name, "%.*s", (int)len, at);
        queue_arn(call, name, arn);
        buf_printf(text, "%s\"%s\"", at == allow ? "" : ",", arn);
        at += len + (at[len] == ' ' ? 1 : 0);
    }
    buf_put_text(text, "]");
}

bool redrive_allow_put(struct json_writer *json, const struct queue_call *call,
                       struct database *database, const struct queue_row *queue, struct error *err)
{
    char allow[REDRIVE_ALLOW_MAX];
    struct buf text = BUF_INIT(REDRIVE_ALLOW_NAMES * ARN_TEXT + 256);
    if (!stored_queue_allow(database, queue->id, allow, err))
        return false;
    if (allow[0] == '\0') /* never set, or everybody may */
        return true;
    bool nobody = strcmp(allow, REDRIVE_DENY_ALL) == 0;
    buf_printf(&text, "{\"redrivePermission\":\"%s\"", nobody ? "denyAll" : "byQueue");
    if (!nobody)
        put_sources(&text, call, allow);
    buf_put_text(&text, "}");
    bool ok = buf_check(&text, "RedriveAllowPolicy", err);
    if (ok)
        json_put_text(json, "RedriveAllowPolicy", buf_text(&text));
    buf_free(&text);
    return ok;
}
