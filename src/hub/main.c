/* SPDX-License-Identifier: Apache-2.0 */
/* reseal-hub: queue, record store and delivery API in one small server. */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include "admin.h"
#include "hub.h"
#include "reseal/log.h"
#include "reseal/settings.h"
#include "tls.h"

static void usage(FILE *out)
{
    fputs(
        "usage: reseal-hub [--config FILE] [COMMAND]\n"
        "\n"
        "Without a command: serves the queue (Amazon SQS, JSON protocol), the record store (the\n"
        "shape of Graph's userPfxCertificates) and the delivery API, kept in one SQLite file. The\n"
        "sections [hub] and [log] of FILE are read; the default is " SETTINGS_HUB_PATH " where\n"
        "that is there, otherwise " SETTINGS_DEFAULT_PATH ".\n"
        "\n",
        out);
    for (size_t i = 0; i < ADMIN_COMMANDS; i++)
        fprintf(out, "  %-8s %-8s %s\n", admin_commands[i].name, admin_commands[i].file,
                admin_commands[i].does);
    fputs(
        "\n"
        "  -c, --config FILE  configuration\n"
        "  -h, --help         this text\n"
        "  -V, --version      version\n"
        "\n"
        "SIGTERM or SIGINT: finish what is in hand and stop. SIGHUP: read access keys, tokens and\n"
        "certificates again, which happens by itself when their files change.\n",
        out);
}

static int fail(const struct error *err)
{
    fprintf(stderr, "reseal-hub: %s\n", err->text);
    if (err->hint[0] != '\0')
        fprintf(stderr, "reseal-hub: hint: %s\n", err->hint);
    return error_exit_status(err->kind);
}

static void open_log(const struct config *config)
{
    const char *format = config_text(config, "log", "format");
    enum log_level level = LEVEL_INFO;
    (void)!log_level_parse(config_text(config, "log", "level"), &level); /* the table has checked */
    log_open("reseal-hub",
             strcmp(format, "json") == 0   ? LOG_AS_JSON
             : strcmp(format, "text") == 0 ? LOG_AS_TEXT
                                           : LOG_AUTO,
             level);
}

/* Serves until a signal says stop. The signals are blocked before the first thread starts, so that
 * only this wait gets them. */
static int serve(const struct config *config, const sigset_t *signals)
{
    struct error err = ERROR_INIT;
    struct hub *hub = NULL;
    int number = 0;
    if (!hub_open(config, &hub, &err))
        return fail(&err);
    while (sigwait(signals, &number) != 0 || number == SIGHUP) {
        if (number == SIGHUP) {
            atomic_store(&hub->renew, true);
            tls_ask_again(hub->tls);
        }
        number = 0;
    }
    log_event(LEVEL_INFO, EVENT_NOTE, "stopping", LOG_TEXT("signal", strsignal(number)));
    hub_close(&hub);
    log_event(LEVEL_INFO, EVENT_NOTE, "stopped", LOG_TEXT("signal", strsignal(number)));
    return 0;
}

/* Each thread's heap is kept at a size that the next request will want again, instead of being
 * given back and asked for with every message. */
static void steady_heap(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_TOP_PAD, 512 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
    (void)mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024);
    (void)mallopt(M_ARENA_MAX, 3); /* main, HTTP and store thread */
#endif
}

/* The command of the arguments that are left; NULL where these are none. */
static const struct admin_command *find_command(int count, char **arguments)
{
    for (size_t i = 0; count > 0 && i < ADMIN_COMMANDS; i++) {
        const struct admin_command *command = &admin_commands[i];
        if (strcmp(command->name, arguments[0]) == 0 &&
            (count == 2 || (count == 1 && !command->file_needed)))
            return command;
    }
    return NULL;
}

static int run_command(const struct admin_command *command, const struct config *config,
                       const char *file)
{
    struct error err = ERROR_INIT;
    return command->run(config, file, &err) ? 0 : fail(&err);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    struct error err = ERROR_INIT;
    struct config *config = NULL;
    const char *path = NULL;
    sigset_t signals;
    int option;
    while ((option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'h':
            usage(stdout);
            return 0;
        case 'V':
            puts("reseal-hub " RESEAL_VERSION);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    const struct admin_command *command = find_command(argc - optind, argv + optind);
    if (optind < argc && command == NULL) {
        usage(stderr);
        return 2;
    }
    if (!process_harden(&err))
        return fail(&err);
    umask(077);
    steady_heap();
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of the write, not the end */
    const char *file = argc - optind == 2 ? argv[optind + 1] : NULL;
    bool needed = command == NULL || !command->file_is_enough || file == NULL || path != NULL;
    if (needed && !settings_load_hub(path, &config, &err))
        return fail(&err);
    if (config != NULL)
        open_log(config);
    int status = command != NULL ? run_command(command, config, file) : serve(config, &signals);
    config_free(&config);
    return status;
}
