/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal deliver`: asks the hub for a delivery and waits for its end. */
#define _GNU_SOURCE /* mkostemp */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "client.h"
#include "delivery.h"
#include "demo_ca.h"
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/request.h"

#define URL_MAX          4096
#define TIMEOUT_DEFAULT  120   /* seconds */
#define TIMEOUT_MAX      86400 /* seconds */
#define POLL_MAX         20    /* seconds, the hub's longest wait */
#define POLL_ON_TERMINAL 1     /* seconds, so that the progress moves */
#define POLL_PAUSE_MS    500   /* after a poll that came back at once or failed */

/* What was asked for on the command line. */
struct wanted {
    const char *record_id;
    const char *device_id;
    const char *platform;
    const char *format;
    struct buf certificate; /* DER */
    char common_name[DEVICE_ID_MAX + 1];
    int64_t timeout_ms;
};

struct waiting {
    struct web *web;
    const char *hub;
    int64_t deadline_ms; /* monotonic */
    int64_t started_ms;
    bool progress; /* a line on the terminal */
    char id[DELIVERY_ID_MAX + 1];
};

/* The device's id is its common name where none is given. */
static bool take_common_name(const X509 *certificate, struct wanted *wanted)
{
    unsigned char *text = NULL;
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const X509_NAME_ENTRY *entry = at >= 0 ? X509_NAME_get_entry(subject, at) : NULL;
    int len = entry != NULL ? ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry)) : -1;
    bool ok = len > 0 && len <= DEVICE_ID_MAX && memchr(text, '\0', (size_t)len) == NULL;
    if (ok) {
        memcpy(wanted->common_name, text, (size_t)len);
        wanted->common_name[len] = '\0';
        wanted->device_id = wanted->common_name;
    }
    OPENSSL_free(text);
    return ok;
}

static bool take_certificate(const struct invocation *invocation, struct wanted *wanted,
                             struct error *err)
{
    const char *folder = invocation_option(invocation, "device");
    const char *path = invocation_option(invocation, "certificate");
    char joined[PATH_MAX];
    X509 *certificate = NULL;
    unsigned char *der = NULL;
    bool ok = false;
    if ((folder == NULL) == (path == NULL)) {
        error_set(err, FAIL_USAGE, "for which device? give either --device or --certificate");
        return error_hint(err, "see: reseal deliver --help");
    }
    if (folder != NULL) {
        if (snprintf(joined, sizeof joined, "%s/device.pem", folder) >= (int)sizeof joined)
            return error_set(err, FAIL_USAGE, "the path %.64s... is too long", folder);
        path = joined;
    }
    if (!read_certificate(path, &certificate, err))
        return error_hint(err, "%s",
                          folder != NULL ? DEVICE_HINT
                                         : "--certificate names the device's certificate, in PEM "
                                           "or DER");
    int len = i2d_X509(certificate, &der);
    if (len <= 0) {
        error_openssl(err, FAIL_INTERNAL, "%s cannot be encoded", path);
        goto done;
    }
    buf_put(&wanted->certificate, der, (size_t)len);
    if (!buf_check(&wanted->certificate, path, err))
        goto done;
    if (wanted->device_id == NULL && !take_common_name(certificate, wanted)) {
        error_set(err, FAIL_USAGE, "%s has no common name that could be the device's id", path);
        error_hint(err, "give --device-id");
        goto done;
    }
    ok = true;
done:
    OPENSSL_free(der);
    X509_free(certificate);
    return ok;
}

static bool take_names(const struct invocation *invocation, struct wanted *wanted,
                       struct error *err)
{
    enum format format;
    enum platform platform;
    const char *given = invocation_option(invocation, "format");
    wanted->format = given != NULL ? given : format_name(FORMAT_CMS);
    given = invocation_option(invocation, "platform");
    wanted->platform = given != NULL ? given : platform_name(PLATFORM_OTHER);
    wanted->device_id = invocation_option(invocation, "device-id");
    if (format_parse(wanted->format, &format, err) &&
        platform_parse(wanted->platform, &platform, err))
        return true;
    err->kind = FAIL_USAGE;
    return error_hint(
        err,
        "formats: cms, apple-profile, windows-csp; platforms: windows, ios, macos, android, other");
}

static bool take_timeout(const struct invocation *invocation, struct wanted *wanted,
                         struct error *err)
{
    const char *text = invocation_option(invocation, "timeout");
    char *end = NULL;
    long seconds = TIMEOUT_DEFAULT;
    if (text != NULL) {
        errno = 0;
        seconds = strtol(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0' || seconds < 1 || seconds > TIMEOUT_MAX)
            return error_set(err, FAIL_USAGE, "--timeout must be a whole number from 1 to %d",
                             TIMEOUT_MAX);
    }
    wanted->timeout_ms = (int64_t)seconds * 1000;
    return true;
}

static bool write_order(const struct wanted *wanted, struct buf *out, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "recordId", wanted->record_id);
    json_object(json, "device");
    json_put_text(json, "id", wanted->device_id);
    json_put_text(json, "platform", wanted->platform);
    json_put_base64(json, "certificate", wanted->certificate.data, wanted->certificate.len);
    json_object_end(json);
    json_put_text(json, "format", wanted->format);
    json_object_end(json);
    bool ok = json_finish(json, out, err);
    json_writer_free(&json);
    return ok;
}

static bool deliveries_url(const struct waiting *waiting, struct buf *out, struct error *err)
{
    size_t len = strlen(waiting->hub);
    while (len > 0 && waiting->hub[len - 1] == '/')
        len--;
    buf_put(out, waiting->hub, len);
    buf_put_text(out, "/v1/deliveries");
    return buf_check(out, "the hub's URL", err);
}

static bool set_id(struct waiting *waiting, const char *id, struct error *err)
{
    if (id[0] == '\0' || strlen(id) > DELIVERY_ID_MAX || strspn(id, ".") == strlen(id))
        return error_set(err, FAIL_USAGE, "\"%.64s\" is no id of a delivery", id);
    snprintf(waiting->id, sizeof waiting->id, "%s", id);
    return true;
}

static bool order(struct waiting *waiting, const struct wanted *wanted, struct error *err)
{
    struct buf url = BUF_INIT(URL_MAX), body = BUF_INIT(64 * 1024);
    struct web_answer answer = {0};
    struct delivery delivery;
    bool ok = false;
    if (!deliveries_url(waiting, &url, err) || !write_order(wanted, &body, err))
        goto done;
    if (!web_call(waiting->web, "POST", buf_text(&url), &body, &answer, err)) {
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "see: reseal pfx list");
        goto done;
    }
    if (!delivery_read(answer.json != NULL ? json_root(answer.json) : NULL, &delivery, err)) {
        err->kind = FAIL_REMOTE;
        error_context(err, "the hub's answer");
        goto done;
    }
    ok = set_id(waiting, delivery.id, err);
done:
    web_answer_free(&answer);
    buf_free(&url);
    buf_free(&body);
    return ok;
}

static void show_progress(const struct waiting *waiting)
{
    if (waiting->progress)
        fprintf(stderr, "\rwaiting for delivery %s: %lld s ", waiting->id,
                (long long)(clock_monotonic_ms() - waiting->started_ms) / 1000);
}

static void end_progress(const struct waiting *waiting)
{
    if (waiting->progress)
        fputs("\r\033[K", stderr);
}

static bool poll_once(struct waiting *waiting, struct web_answer *answer, struct delivery *delivery,
                      struct error *err)
{
    struct buf url = BUF_INIT(URL_MAX);
    int64_t left = (waiting->deadline_ms - clock_monotonic_ms() + 999) / 1000;
    int64_t most = waiting->progress ? POLL_ON_TERMINAL : POLL_MAX;
    int64_t seconds = left < 0 ? 0 : left < most ? left : most;
    bool ok = false;
    if (!deliveries_url(waiting, &url, err))
        goto done;
    buf_put_text(&url, "/");
    if (!web_encode(waiting->web, waiting->id, &url, err))
        goto done;
    buf_printf(&url, "?wait=%d", (int)seconds);
    if (!buf_check(&url, "a URL", err))
        goto done;
    if (!web_call(waiting->web, "GET", buf_text(&url), NULL, answer, err)) {
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "the hub does not know this delivery, or not any more; ask for a new "
                            "one: reseal deliver RECORD-ID --device DIR");
        goto done;
    }
    if (!delivery_read(answer->json != NULL ? json_root(answer->json) : NULL, delivery, err)) {
        error_context(err, "the hub's answer");
        goto done;
    }
    ok = true;
done:
    buf_free(&url);
    return ok;
}

static bool too_late(const struct waiting *waiting, const struct error *last, struct error *err)
{
    int64_t seconds = (clock_monotonic_ms() - waiting->started_ms) / 1000;
    error_set(err, FAIL_REMOTE,
              "the delivery %s is not done after %lld s and goes on without us%s%s", waiting->id,
              (long long)seconds, last->text[0] != '\0' ? "; the last answer was: " : "",
              last->text);
    return error_hint(err,
                      "wait for it again with: reseal deliver --resume %s; is a connector "
                      "running?",
                      waiting->id);
}

/* A hub that is away for a moment (a restart) does not end the wait. */
static bool wait_for_end(struct waiting *waiting, struct web_answer *answer,
                         struct delivery *delivery, struct error *err)
{
    const struct timespec pause = {0, POLL_PAUSE_MS * 1000000L};
    struct error last = ERROR_INIT;
    for (;;) {
        int64_t begin = clock_monotonic_ms();
        struct error reason = ERROR_INIT;
        show_progress(waiting);
        web_answer_free(answer);
        bool ok = poll_once(waiting, answer, delivery, &reason);
        if (ok && delivery->state != DELIVERY_PENDING)
            return true;
        if (!ok && reason.kind != FAIL_REMOTE) {
            *err = reason;
            return false;
        }
        last = reason;
        if (clock_monotonic_ms() >= waiting->deadline_ms)
            return too_late(waiting, &last, err);
        if (clock_monotonic_ms() - begin < POLL_PAUSE_MS)
            nanosleep(&pause, NULL);
    }
}

static bool write_delivery(const struct json_value *root, const char *path, struct error *err)
{
    struct json_writer *json = NULL;
    struct buf text = BUF_INIT(DELIVERY_TEXT_MAX);
    bool ok = json_writer_new(true, &json, err);
    if (ok) {
        json_put_value(json, NULL, root);
        if (path == NULL)
            ok = print_json(json, err);
        else
            ok = json_finish(json, &text, err) &&
                 file_write(path, 0600, FILE_NEW, buf_bytes(&text), err);
    }
    buf_free(&text);
    json_writer_free(&json);
    return ok;
}

static bool print_delivery(const struct json_value *root, const struct delivery *delivery,
                           const char *path, bool as_json, struct error *err)
{
    if (path != NULL && !write_delivery(root, path, err))
        return false;
    if (as_json)
        return write_delivery(root, NULL, err);
    if (delivery->state != DELIVERY_RESEALED)
        return true; /* the error says the rest */
    printf("%s  custody %s", delivery->state_name,
           delivery->custody != NULL ? delivery->custody : "-");
    if (delivery->created_ms != 0 && delivery->completed_ms >= delivery->created_ms)
        printf("  %lld ms", (long long)(delivery->completed_ms - delivery->created_ms));
    printf("  delivery %s\n", delivery->id);
    return true;
}

/* Before anything is set going: a delivery whose answer cannot be kept is of no use. */
static bool out_possible(const char *path, struct error *err)
{
    char trial[PATH_MAX];
    struct stat st;
    if (path == NULL)
        return true;
    if (lstat(path, &st) == 0) {
        error_set(err, FAIL_EXISTS, "%s exists already and is never overwritten", path);
        return error_hint(err, "choose another name, or move the old file away first");
    }
    if (snprintf(trial, sizeof trial, "%s.XXXXXX", path) >= (int)sizeof trial)
        return error_set(err, FAIL_USAGE, "the path %.64s... is too long", path);
    int fd = mkostemp(trial, O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, FAIL_IO, "cannot create %s", path);
        return error_hint(err, "nothing was asked for; make the folder, or name another file with "
                               "--out");
    }
    close(fd);
    unlink(trial);
    return true;
}

/* Whatever went wrong since the hub took the order: the delivery is there and can be had again. */
static bool name_delivery(const struct waiting *waiting, struct error *err)
{
    char hint[sizeof err->hint];
    char named[sizeof "delivery " + DELIVERY_ID_MAX];
    if (waiting->id[0] == '\0')
        return false;
    snprintf(named, sizeof named, "delivery %s", waiting->id);
    if (strstr(err->text, named) == NULL)
        error_context(err, "delivery %s", waiting->id);
    if (err->kind == FAIL_NOT_FOUND || strstr(err->hint, "--resume") != NULL)
        return false;
    memcpy(hint, err->hint, sizeof hint);
    return error_hint(err, "%s%sits state is told by: reseal deliver --resume %s", hint,
                      hint[0] != '\0' ? "; " : "", waiting->id);
}

static bool prepare(const struct invocation *invocation, struct wanted *wanted, struct error *err)
{
    const char *resume = invocation_option(invocation, "resume");
    wanted->record_id = invocation_argument(invocation, 0);
    if ((wanted->record_id == NULL) == (resume == NULL)) {
        error_set(err, FAIL_USAGE, "give either the id of a record, or --resume");
        return error_hint(err, "see: reseal pfx list");
    }
    if (!take_timeout(invocation, wanted, err) || !take_names(invocation, wanted, err))
        return false;
    if (resume != NULL)
        return true;
    if (wanted->record_id[0] == '\0' || strlen(wanted->record_id) > RECORD_ID_MAX)
        return error_set(err, FAIL_USAGE, "the id of a record has 1 to %d bytes", RECORD_ID_MAX);
    return take_certificate(invocation, wanted, err);
}

static bool start(const struct invocation *invocation, const struct wanted *wanted,
                  struct waiting *waiting, struct error *err)
{
    const struct config *config;
    const char *resume = invocation_option(invocation, "resume");
    if (!invocation_config(invocation, &config, err) || !client_web(config, &waiting->web, err))
        return false;
    waiting->hub = config_text(config, "client", "hub");
    if (!web_check_base(waiting->hub, "hub in section [client]", err))
        return false;
    waiting->progress = isatty(STDERR_FILENO) == 1;
    waiting->started_ms = clock_monotonic_ms();
    waiting->deadline_ms = waiting->started_ms + wanted->timeout_ms;
    return resume != NULL ? set_id(waiting, resume, err) : order(waiting, wanted, err);
}

static bool run_deliver(const struct invocation *invocation, struct error *err)
{
    struct wanted wanted = {.certificate = BUF_INIT(DEVICE_CERTIFICATE_MAX)};
    struct waiting waiting = {0};
    struct web_answer answer = {0};
    struct delivery delivery;
    const char *out = invocation_option(invocation, "out");
    bool ok = false;
    if (!prepare(invocation, &wanted, err) || !out_possible(out, err) ||
        !start(invocation, &wanted, &waiting, err))
        goto done;
    ok = wait_for_end(&waiting, &answer, &delivery, err);
    end_progress(&waiting);
    ok = ok &&
         print_delivery(json_root(answer.json), &delivery, out, invocation_json(invocation), err) &&
         delivery_check(&delivery, err);
    if (!ok)
        name_delivery(&waiting, err);
done:
    web_answer_free(&answer);
    web_close(&waiting.web);
    buf_free(&wanted.certificate);
    return ok;
}

static const struct command_option options[] = {
    {"device", "DIR", "folder of a device made by reseal device new"},
    {"certificate", "FILE", "certificate of any other device, PEM or DER"},
    {"device-id", "ID", "id of the device (default: the common name of its certificate)"},
    {"platform", "P", "windows, ios, macos, android or other (default)"},
    {"format", "F", "what the device takes: cms (default), apple-profile or windows-csp"},
    {"timeout", "SECONDS", "how long to wait for the end (default: 120)"},
    {"resume", "ID", "wait for this delivery instead of asking for a new one"},
    {"out", "FILE", "write the delivery as JSON to a new file"},
    {NULL, NULL, NULL},
};

const struct command deliver_commands[] = {
    {"deliver", "", "RECORD-ID --device DIR",
     "deliver a record to a device and wait until it is done", options, 0, 1, run_deliver},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
