/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a ceremony, read: every line checked, and what state the ceremony is in. */
#ifndef RESEAL_TRANSCRIPT_READ_H
#define RESEAL_TRANSCRIPT_READ_H

#include "reseal/probe_report.h"
#include "reseal/transcript.h"

struct transcript_line {
    size_t number;                  /* from 1 */
    int64_t time_ms;                /* real time */
    const char *time;               /* as written */
    const char *step;               /* "generate" */
    enum line_outcome outcome;      /* of the step */
    const struct json_value *facts; /* the whole object */
    char sha256[DIGEST_TEXT];       /* of the line */
    struct bytes text;              /* without the line end */
};

struct transcript_record;

/*
 * Checks numbering, times, chain and own hash of each line; the error (FAIL_INPUT) names the first
 * line that is wrong. *cut_off, where not NULL, takes the length of a last line without an end,
 * which is then left out; NULL refuses such a record.
 */
bool transcript_parse(struct bytes content, struct transcript_record **out, size_t *cut_off,
                      struct error *err) MUST_USE;
/* The same for a file; FAIL_NOT_FOUND where there is none. */
bool transcript_read(const char *path, struct transcript_record **out, size_t *cut_off,
                     struct error *err) MUST_USE;
void transcript_record_free(struct transcript_record **record);

size_t transcript_record_count(const struct transcript_record *record) MUST_USE;
/* `index` from 0. */
const struct transcript_line *transcript_record_at(const struct transcript_record *record,
                                                   size_t index) MUST_USE;
const struct transcript_line *transcript_record_last(
    const struct transcript_record *record) MUST_USE;
/* The last line of that step and outcome, or NULL. */
const struct transcript_line *transcript_record_find(const struct transcript_record *record,
                                                     const char *step,
                                                     enum line_outcome outcome) MUST_USE;
/* The act that was announced last and of which no line says how it ended, or NULL. */
const struct transcript_line *transcript_record_pending(
    const struct transcript_record *record) MUST_USE;

/* Where a key is in its life, as its transcript tells. */
enum ceremony_state {
    CEREMONY_UNFINISHED, /* not closed: cut off, or still running */
    CEREMONY_FAILED,     /* closed without a key */
    CEREMONY_ACCEPTED,   /* closed with a key that waits for its commit */
    CEREMONY_COMMITTED,  /* the key may be used */
    CEREMONY_RETIRED,    /* step "retire" */
    CEREMONY_DESTROYED,  /* step "destroy" after the ceremony was closed */
};
enum ceremony_state transcript_record_state(const struct transcript_record *record) MUST_USE;
/* A rehearsal's key was on a token that is thrown away, and what the record says is not held
 * against the plan. */
bool transcript_record_rehearsed(const struct transcript_record *record) MUST_USE;
/* FAIL_POLICY for the record of a rehearsal, which is at that path. */
bool transcript_record_earnest(const struct transcript_record *record, const char *path,
                               struct error *err) MUST_USE;

/* What tells one token from another. The serial number alone does not: NSS softokn gives all its
 * tokens the same one. */
struct token_identity {
    const char *label, *serial, *manufacturer, *model; /* NULL: not told */
};
/* Of the group of a line: "token", "to"; valid as long as the record. */
struct token_identity transcript_token(const struct transcript_line *line,
                                       const char *group) MUST_USE;
/* Valid as long as the facts. */
struct token_identity token_identity_of(const struct token_facts *facts) MUST_USE;
/* Of serial number and label both must tell; of the others what both tell must agree. */
bool token_identity_same(const struct token_identity *one,
                         const struct token_identity *other) MUST_USE;

/* The line by which the key came to that token, as a replica; or NULL. */
const struct transcript_line *transcript_record_arrival(
    const struct transcript_record *record, const struct token_identity *token) MUST_USE;
/* Whether a line tells that the accepted key was destroyed on that token. */
bool transcript_record_destroyed(const struct transcript_record *record,
                                 const struct token_identity *token) MUST_USE;
/* The first line that may not come where it is: a second end of the ceremony, a step of the making
 * after it, a replica of a key that is not accepted or is committed, a commit of no key. NULL:
 * there is none. */
const struct transcript_line *transcript_record_stray(
    const struct transcript_record *record) MUST_USE;
/* "unfinished", "failed" ... */
const char *ceremony_state_name(enum ceremony_state state) MUST_USE;

/* The member's text; NULL where there is none, or it is no string. A record may be anybody's. */
const char *transcript_member(const struct json_value *object, const char *name) MUST_USE;
/* Whether the member is that text; false where either is NULL. */
bool transcript_member_is(const struct json_value *object, const char *name,
                          const char *wanted) MUST_USE;
/* A text of the line's facts: "tool", "version" is facts.tool.version. NULL where there is none, or
 * something else. `group` NULL: at the top. */
const char *transcript_text(const struct transcript_line *line, const char *group,
                            const char *name) MUST_USE;

#endif
