/* SPDX-License-Identifier: Apache-2.0 */
/* The read-back of a key, judged again: by what was found, not by what the recorder made of it. */
#include <stdio.h>
#include <string.h>
#include "verify.h"

bool verify_key_plan(const struct transcript_record *record, struct key_plan *out)
{
    const struct json_value *facts = transcript_record_at(record, 0)->facts;
    const struct json_value *key = json_get(facts, "key");
    const char *wrapping = transcript_member(json_get(facts, "rules"), "wrapping");
    const char *label = transcript_member(key, "label");
    int64_t bits;
    memset(out, 0, sizeof *out);
    if (label == NULL || strlen(label) >= sizeof out->label || wrapping == NULL ||
        !key_wrapping_parse(wrapping, &out->wrapping) ||
        !json_integer(json_get(key, "bits"), 2048, 4096, &bits) ||
        !custody_parse(transcript_member(key, "custody"), &out->custody))
        return false;
    memcpy(out->label, label, strlen(label) + 1);
    out->bits = (int)bits;
    return true;
}

static bool read_check(const struct json_value *value, struct attribute_check *out)
{
    const char *name = transcript_member(value, "name");
    const char *wanted = transcript_member(value, "wanted");
    const char *found = transcript_member(value, "found");
    if (name == NULL || strlen(name) >= sizeof out->name || wanted == NULL ||
        strlen(wanted) >= sizeof out->wanted || found == NULL || strlen(found) >= sizeof out->found)
        return false;
    memcpy(out->name, name, strlen(name) + 1);
    memcpy(out->wanted, wanted, strlen(wanted) + 1);
    memcpy(out->found, found, strlen(found) + 1);
    out->ok = json_true(json_get(value, "ok"));
    return true;
}

static const struct json_value *attribute_of(const struct json_value *attributes, const char *name)
{
    for (size_t i = 0; i < json_count(attributes); i++) {
        const char *found = transcript_member(json_at(attributes, i), "name");
        if (found != NULL && strcmp(found, name) == 0)
            return json_at(attributes, i);
    }
    return NULL;
}

static bool is_untold(const char *found)
{
    return strncmp(found, "not t", 5) == 0 || strncmp(found, "left out", 8) == 0;
}

/* Each that the plan asks for is there; and each that is there is right. */
static bool judge(struct verification *verification, const struct json_value *attributes,
                  const struct key_plan *plan, const char *manufacturer, const char *whose)
{
    const char *name;
    for (size_t i = 0; (name = key_promise_name(plan, i)) != NULL; i++) {
        if (attribute_of(attributes, name) != NULL)
            continue;
        verify_say(verification, VERIFIED_WRONG, "key",
                   "%s was accepted without that its %s was read back", whose, name);
        return false;
    }
    for (size_t i = 0; i < json_count(attributes); i++) {
        struct attribute_check check;
        const struct json_value *value = json_at(attributes, i);
        bool whole = read_check(value, &check);
        if (whole && check.ok && attribute_of(attributes, check.name) == value &&
            key_promise_kept(plan, manufacturer, &check))
            continue;
        if (whole)
            verify_say(verification, VERIFIED_WRONG, "key",
                       "%s of %s was read back as \"%s\", and the key was accepted all the same",
                       check.name, whose, check.found);
        else
            verify_say(verification, VERIFIED_WRONG, "key",
                       "an attribute of %s is recorded without name or value", whose);
        return false;
    }
    return true;
}

void verify_attributes(struct verification *verification, const struct transcript_line *line,
                       const struct key_plan *plan, const char *manufacturer, const char *whose)
{
    char untold[400] = "";
    size_t length = 0;
    const struct json_value *attributes = json_get(line->facts, "attributes");
    if (!judge(verification, attributes, plan, manufacturer, whose))
        return;
    for (size_t i = 0; i < json_count(attributes); i++) {
        const char *found = transcript_member(json_at(attributes, i), "found");
        if (is_untold(found) && length < sizeof untold)
            length += (size_t)snprintf(untold + length, sizeof untold - length, "%s%s",
                                       length > 0 ? ", " : "",
                                       transcript_member(json_at(attributes, i), "name"));
    }
    verify_say(verification, VERIFIED_PROVEN, "key",
               "%zu attributes of %s were read back from the token as wanted (line %zu)",
               json_count(attributes), whose, line->number);
    if (untold[0] != '\0')
        verify_say(verification, VERIFIED_NOT_PROVEN, "key",
                   "attributes of %s that the token does not take or tell: %s", whose, untold);
}
