/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_show.h"

#include <stdlib.h>
#include <string.h>
#include "reseal/text.h"

#define NAME_WIDTH 20

/* What stands in the head of each line, or is shown elsewhere. */
static bool is_frame(const char *key)
{
    static const char *const keys[] = {"seq", "time", "step", "outcome", "previous", "hash"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i], key) == 0)
            return true;
    }
    return false;
}

/* Whoever wrote the record must not steer the reader's terminal. */
static void print_text(const char *text, FILE *out)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return;
    text_make_printable(copy);
    fputs(copy, out);
    free(copy);
}

static void print_scalar(const struct json_value *value, FILE *out)
{
    switch (json_type(value)) {
    case JSON_NULL:
        fputs("-", out);
        return;
    case JSON_BOOL:
        fputs(json_true(value) ? "yes" : "no", out);
        return;
    case JSON_NUMBER:
    case JSON_STRING:
        print_text(json_text(value, NULL), out);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        return;
    }
}

/* An object of an array on one line: "name CKA_TOKEN, wanted true, found true, ok yes". */
static void print_inline(const struct json_value *value, FILE *out)
{
    enum json_type type = json_type(value);
    if (type != JSON_OBJECT && type != JSON_ARRAY) {
        print_scalar(value, out);
        return;
    }
    for (size_t i = 0; i < json_count(value); i++) {
        fputs(i > 0 ? ", " : "", out);
        if (type == JSON_OBJECT) {
            print_text(json_key_at(value, i), out);
            fputc(' ', out);
        }
        print_inline(json_at(value, i), out);
    }
}

/* A printable copy at the place, with blanks up to the width. */
static void print_padded(const char *text, int width, FILE *out)
{
    char copy[160];
    snprintf(copy, sizeof copy, "%s", text != NULL ? text : "-");
    text_make_printable(copy);
    fprintf(out, "%-*s", width, copy);
}

/* "attributes": name, wanted and found as columns. */
static void print_check(const struct json_value *check, FILE *out)
{
    print_padded(transcript_member(check, "name"), 27, out);
    fputs(" wanted ", out);
    print_padded(transcript_member(check, "wanted"), 0, out);
    fputs(", found ", out);
    print_padded(transcript_member(check, "found"), 0, out);
    fputs(json_true(json_get(check, "ok")) ? "" : "  WRONG", out);
}

static bool is_check(const struct json_value *value)
{
    return json_get(value, "name") != NULL && json_get(value, "wanted") != NULL &&
           json_get(value, "found") != NULL;
}

static void print_name(const char *group, const char *name, FILE *out)
{
    char whole[160];
    snprintf(whole, sizeof whole, "%s%s%s", group, group[0] != '\0' ? " " : "", name);
    text_make_printable(whole);
    fprintf(out, "      %-*s  ", NAME_WIDTH, whole);
}

static void print_member(const char *group, const char *name, const struct json_value *value,
                         FILE *out)
{
    enum json_type type = json_type(value);
    if (type == JSON_OBJECT) {
        for (size_t i = 0; i < json_count(value); i++) {
            if (strcmp(json_key_at(value, i), "text") != 0 || strcmp(name, "error") == 0)
                print_member(name, json_key_at(value, i), json_at(value, i), out);
        }
        return;
    }
    print_name(group, name, out);
    if (type != JSON_ARRAY) {
        print_scalar(value, out);
        fputc('\n', out);
        return;
    }
    if (json_count(value) == 0)
        fputs("none\n", out);
    for (size_t i = 0; i < json_count(value); i++) {
        if (i > 0)
            fprintf(out, "      %*s  ", NAME_WIDTH, "");
        if (is_check(json_at(value, i)))
            print_check(json_at(value, i), out);
        else
            print_inline(json_at(value, i), out);
        fputc('\n', out);
    }
}

static void print_line(const struct transcript_line *line, FILE *out)
{
    fprintf(out, "\n%3zu  ", line->number);
    print_text(line->time, out);
    fputs("  ", out);
    print_text(line->step, out);
    fprintf(out, ": %s\n", line_outcome_name(line->outcome));
    for (size_t i = 0; i < json_count(line->facts); i++) {
        const char *key = json_key_at(line->facts, i);
        if (!is_frame(key))
            print_member("", key, json_at(line->facts, i), out);
    }
    fprintf(out, "      %-*s  %s\n", NAME_WIDTH, "line SHA-256", line->sha256);
}

static void print_plan(const struct transcript_line *first, FILE *out)
{
    const char *at = transcript_text(first, "plan", "text");
    if (at == NULL)
        return;
    fputs("\nThe plan:\n\n", out);
    while (*at != '\0') {
        size_t len = strcspn(at, "\n");
        char *copy = strndup(at, len);
        fputs("    ", out);
        if (copy != NULL)
            print_text(copy, out);
        free(copy);
        fputc('\n', out);
        at += len + (at[len] == '\n');
    }
}

void ceremony_show(const struct transcript_record *record, FILE *out)
{
    const struct transcript_line *first = transcript_record_at(record, 0);
    const char *name = transcript_text(first, "ceremony", "name");
    fputs("Ceremony \"", out);
    print_text(name != NULL ? name : "?", out);
    fprintf(out, "\": %s, %zu lines\n", ceremony_state_name(transcript_record_state(record)),
            transcript_record_count(record));
    for (size_t i = 0; i < transcript_record_count(record); i++)
        print_line(transcript_record_at(record, i), out);
    print_plan(first, out);
}
