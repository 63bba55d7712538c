/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/transcript_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/clock.h"
#include "reseal/file.h"
#include "transcript_form.h"

struct entry {
    struct transcript_line line;
    struct json *json; /* owns what line.facts shows */
};

struct transcript_record {
    struct buf content;
    struct entry *entries;
    size_t count, room;
};

static const struct json_limits line_limits = {
    .bytes = TRANSCRIPT_LINE_MAX, .string = 128 * 1024, .values = 10000};

/* The line ends with the hash of what is before, to the letter. */
static bool check_seal(struct bytes text, struct error *err)
{
    char own[DIGEST_TEXT], wanted[TRANSCRIPT_SEAL_LEN + 1];
    if (text.len <= TRANSCRIPT_SEAL_LEN)
        return error_set(err, FAIL_INPUT, "it is too short to be a line of a transcript");
    struct bytes bare = {text.data, text.len - TRANSCRIPT_SEAL_LEN};
    if (!digest_of(bare, own, err))
        return false;
    snprintf(wanted, sizeof wanted, TRANSCRIPT_SEAL, own);
    if (memcmp(text.data + bare.len, wanted, TRANSCRIPT_SEAL_LEN) == 0)
        return true;
    return error_set(err, FAIL_INPUT, "its text is not what its own hash says: it was changed");
}

static bool read_members(struct transcript_line *line, struct error *err)
{
    const struct json_value *root = line->facts;
    const char *outcome;
    int64_t number;
    if (!json_want_integer(root, "", "seq", 1, INT64_MAX, &number, err) ||
        !json_want_text(root, "", "time", 64, &line->time, err) ||
        !json_want_text(root, "", "step", TRANSCRIPT_STEP - 1, &line->step, err) ||
        !json_want_text(root, "", "outcome", 16, &outcome, err))
        return false;
    if (!clock_parse(line->time, &line->time_ms))
        return error_set(err, FAIL_INPUT, "its time is no RFC 3339 time");
    if (!line_outcome_parse(outcome, &line->outcome))
        return error_set(err, FAIL_INPUT, "its outcome is none that is known");
    if (number != (int64_t)line->number)
        return error_set(err, FAIL_INPUT, "its number is %" PRId64 " and must be %zu", number,
                         line->number);
    return true;
}

static bool check_chain(const struct transcript_record *record, const struct transcript_line *line,
                        struct error *err)
{
    const char *previous;
    const char *before =
        record->count > 0 ? record->entries[record->count - 1].line.sha256 : TRANSCRIPT_NO_LINE;
    if (!json_want_text(line->facts, "", "previous", DIGEST_TEXT - 1, &previous, err))
        return false;
    if (strcmp(previous, before) == 0)
        return true;
    return error_set(err, FAIL_INPUT,
                     "it is not bound to the line before it: one of them was changed");
}

static bool make_room(struct transcript_record *record, struct error *err)
{
    if (record->count < record->room)
        return true;
    size_t room = record->room == 0 ? 64 : 2 * record->room;
    struct entry *grown = reallocarray(record->entries, room, sizeof *grown);
    if (grown == NULL)
        return error_memory(err);
    record->entries = grown;
    record->room = room;
    return true;
}

static bool add_line(struct transcript_record *record, struct bytes text, struct error *err)
{
    struct entry entry = {.line = {.number = record->count + 1, .text = text}};
    if (!check_seal(text, err) || !make_room(record, err) ||
        !json_parse(text.data, text.len, &line_limits, "the line", &entry.json, err))
        return false;
    entry.line.facts = json_root(entry.json);
    if (!read_members(&entry.line, err) || !check_chain(record, &entry.line, err) ||
        !digest_of(text, entry.line.sha256, err)) {
        json_free(&entry.json);
        return false;
    }
    record->entries[record->count++] = entry;
    return true;
}

static bool read_lines(struct transcript_record *record, size_t *cut_off, struct error *err)
{
    struct bytes left = buf_bytes(&record->content);
    if (cut_off != NULL)
        *cut_off = 0;
    while (left.len > 0) {
        const uint8_t *end = memchr(left.data, '\n', left.len);
        if (end == NULL && cut_off != NULL && record->count > 0) {
            *cut_off = left.len;
            return true;
        }
        if (end == NULL) {
            error_set(err, FAIL_INPUT, "line %zu has no end", record->count + 1);
            return error_hint(err, "the transcript was cut off");
        }
        struct bytes text = {left.data, (size_t)(end - left.data)};
        if (!add_line(record, text, err))
            return error_context(err, "line %zu", record->count + 1);
        left.data += text.len + 1;
        left.len -= text.len + 1;
    }
    if (record->count > 0)
        return true;
    error_set(err, FAIL_INPUT, "the transcript is empty");
    return error_hint(err, TRANSCRIPT_HINT);
}

/* Takes `content` over, also on failure. */
static bool parse_owned(struct buf *content, struct transcript_record **out, size_t *cut_off,
                        struct error *err)
{
    *out = NULL;
    struct transcript_record *record = calloc(1, sizeof *record);
    if (record == NULL) {
        buf_free(content);
        return error_memory(err);
    }
    record->content = *content;
    *content = (struct buf)BUF_INIT(0); /* transferred */
    if (!read_lines(record, cut_off, err)) {
        transcript_record_free(&record);
        return false;
    }
    *out = record;
    return true;
}

bool transcript_parse(struct bytes content, struct transcript_record **out, size_t *cut_off,
                      struct error *err)
{
    struct buf copy = BUF_INIT(TRANSCRIPT_MAX);
    *out = NULL;
    buf_put(&copy, content.data, content.len);
    if (!buf_check(&copy, "the transcript", err))
        return false;
    return parse_owned(&copy, out, cut_off, err);
}

bool transcript_read(const char *path, struct transcript_record **out, size_t *cut_off,
                     struct error *err)
{
    struct buf content = BUF_INIT(TRANSCRIPT_MAX);
    *out = NULL;
    if (!file_read(path, &content, err)) {
        buf_free(&content);
        return error_hint(err, TRANSCRIPT_HINT);
    }
    return parse_owned(&content, out, cut_off, err) || error_context(err, "transcript %s", path);
}

void transcript_record_free(struct transcript_record **record)
{
    if (record == NULL || *record == NULL)
        return;
    for (size_t i = 0; i < (*record)->count; i++)
        json_free(&(*record)->entries[i].json);
    free((*record)->entries);
    buf_free(&(*record)->content);
    free(*record);
    *record = NULL;
}

size_t transcript_record_count(const struct transcript_record *record)
{
    return record->count;
}

const struct transcript_line *transcript_record_at(const struct transcript_record *record,
                                                   size_t index)
{
    return &record->entries[index].line;
}

const struct transcript_line *transcript_record_last(const struct transcript_record *record)
{
    return &record->entries[record->count - 1].line;
}

const struct transcript_line *transcript_record_find(const struct transcript_record *record,
                                                     const char *step, enum line_outcome outcome)
{
    for (size_t i = record->count; i > 0; i--) {
        const struct transcript_line *line = &record->entries[i - 1].line;
        if (line->outcome == outcome && strcmp(line->step, step) == 0)
            return line;
    }
    return NULL;
}

const struct transcript_line *transcript_record_pending(const struct transcript_record *record)
{
    const struct transcript_line *pending = NULL;
    for (size_t i = 0; i < record->count; i++) {
        const struct transcript_line *line = &record->entries[i].line;
        if (line->outcome == LINE_ANNOUNCED)
            pending = line;
        else if (line->outcome != LINE_NOTED && pending != NULL &&
                 strcmp(line->step, pending->step) == 0)
            pending = NULL;
    }
    return pending;
}

/* The state after a line, by that before it; false where no such line may come then. A destroyed
 * key may be destroyed again, on a token with its replica. */
static bool state_after(const struct transcript_line *line, enum ceremony_state *state)
{
    static const struct {
        const char *step;
        enum line_outcome outcome;
        enum ceremony_state from, to;
    } moves[] = {
        {"close", LINE_DONE, CEREMONY_UNFINISHED, CEREMONY_ACCEPTED},
        {"close", LINE_FAILED, CEREMONY_UNFINISHED, CEREMONY_FAILED},
        {"commit", LINE_DONE, CEREMONY_ACCEPTED, CEREMONY_COMMITTED},
        {"retire", LINE_DONE, CEREMONY_COMMITTED, CEREMONY_RETIRED},
        {"destroy", LINE_DONE, CEREMONY_UNFINISHED, CEREMONY_UNFINISHED}, /* undone */
        {"destroy", LINE_DONE, CEREMONY_FAILED, CEREMONY_FAILED},
        {"destroy", LINE_DONE, CEREMONY_ACCEPTED, CEREMONY_DESTROYED},
        {"destroy", LINE_DONE, CEREMONY_COMMITTED, CEREMONY_DESTROYED},
        {"destroy", LINE_DONE, CEREMONY_RETIRED, CEREMONY_DESTROYED},
        {"destroy", LINE_DONE, CEREMONY_DESTROYED, CEREMONY_DESTROYED},
    };
    bool moves_it = false;
    for (size_t i = 0; i < ARRAY_LEN(moves); i++) {
        if (moves[i].outcome != line->outcome || strcmp(moves[i].step, line->step) != 0)
            continue;
        moves_it = true;
        if (moves[i].from == *state) {
            *state = moves[i].to;
            return true;
        }
    }
    return !moves_it;
}

enum ceremony_state transcript_record_state(const struct transcript_record *record)
{
    enum ceremony_state state = CEREMONY_UNFINISHED;
    for (size_t i = 0; i < record->count; i++)
        (void)state_after(&record->entries[i].line, &state);
    return state;
}

static bool is_one_of(const struct transcript_line *line, const char *const *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(line->step, steps[i]) == 0)
            return true;
    }
    return false;
}

const struct transcript_line *transcript_record_stray(const struct transcript_record *record)
{
    static const char *const of_the_key[] = {"login",      "confirm", "generate",   "read-back",
                                             "unreadable", "proof",   "public-key", "fingerprint"};
    static const char *const of_the_backup[] = {"replicate", "backup"};
    enum ceremony_state state = CEREMONY_UNFINISHED;
    for (size_t i = 0; i < record->count; i++) {
        const struct transcript_line *line = &record->entries[i].line;
        if (!state_after(line, &state) ||
            (state != CEREMONY_UNFINISHED && is_one_of(line, of_the_key, ARRAY_LEN(of_the_key))) ||
            (state != CEREMONY_ACCEPTED &&
             is_one_of(line, of_the_backup, ARRAY_LEN(of_the_backup))))
            return line;
    }
    return NULL;
}

bool transcript_record_rehearsed(const struct transcript_record *record)
{
    return json_true(json_get(transcript_record_at(record, 0)->facts, "rehearsal"));
}

bool transcript_record_earnest(const struct transcript_record *record, const char *path,
                               struct error *err)
{
    if (!transcript_record_rehearsed(record))
        return true;
    error_set(err, FAIL_POLICY, "%s is the record of a rehearsal: there is no key of it", path);
    return error_hint(err, "`reseal ceremony run PLAN` without --rehearse makes the key");
}

struct token_identity transcript_token(const struct transcript_line *line, const char *group)
{
    return (struct token_identity){
        .label = transcript_text(line, group, "label"),
        .serial = transcript_text(line, group, "serial"),
        .manufacturer = transcript_text(line, group, "manufacturer"),
        .model = transcript_text(line, group, "model"),
    };
}

struct token_identity token_identity_of(const struct token_facts *facts)
{
    return (struct token_identity){
        .label = facts->label,
        .serial = facts->serial,
        .manufacturer = facts->manufacturer,
        .model = facts->model,
    };
}

static bool same_text(const char *one, const char *other)
{
    return one != NULL && other != NULL && strcmp(one, other) == 0;
}

static bool agrees(const char *one, const char *other)
{
    return one == NULL || other == NULL || strcmp(one, other) == 0;
}

bool token_identity_same(const struct token_identity *one, const struct token_identity *other)
{
    return same_text(one->serial, other->serial) && same_text(one->label, other->label) &&
           agrees(one->manufacturer, other->manufacturer) && agrees(one->model, other->model);
}

/* The last line of that step that is done and names that token in that group. */
static const struct transcript_line *find_of_token(const struct transcript_record *record,
                                                   const char *step, const char *group,
                                                   const struct token_identity *token)
{
    for (size_t i = record->count; i > 0; i--) {
        const struct transcript_line *line = &record->entries[i - 1].line;
        const struct token_identity found = transcript_token(line, group);
        if (line->outcome == LINE_DONE && strcmp(line->step, step) == 0 &&
            token_identity_same(&found, token))
            return line;
    }
    return NULL;
}

const struct transcript_line *transcript_record_arrival(const struct transcript_record *record,
                                                        const struct token_identity *token)
{
    return find_of_token(record, "replicate", "to", token);
}

bool transcript_record_destroyed(const struct transcript_record *record,
                                 const struct token_identity *token)
{
    return find_of_token(record, "destroy", "token", token) != NULL;
}

const char *ceremony_state_name(enum ceremony_state state)
{
    switch (state) {
    case CEREMONY_UNFINISHED:
        return "unfinished";
    case CEREMONY_FAILED:
        return "failed";
    case CEREMONY_ACCEPTED:
        return "accepted";
    case CEREMONY_COMMITTED:
        return "committed";
    case CEREMONY_RETIRED:
        return "retired";
    case CEREMONY_DESTROYED:
        return "destroyed";
    }
    return "unknown";
}

const char *transcript_member(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    return value != NULL && json_type(value) == JSON_STRING ? json_text(value, NULL) : NULL;
}

bool transcript_member_is(const struct json_value *object, const char *name, const char *wanted)
{
    return same_text(transcript_member(object, name), wanted);
}

const char *transcript_text(const struct transcript_line *line, const char *group, const char *name)
{
    return transcript_member(group != NULL ? json_get(line->facts, group) : line->facts, name);
}
