/* SPDX-License-Identifier: Apache-2.0 */
/* The acts of a ceremony up to the moment at which something is changed. */
#define _GNU_SOURCE /* dl_iterate_phdr */
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "run.h"

#define PIN_PROMPT "User PIN of the token"

static const char *pin_source(const struct ceremony *ceremony)
{
    return ceremony->options->pin != NULL ? ceremony->options->pin : ceremony->plan->pin;
}

static bool read_pin(struct ceremony *ceremony, struct error *err)
{
    return secret_read(pin_source(ceremony), PIN_PROMPT, PIN_MAX, &ceremony->pin, err) ||
           error_context(err, "the PIN of the token");
}

static bool find_binary(struct ceremony *ceremony, struct error *err)
{
    ssize_t len = readlink("/proc/self/exe", ceremony->binary, sizeof ceremony->binary - 1);
    if (len < 0)
        return error_errno(err, FAIL_IO, "cannot find the file of this program");
    ceremony->binary[len] = '\0';
    return digest_of_file("/proc/self/exe", ceremony->binary_sha256, err);
}

/* Who confirms: a person on the terminal, or --yes where the plan says that it may. */
static bool check_confirmation(const struct ceremony *ceremony, struct error *err)
{
    if (ceremony->options->dry_run || ceremony->options->look_only)
        return true;
    if (!ceremony->options->confirmed)
        return terminal_present(err);
    if (ceremony->plan->allow_yes || ceremony->options->rehearse)
        return true;
    error_set(err, FAIL_POLICY, "the plan %s does not allow --yes", ceremony->plan->path);
    return error_hint(err, "run it on a terminal, where a person confirms; for a rehearsal use "
                           "--rehearse, for a machine [ceremony] allow_yes = yes");
}

/* Whether the record is of an unfinished ceremony of this plan. */
static bool goes_on(const struct ceremony *ceremony, struct error *err)
{
    enum ceremony_state state = transcript_record_state(ceremony->record);
    const char *plan = transcript_text(transcript_record_at(ceremony->record, 0), "plan", "sha256");
    if (state != CEREMONY_UNFINISHED) {
        error_set(err, FAIL_EXISTS, "the ceremony of transcript %s was held already (it is %s)",
                  ceremony->plan->transcript, ceremony_state_name(state));
        return error_hint(err, "nothing was done; a new ceremony needs new outputs in its plan%s",
                          state == CEREMONY_ACCEPTED
                              ? "; this one's key waits for `reseal ceremony commit`"
                              : "");
    }
    if (plan == NULL || strcmp(plan, ceremony->plan->sha256) != 0) {
        error_set(err, FAIL_POLICY, "the unfinished ceremony of %s had another plan",
                  ceremony->plan->transcript);
        return error_hint(err, "go on with the plan as it was: its text is in the first line");
    }
    return true;
}

/* A transcript that is there is one to go on with; act_open looks at it again. */
static bool outputs_ready(struct ceremony *ceremony, struct error *err)
{
    struct stat st;
    bool was_empty = false;
    const bool looks = ceremony->options->look_only || ceremony->options->dry_run;
    if (!looks && !transcript_discard_empty(ceremony->plan->transcript, &was_empty, err))
        return false;
    if (was_empty)
        talk("%s was empty: a ceremony was cut off before it had begun",
             ceremony->plan->transcript);
    if (lstat(ceremony->plan->transcript, &st) != 0)
        return ceremony_plan_outputs_free(ceremony->plan, err);
    if (!transcript_read(ceremony->plan->transcript, &ceremony->record, &ceremony->cut_off, err)) {
        error_context(err, "%s exists already, and no ceremony can go on with it",
                      ceremony->plan->transcript);
        return error_hint(err, "a new ceremony needs a transcript of its own: name another in the "
                               "plan");
    }
    return goes_on(ceremony, err);
}

/* Everything that can fail without the token fails here. */
bool act_plan(struct ceremony *ceremony, struct error *err)
{
    if (!find_binary(ceremony, err) ||
        !ceremony_plan_load(ceremony->options->plan, &ceremony->plan, err) ||
        !check_confirmation(ceremony, err))
        return false;
    if (ceremony->options->rehearse && !rehearsal_begin(ceremony, err))
        return false;
    if (!outputs_ready(ceremony, err))
        return false;
    if (ceremony->pin == NULL && !ceremony->options->look_only &&
        strcmp(pin_source(ceremony), "prompt") != 0 && !read_pin(ceremony, err))
        return false;
    talk("%s, SHA-256 %s", ceremony->plan->path, ceremony->plan->sha256);
    talk("key \"%s\", RSA-%d, made for custody %s", ceremony->plan->key.label,
         ceremony->plan->key.bits, custody_name(ceremony->plan->key.custody));
    if (ceremony->record != NULL)
        talk("%s is the record of an unfinished ceremony", ceremony->plan->transcript);
    return true;
}

/* The file that the loader really mapped for a module that was named without a folder. */
static int find_mapped(struct dl_phdr_info *info, size_t size, void *context)
{
    struct ceremony *ceremony = context;
    (void)size;
    const char *slash = info->dlpi_name != NULL ? strrchr(info->dlpi_name, '/') : NULL;
    if (slash == NULL || strcmp(slash + 1, ceremony->plan->address.module) != 0)
        return 0;
    int len = snprintf(ceremony->module, sizeof ceremony->module, "%s", info->dlpi_name);
    return len > 0 && (size_t)len < sizeof ceremony->module;
}

static bool hash_module(struct ceremony *ceremony, struct error *err)
{
    const char *named = ceremony->plan->address.module;
    if (strchr(named, '/') != NULL)
        snprintf(ceremony->module, sizeof ceremony->module, "%s", named);
    else if (dl_iterate_phdr(find_mapped, ceremony) == 0)
        return error_set(err, FAIL_NOT_FOUND, "cannot find the file of the module %s", named);
    return digest_of_file(ceremony->module, ceremony->module_sha256, err);
}

static bool compare_identity(struct ceremony *ceremony, struct error *err)
{
    const struct ceremony_plan *plan = ceremony->plan;
    const struct token_facts *facts = &ceremony->facts;
    const char *label = plan->address.label, *serial = plan->address.serial;
    const struct identity_check checks[IDENTITY_CHECKS] = {
        {"label", label[0] != '\0' ? label : NULL, facts->label, false},
        {"serial", serial[0] != '\0' ? serial : NULL, facts->serial, false},
        {"manufacturer", plan->manufacturer, facts->manufacturer, false},
        {"model", plan->model, facts->model, false},
        {"firmware", plan->firmware, facts->firmware, false},
    };
    const struct identity_check *wrong = NULL;
    memcpy(ceremony->identity, checks, sizeof checks);
    for (size_t i = 0; i < IDENTITY_CHECKS; i++) {
        struct identity_check *check = &ceremony->identity[i];
        check->ok = check->wanted == NULL || strcmp(check->wanted, check->found) == 0;
        talk("%-13s %-34s %s", check->name, check->found,
             check->wanted == NULL ? "(the plan does not say)"
             : check->ok           ? "as in the plan"
                                   : "NOT as in the plan");
        if (!check->ok && wrong == NULL)
            wrong = check;
    }
    if (wrong == NULL)
        return true;
    error_set(err, FAIL_POLICY, "this is not the token of the plan: its %s is \"%s\", not \"%s\"",
              wrong->name, wrong->found, wrong->wanted);
    return error_hint(err, "nothing was done; check the token and the plan");
}

/* The token of an unfinished ceremony must be the one that it began with. */
static bool compare_record(const struct ceremony *ceremony, struct error *err)
{
    if (ceremony->record == NULL)
        return true;
    const struct transcript_line *first = transcript_record_at(ceremony->record, 0);
    const struct {
        const char *name, *found;
    } rows[] = {{"label", ceremony->facts.label},
                {"serial", ceremony->facts.serial},
                {"manufacturer", ceremony->facts.manufacturer},
                {"model", ceremony->facts.model}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *before = transcript_text(first, "token", rows[i].name);
        if (before == NULL || strcmp(before, rows[i].found) != 0)
            return error_set(err, FAIL_POLICY,
                             "the unfinished ceremony was held with another token: its %s was "
                             "\"%s\", not \"%s\"",
                             rows[i].name, before != NULL ? before : "", rows[i].found);
    }
    return true;
}

bool act_token(struct ceremony *ceremony, struct error *err)
{
    if (!token_open(&ceremony->plan->address, &ceremony->token, err))
        return false;
    token_facts_get(ceremony->token, &ceremony->facts);
    return hash_module(ceremony, err) && compare_identity(ceremony, err) &&
           compare_record(ceremony, err);
}

/* Where a ceremony is gone on with, its own key may be there. */
static bool label_free(struct ceremony *ceremony, struct error *err)
{
    if (ceremony->record != NULL ||
        key_label_free(ceremony->session, ceremony->plan->key.label, err))
        return true;
    if (err->kind == FAIL_EXISTS)
        error_hint(err, "nothing was changed; name another label in the plan, or look at "
                        "`reseal key list`");
    return false;
}

/* Before the login only public objects are seen; a key pair usually shows by its public half. */
bool act_open(struct ceremony *ceremony, struct error *err)
{
    const char *path = ceremony->plan->transcript;
    if (!session_open(ceremony->token, SESSION_READ_WRITE, &ceremony->session, err) ||
        !label_free(ceremony, err))
        return false;
    if (ceremony->record == NULL)
        return transcript_create(path, &ceremony->transcript, err);
    /* Read once more under the lock: what another process has added since counts. */
    transcript_record_free(&ceremony->record);
    if (transcript_open(path, &ceremony->transcript, &ceremony->cut_off, err) &&
        transcript_read(path, &ceremony->record, NULL, err) && goes_on(ceremony, err))
        return true;
    transcript_close(&ceremony->transcript); /* nothing is written to it, nor undone by it */
    return false;
}

bool act_login(struct ceremony *ceremony, struct error *err)
{
    if (!token_pin_state(ceremony->token, &ceremony->pin_state, err))
        return false;
    talk("state of the PIN: %s", pin_state_text(ceremony->pin_state));
    if (ceremony->pin == NULL && token_has_pin_pad(ceremony->token) &&
        strcmp(pin_source(ceremony), "prompt") == 0)
        talk("type the PIN on the pad of the token");
    else if (ceremony->pin == NULL && !read_pin(ceremony, err))
        return false;
    bool ok = token_login(ceremony->token, ceremony->pin, err);
    secret_free(&ceremony->pin);
    return ok && label_free(ceremony, err); /* now with the private objects in view */
}

bool act_confirm(struct ceremony *ceremony, struct error *err)
{
    char question[512];
    snprintf(question, sizeof question, "Make the key \"%s\" on the token \"%s\" now?",
             ceremony->plan->key.label, ceremony->facts.label);
    return talk_confirm(ceremony, question, err);
}
