/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/key_inventory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *inventory_judgement_name(enum inventory_judgement judgement)
{
    switch (judgement) {
    case INVENTORY_KNOWN:
        return "known";
    case INVENTORY_UNKNOWN:
        return "unknown";
    case INVENTORY_ALTERED:
        return "altered";
    case INVENTORY_MISSING:
        return "missing";
    }
    return "unknown";
}

/* A key of which one transcript tells. */
struct told {
    const char *path;
    struct transcript_record *record;
    enum ceremony_state state;
    const struct transcript_line *read_back;
    char id[KEY_ID_TEXT], label[129], fingerprint[FINGERPRINT_TEXT];
    char transport[FINGERPRINT_TEXT]; /* of the transport key that it came by; empty: none */
    struct key_plan plan;
    bool shut;      /* it was replicated, and is not extractable since */
    bool destroyed; /* on this token */
    bool private_seen, public_seen;
};

static void take(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

/* *ours is false for a transcript of another token, and for one that came to no key. */
static bool read_told(struct told *told, const struct token_facts *token, bool *ours,
                      struct error *err)
{
    int64_t bits = 0;
    *ours = false;
    if (!transcript_read(told->path, &told->record, NULL, err))
        return false;
    const struct transcript_line *first = transcript_record_at(told->record, 0);
    const struct transcript_line *made =
        transcript_record_find(told->record, "generate", LINE_DONE);
    const struct token_identity here = token_identity_of(token);
    const struct token_identity birthplace = transcript_token(first, "token");
    told->state = transcript_record_state(told->record);
    told->read_back = transcript_record_find(told->record, "read-back", LINE_DONE);
    const struct transcript_line *arrival = transcript_record_arrival(told->record, &here);
    if (made == NULL || (!token_identity_same(&birthplace, &here) && arrival == NULL))
        return true;
    told->shut = transcript_record_find(told->record, "backup", LINE_DONE) != NULL;
    told->destroyed = transcript_record_destroyed(told->record, &here);
    if (arrival != NULL) {
        told->read_back = arrival;
        told->plan.replica = true;
        take(told->transport, sizeof told->transport,
             transcript_text(arrival, "transportKey", "spkiSha256"));
    }
    take(told->id, sizeof told->id, transcript_text(made, NULL, "id"));
    take(told->label, sizeof told->label, transcript_text(first, "key", "label"));
    take(told->plan.label, sizeof told->plan.label, told->label);
    if (told->read_back != NULL)
        take(told->fingerprint, sizeof told->fingerprint,
             transcript_text(told->read_back, NULL, "spkiSha256"));
    if (!json_integer(json_get(json_get(first->facts, "key"), "bits"), 2048, 4096, &bits) ||
        !custody_parse(transcript_text(first, "key", "custody"), &told->plan.custody))
        return error_set(err, FAIL_INPUT, "%s: the first line does not tell the key", told->path);
    told->plan.bits = (int)bits;
    *ours = true;
    return true;
}

/* A rejected key is to be gone, and one that was destroyed is from that token. */
static bool should_be_there(const struct told *told)
{
    return told->state != CEREMONY_UNFINISHED && told->state != CEREMONY_FAILED && !told->destroyed;
}

static const struct json_value *attribute_of(const struct transcript_line *line, const char *name)
{
    const struct json_value *attributes = json_get(line->facts, "attributes");
    for (size_t i = 0; i < json_count(attributes); i++) {
        const char *found = json_text(json_get(json_at(attributes, i), "name"), NULL);
        if (found != NULL && strcmp(found, name) == 0)
            return json_at(attributes, i);
    }
    return NULL;
}

/* Flags alone: what is told in words (options, lengths) is not the token's. */
static bool is_flag(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

/* Each attribute that was read back at its birth, read again. */
static bool compare_attributes(struct session *session, const struct told *told, char *reason,
                               size_t size, struct error *err)
{
    struct key_birth birth;
    struct error missing = ERROR_INIT;
    if (told->read_back == NULL)
        return true;
    if (!key_read_again(session, told->id, &told->plan, &birth, &missing)) {
        if (missing.kind == FAIL_NOT_FOUND) {
            snprintf(reason, size, "%.200s", missing.text);
            return true;
        }
        *err = missing;
        return false;
    }
    for (size_t i = 0; i < birth.check_count; i++) {
        const struct attribute_check *now = &birth.checks[i];
        const struct json_value *then = attribute_of(told->read_back, now->name);
        const char *found = json_text(json_get(then, "found"), NULL);
        if (found == NULL || !is_flag(found) || strcmp(found, now->found) == 0 ||
            (told->shut && strcmp(now->name, "CKA_EXTRACTABLE") == 0 &&
             strcmp(now->found, "false") == 0))
            continue;
        snprintf(reason, size, "%s is %.60s, and was %s", now->name, now->found, found);
        return true;
    }
    return true;
}

static bool judge(struct session *session, struct told *told, struct inventory_entry *entry,
                  struct error *err)
{
    const struct inventory_object *object = &entry->object;
    bool private_half = object->class == INVENTORY_PRIVATE_KEY;
    entry->transcript = told->path;
    entry->state = told->state;
    told->private_seen = told->private_seen || private_half;
    told->public_seen = told->public_seen || object->class == INVENTORY_PUBLIC_KEY;
    if (!should_be_there(told))
        snprintf(entry->reason, sizeof entry->reason,
                 "by its transcript it is %s, and should not be here",
                 ceremony_state_name(told->state));
    else if (strcmp(object->id, told->id) != 0)
        snprintf(entry->reason, sizeof entry->reason, "its CKA_ID was %s", told->id);
    else if (strcmp(object->label, told->label) != 0)
        snprintf(entry->reason, sizeof entry->reason, "its label was \"%s\"", told->label);
    else if (object->fingerprint[0] != '\0' && told->fingerprint[0] != '\0' &&
             strcmp(object->fingerprint, told->fingerprint) != 0)
        snprintf(entry->reason, sizeof entry->reason, "it is another key than that of the record");
    else if (private_half &&
             !compare_attributes(session, told, entry->reason, sizeof entry->reason, err))
        return false;
    entry->judgement = entry->reason[0] != '\0' ? INVENTORY_ALTERED : INVENTORY_KNOWN;
    return true;
}

static bool is_key(const struct inventory_object *object)
{
    return object->class == INVENTORY_PRIVATE_KEY || object->class == INVENTORY_PUBLIC_KEY;
}

/* By its CKA_ID; one whose CKA_ID was changed, by its numbers. */
static struct told *find_told(struct told *all, size_t count, const struct inventory_object *object)
{
    if (!is_key(object))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (object->id[0] != '\0' && strcmp(all[i].id, object->id) == 0)
            return &all[i];
    }
    for (size_t i = 0; i < count; i++) {
        if (object->fingerprint[0] != '\0' && strcmp(all[i].fingerprint, object->fingerprint) == 0)
            return &all[i];
    }
    return NULL;
}

/* A transport key is told of by the transcript of what came by it. */
static const struct told *find_carrier(const struct told *all, size_t count,
                                       const struct inventory_object *object)
{
    for (size_t i = 0; i < count; i++) {
        if (object->fingerprint[0] != '\0' && strcmp(all[i].transport, object->fingerprint) == 0)
            return &all[i];
    }
    return NULL;
}

static void add_missing(const struct told *told, enum inventory_class class,
                        struct inventory_entry *entry)
{
    entry->judgement = INVENTORY_MISSING;
    entry->object.class = class;
    take(entry->object.label, sizeof entry->object.label, told->label);
    take(entry->object.id, sizeof entry->object.id, told->id);
    take(entry->object.fingerprint, sizeof entry->object.fingerprint, told->fingerprint);
    entry->transcript = told->path;
    entry->state = told->state;
    snprintf(entry->reason, sizeof entry->reason, "by its transcript it is %s, and is not here",
             ceremony_state_name(told->state));
}

static bool compare(struct session *session, struct told *told, size_t told_count,
                    struct inventory_entry *entries, size_t object_count, size_t *count,
                    struct error *err)
{
    for (size_t i = 0; i < object_count; i++) {
        struct told *found = find_told(told, told_count, &entries[i].object);
        const struct told *carried = find_carrier(told, told_count, &entries[i].object);
        entries[i].judgement = INVENTORY_UNKNOWN;
        if (found != NULL && !judge(session, found, &entries[i], err))
            return false;
        if (found == NULL && carried != NULL) {
            entries[i].judgement = INVENTORY_KNOWN;
            entries[i].transcript = carried->path;
            entries[i].state = carried->state;
        }
    }
    *count = object_count;
    for (size_t i = 0; i < told_count; i++) {
        if (!should_be_there(&told[i]))
            continue;
        if (!told[i].private_seen)
            add_missing(&told[i], INVENTORY_PRIVATE_KEY, &entries[(*count)++]);
        if (!told[i].public_seen)
            add_missing(&told[i], INVENTORY_PUBLIC_KEY, &entries[(*count)++]);
    }
    return true;
}

static bool read_all(struct told *told, const struct token_facts *token, const char *const *paths,
                     size_t path_count, size_t *count, struct error *err)
{
    for (size_t i = 0; i < path_count; i++) {
        bool ours;
        told[*count] = (struct told){.path = paths[i]};
        if (!read_told(&told[*count], token, &ours, err)) {
            transcript_record_free(&told[*count].record);
            return false;
        }
        if (ours)
            (*count)++;
        else
            transcript_record_free(&told[*count].record);
    }
    return true;
}

bool key_inventory(struct session *session, const struct token_facts *token,
                   const char *const *paths, size_t path_count, struct inventory_entry **out,
                   size_t *count, struct error *err)
{
    struct told *told = calloc(path_count + 1, sizeof *told);
    struct inventory_object *objects = NULL;
    size_t told_count = 0, object_count = 0;
    bool ok = false;
    *out = NULL;
    *count = 0;
    if (told == NULL) {
        error_memory(err);
        goto done;
    }
    if (!read_all(told, token, paths, path_count, &told_count, err) ||
        !token_inventory(session, &objects, &object_count, err))
        goto done;
    *out = calloc(object_count + 2 * told_count + 1, sizeof **out);
    if (*out == NULL) {
        error_memory(err);
        goto done;
    }
    for (size_t i = 0; i < object_count; i++)
        (*out)[i].object = objects[i];
    ok = compare(session, told, told_count, *out, object_count, count, err);
done:
    for (size_t i = 0; i < told_count; i++)
        transcript_record_free(&told[i].record);
    free(told);
    free(objects);
    if (!ok) {
        free(*out);
        *out = NULL;
    }
    return ok;
}
