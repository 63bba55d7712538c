/* SPDX-License-Identifier: Apache-2.0 */
/* A server whose answers to the first connection go on for ever behind their end: in the trailer of
 * a chunked body, which libcurl 7.88 keeps and does not bound. */
#ifndef TEST_ENDLESS_PEER_H
#define TEST_ENDLESS_PEER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENDLESS_MOST (256u << 20) /* bytes, where nobody stops it */

struct endless_peer {
    int fd;
    pthread_t thread;
    char endpoint[64];
    size_t sent; /* bytes of the trailer; to be read after endless_stop */
};

static inline void *endless_serve(void *context)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n";
    static char lines[60000];
    struct endless_peer *peer = context;
    char request[65536];
    int fd = accept(peer->fd, NULL, NULL);
    for (size_t i = 0; i < sizeof lines; i += 6)
        memcpy(lines + i, "X: a\r\n", 6);
    if (fd < 0)
        return NULL;
    if (read(fd, request, sizeof request) > 0 &&
        send(fd, head, sizeof head - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof head - 1)) {
        ssize_t put;
        while (peer->sent < ENDLESS_MOST && (put = send(fd, lines, sizeof lines, MSG_NOSIGNAL)) > 0)
            peer->sent += (size_t)put;
    }
    close(fd);
    return NULL;
}

static inline bool endless_start(struct endless_peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *peer = (struct endless_peer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (peer->fd < 0 || bind(peer->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(peer->fd, 4) != 0 || getsockname(peer->fd, (struct sockaddr *)&address, &len) != 0)
        return false;
    snprintf(peer->endpoint, sizeof peer->endpoint, "http://127.0.0.1:%u",
             (unsigned)ntohs(address.sin_port));
    return pthread_create(&peer->thread, NULL, endless_serve, peer) == 0;
}

/* After the client has let go. */
static inline void endless_stop(struct endless_peer *peer)
{
    pthread_join(peer->thread, NULL);
    close(peer->fd);
}

#endif
