/* SPDX-License-Identifier: Apache-2.0 */
/* The plan in the first line is read again, and what else the record says by it is held against
 * that: a line that contradicts the plan beside it would be believed otherwise. */
#include <stdio.h>
#include <string.h>
#include "run.h"
#include "verify.h"

#define GROUPS_MAX (256 * 1024) /* bytes of JSON that a plan gives */

/* Everything that `wanted` tells is told by `recorded`, and is the same. */
static bool tells(const struct json_value *recorded, const struct json_value *wanted)
{
    size_t len, wanted_len;
    if (recorded == NULL || json_type(recorded) != json_type(wanted))
        return false;
    switch (json_type(wanted)) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return json_true(recorded) == json_true(wanted);
    case JSON_NUMBER:
    case JSON_STRING: {
        const char *text = json_text(recorded, &len), *other = json_text(wanted, &wanted_len);
        return len == wanted_len && memcmp(text, other, len) == 0;
    }
    case JSON_ARRAY:
        for (size_t i = 0; i < json_count(wanted); i++) {
            if (!tells(json_at(recorded, i), json_at(wanted, i)))
                return false;
        }
        return json_count(recorded) == json_count(wanted);
    case JSON_OBJECT:
        for (size_t i = 0; i < json_count(wanted); i++) {
            if (!tells(json_get(recorded, json_key_at(wanted, i)), json_at(wanted, i)))
                return false;
        }
        return true;
    }
    return false;
}

/* The plan names a witness's key by a file, which is not in the record: its fingerprint is the
 * record's own word. */
static void take_fingerprints(const struct json_value *rules, struct ceremony_plan *plan)
{
    const struct json_value *witnesses = json_get(rules, "witnesses");
    for (size_t i = 0; i < plan->witness_count; i++) {
        struct plan_witness *witness = &plan->witnesses[i];
        const char *found = transcript_member(json_at(witnesses, i), "spkiSha256");
        bool whole = found != NULL && strlen(found) == DIGEST_TEXT - 1;
        if (witness->key != NULL)
            snprintf(witness->key_fingerprint, sizeof witness->key_fingerprint, "%s",
                     whole ? found : "missing");
    }
}

static bool groups_of(const struct ceremony_plan *plan, struct json **out, struct error *err)
{
    static const struct json_limits limits = {.bytes = GROUPS_MAX, .string = 8192, .values = 5000};
    struct buf text = BUF_INIT(GROUPS_MAX);
    struct json_writer *writer = NULL;
    if (!json_writer_new(false, &writer, err))
        return false;
    json_object(writer, NULL);
    facts_of_plan(plan, writer);
    json_object_end(writer);
    bool ok = json_finish(writer, &text, err) &&
              json_parse(text.data, text.len, &limits, "the plan", out, err);
    json_writer_free(&writer);
    buf_free(&text);
    return ok;
}

static void compare_groups(struct verification *verification, const struct transcript_line *first,
                           const struct json_value *wanted)
{
    size_t wrong = 0;
    for (size_t i = 0; i < json_count(wanted); i++) {
        const char *name = json_key_at(wanted, i);
        if (tells(json_get(first->facts, name), json_at(wanted, i)))
            continue;
        wrong++;
        verify_say(verification, VERIFIED_WRONG, "plan",
                   "\"%s\" of the first line is not what the text of the plan says", name);
    }
    if (wrong == 0)
        verify_say(verification, VERIFIED_PROVEN, "plan",
                   "key, rules and outputs of the first line are what the text of the plan says");
}

/* The marks of the token: wanted by the plan, found as the record says of the token, and equal. */
static void compare_marks(struct verification *verification, const struct transcript_line *first,
                          const struct ceremony_plan *plan)
{
    const struct json_value *compared = json_get(first->facts, "compared");
    const char *label = plan->address.label, *serial = plan->address.serial;
    const struct {
        const char *name, *wanted;
    } marks[] = {
        {"label", label[0] != '\0' ? label : NULL},
        {"serial", serial[0] != '\0' ? serial : NULL},
        {"manufacturer", plan->manufacturer},
        {"model", plan->model},
        {"firmware", plan->firmware},
    };
    for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
        const struct json_value *check = json_at(compared, i);
        const char *name = transcript_member(check, "name");
        const char *wanted = transcript_member(check, "wanted");
        const char *found = transcript_member(check, "found");
        const char *token = transcript_text(first, "token", marks[i].name);
        bool asked = wanted == NULL
                         ? marks[i].wanted == NULL
                         : marks[i].wanted != NULL && strcmp(wanted, marks[i].wanted) == 0;
        if (name == NULL || found == NULL || token == NULL || strcmp(name, marks[i].name) != 0 ||
            !asked || strcmp(found, token) != 0 ||
            (marks[i].wanted != NULL && strcmp(found, marks[i].wanted) != 0))
            verify_say(verification, VERIFIED_WRONG, "token",
                       "its %s was not compared with the plan, or was not as planned",
                       marks[i].name);
    }
}

/* A rehearsal is the same plan on another token, with other outputs. */
static void compare_plan(struct verification *verification, const struct transcript_line *first,
                         const char *path, struct bytes text)
{
    struct error err = ERROR_INIT;
    struct ceremony_plan *plan = NULL;
    struct json *groups = NULL;
    if (json_true(json_get(first->facts, "rehearsal")))
        return;
    if (!ceremony_plan_recall(path, text, &plan, &err)) {
        verify_say(verification, VERIFIED_WRONG, "plan", "the text of the plan is no plan: %s",
                   err.text);
        return;
    }
    take_fingerprints(json_get(first->facts, "rules"), plan);
    if (groups_of(plan, &groups, &err)) {
        compare_groups(verification, first, json_root(groups));
        compare_marks(verification, first, plan);
    } else {
        verify_say(verification, VERIFIED_WRONG, "plan", "%s", err.text);
    }
    json_free(&groups);
    ceremony_plan_free(&plan);
}

void verify_plan(struct verification *verification, const struct verify_options *options)
{
    const struct transcript_line *first = transcript_record_at(verification->record, 0);
    struct error err = ERROR_INIT;
    char found[DIGEST_TEXT];
    const struct json_value *text = json_get(json_get(first->facts, "plan"), "text");
    const char *sha256 = transcript_text(first, "plan", "sha256");
    const char *path = transcript_text(first, "plan", "path");
    struct bytes content = {NULL, 0};
    if (text != NULL)
        content.data = (const uint8_t *)json_text(text, &content.len);
    if (sha256 == NULL || path == NULL || content.data == NULL ||
        !digest_of(content, found, &err) || strcmp(found, sha256) != 0) {
        verify_say(verification, VERIFIED_WRONG, "plan",
                   "the plan's text in the first line has not the SHA-256 that stands beside it");
        return;
    }
    verify_say(verification, VERIFIED_PROVEN, "plan",
               "the text of the plan is in the first line, SHA-256 %s", sha256);
    compare_plan(verification, first, path, content);
    verify_file(verification, options, "plan", "the plan",
                options->plan != NULL ? options->plan : path, sha256);
}
