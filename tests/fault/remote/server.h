/* SPDX-License-Identifier: Apache-2.0 */
/* The server's parts; see remote.h. */
#ifndef RESEAL_TESTS_SERVER_H
#define RESEAL_TESTS_SERVER_H

#include "remote.h"

/* -- sessions: server_clients.c -- */

/* A client is a process with any number of connections; its sessions end with the last of them. */
bool client_join(uint64_t client) MUST_USE;
void client_leave(CK_FUNCTION_LIST_PTR f, uint64_t client);
/* False: there is no room for another session. */
bool client_add_session(uint64_t client, CK_SLOT_ID slot, CK_SESSION_HANDLE session) MUST_USE;
bool client_has_session(uint64_t client, CK_SESSION_HANDLE session) MUST_USE;
CK_RV client_close_session(CK_FUNCTION_LIST_PTR f, uint64_t client, CK_SESSION_HANDLE session);
void client_close_all(CK_FUNCTION_LIST_PTR f, uint64_t client, CK_SLOT_ID slot);

/* -- calls: server_calls.c -- */

/* Performs one call. `out` gets CK_RV, flag and outputs; *mechanism is what was asked for, or
 * CK_UNAVAILABLE_INFORMATION. False: the bytes were none of a client of ours. */
bool server_call(CK_FUNCTION_LIST_PTR f, uint64_t client, unsigned call, struct bytes request,
                 CK_MECHANISM_TYPE *mechanism, struct buf *out) MUST_USE;

/* -- holding calls: server_hold.c -- */

/*
 * The control socket takes lines, each answered with a line "ok" or "error":
 *   hold C_NAME           each such call is performed, and its answer is held; "*" is any call
 *   hold C_NAME returned  the same, when its outputs are in the caller's hands
 *   next                  what is held goes on; the next such call is held again
 *   go                    what is held goes on, and nothing is held any more
 * A call that is held is told by a line "held C_NAME 0xMECHANISM". The end of the connection is
 * "go".
 */
bool hold_listen(const char *path, struct error *err) MUST_USE;
/* Until the first line was obeyed. */
void hold_await_order(void);
bool hold_wants_return(unsigned call) MUST_USE;
/* Waits while calls of this kind are held. */
void hold_answer(unsigned call, CK_MECHANISM_TYPE mechanism);
void hold_return(unsigned call, CK_MECHANISM_TYPE mechanism);

/* A listening UNIX socket at `path`, where an old one may be left. */
bool server_listen(const char *path, int *fd, struct error *err) MUST_USE;
bool server_thread(void *(*run)(void *argument), void *argument, struct error *err) MUST_USE;

#endif
