/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP side: libmicrohttpd on one epoll thread. It takes requests, bounds them, finds their
 * route and sends answers; while the store thread works on a request its connection is suspended.
 */
#ifndef RESEAL_HUB_SERVER_H
#define RESEAL_HUB_SERVER_H

#include "hub.h"

struct server;

/* `listener` is a listening socket; it belongs to the server from now on, also on failure. */
bool server_start(struct hub *hub, int listener, struct server **out, struct error *err) MUST_USE;
/* Takes no new connection, lets the store finish what waits, sends the answers, stops. */
void server_stop(struct server **server);

/* Opens "ADDRESS:PORT" or "[ADDRESS]:PORT"; *port is the one that the system chose for port 0. */
bool listener_open(const char *listen_on, int *listener, unsigned *port, bool *loopback,
                   struct error *err) MUST_USE;

#endif
