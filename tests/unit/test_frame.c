/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/unit/check.h"
#include "reseal/frame.h"

struct pair {
    struct frame_channel *channel;
    int peer;
};

static int connect_pair(void **state)
{
    static struct pair pair;
    struct error err = ERROR_INIT;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 ||
        !frame_channel_new(ends[0], 1000, &pair.channel, &err))
        return -1;
    pair.peer = ends[1];
    *state = &pair;
    return 0;
}

static int drop_pair(void **state)
{
    struct pair *pair = *state;
    frame_channel_free(&pair->channel);
    if (pair->peer >= 0)
        close(pair->peer);
    return 0;
}

static void frames_arrive_whole_whatever_the_pieces(void **state)
{
    struct pair *pair = *state;
    struct error err = ERROR_INIT;
    const uint8_t raw[] = {0,   0, 0, 3, 0, 0, 0, 7, 0, 2, 'a', 'b',
                           'c', 0, 0, 0, 0, 0, 0, 0, 8, 0, 3};
    struct frame frame;
    bool ended, found;
    size_t seen = 0;
    for (size_t i = 0; i < sizeof raw; i++) {
        assert_int_equal(write(pair->peer, raw + i, 1), 1);
        assert_ok(frame_receive(pair->channel, &ended, &err), &err);
        assert_ok(frame_next(pair->channel, &frame, &found, &err), &err);
        if (found && seen++ == 0) {
            assert_int_equal(frame.number, 7);
            assert_int_equal(frame.type, 2);
            assert_int_equal(frame.body.len, 3);
            assert_memory_equal(frame.body.data, "abc", 3);
        }
    }
    assert_int_equal(seen, 2);
    assert_int_equal(frame.number, 8);
    assert_int_equal(frame.body.len, 0);
}

static void several_frames_in_one_read_come_one_by_one(void **state)
{
    struct pair *pair = *state;
    struct error err = ERROR_INIT;
    struct frame_channel *sender = NULL;
    struct frame frame;
    bool ended, found;
    assert_ok(frame_channel_new(dup(pair->peer), 1000, &sender, &err), &err);
    for (uint32_t i = 0; i < 5; i++)
        assert_ok(frame_queue(sender, i, 1, (struct bytes){(const uint8_t *)"xy", 2}, &err), &err);
    assert_true(frame_pending(sender));
    assert_ok(frame_flush(sender, &err), &err);
    assert_false(frame_pending(sender));
    assert_ok(frame_receive(pair->channel, &ended, &err), &err);
    for (uint32_t i = 0; i < 5; i++) {
        assert_ok(frame_next(pair->channel, &frame, &found, &err), &err);
        assert_true(found);
        assert_int_equal(frame.number, i);
    }
    assert_ok(frame_next(pair->channel, &frame, &found, &err), &err);
    assert_false(found);
    frame_channel_free(&sender);
}

static void a_frame_over_the_ceiling_ends_the_channel(void **state)
{
    struct pair *pair = *state;
    struct error err = ERROR_INIT;
    const uint8_t raw[] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 1};
    const uint8_t body[1001] = {0};
    struct frame frame;
    bool ended, found;
    assert_int_equal(write(pair->peer, raw, sizeof raw), sizeof raw);
    assert_ok(frame_receive(pair->channel, &ended, &err), &err);
    assert_refused(frame_next(pair->channel, &frame, &found, &err), &err, FAIL_TOO_LARGE);
    assert_refused(frame_queue(pair->channel, 1, 1, (struct bytes){body, sizeof body}, &err), &err,
                   FAIL_TOO_LARGE);
}

static void the_end_of_the_peer_is_seen(void **state)
{
    struct pair *pair = *state;
    struct error err = ERROR_INIT;
    bool ended = false;
    close(pair->peer);
    pair->peer = -1;
    assert_ok(frame_receive(pair->channel, &ended, &err), &err);
    assert_true(ended);
    assert_ok(frame_queue(pair->channel, 1, 1, (struct bytes){NULL, 0}, &err), &err);
    assert_refused(frame_flush(pair->channel, &err), &err, FAIL_IO); /* and no SIGPIPE */
}

static void a_full_socket_keeps_the_rest_pending(void **state)
{
    struct pair *pair = *state;
    struct error err = ERROR_INIT;
    const uint8_t body[1000] = {0};
    int fd = frame_channel_fd(pair->channel);
    size_t sent = 0;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(pair->peer, F_SETFL, fcntl(pair->peer, F_GETFL) | O_NONBLOCK);
    while (!frame_pending(pair->channel)) {
        assert_ok(frame_queue(pair->channel, 1, 1, (struct bytes){body, sizeof body}, &err), &err);
        assert_ok(frame_flush(pair->channel, &err), &err);
        sent++;
    }
    size_t received = 0;
    for (;;) {
        uint8_t chunk[65536];
        ssize_t got = read(pair->peer, chunk, sizeof chunk);
        if (got > 0)
            received += (size_t)got;
        else if (!frame_pending(pair->channel))
            break;
        assert_ok(frame_flush(pair->channel, &err), &err);
    }
    assert_int_equal(received, sent * (FRAME_HEADER + sizeof body));
}

#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, connect_pair, drop_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(frames_arrive_whole_whatever_the_pieces),
        PAIR_TEST(several_frames_in_one_read_come_one_by_one),
        PAIR_TEST(a_frame_over_the_ceiling_ends_the_channel),
        PAIR_TEST(the_end_of_the_peer_is_seen),
        PAIR_TEST(a_full_socket_keeps_the_rest_pending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
