/* SPDX-License-Identifier: Apache-2.0 */
#include "queue_look.h"

#include <inttypes.h>
#include <string.h>
#include "client.h"
#include "queue_service.h"

/* Whether the queues that [queue] leads to are the hub's own: it may work by another engine. */
static bool hub_has_queues(const struct config *config)
{
    if (strcmp(config_text(config, "queue", "engine"), "azure") == 0)
        return false;
    return !config_given(config, "queue", "endpoint") ||
           web_same_origin(config_text(config, "queue", "endpoint"),
                           config_text(config, "client", "hub"));
}

bool queue_look_at_hub(const struct config *config)
{
    return config_text(config, "client", "api_token") != NULL && hub_has_queues(config);
}

static bool take_look(const struct json_value *queue, struct queue_look *out, struct error *err)
{
    const char *name, *dead_letter;
    if (!json_want_text(queue, "queues[]", "name", QUEUE_NAME_MAX, &name, err) ||
        !json_may_text(queue, "queues[]", "deadLetterQueue", QUEUE_NAME_MAX, &dead_letter, err) ||
        !json_want_integer(queue, "queues[]", "visible", 0, INT64_MAX, &out->visible, err) ||
        !json_want_integer(queue, "queues[]", "inFlight", 0, INT64_MAX, &out->in_flight, err) ||
        !json_want_integer(queue, "queues[]", "delayed", 0, INT64_MAX, &out->delayed, err) ||
        !json_want_integer(queue, "queues[]", "oldestAgeSeconds", 0, INT64_MAX, &out->oldest_age_s,
                           err) ||
        !json_want_integer(queue, "queues[]", "dead", 0, INT64_MAX, &out->dead, err))
        return false;
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->dead_letter, sizeof out->dead_letter, "%s",
             dead_letter != NULL ? dead_letter : "");
    if (dead_letter == NULL)
        out->dead = -1;
    return true;
}

bool queue_looks_hub(const struct config *config, struct queue_looks *out, struct error *err)
{
    const struct json_value *queues;
    struct web_answer answer = {0};
    struct web *web = NULL;
    char url[640];
    bool ok = false;
    out->count = 0;
    snprintf(url, sizeof url, "%s/v1/status", config_text(config, "client", "hub"));
    if (!client_web(config, &web, err) || !web_call(web, "GET", url, NULL, &answer, err))
        goto done;
    if (answer.json == NULL ||
        !json_want_array(json_root(answer.json), "", "queues", &queues, err)) {
        error_set(err, FAIL_REMOTE, "%s does not answer like a hub", url);
        goto done;
    }
    ok = true;
    for (size_t i = 0; ok && i < json_count(queues) && i < QUEUE_LOOKS_MAX; i++) {
        ok = take_look(json_at(queues, i), &out->all[out->count], err);
        out->count += ok;
    }
done:
    web_answer_free(&answer);
    web_close(&web);
    return ok;
}

bool queue_messages_url(const struct config *config, struct web *web, const char *name,
                        struct buf *out, struct error *err)
{
    buf_printf(out, "%s/v1/queues/", config_text(config, "client", "hub"));
    if (!web_encode(web, name, out, err))
        return false;
    buf_put_text(out, "/messages");
    return buf_check(out, "the URL of a queue", err);
}

bool queue_purge_hub(const struct config *config, const char *name, int64_t *deleted,
                     struct error *err)
{
    struct web_answer answer = {0};
    struct web *web = NULL;
    struct buf url = BUF_INIT(2048);
    bool ok = client_web(config, &web, err) && queue_messages_url(config, web, name, &url, err) &&
              web_call(web, "DELETE", buf_text(&url), NULL, &answer, err);
    const struct json_value *root = ok && answer.json != NULL ? json_root(answer.json) : NULL;
    if (ok && !json_want_integer(root, "", "deleted", 0, INT64_MAX, deleted, err)) {
        err->kind = FAIL_REMOTE;
        ok = false;
    }
    web_answer_free(&answer);
    web_close(&web);
    buf_free(&url);
    return ok;
}

/* Not every engine counts all three. */
static int64_t total(const struct queue_facts *facts)
{
    return (facts->visible > 0 ? facts->visible : 0) +
           (facts->in_flight > 0 ? facts->in_flight : 0) +
           (facts->delayed > 0 ? facts->delayed : 0);
}

bool queue_look_service(struct queue_service *service, const char *name, struct queue_looks *out,
                        struct error *err)
{
    struct queue_facts facts = {0}, dead = {0};
    struct error unknown = ERROR_INIT;
    if (out->count == QUEUE_LOOKS_MAX)
        return error_set(err, FAIL_TOO_LARGE, "more than %d queues", QUEUE_LOOKS_MAX);
    if (!queue_service_facts(service, name, &facts, err))
        return false;
    struct queue_look *look = &out->all[out->count++];
    *look = (struct queue_look){.visible = facts.visible,
                                .in_flight = facts.in_flight,
                                .delayed = facts.delayed,
                                .oldest_age_s = facts.oldest_age_s,
                                .dead = -1};
    snprintf(look->name, sizeof look->name, "%s", name);
    snprintf(look->dead_letter, sizeof look->dead_letter, "%s", facts.dead_letter);
    /* The access key may not be allowed to see that queue; then its count is not told. */
    if (facts.dead_letter[0] != '\0' &&
        queue_service_facts(service, facts.dead_letter, &dead, &unknown))
        look->dead = total(&dead);
    return true;
}

static const struct queue_look *find(const struct queue_looks *looks, const char *name)
{
    for (size_t i = 0; i < looks->count; i++) {
        if (strcmp(looks->all[i].name, name) == 0)
            return &looks->all[i];
    }
    return NULL;
}

/* A person who asks for the status is not asked for a token. */
static bool token_at_hand(const struct config *config)
{
    const char *source = config_text(config, "client", "api_token");
    return source != NULL && hub_has_queues(config) &&
           (strncmp(source, "file:", 5) == 0 || strncmp(source, "credential:", 11) == 0);
}

bool queue_looks_connector(const struct config *config, struct queue_looks *out, struct error *err)
{
    static const char *const keys[] = {"requests", "results"};
    struct queue_service *service = NULL;
    if (token_at_hand(config)) {
        struct queue_looks all;
        if (!queue_looks_hub(config, &all, err))
            return false;
        out->count = 0;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            const struct queue_look *look = find(&all, config_text(config, "queue", keys[i]));
            if (look != NULL)
                out->all[out->count++] = *look;
        }
        if (out->count > 0)
            return true; /* otherwise that hub is not the one whose queues the connector uses */
    }
    out->count = 0;
    bool ok = queue_service_open(config, NULL, &service, err);
    for (size_t i = 0; ok && i < ARRAY_LEN(keys); i++)
        ok = queue_look_service(service, config_text(config, "queue", keys[i]), out, err);
    queue_service_close(&service);
    return ok;
}

bool queue_looks_keep(struct queue_looks *looks, const char *name, struct error *err)
{
    const struct queue_look *look = find(looks, name);
    if (look == NULL) {
        error_set(err, FAIL_NOT_FOUND, "there is no queue \"%.80s\"", name);
        return error_hint(err, "`reseal queue stat` names those that are there");
    }
    looks->all[0] = *look;
    looks->count = 1;
    return true;
}

static void put_told(struct json_writer *json, const char *key, int64_t number)
{
    if (number < 0)
        json_put_null(json, key);
    else
        json_put_integer(json, key, number);
}

void queue_looks_write(const struct queue_looks *looks, struct json_writer *json, const char *key)
{
    json_array(json, key);
    for (size_t i = 0; i < looks->count; i++) {
        const struct queue_look *look = &looks->all[i];
        json_object(json, NULL);
        json_put_text(json, "name", look->name);
        put_told(json, "visible", look->visible);
        put_told(json, "inFlight", look->in_flight);
        put_told(json, "delayed", look->delayed);
        put_told(json, "oldestAgeSeconds", look->oldest_age_s);
        json_put_text(json, "deadLetterQueue",
                      look->dead_letter[0] != '\0' ? look->dead_letter : NULL);
        put_told(json, "dead", look->dead);
        json_object_end(json);
    }
    json_array_end(json);
}

void queue_count_text(int64_t number, char out[static COUNT_TEXT])
{
    if (number < 0)
        snprintf(out, COUNT_TEXT, "-");
    else
        snprintf(out, COUNT_TEXT, "%" PRId64, number);
}

void queue_age_text(int64_t seconds, char out[static AGE_TEXT])
{
    if (seconds < 0)
        snprintf(out, AGE_TEXT, "-");
    else if (seconds < 120)
        snprintf(out, AGE_TEXT, "%" PRId64 " s", seconds);
    else if (seconds < 7200)
        snprintf(out, AGE_TEXT, "%" PRId64 " minutes", seconds / 60);
    else if (seconds < 172800)
        snprintf(out, AGE_TEXT, "%" PRId64 " hours", seconds / 3600);
    else
        snprintf(out, AGE_TEXT, "%" PRId64 " days", seconds / 86400);
}
