/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "reseal/buf.h"
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/json.h"
#include "reseal/text.h"

#define LINE_MAX_BYTES 8192

/* Written once by log_open before any thread starts. */
static const char *log_program = "reseal";
static bool log_json;
static _Atomic(enum log_level) log_least = LEVEL_INFO;

static const char *const level_names[] = {
    [LEVEL_DEBUG] = "debug",
    [LEVEL_INFO] = "info",
    [LEVEL_WARNING] = "warning",
    [LEVEL_ERROR] = "error",
};

void log_open(const char *program, enum log_format format, enum log_level least)
{
    log_program = program;
    log_json = format == LOG_AS_JSON || (format == LOG_AUTO && !isatty(STDERR_FILENO));
    log_least = least;
}

bool log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static bool line_as_json(struct buf *line, enum log_level level, enum log_event_id id,
                         const char *message, const struct log_field *fields, struct error *err)
{
    struct json_writer *json = NULL;
    char now[CLOCK_TEXT];
    if (!json_writer_new(false, &json, err))
        return false;
    clock_format(clock_real_ms(), now);
    json_object(json, NULL);
    json_put_text(json, "time", now);
    json_put_text(json, "level", level_names[level]);
    json_put_text(json, "program", log_program);
    json_put_integer(json, "event", id);
    json_put_text(json, "message", message);
    for (; fields->name != NULL; fields++) {
        if (fields->text != NULL)
            json_put_text(json, fields->name, fields->text);
        else
            json_put_integer(json, fields->name, fields->number);
    }
    json_object_end(json);
    bool ok = json_finish(json, line, err);
    json_writer_free(&json);
    return ok;
}

static void line_as_text(struct buf *line, enum log_level level, enum log_event_id id,
                         const char *message, const struct log_field *fields)
{
    char now[CLOCK_TEXT];
    clock_format(clock_real_ms(), now);
    buf_printf(line, "%.12s %-7s %s[%d] %s", now + 11, level_names[level], log_program, (int)id,
               message);
    for (; fields->name != NULL; fields++) {
        if (fields->text != NULL)
            buf_printf(line, "  %s=%s", fields->name, fields->text);
        else
            buf_printf(line, "  %s=%" PRId64, fields->name, fields->number);
    }
    if (line->data != NULL) /* one event, one line; nothing steers the terminal */
        text_make_printable((char *)line->data);
}

void log_write(enum log_level level, enum log_event_id id, const char *message,
               const struct log_field *fields)
{
    struct error ignored = ERROR_INIT; /* a log that cannot be written has nowhere to say so */
    if (level < log_least)
        return;
    struct buf line = BUF_INIT(LINE_MAX_BYTES);
    if (!log_json || !line_as_json(&line, level, id, message, fields, &ignored)) {
        buf_reset(&line);
        line_as_text(&line, level, id, message, fields);
    }
    buf_put_u8(&line, '\n');
    if (buf_check(&line, "a log line", &ignored))
        (void)!fd_write_all(STDERR_FILENO, buf_bytes(&line), &ignored);
    buf_free(&line);
}

void log_error(enum log_level level, enum log_event_id id, const char *message,
               const struct error *err)
{
    log_event(level, id, message, LOG_TEXT("error", failure_name(err->kind)),
              LOG_TEXT("text", err->text), LOG_TEXT("hint", err->hint));
}
