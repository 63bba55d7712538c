/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request with its answer.
 *
 * What libcurl 7.88 signs rightly (found by trying): a body given by CURLOPT_POSTFIELDS, a plain
 * path without a query, and headers of which none is suppressed. So "Expect:" is not suppressed
 * either: it is not sent for bodies under 1 MiB, and a batch stays far below; should one be sent,
 * the wait for "100 Continue" is a millisecond.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "client.h"
#include "reseal/clock.h"

#define CONNECT_TIMEOUT_S 5
#define CALL_TIMEOUT_S    15                /* a receive has its own wait on top */
#define BODY_BYTES        (8 * 1024 * 1024) /* 256 KiB of bodies, were every byte escaped as \uXXXX */
#define KEEP_BYTES        (1024 * 1024)     /* a buffer grown beyond is given back after use */

static size_t on_answer(char *data, size_t size, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t len = size * count;
    buf_put(&exchange->answer, data, len);
    return exchange->answer.failed ? 0 : len; /* 0 ends the transfer with CURLE_WRITE_ERROR */
}

static bool set_up(struct exchange *exchange)
{
    const struct queue_client *client = exchange->client;
    CURL *easy = exchange->easy;
    bool ok =
        curl_easy_setopt(easy, CURLOPT_URL, client->endpoint) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->reason) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange) == CURLE_OK;
    if (ok && client->ca_file != NULL)
        ok = curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file) == CURLE_OK;
    if (ok && client->provider != NULL) {
        struct bytes secret = secret_bytes(client->secret_access_key);
        ok = curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, client->provider) == CURLE_OK &&
             curl_easy_setopt(easy, CURLOPT_USERNAME, client->access_key_id) == CURLE_OK &&
             curl_easy_setopt(easy, CURLOPT_PASSWORD, (const char *)secret.data) == CURLE_OK;
    }
    return ok;
}

static bool exchange_new(struct queue_client *client, struct exchange **out, struct error *err)
{
    *out = NULL;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) {
        error_memory(err);
        return false;
    }
    exchange->client = client;
    exchange->body = (struct buf)BUF_INIT(BODY_BYTES);
    exchange->answer = (struct buf)BUF_INIT(ANSWER_BYTES);
    exchange->easy = curl_easy_init();
    if (exchange->easy == NULL || !set_up(exchange)) {
        exchange_free(exchange);
        error_set(err, FAIL_INTERNAL, "libcurl cannot prepare a request to %s", client->endpoint);
        return false;
    }
    exchange->next = client->exchanges;
    client->exchanges = exchange;
    *out = exchange;
    return true;
}

void exchange_free(struct exchange *exchange)
{
    if (exchange->easy != NULL)
        curl_easy_cleanup(exchange->easy);
    buf_free(&exchange->body);
    buf_free(&exchange->answer);
    free(exchange);
}

static size_t answer_bound(const struct queue *queue, enum call call)
{
    /* JSON may write a body in up to twice its length: quotes and line ends are escaped. */
    return ANSWER_BYTES + (call == CALL_RECEIVE ? queue->receive.max * 2 * QUEUE_MESSAGE_MAX : 0);
}

bool exchange_take(struct queue *queue, enum call call, struct exchange **out, struct error *err)
{
    struct exchange *exchange = queue->client->exchanges;
    while (exchange != NULL && exchange->state != EXCHANGE_IDLE)
        exchange = exchange->next;
    *out = NULL;
    if (exchange == NULL && !exchange_new(queue->client, &exchange, err))
        return false;
    exchange->queue = queue;
    exchange->call = call;
    exchange->answer.max = answer_bound(queue, call);
    *out = exchange;
    return true;
}

static bool prepare(struct exchange *exchange, struct error *err)
{
    CURL *easy = exchange->easy;
    long timeout = CALL_TIMEOUT_S +
                   (exchange->call == CALL_RECEIVE ? (long)exchange->queue->receive.wait_s : 0L);
    if (!write_body(exchange, err))
        return false;
    exchange->reason[0] = '\0';
    if (curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->client->headers[exchange->call]) ==
            CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, (const char *)exchange->body.data) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body.len) ==
            CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_TIMEOUT, timeout) == CURLE_OK)
        return true;
    return error_set(err, FAIL_INTERNAL, "libcurl cannot prepare %s", call_name(exchange->call));
}

bool exchange_start(struct exchange *exchange, struct error *err)
{
    if (!prepare(exchange, err))
        return false;
    CURLMcode code = curl_multi_add_handle(exchange->client->multi, exchange->easy);
    if (code != CURLM_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl cannot start %s: %s",
                         call_name(exchange->call), curl_multi_strerror(code));
    exchange->state = EXCHANGE_RUNNING;
    exchange->client->started = true;
    if (exchange->call != CALL_RECEIVE)
        exchange->client->running++;
    return true;
}

bool exchange_run(struct exchange *exchange, struct error *err)
{
    if (!prepare(exchange, err))
        return false;
    exchange->code = curl_easy_perform(exchange->easy);
    return true;
}

/* Retry-After counts for the whole service, not for the call that met it. */
static void obey_pause(struct exchange *exchange)
{
    curl_off_t seconds = 0;
    if (curl_easy_getinfo(exchange->easy, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK ||
        seconds <= 0)
        return;
    int64_t pause = seconds > RETRY_AFTER_MAX_MS / 1000 ? RETRY_AFTER_MAX_MS : seconds * 1000;
    int64_t until = clock_monotonic_ms() + pause;
    if (until > exchange->client->quiet_until_ms)
        exchange->client->quiet_until_ms = until;
}

static bool curl_failure(const struct exchange *exchange, struct error *err)
{
    const struct queue_client *client = exchange->client;
    if (exchange->answer.failed)
        return error_set(err, FAIL_TOO_LARGE,
                         "%s on queue \"%s\" at %s: the answer is over the bound of %zu bytes",
                         call_name(exchange->call), exchange->queue->name, client->endpoint,
                         exchange->answer.max);
    const char *reason =
        exchange->reason[0] != '\0' ? exchange->reason : curl_easy_strerror(exchange->code);
    error_set(err, FAIL_REMOTE, "%s on queue \"%s\" at %s: %s", call_name(exchange->call),
              exchange->queue->name, client->endpoint, reason);
    if (exchange->code == CURLE_PEER_FAILED_VERIFICATION ||
        exchange->code == CURLE_SSL_CACERT_BADFILE)
        return error_hint(err, "name the CA of the service in ca_file of [queue]");
    if (exchange->code == CURLE_COULDNT_CONNECT || exchange->code == CURLE_COULDNT_RESOLVE_HOST)
        return error_hint(err, "check endpoint of [queue], and that the service runs");
    return false;
}

bool exchange_verdict(struct exchange *exchange, struct error *err)
{
    long status = 0;
    if (exchange->code != CURLE_OK || exchange->answer.failed)
        return curl_failure(exchange, err);
    if (curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl does not tell the HTTP status");
    if (status == 200)
        return true;
    if (status == 429 || status >= 500)
        obey_pause(exchange);
    read_failure(exchange, status, err);
    return false;
}

static void give_back(struct buf *buf)
{
    if (buf->cap > KEEP_BYTES)
        buf_free(buf);
    buf_reset(buf);
}

void exchange_drop(struct exchange *exchange)
{
    if (exchange->state != EXCHANGE_IDLE) {
        curl_multi_remove_handle(exchange->client->multi, exchange->easy);
        if (exchange->call != CALL_RECEIVE)
            exchange->client->running--;
    }
    exchange->state = EXCHANGE_IDLE;
    exchange->queue = NULL;
    exchange->count = 0;
    give_back(&exchange->body);
    give_back(&exchange->answer);
}
