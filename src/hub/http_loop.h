/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns a libmicrohttpd daemon, in a thread of its own.
 *
 * The library's own thread is not used: up to 1.0 at least it takes 128 events of epoll at a time
 * and, after exactly so many, waits for further ones before it looks at those it has. 128 clients
 * that speak at the same moment then got no answer until something else happened, or for a minute.
 * Run from outside it never waits, and the waiting is done here.
 */
#ifndef RESEAL_HUB_HTTP_LOOP_H
#define RESEAL_HUB_HTTP_LOOP_H

#include <microhttpd.h>
#include "reseal/error.h"

struct http_loop;

/* `daemon` uses epoll, has no thread of its own and outlives the loop. *out is there before anybody
 * is served. */
bool http_loop_start(struct MHD_Daemon *daemon, struct http_loop **out, struct error *err) MUST_USE;
/* After MHD_resume_connection, from any thread: the library itself wakes only a thread of its own.
 */
void http_loop_wake(struct http_loop *loop);
/* From now on, or a moment later, no connection is accepted; those that are open go on. Closes the
 * listening socket. */
void http_loop_quiesce(struct http_loop *loop);
/* Ends the thread; nobody is served any more. */
void http_loop_stop(struct http_loop **loop);

#endif
