/* SPDX-License-Identifier: Apache-2.0 */
/* reseal-hsm: the token helper. reseald starts it with a socket as descriptor HELPER_FD. */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "reseal/log.h"
#include "service.h"

static const char usage[] =
    "usage: reseal-hsm --config FILE [--token NAME]\n"
    "\n"
    "The token helper of reseald, which starts it: it holds the PKCS#11 module and the PIN, and\n"
    "speaks with reseald through descriptor 3.\n";

static bool parse(int argc, char **argv, const char **config_path, const char **token)
{
    *config_path = *token = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--config") == 0)
            *config_path = argv[i + 1];
        else if (strcmp(argv[i], "--token") == 0)
            *token = argv[i + 1];
        else
            return false;
    }
    return argc % 2 == 1 && *config_path != NULL;
}

static bool set_signal(int number, void (*action)(int), struct error *err)
{
    if (signal(number, action) == SIG_ERR)
        return error_errno(err, FAIL_INTERNAL, "cannot set what signal %d does", number);
    return true;
}

/*
 * The other end decides when this process ends, by closing the socket: a Ctrl-C in a terminal goes
 * to the whole process group, and reseald wants its jobs finished then. A SIGTERM ends the start at
 * once, where a module can hang and no job is in hand; once jobs are taken, it does nothing.
 */
static bool set_signals(struct error *err)
{
    return set_signal(SIGINT, SIG_IGN, err) && set_signal(SIGHUP, SIG_IGN, err) &&
           set_signal(SIGTERM, SIG_DFL, err);
}

static bool open_channel(struct token_service *service, struct error *err)
{
    struct stat st;
    if (fstat(HELPER_FD, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        error_set(err, FAIL_USAGE, "descriptor %d is no socket", HELPER_FD);
        return error_hint(err, "reseal-hsm is started by reseald, not by hand");
    }
    /* Blocking, for a reader and writers that have nothing else to do; closed in whatever a module
     * may start. */
    int flags = fcntl(HELPER_FD, F_GETFL);
    if (flags < 0 || fcntl(HELPER_FD, F_SETFL, flags & ~O_NONBLOCK) != 0 ||
        fcntl(HELPER_FD, F_SETFD, FD_CLOEXEC) != 0)
        return error_errno(err, FAIL_IO, "cannot prepare descriptor %d", HELPER_FD);
    return frame_channel_new(HELPER_FD, HELPER_BODY_MAX, &service->channel, err);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    const char *config_path, *token;
    int status = 1;
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("reseal-hsm %s\n", RESEAL_VERSION) < 0 ? 1 : 0;
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(usage, stdout) < 0 ? 1 : 0;
    if (!parse(argc, argv, &config_path, &token)) {
        fputs(usage, stderr);
        return 2;
    }
    log_open("reseal-hsm", LOG_AUTO, LEVEL_INFO);
    /* Each arena of malloc keeps memory of its own; more of them hold up no more threads. */
    mallopt(M_ARENA_MAX, 4);
    struct token_service *service = calloc(1, sizeof *service);
    if (service == NULL)
        return 1;
    token_service_init(service);
    if (!process_harden(&err) || !set_signals(&err) || !open_channel(service, &err)) {
        log_error(LEVEL_ERROR, EVENT_NOTE, "the token helper cannot start", &err);
        status = error_exit_status(err.kind);
    } else {
        token_service_start(service, config_path, token);
        if (service->hello.ready && !set_signal(SIGTERM, SIG_IGN, &err))
            log_error(LEVEL_WARNING, EVENT_NOTE, "a SIGTERM would interrupt jobs", &err);
        status = token_service_run(service);
    }
    token_service_end(service);
    free(service);
    return status;
}
