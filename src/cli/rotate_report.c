/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/file.h"

#define REPORT_MAX (4 * 1024 * 1024)

void rotate_report_free(struct rotate_report *report)
{
    free(report->failures);
    report->failures = NULL;
}

void rotate_report_restart(struct rotate_report *report)
{
    report->failed = 0;
    report->failure_count = 0;
}

bool rotate_report_fail(struct rotate_report *report, const char *id, const struct error *failure,
                        struct error *err)
{
    if (report->failures == NULL)
        report->failures = calloc(ROTATE_FAILURES_MAX, sizeof *report->failures);
    if (report->failures == NULL)
        return error_memory(err);
    report->failed++;
    if (report->failure_count == ROTATE_FAILURES_MAX)
        return true;
    struct rotate_failure *entry = &report->failures[report->failure_count++];
    entry->kind = failure->kind;
    snprintf(entry->id, sizeof entry->id, "%s", id);
    snprintf(entry->text, sizeof entry->text, "%.*s", (int)sizeof entry->text - 1, failure->text);
    return true;
}

bool rotate_report_complete(const struct rotate_report *report)
{
    return report->remaining == 0 && report->stopped.kind == FAIL_NONE;
}

static void put_time(struct json_writer *json, const char *key, int64_t ms)
{
    char text[CLOCK_TEXT];
    clock_format(ms, text);
    json_put_text(json, key, text);
}

static void put_failures(struct json_writer *json, const struct rotate_report *report)
{
    json_put_integer(json, "failed", report->failed);
    json_array(json, "failures");
    for (size_t i = 0; i < report->failure_count; i++) {
        json_object(json, NULL);
        json_put_text(json, "id", report->failures[i].id);
        json_put_text(json, "kind", failure_name(report->failures[i].kind));
        json_put_text(json, "message", report->failures[i].text);
        json_object_end(json);
    }
    json_array_end(json);
}

static bool fill(const struct rotate_report *report, struct json_writer **out, struct error *err)
{
    if (!json_writer_new(true, out, err))
        return false;
    struct json_writer *json = *out;
    json_object(json, NULL);
    json_put_text(json, "from", report->from);
    json_put_text(json, "to", report->to);
    json_put_text(json, "paddingScheme", report->padding);
    put_time(json, "started", report->started_ms);
    put_time(json, "ended", report->ended_ms);
    json_put_integer(json, "before", report->before);
    json_put_integer(json, "rotated", report->rotated);
    json_object(json, "custody");
    json_put_integer(json, "token", report->custody[CUSTODY_TOKEN]);
    json_put_integer(json, "host", report->custody[CUSTODY_HOST]);
    json_object_end(json);
    json_put_integer(json, "overtaken", report->overtaken);
    put_failures(json, report);
    json_put_integer(json, "remaining", report->remaining);
    json_put_integer(json, "requests", report->requests);
    json_put_bool(json, "complete", rotate_report_complete(report));
    json_put_text(json, "stopped", report->stopped.kind != FAIL_NONE ? report->stopped.text : NULL);
    json_object_end(json);
    return true;
}

static void tell(const struct rotate_report *report)
{
    for (size_t i = 0; i < report->failure_count; i++)
        printf("failed %s: %s\n", report->failures[i].id, report->failures[i].text);
    if (report->failed > (int64_t)report->failure_count)
        printf("and %" PRId64 " more\n", report->failed - (int64_t)report->failure_count);
    printf("%" PRId64 " of %" PRId64 " records went from \"%s\" to \"%s\" (custody token: %" PRId64
           ", host: %" PRId64 ")\n",
           report->rotated, report->before, report->from, report->to,
           report->custody[CUSTODY_TOKEN], report->custody[CUSTODY_HOST]);
    if (report->overtaken > 0)
        printf("%" PRId64 " were changed or removed by somebody else meanwhile\n",
               report->overtaken);
    if (report->remaining == 0)
        printf("no record is under \"%s\" any more\n", report->from);
    else if (report->remaining > 0)
        printf("%" PRId64 " are still under \"%s\"\n", report->remaining, report->from);
    else
        printf("how many are left under \"%s\" is not known\n", report->from);
    if (report->requests > 0)
        printf("%" PRId64 " requests under \"%s\" wait to be served: keep it until they are\n",
               report->requests, report->from);
}

bool rotate_report_check(const char *path, struct error *err)
{
    if (path == NULL || access(path, F_OK) != 0)
        return true;
    error_set(err, FAIL_EXISTS, "%s is there already", path);
    return error_hint(err, "a report is never written over; choose another name");
}

bool rotate_report_write(const struct rotate_report *report, const char *path, bool as_json,
                         struct error *err)
{
    struct json_writer *json = NULL, *shown = NULL;
    struct buf text = BUF_INIT(REPORT_MAX);
    bool ok = false;
    if (path != NULL && !(fill(report, &json, err) && json_finish(json, &text, err)))
        goto done;
    buf_put_u8(&text, '\n');
    if (path != NULL && !file_write(path, 0644, FILE_NEW, buf_bytes(&text), err))
        goto done;
    if (!as_json)
        tell(report);
    ok = !as_json || (fill(report, &shown, err) && print_json(shown, err));
done:
    json_writer_free(&json);
    json_writer_free(&shown);
    buf_free(&text);
    return ok;
}
