/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal ceremony`. */
#include <string.h>
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

const struct command ceremony_commands[] = {
    {"ceremony", "run", "PLAN", "make a sealing key by a plan, prove it and record it", run_options,
     1, 1, run_ceremony},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
