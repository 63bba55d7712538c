/* SPDX-License-Identifier: Apache-2.0 */
#include "queue_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices.h"

#define PIECE    65536
#define EVENTS   64
#define OUT_MAX  (1024 * 1024)
#define HEAD_END "\r\n\r\n"

static struct sockaddr_in server;
static int poller = -1;

void http_server(const char *url)
{
    char host[64];
    unsigned port;
    if (sscanf(url, "http://%63[0-9.]:%u", host, &port) != 2 || port > UINT16_MAX)
        bench_give_up("the URL of an engine is http://ADDRESS:PORT");
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &server.sin_addr) != 1)
        bench_give_up(url);
    poller = epoll_create1(EPOLL_CLOEXEC);
}

static void dial(struct http_connection *connection)
{
    const int on = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (const struct sockaddr *)&server, sizeof server) != 0)
        bench_give_up("cannot connect to the engine");
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        bench_give_up("epoll");
}

void http_open(struct http_connection *connection, http_answered *answered, void *owner)
{
    *connection = (struct http_connection){.out = BUF_INIT(OUT_MAX),
                                           .in = BUF_INIT(HTTP_ANSWER_MAX),
                                           .answered = answered,
                                           .owner = owner};
    dial(connection);
}

void http_close(struct http_connection *connection)
{
    close(connection->fd);
    buf_free(&connection->out);
    buf_free(&connection->in);
}

static void redial(struct http_connection *connection)
{
    close(connection->fd);
    dial(connection);
    connection->sent = 0;
}

static void watch(struct http_connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    (void)epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event);
}

static void send_rest(struct http_connection *connection)
{
    while (connection->sent < connection->out.len) {
        ssize_t put = send(connection->fd, connection->out.data + connection->sent,
                           connection->out.len - connection->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put > 0) {
            connection->sent += (size_t)put;
        } else if (errno == EAGAIN) {
            watch(connection, EPOLLIN | EPOLLOUT);
            return;
        } else {
            redial(connection); /* closed while it was idle */
        }
    }
    watch(connection, EPOLLIN);
}

void http_begin(struct http_connection *connection)
{
    struct error err = ERROR_INIT;
    if (!buf_check(&connection->out, "a request", &err))
        bench_give_up(err.text);
    connection->sent = 0;
    connection->busy = true;
    send_rest(connection);
}

/* The value of a header field, or NULL. */
static const char *field(const char *head, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
            return line + 3 + len + strspn(line + 3 + len, " ");
    }
    return NULL;
}

/* Joins the chunks in place (RFC 9112, section 7.1); false while the last one is not there. */
static bool join_chunks(char *body, size_t len)
{
    char *from = body, *end = body + len;
    for (int measure = 1; measure >= 0; measure--) { /* first only to see whether all is there */
        char *to = body;
        from = body;
        while (true) {
            char *line = from < end ? strstr(from, "\r\n") : NULL;
            if (line == NULL)
                return false;
            size_t chunk = strtoul(from, NULL, 16);
            if ((size_t)(end - line) < chunk + 4)
                return false;
            if (measure == 0)
                memmove(to, line + 2, chunk);
            to += chunk;
            from = line + 2 + chunk + 2;
            if (chunk == 0)
                break;
        }
        if (measure == 0)
            *to = '\0';
    }
    return true;
}

/* Calls back if the answer is whole. */
static void take(struct http_connection *connection)
{
    char *text = (char *)connection->in.data;
    char *end = connection->in.len > 0 ? strstr(text, HEAD_END) : NULL;
    if (end == NULL)
        return;
    struct http_answer answer = {.head = text, .body = end + strlen(HEAD_END)};
    size_t got = connection->in.len - (size_t)(answer.body - text);
    if (sscanf(text, "HTTP/1.1 %u", &answer.status) != 1)
        bench_give_up("the engine speaks no HTTP/1.1");
    end[2] = '\0'; /* the head ends with its last line's end */
    const char *length = field(text, "Content-Length");
    const char *coding = field(text, "Transfer-Encoding");
    bool whole = answer.status == 204 || (coding != NULL && strncmp(coding, "chunked", 7) == 0
                                              ? join_chunks(answer.body, got)
                                              : length == NULL || strtoul(length, NULL, 10) <= got);
    if (!whole) {
        end[2] = '\r';
        return;
    }
    const char *keep = field(text, "Connection");
    if (keep != NULL && strncasecmp(keep, "close", 5) == 0)
        redial(connection);
    connection->busy = false;
    struct buf taken = connection->in; /* the next request may begin during the call */
    connection->in = (struct buf)BUF_INIT(HTTP_ANSWER_MAX);
    connection->answered(connection, &answer);
    taken.len = 0;
    connection->in = taken;
}

static void read_more(struct http_connection *connection)
{
    uint8_t piece[PIECE];
    ssize_t got = recv(connection->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got > 0) {
        buf_put(&connection->in, piece, (size_t)got);
        take(connection);
    } else if (connection->in.len > 0) {
        bench_give_up("the engine has cut an answer");
    } else {
        redial(connection);
        if (connection->busy)
            http_begin(connection);
    }
}

void http_turn(int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct http_connection *connection = events[i].data.ptr;
        if ((events[i].events & EPOLLOUT) != 0 && connection->busy)
            send_rest(connection);
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            read_more(connection);
    }
}
