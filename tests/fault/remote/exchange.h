/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call of the module: request out, answer in. The first failure sticks in `rv`, and everything
 * after it does nothing, so that a call reads as a list of its parameters.
 */
#ifndef RESEAL_TESTS_EXCHANGE_H
#define RESEAL_TESTS_EXCHANGE_H

#include "remote.h"
#include "reseal/frame.h"

/* -- connections: link.c -- */

struct link {
    struct link *next;
    struct frame_channel *channel;
    uint32_t incarnation; /* of the server: a random number of its process, never 0 */
};

/* `init_args` is "socket=PATH". */
CK_RV links_open(const char *init_args) MUST_USE;
CK_RV links_close(void) MUST_USE;
/*
 * A connection for one exchange, to any server with `incarnation` 0. CKR_DEVICE_REMOVED where there
 * is no server, CKR_SESSION_HANDLE_INVALID where it is not the one with that incarnation any more.
 */
CK_RV link_take(uint32_t incarnation, struct link **out) MUST_USE;
/* Gives it back, or, if it is broken, ends it and all others to that server. */
void link_give(struct link **link, bool broken);
/* One request, one answer; the answer is valid until the next one. */
bool link_ask(struct link *link, uint16_t type, struct bytes request,
              struct bytes *answer) MUST_USE;

/* -- calls -- */

struct exchange {
    CK_RV rv;
    enum remote_call call;
    uint32_t incarnation; /* whose session it is; 0: it has none */
    struct buf request;
    struct link *link;
    struct cursor answer;
    bool answered; /* outputs can be taken */
    bool returning;
};

void exchange_begin(struct exchange *exchange, enum remote_call call);
void exchange_begin_session(struct exchange *exchange, enum remote_call call,
                            CK_SESSION_HANDLE session);
void put_number(struct exchange *exchange, CK_ULONG number);
void put_flag(struct exchange *exchange, bool flag);
void put_bytes(struct exchange *exchange, const void *data, CK_ULONG len);
void put_object(struct exchange *exchange, CK_OBJECT_HANDLE object);
void put_mechanism(struct exchange *exchange, const CK_MECHANISM *mechanism);
void put_template(struct exchange *exchange, const CK_ATTRIBUTE *rows, CK_ULONG count);
void put_query(struct exchange *exchange, const CK_ATTRIBUTE *rows, CK_ULONG count);
/* The room for an output, as take_output and take_list fill it. */
void put_room(struct exchange *exchange, const void *place, const CK_ULONG *room);

void exchange_run(struct exchange *exchange);

void take_number(struct exchange *exchange, CK_ULONG *out);
void take_handle(struct exchange *exchange, CK_ULONG *out);
void take_struct(struct exchange *exchange, void *out, size_t size);
void take_output(struct exchange *exchange, CK_BYTE_PTR out, CK_ULONG *len);
void take_list(struct exchange *exchange, CK_ULONG *out, CK_ULONG *count);
void take_handles(struct exchange *exchange, CK_ULONG *out, CK_ULONG *count);
void take_found(struct exchange *exchange, CK_ATTRIBUTE *rows, CK_ULONG count);

/* Frees everything, wiped. */
CK_RV exchange_end(struct exchange *exchange);

#endif
