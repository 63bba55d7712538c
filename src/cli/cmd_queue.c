/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal queue`: what waits, and what a person does about it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "command.h"
#include "queue_look.h"
#include "queue_peek.h"
#include "queue_service.h"
#include "typed.h"

/* -- stat -- */

static bool print_looks(const struct queue_looks *looks, struct error *err)
{
    static const char *const headers[] = {"QUEUE",   "WAITING", "IN FLIGHT",
                                          "DELAYED", "OLDEST",  "DEAD LETTERS"};
    struct table *table = NULL;
    bool ok = table_new(headers, ARRAY_LEN(headers), &table, err);
    for (size_t i = 0; ok && i < looks->count; i++) {
        const struct queue_look *look = &looks->all[i];
        char numbers[3][COUNT_TEXT], age[AGE_TEXT], dead[COUNT_TEXT + QUEUE_NAME_MAX + 8];
        queue_count_text(look->visible, numbers[0]);
        queue_count_text(look->in_flight, numbers[1]);
        queue_count_text(look->delayed, numbers[2]);
        queue_age_text(look->oldest_age_s, age);
        queue_count_text(look->dead, dead);
        if (look->dead_letter[0] != '\0')
            snprintf(dead + strlen(dead), QUEUE_NAME_MAX + 5, " in %s", look->dead_letter);
        const char *cells[] = {look->name, numbers[0], numbers[1], numbers[2], age, dead};
        ok = table_row(table, cells, err);
    }
    if (ok)
        table_print(table, stdout);
    table_free(&table);
    return ok;
}

/* The queues that are named, otherwise those of the connector. */
static bool look_at_service(const struct invocation *invocation, const struct config *config,
                            struct queue_looks *out, struct error *err)
{
    struct queue_service *service = NULL;
    const char *name = invocation_argument(invocation, 0);
    out->count = 0;
    bool ok = queue_service_open(config, invocation_option(invocation, "profile"), &service, err);
    if (ok && name != NULL)
        ok = queue_look_service(service, name, out, err);
    else
        ok = ok &&
             queue_look_service(service, config_text(config, "queue", "requests"), out, err) &&
             queue_look_service(service, config_text(config, "queue", "results"), out, err);
    queue_service_close(&service);
    return ok;
}

static bool run_stat(const struct invocation *invocation, struct error *err)
{
    const char *name = invocation_argument(invocation, 0);
    struct json_writer *json = NULL;
    const struct config *config;
    struct queue_looks looks;
    if (!invocation_config(invocation, &config, err))
        return false;
    if (invocation_flag(invocation, "service") || !queue_look_at_hub(config)) {
        if (!look_at_service(invocation, config, &looks, err))
            return false;
    } else if (!queue_looks_hub(config, &looks, err) ||
               (name != NULL && !queue_looks_keep(&looks, name, err))) {
        return false;
    }
    if (!invocation_json(invocation))
        return print_looks(&looks, err);
    bool ok = json_writer_new(true, &json, err);
    if (ok) {
        json_object(json, NULL);
        queue_looks_write(&looks, json, "queues");
        json_object_end(json);
        ok = print_json(json, err);
    }
    json_writer_free(&json);
    return ok;
}

/* -- redrive -- */

static bool print_done(const struct invocation *invocation, const char *queue, const char *other,
                       const char *what, size_t count, struct error *err)
{
    struct json_writer *json = NULL;
    if (!invocation_json(invocation)) {
        printf("%zu\n", count);
        fprintf(stderr, "%zu %s %s%s%s\n", count, count == 1 ? "message" : "messages", what,
                other != NULL ? " from " : "", other != NULL ? other : "");
        return true;
    }
    bool ok = json_writer_new(true, &json, err);
    if (ok) {
        json_object(json, NULL);
        json_put_text(json, "queue", queue);
        if (other != NULL)
            json_put_text(json, "from", other);
        json_put_integer(json, what, (int64_t)count);
        json_object_end(json);
        ok = print_json(json, err);
    }
    json_writer_free(&json);
    return ok;
}

static bool most_messages(const struct invocation *invocation, int64_t there, size_t *out,
                          struct error *err)
{
    const char *text = invocation_option(invocation, "count");
    char *end = NULL;
    *out = (size_t)there;
    if (text == NULL)
        return true;
    errno = 0;
    long count = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || count < 1)
        return error_set(err, FAIL_USAGE, "--count must be a number from 1, not \"%s\"", text);
    if (count < there)
        *out = (size_t)count;
    return true;
}

static bool dead_letter_queue(const struct invocation *invocation, const char *queue,
                              const struct queue_facts *facts, const char **out, struct error *err)
{
    *out = invocation_option(invocation, "from");
    if (*out == NULL && facts->dead_letter[0] != '\0')
        *out = facts->dead_letter;
    if (*out == NULL) {
        error_set(err, FAIL_NOT_FOUND,
                  "the queue service does not say where dead letters of \"%s\" "
                  "go (RedrivePolicy)",
                  queue);
        return error_hint(err, "name that queue with --from QUEUE");
    }
    if (strcmp(*out, queue) == 0)
        return error_set(err, FAIL_USAGE, "\"%s\" would be moved to itself", queue);
    return true;
}

/* What is there at the beginning is moved, and no more: what comes back meanwhile would go round
 * for ever. */
static bool run_redrive(const struct invocation *invocation, struct error *err)
{
    const char *queue = invocation_argument(invocation, 0), *from;
    struct queue_facts facts = {0}, dead = {0};
    struct queue_service *service = NULL;
    const struct config *config;
    size_t most, moved = 0;
    bool ok = false;
    if (!invocation_config(invocation, &config, err) ||
        !queue_service_open(config, invocation_option(invocation, "profile"), &service, err))
        return false;
    if (queue == NULL)
        queue = config_text(config, "queue", "requests");
    if (!queue_service_facts(service, queue, &facts, err) ||
        !dead_letter_queue(invocation, queue, &facts, &from, err) ||
        !queue_service_facts(service, from, &dead, err) ||
        !most_messages(invocation, dead.visible, &most, err))
        goto done;
    if (!queue_service_move(service, from, queue, most, &moved, err)) {
        error_context(err, "after %zu of %zu messages were moved", moved, most);
        goto done;
    }
    ok = print_done(invocation, queue, from, "moved", moved, err);
done:
    if (!ok && err->kind == FAIL_AUTH)
        error_hint(err,
                   "it takes an access key that may receive from the dead-letter queue and send to "
                   "\"%s\": --profile names one; where this one may, check secret key, region and "
                   "clock",
                   queue);
    queue_service_close(&service);
    return ok;
}

/* -- purge -- */

static bool confirm(const char *queue, int64_t visible, struct error *err)
{
    char question[QUEUE_NAME_MAX + 128];
    snprintf(question, sizeof question,
             "Delete all messages in the queue \"%s\", %" PRId64 " now? Type its name to go on: ",
             queue, visible);
    if (typed_confirm("the purge", question, queue, err))
        return true;
    if (err->kind == FAIL_USAGE)
        error_hint(err, "run it on a terminal, or confirm it with --yes");
    return false;
}

/* The hub deletes what is in flight and delayed, too. */
static bool purge_hub(const struct invocation *invocation, const struct config *config,
                      const char *queue, struct error *err)
{
    struct queue_looks looks;
    int64_t deleted = 0;
    if (!queue_looks_hub(config, &looks, err) || !queue_looks_keep(&looks, queue, err))
        return false;
    const struct queue_look *look = &looks.all[0];
    int64_t there = look->visible + look->in_flight + look->delayed;
    if (!invocation_flag(invocation, "yes") && !confirm(queue, there, err))
        return false;
    return queue_purge_hub(config, queue, &deleted, err) &&
           print_done(invocation, queue, NULL, "deleted", (size_t)deleted, err);
}

static bool purge_service(const struct invocation *invocation, const struct config *config,
                          const char *queue, struct error *err)
{
    struct queue_service *service = NULL;
    struct queue_facts facts = {0};
    size_t deleted = 0;
    bool ok = false;
    if (!queue_service_open(config, invocation_option(invocation, "profile"), &service, err))
        return false;
    if (!queue_service_facts(service, queue, &facts, err))
        goto done;
    if (!invocation_flag(invocation, "yes") && !confirm(queue, facts.visible, err))
        goto done;
    if (!queue_service_purge(service, queue, &deleted, err)) {
        error_context(err, "after %zu messages were deleted", deleted);
        goto done;
    }
    ok = print_done(invocation, queue, NULL, "deleted", deleted, err);
    if (ok && queue_service_facts(service, queue, &facts, &(struct error)ERROR_INIT) &&
        facts.in_flight + facts.delayed > 0)
        print_warning("%" PRId64 " messages are still there, in flight or delayed: what somebody "
                      "works on cannot be taken from him",
                      facts.in_flight + facts.delayed);
done:
    queue_service_close(&service);
    return ok;
}

static bool run_purge(const struct invocation *invocation, struct error *err)
{
    const char *queue = invocation_argument(invocation, 0);
    const struct config *config;
    if (!invocation_config(invocation, &config, err))
        return false;
    bool hub = !invocation_flag(invocation, "service") && queue_look_at_hub(config);
    return hub ? purge_hub(invocation, config, queue, err)
               : purge_service(invocation, config, queue, err);
}

#define PROFILE_ROW                                                                                \
    {                                                                                              \
        "profile", "NAME", "another section of the credentials file of [queue]"                    \
    }
#define SERVICE_ROW                                                                                \
    {                                                                                              \
        "service", NULL, "ask the queue service of [queue], though [client] names a hub"           \
    }

static const struct command_option stat_options[] = {SERVICE_ROW, PROFILE_ROW, {NULL, NULL, NULL}};

static const struct command_option peek_options[] = {
    {"count", "N", "show up to N messages (default: 10)"},
    {"body", NULL, "show what is in them, too: sealed passwords, PFX files, results"},
    SERVICE_ROW,
    PROFILE_ROW,
    {NULL, NULL, NULL}};

static const struct command_option redrive_options[] = {
    {"from", "QUEUE", "the dead-letter queue, where the service does not tell it"},
    {"count", "N", "move up to N messages (default: all that are there now)"},
    PROFILE_ROW,
    {NULL, NULL, NULL}};

static const struct command_option purge_options[] = {
    {"yes", NULL, "do not ask"}, SERVICE_ROW, PROFILE_ROW, {NULL, NULL, NULL}};

const struct command queue_commands[] = {
    {"queue", "stat", "[QUEUE]", "how many messages wait, since when, and how many were given up",
     stat_options, 0, 1, run_stat},
    {"queue", "peek", "QUEUE", "look at messages without taking them away", peek_options, 1, 1,
     queue_peek_run},
    {"queue", "redrive", "[QUEUE]",
     "move the dead letters of a queue (requests of [queue]) back into it", redrive_options, 0, 1,
     run_redrive},
    {"queue", "purge", "QUEUE", "delete every message of a queue; who waits for one gets no answer",
     purge_options, 1, 1, run_purge},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
