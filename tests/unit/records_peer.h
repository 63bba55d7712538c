/* SPDX-License-Identifier: Apache-2.0 */
/* A record store's client before a small HTTP server that answers as told: what its tests share. */
#ifndef TEST_RECORDS_PEER_H
#define TEST_RECORDS_PEER_H

#include "tests/unit/check.h"
#include <netinet/in.h>
#include <pthread.h>
#include <microhttpd.h>
#include "reseal/records.h"

#define TOKEN        "s3cret-bearer-token"
#define REQUESTS_MAX 32

/* One request as it came in. */
struct heard {
    char method[16];
    char target[2048]; /* path and query as sent */
    char authorization[256];
    char *body;
};

/* One answer to give; the last one is given again and again. */
struct say {
    unsigned status;
    const char *body;
    const char *header, *value; /* NULL: none */
};

struct peer {
    struct MHD_Daemon *daemon;
    char url[64];
    pthread_mutex_t lock;
    const struct say *says;
    size_t say_count;
    struct heard heard[REQUESTS_MAX];
    size_t count;
};

/* What belongs to one request while it is read. */
struct exchange {
    char target[2048];
    struct buf body;
};

static inline void *on_uri(void *user, const char *uri, struct MHD_Connection *connection)
{
    (void)user;
    (void)connection;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL)
        abort();
    exchange->body = (struct buf)BUF_INIT(1 << 20);
    snprintf(exchange->target, sizeof exchange->target, "%s", uri);
    return exchange;
}

static inline void on_completed(void *user, struct MHD_Connection *connection, void **state,
                                enum MHD_RequestTerminationCode code)
{
    (void)user;
    (void)connection;
    (void)code;
    struct exchange *exchange = *state;
    buf_free(&exchange->body);
    free(exchange);
}

static inline enum MHD_Result answer(struct peer *peer, struct MHD_Connection *connection,
                                     const char *method, const struct exchange *exchange)
{
    pthread_mutex_lock(&peer->lock);
    const struct say *say =
        &peer->says[peer->count < peer->say_count ? peer->count : peer->say_count - 1];
    if (peer->count < REQUESTS_MAX) {
        struct heard *heard = &peer->heard[peer->count];
        const char *value =
            MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
        snprintf(heard->method, sizeof heard->method, "%s", method);
        snprintf(heard->target, sizeof heard->target, "%s", exchange->target);
        snprintf(heard->authorization, sizeof heard->authorization, "%s",
                 value != NULL ? value : "");
        heard->body = strdup(buf_text(&exchange->body));
    }
    peer->count++;
    pthread_mutex_unlock(&peer->lock);
    const char *body = say->body != NULL ? say->body : "";
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(body), (char *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(response, "request-id", "req-4711");
    if (say->header != NULL)
        MHD_add_response_header(response, say->header, say->value);
    enum MHD_Result result = MHD_queue_response(connection, say->status, response);
    MHD_destroy_response(response);
    return result;
}

static inline enum MHD_Result on_request(void *user, struct MHD_Connection *connection,
                                         const char *url, const char *method, const char *version,
                                         const char *data, size_t *len, void **state)
{
    (void)url;
    (void)version;
    struct exchange *exchange = *state;
    /* The first call has the headers only; a call without data after it ends the body. */
    const char *seen = MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, "seen");
    if (seen == NULL) {
        MHD_set_connection_value(connection, MHD_COOKIE_KIND, "seen", "yes");
        return MHD_YES;
    }
    if (*len > 0) {
        buf_put(&exchange->body, data, *len);
        *len = 0;
        return MHD_YES;
    }
    return answer(user, connection, method, exchange);
}

static inline struct peer *peer_open(const struct say *says, size_t count)
{
    struct peer *peer = calloc(1, sizeof *peer);
    assert_non_null(peer);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    pthread_mutex_init(&peer->lock, NULL);
    peer->says = says;
    peer->say_count = count;
    peer->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, peer,
                         MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_URI_LOG_CALLBACK, on_uri, NULL,
                         MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    assert_non_null(peer->daemon);
    snprintf(peer->url, sizeof peer->url, "http://127.0.0.1:%u",
             MHD_get_daemon_info(peer->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    return peer;
}

static inline void peer_close(struct peer *peer)
{
    MHD_stop_daemon(peer->daemon);
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        free(peer->heard[i].body);
    pthread_mutex_destroy(&peer->lock);
    free(peer);
}

static inline size_t peer_count(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    size_t count = peer->count;
    pthread_mutex_unlock(&peer->lock);
    return count;
}

struct client {
    struct web *web;
    struct records *records;
};

static inline struct client client_of(const struct peer *peer)
{
    struct error err = ERROR_INIT;
    struct client client = {NULL, NULL};
    struct secret *token = NULL;
    char url[128];
    assert_ok(secret_copy(TOKEN, sizeof TOKEN - 1, &token, &err), &err);
    assert_ok(web_open(token, NULL, &client.web, &err), &err);
    snprintf(url, sizeof url, "%s/beta/", peer->url);
    assert_ok(records_open(client.web, url, &client.records, &err), &err);
    secret_free(&token);
    return client;
}

static inline void client_end(struct client *client)
{
    records_close(&client->records);
    web_close(&client->web);
}

#endif
