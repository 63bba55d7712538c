/* SPDX-License-Identifier: Apache-2.0 */
/* What the record says of replicas on other tokens, and of the backup that the plan wants. */
#include <stdio.h>
#include <string.h>
#include "verify.h"

/* Every padding of the plan, in no lower custody than that of the plan. */
static bool reaches(const struct json_value *found, const struct json_value *planned,
                    enum custody custody)
{
    for (size_t i = 0; i < json_count(planned); i++) {
        const char *padding = json_text(json_at(planned, i), NULL);
        bool reached = false;
        for (size_t j = 0; j < json_count(found); j++) {
            enum custody of_replica;
            const struct json_value *row = json_at(found, j);
            const char *name = transcript_member(row, "custody");
            reached = reached || (transcript_member_is(row, "padding", padding) && name != NULL &&
                                  custody_parse(name, &of_replica) && of_replica >= custody);
        }
        if (!reached)
            return false;
    }
    return true;
}

/* Each replica was read back on its token as the key was, and reaches what the plan wants. */
static void verify_replica(struct verification *verification, const struct transcript_line *closed,
                           const struct transcript_line *line, const struct key_plan *plan)
{
    struct key_plan replica = *plan;
    const struct transcript_line *first = transcript_record_at(verification->record, 0);
    const char *fingerprint = transcript_text(closed, NULL, "spkiSha256");
    const struct json_value *to = json_get(line->facts, "to");
    const char *manufacturer = transcript_member(to, "manufacturer");
    const char *serial = transcript_member(to, "serial");
    char whose[96];
    snprintf(whose, sizeof whose, "the replica on the token %s", serial != NULL ? serial : "?");
    replica.replica = true;
    replica.wrapping = KEY_WRAPPED_NEVER;
    if (!transcript_member_is(line->facts, "spkiSha256", fingerprint) || manufacturer == NULL ||
        serial == NULL)
        verify_say(verification, VERIFIED_WRONG, "key",
                   "line %zu tells of a replica that is not of this key", line->number);
    else if (!reaches(json_get(line->facts, "paddings"),
                      json_get(json_get(first->facts, "key"), "paddings"), plan->custody))
        verify_say(verification, VERIFIED_WRONG, "key",
                   "%s does not reach what the plan wants proved", whose);
    else
        verify_attributes(verification, line, &replica, manufacturer, whose);
}

static bool is_replica(const struct transcript_line *line)
{
    return line->outcome == LINE_DONE && strcmp(line->step, "replicate") == 0;
}

static bool same_transport_key(const struct transcript_line *one,
                               const struct transcript_line *other)
{
    const struct json_value *key = json_get(one->facts, "transportKey");
    static const char *const names[] = {"label", "spkiSha256"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (transcript_member_is(key, names[i], transcript_text(other, "transportKey", names[i])))
            return true;
    }
    return false;
}

/* One token, or one transport key, counted twice would stand for a replica that there is not. */
static void verify_another(struct verification *verification, const struct transcript_line *line)
{
    const struct transcript_record *record = verification->record;
    const struct token_identity birthplace =
        transcript_token(transcript_record_at(record, 0), "token");
    const struct token_identity to = transcript_token(line, "to");
    if (token_identity_same(&birthplace, &to))
        verify_say(verification, VERIFIED_WRONG, "key",
                   "line %zu tells of a replica on the token where the key was made", line->number);
    for (size_t i = 0; i + 1 < line->number; i++) {
        const struct transcript_line *before = transcript_record_at(record, i);
        const struct token_identity there = transcript_token(before, "to");
        if (!is_replica(before))
            continue;
        bool one_token = token_identity_same(&there, &to);
        if (one_token || same_transport_key(before, line))
            verify_say(verification, VERIFIED_WRONG, "key",
                       "lines %zu and %zu tell of two replicas and of one %s", before->number,
                       line->number, one_token ? "token" : "transport key");
    }
}

static bool is_planned(const struct transcript_record *record, const struct transcript_line *line)
{
    const struct json_value *rules = json_get(transcript_record_at(record, 0)->facts, "rules");
    const struct json_value *labels = json_get(rules, "transportKeys");
    for (size_t i = 0; i < json_count(labels); i++) {
        if (transcript_member_is(json_get(line->facts, "transportKey"), "label",
                                 json_text(json_at(labels, i), NULL)))
            return true;
    }
    return false;
}

/* The line before it, notes aside, says that this is about to be done. */
static bool was_announced(const struct transcript_record *record,
                          const struct transcript_line *line)
{
    for (size_t i = line->number - 1; i > 0; i--) {
        const struct transcript_line *before = transcript_record_at(record, i - 1);
        const struct token_identity there = transcript_token(before, "to");
        const struct token_identity to = transcript_token(line, "to");
        if (before->outcome == LINE_NOTED)
            continue;
        return before->outcome == LINE_ANNOUNCED && strcmp(before->step, line->step) == 0 &&
               transcript_member_is(json_get(before->facts, "transportKey"), "label",
                                    transcript_text(line, "transportKey", "label")) &&
               token_identity_same(&there, &to);
    }
    return false;
}

/* A replica belongs to a replication that the plan wants and that was begun. */
static void verify_begun(struct verification *verification, const struct transcript_line *line)
{
    const char *label = transcript_text(line, "transportKey", "label");
    if (!is_planned(verification->record, line))
        verify_say(verification, VERIFIED_WRONG, "key",
                   "line %zu tells of a replica for the transport key \"%s\", which the plan does "
                   "not name",
                   line->number, label != NULL ? label : "?");
    else if (!was_announced(verification->record, line))
        verify_say(verification, VERIFIED_WRONG, "key",
                   "line %zu tells of a replica that the line before it does not announce",
                   line->number);
}

static const struct transcript_line *replica_for(const struct transcript_record *record,
                                                 const char *transport_label)
{
    for (size_t i = 0; i < transcript_record_count(record); i++) {
        const struct transcript_line *line = transcript_record_at(record, i);
        if (is_replica(line) &&
            transcript_member_is(json_get(line->facts, "transportKey"), "label", transport_label))
            return line;
    }
    return NULL;
}

/* A plan with transport keys wants a replica for each, after that nobody wraps the key, and only
 * then the commit. */
static void verify_backup(struct verification *verification, const struct transcript_line *closed)
{
    const struct transcript_record *record = verification->record;
    const struct json_value *rules = json_get(transcript_record_at(record, 0)->facts, "rules");
    const struct json_value *labels = json_get(rules, "transportKeys");
    const struct transcript_line *backup = transcript_record_find(record, "backup", LINE_DONE);
    const struct transcript_line *commit = transcript_record_find(record, "commit", LINE_DONE);
    const struct transcript_line *end = backup != NULL ? backup : commit;
    size_t before = closed->number;
    if (!transcript_member_is(rules, "backup", "transport") || end == NULL)
        return;
    for (size_t i = 0; i < json_count(labels); i++) {
        const char *label = json_text(json_at(labels, i), NULL);
        const struct transcript_line *line = replica_for(record, label);
        if (line != NULL && line->number > before && line->number < end->number)
            continue;
        verify_say(
            verification, VERIFIED_WRONG, "key",
            "line %zu, \"%s\", comes without a replica for the transport key \"%s\" before it",
            end->number, end->step, label != NULL ? label : "?");
        return;
    }
    if (backup == NULL || (commit != NULL && commit->number < backup->number))
        verify_say(verification, VERIFIED_WRONG, "key",
                   "the key was committed before the backup that the plan wants");
    else
        verify_confined(verification, backup);
}

void verify_replicas(struct verification *verification, const struct transcript_line *closed,
                     const struct key_plan *plan)
{
    for (size_t i = 0; i < transcript_record_count(verification->record); i++) {
        const struct transcript_line *line = transcript_record_at(verification->record, i);
        if (!is_replica(line))
            continue;
        verify_replica(verification, closed, line, plan);
        verify_another(verification, line);
        verify_begun(verification, line);
    }
    verify_backup(verification, closed);
}
