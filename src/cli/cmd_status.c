/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal status`: what the running connector says of itself. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "command.h"
#include "queue_look.h"
#include "reseal/clock.h"
#include "status_client.h"

#define WAIT_MAX_SECONDS 3600
#define WAIT_STEP_MS     50
#define INDENT           "         " /* as wide as a mark */

/* A member as text for a person: strings and numbers as they are, the rest in words. */
static const char *shown(const struct json_value *value)
{
    if (value == NULL || json_type(value) == JSON_NULL)
        return "-";
    if (json_type(value) == JSON_BOOL)
        return json_true(value) ? "yes" : "no";
    const char *text = json_text(value, NULL);
    return text != NULL && text[0] != '\0' ? text : "-";
}

static const char *member(const struct json_value *object, const char *key)
{
    return shown(json_get(object, key));
}

/* The text of an object's "error": null, a text, or an object with one. NULL where there is none.
 */
static const char *trouble(const struct json_value *object)
{
    const struct json_value *error = json_get(object, "error");
    bool nested = error != NULL && json_type(error) == JSON_OBJECT;
    const char *text = nested ? member(error, "text") : shown(error);
    return strcmp(text, "-") != 0 ? text : NULL;
}

/* Marks have different lengths; what follows begins in one column. */
static void print_aligned(enum mark mark)
{
    static const int blanks[] = {[MARK_OK] = 7, [MARK_WARNING] = 2, [MARK_FAILURE] = 2};
    print_mark(stdout, mark);
    printf("%*s", blanks[mark], "");
}

static void print_queue(const struct json_value *root)
{
    const struct json_value *queue = json_get(root, "queue");
    const char *failing = trouble(queue);
    bool polled = strcmp(member(queue, "lastPollAt"), "-") != 0;
    print_aligned(failing != NULL ? MARK_FAILURE : MARK_OK);
    printf("queue: %s, takes from %s, sends to %s; ", member(queue, "endpoint"),
           member(queue, "requests"), member(queue, "results"));
    if (polled)
        printf("last poll %s%s%s\n", member(queue, "lastPollAt"), failing != NULL ? ": " : "",
               failing != NULL ? failing : "");
    else
        printf("the first poll is under way\n");
}

static void print_helper(const struct json_value *token)
{
    const struct json_value *helper = json_get(token, "helper");
    const struct json_value *recycling = json_get(token, "recycling");
    bool ready = json_true(json_get(helper, "ready"));
    print_aligned(ready && trouble(helper) == NULL ? MARK_OK : MARK_FAILURE);
    printf("token %s: %s; helper: %s, process %s, %s sessions, %s in hand, %s done, started again "
           "%s times, replaced by a fresh one %s times",
           member(token, "name"), member(token, "state"), ready ? "ready" : "not ready",
           member(helper, "pid"), member(token, "sessions"), member(token, "inHand"),
           member(token, "jobs"), member(helper, "restarts"), member(recycling, "done"));
    if (trouble(helper) != NULL)
        printf(": %s", trouble(helper));
    printf("\n");
    if (trouble(recycling) != NULL) {
        print_aligned(MARK_WARNING);
        printf("token %s: no fresh helper can take over: %s\n", member(token, "name"),
               trouble(recycling));
    }
}

static void print_keys(const struct json_value *token)
{
    const struct json_value *facts = json_get(token, "token");
    if (json_count(facts) > 0)
        printf(INDENT "token %s is %s, serial %s, %s %s, firmware %s\n", member(token, "name"),
               member(facts, "label"), member(facts, "serial"), member(facts, "manufacturer"),
               member(facts, "model"), member(facts, "firmware"));
    const struct json_value *keys = json_get(token, "keys");
    for (size_t i = 0; i < json_count(keys); i++) {
        const struct json_value *key = json_at(keys, i);
        const struct json_value *paddings = json_get(key, "paddings");
        printf(INDENT "key %s: RSA-%s", member(key, "name"), member(key, "bits"));
        for (size_t j = 0; j < json_count(paddings); j++)
            printf(", %s %s", member(json_at(paddings, j), "padding"),
                   member(json_at(paddings, j), "custody"));
        printf("\n");
    }
}

static void print_tokens(const struct json_value *root)
{
    const struct json_value *tokens = json_get(root, "tokens");
    const struct json_value *conflicts = json_get(root, "conflicts");
    for (size_t i = 0; i < json_count(tokens); i++) {
        print_helper(json_at(tokens, i));
        print_keys(json_at(tokens, i));
    }
    for (size_t i = 0; i < json_count(conflicts); i++) {
        print_aligned(MARK_FAILURE);
        printf("%s\n", shown(json_at(conflicts, i)));
    }
}

static void print_counts(const struct json_value *root)
{
    const struct json_value *counts = json_get(root, "counts");
    for (size_t i = 0; i < json_count(counts); i++)
        printf("%s%s %s", i == 0 ? INDENT "counts: " : ", ", json_key_at(counts, i),
               shown(json_at(counts, i)));
    printf("%sin hand %s\n", json_count(counts) > 0 ? "; " : INDENT, member(root, "inHand"));
}

static void print_status(const struct json_value *root)
{
    bool serving = strcmp(member(root, "state"), "serving") == 0;
    print_aligned(serving ? MARK_OK : MARK_WARNING);
    printf("connector %s: %s (%s %s, process %s, requires custody %s, %s sessions)\n",
           member(root, "connector"), member(root, "state"), member(root, "program"),
           member(root, "version"), member(root, "pid"), member(root, "require"),
           member(root, "sessions"));
    print_queue(root);
    print_tokens(root);
    print_counts(root);
}

/* The connector does not count what waits: the queues themselves are asked, now. */
static void print_queues(const struct queue_looks *looks)
{
    for (size_t i = 0; i < looks->count; i++) {
        const struct queue_look *look = &looks->all[i];
        char age[AGE_TEXT], visible[COUNT_TEXT], in_flight[COUNT_TEXT], delayed[COUNT_TEXT];
        queue_age_text(look->oldest_age_s, age);
        queue_count_text(look->visible, visible);
        queue_count_text(look->in_flight, in_flight);
        queue_count_text(look->delayed, delayed);
        printf(INDENT "queue %s: %s waiting, %s in flight, %s delayed, oldest %s", look->name,
               visible, in_flight, delayed, age);
        if (look->dead > 0) {
            printf("\n");
            print_aligned(MARK_WARNING);
            printf("queue %s: %" PRId64 " dead letters", look->dead_letter, look->dead);
        } else if (look->dead == 0) {
            printf(", no dead letters");
        }
        printf("\n");
    }
}

static void print_looks(bool known, const struct queue_looks *looks, const struct error *failure)
{
    if (known) {
        print_queues(looks);
        return;
    }
    print_aligned(MARK_WARNING);
    printf("what waits in the queues is not known: %s\n", failure->text);
}

/* What the connector says, and where the queues were asked "queues": null if they do not answer. */
static bool print_status_json(const struct json_value *root, bool asked,
                              const struct queue_looks *looks, const struct error *failure,
                              struct error *err)
{
    struct json_writer *writer = NULL;
    bool ok = json_writer_new(true, &writer, err);
    if (ok) {
        json_object(writer, NULL);
        for (size_t i = 0; i < json_count(root); i++) {
            if (strcmp(json_key_at(root, i), "queues") != 0)
                json_put_value(writer, json_key_at(root, i), json_at(root, i));
        }
        if (looks != NULL)
            queue_looks_write(looks, writer, "queues");
        else if (asked)
            json_put_null(writer, "queues");
        if (asked && looks == NULL)
            json_put_text(writer, "queuesError", failure->text);
        json_object_end(writer);
        ok = print_json(writer, err);
    }
    json_writer_free(&writer);
    return ok;
}

static bool socket_path(const struct invocation *invocation, const char **out, struct error *err)
{
    const struct config *config = NULL;
    *out = invocation_option(invocation, "socket");
    if (*out != NULL)
        return true;
    if (!invocation_config(invocation, &config, err))
        return false;
    if (!config_want(config, "connector", "status_socket", out, err))
        return error_hint(err, "set it, or name the socket with --socket PATH");
    return true;
}

static bool wait_seconds(const struct invocation *invocation, long *out, struct error *err)
{
    const char *text = invocation_option(invocation, "wait");
    char *end = NULL;
    *out = 0;
    if (text == NULL)
        return true;
    errno = 0;
    *out = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *out < 0 || *out > WAIT_MAX_SECONDS)
        return error_set(err, FAIL_USAGE, "--wait must be 0 to %d seconds, not \"%s\"",
                         WAIT_MAX_SECONDS, text);
    return true;
}

/* With some of its tokens, at least. */
static bool is_serving(const struct json *json)
{
    const char *state = member(json_root(json), "state");
    return strcmp(state, "serving") == 0 || strcmp(state, "degraded") == 0;
}

/* There is nothing to be told by while the connector starts, so it is asked again and again. */
static bool wait_until_serving(const char *path, long seconds, struct json **out, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + seconds * 1000;
    const struct timespec step = {.tv_nsec = WAIT_STEP_MS * 1000000L};
    for (;;) {
        bool answered = status_ask(path, out, err);
        if (answered && is_serving(*out))
            return true;
        if (!answered && err->kind != FAIL_REMOTE)
            return false;
        if (clock_monotonic_ms() >= deadline)
            break;
        json_free(out);
        (void)nanosleep(&step, NULL);
    }
    if (*out == NULL)
        return error_context(err, "after %ld seconds", seconds);
    const struct json_value *root = json_root(*out);
    const struct json_value *tokens = json_get(root, "tokens");
    const char *why = NULL;
    for (size_t i = 0; i < json_count(tokens) && why == NULL; i++)
        why = trouble(json_get(json_at(tokens, i), "helper"));
    error_set(err, FAIL_REMOTE, "after %ld seconds the connector is not serving but %s%s%s",
              seconds, member(root, "state"), why != NULL ? ": " : "", why != NULL ? why : "");
    json_free(out);
    return error_hint(err, "`reseal status` and `reseal doctor` say more");
}

static bool run_status(const struct invocation *invocation, struct error *err)
{
    const char *path = NULL;
    const struct config *config = NULL;
    struct json *json = NULL;
    struct queue_looks looks = {0};
    struct error failure = ERROR_INIT;
    long seconds = 0;
    bool ok = false;
    if (!socket_path(invocation, &path, err) || !wait_seconds(invocation, &seconds, err))
        return false;
    if (invocation_option(invocation, "wait") != NULL) {
        if (!wait_until_serving(path, seconds, &json, err))
            goto done;
    } else if (!status_ask(path, &json, err)) {
        goto done;
    }
    /* With --socket it is the connector alone that is asked: there may be no configuration here. */
    bool ask = invocation_option(invocation, "socket") == NULL;
    if (!invocation_json(invocation)) {
        print_status(json_root(json));
        fflush(stdout); /* queues that are away take their time */
    }
    bool known = ask && invocation_config(invocation, &config, &failure) &&
                 queue_looks_connector(config, &looks, &failure);
    if (invocation_json(invocation))
        ok = print_status_json(json_root(json), ask, known ? &looks : NULL, &failure, err);
    else
        ok = true;
    if (!invocation_json(invocation) && ask)
        print_looks(known, &looks, &failure);
done:
    json_free(&json);
    return ok;
}

static const struct command_option status_options[] = {
    {"socket", "PATH", "ask at this socket instead of the configuration's, and ask no queue"},
    {"wait", "SECONDS", "wait until the connector is serving"},
    {NULL, NULL, NULL}};

const struct command status_commands[] = {
    {"status", "", "", "ask the running connector how it is", status_options, 0, 0, run_status},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
