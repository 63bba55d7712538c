/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pipe2 */
#include "nursery.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "reseal/descriptor.h"

#define ANSWER_S 5 /* seconds for one start; it takes milliseconds */

enum nursery_call {
    CALL_START = 's',
    CALL_DROP_PIN = 'd',
};

struct order {
    unsigned char call; /* enum nursery_call */
    unsigned char index;
    unsigned number; /* the answer has the same */
};

/* With a descriptor where `failure` is 0. */
struct answer {
    unsigned number;
    int failure; /* errno */
    pid_t pid;
};

struct nursery {
    int fd;
    unsigned last_number;
    bool lost; /* an answer was missing: what comes now may be it */
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

/* What the intermediate parent of a helper tells. */
struct birth {
    int failure; /* errno */
    pid_t pid;
};

/* It ends at once, so that the helper becomes the connector's. */
static _Noreturn void be_parent(const struct helper_command *command, int helper_end, int tell,
                                int gate, pid_t connector)
{
    struct birth birth = {.pid = fork()};
    if (birth.pid == 0)
        helper_process_become(command, helper_end, gate, connector);
    birth.failure = birth.pid < 0 ? errno : 0;
    (void)!write(tell, &birth, sizeof birth);
    _exit(0);
}

/* Descriptors of one start, each pair the end that stays here and the one that goes. */
enum {
    SOCKET,
    TELL,
    GATE,
    PAIRS,
};

static void close_pairs(int pairs[PAIRS][2])
{
    for (int i = 0; i < PAIRS; i++) {
        for (int j = 0; j < 2; j++) {
            if (pairs[i][j] >= 0)
                close(pairs[i][j]);
        }
    }
}

/* The helper waits at the gate until it is known by its number; were it not, it would end. */
static void start_helper(const struct helper_command *command, pid_t connector,
                         struct answer *answer, int *connector_end)
{
    int pairs[PAIRS][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct birth birth = {.failure = EAGAIN};
    pid_t parent = -1;
    *connector_end = -1;
    /* The helper that was started before has read the PIN from there. */
    if (command->pin_fd >= 0)
        (void)lseek(command->pin_fd, 0, SEEK_SET);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[SOCKET]) != 0 ||
        pipe2(pairs[TELL], O_CLOEXEC) != 0 || pipe2(pairs[GATE], O_CLOEXEC) != 0 ||
        (parent = fork()) < 0) {
        answer->failure = errno;
        close_pairs(pairs);
        return;
    }
    if (parent == 0) {
        close(pairs[GATE][1]); /* the nursery alone can open the gate, or shut it by its end */
        be_parent(command, pairs[SOCKET][1], pairs[TELL][1], pairs[GATE][0], connector);
    }
    close(pairs[TELL][1]);
    pairs[TELL][1] = -1;
    if (read(pairs[TELL][0], &birth, sizeof birth) != (ssize_t)sizeof birth)
        birth.failure = EAGAIN;
    while (waitpid(parent, NULL, 0) < 0 && errno == EINTR)
        ;
    if (birth.failure == 0 && write(pairs[GATE][1], "", 1) != 1)
        birth.failure = errno;
    answer->failure = birth.failure;
    if (birth.failure == 0) {
        answer->pid = birth.pid;
        *connector_end = pairs[SOCKET][0];
        pairs[SOCKET][0] = -1;
    }
    close_pairs(pairs);
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
                                 int connector_end, pid_t connector)
{
    struct order order;
    prctl(PR_SET_NAME, "reseald-starter");
    signal(SIGINT, SIG_IGN); /* the end of its socket is what ends it */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    close(connector_end); /* whatever its number: its end is what ends this */
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
        answer.number = order.number;
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
    *nursery = (struct nursery){.fd = -1, .commands = commands, .count = count};
    pid_t connector = getpid(), child = -1;
    bool ok = prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 &&
              socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0 &&
              setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound) == 0 &&
              (child = fork()) >= 0;
    if (child == 0) {
        nursery->fd = ends[1];
        be_nursery(nursery, own, ends[0], connector);
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
    *fd = descriptor_take(&message);
    return len == (ssize_t)sizeof *answer;
}

bool nursery_start(struct nursery *nursery, size_t index, pid_t *pid, int *fd, struct error *err)
{
    const struct order order = {CALL_START, (unsigned char)index, ++nursery->last_number};
    const struct helper_command *command = &nursery->commands[index];
    struct answer answer = {0};
    if (access(command->program, X_OK) != 0) {
        error_errno(err, FAIL_NOT_FOUND, "cannot execute the token helper %s", command->program);
        return error_hint(err, "set helper of [connector] to the path of reseal-hsm");
    }
    bool answered = !nursery->lost && ask(nursery, &order, &answer, fd);
    if (answered && answer.number == order.number && answer.failure != 0) {
        errno = answer.failure;
        return error_errno(err, FAIL_IO, "cannot start the token helper");
    }
    if (answered && answer.number == order.number && *fd >= 0 &&
        fcntl(*fd, F_SETFL, O_NONBLOCK) == 0) {
        *pid = answer.pid;
        return true;
    }
    if (answered && *fd >= 0)
        close(*fd); /* the helper sees it, and ends */
    nursery->lost = true;
    (void)shutdown(nursery->fd, SHUT_RDWR); /* it ends, and whoever polls is told */
    return error_set(err, FAIL_INTERNAL, "the process that starts token helpers does not answer");
}

void nursery_drop_pin(struct nursery *nursery, size_t index)
{
    const struct order order = {CALL_DROP_PIN, (unsigned char)index, 0};
    (void)!send(nursery->fd, &order, sizeof order, MSG_NOSIGNAL);
}
