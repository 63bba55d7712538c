/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* POLLRDHUP */
#include "exchange.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

const char *exchange_header(const struct exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

void exchange_base_url(const struct exchange *exchange, char out[static BASE_URL])
{
    const char *host = exchange_header(exchange, "Host");
    if (host == NULL || host[0] == '\0' || strlen(host) > 255 ||
        strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:[]") !=
            strlen(host))
        host = "localhost";
    if (exchange->hub->public_url[0] != '\0')
        snprintf(out, BASE_URL, "%s", exchange->hub->public_url);
    else
        snprintf(out, BASE_URL, "%s://%s", exchange->hub->tls != NULL ? "https" : "http", host);
}

bool exchange_content_type(const struct exchange *exchange, const char *type)
{
    const char *found = exchange_header(exchange, "Content-Type");
    size_t len = strlen(type);
    if (found == NULL || strncasecmp(found, type, len) != 0)
        return false;
    found += len;
    found += strspn(found, " \t");
    return *found == '\0' || *found == ';';
}

void answer_reset(struct answer *answer)
{
    answer->status = 0;
    answer->content_type = NULL;
    answer->allow = NULL;
    answer->query_error[0] = '\0';
    buf_reset(&answer->body);
}

bool answer_json(struct answer *answer, unsigned status, const char *content_type,
                 struct json_writer *json, struct error *err)
{
    buf_reset(&answer->body);
    answer->query_error[0] = '\0'; /* of a run before, whose transaction was lost */
    if (!json_finish(json, &answer->body, err))
        return false;
    answer->status = status;
    answer->content_type = content_type;
    return true;
}

bool exchange_client_is_there(const struct job *job)
{
    const struct exchange *exchange = job->context;
    char byte;
    /* With TLS there may be a farewell to read before the end; that the other side has closed is
     * told aside of it. */
    struct pollfd closed = {.fd = exchange->socket, .events = POLLRDHUP};
    if (exchange->hub->tls != NULL)
        return poll(&closed, 1, 0) <= 0;
    /* The connection is suspended: nobody else reads it, and it stays open until it is resumed. */
    ssize_t got = recv(exchange->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
}
