/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_commit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/key_descriptor.h"
#include "reseal/text.h"
#include "run.h"

/* What one commit works with. */
struct commit {
    const struct commit_options *options;
    struct verification *verification;
    struct transcript *transcript;
    const struct transcript_line *first, *closed;
    const struct transcript_line *announced; /* by a commit that was cut off; NULL: none was */
    struct key_descriptor descriptor;
    char path[1024]; /* of the descriptor */
    struct buf text; /* of the descriptor */
    char sha256[DIGEST_TEXT];
};

static void facts_commit(const void *context, struct json_writer *line)
{
    const struct commit *commit = context;
    json_array(line, "signatures");
    for (size_t i = 0; i < commit->verification->signature_count; i++) {
        const struct verified_signature *entry = &commit->verification->signatures[i];
        json_object(line, NULL);
        json_put_text(line, "witness", entry->signature.id);
        json_put_text(line, "name", entry->signature.name);
        json_put_integer(line, "lines", (int64_t)entry->signature.lines);
        json_put_text(line, "spkiSha256", entry->signature.key_fingerprint);
        json_put_text(line, "sha256", entry->sha256);
        json_put_bool(line, "planned", entry->planned);
        json_object_end(line);
    }
    json_array_end(line);
    json_put_integer(line, "counted", (int64_t)commit->verification->counted);
    json_put_integer(line, "wanted", (int64_t)commit->verification->required);
    json_object(line, "descriptor");
    json_put_text(line, "path", commit->path);
    json_put_text(line, "sha256", commit->sha256);
    json_put_text(line, "text", buf_text(&commit->text));
    json_object_end(line);
}

static bool check_state(const struct commit *commit, struct error *err)
{
    const char *path = commit->options->transcript;
    switch (commit->verification->state) {
    case CEREMONY_ACCEPTED:
        return true;
    case CEREMONY_COMMITTED:
        return error_set(err, FAIL_EXISTS, "the key of %s was committed already", path);
    case CEREMONY_UNFINISHED:
        error_set(err, FAIL_POLICY, "the ceremony of %s is unfinished", path);
        return error_hint(err, "`reseal ceremony run` with its plan goes on");
    case CEREMONY_FAILED:
    case CEREMONY_RETIRED:
    case CEREMONY_DESTROYED:
        return error_set(err, FAIL_POLICY, "there is no key to commit: the ceremony of %s is %s",
                         path, ceremony_state_name(commit->verification->state));
    }
    return error_set(err, FAIL_INTERNAL, "the state of %s", path);
}

static bool check_signatures(const struct commit *commit, struct error *err)
{
    const struct verification *verification = commit->verification;
    size_t wanted = verification->required;
    if (commit->options->witnesses > wanted)
        wanted = commit->options->witnesses;
    if (verification->counted >= wanted)
        return true;
    error_set(err, FAIL_POLICY, "%zu signatures of witnesses are wanted, and %zu count", wanted,
              verification->counted);
    return error_hint(err, "a witness signs by `reseal ceremony sign`; `reseal ceremony verify` "
                           "tells which signatures count, and why others do not");
}

/* The backup is recorded by the command that makes the replica, as the step "backup". */
static bool check_backup(const struct commit *commit, struct error *err)
{
    const char *rule = transcript_text(commit->first, "rules", "backup");
    const struct transcript_line *done =
        transcript_record_find(commit->verification->record, "backup", LINE_DONE);
    if (rule == NULL || strcmp(rule, "none") == 0 ||
        (done != NULL && done->number > commit->closed->number))
        return true;
    error_set(err, FAIL_POLICY,
              "the plan wants the key replicated before it may be used, and the "
              "transcript tells of no replica");
    return error_hint(err,
                      "`reseal ceremony replicate` makes one for each transport key of the plan, "
                      "and ends what was cut off");
}

static bool may_confirm(const struct commit *commit, struct error *err)
{
    const struct json_value *rules = json_get(commit->first->facts, "rules");
    if (!commit->options->confirmed || json_true(json_get(rules, "allowYes")))
        return true;
    error_set(err, FAIL_POLICY, "the plan does not allow --yes");
    return error_hint(err, "run it on a terminal, where a person confirms");
}

static void take(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

/* All of it comes from the record; one that a commit before this one has announced is taken as it
 * is. */
static bool make_descriptor(struct commit *commit, struct error *err)
{
    struct key_descriptor *out = &commit->descriptor;
    const struct json_value *key = json_get(commit->first->facts, "key");
    const char *path = transcript_text(commit->first, "outputs", "descriptor");
    int64_t bits = 0;
    take(out->label, sizeof out->label, transcript_text(commit->closed, NULL, "label"));
    take(out->id, sizeof out->id, transcript_text(commit->closed, NULL, "id"));
    take(out->fingerprint, sizeof out->fingerprint,
         transcript_text(commit->closed, NULL, "spkiSha256"));
    take(out->token, sizeof out->token, transcript_text(commit->first, "token", "label"));
    take(out->serial, sizeof out->serial, transcript_text(commit->first, "token", "serial"));
    take(out->transcript, sizeof out->transcript,
         transcript_text(commit->first, "outputs", "transcript"));
    take(out->transcript_sha256, sizeof out->transcript_sha256,
         transcript_record_last(commit->verification->record)->sha256);
    out->signatures = (int)commit->verification->counted;
    clock_format(clock_real_ms(), out->committed);
    if (path == NULL || !json_integer(json_get(key, "bits"), 2048, 4096, &bits) ||
        !custody_parse(transcript_text(commit->first, "key", "custody"), &out->custody))
        return error_set(err, FAIL_INPUT, "the first line does not tell the key or its descriptor");
    out->bits = (int)bits;
    take(commit->path, sizeof commit->path, path);
    const char *before =
        commit->announced != NULL ? transcript_text(commit->announced, "descriptor", "text") : NULL;
    if (before != NULL)
        buf_put_text(&commit->text, before);
    else
        key_descriptor_format(out, &commit->text);
    return buf_check(&commit->text, "the descriptor", err) &&
           digest_of(buf_bytes(&commit->text), commit->sha256, err);
}

/* True where a commit that was cut off has written it. */
static bool is_written(const struct commit *commit)
{
    struct error ignored = ERROR_INIT;
    char found[DIGEST_TEXT];
    return commit->announced != NULL && digest_of_file(commit->path, found, &ignored) &&
           strcmp(found, commit->sha256) == 0;
}

static bool write_descriptor(struct commit *commit, struct error *err)
{
    bool written = is_written(commit);
    if (!written && !ceremony_output_possible(commit->path, err))
        return false;
    if (commit->announced == NULL && !transcript_add(commit->transcript, "commit", LINE_ANNOUNCED,
                                                     facts_commit, commit, NULL, err))
        return false;
    if (!written && !file_write(commit->path, 0644, FILE_NEW, buf_bytes(&commit->text), err)) {
        struct error ignored = ERROR_INIT;
        (void)!transcript_add(commit->transcript, "commit", LINE_FAILED, NULL, NULL, err, &ignored);
        return false;
    }
    return transcript_add(commit->transcript, "commit", LINE_DONE, facts_commit, commit, NULL, err);
}

static bool look(struct commit *commit, struct error *err)
{
    const struct verify_options options = {.transcript = commit->options->transcript};
    if (!ceremony_verify(&options, &commit->verification, err) ||
        !verification_check(commit->verification, options.transcript, err) ||
        !check_state(commit, err))
        return false;
    commit->first = transcript_record_at(commit->verification->record, 0);
    commit->closed = transcript_record_find(commit->verification->record, "close", LINE_DONE);
    const struct transcript_line *pending = transcript_record_pending(commit->verification->record);
    if (pending != NULL && strcmp(pending->step, "commit") == 0)
        commit->announced = pending;
    return transcript_record_earnest(commit->verification->record, options.transcript, err) &&
           check_signatures(commit, err) && check_backup(commit, err) && may_confirm(commit, err) &&
           make_descriptor(commit, err);
}

static bool confirm(const struct commit *commit, struct error *err)
{
    char question[512];
    fprintf(stderr, "the key \"%s\", SHA-256 of its public half\n%s\n", commit->descriptor.label,
            commit->descriptor.fingerprint);
    fprintf(stderr, "signatures of witnesses that count: %zu; wanted by the plan: %zu\n",
            commit->verification->counted, commit->verification->required);
    if (commit->announced != NULL)
        fprintf(stderr, "a commit was cut off after line %zu; it is done now\n",
                commit->announced->number);
    snprintf(question, sizeof question, "Let connectors use this key?");
    return commit->options->confirmed || talk_yes(question, err);
}

bool ceremony_commit(const struct commit_options *options, struct commit_result *out,
                     struct error *err)
{
    struct commit commit = {.options = options, .text = BUF_INIT(DESCRIPTOR_MAX)};
    size_t cut_off = 0;
    bool ok = false;
    memset(out, 0, sizeof *out);
    /* Locked before it is looked at: nobody adds a line in between. */
    if (!transcript_open(options->transcript, &commit.transcript, &cut_off, err) ||
        !look(&commit, err) || !confirm(&commit, err) || !write_descriptor(&commit, err))
        goto done;
    take(out->label, sizeof out->label, commit.descriptor.label);
    take(out->descriptor, sizeof out->descriptor, commit.path);
    take(out->fingerprint, sizeof out->fingerprint, commit.descriptor.fingerprint);
    memcpy(out->head, transcript_head(commit.transcript), DIGEST_TEXT);
    out->signatures = commit.verification->counted;
    ok = true;
done:
    transcript_close(&commit.transcript);
    verification_free(&commit.verification);
    buf_free(&commit.text);
    return ok;
}

static void facts_note(const void *context, struct json_writer *line)
{
    json_put_text(line, "words", context);
}

bool ceremony_note(const char *path, const char *words, char head[static DIGEST_TEXT],
                   struct error *err)
{
    struct transcript *transcript = NULL;
    size_t cut_off = 0;
    bool ok = false;
    if (!transcript_open(path, &transcript, &cut_off, err))
        return false;
    if (words[0] == '\0' || strlen(words) > 8192 || !utf8_is_strict(words, strlen(words)))
        error_set(err, FAIL_INPUT, "a note is 1 to 8192 bytes of UTF-8");
    else
        ok = transcript_add(transcript, "note", LINE_NOTED, facts_note, words, NULL, err);
    if (ok)
        memcpy(head, transcript_head(transcript), DIGEST_TEXT);
    transcript_close(&transcript);
    return ok;
}
