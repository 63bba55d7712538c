/* SPDX-License-Identifier: Apache-2.0 */
#include "connector.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "reseal/log.h"

static bool read_settings(struct connector *connector, struct error *err)
{
    const struct config *config = connector->config;
    const char *name = config_text(config, "connector", "name");
    char host[RECORD_NAME_MAX + 1] = "";
    if (name == NULL) {
        if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
            snprintf(host, sizeof host, "connector");
        name = host;
    }
    snprintf(connector->name, sizeof connector->name, "%s", name);
    if (!custody_parse(config_text(config, "connector", "require"), &connector->require) ||
        !key_transport_parse(config_text(config, "connector", "key_transport"),
                             &connector->transport))
        return error_set(err, FAIL_INTERNAL, "a choice of [connector] is not known");
    if (!payload_options_read(config, &connector->payload, err))
        return false;
    connector->sandbox = sandbox_rule_of(config_text(config, "connector", "sandbox"));
    connector->attempts = (unsigned)config_number(config, "connector", "attempts");
    connector->lease_s = (unsigned)config_number(config, "queue", "lease");
    connector->wait_s = (unsigned)config_number(config, "queue", "wait");
    connector->helper_deadline_ms = config_number(config, "connector", "helper_deadline") * 1000;
    return settings_helper(config, connector->helper_program, sizeof connector->helper_program,
                           err);
}

/* Without it, whoever can write to the queue could have every password resealed to a key of his
 * own. */
static bool load_trust(struct connector *connector, struct error *err)
{
    const char *path = NULL;
    if (!config_want(connector->config, "connector", "device_ca", &path, err))
        return error_hint(err, "name a PEM file with the CA certificates of the devices: without "
                               "it the connector would reseal to anybody, and does not start");
    return device_trust_load(path, config_text(connector->config, "connector", "device_crl"),
                             &connector->trust, err);
}

static bool open_queue(struct connector *connector, struct error *err)
{
    const struct config *config = connector->config;
    return queue_client_open(config, &connector->client, err) &&
           queue_named(connector->client, config_text(config, "queue", "requests"),
                       &connector->requests, err) &&
           queue_named(connector->client, config_text(config, "queue", "results"),
                       &connector->results, err);
}

/* Where the PIN is on an inherited descriptor, the helper must inherit it too. */
static bool pin_descriptor(const struct config *config, const char *section, int *out,
                           struct error *err)
{
    const char *source = config_text(config, section, "pin");
    *out = -1;
    if (source == NULL || strncmp(source, "fd:", 3) != 0)
        return true;
    long fd = strtol(source + 3, NULL, 10); /* its form was checked when the file was read */
    if (fd == HELPER_FD)
        return error_set(err, FAIL_USAGE,
                         "the PIN cannot come from descriptor %d: the token helper uses it",
                         HELPER_FD);
    *out = (int)fd;
    return true;
}

/* Two helpers would read from one descriptor, and each would get a part. */
static bool check_descriptors(const struct connector *connector, struct error *err)
{
    for (size_t i = 0; i < connector->station_count; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct station *a = &connector->stations[j], *b = &connector->stations[i];
            if (a->pin.fd < 0 || a->pin.fd != b->pin.fd)
                continue;
            error_set(err, FAIL_USAGE, "[%s] and [%s] read their PINs from one descriptor, %d",
                      a->section, b->section, a->pin.fd);
            return error_hint(err, "give each token a source of its own");
        }
    }
    return true;
}

static bool make_stations(struct connector *connector, struct error *err)
{
    size_t count = settings_token_count(connector->config);
    int fd;
    for (size_t i = 0; i < count; i++) {
        struct station *station = &connector->stations[i];
        station->connector = connector;
        station->index = i;
        station->section = settings_token_section(connector->config, i);
        station->name = settings_token_name(station->section);
        if (!pin_descriptor(connector->config, station->section, &fd, err))
            return false;
        pin_look_at(&station->pin, fd);
        if (!station_set_up(station, err))
            return false;
        connector->station_count = i + 1;
    }
    return check_descriptors(connector, err);
}

/* Before anything that talks to the network: what it is forked off from, it has in memory. */
static bool open_nursery(struct connector *connector, struct error *err)
{
    static struct helper_command commands[TOKENS_MAX]; /* a program has one connector */
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        commands[i] = (struct helper_command){.program = connector->helper_program,
                                              .config_path = config_path(connector->config),
                                              .token = station->name,
                                              .pin_fd = station->pin.fd};
    }
    return nursery_open(commands, connector->station_count, &connector->nursery, err);
}

/* What it takes to log in should be out of reach of the process that talks to the network. */
static void look_for_exposed_pins(struct connector *connector)
{
    for (size_t i = 0; i < connector->station_count; i++) {
        struct station *station = &connector->stations[i];
        const char *source = config_text(connector->config, station->section, "pin");
        station->pin_exposed = source != NULL && sandbox_leaves(source);
        if (station->pin_exposed && connector->shut_in.landlock > 0)
            log_event(LEVEL_WARNING, EVENT_NOTE,
                      "the PIN lies where reseald can read it, though it is shut in",
                      LOG_TEXT("token", station->name), LOG_TEXT("hint", EXPOSED_PIN_HINT));
    }
}

/* From here on this process starts nothing, and reads little. */
static bool shut_in(struct connector *connector, struct error *err)
{
    if (!sandbox_enter(connector->config, connector->sandbox, &connector->shut_in, err))
        return false;
    if (connector->shut_in.trouble[0] != '\0')
        log_event(LEVEL_WARNING, EVENT_NOTE, "the sandbox is not complete",
                  LOG_TEXT("sandbox", sandbox_text(&connector->shut_in)),
                  LOG_TEXT("text", connector->shut_in.trouble));
    look_for_exposed_pins(connector);
    return true;
}

static bool open_signals(struct connector *connector, struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP); /* the end of a terminal is no reason to drop what is in hand */
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return error_errno(err, FAIL_IO, "cannot block signals");
    connector->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (connector->signal_fd < 0)
        return error_errno(err, FAIL_IO, "cannot wait for signals");
    return true;
}

bool connector_set_up(struct connector *connector, const struct config *config, struct error *err)
{
    *connector = (struct connector){.config = config, .signal_fd = -1};
    connector->jobs_end = &connector->jobs;
    if (!read_settings(connector, err) || !make_stations(connector, err) ||
        !open_nursery(connector, err) || !load_trust(connector, err) ||
        !open_queue(connector, err) || !open_signals(connector, err))
        return false;
    const char *socket = config_text(config, "connector", "status_socket");
    return (socket == NULL || status_open(socket, &connector->status, err)) &&
           shut_in(connector, err);
}

void connector_tear_down(struct connector *connector)
{
    status_close(&connector->status);
    for (size_t i = 0; i < connector->station_count; i++)
        station_tear_down(&connector->stations[i]);
    nursery_close(&connector->nursery);
    queue_client_free(&connector->client); /* runs callbacks of jobs */
    jobs_free(connector);
    device_trust_free(&connector->trust);
    if (connector->signal_fd >= 0)
        close(connector->signal_fd);
}
