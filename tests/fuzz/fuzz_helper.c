/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two processes of the connector say to each other. The first byte chooses the message:
 *
 *   - a message that is decoded encodes to the same bytes: there is one way to say a thing;
 *   - frames come out of a channel as they went in, in whatever pieces they arrive; one over the
 *     bound ends the channel.
 */
#include <sys/socket.h>
#include <unistd.h>
#include "fuzz.h"
#include "reseal/frame.h"
#include "reseal/helper_message.h"

#define BODY_MAX 256 /* of the frames here; small, so that its bound is reached */

static void check_bytes(struct bytes body, struct buf *out)
{
    FUZZ_CHECK(out->len == body.len && memcmp(out->data, body.data, body.len) == 0);
}

static void try_hello(struct bytes body, struct buf *out, struct error *err)
{
    static struct hello_message hello; /* large */
    if (!hello_decode(body, &hello, err))
        return;
    FUZZ_OK(hello_encode(&hello, out, err), err);
    check_bytes(body, out);
}

static void try_reseal(struct bytes body, struct buf *out, struct error *err)
{
    struct reseal_message message;
    if (!reseal_decode(body, &message, err))
        return;
    FUZZ_OK(reseal_encode(&message, out, err), err);
    check_bytes(body, out);
}

static void try_resealed(struct bytes body, struct buf *out, struct error *err)
{
    struct resealed_message message;
    if (!resealed_decode(body, &message, err))
        return;
    FUZZ_OK(resealed_encode(&message, out, err), err);
    check_bytes(body, out);
}

static void try_failed(struct bytes body, struct buf *out, struct error *err)
{
    struct error told = ERROR_INIT;
    if (!failed_decode(body, &told, err))
        return;
    FUZZ_OK(failed_encode(&told, out, err), err);
    check_bytes(body, out);
}

static void try_status(struct bytes body, struct buf *out, struct error *err)
{
    struct status_message message;
    if (!status_decode(body, &message, err))
        return;
    FUZZ_OK(status_encode(&message, out, err), err);
    check_bytes(body, out);
}

/* Takes every frame that is there, and compares each with the bytes at *at. */
static bool take_frames(struct frame_channel *channel, struct cursor *at)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    struct bytes body;
    uint32_t len = 0, number = 0;
    uint16_t type = 0;
    bool found = true;
    for (;;) {
        if (!frame_next(channel, &frame, &found, &err)) {
            struct cursor peek = *at;
            FUZZ_CHECK(cursor_u32(&peek, &len) && len > BODY_MAX);
            fuzz_check_error(&err);
            return false;
        }
        if (!found)
            return true;
        FUZZ_CHECK(cursor_u32(at, &len) && cursor_u32(at, &number) && cursor_u16(at, &type) &&
                   cursor_take(at, len, &body));
        FUZZ_CHECK(frame.number == number && frame.type == type && frame.body.len == len);
        FUZZ_CHECK(len == 0 || memcmp(frame.body.data, body.data, len) == 0);
    }
}

static void try_frames(struct bytes stream)
{
    struct error err = ERROR_INIT;
    struct frame_channel *channel = NULL;
    struct cursor at = cursor_over(stream);
    int fds[2];
    bool ended = false, sound = true;
    uint32_t len = 0;
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    FUZZ_OK(frame_channel_new(fds[0], BODY_MAX, &channel, &err), &err);
    for (size_t sent = 0; sent < stream.len && sound;) {
        size_t piece =
            1 + stream.data[sent] % 64u; /* the bytes themselves say where they are cut */
        if (piece > stream.len - sent)
            piece = stream.len - sent;
        FUZZ_CHECK(write(fds[1], stream.data + sent, piece) == (ssize_t)piece);
        sent += piece;
        FUZZ_OK(frame_receive(channel, &ended, &err), &err);
        FUZZ_CHECK(!ended);
        sound = take_frames(channel, &at);
    }
    if (sound) { /* what is left is no whole frame */
        struct cursor rest = at;
        FUZZ_CHECK(!cursor_u32(&rest, &len) || rest.left < FRAME_HEADER - 4 + (size_t)len);
    }
    close(fds[1]);
    frame_channel_free(&channel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct buf out = BUF_INIT(HELPER_BODY_MAX);
    if (size < 2)
        return 0;
    struct bytes body = {data + 1, size - 1};
    switch (data[0] % 6) {
    case 0:
        try_hello(body, &out, &err);
        break;
    case 1:
        try_reseal(body, &out, &err);
        break;
    case 2:
        try_resealed(body, &out, &err);
        break;
    case 3:
        try_failed(body, &out, &err);
        break;
    case 4:
        try_status(body, &out, &err);
        break;
    default:
        try_frames(body);
        break;
    }
    if (err.kind != FAIL_NONE)
        fuzz_check_error(&err);
    buf_free(&out);
    return 0;
}
