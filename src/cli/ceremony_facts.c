/* SPDX-License-Identifier: Apache-2.0 */
/* What each step of a ceremony leaves in the transcript. Never a secret. */
#include "ceremony_run.h"

void facts_plan(const struct ceremony *ceremony, struct json_writer *line)
{
    const struct ceremony_plan *plan = ceremony->plan;
    json_object(line, "tool");
    json_put_text(line, "program", "reseal");
    json_put_text(line, "version", RESEAL_VERSION);
    json_put_text(line, "path", ceremony->binary);
    json_put_text(line, "sha256", ceremony->binary_sha256);
    json_object_end(line);
    json_object(line, "plan");
    json_put_text(line, "path", plan->path);
    json_put_text(line, "sha256", plan->sha256);
    json_object_end(line);
    json_object(line, "module");
    json_put_text(line, "path", ceremony->module);
    json_put_text(line, "sha256", ceremony->module_sha256);
    json_put_text(line, "library", ceremony->facts.library);
    json_object_end(line);
    json_object(line, "token");
    json_put_text(line, "label", ceremony->facts.label);
    json_put_text(line, "serial", ceremony->facts.serial);
    json_put_text(line, "manufacturer", ceremony->facts.manufacturer);
    json_put_text(line, "model", ceremony->facts.model);
    json_put_text(line, "firmware", ceremony->facts.firmware);
    json_put_integer(line, "slot", (int64_t)ceremony->facts.slot);
    json_object_end(line);
    json_object(line, "ceremony");
    json_put_text(line, "name", plan->name);
    json_put_text(line, "place", plan->place);
    json_put_text(line, "officer", plan->officer);
    json_object_end(line);
}

void facts_token(const struct ceremony *ceremony, struct json_writer *line)
{
    json_array(line, "compared");
    for (size_t i = 0; i < IDENTITY_CHECKS; i++) {
        const struct identity_check *check = &ceremony->identity[i];
        json_object(line, NULL);
        json_put_text(line, "name", check->name);
        json_put_text(line, "wanted", check->wanted);
        json_put_text(line, "found", check->found);
        json_put_bool(line, "ok", check->ok);
        json_object_end(line);
    }
    json_array_end(line);
}

void facts_free(const struct ceremony *ceremony, struct json_writer *line)
{
    const struct ceremony_plan *plan = ceremony->plan;
    json_put_text(line, "label", plan->key.label);
    json_object(line, "outputs");
    json_put_text(line, "publicKey", plan->public_key);
    json_put_text(line, "publicKeyCng", plan->public_key_cng);
    json_put_text(line, "transcript", plan->transcript);
    json_object_end(line);
}

void facts_login(const struct ceremony *ceremony, struct json_writer *line)
{
    json_put_text(line, "pinStateBefore", pin_state_text(ceremony->pin_state));
}

void facts_confirm(const struct ceremony *ceremony, struct json_writer *line)
{
    json_put_text(line, "by", ceremony->asked ? "typed on the terminal" : "option --yes");
}

void facts_generate(const struct ceremony *ceremony, struct json_writer *line)
{
    const struct key_plan *key = &ceremony->plan->key;
    json_put_text(line, "label", key->label);
    json_put_integer(line, "bits", key->bits);
    json_put_text(line, "custody", custody_name(key->custody));
    json_put_text(line, "id", ceremony->birth.id[0] != '\0' ? ceremony->birth.id : NULL);
    json_put_text(line, "mechanism",
                  ceremony->birth.mechanism[0] != '\0' ? ceremony->birth.mechanism : NULL);
}

void facts_read_back(const struct ceremony *ceremony, struct json_writer *line)
{
    json_array(line, "attributes");
    for (size_t i = 0; i < ceremony->birth.check_count; i++) {
        const struct attribute_check *check = &ceremony->birth.checks[i];
        json_object(line, NULL);
        json_put_text(line, "name", check->name);
        json_put_text(line, "wanted", check->wanted);
        json_put_text(line, "found", check->found);
        json_put_bool(line, "ok", check->ok);
        json_object_end(line);
    }
    json_array_end(line);
}

void facts_unreadable(const struct ceremony *ceremony, struct json_writer *line)
{
    json_put_text(line, "ckRv", ceremony->refusal[0] != '\0' ? ceremony->refusal : NULL);
}

void facts_proof(const struct ceremony *ceremony, struct json_writer *line)
{
    const struct ceremony_plan *plan = ceremony->plan;
    json_put_text(line, "wanted", custody_name(plan->key.custody));
    json_array(line, "paddings");
    for (size_t i = 0; i < plan->padding_count; i++) {
        const struct padding_finding *found = probe_padding(&ceremony->finding, plan->paddings[i]);
        if (found == NULL) /* the probe did not come so far */
            continue;
        json_object(line, NULL);
        json_put_text(line, "padding", padding_name(found->padding));
        json_put_text(line, "custody", custody_name(found->custody));
        json_put_text(line, "call", found->call[0] != '\0' ? found->call : NULL);
        json_put_text(line, "ckRv", found->ck_rv[0] != '\0' ? found->ck_rv : NULL);
        json_put_text(line, "quirk", found->quirk[0] != '\0' ? found->quirk : NULL);
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

void facts_public_key(const struct ceremony *ceremony, struct json_writer *line)
{
    json_array(line, "files");
    if (ceremony->pem_written)
        put_file(line, ceremony->plan->public_key, "PEM", ceremony->pem_sha256);
    if (ceremony->cng_written)
        put_file(line, ceremony->plan->public_key_cng, "CNG RSAPUBLICBLOB", ceremony->cng_sha256);
    json_array_end(line);
}

void facts_fingerprint(const struct ceremony *ceremony, struct json_writer *line)
{
    struct error ignored = ERROR_INIT; /* 64 words fit */
    struct buf words = BUF_INIT(1024);
    digest_spell(&words, ceremony->finding.fingerprint, DIGEST_TEXT - 1);
    json_put_text(line, "spkiSha256", ceremony->finding.fingerprint);
    if (buf_check(&words, "the words", &ignored))
        json_put_text(line, "words", buf_text(&words));
    buf_free(&words);
}
