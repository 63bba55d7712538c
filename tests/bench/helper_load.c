/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps one reseal-hsm busy through its socket, without queue and connector, and says how many
 * requests a second it did and what CPU time it took for one.
 *
 *   helper_load HELPER CONFIG KEY PADDING SEALED_FILE DEVICE_PEM CA_FOLDER DEVICES COUNT
 *
 * As many requests are ahead as the connector would have there. Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "devices.h"
#include "reseal/file.h"
#include "reseal/frame.h"
#include "reseal/helper_message.h"

extern char **environ;

struct load {
    pid_t pid;
    struct frame_channel *channel;
    struct hello_message hello;
    struct buf *bodies; /* one for each device */
    size_t devices, count, sent, answered, ahead;
    struct reseal_message message;
};

static void must(bool ok, const struct error *err)
{
    if (!ok)
        bench_give_up(err->text);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* utime and stime of the helper (proc(5)), in seconds. */
static double cpu_of(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(text, sizeof text, file) == NULL)
        bench_give_up(path);
    fclose(file);
    const char *rest = strrchr(text, ')');
    if (rest == NULL || sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                               &user, &system) != 2)
        bench_give_up(path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void start(struct load *load, char *helper, char *config)
{
    struct error err = ERROR_INIT;
    char name[] = "reseal-hsm", option[] = "--config";
    char *const argv[] = {name, option, config, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        bench_give_up("no socket pair");
    posix_spawn_file_actions_init(&actions);
    /* dup2 onto itself would leave close-on-exec set: by way of another number. */
    posix_spawn_file_actions_adddup2(&actions, ends[1], 99);
    posix_spawn_file_actions_adddup2(&actions, 99, HELPER_FD);
    posix_spawn_file_actions_addclose(&actions, 99);
    if (posix_spawn(&load->pid, helper, &actions, NULL, argv, environ) != 0)
        bench_give_up(helper);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    must(frame_channel_new(ends[0], HELPER_BODY_MAX, &load->channel, &err), &err);
}

static void add_body(void *context, size_t index, X509 *certificate)
{
    struct load *load = context;
    struct error err = ERROR_INIT;
    unsigned char *der = NULL;
    int len = i2d_X509(certificate, &der);
    load->bodies[index] = (struct buf)BUF_INIT(HELPER_BODY_MAX);
    load->message.device_certificate = (struct bytes){der, (size_t)len};
    must(len > 0 && reseal_encode(&load->message, &load->bodies[index], &err), &err);
    OPENSSL_free(der);
}

static void next_frame(struct load *load, struct frame *frame)
{
    struct error err = ERROR_INIT;
    bool found = false, ended = false;
    for (;;) {
        must(frame_next(load->channel, frame, &found, &err), &err);
        if (found)
            return;
        must(frame_receive(load->channel, &ended, &err), &err);
        if (ended)
            bench_give_up("the helper ended");
    }
}

static void wait_for_hello(struct load *load)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    do
        next_frame(load, &frame);
    while (frame.type == HELPER_LOGGING_IN);
    must(frame.type == HELPER_HELLO && hello_decode(frame.body, &load->hello, &err), &err);
    if (!load->hello.ready)
        bench_give_up(load->hello.error.text);
    load->ahead = load->hello.sessions + 32; /* as many as the connector gives it */
}

/* Fills up what is ahead, in one piece as the connector does. */
static void send_some(struct load *load)
{
    struct error err = ERROR_INIT;
    while (load->sent < load->count && load->sent - load->answered < load->ahead) {
        const struct buf *body = &load->bodies[load->sent++ % load->devices];
        must(frame_queue(load->channel, (uint32_t)load->sent, HELPER_RESEAL, buf_bytes(body), &err),
             &err);
    }
    must(frame_flush(load->channel, &err), &err);
}

static void run(struct load *load)
{
    struct frame frame;
    while (load->answered < load->count) {
        if (load->sent - load->answered <= load->ahead * 3 / 4)
            send_some(load);
        next_frame(load, &frame);
        if (frame.type != HELPER_RESEALED)
            bench_give_up("a request was not resealed");
        load->answered++;
    }
}

int main(int argc, char **argv)
{
    static struct load load;
    struct error err = ERROR_INIT;
    struct buf sealed = BUF_INIT(RECORD_SEALED_MAX);
    if (argc != 10)
        bench_give_up("usage: helper_load HELPER CONFIG KEY PADDING SEALED_FILE DEVICE_PEM "
                      "CA_FOLDER DEVICES COUNT");
    must(file_read(argv[5], &sealed, &err) && padding_parse(argv[4], &load.message.padding, &err),
         &err);
    snprintf(load.message.key_name, sizeof load.message.key_name, "%s", argv[3]);
    load.message.sealed = buf_bytes(&sealed);
    load.devices = strtoul(argv[8], NULL, 10);
    load.count = strtoul(argv[9], NULL, 10);
    if (load.devices < 1 || load.devices > 10000 || load.count < 1 || load.count > 1000000)
        bench_give_up("devices or count out of range");
    load.bodies = calloc(load.devices, sizeof *load.bodies);
    bench_devices(argv[6], argv[7], load.devices, add_body, &load);
    start(&load, argv[1], argv[2]);
    wait_for_hello(&load);
    double cpu = cpu_of(load.pid), started = now();
    run(&load);
    double seconds = now() - started;
    cpu = cpu_of(load.pid) - cpu;
    frame_channel_free(&load.channel);
    if (waitpid(load.pid, NULL, 0) != load.pid)
        bench_give_up("the helper does not end");
    printf("{\"count\":%zu,\"sessions\":%u,\"seconds\":%.3f,\"perSecond\":%.1f,\"cpuMs\":%.4f}\n",
           load.count, load.hello.sessions, seconds, (double)load.count / seconds,
           cpu * 1e3 / (double)load.count);
    for (size_t i = 0; i < load.devices; i++)
        buf_free(&load.bodies[i]);
    free(load.bodies);
    buf_free(&sealed);
    return 0;
}
