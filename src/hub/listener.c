/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "server.h"

#define BACKLOG 511

static bool split_address(const char *text, char *host, size_t host_size, char *port,
                          size_t port_size, struct error *err)
{
    const char *colon = strrchr(text, ':');
    const char *from = text, *to = colon;
    if (colon != NULL && text[0] == '[') {
        from = text + 1;
        to = colon > text + 1 && colon[-1] == ']' ? colon - 1 : NULL;
    } else if (colon != NULL && memchr(text, ':', (size_t)(colon - text)) != NULL) {
        to = NULL; /* IPv6 without its brackets */
    }
    size_t digits = colon != NULL ? strlen(colon + 1) : 0;
    if (to == NULL || to == from || (size_t)(to - from) >= host_size || digits == 0 ||
        digits >= port_size || strspn(colon + 1, "0123456789") != digits) {
        error_set(err, FAIL_USAGE, "hub.listen: \"%.128s\" is no ADDRESS:PORT", text);
        return error_hint(err, "write 127.0.0.1:9324 or [::1]:9324");
    }
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    memcpy(port, colon + 1, digits + 1);
    return true;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return ntohl(in.sin_addr.s_addr) >> 24 == 127;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof in6);
    return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
}

static bool port_of(int fd, unsigned *port, struct error *err)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0)
        return error_errno(err, FAIL_IO, "cannot ask for the port of the listening socket");
    if (bound.ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, &bound, sizeof in);
        *port = ntohs(in.sin_port);
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, &bound, sizeof in6);
        *port = ntohs(in6.sin6_port);
    }
    return true;
}

bool listener_open(const char *listen_on, int *listener, unsigned *port, bool *loopback,
                   struct error *err)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char host[256], service[8];
    const int on = 1;
    bool ok = false;
    int fd = -1;
    if (!split_address(listen_on, host, sizeof host, service, sizeof service, err))
        return false;
    int status = getaddrinfo(host, service, &hints, &found);
    if (status != 0)
        return error_set(err, FAIL_USAGE, "hub.listen: %s: %s", listen_on, gai_strerror(status));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_errno(err, FAIL_IO, "cannot open a socket");
        goto done;
    }
    /* The port of a hub that has just ended, however, is free for the next one at once. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        bool taken = errno == EADDRINUSE;
        error_errno(err, FAIL_IO, "cannot listen on %s", listen_on);
        if (taken)
            error_hint(err, "another program has this port; stop it or change hub.listen");
        goto done;
    }
    if (!port_of(fd, port, err))
        goto done;
    *loopback = is_loopback(found->ai_addr);
    *listener = fd;
    fd = -1; /* transferred */
    ok = true;
done:
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return ok;
}
