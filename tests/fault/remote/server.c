/* SPDX-License-Identifier: Apache-2.0 */
/* token_server: a PKCS#11 module's token for clients in other processes; see remote.h. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "hsm/module.h"
#include "reseal/frame.h"
#include "server.h"

#define BACKLOG 128

static CK_FUNCTION_LIST_PTR functions;
static uint32_t incarnation;

bool server_listen(const char *path, int *fd, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, FAIL_USAGE, "the path of a socket is too long: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Left by a server that was killed. */
    if (unlink(path) != 0 && errno != ENOENT)
        return error_errno(err, FAIL_IO, "cannot remove %s", path);
    if (*fd < 0 || bind(*fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(*fd, BACKLOG) != 0)
        return error_errno(err, FAIL_IO, "cannot listen at %s", path);
    return true;
}

bool server_thread(void *(*run)(void *argument), void *argument, struct error *err)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0 || pthread_detach(thread) != 0)
        return error_set(err, FAIL_INTERNAL, "cannot start a thread");
    return true;
}

/* -- a connection -- */

struct peer {
    struct frame_channel *channel;
    uint64_t client; /* 0 before its HELLO */
    unsigned last_call;
    CK_MECHANISM_TYPE last_mechanism;
};

static bool greet(struct peer *peer, struct bytes request, struct buf *out)
{
    struct cursor in = cursor_over(request);
    uint64_t client;
    if (peer->client != 0 || !cursor_u64(&in, &client) || client == 0 || !client_join(client))
        return false;
    peer->client = client;
    buf_put_u32(out, incarnation);
    return true;
}

/* What to answer a frame with. False: the peer is no client of ours. */
static bool answer_frame(struct peer *peer, const struct frame *frame, struct buf *out)
{
    if (frame->type == REMOTE_HELLO)
        return greet(peer, frame->body, out);
    if (peer->client == 0)
        return false;
    if (frame->type == REMOTE_RETURNING) {
        hold_return(peer->last_call, peer->last_mechanism);
        return true;
    }
    peer->last_call = frame->type;
    if (!server_call(functions, peer->client, frame->type, frame->body, &peer->last_mechanism, out))
        return false;
    hold_answer(peer->last_call, peer->last_mechanism);
    return true;
}

static bool serve_frame(struct peer *peer, const struct frame *frame, struct error *err)
{
    struct buf out = BUF_INIT(REMOTE_BODY_MAX);
    bool ok = answer_frame(peer, frame, &out) && buf_check(&out, "an answer", err) &&
              frame_queue(peer->channel, frame->number, frame->type, buf_bytes(&out), err) &&
              frame_flush(peer->channel, err);
    buf_free(&out);
    return ok;
}

static void serve_frames(struct peer *peer)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    bool ended = false;
    while (!ended) {
        bool found = true;
        if (!frame_receive(peer->channel, &ended, &err))
            return;
        while (found) {
            if (!frame_next(peer->channel, &frame, &found, &err) ||
                (found && !serve_frame(peer, &frame, &err)))
                return;
        }
    }
}

static void *serve_peer(void *argument)
{
    struct peer *peer = argument;
    serve_frames(peer);
    if (peer->client != 0)
        client_leave(functions, peer->client);
    frame_channel_free(&peer->channel);
    free(peer);
    return NULL;
}

static bool take_peer(int fd, struct error *err)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL || !frame_channel_new(fd, REMOTE_BODY_MAX, &peer->channel, err)) {
        close(fd);
        free(peer);
        return error_memory(err);
    }
    if (server_thread(serve_peer, peer, err))
        return true;
    frame_channel_free(&peer->channel);
    free(peer);
    return false;
}

/* -- the program -- */

static const char usage[] =
    "usage: token_server --socket PATH --module PATH [--init-args TEXT] [--control PATH [--wait]]\n"
    "\n"
    "--wait: says \"control\", and takes no client before it was told what to hold\n";

struct options {
    const char *socket, *module, *init_args, *control;
    bool wait;
};

static bool parse(int argc, char **argv, struct options *out)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"module", required_argument, NULL, 'm'},
        {"init-args", required_argument, NULL, 'i'},
        {"control", required_argument, NULL, 'c'},
        {"wait", no_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    int option;
    *out = (struct options){.init_args = ""};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's':
            out->socket = optarg;
            break;
        case 'm':
            out->module = optarg;
            break;
        case 'i':
            out->init_args = optarg;
            break;
        case 'c':
            out->control = optarg;
            break;
        case 'w':
            out->wait = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc && out->socket != NULL && out->module != NULL &&
           (out->control != NULL || !out->wait);
}

static bool choose_incarnation(struct error *err)
{
    while (incarnation == 0) {
        if (getrandom(&incarnation, sizeof incarnation, 0) != (ssize_t)sizeof incarnation)
            return error_errno(err, FAIL_INTERNAL, "no random numbers");
    }
    return true;
}

/* Until it is ended by a signal. */
static bool run(const struct options *options, struct error *err)
{
    struct module *module = NULL;
    int listener, fd;
    if (!choose_incarnation(err) ||
        !module_open(options->module, options->init_args, &module, err) ||
        (options->control != NULL && !hold_listen(options->control, err)))
        return false;
    functions = module->functions;
    if (options->wait) {
        puts("control");
        fflush(stdout);
        hold_await_order();
    }
    if (!server_listen(options->socket, &listener, err))
        return false;
    puts("ready");
    fflush(stdout);
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        if (!take_peer(fd, err))
            return false;
    }
    return error_errno(err, FAIL_IO, "cannot accept connections");
}

int main(int argc, char **argv)
{
    struct options options;
    struct error err = ERROR_INIT;
    if (!parse(argc, argv, &options)) {
        fputs(usage, stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (!run(&options, &err))
        fprintf(stderr, "token_server: %s\n", err.text);
    return 1;
}
