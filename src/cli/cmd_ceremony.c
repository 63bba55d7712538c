/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal ceremony run`. */
#include <stdlib.h>
#include <string.h>
#include "ceremony_run.h"
#include "token_options.h"

/* The lines of a configuration that uses the new key. */
static void print_settings(const struct ceremony *ceremony)
{
    const struct ceremony_plan *plan = ceremony->plan;
    const struct token_address *address = &plan->address;
    printf("; reseal.conf of the connector\n[token]\nmodule = %s\n", address->module);
    if (address->init_args[0] != '\0')
        printf("init_args = %s\n", address->init_args);
    printf("label = %s\nserial = %s\n", ceremony->facts.label, ceremony->facts.serial);
    if (strncmp(plan->pin, "file:", 5) == 0 || strncmp(plan->pin, "credential:", 11) == 0)
        printf("pin = %s\n", plan->pin);
    else
        printf("; pin = file:PATH or credential:NAME\n");
    printf("key = %s\n", plan->key.label);
    printf("\n[connector]\nrequire = %s\n", custody_name(plan->key.custody));
    printf("\n; reseal.conf of the importer\n[client]\npublic_key = %s\nkey_name = %s\n"
           "padding = %s\n",
           plan->public_key, plan->key.label,
           padding_name(plan->paddings[plan->padding_count - 1]));
}

static bool print_summary(const struct ceremony *ceremony, struct error *err)
{
    const struct ceremony_plan *plan = ceremony->plan;
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "outcome", "accepted");
    json_put_text(json, "ceremony", plan->name);
    json_object(json, "key");
    json_put_text(json, "label", plan->key.label);
    json_put_text(json, "id", ceremony->birth.id);
    json_put_integer(json, "bits", plan->key.bits);
    json_put_text(json, "custody", custody_name(plan->key.custody));
    facts_fingerprint(ceremony, json);
    json_object_end(json);
    json_object(json, "token");
    json_put_text(json, "label", ceremony->facts.label);
    json_put_text(json, "serial", ceremony->facts.serial);
    json_object_end(json);
    json_put_text(json, "publicKey", plan->public_key);
    json_put_text(json, "publicKeyCng", plan->public_key_cng);
    json_object(json, "transcript");
    json_put_text(json, "path", plan->transcript);
    json_put_text(json, "head", ceremony->head);
    json_object_end(json);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

/* True where a thing not found is the module or the token, and not the plan or the PIN's file,
 * which is read before. */
static bool token_was_sought(const struct ceremony *ceremony)
{
    if (ceremony->plan == NULL || ceremony->token != NULL)
        return false;
    const char *source =
        ceremony->options->pin != NULL ? ceremony->options->pin : ceremony->plan->pin;
    return ceremony->pin != NULL || strcmp(source, "prompt") == 0;
}

static bool run_ceremony(const struct invocation *invocation, struct error *err)
{
    const struct ceremony_options options = {
        .plan = invocation_argument(invocation, 0),
        .pin = invocation_option(invocation, "pin"),
        .confirmed = invocation_flag(invocation, "yes"),
    };
    struct ceremony *ceremony = calloc(1, sizeof *ceremony);
    bool ok = false;
    if (ceremony == NULL)
        return error_memory(err);
    if (!ceremony_run(&options, ceremony, err)) {
        if (ceremony->plan == NULL && err->kind == FAIL_NOT_FOUND)
            error_hint(err, "PLAN is the path of a reviewed INI file; README.md says more");
        else if (token_was_sought(ceremony))
            token_options_fault(err);
        goto done;
    }
    fprintf(stderr, "\nThe key is accepted. Transcript %s,\nSHA-256 of its last line %s\n\n",
            ceremony->plan->transcript, ceremony->head);
    if (invocation_json(invocation)) {
        ok = print_summary(ceremony, err);
        goto done;
    }
    print_settings(ceremony);
    ok = true;
done:
    ceremony_end(ceremony);
    free(ceremony);
    return ok;
}

static const struct command_option run_options[] = {
    {"yes", NULL, "go on without asking for a typed Yes"}, PIN_OPTION, {NULL, NULL, NULL}};

const struct command ceremony_commands[] = {
    {"ceremony", "run", "PLAN", "make a sealing key by a plan, prove it and record it", run_options,
     1, 1, run_ceremony},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
