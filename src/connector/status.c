/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* accept4 */
/* The status socket: whoever connects gets one JSON document. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "connector.h"
#include "reseal/clock.h"
#include "reseal/json.h"
#include "reseal/log.h"

#define FULL_MS 500
#define STATUS_BYTES                                                                               \
    (256 * 1024) /* fits into the socket's buffer: written at once or not at all                   \
                  */

struct status_socket {
    int fd;
    int64_t
        full_until_ms; /* no descriptor is left for a caller: nobody is listened to until then */
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
};

/* True if a process listens there; a socket file that nobody listens on is a leftover. */
static bool somebody_listens(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool listens = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    close(fd);
    return listens;
}

static bool listen_at(struct status_socket *status, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat info;
    memcpy(address.sun_path, status->path, sizeof address.sun_path);
    if (somebody_listens(&address)) {
        error_set(err, FAIL_EXISTS, "another process answers on %s", status->path);
        return error_hint(err, "is a connector with this configuration running already?");
    }
    if (lstat(status->path, &info) == 0 && S_ISSOCK(info.st_mode))
        unlink(status->path);
    status->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (status->fd < 0)
        return error_errno(err, FAIL_IO, "cannot make a socket");
    mode_t mask = umask(0177); /* never open to others, not even for a moment */
    int bound = bind(status->fd, (const struct sockaddr *)&address, sizeof address);
    int number = errno;
    umask(mask);
    errno = number;
    if (bound != 0)
        return error_errno(err, FAIL_IO, "cannot make the status socket %s", status->path);
    if (listen(status->fd, 16) != 0)
        return error_errno(err, FAIL_IO, "cannot listen on %s", status->path);
    return true;
}

bool status_open(const char *path, struct status_socket **out, struct error *err)
{
    *out = NULL;
    struct status_socket *status = calloc(1, sizeof *status);
    if (status == NULL)
        return error_memory(err);
    status->fd = -1;
    if (strlen(path) >= sizeof status->path) {
        error_set(err, FAIL_USAGE, "the path of the status socket is longer than %zu bytes: %s",
                  sizeof status->path - 1, path);
        free(status);
        return false;
    }
    snprintf(status->path, sizeof status->path, "%s", path);
    if (!listen_at(status, err)) {
        if (status->fd >= 0)
            close(status->fd);
        free(status);
        return false;
    }
    *out = status;
    return true;
}

void status_close(struct status_socket **status)
{
    if (status == NULL || *status == NULL)
        return;
    close((*status)->fd);
    (void)!unlink((*status)->path); /* shut in, it is left to the next start */
    free(*status);
    *status = NULL;
}

int status_fd(const struct status_socket *status)
{
    return clock_monotonic_ms() < status->full_until_ms ? -1 : status->fd;
}

/* -- the document -- */

static void put_time(struct json_writer *json, const char *key, int64_t real_ms)
{
    char text[CLOCK_TEXT];
    clock_format(real_ms, text);
    json_put_text(json, key, real_ms != 0 ? text : NULL);
}

static void put_error(struct json_writer *json, const char *key, const struct error *err)
{
    if (err->kind == FAIL_NONE) {
        json_put_null(json, key);
        return;
    }
    json_object(json, key);
    json_put_text(json, "kind", failure_name(err->kind));
    json_put_text(json, "text", err->text);
    json_put_text(json, "hint", err->hint);
    json_object_end(json);
}

static void put_helper(struct json_writer *json, const struct station *station)
{
    json_object(json, "helper");
    json_put_integer(json, "pid", helper_pid(station->helper));
    json_put_bool(json, "ready", helper_is_ready(station->helper));
    json_put_integer(json, "restarts", station_restarts(station));
    put_error(json, "error", station_trouble(station));
    json_object_end(json);
}

static void put_recycling(struct json_writer *json, const struct station *station)
{
    const struct recycling *recycling = &station->recycling;
    const struct helper *successor = station->successor, *leaving = station->leaving;
    json_object(json, "recycling");
    json_put_integer(json, "done", recycling->done);
    json_put_integer(json, "jobs", (int64_t)recycling->jobs);
    json_put_integer(json, "residentKib", (int64_t)recycling->resident_kib);
    json_put_integer(json, "successor", successor != NULL ? helper_pid(successor) : 0);
    json_put_integer(json, "leaving", leaving != NULL ? helper_pid(leaving) : 0);
    put_error(json, "error", &recycling->trouble);
    json_object_end(json);
}

static void put_token(struct json_writer *json, const struct station *station)
{
    const struct hello_message *hello = station_hello(station);
    json_object(json, NULL);
    json_put_text(json, "name", station->name);
    json_put_text(json, "state", station_state(station));
    json_put_integer(json, "sessions", hello != NULL ? hello->sessions : 0);
    json_put_integer(json, "inHand", (int64_t)(station->busy + station->leaving_busy));
    json_put_integer(json, "jobs", (int64_t)station->jobs);
    json_put_bool(json, "pinExposed", station->pin_exposed);
    put_helper(json, station);
    put_recycling(json, station);
    if (hello != NULL)
        probe_report_write(json, &hello->report);
    json_object_end(json);
}

/* "helper", "token" and "keys" of the document are those of the first token; "tokens" has all. */
static void put_tokens(struct json_writer *json, const struct connector *connector)
{
    const struct hello_message *first = station_hello(&connector->stations[0]);
    put_helper(json, &connector->stations[0]);
    if (first != NULL)
        probe_report_write(json, &first->report);
    json_array(json, "tokens");
    for (size_t i = 0; i < connector->station_count; i++)
        put_token(json, &connector->stations[i]);
    json_array_end(json);
    json_array(json, "conflicts");
    for (size_t i = 0; i < connector->conflict_count; i++)
        json_put_text(json, NULL, connector->conflicts[i].text);
    json_array_end(json);
}

static int64_t sum(const struct connector *connector, unsigned (*of)(const struct station *station))
{
    int64_t all = 0;
    for (size_t i = 0; i < connector->station_count; i++)
        all += of(&connector->stations[i]);
    return all;
}

static unsigned sessions_of(const struct station *station)
{
    const struct hello_message *hello = station_hello(station);
    return hello != NULL ? hello->sessions : 0;
}

static void put_queue(struct json_writer *json, const struct connector *connector)
{
    const struct intake *intake = &connector->intake;
    json_object(json, "queue");
    json_put_text(json, "endpoint", queue_endpoint(connector->client));
    json_put_text(json, "requests", config_text(connector->config, "queue", "requests"));
    json_put_text(json, "results", config_text(connector->config, "queue", "results"));
    put_time(json, "lastPollAt", intake->last_ms);
    json_put_bool(json, "lastPollOk", intake->last_ms != 0 && intake->trouble.kind == FAIL_NONE);
    json_put_text(json, "error", intake->trouble.kind != FAIL_NONE ? intake->trouble.text : NULL);
    json_object_end(json);
}

static void put_counts(struct json_writer *json, const struct connector *connector)
{
    const struct counts *counts = &connector->counts;
    json_object(json, "counts");
    json_put_integer(json, "received", (int64_t)counts->received);
    json_put_integer(json, "resealed", (int64_t)counts->resealed);
    json_put_integer(json, "refused", (int64_t)counts->refused);
    json_put_integer(json, "failed", (int64_t)counts->failed);
    json_put_integer(json, "retried", (int64_t)counts->retried);
    json_put_integer(json, "helperRestarts", sum(connector, station_restarts));
    json_object_end(json);
}

static bool write_document(const struct connector *connector, struct buf *out, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "program", "reseald");
    json_put_text(json, "version", RESEAL_VERSION);
    json_put_integer(json, "pid", getpid());
    json_put_text(json, "connector", connector->name);
    json_put_text(json, "state", connector_state(connector));
    json_put_text(json, "require", custody_name(connector->require));
    json_put_text(json, "sandbox", sandbox_text(&connector->shut_in));
    json_put_integer(json, "sessions", sum(connector, sessions_of));
    put_tokens(json, connector);
    put_queue(json, connector);
    put_counts(json, connector);
    json_put_integer(json, "inHand", (int64_t)jobs_in_hand(connector));
    json_object_end(json);
    bool ok = json_finish(json, out, err);
    json_writer_free(&json);
    if (ok)
        buf_put_u8(out, '\n');
    return ok && buf_check(out, "the status document", err);
}

void status_serve(struct status_socket *status, const struct connector *connector)
{
    struct buf document = BUF_INIT(STATUS_BYTES);
    struct error err = ERROR_INIT;
    int fd = accept4(status->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) { /* the caller has gone again, or it waits, and would be told of without end */
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            status->full_until_ms = clock_monotonic_ms() + FULL_MS;
        return;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){STATUS_BYTES}, sizeof(int));
    if (!write_document(connector, &document, &err))
        log_error(LEVEL_WARNING, EVENT_NOTE, "the status could not be written", &err);
    else if (send(fd, document.data, document.len, MSG_NOSIGNAL) != (ssize_t)document.len)
        log_event(LEVEL_DEBUG, EVENT_NOTE, "a caller did not take the status",
                  LOG_NUMBER("bytes", document.len));
    close(fd);
    buf_free(&document);
}
