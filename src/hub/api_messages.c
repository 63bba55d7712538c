/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /v1/queues/NAME/messages, for people. GET: a look that changes nothing, and so does not count as
 * a receive; SQS has no such operation. What is in messages is only shown where body=1 asks for it;
 * where not all that were asked for fit into the answer, its "cut" is true.
 * DELETE: a purge, those that somebody works on included.
 */
#include <stdlib.h>
#include <string.h>
#include "api_graph.h"
#include "reseal/clock.h"
#include "reseal/log.h"
#include "reseal/message_facts.h"
#include "store_queue.h"
#include "store_queue_admin.h"
#include "uri.h"

#define PEEK_MAX        100
#define PEEK_BODIES_MAX 10
#define PEEK_BYTES      (3 * 1024 * 1024) /* of bodies in one answer, of which a client takes 4 MiB */

struct peeking {
    char queue[QUEUE_NAME_MAX + 1];
    int64_t count;
    bool body;
};

static void put_time(struct json_writer *json, const char *key, int64_t ms)
{
    char text[CLOCK_TEXT];
    clock_format(ms, text);
    json_put_text(json, key, text);
}

static void put_message(struct json_writer *json, const struct peeked *message, bool body)
{
    struct message_facts facts;
    message_facts_read(message->body, &facts);
    bool hidden = message->visible_ms > clock_real_ms();
    json_object(json, NULL);
    json_put_text(json, "messageId", message->message_id);
    put_time(json, "sentAt", message->sent_ms);
    put_time(json, "visibleAt", message->visible_ms);
    json_put_text(json, "state",
                  !hidden                      ? "visible"
                  : message->receive_count > 0 ? "inFlight"
                                               : "delayed");
    json_put_integer(json, "receiveCount", message->receive_count);
    json_put_integer(json, "size", (int64_t)message->body.len);
    message_facts_write(json, &facts);
    if (body)
        json_put_text_len(json, "body", (const char *)message->body.data, message->body.len);
    json_object_end(json);
}

struct page {
    struct json_writer *json;
    bool body;
    size_t bytes; /* of bodies, as they are written */
    bool cut;     /* the next one did not fit */
};

/* What a text takes in JSON, or more. */
static size_t written_size(struct bytes text)
{
    size_t size = text.len;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < 0x20)
            size += strlen("u0000");
        else if (text.data[i] == '"' || text.data[i] == '\\')
            size++;
    }
    return size;
}

static bool add_message(void *context, const struct peeked *message)
{
    struct page *page = context;
    size_t size = page->body ? written_size(message->body) : 0;
    page->cut = page->bytes > 0 && size > PEEK_BYTES - page->bytes;
    if (page->cut)
        return false;
    put_message(page->json, message, page->body);
    page->bytes = size < PEEK_BYTES - page->bytes ? page->bytes + size : PEEK_BYTES;
    return true;
}

static enum job_verdict run_peek(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct peeking *peeking = exchange->work;
    const struct queue_row *queue = stored_queue_find(database, peeking->queue);
    struct page page = {.body = peeking->body};
    if (queue == NULL) {
        error_set(err, FAIL_NOT_FOUND, "there is no queue \"%s\"", peeking->queue);
        return JOB_FAILED;
    }
    if (!json_writer_new(false, &page.json, err))
        return JOB_FAILED;
    json_object(page.json, NULL);
    json_put_text(page.json, "queue", queue->name);
    json_array(page.json, "messages");
    bool ok = stored_queue_peek(database, queue->id, peeking->count, add_message, &page, err);
    json_array_end(page.json);
    json_put_bool(page.json, "cut", page.cut);
    json_object_end(page.json);
    ok = ok && answer_json(&exchange->answer, MHD_HTTP_OK, JSON_TYPE, page.json, err);
    json_writer_free(&page.json);
    return ok ? JOB_DONE : JOB_FAILED;
}

static bool answer_purged(struct exchange *exchange, const char *queue, int64_t deleted,
                          struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "queue", queue);
    json_put_integer(json, "deleted", deleted);
    json_object_end(json);
    bool ok = answer_json(&exchange->answer, MHD_HTTP_OK, JSON_TYPE, json, err);
    json_writer_free(&json);
    return ok;
}

static enum job_verdict run_purge_all(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct peeking *peeking = exchange->work;
    const struct queue_row *queue = stored_queue_find(database, peeking->queue);
    struct queue_counts counts;
    if (queue == NULL) {
        error_set(err, FAIL_NOT_FOUND, "there is no queue \"%s\"", peeking->queue);
        return JOB_FAILED;
    }
    if (!stored_queue_count(database, queue->id, &counts, err) ||
        !stored_queue_purge(database, queue->id, err) ||
        !answer_purged(exchange, peeking->queue, counts.visible + counts.in_flight + counts.delayed,
                       err))
        return JOB_FAILED;
    log_event(LEVEL_WARNING, EVENT_NOTE, "queue purged", LOG_TEXT("queue", peeking->queue),
              LOG_TEXT("by", "API token"));
    return JOB_DONE;
}

/* count=N and body=1. */
static bool read_query(const char *query, struct peeking *peeking, struct error *err)
{
    struct uri_parameter parameter;
    while (uri_next_parameter(&query, &parameter)) {
        char name[8], value[8];
        if (!uri_decode(URI_QUERY, (const char *)parameter.name.data, parameter.name.len, name,
                        sizeof name) ||
            (strcmp(name, "count") != 0 && strcmp(name, "body") != 0))
            return error_set(err, FAIL_UNSUPPORTED, "the query options here are count and body");
        bool number = uri_decode(URI_QUERY, (const char *)parameter.value.data, parameter.value.len,
                                 value, sizeof value) &&
                      value[0] != '\0' && strspn(value, "0123456789") == strlen(value);
        if (!number)
            return error_set(err, FAIL_INPUT, "%s must be a whole number", name);
        if (name[0] == 'c')
            peeking->count = strtol(value, NULL, 10);
        else
            peeking->body = strtol(value, NULL, 10) != 0;
    }
    int most = peeking->body ? PEEK_BODIES_MAX : PEEK_MAX;
    if (peeking->count < 1 || peeking->count > most)
        return error_set(err, FAIL_INPUT, "count must be from 1 to %d%s", most,
                         peeking->body ? " where bodies are asked for" : "");
    return true;
}

/* The rest of the path: NAME/messages. */
static bool read_path(const char *suffix, struct peeking *peeking, struct error *err)
{
    const char *slash = strchr(suffix, '/');
    if (slash == NULL || strcmp(slash, "/messages") != 0 ||
        !uri_decode(URI_PATH, suffix, (size_t)(slash - suffix), peeking->queue,
                    sizeof peeking->queue) ||
        !stored_queue_name_valid(peeking->queue))
        return error_set(err, FAIL_NOT_FOUND, "there is nothing at /v1/queues/%.96s", suffix);
    return true;
}

static struct peeking *begin(struct exchange *exchange, struct error *err)
{
    struct peeking *peeking = calloc(1, sizeof *peeking);
    if (peeking == NULL) {
        error_memory(err);
        return NULL;
    }
    peeking->count = PEEK_BODIES_MAX;
    exchange->work = peeking;
    exchange->work_free = free;
    return read_path(exchange->suffix, peeking, err) ? peeking : NULL;
}

void queue_messages_fail(struct exchange *exchange, const struct error *err)
{
    if (err->kind == FAIL_NOT_FOUND)
        graph_fail_with(exchange, MHD_HTTP_NOT_FOUND, RESULT_QUEUE_NOT_FOUND, err);
    else
        graph_fail(exchange, err);
}

void queue_messages_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct peeking *peeking = begin(exchange, &err);
    if (peeking != NULL && read_query(exchange->query, peeking, &err))
        exchange->job.run = run_peek;
    else
        queue_messages_fail(exchange, &err);
}

void queue_purge_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    if (begin(exchange, &err) != NULL)
        exchange->job.run = run_purge_all;
    else
        queue_messages_fail(exchange, &err);
}
