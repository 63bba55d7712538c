/* SPDX-License-Identifier: Apache-2.0 */
/* reseald: the connector daemon. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "reseal/log.h"
#include "reseal/secret.h"
#include "reseal/settings.h"
#include "connector.h"

#define SECRET_HEAP (64 * 1024) /* bytes: access keys only, no password comes here */

static const char usage[] =
    "usage: reseald [--config FILE]\n"
    "\n"
    "Takes requests from the queue, has them resealed by the token helper, sends the results.\n"
    "\n"
    "  --config FILE   configuration (default " SETTINGS_DEFAULT_PATH ")\n"
    "  --version       print the version\n"
    "  --help          print this\n"
    "\n"
    "SIGTERM finishes what is in hand; a second one ends at once.\n";

static int fail(const struct error *err)
{
    fprintf(stderr, "reseald: %s\n", err->text);
    if (err->hint[0] != '\0')
        fprintf(stderr, "  hint: %s\n", err->hint);
    return error_exit_status(err->kind);
}

static bool open_log(const struct config *config, struct error *err)
{
    const char *format = config_text(config, "log", "format");
    enum log_level level;
    if (!log_level_parse(config_text(config, "log", "level"), &level))
        return error_set(err, FAIL_USAGE, "the log level is not known");
    log_open("reseald",
             strcmp(format, "json") == 0   ? LOG_AS_JSON
             : strcmp(format, "text") == 0 ? LOG_AS_TEXT
                                           : LOG_AUTO,
             level);
    return true;
}

/* A descriptor that is opened in the place of one that was closed at the start would be written to
 * as the log. */
static bool fill_standard(struct error *err)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return error_errno(err, FAIL_IO, "cannot open /dev/null");
    close(fd);
    return true;
}

static int run(const char *path)
{
    struct config *config = NULL;
    struct error err = ERROR_INIT;
    bool ok = fill_standard(&err) && process_harden(&err) && settings_load(path, &config, &err) &&
              open_log(config, &err) && secret_heap_open(SECRET_HEAP, &err) &&
              connector_run(config, &err);
    int status = ok ? 0 : fail(&err);
    config_free(&config);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "c:vh", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'v':
            puts("reseald " RESEAL_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "reseald: unexpected argument \"%s\"\n%s", argv[optind], usage);
        return 2;
    }
    return run(path);
}
