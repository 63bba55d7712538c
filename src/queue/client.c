/* SPDX-License-Identifier: Apache-2.0 */
/* The client: its life, and the turn that moves everything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dialect.h"
#include "reseal/backoff.h"
#include "reseal/clock.h"

#define DESCRIPTORS_MAX 32 /* of the caller, in one turn */

static const struct backoff url_retry = {.first_ms = 200, .most_ms = 20000};

static bool libcurl_ready(struct error *err)
{
    static bool ready; /* one client serves one thread, and programs have one client */
    if (ready)
        return true;
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl cannot start: %s", curl_easy_strerror(code));
    ready = true;
    return true;
}

static bool has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool found = curl_url_get(url, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return found;
}

/* libcurl's signature is wrong where the URL has a query or a path that needs escaping; and a
 * password does not belong into a configuration. */
static bool check_endpoint(const char *endpoint, struct error *err)
{
    CURLU *url = curl_url();
    char *scheme = NULL, *path = NULL;
    bool ok = false;
    if (url == NULL)
        return error_memory(err);
    if (curl_url_set(url, CURLUPART_URL, endpoint, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PATH, &path, 0) != CURLUE_OK) {
        error_set(err, FAIL_USAGE, "the queue endpoint \"%.200s\" is no URL", endpoint);
    } else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        error_set(err, FAIL_USAGE, "the queue endpoint \"%.200s\" is neither http nor https",
                  endpoint);
    } else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD)) {
        error_set(err, FAIL_USAGE, "the queue endpoint must not carry a user or password");
        error_hint(err, "put the access key into the credentials file of [queue]");
    } else if (has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT) ||
               strpbrk(path, "%@ ") != NULL) {
        error_set(err, FAIL_USAGE,
                  "the queue endpoint \"%.200s\" must have a plain path and no query", endpoint);
    } else {
        ok = true;
    }
    curl_free(scheme);
    curl_free(path);
    curl_url_cleanup(url);
    return ok;
}

/* The endpoint is the caller's, or what the credentials name. */
static bool take_endpoint(struct queue_client *client, const char *endpoint, struct error *err)
{
    if (endpoint == NULL)
        endpoint = client->keys.key.endpoint;
    size_t len = strlen(endpoint);
    if (len == 0) {
        error_set(err, FAIL_USAGE, "there is no endpoint of the queue");
        return error_hint(err, "set endpoint of [queue]");
    }
    if (!check_endpoint(endpoint, err))
        return false;
    if (len >= sizeof client->endpoint)
        return error_set(err, FAIL_USAGE, "the queue endpoint is longer than %zu bytes",
                         sizeof client->endpoint - 1);
    while (client->dialect == &dialect_azure && endpoint[len - 1] == '/')
        len--; /* paths are put after it */
    memcpy(client->endpoint, endpoint, len);
    return true;
}

static bool take_options(struct queue_client *client, const struct queue_options *options,
                         struct error *err)
{
    unsigned connections = options->connections != 0 ? options->connections : QUEUE_CONNECTIONS;
    client->dialect = options->engine == QUEUE_AZURE ? &dialect_azure : &dialect_sqs;
    client->idle_poll_s = options->idle_poll_s != 0 ? options->idle_poll_s : 5;
    client->max_receives = client->dialect->redrives ? 0 : options->max_receives;
    client->exchanges_max = connections > 2 ? connections - 1 : 1; /* one is for a receive */
    snprintf(client->region, sizeof client->region, "%s",
             options->region != NULL ? options->region : "");
    if (options->ca_file != NULL && (client->ca_file = strdup(options->ca_file)) == NULL)
        return error_memory(err);
    if (options->client_certificate != NULL &&
        ((client->client_certificate = strdup(options->client_certificate)) == NULL ||
         (client->client_key = strdup(options->client_key)) == NULL))
        return error_memory(err);
    client->multi = curl_multi_init();
    if (client->multi == NULL)
        return error_memory(err);
    if (curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)connections) !=
            CURLM_OK ||
        curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)connections) != CURLM_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl takes no limit of connections");
    return true;
}

bool queue_client_new(const struct queue_options *options, struct queue_client **out,
                      struct error *err)
{
    *out = NULL;
    if (!libcurl_ready(err))
        return false;
    struct queue_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return error_memory(err);
    bool ok = take_options(client, options, err) && client_keys_open(client, options, err) &&
              take_endpoint(client, options->endpoint, err) && proxy_open(client, options, err) &&
              client->dialect->open(client, err);
    if (!ok)
        queue_client_free(&client);
    *out = client;
    return ok;
}

static void abandon_all(struct queue_client *client)
{
    struct error err = ERROR_INIT;
    error_set(&err, FAIL_REMOTE, "the queue client is closing");
    client->closing = true;
    for (struct exchange *exchange = client->exchanges; exchange != NULL;
         exchange = exchange->next) {
        if (exchange->state != EXCHANGE_IDLE && exchange->call != CALL_RECEIVE)
            batch_abandon(exchange, &err);
    }
    for (struct queue *queue = client->queues; queue != NULL; queue = queue->next) {
        if (queue->receive.open)
            receive_settle(queue, queue->receive.exchange, &err);
        for (size_t i = 0; i < LANE_COUNT; i++)
            lane_abandon(&queue->lanes[i], queue, &err);
    }
}

void queue_client_free(struct queue_client **client_pointer)
{
    if (client_pointer == NULL || *client_pointer == NULL)
        return;
    struct queue_client *client = *client_pointer;
    abandon_all(client);
    for (struct exchange *exchange = client->exchanges, *next; exchange != NULL; exchange = next) {
        next = exchange->next;
        exchange_drop(exchange);
        exchange_free(exchange);
    }
    for (struct queue *queue = client->queues, *next; queue != NULL; queue = next) {
        next = queue->next;
        receipts_free(queue);
        free(queue);
    }
    for (size_t i = 0; i < CALL_COUNT; i++)
        curl_slist_free_all(client->headers[i]);
    if (client->multi != NULL)
        curl_multi_cleanup(client->multi);
    client_keys_close(client);
    proxy_close(&client->proxy);
    free(client->provider);
    free(client->ca_file);
    free(client->client_certificate);
    free(client->client_key);
    free(client);
    *client_pointer = NULL;
}

const char *queue_endpoint(const struct queue_client *client)
{
    return client->endpoint;
}

bool queue_named(struct queue_client *client, const char *name, struct queue **out,
                 struct error *err)
{
    *out = NULL;
    size_t len = strlen(name);
    if (len == 0 || len > QUEUE_NAME_MAX)
        return error_set(err, FAIL_USAGE, "a queue name has 1 to %d characters, not %zu",
                         QUEUE_NAME_MAX, len);
    if (client->dialect->check_name != NULL && !client->dialect->check_name(name, err))
        return false;
    for (struct queue *queue = client->queues; queue != NULL; queue = queue->next) {
        if (strcmp(queue->name, name) == 0) {
            *out = queue;
            return true;
        }
    }
    struct queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL)
        return error_memory(err);
    queue->client = client;
    snprintf(queue->name, sizeof queue->name, "%s", name);
    queue->url_state = client->dialect->asks_url ? URL_UNKNOWN : URL_KNOWN;
    queue->next = client->queues;
    client->queues = queue;
    *out = queue;
    return true;
}

size_t queue_in_flight(const struct queue_client *client)
{
    return client->in_flight;
}

/* -- the URL of a queue -- */

void queue_forget_url(struct queue *queue)
{
    if (queue->client->dialect->asks_url)
        queue->url_state = URL_UNKNOWN;
}

static void url_settle(struct queue *queue, struct exchange *exchange, const struct error *failure)
{
    struct error broken = ERROR_INIT;
    if (failure == NULL && !queue->client->dialect->read_url(exchange, queue->url, &broken))
        failure = &broken;
    exchange_drop(exchange);
    if (failure == NULL) {
        queue->url_state = URL_KNOWN;
        queue->url_failures = 0;
        client_note(queue->client, CALL_URL, NULL);
        return;
    }
    queue->url_state = URL_UNKNOWN;
    queue->url_failures++;
    queue->url_due_ms = clock_monotonic_ms() + backoff_ms(&url_retry, queue->url_failures);
    if (queue->receive.open) /* the caller decides whether to try again */
        receive_settle(queue, NULL, failure);
    else
        client_note(queue->client, CALL_URL, failure);
}

static bool has_work(const struct queue *queue)
{
    for (size_t i = 0; i < LANE_COUNT; i++) {
        if (queue->lanes[i].first != NULL)
            return true;
    }
    return queue->receive.open;
}

static void url_start(struct queue *queue, int64_t now_ms, int64_t *next_ms)
{
    struct error err = ERROR_INIT;
    struct exchange *exchange;
    /* Who asks for a receive has waited already, as he thinks right. */
    int64_t due_ms = queue->receive.open ? now_ms : queue->url_due_ms;
    if (due_ms < queue->client->quiet_until_ms)
        due_ms = queue->client->quiet_until_ms;
    if (due_ms > now_ms) {
        if (due_ms < *next_ms)
            *next_ms = due_ms;
        return;
    }
    if (!exchange_take(queue, CALL_URL, &exchange, &err)) {
        client_note(queue->client, CALL_URL, &err);
        queue->url_due_ms = now_ms + url_retry.first_ms;
        return;
    }
    queue->url_state = URL_ASKED;
    if (!exchange_start(exchange, &err))
        url_settle(queue, exchange, &err);
}

/* -- the turn -- */

static void start_queue(struct queue *queue, int64_t now_ms, int64_t *next_ms)
{
    switch (queue->url_state) {
    case URL_UNKNOWN:
        if (has_work(queue))
            url_start(queue, now_ms, next_ms);
        return;
    case URL_ASKED:
        return;
    case URL_KNOWN:
        receive_start(queue, now_ms, next_ms);
        if (queue->client->quiet_until_ms > now_ms) {
            if (has_work(queue) && queue->client->quiet_until_ms < *next_ms)
                *next_ms = queue->client->quiet_until_ms;
            return;
        }
        lane_start(queue, CALL_SEND, now_ms, next_ms);
        lane_start(queue, CALL_DELETE, now_ms, next_ms);
        lane_start(queue, CALL_EXTEND, now_ms, next_ms);
        return;
    }
}

/* The one driver of an exchange. */
static void exchange_drive(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    const struct error *failure = NULL;
    switch (exchange->state) {
    case EXCHANGE_IDLE:
    case EXCHANGE_RUNNING:
        return;
    case EXCHANGE_ANSWERED:
        break;
    }
    if (!exchange_verdict(exchange, &err)) {
        if (exchange_again(exchange, &err))
            return;
        failure = &err;
    }
    switch (exchange->call) {
    case CALL_URL:
        url_settle(exchange->queue, exchange, failure);
        return;
    case CALL_RECEIVE:
        receive_settle(exchange->queue, exchange, failure);
        return;
    case CALL_SEND:
    case CALL_DELETE:
    case CALL_EXTEND:
        batch_settle(exchange, failure);
        return;
    case CALL_ATTRIBUTES: /* only in queue_examine, which waits by itself */
        return;
    }
}

static bool collect(struct queue_client *client, size_t *collected, struct error *err)
{
    int running = 0, left = 0;
    CURLMcode code = curl_multi_perform(client->multi, &running);
    if (code != CURLM_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl failed: %s", curl_multi_strerror(code));
    CURLMsg *message;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        struct exchange *exchange = NULL;
        CURLcode result = message->data.result;
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&exchange) !=
                CURLE_OK)
            continue;
        exchange->state = EXCHANGE_ANSWERED;
        exchange->code = result;
        exchange_drive(exchange);
        (*collected)++;
    }
    return true;
}

/* libcurl tells of the caller's descriptors only what it asked for; poll tells all. */
static bool wait_for_events(struct queue_client *client, struct pollfd *fds, size_t count,
                            int timeout_ms, struct error *err)
{
    struct curl_waitfd extra[DESCRIPTORS_MAX];
    int ready = 0;
    for (size_t i = 0; i < count; i++) {
        extra[i] = (struct curl_waitfd){.fd = fds[i].fd};
        if (fds[i].events & POLLIN)
            extra[i].events |= CURL_WAIT_POLLIN;
        if (fds[i].events & POLLOUT)
            extra[i].events |= CURL_WAIT_POLLOUT;
        fds[i].revents = 0;
    }
    CURLMcode code = curl_multi_poll(client->multi, extra, (unsigned)count, timeout_ms, &ready);
    if (code != CURLM_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl cannot wait: %s", curl_multi_strerror(code));
    if (count > 0 && ready > 0)
        (void)!poll(fds, (nfds_t)count, 0); /* interrupted: the next turn sees it */
    return true;
}

bool queue_turn(struct queue_client *client, struct pollfd *fds, size_t count, int timeout_ms,
                struct error *err)
{
    if (count > DESCRIPTORS_MAX)
        return error_set(err, FAIL_INTERNAL, "more than %d descriptors in one turn",
                         DESCRIPTORS_MAX);
    int64_t now_ms = clock_monotonic_ms();
    int64_t next_ms = now_ms + timeout_ms;
    size_t collected = 0;
    client->started = false;
    client_keys_look(client, now_ms);
    for (struct queue *queue = client->queues; queue != NULL; queue = queue->next)
        start_queue(queue, now_ms, &next_ms);
    if (client->started && !collect(client, &collected, err)) /* sends it before the wait */
        return false;
    int64_t wait_ms = collected > 0 || next_ms <= now_ms ? 0 : next_ms - now_ms;
    if (!wait_for_events(client, fds, count, (int)wait_ms, err))
        return false;
    return collect(client, &collected, err);
}
