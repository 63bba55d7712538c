/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_verify.h"

#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "verify.h"

const char *verdict_name(enum verdict verdict)
{
    switch (verdict) {
    case VERIFIED_PROVEN:
        return "proven";
    case VERIFIED_NOT_PROVEN:
        return "not proven";
    case VERIFIED_WRONG:
        return "wrong";
    }
    return "unknown";
}

void verify_say(struct verification *verification, enum verdict verdict, const char *about,
                const char *format, ...)
{
    va_list list;
    bool full = verification->count == VERIFY_FINDINGS_MAX;
    struct verify_finding *finding =
        &verification->findings[full ? VERIFY_FINDINGS_MAX - 1 : verification->count++];
    va_start(list, format);
    vsnprintf(finding->text, sizeof finding->text, format, list);
    va_end(list);
    snprintf(finding->about, sizeof finding->about, "%s", about);
    finding->verdict = full ? VERIFIED_WRONG : verdict;
    if (finding->verdict == VERIFIED_WRONG)
        verification->wrong++;
}

bool verify_locate(const struct verify_options *options, const char *recorded, char *out,
                   size_t size)
{
    char folder[PATH_MAX], name[PATH_MAX];
    if (access(recorded, F_OK) == 0)
        return snprintf(out, size, "%s", recorded) < (int)size;
    snprintf(folder, sizeof folder, "%s", options->transcript);
    snprintf(name, sizeof name, "%s", recorded);
    int len = snprintf(out, size, "%s/%s", dirname(folder), basename(name));
    return len > 0 && (size_t)len < size && access(out, F_OK) == 0;
}

void verify_file(struct verification *verification, const struct verify_options *options,
                 const char *about, const char *what, const char *recorded, const char *sha256)
{
    struct error err = ERROR_INIT;
    char path[PATH_MAX], found[DIGEST_TEXT];
    if (!verify_locate(options, recorded, path, sizeof path))
        verify_say(verification, VERIFIED_NOT_PROVEN, about,
                   "%s is not at hand: neither %s nor beside the transcript", what, recorded);
    else if (!digest_of_file(path, found, &err))
        verify_say(verification, VERIFIED_NOT_PROVEN, about, "%s cannot be read: %s", what,
                   err.text);
    else if (strcmp(found, sha256) != 0)
        verify_say(verification, VERIFIED_WRONG, about,
                   "%s %s is not the file of the record: its SHA-256 is %s, and %s was recorded",
                   what, path, found, sha256);
    else
        verify_say(verification, VERIFIED_PROVEN, about, "%s %s is the file of the record", what,
                   path);
}

static void verify_times(struct verification *verification)
{
    const struct transcript_record *record = verification->record;
    for (size_t i = 1; i < transcript_record_count(record); i++) {
        const struct transcript_line *line = transcript_record_at(record, i);
        if (line->time_ms >= transcript_record_at(record, i - 1)->time_ms)
            continue;
        verify_say(verification, VERIFIED_NOT_PROVEN, "chain",
                   "the clock went back before line %zu (%s): times are by the clock of the "
                   "machine",
                   line->number, line->time);
        return;
    }
}

/* A line whose SHA-256 was written down elsewhere holds all before it. */
static void verify_head(struct verification *verification, const char *head)
{
    const struct transcript_record *record = verification->record;
    for (size_t i = transcript_record_count(record); i > 0 && head != NULL; i--) {
        const struct transcript_line *line = transcript_record_at(record, i - 1);
        if (strcmp(line->sha256, head) != 0)
            continue;
        verify_say(verification, VERIFIED_PROVEN, "chain",
                   "line %zu has the SHA-256 that was given: lines 1 to %zu are what they were "
                   "when it was written down",
                   line->number, line->number);
        return;
    }
    if (head != NULL)
        verify_say(verification, VERIFIED_WRONG, "chain",
                   "no line has the SHA-256 that was given: this is another transcript, or it was "
                   "changed or cut");
}

static void verify_chain(struct verification *verification, const struct verify_options *options)
{
    const struct transcript_record *record = verification->record;
    const struct transcript_line *first = transcript_record_at(record, 0);
    const char *format = transcript_text(first, NULL, "format");
    verify_say(verification, VERIFIED_PROVEN, "chain",
               "%zu lines, each bound to the one before it by SHA-256; the last one is %s",
               transcript_record_count(record), transcript_record_last(record)->sha256);
    if (strcmp(first->step, "open") != 0 || format == NULL ||
        strcmp(format, "reseal-transcript-1") != 0)
        verify_say(verification, VERIFIED_WRONG, "chain",
                   "its first line does not begin a ceremony of this form");
    verify_times(verification);
    verify_head(verification, options->head);
    if (transcript_record_rehearsed(verification->record))
        verify_say(verification, VERIFIED_NOT_PROVEN, "ceremony",
                   "this was a REHEARSAL on a throw-away token");
}

static void verify_gone(struct verification *verification, const struct transcript_line *line,
                        const char *group)
{
    const struct token_identity token = transcript_token(line, group);
    if (token.serial != NULL && !transcript_record_destroyed(verification->record, &token))
        verify_say(verification, VERIFIED_NOT_PROVEN, "state",
                   "that the key is gone from the token \"%s\", serial %s: no line tells that it "
                   "was destroyed there",
                   token.label != NULL ? token.label : "?", token.serial);
}

/* A replica outlives the key that it was made of. */
static void verify_destroyed(struct verification *verification)
{
    const struct transcript_record *record = verification->record;
    verify_gone(verification, transcript_record_at(record, 0), "token");
    for (size_t i = 0; i < transcript_record_count(record); i++) {
        const struct transcript_line *line = transcript_record_at(record, i);
        if (line->outcome == LINE_DONE && strcmp(line->step, "replicate") == 0)
            verify_gone(verification, line, "to");
    }
}

static void verify_state(struct verification *verification)
{
    const struct transcript_record *record = verification->record;
    const struct transcript_line *pending = transcript_record_pending(record);
    const struct transcript_line *stray = transcript_record_stray(record);
    const struct transcript_line *closed = transcript_record_find(record, "close", LINE_FAILED);
    const char *reason = closed != NULL ? transcript_text(closed, "error", "text") : NULL;
    verification->unfinished = verification->state == CEREMONY_UNFINISHED;
    switch (verification->state) {
    case CEREMONY_UNFINISHED:
        verify_say(verification, VERIFIED_NOT_PROVEN, "state",
                   "the ceremony is UNFINISHED: it was cut off, or is being held; `reseal "
                   "ceremony run` with its plan goes on");
        break;
    case CEREMONY_FAILED:
        verify_say(verification, VERIFIED_PROVEN, "state", "the ceremony FAILED, without a key: %s",
                   reason != NULL ? reason : "no reason is recorded");
        break;
    case CEREMONY_ACCEPTED:
        verify_say(verification, VERIFIED_PROVEN, "state",
                   "the key was accepted; it is NOT COMMITTED, so no connector uses it");
        break;
    case CEREMONY_COMMITTED:
        verify_say(verification, VERIFIED_PROVEN, "state", "the key was accepted and committed");
        break;
    case CEREMONY_RETIRED:
    case CEREMONY_DESTROYED:
        verify_say(verification, VERIFIED_PROVEN, "state",
                   "the key was accepted, committed, and is %s now",
                   ceremony_state_name(verification->state));
        break;
    }
    if (verification->state == CEREMONY_DESTROYED)
        verify_destroyed(verification);
    if (stray != NULL)
        verify_say(verification, VERIFIED_WRONG, "state",
                   "line %zu, \"%s\", cannot come after the lines before it", stray->number,
                   stray->step);
    if (pending != NULL)
        verify_say(verification, VERIFIED_NOT_PROVEN, "state",
                   "line %zu announces \"%s\", and no line says how that ended", pending->number,
                   pending->step);
}

/* What no record can prove; said each time, so that nobody takes it for granted. */
static void say_limits(struct verification *verification)
{
    verify_say(verification, VERIFIED_NOT_PROVEN, "limits",
               "that the token told the truth: what was read back and answered is its own word");
    verify_say(verification, VERIFIED_NOT_PROVEN, "limits",
               "that the token is as it was: this looks at the record, `reseal key list` at the "
               "token");
    if (verification->signature_count == 0)
        verify_say(verification, VERIFIED_NOT_PROVEN, "signatures",
                   "nobody has signed: who can write this file could have written all of it anew; "
                   "hold the SHA-256 of a line against what was written down (--head)");
}

/* Nothing is judged of a key in such a record, so nothing may be told of one. */
static bool tells_init_alone(const struct transcript_record *record)
{
    for (size_t i = 0; i < transcript_record_count(record); i++) {
        const struct transcript_line *line = transcript_record_at(record, i);
        if (strcmp(line->step, "init-token") != 0 && line->outcome != LINE_NOTED)
            return false;
    }
    return true;
}

/* The record of a token's initialisation is one act, bound like any other. */
static bool verify_init(struct verification *verification, const struct verify_options *options)
{
    const struct transcript_record *record = verification->record;
    const struct transcript_line *first = transcript_record_at(record, 0);
    const char *format = transcript_text(first, NULL, "format");
    const struct transcript_line *done = transcript_record_find(record, "init-token", LINE_DONE);
    if (format == NULL || strcmp(format, "reseal-token-init-1") != 0 || !tells_init_alone(record))
        return false;
    verification->initialisation = true;
    verification->unfinished = done == NULL;
    verify_say(verification, VERIFIED_PROVEN, "chain",
               "%zu lines, each bound to the one before it by SHA-256; the last one is %s",
               transcript_record_count(record), transcript_record_last(record)->sha256);
    verify_times(verification);
    verify_head(verification, options->head);
    if (done != NULL && transcript_text(done, "after", "serial") != NULL)
        verify_say(verification, VERIFIED_PROVEN, "token",
                   "the token was initialised at %s; its serial number is %s since", done->time,
                   transcript_text(done, "after", "serial"));
    else
        verify_say(verification, VERIFIED_NOT_PROVEN, "token",
                   "that the token was initialised: no line says that it was done");
    verify_signatures(verification, options);
    return true;
}

static void verify_all(struct verification *verification, const struct verify_options *options)
{
    verification->state = transcript_record_state(verification->record);
    if (verify_init(verification, options))
        return;
    verify_chain(verification, options);
    verify_state(verification);
    verify_plan(verification, options);
    verify_programs(verification, options);
    verify_key(verification);
    verify_outputs(verification, options);
    verify_signatures(verification, options);
    say_limits(verification);
}

bool ceremony_verify(const struct verify_options *options, struct verification **out,
                     struct error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return error_memory(err);
    if (transcript_read(options->transcript, &(*out)->record, NULL, err)) {
        verify_all(*out, options);
        return true;
    }
    if (err->kind != FAIL_INPUT && err->kind != FAIL_TOO_LARGE) {
        verification_free(out);
        return false;
    }
    verify_say(*out, VERIFIED_WRONG, "chain", "%s", err->text);
    *err = (struct error)ERROR_INIT;
    return true;
}

bool verification_holds(const struct verification *verification)
{
    return verification->wrong == 0 && !verification->unfinished;
}

const char *verification_state(const struct verification *verification)
{
    if (verification->record == NULL)
        return NULL;
    if (verification->initialisation && !verification->unfinished)
        return "initialised";
    return ceremony_state_name(verification->state);
}

bool verification_check(const struct verification *verification, const char *transcript,
                        struct error *err)
{
    for (size_t i = 0; i < verification->count; i++) {
        const struct verify_finding *finding = &verification->findings[i];
        if (finding->verdict != VERIFIED_WRONG)
            continue;
        error_set(err, FAIL_POLICY, "the transcript does not verify: %s: %s", finding->about,
                  finding->text);
        return error_hint(err, "`reseal ceremony verify %.200s` tells all", transcript);
    }
    return true;
}

void verification_free(struct verification **verification)
{
    if (verification == NULL || *verification == NULL)
        return;
    transcript_record_free(&(*verification)->record);
    free(*verification);
    *verification = NULL;
}
