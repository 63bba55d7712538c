/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* accept4, O_PATH */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "reseal/descriptor.h"
#include "reseal/log.h"

#define SOCKET_ENDING  ".control"
#define COPY_ENDING    ".backup" /* of the copy while it is made */
#define REQUEST_MAX    32
#define REQUEST_WAIT_S 5
#define ANSWER_MAX_LEN 1024
#define ACCEPT_PAUSE   100 /* milliseconds after a client that could not be taken */

struct control {
    struct store *store;
    char database[PATH_MAX];
    int listener, stop;
    pthread_t thread;
    bool started;
};

/* Names the socket by the folder's descriptor, as an address holds 107 bytes and a path may have
 * more. The descriptor is to be closed after use. */
static bool address_of(const char *database, struct sockaddr_un *out, int *folder,
                       struct error *err)
{
    char path[PATH_MAX], name[PATH_MAX];
    snprintf(path, sizeof path, "%s", database);
    snprintf(name, sizeof name, "%s", database);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    *folder = -1;
    size_t len = strlen(database) + strlen(SOCKET_ENDING);
    if (len < sizeof out->sun_path) {
        memcpy(out->sun_path, database, strlen(database));
        memcpy(out->sun_path + strlen(database), SOCKET_ENDING, sizeof SOCKET_ENDING);
        return true;
    }
    *folder = open(dirname(path), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*folder < 0)
        return error_errno(err, FAIL_IO, "cannot open the folder of %s", database);
    int put = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s" SOCKET_ENDING,
                       *folder, basename(name));
    if (put > 0 && (size_t)put < sizeof out->sun_path)
        return true;
    close(*folder);
    return error_set(err, FAIL_USAGE, "the file name of %s is too long for a socket beside it",
                     database);
}

static bool listen_beside(struct control *control, struct error *err)
{
    struct sockaddr_un address;
    int folder;
    if (!address_of(control->database, &address, &folder, err))
        return false;
    /* Who holds the database may take the place of a hub that was killed. */
    (void)unlink(address.sun_path);
    control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = control->listener >= 0 &&
              bind(control->listener, (const struct sockaddr *)&address, sizeof address) == 0 &&
              listen(control->listener, 4) == 0;
    if (!ok)
        error_errno(err, FAIL_IO, "cannot make the socket %s" SOCKET_ENDING, control->database);
    if (folder >= 0)
        close(folder);
    return ok;
}

/* Sends the text, and with it the descriptor where there is one. */
static void send_answer(int peer, const char *text, int fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    char copy[ANSWER_MAX_LEN];
    snprintf(copy, sizeof copy, "%s", text);
    struct iovec part = {.iov_base = copy, .iov_len = strlen(copy)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(&ancillary, 0, sizeof ancillary);
        message.msg_control = ancillary.space;
        message.msg_controllen = sizeof ancillary.space;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    (void)sendmsg(peer, &message, MSG_NOSIGNAL); /* who has gone needs no answer */
}

static void answer_backup(struct control *control, int peer)
{
    struct error err = ERROR_INIT;
    char path[PATH_MAX + sizeof COPY_ENDING], text[ANSWER_MAX_LEN];
    int fd = -1;
    snprintf(path, sizeof path, "%s" COPY_ENDING, control->database);
    log_event(LEVEL_INFO, EVENT_NOTE, "backup begins", LOG_TEXT("database", control->database));
    bool ok = store_back_up(control->store, path, &err);
    if (ok) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        ok = fd >= 0 || error_errno(&err, FAIL_IO, "cannot open the copy %s", path);
        (void)unlink(path); /* it goes when the last descriptor is closed */
    }
    if (ok) {
        send_answer(peer, "ok\n", fd);
        log_event(LEVEL_INFO, EVENT_NOTE, "backup handed out",
                  LOG_TEXT("database", control->database));
    } else {
        bool hint = err.hint[0] != '\0';
        snprintf(text, sizeof text, "error %.400s%s%.400s\n", err.text, hint ? "; " : "", err.hint);
        send_answer(peer, text, -1);
        log_error(LEVEL_ERROR, EVENT_NOTE, "backup failed", &err);
    }
    if (fd >= 0)
        close(fd);
}

static void serve(struct control *control, int peer)
{
    const struct timeval patience = {.tv_sec = REQUEST_WAIT_S};
    char request[REQUEST_MAX];
    (void)setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ssize_t got = recv(peer, request, sizeof request - 1, 0);
    if (got <= 0)
        return;
    request[got] = '\0';
    if (strcmp(request, "backup\n") == 0)
        answer_backup(control, peer);
    else
        send_answer(peer, "error this is no request that the hub knows\n", -1);
}

static void *control_main(void *argument)
{
    struct control *control = argument;
    struct pollfd fds[] = {{.fd = control->stop, .events = POLLIN},
                           {.fd = control->listener, .events = POLLIN}};
    while (true) {
        if (poll(fds, ARRAY_LEN(fds), -1) < 0) {
            if (errno != EINTR)
                return NULL;
            continue;
        }
        if (fds[0].revents != 0)
            return NULL;
        if (fds[1].revents == 0)
            continue;
        int peer = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC);
        if (peer >= 0) {
            serve(control, peer);
            close(peer);
        } else { /* without a free descriptor it would be asked for over and over */
            (void)poll(fds, 1, ACCEPT_PAUSE);
        }
    }
}

bool control_start(struct store *store, const char *database, struct control **out,
                   struct error *err)
{
    char left[PATH_MAX + sizeof COPY_ENDING];
    *out = NULL;
    struct control *control = calloc(1, sizeof *control);
    if (control == NULL)
        return error_memory(err);
    control->store = store;
    control->listener = -1;
    snprintf(control->database, sizeof control->database, "%s", database);
    snprintf(left, sizeof left, "%s" COPY_ENDING, database);
    (void)unlink(left); /* of a hub that was killed in the middle of one */
    control->stop = eventfd(0, EFD_CLOEXEC);
    if (control->stop < 0) {
        error_errno(err, FAIL_IO, "no eventfd");
    } else if (listen_beside(control, err)) {
        int status = pthread_create(&control->thread, NULL, control_main, control);
        control->started = status == 0;
        errno = status;
        if (!control->started)
            error_errno(err, FAIL_INTERNAL, "cannot start the control thread");
    }
    if (!control->started) {
        control_stop(&control);
        return false;
    }
    *out = control;
    return true;
}

void control_stop(struct control **control)
{
    struct control *ending = control != NULL ? *control : NULL;
    struct error ignored = ERROR_INIT;
    struct sockaddr_un address;
    int folder;
    if (ending == NULL)
        return;
    if (ending->started) {
        (void)eventfd_write(ending->stop, 1);
        pthread_join(ending->thread, NULL);
    }
    if (ending->listener >= 0) {
        close(ending->listener);
        if (address_of(ending->database, &address, &folder, &ignored)) {
            (void)unlink(address.sun_path);
            if (folder >= 0)
                close(folder);
        }
    }
    if (ending->stop >= 0)
        close(ending->stop);
    free(ending);
    *control = NULL;
}

static bool call(const char *database, int *peer, struct error *err)
{
    struct sockaddr_un address;
    int folder;
    if (!address_of(database, &address, &folder, err))
        return false;
    *peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = *peer >= 0 &&
              connect(*peer, (const struct sockaddr *)&address, sizeof address) == 0 &&
              send(*peer, "backup\n", 7, MSG_NOSIGNAL) == 7;
    int number = errno;
    if (folder >= 0)
        close(folder);
    errno = number;
    if (ok)
        return true;
    bool none = number == ENOENT || number == ECONNREFUSED;
    error_errno(err, none ? FAIL_NOT_FOUND : FAIL_IO, "no hub answers at %s" SOCKET_ENDING,
                database);
    return none ? error_hint(err, "a hub that does not run needs no backup command: copy its "
                                  "database, and check the copy with reseal-hub check")
                : error_hint(err, "run this as the hub's user or as root");
}

bool control_backup(const char *database, int *fd, struct error *err)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    char answer[ANSWER_MAX_LEN];
    int peer = -1;
    *fd = -1;
    if (!call(database, &peer, err)) {
        if (peer >= 0)
            close(peer);
        return false;
    }
    struct iovec part = {.iov_base = answer, .iov_len = sizeof answer - 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = ancillary.space,
                             .msg_controllen = sizeof ancillary.space};
    ssize_t got = recvmsg(peer, &message, MSG_CMSG_CLOEXEC);
    close(peer);
    if (got <= 0)
        return error_set(err, FAIL_IO, "the hub has ended before the backup was whole");
    answer[got] = '\0';
    answer[strcspn(answer, "\n")] = '\0';
    *fd = descriptor_take(&message);
    if (*fd >= 0)
        return true;
    return error_set(err, FAIL_IO, "the hub makes no backup: %s",
                     strncmp(answer, "error ", 6) == 0 ? answer + 6 : answer);
}
