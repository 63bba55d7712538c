/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framed messages between two of our own processes over a stream socket.
 *
 * A frame is: length of the body (32 bits), request number (32 bits), type (16 bits), body;
 * integers big-endian. Each side treats the other's bytes as hostile: a frame with a body over the
 * ceiling ends the channel. A channel works on blocking and on non-blocking descriptors; it has no
 * lock of its own. What was sent, and what was taken, is wiped.
 */
#ifndef RESEAL_FRAME_H
#define RESEAL_FRAME_H

#include "reseal/buf.h"

#define FRAME_HEADER 10

struct frame {
    uint32_t number; /* pairs an answer with its request */
    uint16_t type;
    struct bytes body; /* valid until the next frame_next or frame_receive on the channel */
};

struct frame_channel;

/* Takes ownership of `fd`. `body_max` in bytes. */
bool frame_channel_new(int fd, size_t body_max, struct frame_channel **out,
                       struct error *err) MUST_USE;
void frame_channel_free(struct frame_channel **channel);
int frame_channel_fd(const struct frame_channel *channel) MUST_USE;

/* One read(2). *ended is set at the peer's end of file. False on a system error. */
bool frame_receive(struct frame_channel *channel, bool *ended, struct error *err) MUST_USE;
/* The next whole frame. *found is false where more bytes are needed. False: the peer broke the
 * protocol. */
bool frame_next(struct frame_channel *channel, struct frame *out, bool *found,
                struct error *err) MUST_USE;

/* Puts a frame into the outgoing bytes. */
bool frame_queue(struct frame_channel *channel, uint32_t number, uint16_t type, struct bytes body,
                 struct error *err) MUST_USE;
/* Writes as much as the descriptor takes; frame_pending tells whether something is left. */
bool frame_flush(struct frame_channel *channel, struct error *err) MUST_USE;
bool frame_pending(const struct frame_channel *channel) MUST_USE;

#endif
