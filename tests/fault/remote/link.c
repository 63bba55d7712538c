/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "exchange.h"

/* Each thread that calls has a connection while it calls; those that are idle wait here. */
static struct {
    pthread_mutex_t lock;
    bool open;
    char path[REMOTE_PATH];
    uint64_t client;
    uint32_t incarnation; /* of the server that answered last */
    struct link *idle;
} links = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void link_end(struct link **link)
{
    frame_channel_free(&(*link)->channel);
    free(*link);
    *link = NULL;
}

static void end_idle(void)
{
    while (links.idle != NULL) {
        struct link *link = links.idle;
        links.idle = link->next;
        link_end(&link);
    }
}

CK_RV links_open(const char *init_args)
{
    static const char key[] = "socket=";
    CK_RV rv = CKR_ARGUMENTS_BAD;
    pthread_mutex_lock(&links.lock);
    if (links.open) {
        rv = CKR_CRYPTOKI_ALREADY_INITIALIZED;
    } else if (init_args != NULL && strncmp(init_args, key, strlen(key)) == 0 &&
               strlen(init_args + strlen(key)) < sizeof links.path) {
        memcpy(links.path, init_args + strlen(key), strlen(init_args + strlen(key)) + 1);
        links.incarnation = 0;
        links.open =
            getrandom(&links.client, sizeof links.client, 0) == (ssize_t)sizeof links.client;
        rv = links.open ? CKR_OK : CKR_GENERAL_ERROR;
    }
    pthread_mutex_unlock(&links.lock);
    return rv;
}

CK_RV links_close(void)
{
    pthread_mutex_lock(&links.lock);
    CK_RV rv = links.open ? CKR_OK : CKR_CRYPTOKI_NOT_INITIALIZED;
    end_idle(); /* without connections the server ends the sessions */
    links.open = false;
    pthread_mutex_unlock(&links.lock);
    return rv;
}

bool link_ask(struct link *link, uint16_t type, struct bytes request, struct bytes *answer)
{
    struct error ignored = ERROR_INIT;
    struct frame frame = {.type = 0};
    bool ended = false, found = false;
    if (!frame_queue(link->channel, 1, type, request, &ignored) ||
        !frame_flush(link->channel, &ignored))
        return false;
    while (!found) {
        if (ended || !frame_next(link->channel, &frame, &found, &ignored) ||
            (!found && !frame_receive(link->channel, &ended, &ignored)))
            return false;
    }
    *answer = frame.body;
    return frame.type == type;
}

static bool greet(struct link *link, uint64_t client)
{
    struct buf request = BUF_INIT(16);
    struct bytes body;
    buf_put_u64(&request, client);
    bool ok = link_ask(link, REMOTE_HELLO, buf_bytes(&request), &body);
    if (ok) {
        struct cursor answer = cursor_over(body);
        ok = cursor_u32(&answer, &link->incarnation) && link->incarnation != 0;
    }
    buf_free(&request);
    return ok;
}

static struct link *link_new(const char *path, uint64_t client)
{
    struct error ignored = ERROR_INIT;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    struct link *link = calloc(1, sizeof *link);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link == NULL || fd < 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        !frame_channel_new(fd, REMOTE_BODY_MAX, &link->channel, &ignored)) {
        if (fd >= 0)
            close(fd);
        free(link);
        return NULL;
    }
    if (!greet(link, client))
        link_end(&link);
    return link;
}

/* Nothing is to be read from an idle connection but its end. */
static bool is_dead(const struct link *link)
{
    struct pollfd fd = {.fd = frame_channel_fd(link->channel), .events = POLLIN};
    return poll(&fd, 1, 0) != 0;
}

/* What is idle to a server that is gone goes too. */
static void note_incarnation(uint32_t incarnation)
{
    if (links.incarnation != incarnation)
        end_idle();
    links.incarnation = incarnation;
}

CK_RV link_take(uint32_t incarnation, struct link **out)
{
    struct link *link = NULL;
    char path[REMOTE_PATH];
    *out = NULL;
    pthread_mutex_lock(&links.lock);
    if (!links.open) {
        pthread_mutex_unlock(&links.lock);
        return CKR_CRYPTOKI_NOT_INITIALIZED;
    }
    while (link == NULL && links.idle != NULL) {
        link = links.idle;
        links.idle = link->next;
        if (is_dead(link))
            link_end(&link);
    }
    memcpy(path, links.path, sizeof path);
    uint64_t client = links.client;
    pthread_mutex_unlock(&links.lock);
    if (link == NULL)
        link = link_new(path, client);
    if (link == NULL)
        return CKR_DEVICE_REMOVED;
    if (incarnation != 0 && incarnation != link->incarnation) {
        link_give(&link, false);
        return CKR_SESSION_HANDLE_INVALID;
    }
    *out = link;
    return CKR_OK;
}

void link_give(struct link **link, bool broken)
{
    struct error ignored = ERROR_INIT;
    struct frame frame;
    bool found = false;
    /* The answer that was taken last is wiped by this; there is no other. */
    broken = broken || !frame_next((*link)->channel, &frame, &found, &ignored) || found;
    pthread_mutex_lock(&links.lock);
    if (!links.open || broken) {
        if (broken && (*link)->incarnation == links.incarnation)
            end_idle();
        link_end(link);
    } else {
        note_incarnation((*link)->incarnation);
        (*link)->next = links.idle;
        links.idle = *link;
        *link = NULL; /* transferred */
    }
    pthread_mutex_unlock(&links.lock);
}
