/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ceremony that was cut off: its record says what was announced and what was done, the token says
 * what is there. A key that was read back is taken on; anything less is destroyed. In both cases
 * the record tells what was found and what was done about it.
 */
#include <stdio.h>
#include <string.h>
#include "run.h"

/* What the record tells about the key that was made last; each is NULL where there is none. */
struct traces {
    const struct transcript_line *announced; /* "generate" */
    const struct transcript_line *read_back;
    const struct transcript_line *destroyed;
    const struct transcript_line *outputs; /* "public-key", announced */
    const struct transcript_line *failed;  /* a step after the key was announced */
};

/* Only what comes after the announcement is about that key. */
static const struct transcript_line *after(const struct ceremony *ceremony, const char *step,
                                           enum line_outcome outcome,
                                           const struct transcript_line *announced)
{
    const struct transcript_line *line = transcript_record_find(ceremony->record, step, outcome);
    return line != NULL && announced != NULL && line->number > announced->number ? line : NULL;
}

static void find_traces(const struct ceremony *ceremony, struct traces *out)
{
    memset(out, 0, sizeof *out);
    out->announced = transcript_record_find(ceremony->record, "generate", LINE_ANNOUNCED);
    if (out->announced == NULL)
        return;
    out->read_back = after(ceremony, "read-back", LINE_DONE, out->announced);
    out->outputs = after(ceremony, "public-key", LINE_ANNOUNCED, out->announced);
    out->destroyed = after(ceremony, "destroy", LINE_DONE, out->announced);
    for (size_t i = out->announced->number; i < transcript_record_count(ceremony->record); i++) {
        const struct transcript_line *line = transcript_record_at(ceremony->record, i);
        if (line->outcome == LINE_FAILED && strcmp(line->step, "login") != 0 &&
            strcmp(line->step, "resume") != 0)
            out->failed = line;
    }
}

/* The key of the record, by its label, its CKA_ID and its public half. */
static bool adopt_key(struct ceremony *ceremony, const struct traces *traces, struct error *err)
{
    const char *fingerprint = transcript_text(traces->read_back, NULL, "spkiSha256");
    if (!sealing_key_find(ceremony->session, ceremony->plan->key.label, &ceremony->key, err) ||
        !sealing_key_describe(ceremony->session, ceremony->key, &ceremony->finding, err))
        return false;
    if (strcmp(ceremony->finding.id, ceremony->id) != 0 || fingerprint == NULL ||
        strcmp(ceremony->finding.fingerprint, fingerprint) != 0) {
        error_set(err, FAIL_POLICY,
                  "the key \"%s\" on the token is not the one that this ceremony has made",
                  ceremony->plan->key.label);
        return error_hint(err, "somebody has changed the token meanwhile; look at `reseal key "
                               "list`, then run with --abandon");
    }
    snprintf(ceremony->birth.id, sizeof ceremony->birth.id, "%s", ceremony->id);
    return sealing_key_public(ceremony->session, ceremony->key, &ceremony->public_key, err);
}

/* Files that are what the record announced are this ceremony's own. */
static void find_outputs(struct ceremony *ceremony, const struct traces *traces)
{
    struct error ignored = ERROR_INIT;
    char found[DIGEST_TEXT];
    if (traces->outputs == NULL)
        return;
    const struct json_value *files = json_get(traces->outputs->facts, "files");
    for (size_t i = 0; i < json_count(files); i++) {
        const char *path = transcript_member(json_at(files, i), "path");
        const char *sha256 = transcript_member(json_at(files, i), "sha256");
        if (path == NULL || sha256 == NULL || !digest_of_file(path, found, &ignored) ||
            strcmp(found, sha256) != 0)
            continue;
        if (strcmp(path, ceremony->plan->public_key) == 0)
            ceremony->pem_written = true;
        else if (ceremony->plan->public_key_cng != NULL &&
                 strcmp(path, ceremony->plan->public_key_cng) == 0)
            ceremony->cng_written = true;
    }
}

static enum resume_way choose_way(const struct ceremony *ceremony, const struct traces *traces)
{
    bool found = ceremony->remains.private_keys + ceremony->remains.public_keys > 0;
    if (ceremony->options->abandon)
        return RESUME_END;
    if (traces->announced == NULL || traces->destroyed != NULL)
        return traces->failed != NULL ? RESUME_END : RESUME_AFRESH;
    if (traces->failed != NULL)
        return RESUME_END;
    if (traces->read_back != NULL && ceremony->remains.private_keys == 1)
        return RESUME_ADOPT;
    return found ? RESUME_UNDO : RESUME_AFRESH;
}

static void tell(const struct ceremony *ceremony, const struct traces *traces)
{
    const struct transcript_line *last = transcript_record_last(ceremony->record);
    const char *label = ceremony->plan->key.label;
    talk("the ceremony of %s was cut off at %s, in or after the step \"%s\" (%s)",
         transcript_record_at(ceremony->record, 0)->time, last->time, last->step,
         line_outcome_name(last->outcome));
    if (ceremony->cut_off > 0)
        talk("the last line was broken off while it was written (%zu bytes); what it would have "
             "announced was not begun",
             ceremony->cut_off);
    if (traces->announced == NULL)
        talk("no key had been announced yet: nothing of this ceremony is on the token");
    else
        talk("key \"%s\" with CKA_ID %s had been announced; on the token: %zu private, %zu public",
             label, ceremony->id, ceremony->remains.private_keys, ceremony->remains.public_keys);
    switch (ceremony->way) {
    case RESUME_AFRESH:
        talk("it RESUMES: the key is made now");
        return;
    case RESUME_UNDO:
        talk("it UNDOES: the key was not read back yet, so it is destroyed, and a new one is made");
        return;
    case RESUME_ADOPT:
        talk("it RESUMES: the key was read back as planned, and is proved now");
        return;
    case RESUME_END:
        talk("it UNDOES: %s; what is there is destroyed, and the record is closed",
             ceremony->options->abandon ? "the ceremony is abandoned" : "the ceremony had failed");
        return;
    }
}

static bool do_way(struct ceremony *ceremony, const struct traces *traces, struct error *err)
{
    const size_t confirm = ceremony_step_index("confirm");
    switch (ceremony->way) {
    case RESUME_AFRESH:
        ceremony->announced = false;
        ceremony->next = confirm;
        return true;
    case RESUME_UNDO:
        if (!ceremony_undo_key(ceremony, err))
            return false;
        ceremony->announced = false;
        ceremony->next = confirm;
        return true;
    case RESUME_ADOPT:
        ceremony->next = ceremony_step_index("unreadable");
        return adopt_key(ceremony, traces, err);
    case RESUME_END:
        ceremony->ending = true;
        find_outputs(ceremony, traces);
        if (ceremony->options->abandon)
            return true; /* undone by who closes it */
        return error_set(err, FAIL_POLICY, "the ceremony had failed in the step \"%s\"",
                         traces->failed->step);
    }
    return error_set(err, FAIL_INTERNAL, "no way to resume");
}

static const char *way_question(enum resume_way way)
{
    switch (way) {
    case RESUME_AFRESH:
        return "Go on with this ceremony?";
    case RESUME_UNDO:
        return "Destroy the unfinished key, and go on with this ceremony?";
    case RESUME_ADOPT:
        return "Go on with this key?";
    case RESUME_END:
        return "Destroy what is there, and close this ceremony as failed?";
    }
    return "";
}

bool act_resume(struct ceremony *ceremony, struct error *err)
{
    struct traces traces;
    find_traces(ceremony, &traces);
    if (traces.announced != NULL) {
        const char *id = transcript_text(traces.announced, NULL, "id");
        if (id == NULL || strlen(id) != KEY_ID_TEXT - 1)
            return error_set(err, FAIL_INPUT, "line %zu of the transcript announces no CKA_ID",
                             traces.announced->number);
        memcpy(ceremony->id, id, KEY_ID_TEXT);
        if (!key_remains_find(ceremony->session, ceremony->id, &ceremony->remains, err))
            return false;
    }
    ceremony->way = choose_way(ceremony, &traces);
    tell(ceremony, &traces);
    if (!talk_confirm(ceremony, way_question(ceremony->way), err))
        return false;
    /* Only from here on a failure may cost the key. */
    ceremony->announced = traces.announced != NULL && traces.destroyed == NULL;
    return do_way(ceremony, &traces, err);
}

/* A session that was lost with the failure is of no use for the undoing. */
static bool fresh_session(struct ceremony *ceremony, struct error *err)
{
    if (ceremony->session != NULL && !session_lost(ceremony->session))
        return true;
    session_close(&ceremony->session);
    return session_open(ceremony->token, SESSION_READ_WRITE, &ceremony->session, err);
}

static void facts_destroy(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    json_put_text(line, "label", ceremony->plan->key.label);
    json_put_text(line, "id", ceremony->id);
    json_put_integer(line, "privateKeys", (int64_t)ceremony->remains.private_keys);
    json_put_integer(line, "publicKeys", (int64_t)ceremony->remains.public_keys);
}

/* A record that takes no more lines must not save the key. */
static void add_line(struct ceremony *ceremony, enum line_outcome outcome,
                     const struct error *failure)
{
    struct error ignored = ERROR_INIT;
    (void)!transcript_add(ceremony->transcript, "destroy", outcome, facts_destroy, ceremony,
                          failure, &ignored);
}

bool ceremony_undo_key(struct ceremony *ceremony, struct error *err)
{
    const char *label = ceremony->plan->key.label;
    struct key_remains left = {0};
    if (!fresh_session(ceremony, err) ||
        !key_remains_find(ceremony->session, ceremony->id, &ceremony->remains, err)) {
        add_line(ceremony, LINE_FAILED, err);
        return false;
    }
    if (ceremony->remains.private_keys + ceremony->remains.public_keys > 0)
        add_line(ceremony, LINE_ANNOUNCED, NULL);
    if (!key_remains_destroy(ceremony->session, ceremony->id, label, err) ||
        !key_remains_find(ceremony->session, ceremony->id, &left, err)) {
        add_line(ceremony, LINE_FAILED, err);
        return false;
    }
    if (left.private_keys + left.public_keys > 0) {
        error_set(err, FAIL_TOKEN, "the token says that it has destroyed the key and shows it yet");
        add_line(ceremony, LINE_FAILED, err);
        return false;
    }
    add_line(ceremony, LINE_DONE, NULL);
    talk("the key \"%s\" was destroyed", label);
    return true;
}
