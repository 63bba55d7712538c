/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "api_graph.h"
#include "exchange.h"
#include "header_check.h"
#include "http_loop.h"
#include "reseal/clock.h"
#include "reseal/log.h"
#include "tls.h"

#define CONNECTIONS_MAX 512
/* Headers and read buffer of one connection. libmicrohttpd clears all of it for each request. */
#define CONNECTION_BYTES  (24 * 1024)
#define CONNECTION_IDLE_S 60                 /* waiting for the store does not count as idle */
#define STRANGER_IDLE_S   10                 /* the same before the first authenticated request */
#define STRANGERS_MAX     256                /* connections without one; then the oldest is ended */
#define BODY_DROPPED_MAX  (16 * 1024 * 1024) /* bytes of a refused body that are read at most */
#define BODY_IDLE_S       5                  /* between two pieces of a body */
#define BODY_WHOLE_MS     30000              /* from the headers to the end of a body */
#define BODY_FREE         (32 * 1024)        /* first bytes of each body, which are always taken */
#define BODIES_MAX        (24 * 1024 * 1024) /* further bytes that all bodies may take at once */
#define GOODBYE_S         5                  /* for sending the last answers */

/* One connection. Strangers are those that have not been authenticated: they stand in the order in
 * which they came. */
struct guest {
    int socket;
    bool stranger;
    struct guest *previous, *next;
};

struct server {
    struct hub *hub;
    struct MHD_Daemon *daemon;
    struct http_loop *loop;
    pthread_mutex_t lock; /* guards in_hand and stopping */
    pthread_cond_t idle;
    size_t in_hand; /* requests that are whole and not yet answered */
    bool stopping;
    char id_prefix[UUID_TEXT]; /* random for each start; its last 12 digits count requests */
    uint64_t id_count;
    /* the server thread's own */
    size_t bodies;          /* bytes of the requests under way beyond the BODY_FREE of each */
    struct guest strangers; /* head of the ring */
    size_t stranger_count;
};

#define ID_COUNT_MASK ((UINT64_C(1) << 48) - 1)

static void set_timeout(struct MHD_Connection *connection, unsigned seconds)
{
    (void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

static void forget_stranger(struct server *server, struct guest *guest)
{
    if (!guest->stranger)
        return;
    guest->previous->next = guest->next;
    guest->next->previous = guest->previous;
    guest->stranger = false;
    server->stranger_count--;
}

/*
 * Who only connects, or sends its headers a byte at a time, gets neither an end by being idle nor a
 * request that could be refused. So that such connections never take all places, the oldest of them
 * ends when there are many: its socket is shut down, and the server then finds it closed.
 */
static void add_stranger(struct server *server, struct guest *guest)
{
    if (server->stranger_count == STRANGERS_MAX) {
        struct guest *oldest = server->strangers.next;
        forget_stranger(server, oldest);
        (void)shutdown(oldest->socket, SHUT_RDWR);
    }
    struct guest *head = &server->strangers;
    guest->stranger = true;
    guest->next = head;
    guest->previous = head->previous;
    head->previous->next = guest;
    head->previous = guest;
    server->stranger_count++;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *server = context;
    struct guest *guest = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (guest != NULL)
            forget_stranger(server, guest);
        free(guest);
        *socket_context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    guest = calloc(1, sizeof *guest);
    if (guest == NULL || info == NULL) {
        free(guest);
        return; /* its requests are not taken, see begin */
    }
    guest->socket = info->connect_fd;
    *socket_context = guest;
    add_stranger(server, guest);
    set_timeout(connection, STRANGER_IDLE_S);
}

/* NULL where there was no memory for it. */
static struct guest *guest_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void *on_request_line(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct server *server = context;
    struct exchange *exchange = malloc(sizeof *exchange);
    if (exchange == NULL)
        return NULL;
    memset(exchange, 0, offsetof(struct exchange, uri) + 1); /* the rest is the end of `uri` */
    exchange->hub = server->hub;
    exchange->connection = connection;
    exchange->body = (struct buf)BUF_INIT(0);
    exchange->answer.body = (struct buf)BUF_INIT(ANSWER_MAX);
    exchange->query = "";
    size_t len = strlen(uri);
    if (len < sizeof exchange->uri) {
        memcpy(exchange->uri, uri, len + 1);
        char *mark = strchr(exchange->uri, '?');
        if (mark != NULL) {
            *mark = '\0';
            exchange->query = mark + 1;
        }
    } /* a longer one stays empty and is refused as such */
    return exchange;
}

/* Counts a request as in hand; false where the hub is stopping. */
static bool take_in_hand(struct server *server, struct exchange *exchange)
{
    pthread_mutex_lock(&server->lock);
    bool stopping = server->stopping;
    if (!stopping) {
        server->in_hand++;
        exchange->counted = true;
    }
    pthread_mutex_unlock(&server->lock);
    return !stopping;
}

static void drop_body(struct server *server, struct exchange *exchange)
{
    server->bodies -= exchange->body_held;
    exchange->body_held = 0;
    buf_free(&exchange->body);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_context,
                         enum MHD_RequestTerminationCode reason)
{
    struct server *server = context;
    struct exchange *exchange = *request_context;
    (void)connection;
    (void)reason;
    if (exchange == NULL)
        return;
    if (exchange->counted) {
        pthread_mutex_lock(&server->lock);
        if (--server->in_hand == 0)
            pthread_cond_signal(&server->idle);
        pthread_mutex_unlock(&server->lock);
    }
    if (exchange->work != NULL && exchange->work_free != NULL)
        exchange->work_free(exchange->work);
    drop_body(server, exchange);
    buf_free(&exchange->answer.body);
    free(exchange);
    *request_context = NULL;
}

static void on_job_finished(struct job *job, const struct error *err)
{
    struct exchange *exchange = job->context;
    if (err == NULL && exchange->next_run != NULL) {
        job->run = exchange->next_run;
        exchange->next_run = NULL;
        store_submit(exchange->hub->store, job);
        return;
    }
    if (err != NULL)
        exchange->route->fail(exchange, err);
    exchange->stage = STAGE_ANSWER;
    struct http_loop *loop = exchange->hub->server->loop; /* the exchange may be gone behind it */
    MHD_resume_connection(exchange->connection);
    http_loop_wake(loop);
}

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value); /* fails only without memory */
}

static enum MHD_Result send_answer(struct exchange *exchange)
{
    struct answer *answer = &exchange->answer;
    union {
        const uint8_t *bytes;
        void *data;
    } body = {.bytes = answer->body.data}; /* not written to: the buffer outlives the response */
    struct MHD_Response *response = MHD_create_response_from_buffer(
        answer->body.len, answer->body.len > 0 ? body.data : NULL, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    if (answer->content_type != NULL)
        add_header(response, "Content-Type", answer->content_type);
    add_header(response, exchange->route != NULL ? exchange->route->id_header : GRAPH_ID_HEADER,
               exchange->request_id);
    if (answer->query_error[0] != '\0')
        add_header(response, "x-amzn-query-error", answer->query_error);
    if (answer->allow != NULL)
        add_header(response, "Allow", answer->allow);
    if (exchange->close)
        add_header(response, "Connection", "close");
    if (answer->status == MHD_HTTP_UNAUTHORIZED)
        add_header(response, "WWW-Authenticate", "Bearer");
    exchange->stage = STAGE_SENT;
    enum MHD_Result result = MHD_queue_response(exchange->connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

static void refuse_path(struct exchange *exchange, const char *allow)
{
    struct error err = ERROR_INIT;
    if (exchange->uri[0] == '\0') {
        error_set(&err, FAIL_TOO_LARGE, "the address has more than %d bytes", URI_MAX - 1);
        graph_fail_with(exchange, MHD_HTTP_URI_TOO_LONG, RESULT_TOO_LARGE, &err);
    } else if (allow != NULL) {
        error_set(&err, FAIL_UNSUPPORTED, "%s is not possible on %.200s", exchange->method,
                  exchange->uri);
        error_hint(&err, "allowed: %s", allow);
        graph_fail_with(exchange, MHD_HTTP_METHOD_NOT_ALLOWED, RESULT_NOT_SUPPORTED, &err);
        exchange->answer.allow = allow;
    } else {
        error_set(&err, FAIL_UNSUPPORTED, "there is nothing at %.200s", exchange->uri);
        graph_fail_with(exchange, MHD_HTTP_NOT_FOUND, RESULT_NOT_SUPPORTED, &err);
    }
}

static void refuse_size(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    error_set(&err, FAIL_TOO_LARGE, "the body has more than %zu bytes, which is the bound here",
              exchange->body_max);
    exchange->route->fail(exchange, &err);
}

/*
 * Counts what has come of the body, so that many clients together cannot take all memory. What is
 * only declared does not count: it would let a few idle clients lock out everybody else. The first
 * BODY_FREE bytes are bounded by the number of connections, so small requests always find room.
 */
static bool hold_body(struct server *server, struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    size_t held = exchange->body_seen > BODY_FREE ? exchange->body_seen - BODY_FREE : 0;
    size_t more = held - exchange->body_held;
    if (more <= BODIES_MAX - server->bodies) {
        server->bodies += more;
        exchange->body_held = held;
        return true;
    }
    error_set(&err, FAIL_IO, "the hub is busy with %zu bytes of other requests", server->bodies);
    error_hint(&err, "try again a little later");
    exchange->route->fail(exchange, &err);
    return false;
}

/* Ids tell requests apart, they protect nothing: fresh random numbers for each would be wasted. */
static void give_id(struct server *server, struct exchange *exchange)
{
    snprintf(exchange->request_id, UUID_TEXT, "%.24s%012" PRIx64, server->id_prefix,
             ++server->id_count & ID_COUNT_MASK);
}

/* The headers are there: everything that can be refused now is. */
static enum MHD_Result begin(struct server *server, struct exchange *exchange,
                             struct MHD_Connection *connection, const char *method)
{
    const char *allow = NULL;
    exchange->connection = connection;
    exchange->stage = STAGE_BODY;
    snprintf(exchange->method, sizeof exchange->method, "%s", method);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL)
        return MHD_NO;
    exchange->socket = info->connect_fd; /* now: libmicrohttpd 1.0 uses one place for all answers */
    if (guest_of(connection) == NULL || !tls_client_known(server->hub->tls, connection))
        return MHD_NO;
    give_id(server, exchange);
    const char *length = exchange_header(exchange, "Content-Length");
    unsigned long long declared = length != NULL ? strtoull(length, NULL, 10) : 0;
    bool head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0; /* the server leaves the body out */
    if (refuse_framing(exchange)) {
        exchange->stage = STAGE_REFUSED;
        return send_answer(exchange);
    }
    exchange->route =
        route_find(head ? "GET" : exchange->method, exchange->uri, &exchange->suffix, &allow);
    if (exchange->route == NULL) {
        refuse_path(exchange, allow);
    } else {
        exchange->body_max = exchange->route->body_max;
        exchange->body = (struct buf)BUF_INIT(exchange->body_max);
        buf_reserve(&exchange->body, declared < BODY_FREE ? (size_t)declared : BODY_FREE);
        refuse_repeated(exchange);
        if (exchange->answer.status == 0 && exchange->route->check != NULL)
            exchange->route->check(exchange);
        if (exchange->answer.status == 0 && declared > exchange->body_max)
            refuse_size(exchange);
    }
    if (declared > 0 || exchange_header(exchange, "Transfer-Encoding") != NULL) {
        exchange->body_until_ms = clock_monotonic_ms() + BODY_WHOLE_MS;
        set_timeout(connection, BODY_IDLE_S);
    }
    if (exchange->answer.status == 0)
        return MHD_YES;
    /* A client that is still sending would not see an answer before the end of its body, so the
     * body is read and dropped, unless it is beyond all measure or the client asks first. */
    exchange->stage = STAGE_REFUSED;
    if (declared > BODY_DROPPED_MAX || exchange_header(exchange, "Expect") != NULL)
        return send_answer(exchange);
    return MHD_YES;
}

/* A piece of the body. */
static enum MHD_Result take_piece(struct server *server, struct exchange *exchange,
                                  const char *data, size_t len)
{
    exchange->body_seen += len;
    if (exchange->body_seen > BODY_DROPPED_MAX || clock_monotonic_ms() > exchange->body_until_ms)
        return MHD_NO;
    if (exchange->stage != STAGE_BODY)
        return MHD_YES;
    if (exchange->body_seen > exchange->body_max) {
        refuse_size(exchange);
    } else if (hold_body(server, exchange)) {
        buf_put(&exchange->body, data, len);
        if (!exchange->body.failed)
            return MHD_YES;
        refuse_size(exchange);
    }
    drop_body(server, exchange);
    exchange->stage = STAGE_REFUSED;
    return MHD_YES;
}

/* A client that has proved who it is may be idle for longer. */
static void keep_connection(struct server *server, struct exchange *exchange)
{
    struct guest *guest = guest_of(exchange->connection);
    if (guest == NULL)
        return; /* a connection without one was turned away at its begin */
    bool was_stranger = guest->stranger;
    if (exchange->authenticated)
        forget_stranger(server, guest);
    if (guest->stranger) {
        if (exchange->body_until_ms != 0)
            set_timeout(exchange->connection, STRANGER_IDLE_S);
    } else if (was_stranger || exchange->body_until_ms != 0) {
        set_timeout(exchange->connection, CONNECTION_IDLE_S);
    }
}

/* The request is whole. */
static enum MHD_Result dispatch(struct server *server, struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    if (exchange->stage == STAGE_REFUSED) {
        keep_connection(server, exchange);
        return send_answer(exchange);
    }
    if (!take_in_hand(server, exchange)) {
        error_set(&err, FAIL_IO, "the hub is stopping");
        exchange->route->fail(exchange, &err);
        return send_answer(exchange);
    }
    exchange->route->handle(exchange);
    keep_connection(server, exchange);
    if (exchange->answer.status != 0 || exchange->job.run == NULL)
        return send_answer(exchange);
    exchange->stage = STAGE_STORE;
    exchange->job.context = exchange;
    exchange->job.finish = on_job_finished;
    MHD_suspend_connection(exchange->connection);
    store_submit(exchange->hub->store, &exchange->job);
    return MHD_YES;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload_data,
                                 size_t *upload_size, void **request_context)
{
    struct server *server = context;
    struct exchange *exchange = *request_context;
    (void)url;
    (void)version;
    if (exchange == NULL)
        return MHD_NO;
    switch (exchange->stage) {
    case STAGE_HEADERS:
        return begin(server, exchange, connection, method);
    case STAGE_BODY:
    case STAGE_REFUSED:
        if (*upload_size == 0)
            return dispatch(server, exchange);
        size_t len = *upload_size;
        *upload_size = 0;
        return take_piece(server, exchange, upload_data, len);
    case STAGE_ANSWER:
        return send_answer(exchange);
    case STAGE_STORE:
    case STAGE_SENT:
        return MHD_YES;
    }
    return MHD_NO;
}

static void on_server_log(void *context, const char *format, va_list arguments)
{
    char text[512];
    const char *line = text;
    (void)context;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    vsnprintf(text, sizeof text, format, arguments); /* the format is libmicrohttpd's own */
#pragma GCC diagnostic pop
    text[strcspn(text, "\r\n")] = '\0';
    log_event(LEVEL_DEBUG, EVENT_NOTE, "http", LOG_TEXT("text", line));
}

static struct MHD_Daemon *start_daemon(struct server *server, int listener)
{
    static const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    const struct tls *tls = server->hub->tls;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (tls != NULL)
        flags |= MHD_USE_TLS;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_server_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)CONNECTION_IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY,
        tls != NULL ? tls_options(tls) : none, MHD_OPTION_END);
}

static void server_free(struct server *server)
{
    pthread_cond_destroy(&server->idle);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

bool server_start(struct hub *hub, int listener, struct server **out, struct error *err)
{
    *out = NULL;
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        close(listener);
        return error_memory(err);
    }
    server->hub = hub;
    server->strangers.next = server->strangers.previous = &server->strangers;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->idle, NULL);
    if (!uuid_random(server->id_prefix, err)) {
        close(listener);
        goto failed;
    }
    server->daemon = start_daemon(server, listener);
    if (server->daemon == NULL) {
        error_errno(err, FAIL_IO, "cannot start the HTTP server");
        close(listener);
        goto failed;
    }
    *out = server; /* before anybody is served */
    if (http_loop_start(server->daemon, &server->loop, err))
        return true;
    *out = NULL;
    MHD_stop_daemon(server->daemon);
failed:
    server_free(server);
    return false;
}

static void wait_until_idle(struct server *server)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GOODBYE_S;
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    while (server->in_hand > 0) {
        if (pthread_cond_timedwait(&server->idle, &server->lock, &until) == ETIMEDOUT)
            break;
    }
    size_t left = server->in_hand;
    pthread_mutex_unlock(&server->lock);
    if (left > 0)
        log_event(LEVEL_WARNING, EVENT_NOTE, "stopping before every answer was fetched",
                  LOG_NUMBER("requests", left));
}

void server_stop(struct server **server)
{
    if (server == NULL || *server == NULL)
        return;
    http_loop_quiesce((*server)->loop);
    store_drain((*server)->hub->store);
    wait_until_idle(*server);
    /* Requests may still be with the store if their clients read slowly: a suspended connection
     * must be resumed before the server may stop. */
    store_stop((*server)->hub->store);
    http_loop_stop(&(*server)->loop);
    MHD_stop_daemon((*server)->daemon);
    server_free(*server);
    *server = NULL;
}
