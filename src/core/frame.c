/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "reseal/secret.h"

/* Enough pipelined frames for any peer that waits for answers; more means it does not read. */
#define FRAMES_AHEAD 256

struct frame_channel {
    int fd;
    size_t body_max;
    struct buf in;  /* received, not yet taken; the frame given out last stands at its front */
    struct buf out; /* queued, not yet written */
    size_t taken;   /* bytes of `in` that the frame given out last covers */
    size_t written; /* bytes of `out` that are with the kernel already */
};

bool frame_channel_new(int fd, size_t body_max, struct frame_channel **out, struct error *err)
{
    *out = NULL;
    struct frame_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return error_memory(err);
    size_t frame = FRAME_HEADER + body_max;
    channel->fd = fd;
    channel->body_max = body_max;
    channel->in = (struct buf)BUF_INIT(2 * frame + 65536);
    channel->out = (struct buf)BUF_INIT(FRAMES_AHEAD * frame);
    *out = channel;
    return true;
}

void frame_channel_free(struct frame_channel **channel)
{
    if (channel == NULL || *channel == NULL)
        return;
    close((*channel)->fd);
    buf_free(&(*channel)->in);
    buf_free(&(*channel)->out);
    free(*channel);
    *channel = NULL;
}

int frame_channel_fd(const struct frame_channel *channel)
{
    return channel->fd;
}

static void drop_taken(struct frame_channel *channel)
{
    buf_consume(&channel->in, channel->taken);
    channel->taken = 0;
}

bool frame_receive(struct frame_channel *channel, bool *ended, struct error *err)
{
    *ended = false;
    drop_taken(channel);
    uint8_t chunk[65536];
    size_t room = channel->in.max - channel->in.len;
    if (room == 0) /* frame_next was not called until it found nothing */
        return error_set(err, FAIL_INTERNAL, "frames arrive faster than they are taken");
    ssize_t got = read(channel->fd, chunk, room < sizeof chunk ? room : sizeof chunk);
    if (got < 0) {
        if (errno == EINTR || errno == EAGAIN)
            return true;
        if (errno == ECONNRESET) {
            *ended = true;
            return true;
        }
        return error_errno(err, FAIL_IO, "cannot read from the other process");
    }
    *ended = got == 0;
    buf_put(&channel->in, chunk, (size_t)got);
    memory_wipe(chunk, (size_t)got);
    return buf_check(&channel->in, "the input of a frame channel", err);
}

bool frame_next(struct frame_channel *channel, struct frame *out, bool *found, struct error *err)
{
    *found = false;
    drop_taken(channel);
    struct cursor cursor = cursor_over(buf_bytes(&channel->in));
    uint32_t len;
    if (!cursor_u32(&cursor, &len))
        return true;
    if (len > channel->body_max)
        return error_set(err, FAIL_TOO_LARGE,
                         "the other process sent a frame of %u bytes, the bound is %zu", len,
                         channel->body_max);
    if (!cursor_u32(&cursor, &out->number) || !cursor_u16(&cursor, &out->type) ||
        !cursor_take(&cursor, len, &out->body))
        return true;
    channel->taken = FRAME_HEADER + len;
    *found = true;
    return true;
}

bool frame_queue(struct frame_channel *channel, uint32_t number, uint16_t type, struct bytes body,
                 struct error *err)
{
    if (body.len > channel->body_max)
        return error_set(err, FAIL_TOO_LARGE, "a frame of %zu bytes is over the bound of %zu",
                         body.len, channel->body_max);
    if (channel->written == channel->out.len) { /* and a failure is over */
        buf_reset(&channel->out);
        channel->written = 0;
    }
    buf_put_u32(&channel->out, (uint32_t)body.len);
    buf_put_u32(&channel->out, number);
    buf_put_u16(&channel->out, type);
    buf_put(&channel->out, body.data, body.len);
    return buf_check(&channel->out, "the output of a frame channel", err);
}

bool frame_flush(struct frame_channel *channel, struct error *err)
{
    while (frame_pending(channel)) {
        /* MSG_NOSIGNAL: the death of the peer is an error to handle, not a signal. */
        ssize_t put = send(channel->fd, channel->out.data + channel->written,
                           channel->out.len - channel->written, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EAGAIN)
            return true;
        if (put < 0)
            return error_errno(err, FAIL_IO, "cannot write to the other process");
        channel->written += (size_t)put;
    }
    buf_reset(&channel->out);
    channel->written = 0;
    return true;
}

bool frame_pending(const struct frame_channel *channel)
{
    return channel->written < channel->out.len;
}
