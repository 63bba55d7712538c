/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "server.h"

#define ANY_CALL REMOTE_CALL_COUNT

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    FILE *out;     /* to whoever controls; NULL: nobody does */
    unsigned call; /* 0: none is held */
    bool returned; /* held when its outputs are with the caller */
    bool obeyed;   /* the first line has come */
    unsigned long round;
} hold = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void let_go(void)
{
    hold.round++;
    pthread_cond_broadcast(&hold.changed);
}

static unsigned call_by_name(const char *name)
{
    if (strcmp(name, "*") == 0)
        return ANY_CALL;
    for (unsigned i = 0; i < REMOTE_CALL_COUNT; i++) {
        const char *known = remote_call_name(i);
        if (known != NULL && strcmp(known, name) == 0)
            return i;
    }
    return 0;
}

static bool obey(const char *line)
{
    char name[64] = "", when[16] = "";
    int words = sscanf(line, "hold %63s %15s", name, when);
    if (words >= 1) {
        unsigned call = call_by_name(name);
        if (call == 0 || (words == 2 && strcmp(when, "returned") != 0))
            return false;
        hold.call = call;
        hold.returned = words == 2;
        return true;
    }
    if (strcmp(line, "go") == 0)
        hold.call = 0;
    else if (strcmp(line, "next") != 0)
        return false;
    let_go();
    return true;
}

static void serve(FILE *in, FILE *out)
{
    char line[128];
    pthread_mutex_lock(&hold.lock);
    hold.out = out;
    pthread_mutex_unlock(&hold.lock);
    while (fgets(line, sizeof line, in) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        pthread_mutex_lock(&hold.lock);
        fputs(obey(line) ? "ok\n" : "error\n", out);
        fflush(out);
        hold.obeyed = true;
        pthread_cond_broadcast(&hold.changed);
        pthread_mutex_unlock(&hold.lock);
    }
    pthread_mutex_lock(&hold.lock);
    hold.out = NULL;
    hold.call = 0;
    let_go();
    pthread_mutex_unlock(&hold.lock);
}

static void *control(void *argument)
{
    int listener = *(const int *)argument, fd;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        int other = dup(fd); /* a stream each way: one for both would have to be repositioned */
        FILE *in = fdopen(fd, "r"), *out = other >= 0 ? fdopen(other, "w") : NULL;
        if (in != NULL && out != NULL)
            serve(in, out);
        if (out != NULL)
            fclose(out);
        if (in != NULL)
            fclose(in);
    }
    return NULL;
}

bool hold_listen(const char *path, struct error *err)
{
    static int listener;
    return server_listen(path, &listener, err) && server_thread(control, &listener, err);
}

void hold_await_order(void)
{
    pthread_mutex_lock(&hold.lock);
    while (!hold.obeyed)
        pthread_cond_wait(&hold.changed, &hold.lock);
    pthread_mutex_unlock(&hold.lock);
}

static bool is_wanted(unsigned call, bool returned)
{
    return (hold.call == call || hold.call == ANY_CALL) && hold.returned == returned;
}

bool hold_wants_return(unsigned call)
{
    pthread_mutex_lock(&hold.lock);
    bool wants = is_wanted(call, true);
    pthread_mutex_unlock(&hold.lock);
    return wants;
}

static void wait_here(unsigned call, CK_MECHANISM_TYPE mechanism, bool returned)
{
    pthread_mutex_lock(&hold.lock);
    if (hold.out != NULL && is_wanted(call, returned)) {
        unsigned long round = hold.round;
        fprintf(hold.out, "held %s 0x%lx\n", remote_call_name(call), mechanism);
        fflush(hold.out);
        while (hold.round == round)
            pthread_cond_wait(&hold.changed, &hold.lock);
    }
    pthread_mutex_unlock(&hold.lock);
}

void hold_answer(unsigned call, CK_MECHANISM_TYPE mechanism)
{
    wait_here(call, mechanism, false);
}

void hold_return(unsigned call, CK_MECHANISM_TYPE mechanism)
{
    wait_here(call, mechanism, true);
}
