/* SPDX-License-Identifier: Apache-2.0 */
/* What the record says of the key, held against what the first line promises. */
#include <stdio.h>
#include <string.h>
#include "verify.h"

/* The lines of the key that was accepted, in the order in which they must come. */
enum story_line {
    STORY_LOGIN,
    STORY_CONFIRMED,
    STORY_ANNOUNCED,
    STORY_MADE,
    STORY_READ_BACK,
    STORY_UNREADABLE,
    STORY_PROOF,
    STORY_PUBLIC_KEY,
    STORY_FINGERPRINT,
    STORY_CLOSED,
    STORY_LINES,
};

struct story {
    const struct transcript_line *first;
    const struct transcript_line *lines[STORY_LINES]; /* the last of each; NULL: there is none */
};

static const struct {
    const char *step;
    enum line_outcome outcome;
} story_steps[STORY_LINES] = {
    [STORY_LOGIN] = {"login", LINE_DONE},
    [STORY_CONFIRMED] = {"confirm", LINE_DONE},
    [STORY_ANNOUNCED] = {"generate", LINE_ANNOUNCED},
    [STORY_MADE] = {"generate", LINE_DONE},
    [STORY_READ_BACK] = {"read-back", LINE_DONE},
    [STORY_UNREADABLE] = {"unreadable", LINE_DONE},
    [STORY_PROOF] = {"proof", LINE_DONE},
    [STORY_PUBLIC_KEY] = {"public-key", LINE_DONE},
    [STORY_FINGERPRINT] = {"fingerprint", LINE_DONE},
    [STORY_CLOSED] = {"close", LINE_DONE},
};

static void find_story(const struct transcript_record *record, struct story *out)
{
    out->first = transcript_record_at(record, 0);
    for (size_t i = 0; i < STORY_LINES; i++)
        out->lines[i] = transcript_record_find(record, story_steps[i].step, story_steps[i].outcome);
}

/* A ceremony that is gone on with logs in once more, so the login may come anywhere. */
static bool is_whole(struct verification *verification, const struct story *story)
{
    size_t before = 0;
    for (size_t i = 0; i < STORY_LINES; i++) {
        const struct transcript_line *line = story->lines[i];
        if (line == NULL) {
            verify_say(verification, VERIFIED_WRONG, "key",
                       "the key was accepted, and no line tells of the step \"%s\"",
                       story_steps[i].step);
            return false;
        }
        if (i != STORY_LOGIN && line->number < before) {
            verify_say(verification, VERIFIED_WRONG, "key",
                       "line %zu, \"%s\", comes after what must follow it", before,
                       story_steps[i].step);
            return false;
        }
        if (i != STORY_LOGIN)
            before = line->number;
    }
    return true;
}

/* A step that failed, or a key that was destroyed, ends a ceremony: no key of it is accepted. */
static bool is_unbroken(struct verification *verification, const struct story *story)
{
    const size_t last = story->lines[STORY_CLOSED]->number;
    for (size_t i = story->lines[STORY_ANNOUNCED]->number; i < last; i++) {
        const struct transcript_line *line = transcript_record_at(verification->record, i);
        bool goes_on = strcmp(line->step, "login") == 0 || strcmp(line->step, "resume") == 0;
        if ((line->outcome != LINE_FAILED || goes_on) && strcmp(line->step, "destroy") != 0)
            continue;
        verify_say(verification, VERIFIED_WRONG, "key",
                   "line %zu says \"%s\": %s, and the key was accepted all the same", line->number,
                   line->step, line_outcome_name(line->outcome));
        return false;
    }
    return true;
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

/* The proof of one padding, or NULL. */
static const struct json_value *proof_of(const struct story *story, const char *padding)
{
    const struct json_value *paddings = json_get(story->lines[STORY_PROOF]->facts, "paddings");
    for (size_t i = 0; i < json_count(paddings); i++) {
        const char *name = transcript_member(json_at(paddings, i), "padding");
        if (name != NULL && strcmp(name, padding) == 0)
            return json_at(paddings, i);
    }
    return NULL;
}

static bool is_refusal(const char *ck_rv)
{
    return ck_rv != NULL && strcmp(ck_rv, "CKR_OK") != 0;
}

/* The direction of custody that the key is not for was tried; and in custody token the value of the
 * unwrapped secret was asked for. */
static bool was_refused(const struct json_value *proof, const char *custody)
{
    const struct json_value *other = json_get(proof, "otherDirection");
    return json_true(json_get(other, "refused")) && is_refusal(transcript_member(other, "ckRv")) &&
           (strcmp(custody, custody_name(CUSTODY_TOKEN)) != 0 ||
            is_refusal(transcript_member(proof, "secretCkRv")));
}

static void verify_proofs(struct verification *verification, const struct story *story)
{
    const struct json_value *key = json_get(story->first->facts, "key");
    const struct json_value *planned = json_get(key, "paddings");
    const char *custody = transcript_text(story->first, "key", "custody");
    if (json_count(planned) == 0)
        verify_say(verification, VERIFIED_WRONG, "key", "no padding was planned to be proved");
    for (size_t i = 0; i < json_count(planned); i++) {
        const char *padding = json_text(json_at(planned, i), NULL);
        const struct json_value *proof = padding != NULL ? proof_of(story, padding) : NULL;
        if (proof == NULL || !transcript_member_is(proof, "custody", custody)) {
            verify_say(verification, VERIFIED_WRONG, "key",
                       "%s was planned, and was not proved with custody %s",
                       padding != NULL ? padding : "a padding", custody != NULL ? custody : "?");
            continue;
        }
        bool refused = was_refused(proof, custody);
        verify_say(verification, refused ? VERIFIED_PROVEN : VERIFIED_WRONG, "key",
                   "%s: a random secret was sealed, resealed with custody %s, opened and compared; "
                   "the other direction was %s",
                   padding, custody, refused ? "tried and refused" : "NOT refused");
    }
}

static void verify_same(struct verification *verification, const struct story *story)
{
    static const enum story_line named[] = {STORY_ANNOUNCED, STORY_MADE, STORY_FINGERPRINT,
                                            STORY_CLOSED};
    static const enum story_line printed[] = {STORY_READ_BACK, STORY_FINGERPRINT, STORY_CLOSED};
    const char *id = transcript_text(story->lines[STORY_ANNOUNCED], NULL, "id");
    const char *label = transcript_text(story->first, "key", "label");
    const char *fingerprint = transcript_text(story->lines[STORY_CLOSED], NULL, "spkiSha256");
    bool same = true;
    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        same = same && transcript_member_is(story->lines[named[i]]->facts, "id", id) &&
               transcript_member_is(story->lines[named[i]]->facts, "label", label);
    for (size_t i = 0; i < ARRAY_LEN(printed); i++)
        same = same &&
               transcript_member_is(story->lines[printed[i]]->facts, "spkiSha256", fingerprint);
    if (!same) {
        verify_say(verification, VERIFIED_WRONG, "key",
                   "the key that was accepted is not the one that was made and read back");
        return;
    }
    verify_say(verification, VERIFIED_PROVEN, "key",
               "the key was made on the token in this ceremony: CKA_ID %s, SHA-256 of its public "
               "half %s",
               id, fingerprint);
}

/* What people read aloud and compared was that fingerprint. */
static void verify_words(struct verification *verification, const struct story *story)
{
    struct error err = ERROR_INIT;
    struct buf words = BUF_INIT(1024);
    const char *fingerprint = transcript_text(story->lines[STORY_CLOSED], NULL, "spkiSha256");
    if (fingerprint != NULL)
        digest_spell(&words, fingerprint, strlen(fingerprint));
    if (!buf_check(&words, "the words", &err) ||
        !transcript_member_is(story->lines[STORY_FINGERPRINT]->facts, "words", buf_text(&words)) ||
        !transcript_member_is(story->lines[STORY_CLOSED]->facts, "words", buf_text(&words)))
        verify_say(verification, VERIFIED_WRONG, "key",
                   "the words that were read aloud are not those of the fingerprint");
    buf_free(&words);
}

static void verify_refusal(struct verification *verification, const struct transcript_line *line)
{
    const char *ck_rv = transcript_text(line, NULL, "ckRv");
    verify_say(verification, is_refusal(ck_rv) ? VERIFIED_PROVEN : VERIFIED_WRONG, "key",
               "the private exponent and the primes were asked for; the token answered %s",
               ck_rv != NULL ? ck_rv : "nothing that is recorded");
}

/* A token that wraps the key all the same is told of; it is not hidden, and not the plan's fault.
 */
void verify_confined(struct verification *verification, const struct transcript_line *line)
{
    const struct json_value *attempts = json_get(line->facts, "wrapAttempts");
    size_t refused = 0;
    for (size_t i = 0; i < json_count(attempts); i++)
        refused += is_refusal(transcript_member(json_at(attempts, i), "ckRv"));
    bool all = refused == json_count(attempts);
    if (refused == 0 && all)
        verify_say(verification, VERIFIED_WRONG, "key",
                   "the key must stay where it is, and no line tells of an attempt to wrap it");
    else if (all != json_true(json_get(line->facts, "confined")))
        verify_say(verification, VERIFIED_WRONG, "key",
                   "line %zu says of the attempts to wrap the key what they do not bear out",
                   line->number);
    else if (all)
        verify_say(verification, VERIFIED_PROVEN, "key",
                   "%zu attempts to wrap the key were made, and refused", refused);
    else
        verify_say(verification, VERIFIED_NOT_PROVEN, "key",
                   "that the key cannot leave its token: %zu of %zu attempts to wrap it succeeded",
                   json_count(attempts) - refused, json_count(attempts));
}

void verify_key(struct verification *verification)
{
    struct story story;
    struct key_plan plan;
    find_story(verification->record, &story);
    verify_identity(verification, &story);
    if (verification->state == CEREMONY_UNFINISHED || verification->state == CEREMONY_FAILED ||
        !is_whole(verification, &story) || !is_unbroken(verification, &story))
        return;
    const char *manufacturer = transcript_text(story.first, "token", "manufacturer");
    if (!verify_key_plan(verification->record, &plan) || manufacturer == NULL) {
        verify_say(verification, VERIFIED_WRONG, "key",
                   "the first line does not tell what key was planned");
        return;
    }
    verify_same(verification, &story);
    verify_words(verification, &story);
    verify_attributes(verification, story.lines[STORY_READ_BACK], &plan, manufacturer, "the key");
    verify_refusal(verification, story.lines[STORY_UNREADABLE]);
    if (plan.wrapping == KEY_WRAPPED_NEVER)
        verify_confined(verification, story.lines[STORY_UNREADABLE]);
    verify_proofs(verification, &story);
    verify_replicas(verification, story.lines[STORY_CLOSED], &plan);
}
