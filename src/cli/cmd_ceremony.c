/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal ceremony`. */
#include <string.h>
#include "cmd_ceremony.h"
#include "reseal/ceremony_run.h"
#include "token_options.h"

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
        if (!ceremony_has_plan(ceremony) && err->kind == FAIL_NOT_FOUND)
            error_hint(err, "PLAN is the path of a reviewed INI file; README.md says more");
        else if (ceremony_has_plan(ceremony) && ceremony_sought_token(ceremony))
            token_options_fault(err);
    } else if (ok && invocation_json(invocation)) {
        ok = print_summary(ceremony, err);
    } else if (ok) {
        ceremony_print_result(ceremony, stderr, stdout);
    }
    ceremony_end(&ceremony);
    return ok;
}

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
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
