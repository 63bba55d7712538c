/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_init.h"

#include <stdio.h>
#include <string.h>
#include "reseal/text.h"
#include "run.h"

struct init {
    const struct init_options *options;
    struct ceremony_plan *plan;
    struct token_before before;
    struct token_facts after;
    struct transcript *transcript;
    struct secret *so_pin, *pin;
    char module_sha256[DIGEST_TEXT];
};

static void put_token(struct json_writer *line, const char *name, const struct token_facts *facts)
{
    json_object(line, name);
    json_put_text(line, "label", facts->label);
    json_put_text(line, "serial", facts->serial);
    json_put_text(line, "manufacturer", facts->manufacturer);
    json_put_text(line, "model", facts->model);
    json_put_text(line, "firmware", facts->firmware);
    json_put_integer(line, "slot", (int64_t)facts->slot);
    json_object_end(line);
}

static void facts_begin(const void *context, struct json_writer *line)
{
    const struct init *init = context;
    json_put_text(line, "format", "reseal-token-init-1");
    json_object(line, "tool");
    json_put_text(line, "version", RESEAL_VERSION);
    json_object_end(line);
    json_object(line, "plan");
    json_put_text(line, "path", init->plan->path);
    json_put_text(line, "sha256", init->plan->sha256);
    json_object_end(line);
    json_object(line, "module");
    json_put_text(line, "path", init->plan->address.module);
    json_put_text(line, "sha256", init->module_sha256[0] != '\0' ? init->module_sha256 : NULL);
    json_object_end(line);
    json_put_text(line, "label", init->plan->address.label);
    json_put_bool(line, "initializedBefore", init->before.initialized);
    put_token(line, "before", &init->before.facts);
}

static void facts_end(const void *context, struct json_writer *line)
{
    const struct init *init = context;
    put_token(line, "after", &init->after);
}

/* A new PIN that is typed is typed twice: nobody sees what he types. */
static bool read_new_pin(const char *source, const char *what, struct secret **out,
                         struct error *err)
{
    struct secret *again = NULL;
    char question[96];
    if (!secret_read(source, what, PIN_MAX, out, err))
        return error_context(err, "%s", what);
    if (strcmp(source, "prompt") != 0)
        return true;
    snprintf(question, sizeof question, "%s, once more", what);
    if (!secret_read(source, question, PIN_MAX, &again, err))
        return error_context(err, "%s", what);
    const struct bytes a = secret_bytes(*out), b = secret_bytes(again);
    bool same = a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
    secret_free(&again);
    return same || error_set(err, FAIL_INPUT, "%s was not typed the same twice", what);
}

static bool read_pins(struct init *init, struct error *err)
{
    const char *so_source = init->options->so_pin != NULL ? init->options->so_pin : "prompt";
    const char *source = init->options->pin != NULL ? init->options->pin : init->plan->pin;
    if (init->before.pin_pad && strcmp(so_source, "prompt") == 0) {
        fprintf(stderr, "type the PINs on the pad of the token\n");
        return true;
    }
    bool ok = init->before.initialized
                  ? secret_read(so_source, "SO PIN of the token", PIN_MAX, &init->so_pin, err)
                  : read_new_pin(so_source, "new SO PIN", &init->so_pin, err);
    return ok && read_new_pin(source, "new user PIN", &init->pin, err);
}

static void tell_part(const char *before, const char *text, const char *after)
{
    if (text[0] != '\0')
        fprintf(stderr, "%s%s%s", before, text, after);
}

/* A token that is new says little of itself. */
static void tell_token(const struct init *init)
{
    const struct token_facts *token = &init->before.facts;
    fprintf(stderr, "%s", init->before.initialized ? "the token" : "an uninitialised token");
    tell_part(" \"", token->label, "\"");
    fprintf(stderr, " in slot %lu", token->slot);
    tell_part(", serial ", token->serial, "");
    tell_part(", of manufacturer ", token->manufacturer, "");
    fprintf(stderr, "\n");
}

/* What is destroyed is named by who destroys it. */
static bool confirm(const struct init *init, struct error *err)
{
    char question[256];
    tell_token(init);
    if (init->options->confirmed && init->plan->allow_yes && !init->before.initialized)
        return true;
    if (init->options->confirmed) {
        error_set(err, FAIL_POLICY,
                  init->before.initialized ? "--yes does not stand for the end of a token in use"
                                           : "the plan does not allow --yes");
        return error_hint(err, "run it on a terminal, where a person confirms");
    }
    if (!init->before.initialized)
        return talk_yes("Initialise it?", err);
    snprintf(question, sizeof question,
             "EVERYTHING ON IT IS DESTROYED. Type its serial number to go on: ");
    return talk_typed(question, init->before.facts.serial, err);
}

static bool prepare(struct init *init, char *record, size_t size, struct error *err)
{
    struct error ignored = ERROR_INIT;
    if (!ceremony_plan_load(init->options->plan, &init->plan, err))
        return false;
    if (init->plan->address.label[0] == '\0')
        return error_set(err, FAIL_USAGE, "[token] label of the plan says how it shall be called");
    int len = snprintf(record, size, "%s.init", init->plan->transcript);
    if (len < 0 || (size_t)len >= size)
        return error_set(err, FAIL_USAGE, "the path of the record is too long");
    (void)!digest_of_file(init->plan->address.module, init->module_sha256, &ignored);
    return ceremony_output_possible(record, err) &&
           token_init_look(&init->plan->address, &init->options->place, &init->before, err);
}

static bool act(struct init *init, const char *record, struct error *err)
{
    struct error ignored = ERROR_INIT;
    if (!transcript_create(record, &init->transcript, err) ||
        !transcript_add(init->transcript, "init-token", LINE_ANNOUNCED, facts_begin, init, NULL,
                        err))
        return false;
    if (token_init(&init->plan->address, &init->before, init->so_pin, init->pin, &init->after, err))
        return transcript_add(init->transcript, "init-token", LINE_DONE, facts_end, init, NULL,
                              err);
    (void)!transcript_add(init->transcript, "init-token", LINE_FAILED, NULL, NULL, err, &ignored);
    return false;
}

bool ceremony_init(const struct init_options *options, struct init_result *out, struct error *err)
{
    struct init init = {.options = options};
    memset(out, 0, sizeof *out);
    bool ok = prepare(&init, out->record, sizeof out->record, err) && confirm(&init, err) &&
              read_pins(&init, err) && act(&init, out->record, err);
    out->before = init.before.facts;
    out->after = init.after;
    out->was_initialized = init.before.initialized;
    secret_free(&init.so_pin);
    secret_free(&init.pin);
    transcript_close(&init.transcript);
    ceremony_plan_free(&init.plan);
    return ok;
}
