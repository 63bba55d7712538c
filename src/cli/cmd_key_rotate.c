/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `reseal key rotate OLD NEW`: every record under one sealing key goes under another.
 *
 * What is done is in the records themselves, and nowhere else: those that are under the old key are
 * still to be done. So it may be killed at any moment and begun again, and several may run at once:
 * a seal is replaced only if it is still the one that was read.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "client.h"
#include "key_commands.h"
#include "reseal/clock.h"
#include "reseal/seals.h"
#include "reseal/settings.h"
#include "rotate_helper.h"
#include "rotate_report.h"
#include "status_client.h"

#define PAGE       100
#define PASSES_MAX 100

struct rotation {
    const struct config *config;
    struct web *web;
    struct seals *seals;
    struct rotate_helper *helper;
    const char *provider; /* NULL: as it is */
    bool has_padding;     /* otherwise each keeps its own */
    enum padding padding;
    struct rotate_report report;
    int64_t told_ms; /* of the last line of progress */
};

/* -- one page -- */

static void tell_progress(struct rotation *rotation, bool last)
{
    int64_t now_ms = clock_monotonic_ms();
    const struct rotate_report *report = &rotation->report;
    if (isatty(STDERR_FILENO) != 1 || (!last && now_ms - rotation->told_ms < 200))
        return;
    rotation->told_ms = now_ms;
    fprintf(stderr, "\r%" PRId64 " of %" PRId64 " records, %" PRId64 " failed%s", report->rotated,
            report->before, report->failed, last ? "\n" : "");
}

static enum padding new_padding(const struct rotation *rotation, const struct seal *seal)
{
    return rotation->has_padding ? rotation->padding : seal->padding;
}

static bool ask(struct rotation *rotation, uint32_t number, const struct seal *seal,
                struct error *err)
{
    struct rotate_message message = {.padding = seal->padding,
                                     .new_padding = new_padding(rotation, seal),
                                     .sealed = buf_bytes(&seal->sealed)};
    snprintf(message.key_name, sizeof message.key_name, "%s", rotation->report.from);
    snprintf(message.new_key_name, sizeof message.new_key_name, "%s", rotation->report.to);
    return rotate_helper_ask(rotation->helper, number, &message, err);
}

/* What the helper refuses for one, it refuses for all: by its configuration, or for want of a PIN.
 */
static bool refuses_all(enum failure kind)
{
    return kind == FAIL_POLICY || kind == FAIL_PIN || kind == FAIL_NOT_FOUND;
}

static bool settle(struct rotation *rotation, const struct seal *seal,
                   const struct rotate_answer *answer, struct error *err)
{
    struct rotate_report *report = &rotation->report;
    const struct new_seal change = {.key_name = report->to,
                                    .provider_name = rotation->provider,
                                    .padding = new_padding(rotation, seal),
                                    .sealed = answer->sealed};
    if (!answer->done && refuses_all(answer->failure.kind)) {
        *err = answer->failure;
        return false;
    }
    if (!answer->done)
        return rotate_report_fail(report, seal->id, &answer->failure, err);
    if (seals_replace(rotation->seals, seal, &change, err)) {
        report->rotated++;
        report->custody[answer->custody]++;
        return true;
    }
    if (err->kind == FAIL_REMOTE || err->kind == FAIL_AUTH || err->kind == FAIL_INTERNAL)
        return false;
    if (err->kind == FAIL_EXISTS || err->kind == FAIL_NOT_FOUND) {
        report->overtaken++;
        return true;
    }
    const struct error failure = *err;
    return rotate_report_fail(report, seal->id, &failure, err);
}

/* The helper works on some while the hub takes the others. */
static bool rotate_page(struct rotation *rotation, const struct seal_page *page, struct error *err)
{
    const size_t ahead = 2 * (size_t)rotate_helper_hello(rotation->helper)->sessions;
    bool settled[PAGE] = {false};
    size_t sent = 0, answered = 0;
    while (answered < page->count) {
        struct rotate_answer answer;
        while (sent < page->count && sent - answered < ahead) {
            if (!ask(rotation, (uint32_t)sent, &page->seals[sent], err))
                return false;
            sent++;
        }
        if (!rotate_helper_next(rotation->helper, &answer, err))
            return false;
        if (answer.number >= sent || settled[answer.number])
            return error_set(err, FAIL_INPUT, "the token helper answers what was not asked");
        settled[answer.number] = true;
        if (!settle(rotation, &page->seals[answer.number], &answer, err))
            return false;
        answered++;
        tell_progress(rotation, false);
    }
    return true;
}

/* -- all pages, until none is left -- */

static bool count_left(struct rotation *rotation, struct error *err)
{
    struct seal_page page;
    if (!seals_read(rotation->seals, rotation->report.from, 0, 0, &page, err))
        return false;
    rotation->report.remaining = page.records;
    rotation->report.requests = page.requests;
    seal_page_free(&page);
    return rotation->report.remaining >= 0 ||
           error_set(err, FAIL_REMOTE, "the hub does not tell how many records are under the key");
}

static bool run_pass(struct rotation *rotation, struct error *err)
{
    int64_t after = 0;
    do {
        struct seal_page page;
        if (!seals_read(rotation->seals, rotation->report.from, after, PAGE, &page, err))
            return false;
        after = page.next;
        bool ok = page.count <= PAGE ? rotate_page(rotation, &page, err)
                                     : error_set(err, FAIL_REMOTE, "the hub gives too long a page");
        seal_page_free(&page);
        if (!ok)
            return false;
    } while (after != 0);
    return true;
}

/* Somebody may have imported under the old key meanwhile, and a token that had no time may have it
 * now: it goes on as long as that helps. The hub's own count decides whether it is done. */
static bool run_passes(struct rotation *rotation, struct error *err)
{
    struct rotate_report *report = &rotation->report;
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        int64_t before = report->rotated + report->overtaken;
        rotate_report_restart(report);
        if (!run_pass(rotation, err) || !count_left(rotation, err))
            return false;
        if (report->remaining == 0 || report->rotated + report->overtaken == before)
            return true;
    }
    return true;
}

/* -- the beginning -- */

static const struct key_finding *want_key(const struct rotation *rotation, const char *name,
                                          struct error *err)
{
    const struct hello_message *hello = rotate_helper_hello(rotation->helper);
    const struct key_finding *key = probe_key(&hello->report, name);
    if (key != NULL)
        return key;
    error_set(err, FAIL_USAGE, "the configuration of token \"%s\" does not name the key \"%s\"",
              hello->report.token.label, name);
    error_hint(err, "put both keys into `key` of its section, and start the connectors anew: they "
                    "serve both while the rotation goes on");
    return NULL;
}

static bool check_keys(struct rotation *rotation, struct error *err)
{
    const struct key_finding *from = want_key(rotation, rotation->report.from, err);
    const struct key_finding *to =
        from != NULL ? want_key(rotation, rotation->report.to, err) : NULL;
    if (to == NULL)
        return false;
    /* Where each keeps its padding, any of them will do to compare the two keys. */
    enum padding padding = rotation->has_padding ? rotation->padding : PADDING_FIRST;
    size_t room = padding_room(padding, to->bits);
    if (room < padding_room(PADDING_FIRST, from->bits))
        print_warning("under \"%s\" there is less room: with %s passwords of up to %zu bytes; "
                      "longer ones stay where they are and are named at the end",
                      to->name, padding_name(padding), room);
    return true;
}

/* The key of that name, which is the one that the helper here has: by its public half. */
static bool serves(const struct json_value *root, const struct key_finding *key)
{
    const struct json_value *tokens = json_get(root, "tokens");
    for (size_t i = 0; i < json_count(tokens); i++) {
        const struct json_value *keys = json_get(json_at(tokens, i), "keys");
        for (size_t j = 0; j < json_count(keys); j++) {
            const struct json_value *found = json_at(keys, j);
            const char *name = json_text(json_get(found, "name"), NULL);
            const char *fingerprint = json_text(json_get(found, "fingerprint"), NULL);
            if (name != NULL && strcmp(name, key->name) == 0 && fingerprint != NULL &&
                strcmp(fingerprint, key->fingerprint) == 0)
                return true;
        }
    }
    return false;
}

/* A record under a key that no connector serves cannot be delivered. Only the connector of this
 * machine can be asked. */
static bool check_connector(const struct rotation *rotation, struct error *err)
{
    const char *socket_path = config_text(rotation->config, "connector", "status_socket");
    struct json *status = NULL;
    struct error ignored = ERROR_INIT;
    if (socket_path == NULL || !status_ask(socket_path, &status, &ignored)) {
        print_warning("no connector answers here; each one must serve \"%s\" by now",
                      rotation->report.to);
        return true;
    }
    const struct key_finding *to =
        probe_key(&rotate_helper_hello(rotation->helper)->report, rotation->report.to);
    bool ok = to != NULL && serves(json_root(status), to);
    json_free(&status);
    if (ok)
        return true;
    error_set(err, FAIL_POLICY, "the running connector does not serve the key \"%s\"",
              rotation->report.to);
    return error_hint(err, "put it into `key` of the token's section and start the connector anew");
}

static bool read_options(const struct invocation *invocation, struct rotation *rotation,
                         struct error *err)
{
    const char *padding = invocation_option(invocation, "padding");
    struct rotate_report *report = &rotation->report;
    report->from = invocation_argument(invocation, 0);
    report->to = invocation_argument(invocation, 1);
    report->remaining = report->requests = -1;
    rotation->provider = invocation_option(invocation, "provider");
    rotation->has_padding = padding != NULL;
    if (padding != NULL && !padding_parse(padding, &rotation->padding, err)) {
        err->kind = FAIL_USAGE;
        return error_context(err, "--padding");
    }
    if (padding != NULL)
        report->padding = padding_name(rotation->padding);
    const char *const names[] = {report->from, report->to, rotation->provider};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i] != NULL && (names[i][0] == '\0' || strlen(names[i]) > RECORD_NAME_MAX))
            return error_set(err, FAIL_USAGE, "a name has 1 to %d bytes", RECORD_NAME_MAX);
    }
    if (strcmp(report->from, report->to) == 0)
        return error_set(err, FAIL_USAGE, "\"%s\" is both the old and the new key", report->from);
    return rotate_report_check(invocation_option(invocation, "report"), err);
}

static bool open_hub(const struct invocation *invocation, struct rotation *rotation,
                     struct error *err)
{
    return invocation_config(invocation, &rotation->config, err) &&
           client_web_as(rotation->config, "rotation_token", &rotation->web, err) &&
           seals_open(rotation->web, config_text(rotation->config, "client", "hub"),
                      config_text(rotation->config, "client", "records"), &rotation->seals, err);
}

static bool open_token(const struct invocation *invocation, struct rotation *rotation,
                       struct error *err)
{
    const char *section;
    return settings_token_find(rotation->config, invocation_option(invocation, "token"), &section,
                               err) &&
           rotate_helper_start(rotation->config, settings_token_name(section), &rotation->helper,
                               err) &&
           check_keys(rotation, err) && check_connector(rotation, err);
}

static void close_all(struct rotation *rotation)
{
    rotate_helper_end(&rotation->helper);
    seals_close(&rotation->seals);
    web_close(&rotation->web);
    rotate_report_free(&rotation->report);
}

/* From here on there is something to report, whatever happens. */
static bool run_and_report(const struct invocation *invocation, struct rotation *rotation,
                           struct error *err)
{
    struct rotate_report *report = &rotation->report;
    struct error reason = ERROR_INIT, ignored = ERROR_INIT;
    report->started_ms = clock_real_ms();
    if (!run_passes(rotation, &reason)) {
        report->stopped = reason;
        report->remaining = -1;
        (void)!count_left(rotation, &ignored);
    }
    report->ended_ms = clock_real_ms();
    tell_progress(rotation, true);
    if (!rotate_report_write(report, invocation_option(invocation, "report"),
                             invocation_json(invocation), err))
        return false;
    if (report->stopped.kind != FAIL_NONE) {
        *err = report->stopped;
        return error_hint(err, "begin again when that is put right: what was done is done%s%.200s",
                          report->stopped.hint[0] != '\0' ? "; " : "", report->stopped.hint);
    }
    if (!rotate_report_complete(report))
        invocation_set_status(invocation, 1);
    return true;
}

bool key_rotate_run(const struct invocation *invocation, struct error *err)
{
    struct rotation rotation = {.config = NULL};
    bool ok = read_options(invocation, &rotation, err) && open_hub(invocation, &rotation, err) &&
              count_left(&rotation, err);
    rotation.report.before = rotation.report.remaining;
    if (ok && invocation_flag(invocation, "check")) {
        rotation.report.started_ms = rotation.report.ended_ms = clock_real_ms();
        ok = rotate_report_write(&rotation.report, invocation_option(invocation, "report"),
                                 invocation_json(invocation), err);
        if (ok && !rotate_report_complete(&rotation.report))
            invocation_set_status(invocation, 1);
    } else if (ok) {
        ok = open_token(invocation, &rotation, err) && run_and_report(invocation, &rotation, err);
    }
    close_all(&rotation);
    return ok;
}

const struct command_option key_rotate_options[] = {
    {"token", "NAME", "the token of the section [token NAME] of the configuration"},
    {"padding", "SCHEME",
     "oaepSha256, oaepSha384 or oaepSha512; without it each record keeps its own"},
    {"provider", "NAME", "provider name to be written; without it each record keeps its own"},
    {"report", "FILE", "a new file with the report as JSON"},
    {"check", NULL, "changes nothing: says how many records are under OLD"},
    {NULL, NULL, NULL}};
