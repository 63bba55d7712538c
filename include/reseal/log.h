/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs: one line per event on standard error, as JSON for machines or as text for people.
 *
 * The event ids are those that administrators know from Microsoft's connector. Fields are facts
 * about the event; a secret or a PFX is never one of them. Safe to call from any thread; a line is
 * written whole.
 */
#ifndef RESEAL_LOG_H
#define RESEAL_LOG_H

#include <stddef.h>
#include <stdint.h>
#include "reseal/error.h"

enum log_level {
    LEVEL_DEBUG,
    LEVEL_INFO,
    LEVEL_WARNING,
    LEVEL_ERROR,
};

enum log_format {
    LOG_AUTO, /* text on a terminal, JSON elsewhere */
    LOG_AS_TEXT,
    LOG_AS_JSON,
};

enum log_event_id {
    EVENT_NOTE = 1000,           /* start, stop, configuration; ours */
    EVENT_HELPER_STARTED = 1001, /* the token helper is ready; ours */
    EVENT_HELPER_LOST = 1002,    /* the token helper ended or did not answer; ours */
    EVENT_TOKEN_TROUBLE = 1003,  /* a PKCS#11 call failed; ours */
    EVENT_REQUEST_DONE = 2000,   /* request success */
    EVENT_REQUEST_FAILED = 2001, /* request failure */
    EVENT_DOWNLOADED = 2020,     /* request taken from the queue */
    EVENT_RESEALED = 2050,       /* re-encrypt success */
    EVENT_RESEAL_RETRY = 2051,   /* re-encrypt attempt failed, will be tried again */
    EVENT_RESEAL_FAILED = 2052,  /* re-encrypt failure */
    EVENT_UPLOADED = 2100,       /* result accepted by the queue */
    EVENT_UPLOAD_FAILED = 2101,  /* result not accepted */
    EVENT_UPLOAD_STARTED = 2102, /* result is being sent */
    EVENT_POLLED = 2202,         /* poll success */
    EVENT_POLL_FAILED = 2203,    /* poll failure */
    EVENT_HEALTH = 5000,         /* health report */
};

struct log_field {
    const char *name;
    const char *text; /* NULL: `number` counts */
    int64_t number;
};
/* A NULL text is shown as an empty one. */
static inline struct log_field log_text(const char *name, const char *text)
{
    return (struct log_field){name, text != NULL ? text : "", 0};
}
#define LOG_TEXT(name_, text_)     log_text((name_), (text_))
#define LOG_NUMBER(name_, number_) ((struct log_field){(name_), NULL, (int64_t)(number_)})

/* `program` names the source of the lines. */
void log_open(const char *program, enum log_format format, enum log_level least);
/* At least one field. */
#define log_event(level, id, message, ...)                                                         \
    log_write((level), (id), (message), (const struct log_field[]){__VA_ARGS__, {NULL, NULL, 0}})
void log_write(enum log_level level, enum log_event_id id, const char *message,
               const struct log_field *fields);
/* Text, hint and kind of an error as fields of one event. */
void log_error(enum log_level level, enum log_event_id id, const char *message,
               const struct error *err);
bool log_level_parse(const char *name, enum log_level *out) MUST_USE;

#endif
