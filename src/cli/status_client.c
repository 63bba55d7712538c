/* SPDX-License-Identifier: Apache-2.0 */
#include "status_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "reseal/clock.h"

#define ANSWER_MAX_BYTES  (288 * 1024)
#define ANSWER_TIMEOUT_MS 5000

static const struct json_limits limits = {
    .bytes = ANSWER_MAX_BYTES, .string = 8192, .values = 20000};

static bool not_running(const char *path, struct error *err)
{
    bool forbidden = errno == EACCES;
    error_errno(err, FAIL_REMOTE, "no connector answers on %s", path);
    if (forbidden)
        return error_hint(err, "ask as root, or as the user that reseald runs as");
    return error_hint(err, "is reseald running (systemctl status reseald), and is this the "
                           "status_socket of its configuration?");
}

static bool connect_to(const char *path, int *out, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *out = -1;
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, FAIL_USAGE,
                         "the socket path %s has %zu bytes, and at most %zu are possible", path,
                         strlen(path), sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, FAIL_IO, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        not_running(path, err);
        close(fd);
        return false;
    }
    *out = fd;
    return true;
}

static bool read_answer(int fd, const char *path, struct buf *out, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + ANSWER_TIMEOUT_MS;
    uint8_t chunk[8192];
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - clock_monotonic_ms();
        int count = left > 0 ? poll(&ready, 1, (int)left) : 0;
        if (count < 0 && errno == EINTR)
            continue;
        if (count == 0)
            return error_set(err, FAIL_REMOTE,
                             "the connector on %s did not finish its answer "
                             "within %d seconds",
                             path, ANSWER_TIMEOUT_MS / 1000);
        ssize_t got = count < 0 ? -1 : read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, FAIL_REMOTE, "cannot read from %s", path);
        if (got == 0)
            return true;
        buf_put(out, chunk, (size_t)got);
        if (!buf_check(out, "the status document", err))
            return false;
    }
}

bool status_ask(const char *socket_path, struct json **out, struct error *err)
{
    struct buf answer = BUF_INIT(ANSWER_MAX_BYTES);
    int fd = -1;
    bool ok = false;
    *out = NULL;
    if (!connect_to(socket_path, &fd, err))
        return false;
    if (!read_answer(fd, socket_path, &answer, err))
        goto done;
    if (answer.len == 0) { /* it went away between connect and answer */
        error_set(err, FAIL_REMOTE, "the connector on %s closed without an answer", socket_path);
        goto done;
    }
    ok = json_parse(buf_text(&answer), answer.len, &limits, "the status document", out, err);
done:
    close(fd);
    buf_free(&answer);
    return ok;
}
