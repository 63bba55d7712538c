/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP/1.1 client for the queue benchmark: many keep-alive connections on one epoll, one
 * request at a time on each. It costs a fraction of what the servers do, so that these are measured
 * and not the client.
 */
#ifndef RESEAL_BENCH_QUEUE_HTTP_H
#define RESEAL_BENCH_QUEUE_HTTP_H

#include "reseal/buf.h"

#define HTTP_ANSWER_MAX (1024 * 1024)

struct http_answer {
    unsigned status;
    const char *head; /* status line and header fields, NUL-terminated */
    char *body;       /* NUL-terminated; chunks are joined already */
};

struct http_connection;
/* The answer is valid during the call, which may begin the next request. */
typedef void http_answered(struct http_connection *connection, const struct http_answer *answer);

struct http_connection {
    int fd;
    struct buf out; /* the request: fill it, then http_begin */
    size_t sent;
    struct buf in;
    bool busy;
    http_answered *answered;
    void *owner;
};

/* Address and port of "http://ADDRESS:PORT". Gives up where it is none. */
void http_server(const char *url);
void http_open(struct http_connection *connection, http_answered *answered, void *owner);
void http_close(struct http_connection *connection);
/* Sends what is in `out`. A connection that the server has closed meanwhile is opened again. */
void http_begin(struct http_connection *connection);
/* Waits once, for up to `timeout_ms`, and calls back for each answer that is whole. */
void http_turn(int timeout_ms);

#endif
