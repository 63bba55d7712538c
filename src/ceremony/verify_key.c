/* SPDX-License-Identifier: Apache-2.0 */
/* What the record says of the key, held against what the first line promises. */
#include <stdio.h>
#include <string.h>
#include "verify.h"

/* The lines of the key that was accepted: those after its announcement. */
struct story {
    const struct transcript_line *first, *announced, *made, *read_back, *unreadable, *proof,
        *closed;
};

static const struct transcript_line *after(const struct transcript_record *record,
                                           const struct transcript_line *announced,
                                           const char *step)
{
    const struct transcript_line *line = transcript_record_find(record, step, LINE_DONE);
    return line != NULL && announced != NULL && line->number > announced->number ? line : NULL;
}

static void find_story(const struct transcript_record *record, struct story *out)
{
    out->first = transcript_record_at(record, 0);
    out->announced = transcript_record_find(record, "generate", LINE_ANNOUNCED);
    out->made = after(record, out->announced, "generate");
    out->read_back = after(record, out->announced, "read-back");
    out->unreadable = after(record, out->announced, "unreadable");
    out->proof = after(record, out->announced, "proof");
    out->closed = after(record, out->announced, "close");
}

static void verify_identity(struct verification *verification, const struct story *story)
{
    const struct json_value *compared = json_get(story->first->facts, "compared");
    size_t wanted = 0;
    for (size_t i = 0; i < json_count(compared); i++) {
        const struct json_value *check = json_at(compared, i);
        const struct json_value *asked = json_get(check, "wanted");
        wanted += asked != NULL && json_type(asked) == JSON_STRING;
        if (!json_true(json_get(check, "ok"))) {
            verify_say(verification, VERIFIED_WRONG, "token",
                       "the token was not the one of the plan, and the ceremony went on");
            return;
        }
    }
    const char *label = transcript_text(story->first, "token", "label");
    const char *serial = transcript_text(story->first, "token", "serial");
    verify_say(verification, wanted > 0 ? VERIFIED_PROVEN : VERIFIED_WRONG, "token",
               "the token was \"%s\", serial %s; %zu of its marks were named by the plan and found",
               label != NULL ? label : "?", serial != NULL ? serial : "?", wanted);
}

/* Every attribute that decides must be there and be right; what the token did not tell is named. */
static void verify_attributes(struct verification *verification, const struct story *story)
{
    static const char *const needed[] = {"CKA_TOKEN",       "CKA_PRIVATE", "CKA_SENSITIVE",
                                         "CKA_EXTRACTABLE", "CKA_UNWRAP",  "CKA_DECRYPT",
                                         "CKA_SIGN",        "CKA_MODULUS", "CKA_ID"};
    char untold[400] = "";
    size_t seen = 0, length = 0;
    const struct json_value *attributes =
        story->read_back != NULL ? json_get(story->read_back->facts, "attributes") : NULL;
    for (size_t i = 0; i < json_count(attributes); i++) {
        const struct json_value *check = json_at(attributes, i);
        const char *name_text = transcript_member(check, "name");
        const char *found_text = transcript_member(check, "found");
        if (name_text == NULL || found_text == NULL || !json_true(json_get(check, "ok"))) {
            verify_say(verification, VERIFIED_WRONG, "key",
                       "%s was read back as %s, and the key was accepted all the same",
                       name_text != NULL ? name_text : "an attribute",
                       found_text != NULL ? found_text : "nothing");
            return;
        }
        for (size_t j = 0; j < ARRAY_LEN(needed); j++)
            seen += strcmp(name_text, needed[j]) == 0;
        if (strncmp(found_text, "not t", 5) == 0 || strncmp(found_text, "left out", 8) == 0)
            length += (size_t)snprintf(untold + length,
                                       length < sizeof untold ? sizeof untold - length : 0, "%s%s",
                                       length > 0 ? ", " : "", name_text);
    }
    if (seen < ARRAY_LEN(needed)) {
        verify_say(verification, VERIFIED_WRONG, "key",
                   "the key was accepted without that its attributes were read back");
        return;
    }
    verify_say(verification, VERIFIED_PROVEN, "key",
               "%zu attributes were read back from the token as wanted (line %zu)",
               json_count(attributes), story->read_back->number);
    if (untold[0] != '\0')
        verify_say(verification, VERIFIED_NOT_PROVEN, "key",
                   "attributes that the token does not take or tell: %s", untold);
}

/* The proof of one padding, or NULL. */
static const struct json_value *proof_of(const struct story *story, const char *padding)
{
    const struct json_value *paddings =
        story->proof != NULL ? json_get(story->proof->facts, "paddings") : NULL;
    for (size_t i = 0; i < json_count(paddings); i++) {
        const char *name = transcript_member(json_at(paddings, i), "padding");
        if (name != NULL && strcmp(name, padding) == 0)
            return json_at(paddings, i);
    }
    return NULL;
}

static bool text_is(const struct json_value *object, const char *name, const char *wanted)
{
    const char *text = transcript_member(object, name);
    return text != NULL && wanted != NULL && strcmp(text, wanted) == 0;
}

static void verify_proofs(struct verification *verification, const struct story *story)
{
    const struct json_value *key = json_get(story->first->facts, "key");
    const struct json_value *planned = json_get(key, "paddings");
    const char *custody = transcript_text(story->first, "key", "custody");
    for (size_t i = 0; i < json_count(planned); i++) {
        const char *padding = json_text(json_at(planned, i), NULL);
        const struct json_value *proof = padding != NULL ? proof_of(story, padding) : NULL;
        if (proof == NULL || !text_is(proof, "custody", custody)) {
            verify_say(verification, VERIFIED_WRONG, "key",
                       "%s was planned, and was not proved with custody %s",
                       padding != NULL ? padding : "a padding", custody != NULL ? custody : "?");
            continue;
        }
        bool refused = json_true(json_get(json_get(proof, "otherDirection"), "refused"));
        verify_say(verification, refused ? VERIFIED_PROVEN : VERIFIED_WRONG, "key",
                   "%s: a random secret was sealed, resealed with custody %s, opened and compared; "
                   "the other direction was %s",
                   padding, custody, refused ? "tried and refused" : "NOT refused");
    }
}

static void verify_same(struct verification *verification, const struct story *story)
{
    const char *ids[] = {transcript_text(story->announced, NULL, "id"),
                         transcript_text(story->made, NULL, "id"),
                         transcript_text(story->closed, NULL, "id")};
    const char *read = transcript_text(story->read_back, NULL, "spkiSha256");
    const char *closed = transcript_text(story->closed, NULL, "spkiSha256");
    bool same = read != NULL && closed != NULL && strcmp(read, closed) == 0;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        same = same && ids[i] != NULL && strcmp(ids[i], ids[0]) == 0;
    if (!same) {
        verify_say(verification, VERIFIED_WRONG, "key",
                   "the key that was accepted is not the one that was made and read back");
        return;
    }
    verify_say(verification, VERIFIED_PROVEN, "key",
               "the key was made on the token in this ceremony: CKA_ID %s, SHA-256 of its public "
               "half %s",
               ids[0], closed);
}

void verify_key(struct verification *verification)
{
    struct story story;
    find_story(verification->record, &story);
    verify_identity(verification, &story);
    if (verification->state == CEREMONY_UNFINISHED || verification->state == CEREMONY_FAILED)
        return;
    if (story.made == NULL || story.read_back == NULL || story.unreadable == NULL ||
        story.proof == NULL || story.closed == NULL) {
        verify_say(verification, VERIFIED_WRONG, "key",
                   "the key was accepted without that each step was done");
        return;
    }
    verify_same(verification, &story);
    verify_attributes(verification, &story);
    const char *ck_rv = transcript_text(story.unreadable, NULL, "ckRv");
    verify_say(verification, ck_rv != NULL ? VERIFIED_PROVEN : VERIFIED_WRONG, "key",
               "the private exponent and the primes were asked for; the token answered %s",
               ck_rv != NULL ? ck_rv : "nothing that is recorded");
    verify_proofs(verification, &story);
}
