/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP request with its answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dialect.h"
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

/* libcurl 7.88 keeps every header line for curl_easy_header, and does not bound the trailer. */
static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t len = size * count;
    (void)data;
    exchange->header_bytes += len;
    return exchange->header_bytes > HEADER_BYTES ? 0 : len;
}

static bool set_up(struct exchange *exchange)
{
    const struct queue_client *client = exchange->client;
    CURL *easy = exchange->easy;
    bool ok =
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->reason) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange) == CURLE_OK;
    if (ok && client->ca_file != NULL)
        ok = curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file) == CURLE_OK;
    if (ok && client->client_certificate != NULL)
        ok = curl_easy_setopt(easy, CURLOPT_SSLCERT, client->client_certificate) == CURLE_OK &&
             curl_easy_setopt(easy, CURLOPT_SSLKEY, client->client_key) == CURLE_OK;
    return ok && proxy_set_up(&client->proxy, easy);
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
    curl_slist_free_all(exchange->headers);
    buf_free(&exchange->body);
    buf_free(&exchange->answer);
    free(exchange);
}

static size_t answer_bound(const struct queue *queue, enum call call)
{
    /* JSON may write a body in up to twice its length: quotes and line ends are escaped. Base64
     * takes less. */
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
    const struct queue_client *client = exchange->client;
    CURL *easy = exchange->easy;
    bool waits = exchange->call == CALL_RECEIVE && client->dialect->long_poll;
    long timeout = CALL_TIMEOUT_S + (waits ? (long)exchange->queue->receive.wait_s : 0L);
    exchange->reason[0] = '\0';
    exchange->header_bytes = 0;
    if ((exchange->signed_with != client->keys.generation && !proxy_sign(&client->proxy, easy)) ||
        curl_easy_setopt(easy, CURLOPT_TIMEOUT, timeout) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)exchange->answer.max) !=
            CURLE_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl cannot prepare %s",
                         call_name(client, exchange->call));
    if (!client->dialect->write_request(exchange, err))
        return false;
    exchange->signed_with = client->keys.generation;
    return true;
}

bool exchange_start(struct exchange *exchange, struct error *err)
{
    if (!prepare(exchange, err))
        return false;
    CURLMcode code = curl_multi_add_handle(exchange->client->multi, exchange->easy);
    if (code != CURLM_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl cannot start %s: %s",
                         call_name(exchange->client, exchange->call), curl_multi_strerror(code));
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

bool exchange_again(struct exchange *exchange, const struct error *failure)
{
    struct queue_client *client = exchange->client;
    struct error err = ERROR_INIT;
    if (failure->kind != FAIL_AUTH || exchange->once_more || client->closing ||
        !client_keys_renew(client, exchange->signed_with))
        return false;
    curl_multi_remove_handle(client->multi, exchange->easy);
    if (exchange->call != CALL_RECEIVE)
        client->running--;
    exchange->state = EXCHANGE_IDLE;
    exchange->once_more = true;
    buf_reset(&exchange->body);
    buf_reset(&exchange->answer);
    if (exchange_start(exchange, &err))
        return true;
    exchange->state = EXCHANGE_ANSWERED; /* as it was: the refusal counts */
    if (exchange->call != CALL_RECEIVE)
        client->running++;
    return false;
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
    if (exchange->answer.failed || exchange->code == CURLE_FILESIZE_EXCEEDED)
        return error_set(err, FAIL_TOO_LARGE,
                         "%s on queue \"%s\" at %s: the answer is over the bound of %zu bytes",
                         call_name(exchange->client, exchange->call), exchange->queue->name,
                         client->endpoint, exchange->answer.max);
    if (exchange->header_bytes > HEADER_BYTES)
        return error_set(err, FAIL_REMOTE,
                         "%s on queue \"%s\" at %s: the answer has more than %d bytes of header "
                         "lines",
                         call_name(client, exchange->call), exchange->queue->name, client->endpoint,
                         HEADER_BYTES);
    if (proxy_refused(exchange, err))
        return false;
    const char *reason =
        exchange->reason[0] != '\0' ? exchange->reason : curl_easy_strerror(exchange->code);
    const char *proxy = client->proxy.url;
    error_set(err, FAIL_REMOTE, "%s on queue \"%s\" at %s%s%s: %s",
              call_name(client, exchange->call), exchange->queue->name, client->endpoint,
              proxy != NULL ? ", proxy " : "", proxy != NULL ? proxy : "", reason);
    if (exchange->code == CURLE_COULDNT_RESOLVE_PROXY)
        return error_hint(err, "check proxy of [queue]");
    if (exchange->code == CURLE_PEER_FAILED_VERIFICATION ||
        exchange->code == CURLE_SSL_CACERT_BADFILE)
        return error_hint(err, "name the CA of the service in ca_file of [queue]");
    if (proxy != NULL) /* some close the connection on whom they do not know, without a word */
        return error_hint(err, "check proxy, proxy_credentials and no_proxy of [queue], and that "
                               "proxy and service run");
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
    if (status >= 200 && status < 300)
        return true;
    if (status == 429 || status >= 500)
        obey_pause(exchange);
    if (!proxy_refused(exchange, err))
        exchange->client->dialect->read_failure(exchange, status, err);
    return false;
}

const char *call_name(const struct queue_client *client, enum call call)
{
    return client->dialect->calls[call];
}

enum failure failure_by_status(long status)
{
    if (status == 401 || status == 403)
        return FAIL_AUTH;
    if (status == 408 || status == 429 || status >= 500 || status < 400)
        return FAIL_REMOTE;
    return FAIL_INPUT;
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
    exchange->once_more = false;
    give_back(&exchange->body);
    give_back(&exchange->answer);
}
