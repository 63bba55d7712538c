/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal login`: a person logs in to the record store with a browser, here or elsewhere. */
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "client.h"
#include "login.h"
#include "reseal/clock.h"
#include "reseal/file.h"

static void tell(const struct oauth_device *device)
{
    fprintf(stderr,
            "Open this page in a browser, on this or another machine:  %s\n"
            "and type this code:  %s\n"
            "It is good for %lld minutes. Type it only if you began this login yourself.\n",
            device->url, device->user_code, (long long)device->lifetime_s / 60);
}

static bool wait_for_person(struct web *web, const struct oauth_client *client,
                            struct oauth_device *device, struct oauth_grant *grant,
                            struct error *err)
{
    int64_t end_ms = clock_monotonic_ms() + device->lifetime_s * 1000;
    bool done = false;
    while (!done) {
        const struct timespec pause = {.tv_sec = device->interval_s, .tv_nsec = 1000000};
        if (clock_monotonic_ms() >= end_ms) {
            error_set(err, FAIL_AUTH, "nobody typed the code in time");
            return error_hint(err, "begin again: reseal login --out FILE");
        }
        nanosleep(&pause, NULL);
        if (!oauth_device_poll(web, client, device, &done, grant, err))
            return false;
    }
    return true;
}

static bool print_done(const struct invocation *invocation, const char *path,
                       const struct oauth_grant *grant, struct error *err)
{
    struct json_writer *json = NULL;
    char until[CLOCK_TEXT];
    char *whole = realpath(path, NULL); /* the configuration may be in another folder */
    clock_format(clock_real_ms() + grant->lifetime_s * 1000, until);
    if (!invocation_json(invocation)) {
        fprintf(stderr,
                "Logged in%s%s. Name the token with records_token = file:%s in section [client].\n",
                grant->lifetime_s > 0 ? " until " : "", grant->lifetime_s > 0 ? until : "",
                whole != NULL ? whole : path);
        free(whole);
        return true;
    }
    free(whole);
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "file", path);
    json_put_text(json, "expires", grant->lifetime_s > 0 ? until : NULL);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

/* Before a person is troubled. */
static bool out_possible(const char *path, struct error *err)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    if (access(dirname(copy), W_OK) == 0)
        return true;
    error_errno(err, FAIL_IO, "cannot write %s", path);
    return error_hint(err, "make its folder, or name another file with --out");
}

static bool run_login(const struct invocation *invocation, struct error *err)
{
    const struct config *config;
    const char *path = invocation_option(invocation, "out");
    char scope[LOGIN_SCOPE_MAX];
    struct oauth_client client;
    struct oauth_device device = {0};
    struct oauth_grant grant = {0};
    struct web *web = NULL;
    bool ok = false;
    if (path == NULL || path[0] == '\0') {
        error_set(err, FAIL_USAGE, "--out is missing");
        return error_hint(err, "the token is a secret, and goes into a file: reseal login --out "
                               "FILE");
    }
    if (!invocation_config(invocation, &config, err) || !out_possible(path, err) ||
        !login_client(config, scope, &client, err) || !client_login_web(config, &web, err) ||
        !oauth_device_begin(web, &client, &device, err))
        goto done;
    tell(&device);
    ok = wait_for_person(web, &client, &device, &grant, err) &&
         file_write(path, 0600, FILE_REPLACE, secret_bytes(grant.token), err) &&
         print_done(invocation, path, &grant, err);
done:
    oauth_grant_free(&grant);
    oauth_device_free(&device);
    web_close(&web);
    return ok;
}

static const struct command_option options[] = {
    {"out", "FILE", "file for the token (mode 0600); one that is there is replaced"},
    {NULL, NULL, NULL},
};

const struct command login_commands[] = {
    {"login", "", "--out FILE", "log in to Microsoft Graph with a browser, as a person", options, 0,
     0, run_login},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
