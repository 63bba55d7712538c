/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_run.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "run.h"

const struct ceremony_step ceremony_steps[] = {
    {"plan", "Read and check the plan", STEP_UNRECORDED, NULL, act_plan, NULL, NULL,
     "Reads the plan and checks it as a whole; nothing that it will write may exist."},
    {"token", "Find the token and compare it with the plan", STEP_UNRECORDED, NULL, act_token, NULL,
     NULL, "Loads the module, finds the token and compares what it says of itself with the plan."},
    {"open", "Begin the transcript", 0, NULL, act_open, NULL, facts_open,
     "Makes sure that the key's label is free, and begins the transcript with what it stands on."},
    {"login", "Log in to the token", STEP_CALL, NULL, act_login, NULL, facts_login,
     "Asks for the PIN, tries it once, and looks for the label among the private objects too."},
    {"resume", "Look at what was left behind", STEP_RESUMED | STEP_GUARDED, NULL, act_resume, NULL,
     facts_resume, ""},
    {"confirm", "Confirm", STEP_GUARDED, NULL, act_confirm, NULL, facts_confirm,
     "Asks for a typed Yes: until here nothing was changed on the token."},
    {"generate", "Make the key pair on the token", STEP_ANNOUNCED | STEP_CALL, before_generate,
     act_generate, facts_generate, facts_generate,
     "Chooses a random CKA_ID, writes it down, and has the token make the key pair."},
    {"read-back", "Read every attribute back", STEP_PAUSE, NULL, act_read_back, NULL,
     facts_read_back,
     "Reads every attribute of both halves back and compares it with what was wanted; on a "
     "mismatch the key is destroyed and the ceremony ends as failed."},
    {"unreadable", "Try to read the private key", 0, NULL, act_unreadable, NULL, facts_unreadable,
     "Tries to read the private exponent and the primes: the token must refuse."},
    {"proof", "Seal, reseal and open a random secret", STEP_PAUSE, NULL, act_proof, NULL,
     facts_proof,
     "With each padding: seals a random secret, reseals it to a throw-away certificate, opens it "
     "and compares; shows that the other direction of custody is refused."},
    {"public-key", "Read the public key back and write it", STEP_ANNOUNCED, before_public_key,
     act_public_key, facts_outputs, facts_public_key,
     "Finds the key anew, as the connector will, and writes its public half."},
    {"fingerprint", "Read the fingerprint aloud and compare", STEP_PAUSE, NULL, act_fingerprint,
     NULL, facts_fingerprint,
     "Shows the SHA-256 of the public key in hex and in words: one reads aloud, the others "
     "compare."},
    {"close", "Accept the key and close the transcript", 0, NULL, act_close, NULL,
     facts_fingerprint,
     "Accepts the key. Witnesses sign the transcript now; the key is used only after its commit."},
    {NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL},
};

size_t ceremony_step_index(const char *name)
{
    size_t index = 0;
    while (strcmp(ceremony_steps[index].name, name) != 0)
        index++;
    return index;
}

size_t ceremony_step_number(size_t index)
{
    size_t number = 0;
    if (ceremony_steps[index].flags & STEP_RESUMED)
        return 0;
    for (size_t i = 0; i <= index; i++)
        number += (ceremony_steps[i].flags & STEP_RESUMED) == 0;
    return number;
}

size_t ceremony_step_count(void)
{
    size_t count = 0;
    for (size_t i = 0; ceremony_steps[i].name != NULL; i++)
        count += (ceremony_steps[i].flags & STEP_RESUMED) == 0;
    return count;
}

static void print_title(size_t index)
{
    size_t number = ceremony_step_number(index);
    if (number == 0)
        fprintf(stderr, "    -  %s\n", ceremony_steps[index].title);
    else
        fprintf(stderr, "%2zu/%zu  %s\n", number, ceremony_step_count(),
                ceremony_steps[index].title);
}

/* What a resumed ceremony has done before is in the transcript already. */
static bool is_recorded(const struct ceremony *ceremony, const struct ceremony_step *step)
{
    if (ceremony->transcript == NULL || (step->flags & STEP_UNRECORDED))
        return false;
    return ceremony->record == NULL || step->facts != facts_open;
}

static bool do_step(struct ceremony *ceremony, const struct ceremony_step *step, struct error *err)
{
    if (step->before != NULL && !step->before(ceremony, err))
        return false;
    if (step->flags & STEP_ANNOUNCED) {
        if (!transcript_add(ceremony->transcript, step->name, LINE_ANNOUNCED, step->announce,
                            ceremony, NULL, err))
            return false;
        if (step->before == before_generate)
            ceremony->announced = true;
    }
    return step->act(ceremony, err) && !ceremony_interrupted(err);
}

static const char *deciding_call(const struct ceremony_step *step)
{
    return step->act == act_login ? "C_Login" : "C_GenerateKeyPair(CKM_RSA_PKCS_KEY_PAIR_GEN)";
}

/* The token's answer by name: of the call that failed, or of the one that the step is about. */
static void put_answer(const struct ceremony *ceremony, const struct ceremony_step *step,
                       const struct error *failure, struct json_writer *line)
{
    char call[CK_CALL_TEXT], ck_rv[CK_RV_TEXT];
    /* Of other failures the last bad answer is not the reason. */
    bool told = failure != NULL &&
                (failure->kind == FAIL_TOKEN || failure->kind == FAIL_UNSUPPORTED) &&
                session_last_failure(ceremony->session, call, ck_rv);
    if (!told && (failure != NULL || (step->flags & STEP_CALL) == 0))
        return;
    json_object(line, "answer");
    json_put_text(line, "call", told ? call : deciding_call(step));
    json_put_text(line, "ckRv", told ? ck_rv : "CKR_OK");
    json_object_end(line);
}

/* `failure` NULL: it was done. */
static bool record_step(struct ceremony *ceremony, const struct ceremony_step *step,
                        const struct error *failure, struct error *err)
{
    struct json_writer *line = NULL;
    if (!is_recorded(ceremony, step))
        return true;
    if (!transcript_begin(ceremony->transcript, step->name,
                          failure != NULL ? LINE_FAILED : LINE_DONE, &line, err))
        return false;
    if (step->facts != NULL)
        step->facts(ceremony, line);
    put_answer(ceremony, step, failure, line);
    if (failure != NULL)
        transcript_put_failure(line, failure);
    return transcript_commit(ceremony->transcript, &line, err);
}

static bool run_step(struct ceremony *ceremony, size_t index, struct error *err)
{
    const struct ceremony_step *step = &ceremony_steps[index];
    struct error ignored = ERROR_INIT;
    ceremony->next = index;
    print_title(index);
    if (step->flags & STEP_GUARDED)
        signals_guard();
    bool ok = do_step(ceremony, step, err);
    if (!ok) {
        (void)!record_step(ceremony, step, err, &ignored);
        return false;
    }
    if (!record_step(ceremony, step, NULL, err))
        return false;
    return (step->flags & STEP_PAUSE) == 0 || talk_pause(ceremony, err);
}

static bool run_steps(struct ceremony *ceremony, struct error *err)
{
    size_t index = 0;
    while (ceremony_steps[index].name != NULL) {
        bool skipped = (ceremony_steps[index].flags & STEP_RESUMED) && ceremony->record == NULL;
        if (!skipped && !run_step(ceremony, index, err))
            return false;
        /* Resuming may go to a later step. */
        index = skipped || ceremony->next <= index ? index + 1 : ceremony->next;
    }
    return true;
}

/* The files that this ceremony has written, and no others. */
static void remove_outputs(const struct ceremony *ceremony)
{
    if (ceremony->pem_written)
        (void)unlink(ceremony->plan->public_key);
    if (ceremony->cng_written)
        (void)unlink(ceremony->plan->public_key_cng);
}

/* The key goes first: whatever happens to the record, no key may stay that it does not tell of. */
static void undo(struct ceremony *ceremony, struct error *err)
{
    struct error undone = ERROR_INIT, ignored = ERROR_INIT;
    if (ceremony->transcript == NULL)
        return;
    if (!ceremony->announced && !ceremony->ending) {
        ceremony->left_open = true;
        return;
    }
    sealing_key_free(&ceremony->key);
    if (ceremony->announced && !ceremony_undo_key(ceremony, &undone)) {
        error_hint(err, "the key \"%s\" may STILL BE ON THE TOKEN: %.200s; run the ceremony again",
                   ceremony->plan->key.label, undone.text);
        ceremony->left_open = true;
        return;
    }
    remove_outputs(ceremony);
    (void)!transcript_add(ceremony->transcript, "close", LINE_FAILED, NULL, NULL, err, &ignored);
    memcpy(ceremony->head, transcript_head(ceremony->transcript), DIGEST_TEXT);
    talk("the ceremony failed; its record is %s", ceremony->plan->transcript);
}

/* Up to the look at what was left behind, and no further. */
static bool abandon(struct ceremony *ceremony, struct error *err)
{
    struct error reason = ERROR_INIT;
    size_t last = ceremony_step_index("resume");
    for (size_t i = 0; i <= last; i++) {
        if (i == last && ceremony->record == NULL) {
            error_set(err, FAIL_NOT_FOUND, "there is no unfinished ceremony of this plan");
            return false;
        }
        if (!run_step(ceremony, i, err))
            return false;
    }
    error_set(&reason, FAIL_POLICY, "the ceremony was abandoned");
    ceremony->ending = true;
    undo(ceremony, &reason);
    signals_unguard();
    if (!ceremony->left_open)
        return true;
    *err = reason;
    return false;
}

static bool run_all(struct ceremony *ceremony, struct error *err)
{
    if (ceremony->options->abandon)
        return abandon(ceremony, err);
    ceremony->accepted = run_steps(ceremony, err);
    if (ceremony->accepted)
        memcpy(ceremony->head, transcript_head(ceremony->transcript), DIGEST_TEXT);
    else
        undo(ceremony, err);
    signals_unguard();
    if (ceremony->left_open)
        talk("the record stays open: run the same plan again to go on, or with --abandon to close "
             "it");
    return ceremony->accepted;
}

bool ceremony_run(const struct ceremony_options *options, struct ceremony **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return error_memory(err);
    (*out)->options = options;
    if (options->look_only)
        return ceremony_look(*out, err);
    return options->dry_run ? ceremony_dry_run(*out, err) : run_all(*out, err);
}

void ceremony_end(struct ceremony **place)
{
    struct ceremony *ceremony = *place;
    if (ceremony == NULL)
        return;
    sealing_key_free(&ceremony->key);
    EVP_PKEY_free(ceremony->public_key);
    session_close(&ceremony->session);
    token_close(&ceremony->token);
    secret_free(&ceremony->pin);
    transcript_close(&ceremony->transcript);
    transcript_record_free(&ceremony->record);
    rehearsal_end(ceremony);
    ceremony_plan_free(&ceremony->plan);
    free(ceremony);
    *place = NULL;
}

bool ceremony_has_plan(const struct ceremony *ceremony)
{
    return ceremony->plan != NULL;
}

bool ceremony_sought_token(const struct ceremony *ceremony)
{
    if (ceremony->plan == NULL || ceremony->token != NULL)
        return false;
    const char *source =
        ceremony->options->pin != NULL ? ceremony->options->pin : ceremony->plan->pin;
    return ceremony->options->look_only || ceremony->pin != NULL || strcmp(source, "prompt") == 0;
}
