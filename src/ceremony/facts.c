/* SPDX-License-Identifier: Apache-2.0 */
/* What each step of a ceremony leaves in the transcript. Never a secret. */
#include <string.h>
#include "run.h"

static void put_tool(const struct ceremony *ceremony, struct json_writer *line)
{
    json_object(line, "tool");
    json_put_text(line, "program", "reseal");
    json_put_text(line, "version", RESEAL_VERSION);
    json_put_text(line, "path", ceremony->binary);
    json_put_text(line, "sha256", ceremony->binary_sha256);
    json_object_end(line);
    json_object(line, "module");
    json_put_text(line, "path", ceremony->module);
    json_put_text(line, "sha256", ceremony->module_sha256);
    json_put_text(line, "library", ceremony->facts.library);
    json_object_end(line);
}

static void put_check(struct json_writer *line, const char *name, const char *wanted,
                      const char *found, bool ok)
{
    json_object(line, NULL);
    json_put_text(line, "name", name);
    json_put_text(line, "wanted", wanted);
    json_put_text(line, "found", found);
    json_put_bool(line, "ok", ok);
    json_object_end(line);
}

static void put_token(const struct ceremony *ceremony, struct json_writer *line)
{
    json_object(line, "token");
    json_put_text(line, "label", ceremony->facts.label);
    json_put_text(line, "serial", ceremony->facts.serial);
    json_put_text(line, "manufacturer", ceremony->facts.manufacturer);
    json_put_text(line, "model", ceremony->facts.model);
    json_put_text(line, "firmware", ceremony->facts.firmware);
    json_put_integer(line, "slot", (int64_t)ceremony->facts.slot);
    json_object_end(line);
    json_array(line, "compared");
    for (size_t i = 0; i < IDENTITY_CHECKS; i++) {
        const struct identity_check *check = &ceremony->identity[i];
        put_check(line, check->name, check->wanted, check->found, check->ok);
    }
    json_array_end(line);
}

/* The file as it was, so that the record can be understood without it. */
static void put_plan(const struct ceremony_plan *plan, struct json_writer *line)
{
    json_object(line, "plan");
    json_put_text(line, "path", plan->path);
    json_put_text(line, "sha256", plan->sha256);
    json_put_text_len(line, "text", buf_text(&plan->text), plan->text.len);
    json_object_end(line);
}

static void put_ceremony(const struct ceremony_plan *plan, struct json_writer *line)
{
    json_object(line, "ceremony");
    json_put_text(line, "name", plan->name);
    json_put_text(line, "place", plan->place);
    json_put_text(line, "officer", plan->officer);
    json_object_end(line);
}

/* What has to be so before the key may be used. */
static void put_rules(const struct ceremony_plan *plan, struct json_writer *line)
{
    json_object(line, "rules");
    json_put_integer(line, "signatures", (int64_t)plan->signatures);
    json_array(line, "witnesses");
    for (size_t i = 0; i < plan->witness_count; i++) {
        const struct plan_witness *witness = &plan->witnesses[i];
        json_object(line, NULL);
        json_put_text(line, "id", witness->id);
        json_put_text(line, "name", witness->name);
        json_put_text(line, "spkiSha256",
                      witness->key_fingerprint[0] != '\0' ? witness->key_fingerprint : NULL);
        json_object_end(line);
    }
    json_array_end(line);
    json_put_text(line, "backup", backup_rule_name(plan->backup));
    json_put_text(line, "wrapping", key_wrapping_name(plan->key.wrapping));
    json_array(line, "transportKeys");
    for (size_t i = 0; i < plan->transport_count; i++)
        json_put_text(line, NULL, config_list_at(plan->config, "backup", "transport_key", i));
    json_array_end(line);
    json_put_bool(line, "allowYes", plan->allow_yes);
    json_object_end(line);
}

static void put_key(const struct ceremony_plan *plan, struct json_writer *line)
{
    json_object(line, "key");
    json_put_text(line, "label", plan->key.label);
    json_put_integer(line, "bits", plan->key.bits);
    json_put_text(line, "custody", custody_name(plan->key.custody));
    json_array(line, "paddings");
    for (size_t i = 0; i < plan->padding_count; i++)
        json_put_text(line, NULL, padding_name(plan->paddings[i]));
    json_array_end(line);
    json_object_end(line);
    json_object(line, "outputs");
    json_put_text(line, "publicKey", plan->public_key);
    json_put_text(line, "publicKeyCng", plan->public_key_cng);
    json_put_text(line, "descriptor", plan->descriptor);
    json_put_text(line, "transcript", plan->transcript);
    json_object_end(line);
}

void facts_of_plan(const struct ceremony_plan *plan, struct json_writer *line)
{
    put_ceremony(plan, line);
    put_key(plan, line);
    put_rules(plan, line);
}

void facts_open(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    json_put_text(line, "format", "reseal-transcript-1");
    json_put_bool(line, "rehearsal", ceremony->rehearsal != NULL);
    put_tool(ceremony, line);
    put_plan(ceremony->plan, line);
    put_ceremony(ceremony->plan, line);
    put_token(ceremony, line);
    put_key(ceremony->plan, line);
    put_rules(ceremony->plan, line);
}

void facts_login(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    json_put_text(line, "pinStateBefore", pin_state_text(ceremony->pin_state));
}

static const char *way_words(enum resume_way way)
{
    switch (way) {
    case RESUME_AFRESH:
        return "nothing of it is on the token: the key is made now";
    case RESUME_UNDO:
        return "the unfinished key is destroyed, and a new one is made";
    case RESUME_ADOPT:
        return "the key was read back before: it is proved now";
    case RESUME_END:
        return "what is there is destroyed, and the record is closed as failed";
    }
    return "";
}

void facts_resume(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    const struct transcript_line *last = transcript_record_last(ceremony->record);
    json_put_text(line, "lastStep", last->step);
    json_put_text(line, "lastOutcome", line_outcome_name(last->outcome));
    json_put_integer(line, "cutOff", (int64_t)ceremony->cut_off);
    json_put_text(line, "id", ceremony->id[0] != '\0' ? ceremony->id : NULL);
    json_put_integer(line, "privateKeys", (int64_t)ceremony->remains.private_keys);
    json_put_integer(line, "publicKeys", (int64_t)ceremony->remains.public_keys);
    json_put_text(line, "decision", way_words(ceremony->way));
    json_put_text(line, "by", ceremony->asked ? "typed on the terminal" : "option --yes");
    json_object(line, "tool");
    json_put_text(line, "version", RESEAL_VERSION);
    json_put_text(line, "sha256", ceremony->binary_sha256);
    json_object_end(line);
    json_object(line, "module");
    json_put_text(line, "sha256", ceremony->module_sha256);
    json_object_end(line);
}

void facts_confirm(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    json_put_text(line, "by", ceremony->asked ? "typed on the terminal" : "option --yes");
}

void facts_generate(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    const struct key_plan *key = &ceremony->plan->key;
    json_put_text(line, "label", key->label);
    json_put_text(line, "id", ceremony->id[0] != '\0' ? ceremony->id : NULL);
    json_put_integer(line, "bits", key->bits);
    json_put_text(line, "custody", custody_name(key->custody));
    json_put_text(line, "mechanism",
                  ceremony->birth.mechanism[0] != '\0' ? ceremony->birth.mechanism : NULL);
}

void facts_attributes(const struct key_birth *birth, struct json_writer *line)
{
    json_array(line, "attributes");
    for (size_t i = 0; i < birth->check_count; i++) {
        const struct attribute_check *check = &birth->checks[i];
        put_check(line, check->name, check->wanted, check->found, check->ok);
    }
    json_array_end(line);
}

void facts_read_back(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    json_put_text(line, "spkiSha256",
                  ceremony->finding.fingerprint[0] != '\0' ? ceremony->finding.fingerprint : NULL);
    facts_attributes(&ceremony->birth, line);
}

void facts_wrap_attempts(const struct wrap_attempt *attempts, size_t count,
                         struct json_writer *line)
{
    json_array(line, "wrapAttempts");
    for (size_t i = 0; i < count; i++) {
        json_object(line, NULL);
        json_put_text(line, "mechanism", attempts[i].mechanism);
        json_put_text(line, "ckRv", attempts[i].ck_rv);
        json_object_end(line);
    }
    json_array_end(line);
}

void facts_unreadable(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    json_put_text(line, "ckRv", ceremony->refusal[0] != '\0' ? ceremony->refusal : NULL);
    if (ceremony->attempt_count == 0)
        return;
    json_put_bool(line, "confined", ceremony->confined);
    facts_wrap_attempts(ceremony->attempts, ceremony->attempt_count, line);
}

static void put_optional(struct json_writer *line, const char *name, const char *text)
{
    json_put_text(line, name, text[0] != '\0' ? text : NULL);
}

void facts_proof(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    json_put_text(line, "wanted", custody_name(ceremony->plan->key.custody));
    json_array(line, "paddings");
    for (size_t i = 0; i < ceremony->proof_count; i++) {
        const struct padding_proof *proof = &ceremony->proofs[i];
        json_object(line, NULL);
        json_put_text(line, "padding", padding_name(proof->padding));
        json_put_text(line, "custody", custody_name(proof->custody));
        put_optional(line, "call", proof->call);
        put_optional(line, "ckRv", proof->ck_rv);
        put_optional(line, "quirk", proof->quirk);
        put_optional(line, "secretCkRv", proof->secret_ck_rv);
        json_object(line, "otherDirection");
        json_put_bool(line, "refused", proof->other_refused);
        put_optional(line, "call", proof->other_call);
        put_optional(line, "ckRv", proof->other_ck_rv);
        json_object_end(line);
        json_object_end(line);
    }
    json_array_end(line);
}

static void put_file(struct json_writer *line, const char *path, const char *form,
                     const char *sha256)
{
    json_object(line, NULL);
    json_put_text(line, "path", path);
    json_put_text(line, "form", form);
    json_put_text(line, "sha256", sha256);
    json_object_end(line);
}

static void put_files(const struct ceremony *ceremony, bool pem, bool cng, struct json_writer *line)
{
    json_array(line, "files");
    if (pem)
        put_file(line, ceremony->plan->public_key, "PEM", ceremony->pem_sha256);
    if (cng)
        put_file(line, ceremony->plan->public_key_cng, "CNG RSAPUBLICBLOB", ceremony->cng_sha256);
    json_array_end(line);
}

void facts_outputs(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    put_files(ceremony, true, ceremony->plan->public_key_cng != NULL, line);
}

void facts_public_key(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    put_files(ceremony, ceremony->pem_written, ceremony->cng_written, line);
}

void facts_fingerprint(const void *context, struct json_writer *line)
{
    const struct ceremony *ceremony = context;
    struct error ignored = ERROR_INIT; /* 64 words fit */
    struct buf words = BUF_INIT(1024);
    digest_spell(&words, ceremony->finding.fingerprint, DIGEST_TEXT - 1);
    json_put_text(line, "label", ceremony->plan->key.label);
    json_put_text(line, "id", ceremony->id);
    json_put_text(line, "spkiSha256", ceremony->finding.fingerprint);
    if (buf_check(&words, "the words", &ignored))
        json_put_text(line, "words", buf_text(&words));
    buf_free(&words);
}
