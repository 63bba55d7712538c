/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal ceremony`. */
#include <stdlib.h>
#include <string.h>
#include "cmd_ceremony.h"
#include "reseal/ceremony_checklist.h"
#include "reseal/ceremony_init.h"
#include "reseal/ceremony_run.h"
#include "reseal/file.h"
#include "token_options.h"

#define CHECKLIST_MAX (256 * 1024)

static bool print_summary(const struct ceremony *ceremony, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    ceremony_write_result(ceremony, json);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

/* A plan that is wrong, and a token that is not there, are two things. */
static void tell_plan(const struct ceremony *ceremony, struct error *err)
{
    if (ceremony_has_plan(ceremony) && ceremony_sought_token(ceremony))
        token_options_fault(err);
}

static bool run_ceremony(const struct invocation *invocation, struct error *err)
{
    const struct ceremony_options options = {
        .plan = invocation_argument(invocation, 0),
        .pin = invocation_option(invocation, "pin"),
        .softhsm = invocation_option(invocation, "softhsm"),
        .confirmed = invocation_flag(invocation, "yes"),
        .rehearse = invocation_flag(invocation, "rehearse"),
        .dry_run = invocation_flag(invocation, "dry-run"),
        .abandon = invocation_flag(invocation, "abandon"),
    };
    struct ceremony *ceremony = NULL;
    if (options.rehearse + options.dry_run + options.abandon > 1) {
        error_set(err, FAIL_USAGE, "--rehearse, --dry-run and --abandon are three things to do");
        return error_hint(err, "give one of them");
    }
    bool ok = ceremony_run(&options, &ceremony, err);
    if (!ok && ceremony != NULL) {
        tell_plan(ceremony, err);
    } else if (ok && invocation_json(invocation)) {
        ok = print_summary(ceremony, err);
    } else if (ok) {
        ceremony_print_result(ceremony, stderr, stdout);
    }
    ceremony_end(&ceremony);
    return ok;
}

static bool write_checklist(const struct invocation *invocation, const char *option,
                            enum checklist_form form, const struct checklist_facts *facts,
                            struct error *err)
{
    const char *path = invocation_option(invocation, option);
    struct buf text = BUF_INIT(CHECKLIST_MAX);
    if (path == NULL)
        return true;
    ceremony_checklist(facts, form, &text);
    bool ok = buf_check(&text, "the checklist", err) &&
              file_write(path, 0644, FILE_NEW, buf_bytes(&text), err);
    buf_free(&text);
    if (ok)
        fprintf(stderr, "       written: %s\n", path);
    return ok;
}

bool run_ceremony_plan(const struct invocation *invocation, struct error *err)
{
    const struct ceremony_options options = {
        .plan = invocation_argument(invocation, 0),
        .look_only = true,
        .offline = invocation_flag(invocation, "offline"),
    };
    struct ceremony *ceremony = NULL;
    struct checklist_facts facts;
    bool ok = ceremony_run(&options, &ceremony, err);
    if (ok) {
        ceremony_facts_for(ceremony, &facts);
        ok = write_checklist(invocation, "checklist", CHECKLIST_MARKDOWN, &facts, err) &&
             write_checklist(invocation, "print", CHECKLIST_HTML, &facts, err);
        if (ok && invocation_json(invocation))
            ok = print_summary(ceremony, err);
        else if (ok)
            ceremony_narrate(&facts, stdout);
    } else if (ceremony != NULL) {
        tell_plan(ceremony, err);
    }
    ceremony_end(&ceremony);
    return ok;
}

static const struct command_option plan_options[] = {
    {"checklist", "FILE", "new file for the checklist, in Markdown"},
    {"print", "FILE", "new file for the checklist, in HTML for the printer"},
    {"offline", NULL, "do not look at the token"},
    {NULL, NULL, NULL}};
static bool read_place(const struct invocation *invocation, struct token_place *out,
                       struct error *err)
{
    const char *slot = invocation_option(invocation, "slot");
    char *end = NULL;
    out->serial = invocation_option(invocation, "serial");
    out->by_slot = slot != NULL;
    if (slot == NULL)
        return true;
    if (out->serial != NULL)
        return error_set(err, FAIL_USAGE, "--slot and --serial are two ways to say the same");
    out->slot = strtoul(slot, &end, 10);
    if (*slot < '0' || *slot > '9' || *end != '\0')
        return error_set(err, FAIL_USAGE, "--slot wants a number");
    return true;
}

static bool print_init(const struct init_result *result, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "record", result->record);
    json_put_text(json, "label", result->after.label);
    json_put_text(json, "serial", result->after.serial);
    json_put_text(json, "manufacturer", result->after.manufacturer);
    json_put_text(json, "model", result->after.model);
    json_put_text(json, "firmware", result->after.firmware);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool run_ceremony_init(const struct invocation *invocation, struct error *err)
{
    struct init_options options = {
        .plan = invocation_argument(invocation, 0),
        .so_pin = invocation_option(invocation, "so-pin"),
        .pin = invocation_option(invocation, "pin"),
        .confirmed = invocation_flag(invocation, "yes"),
    };
    struct init_result result;
    if (!read_place(invocation, &options.place, err) || !ceremony_init(&options, &result, err))
        return false;
    fprintf(stderr, "The token is initialised; record %s\n; for [token] of the plan:\n",
            result.record);
    if (invocation_json(invocation))
        return print_init(&result, err);
    printf("label = %s\nserial = %s\nmanufacturer = %s\nmodel = %s\nfirmware = %s\n",
           result.after.label, result.after.serial, result.after.manufacturer, result.after.model,
           result.after.firmware);
    return true;
}

static const struct command_option init_options[] = {
    {"slot", "N", "the slot by its number (default: the first that is not initialised)"},
    {"serial", "TEXT", "the token by its serial number; ALL THAT IS ON IT IS DESTROYED"},
    {"so-pin", "SOURCE", "where the SO PIN is (default: prompt, or the token's pad)"},
    {"pin", "SOURCE", "where the new user PIN is (default: the plan's)"},
    {"yes", NULL, "do not ask, for a token that was not initialised, where the plan allows it"},
    {NULL, NULL, NULL}};
static const struct command_option run_options[] = {
    {"yes", NULL, "go on without asking for a typed Yes, where the plan allows it"},
    {"dry-run", NULL, "try what token and plan can do, and leave nothing"},
    {"rehearse", NULL, "the same plan on a throw-away SoftHSM token"},
    {"abandon", NULL, "undo what an unfinished ceremony has left, and close it as failed"},
    {"softhsm", "PATH", "module of SoftHSM, for --rehearse"},
    PIN_OPTION,
    {NULL, NULL, NULL}};

static const struct command_option verify_options[] = {
    {"plan", "FILE", "the plan, where it is elsewhere than it was"},
    {"head", "SHA256", "of a line, as it was written down at the ceremony"},
    {NULL, NULL, NULL}};
static const struct command_option sign_options[] = {
    {"witness", "ID", "who signs: ID of [witness ID] in the plan"},
    {"name", "TEXT", "his name, where the plan does not tell it"},
    {"key", "FILE|URI", "his private key: a PEM file, or pkcs11:... (RFC 7512)"},
    {"password", "SOURCE", "where the password of the PEM file is (default: prompt)"},
    {"pin", "SOURCE", "where the PIN of his token is (default: prompt, or the token's pad)"},
    {"out", "FILE", "new file for the signature (default: TRANSCRIPT.ID.sig)"},
    {NULL, NULL, NULL}};
static const struct command_option note_options[] = {
    {"text", "TEXT", "the words (default: standard input)"}, {NULL, NULL, NULL}};
static const struct command_option commit_options[] = {
    {"require-witnesses", "N", "signatures that are wanted, where that is more than in the plan"},
    {"yes", NULL, "go on without asking for a typed Yes, where the plan allows it"},
    {NULL, NULL, NULL}};

const struct command ceremony_commands[] = {
    {"ceremony", "plan", "PLAN", "check a plan and say what will happen; print a checklist",
     plan_options, 1, 1, run_ceremony_plan},
    {"ceremony", "init", "PLAN", "initialise the token of a plan, PINs included", init_options, 1,
     1, run_ceremony_init},
    {"ceremony", "run", "PLAN", "make a sealing key by a plan, prove it and record it", run_options,
     1, 1, run_ceremony},
    {"ceremony", "show", "TRANSCRIPT", "the record of a ceremony as a person reads it", NULL, 1, 1,
     run_ceremony_show},
    {"ceremony", "verify", "TRANSCRIPT", "what a record proves, what not, and what is wrong",
     verify_options, 1, 1, run_ceremony_verify},
    {"ceremony", "sign", "TRANSCRIPT", "a witness's signature under the record", sign_options, 1, 1,
     run_ceremony_sign},
    {"ceremony", "note", "TRANSCRIPT", "add words of a person to the record", note_options, 1, 1,
     run_ceremony_note},
    {"ceremony", "commit", "TRANSCRIPT", "let connectors use the key: write its descriptor",
     commit_options, 1, 1, run_ceremony_commit},
    {"ceremony", "replicate", "TRANSCRIPT", "bring a key to a second token, as its plan says",
     ceremony_replicate_options, 1, 1, run_ceremony_replicate},
    {"ceremony", "shares", "make|join [FILE...]",
     "a PIN for several people: make its shares, or join them", ceremony_shares_options, 1, 17,
     run_ceremony_shares},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
