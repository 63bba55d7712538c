/* SPDX-License-Identifier: Apache-2.0 */
#include "exchange.h"

#include <string.h>
#include "wire.h"

static void fail(struct exchange *exchange, CK_RV rv)
{
    if (exchange->rv == CKR_OK)
        exchange->rv = rv;
}

void exchange_begin(struct exchange *exchange, enum remote_call call)
{
    *exchange = (struct exchange){.call = call, .request = BUF_INIT(REMOTE_BODY_MAX)};
}

void exchange_begin_session(struct exchange *exchange, enum remote_call call,
                            CK_SESSION_HANDLE session)
{
    exchange_begin(exchange, call);
    exchange->incarnation = (uint32_t)(session >> 32);
    if (exchange->incarnation == 0)
        fail(exchange, CKR_SESSION_HANDLE_INVALID);
    buf_put_u64(&exchange->request, session & UINT32_MAX);
}

void put_number(struct exchange *exchange, CK_ULONG number)
{
    buf_put_u64(&exchange->request, number);
}

void put_flag(struct exchange *exchange, bool flag)
{
    buf_put_u8(&exchange->request, flag);
}

void put_bytes(struct exchange *exchange, const void *data, CK_ULONG len)
{
    buf_put_u8(&exchange->request, data != NULL);
    buf_put_block(&exchange->request, data, data != NULL ? len : 0);
}

/* Of an object that an earlier server had, the token of today knows nothing. */
void put_object(struct exchange *exchange, CK_OBJECT_HANDLE object)
{
    CK_ULONG inner;
    if (!wire_handle(exchange->incarnation, object, &inner))
        fail(exchange, CKR_OBJECT_HANDLE_INVALID);
    else
        buf_put_u64(&exchange->request, inner);
}

void put_mechanism(struct exchange *exchange, const CK_MECHANISM *mechanism)
{
    fail(exchange, wire_put_mechanism(&exchange->request, exchange->incarnation, mechanism));
}

void put_template(struct exchange *exchange, const CK_ATTRIBUTE *rows, CK_ULONG count)
{
    fail(exchange, wire_put_template(&exchange->request, rows, count));
}

void put_query(struct exchange *exchange, const CK_ATTRIBUTE *rows, CK_ULONG count)
{
    fail(exchange, wire_put_query(&exchange->request, rows, count));
}

void put_room(struct exchange *exchange, const void *place, const CK_ULONG *room)
{
    if (room == NULL) {
        fail(exchange, CKR_ARGUMENTS_BAD);
        return;
    }
    put_flag(exchange, place != NULL);
    put_number(exchange, place != NULL ? *room : 0);
}

void exchange_run(struct exchange *exchange)
{
    struct bytes body;
    CK_ULONG rv;
    if (exchange->request.failed)
        fail(exchange, CKR_ARGUMENTS_BAD);
    if (exchange->rv == CKR_OK)
        exchange->rv = link_take(exchange->incarnation, &exchange->link);
    if (exchange->rv != CKR_OK)
        return;
    exchange->incarnation = exchange->link->incarnation;
    bool asked =
        link_ask(exchange->link, (uint16_t)exchange->call, buf_bytes(&exchange->request), &body);
    buf_reset(&exchange->request);
    if (!asked) {
        /* Nobody knows whether the call was performed. */
        link_give(&exchange->link, true);
        exchange->rv = CKR_DEVICE_REMOVED;
        return;
    }
    exchange->answer = cursor_over(body);
    exchange->answered = wire_take_number(&exchange->answer, &rv) &&
                         wire_take_flag(&exchange->answer, &exchange->returning);
    exchange->rv = exchange->answered ? rv : CKR_DEVICE_ERROR;
}

/* The other side answered with something that is no answer to this call. */
static void fail_answer(struct exchange *exchange)
{
    exchange->answered = false;
    exchange->rv = CKR_DEVICE_ERROR;
}

void take_number(struct exchange *exchange, CK_ULONG *out)
{
    if (exchange->rv == CKR_OK && !wire_take_number(&exchange->answer, out))
        fail_answer(exchange);
}

static bool outer_handle(const struct exchange *exchange, CK_ULONG inner, CK_ULONG *out)
{
    *out = inner == CK_INVALID_HANDLE ? inner : (CK_ULONG)exchange->incarnation << 32 | inner;
    return inner <= UINT32_MAX;
}

void take_handle(struct exchange *exchange, CK_ULONG *out)
{
    CK_ULONG inner = 0;
    take_number(exchange, &inner);
    if (exchange->rv == CKR_OK && !outer_handle(exchange, inner, out))
        fail_answer(exchange);
}

void take_struct(struct exchange *exchange, void *out, size_t size)
{
    struct bytes raw;
    if (exchange->rv != CKR_OK)
        return;
    if (!cursor_block(&exchange->answer, size, &raw) || raw.len != size)
        fail_answer(exchange);
    else
        memcpy(out, raw.data, size);
}

/* A server that could not read the request answers without outputs. */
static bool has_outputs(const struct exchange *exchange)
{
    return exchange->answered && (exchange->rv == CKR_OK || exchange->answer.left > 0);
}

void take_output(struct exchange *exchange, CK_BYTE_PTR out, CK_ULONG *len)
{
    struct bytes raw;
    CK_ULONG told, room;
    if (!has_outputs(exchange))
        return;
    room = out != NULL ? *len : 0;
    if (!wire_take_number(&exchange->answer, &told) ||
        !cursor_block(&exchange->answer, room, &raw) ||
        (exchange->rv == CKR_OK && out != NULL && raw.len != told)) {
        fail_answer(exchange);
        return;
    }
    if (raw.len > 0 && exchange->rv == CKR_OK)
        memcpy(out, raw.data, raw.len);
    *len = told;
}

void take_list(struct exchange *exchange, CK_ULONG *out, CK_ULONG *count)
{
    CK_ULONG told, number, room = out != NULL ? *count : 0;
    uint32_t given;
    if (!has_outputs(exchange))
        return;
    if (!wire_take_number(&exchange->answer, &told) || !cursor_u32(&exchange->answer, &given) ||
        given > room) {
        fail_answer(exchange);
        return;
    }
    for (uint32_t i = 0; i < given; i++) {
        if (!wire_take_number(&exchange->answer, &number)) {
            fail_answer(exchange);
            return;
        }
        out[i] = number;
    }
    *count = told;
}

void take_handles(struct exchange *exchange, CK_ULONG *out, CK_ULONG *count)
{
    take_list(exchange, out, count);
    for (CK_ULONG i = 0; exchange->rv == CKR_OK && i < *count; i++) {
        if (!outer_handle(exchange, out[i], &out[i]))
            fail_answer(exchange);
    }
}

void take_found(struct exchange *exchange, CK_ATTRIBUTE *rows, CK_ULONG count)
{
    if (has_outputs(exchange) && !wire_take_found(&exchange->answer, rows, count))
        fail_answer(exchange);
}

/* What was received is wiped as the next answer is awaited. */
static bool say_returning(struct exchange *exchange)
{
    struct bytes answer;
    return link_ask(exchange->link, REMOTE_RETURNING, (struct bytes){NULL, 0}, &answer);
}

CK_RV exchange_end(struct exchange *exchange)
{
    buf_free(&exchange->request);
    if (exchange->link != NULL) {
        bool broken = !exchange->answered || (exchange->returning && !say_returning(exchange));
        link_give(&exchange->link, broken);
    }
    return exchange->rv;
}
