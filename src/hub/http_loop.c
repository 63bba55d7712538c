/* SPDX-License-Identifier: Apache-2.0 */
#include "http_loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "reseal/log.h"

#define FAULT_PAUSE_MS 100 /* where neither waiting nor serving is possible */

struct http_loop {
    struct MHD_Daemon *daemon;
    pthread_t thread;
    int epoll;        /* the daemon's */
    int bell;         /* eventfd */
    atomic_bool rung; /* and not yet heard: whoever comes next need not ring */
    atomic_bool quiesce, stop;
    bool quiesced; /* the thread's own */
};

/* Milliseconds until the daemon has to do something by the clock; -1: nothing. */
static int next_timeout(struct MHD_Daemon *daemon)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    if (MHD_get_timeout(daemon, &ms) != MHD_YES)
        return -1;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void close_listener(struct http_loop *loop)
{
    int listener = MHD_quiesce_daemon(loop->daemon);
    if (listener >= 0)
        close(listener);
    loop->quiesced = true;
}

static void *loop_main(void *argument)
{
    struct http_loop *loop = argument;
    while (!loop->stop) {
        struct pollfd fds[] = {{.fd = loop->epoll, .events = POLLIN},
                               {.fd = loop->bell, .events = POLLIN}};
        int timeout_ms = next_timeout(loop->daemon);
        bool served = true;
        if (timeout_ms != 0 && poll(fds, ARRAY_LEN(fds), timeout_ms) < 0)
            served = errno == EINTR;
        if (fds[1].revents != 0) {
            uint64_t count;
            (void)!read(loop->bell, &count, sizeof count);
            loop->rung = false; /* before it is looked at what there is to do */
        }
        if (loop->quiesce && !loop->quiesced)
            close_listener(loop);
        if (MHD_run(loop->daemon) != MHD_YES)
            served = false;
        if (!served) {
            log_event(LEVEL_ERROR, EVENT_NOTE, "the HTTP server cannot wait for its clients",
                      LOG_NUMBER("errno", errno));
            (void)poll(NULL, 0, FAULT_PAUSE_MS);
        }
    }
    return NULL;
}

void http_loop_wake(struct http_loop *loop)
{
    const uint64_t one = 1;
    if (!atomic_exchange(&loop->rung, true))
        (void)!write(loop->bell, &one, sizeof one);
}

bool http_loop_start(struct MHD_Daemon *daemon, struct http_loop **out, struct error *err)
{
    *out = NULL;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct http_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        return error_memory(err);
    loop->daemon = daemon;
    loop->epoll = info != NULL ? info->epoll_fd : -1;
    loop->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int status = loop->bell < 0 ? errno : 0;
    *out = loop;
    if (status == 0)
        status = pthread_create(&loop->thread, NULL, loop_main, loop);
    if (status != 0) {
        if (loop->bell >= 0)
            close(loop->bell);
        free(loop);
        *out = NULL;
        errno = status;
        return error_errno(err, FAIL_INTERNAL, "cannot start the HTTP thread");
    }
    return true;
}

void http_loop_quiesce(struct http_loop *loop)
{
    loop->quiesce = true;
    http_loop_wake(loop);
}

void http_loop_stop(struct http_loop **loop)
{
    if (loop == NULL || *loop == NULL)
        return;
    (*loop)->stop = true;
    http_loop_wake(*loop);
    pthread_join((*loop)->thread, NULL);
    close((*loop)->bell);
    free(*loop);
    *loop = NULL;
}
