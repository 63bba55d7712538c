/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* close_range, pipe2, accept4 */
#include "nursery.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "reseal/helper_message.h"

#define ANSWER_S 20 /* seconds for one start; it takes milliseconds */

enum nursery_call {
    CALL_START = 's',
    CALL_DROP_PIN = 'd',
};

struct order {
    unsigned char call; /* enum nursery_call */
    unsigned char index;
};

/* With a descriptor where `failure` is 0. */
struct answer {
    int failure; /* errno */
    pid_t pid;
};

struct nursery {
    int fd;
    const struct helper_command *commands;
    size_t count;
};

/* -- in the nursery: system calls only, as after any fork -- */

static bool send_answer(int to, const struct answer *answer, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {(void *)(uintptr_t)answer, sizeof *answer};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    memset(&control, 0, sizeof control);
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    return sendmsg(to, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *answer;
}

/* The parent of a helper ends at once, so that the helper becomes the connector's. */
static _Noreturn void be_parent(const struct helper_command *command, int helper_end, int tell,
                                pid_t connector)
{
    pid_t child = fork();
    if (child == 0)
        helper_process_become(command, helper_end, connector);
    (void)!write(tell, &child, sizeof child);
    _exit(0);
}

static void start_helper(const struct helper_command *command, pid_t connector,
                         struct answer *answer, int *connector_end)
{
    int ends[2] = {-1, -1}, tell[2] = {-1, -1};
    pid_t parent = -1, child = -1;
    *connector_end = -1;
    /* The helper that was started before has read the PIN from there. */
    if (command->pin_fd >= 0)
        (void)lseek(command->pin_fd, 0, SEEK_SET);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
        pipe2(tell, O_CLOEXEC) != 0 || (parent = fork()) < 0) {
        answer->failure = errno;
    } else if (parent == 0) {
        be_parent(command, ends[1], tell[1], connector);
    } else {
        close(tell[1]);
        tell[1] = -1;
        if (read(tell[0], &child, sizeof child) != (ssize_t)sizeof child || child < 0)
            answer->failure = EAGAIN;
        while (waitpid(parent, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (answer->failure == 0) {
        answer->pid = child;
        *connector_end = ends[0];
        ends[0] = -1;
    }
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
        if (tell[i] >= 0)
            close(tell[i]);
    }
}

/* Of all that was open when it was forked off, only its socket and the PINs stay. */
static void close_others(const struct nursery *nursery)
{
    long most = sysconf(_SC_OPEN_MAX);
    for (int fd = STDERR_FILENO + 1; fd < most && fd < 65536; fd++) {
        bool keep = fd == nursery->fd;
        for (size_t i = 0; i < nursery->count; i++)
            keep = keep || fd == nursery->commands[i].pin_fd;
        if (!keep)
            close(fd);
    }
}

static _Noreturn void be_nursery(struct nursery *nursery, struct helper_command *commands,
                                 pid_t connector)
{
    struct order order;
    prctl(PR_SET_NAME, "reseald-starter");
    signal(SIGINT, SIG_IGN); /* the end of its socket is what ends it */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    close_others(nursery);
    for (;;) {
        struct answer answer = {0};
        int fd = -1;
        ssize_t len = recv(nursery->fd, &order, sizeof order, 0);
        if (len < 0 && errno == EINTR)
            continue;
        if (len != (ssize_t)sizeof order || order.index >= nursery->count)
            _exit(0);
        struct helper_command *command = &commands[order.index];
        if (order.call == CALL_DROP_PIN) {
            if (command->pin_fd > STDERR_FILENO)
                close(command->pin_fd);
            command->pin_fd = -1;
            continue;
        }
        start_helper(command, connector, &answer, &fd);
        bool told = send_answer(nursery->fd, &answer, fd);
        if (fd >= 0)
            close(fd);
        if (!told)
            _exit(0);
    }
}

/* -- in the connector -- */

static void give_up_pins(const struct nursery *nursery)
{
    for (size_t i = 0; i < nursery->count; i++) {
        int fd = nursery->commands[i].pin_fd;
        if (fd > STDERR_FILENO) {
            close(fd);
        } else if (fd >= 0) {
            int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
            if (nothing >= 0) {
                (void)!dup2(nothing, fd);
                close(nothing);
            }
        }
    }
}

bool nursery_open(const struct helper_command *commands, size_t count, struct nursery **out,
                  struct error *err)
{
    int ends[2] = {-1, -1};
    const struct timeval bound = {.tv_sec = ANSWER_S};
    *out = NULL;
    struct nursery *nursery = calloc(1, sizeof *nursery);
    struct helper_command *own = calloc(count, sizeof *own);
    if (nursery == NULL || own == NULL) {
        free(nursery);
        free(own);
        return error_memory(err);
    }
    memcpy(own, commands, count * sizeof *own);
    *nursery = (struct nursery){-1, commands, count};
    pid_t connector = getpid(), child = -1;
    bool ok = prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 &&
              socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0 &&
              setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound) == 0 &&
              (child = fork()) >= 0;
    if (child == 0) {
        nursery->fd = ends[1];
        be_nursery(nursery, own, connector);
    }
    if (!ok)
        error_errno(err, FAIL_IO, "cannot make the process that starts token helpers");
    if (ends[1] >= 0)
        close(ends[1]);
    if (!ok && ends[0] >= 0)
        close(ends[0]);
    free(own);
    if (!ok) {
        free(nursery);
        return false;
    }
    nursery->fd = ends[0];
    give_up_pins(nursery);
    *out = nursery;
    return true;
}

void nursery_close(struct nursery **nursery)
{
    if (nursery == NULL || *nursery == NULL)
        return;
    close((*nursery)->fd);
    free(*nursery);
    *nursery = NULL;
}

int nursery_fd(const struct nursery *nursery)
{
    return nursery->fd;
}

/* The descriptor that came along, or -1. */
static int take_descriptor(struct msghdr *message)
{
    int fd = -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

static bool ask(struct nursery *nursery, const struct order *order, struct answer *answer, int *fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {answer, sizeof *answer};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t len;
    *fd = -1;
    if (send(nursery->fd, order, sizeof *order, MSG_NOSIGNAL) != (ssize_t)sizeof *order)
        return false;
    do
        len = recvmsg(nursery->fd, &message, MSG_CMSG_CLOEXEC);
    while (len < 0 && errno == EINTR);
    if (len <= 0)
        return false;
    *fd = take_descriptor(&message);
    return len == (ssize_t)sizeof *answer;
}

bool nursery_start(struct nursery *nursery, size_t index, pid_t *pid, int *fd, struct error *err)
{
    const struct order order = {CALL_START, (unsigned char)index};
    const struct helper_command *command = &nursery->commands[index];
    struct answer answer = {0};
    if (access(command->program, X_OK) != 0) {
        error_errno(err, FAIL_NOT_FOUND, "cannot execute the token helper %s", command->program);
        return error_hint(err, "set helper of [connector] to the path of reseal-hsm");
    }
    if (!ask(nursery, &order, &answer, fd))
        return error_set(err, FAIL_INTERNAL, "the process that starts token helpers is gone");
    errno = answer.failure;
    if (answer.failure != 0)
        return error_errno(err, FAIL_IO, "cannot start the token helper");
    if (*fd < 0 || fcntl(*fd, F_SETFL, O_NONBLOCK) != 0) {
        if (*fd >= 0)
            close(*fd); /* the helper sees it, and ends */
        return error_set(err, FAIL_INTERNAL, "a token helper came without its socket");
    }
    *pid = answer.pid;
    return true;
}

void nursery_drop_pin(struct nursery *nursery, size_t index)
{
    const struct order order = {CALL_DROP_PIN, (unsigned char)index};
    (void)!send(nursery->fd, &order, sizeof order, MSG_NOSIGNAL);
}
