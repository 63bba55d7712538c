/* SPDX-License-Identifier: Apache-2.0 */
#include "queue_peek.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "client.h"
#include "queue_look.h"
#include "queue_service.h"
#include "reseal/message_facts.h"

#define PEEK_MAX    100
#define BODIES_MAX  10 /* that the hub answers with at once; and one receive takes no more */
#define PEEK_USUAL  10
#define BODY_HEADER "-- "

/* Where messages go as they are seen. */
struct showing {
    bool body;
    struct table *table;      /* NULL with --json */
    struct json_writer *json; /* NULL without */
    struct buf bodies;        /* what is printed below the table */
    bool cut;                 /* the hub has more of them than one answer takes */
};

struct seen {
    const char *message_id, *state, *sent_at; /* state, sent_at: NULL where not told */
    int64_t receive_count, size;
    const char *body;
    size_t body_len;
};

static const char *or_dash(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static bool show_row(struct showing *showing, const struct seen *seen,
                     const struct message_facts *facts, struct error *err)
{
    char size[COUNT_TEXT], receives[COUNT_TEXT], contents[160];
    snprintf(size, sizeof size, "%" PRId64, seen->size);
    snprintf(receives, sizeof receives, "%" PRId64, seen->receive_count);
    message_facts_contents(facts, contents, sizeof contents);
    const char *cells[] = {or_dash(facts->id),
                           facts->readable ? facts->type : "unreadable",
                           or_dash(facts->time),
                           or_dash(facts->expires),
                           size,
                           receives,
                           seen->state};
    if (!table_row(showing->table, cells, err))
        return false;
    if (!showing->body)
        return true;
    buf_printf(&showing->bodies, BODY_HEADER "%s%s%s\n", seen->message_id,
               contents[0] != '\0' ? " holds " : "", contents);
    char *body = strndup(seen->body, seen->body_len);
    if (body == NULL)
        return error_memory(err);
    text_make_printable(body); /* --json gives it as it is */
    buf_printf(&showing->bodies, "%s\n", body);
    free(body);
    return buf_check(&showing->bodies, "the messages to show", err);
}

static void show_json(struct json_writer *json, const struct seen *seen,
                      const struct message_facts *facts, bool body)
{
    json_object(json, NULL);
    json_put_text(json, "messageId", seen->message_id);
    json_put_text(json, "state", seen->state);
    json_put_text(json, "sentAt", seen->sent_at);
    json_put_integer(json, "receiveCount", seen->receive_count);
    json_put_integer(json, "size", seen->size);
    message_facts_write(json, facts);
    if (body)
        json_put_text_len(json, "body", seen->body, seen->body_len);
    json_object_end(json);
}

static bool show(struct showing *showing, const struct seen *seen,
                 const struct message_facts *facts, struct error *err)
{
    if (showing->json == NULL)
        return show_row(showing, seen, facts, err);
    show_json(showing->json, seen, facts, showing->body);
    return true;
}

/* -- the hub -- */

static bool show_told(struct showing *showing, const struct json_value *message, struct error *err)
{
    struct message_facts facts;
    struct seen seen = {.body = ""};
    if (!json_want_text(message, "messages[]", "messageId", 128, &seen.message_id, err) ||
        !json_want_text(message, "messages[]", "state", 16, &seen.state, err) ||
        !json_want_text(message, "messages[]", "sentAt", 32, &seen.sent_at, err) ||
        !json_want_integer(message, "messages[]", "receiveCount", 0, INT64_MAX, &seen.receive_count,
                           err) ||
        !json_want_integer(message, "messages[]", "size", 0, INT64_MAX, &seen.size, err))
        return false;
    const char *body = json_text(json_get(message, "body"), &seen.body_len);
    if (body != NULL)
        seen.body = body;
    message_facts_take(message, &facts);
    return show(showing, &seen, &facts, err);
}

static bool peek_hub(const struct config *config, const char *name, long count,
                     struct showing *showing, struct error *err)
{
    const struct json_value *messages;
    struct web_answer answer = {0};
    struct web *web = NULL;
    struct buf url = BUF_INIT(2048);
    bool ok = false;
    if (!client_web(config, &web, err) || !queue_messages_url(config, web, name, &url, err))
        goto done;
    buf_printf(&url, "?count=%ld&body=%d", count, showing->body);
    if (!buf_check(&url, "the URL of a queue", err))
        goto done;
    if (!web_call(web, "GET", buf_text(&url), NULL, &answer, err)) {
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "`reseal queue stat` names those that are there");
        goto done;
    }
    if (answer.json == NULL ||
        !json_want_array(json_root(answer.json), "", "messages", &messages, err)) {
        error_set(err, FAIL_REMOTE, "%s does not answer like a hub", buf_text(&url));
        goto done;
    }
    ok = true;
    showing->cut = json_true(json_get(json_root(answer.json), "cut"));
    for (size_t i = 0; ok && i < json_count(messages); i++)
        ok = show_told(showing, json_at(messages, i), err);
done:
    web_answer_free(&answer);
    web_close(&web);
    buf_free(&url);
    return ok;
}

/* -- the queue service -- */

static bool show_taken(void *context, const struct queue_message *message, struct error *err)
{
    struct message_facts facts;
    struct seen seen = {.message_id = message->message_id,
                        .receive_count = message->receive_count,
                        .size = (int64_t)message->body.len,
                        .body = (const char *)message->body.data,
                        .body_len = message->body.len};
    message_facts_read(message->body, &facts);
    return show(context, &seen, &facts, err);
}

static bool peek_service(const struct invocation *invocation, const struct config *config,
                         const char *name, long count, struct showing *showing, struct error *err)
{
    struct queue_service *service = NULL;
    struct queue_facts facts = {0};
    size_t shown = 0;
    bool ok = false;
    if (!queue_service_open(config, invocation_option(invocation, "profile"), &service, err) ||
        !queue_service_facts(service, name, &facts, err))
        goto done;
    if (facts.max_receives > 0)
        print_warning("to this service a look is a receive: a message that was received %u times "
                      "goes to queue %s",
                      facts.max_receives, facts.dead_letter);
    else
        print_warning("to this service a look is a receive, and is counted");
    ok = queue_service_peek(service, name, (size_t)(count > BODIES_MAX ? BODIES_MAX : count),
                            show_taken, showing, &shown, err);
done:
    queue_service_close(&service);
    return ok;
}

/* -- the command -- */

static bool read_count(const struct invocation *invocation, long *out, struct error *err)
{
    const char *text = invocation_option(invocation, "count");
    bool body = invocation_flag(invocation, "body");
    char *end = NULL;
    *out = PEEK_USUAL;
    if (text == NULL)
        return true;
    errno = 0;
    *out = strtol(text, &end, 10);
    long most = body ? BODIES_MAX : PEEK_MAX;
    if (errno != 0 || end == text || *end != '\0' || *out < 1 || *out > most)
        return error_set(err, FAIL_USAGE, "--count must be 1 to %ld%s, not \"%s\"", most,
                         body ? " with --body" : "", text);
    return true;
}

static bool begin(struct showing *showing, bool json, struct error *err)
{
    static const char *const headers[] = {"ID",   "TYPE",     "TIME", "EXPIRES",
                                          "SIZE", "RECEIVED", "STATE"};
    if (!json)
        return table_new(headers, ARRAY_LEN(headers), &showing->table, err);
    if (!json_writer_new(true, &showing->json, err))
        return false;
    json_object(showing->json, NULL);
    return true;
}

static bool end(struct showing *showing, struct error *err)
{
    if (showing->json != NULL) {
        json_array_end(showing->json);
        json_put_bool(showing->json, "cut", showing->cut);
        json_object_end(showing->json);
        return print_json(showing->json, err);
    }
    table_print(showing->table, stdout);
    if (showing->bodies.len > 0 &&
        fwrite(showing->bodies.data, 1, showing->bodies.len, stdout) != showing->bodies.len)
        return error_errno(err, FAIL_IO, "cannot write standard output");
    return true;
}

bool queue_peek_run(const struct invocation *invocation, struct error *err)
{
    const char *name = invocation_argument(invocation, 0);
    struct showing showing = {.body = invocation_flag(invocation, "body"),
                              .bodies = BUF_INIT(16 * 1024 * 1024)};
    const struct config *config;
    bool ok = false;
    long count;
    if (!read_count(invocation, &count, err) || !invocation_config(invocation, &config, err) ||
        !begin(&showing, invocation_json(invocation), err))
        goto done;
    bool hub = !invocation_flag(invocation, "service") && queue_look_at_hub(config);
    if (showing.json != NULL) {
        json_put_text(showing.json, "queue", name);
        json_put_bool(showing.json, "counted", !hub);
        json_array(showing.json, "messages");
    }
    ok = hub ? peek_hub(config, name, count, &showing, err)
             : peek_service(invocation, config, name, count, &showing, err);
    if (ok && showing.cut)
        print_warning("the bodies are large, and the hub shows as many as one answer takes; "
                      "without --body it shows all");
    ok = ok && end(&showing, err);
done:
    table_free(&showing.table);
    json_writer_free(&showing.json);
    buf_free(&showing.bodies);
    return ok;
}
