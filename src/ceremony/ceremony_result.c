/* SPDX-License-Identifier: Apache-2.0 */
/* What a ceremony says at its end. */
#include <string.h>
#include "run.h"

static void print_settings(const struct ceremony_plan *plan, const struct token_facts *facts,
                           FILE *out)
{
    const struct token_address *address = &plan->address;
    fprintf(out, "; reseal.conf of the connector\n[token]\nmodule = %s\n", address->module);
    if (address->init_args[0] != '\0')
        fprintf(out, "init_args = %s\n", address->init_args);
    fprintf(out, "label = %s\nserial = %s\n", facts->label, facts->serial);
    if (strncmp(plan->pin, "file:", 5) == 0 || strncmp(plan->pin, "credential:", 11) == 0)
        fprintf(out, "pin = %s\n", plan->pin);
    else
        fprintf(out, "; pin = file:PATH or credential:NAME\n");
    fprintf(out, "key = %s\ndescriptor = %s\n", plan->key.label, plan->descriptor);
    fprintf(out, "\n[connector]\nrequire = %s\n", custody_name(plan->key.custody));
    fprintf(out,
            "\n; reseal.conf of the importer\n[client]\npublic_key = %s\nkey_name = %s\n"
            "padding = %s\n",
            plan->public_key, plan->key.label,
            padding_name(plan->paddings[plan->padding_count - 1]));
}

void ceremony_print_result(const struct ceremony *ceremony, FILE *talk_to, FILE *data)
{
    const struct ceremony_plan *plan = ceremony->plan;
    if (ceremony->options->dry_run) {
        fprintf(talk_to, "\nThe token does what the plan asks for; nothing was left on it.\n");
        return;
    }
    if (ceremony->options->abandon) {
        fprintf(talk_to, "\nThe ceremony is closed as failed. Transcript %s\n", plan->transcript);
        return;
    }
    if (ceremony->rehearsal != NULL) {
        fprintf(talk_to, "\nThe rehearsal went well: every step was done on a throw-away token, "
                         "which is removed now.\n");
        return;
    }
    fprintf(talk_to, "\nThe key is accepted. Transcript %s,\nSHA-256 of its last line %s\n",
            plan->transcript, ceremony->head);
    if (plan->signatures > 0)
        fprintf(talk_to,
                "Next: %zu of %zu witnesses sign (reseal ceremony sign), then: "
                "reseal ceremony commit %s\n\n",
                plan->signatures, plan->witness_count, plan->transcript);
    else
        fprintf(talk_to, "Next: reseal ceremony commit %s\n\n", plan->transcript);
    print_settings(plan, &ceremony->facts, data);
}

void ceremony_write_result(const struct ceremony *ceremony, struct json_writer *json)
{
    const struct ceremony_plan *plan = ceremony->plan;
    json_put_text(json, "outcome",
                  ceremony->options->look_only ? "checked"
                  : ceremony->options->dry_run ? "possible"
                  : ceremony->accepted         ? "accepted"
                                               : "abandoned");
    json_put_bool(json, "rehearsal", ceremony->rehearsal != NULL);
    json_put_bool(json, "resumed", ceremony->record != NULL);
    json_put_text(json, "ceremony", plan->name);
    json_object(json, "key");
    json_put_text(json, "label", plan->key.label);
    json_put_text(json, "id", ceremony->id[0] != '\0' ? ceremony->id : NULL);
    json_put_integer(json, "bits", plan->key.bits);
    json_put_text(json, "custody", custody_name(plan->key.custody));
    json_put_text(json, "spkiSha256", ceremony->accepted ? ceremony->finding.fingerprint : NULL);
    json_object_end(json);
    json_object(json, "token");
    json_put_text(json, "label", ceremony->facts.label);
    json_put_text(json, "serial", ceremony->facts.serial);
    json_object_end(json);
    json_put_text(json, "publicKey", plan->public_key);
    json_put_text(json, "publicKeyCng", plan->public_key_cng);
    json_put_text(json, "descriptor", plan->descriptor);
    json_put_integer(json, "signatures", (int64_t)plan->signatures);
    json_object(json, "transcript");
    json_put_text(json, "path", plan->transcript);
    json_put_text(json, "head", ceremony->head);
    json_object_end(json);
}
