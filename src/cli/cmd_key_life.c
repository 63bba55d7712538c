/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal key inventory|retire|destroy`: keys by the records of their ceremonies. */
#include <stdlib.h>
#include <string.h>
#include "client.h"
#include "key_commands.h"
#include "reseal/key_inventory.h"
#include "reseal/key_life.h"
#include "reseal/seals.h"
#include "token_options.h"

/* A token with its user logged in. */
struct opened {
    struct token *token;
    struct session *session;
    struct token_facts facts;
};

static bool open_token(const struct invocation *invocation, enum session_mode mode,
                       struct opened *out, struct error *err)
{
    struct token_address address;
    if (!token_options_address(invocation, &address, err))
        return false;
    if (!token_open(&address, &out->token, err))
        return token_options_fault(err);
    token_facts_get(out->token, &out->facts);
    return token_options_login(invocation, out->token, err) &&
           session_open(out->token, mode, &out->session, err);
}

static void close_token(struct opened *opened)
{
    session_close(&opened->session);
    token_close(&opened->token);
}

/* -- inventory -- */

static bool inventory_as_json(const struct opened *opened, const struct inventory_entry *entries,
                              size_t count, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    probe_token_write(json, &opened->facts);
    json_array(json, "objects");
    for (size_t i = 0; i < count; i++) {
        const struct inventory_entry *entry = &entries[i];
        const struct inventory_object *object = &entry->object;
        json_object(json, NULL);
        json_put_text(json, "judgement", inventory_judgement_name(entry->judgement));
        json_put_text(json, "class", inventory_class_name(object->class));
        json_put_text(json, "label", object->label);
        json_put_text(json, "id", object->id);
        json_put_text(json, "fingerprint",
                      object->fingerprint[0] != '\0' ? object->fingerprint : NULL);
        json_put_text(json, "transcript", entry->transcript);
        json_put_text(json, "state",
                      entry->transcript != NULL ? ceremony_state_name(entry->state) : NULL);
        json_put_text(json, "reason", entry->reason[0] != '\0' ? entry->reason : NULL);
        json_object_end(json);
    }
    json_array_end(json);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool inventory_as_table(const struct inventory_entry *entries, size_t count,
                               struct error *err)
{
    static const char *const headers[] = {"IS", "OBJECT", "LABEL", "ID", "KEY", "TRANSCRIPT"};
    struct table *table = NULL;
    bool ok = table_new(headers, ARRAY_LEN(headers), &table, err);
    for (size_t i = 0; ok && i < count; i++) {
        const struct inventory_entry *entry = &entries[i];
        const char *cells[] = {inventory_judgement_name(entry->judgement),
                               inventory_class_name(entry->object.class),
                               entry->object.label,
                               entry->object.id[0] != '\0' ? entry->object.id : NULL,
                               entry->transcript != NULL ? ceremony_state_name(entry->state) : NULL,
                               entry->transcript};
        ok = table_row(table, cells, err);
    }
    if (ok && count > 0)
        table_print(table, stdout);
    for (size_t i = 0; ok && i < count; i++) {
        if (entries[i].reason[0] != '\0')
            fprintf(stderr, "%s \"%s\": %s\n", inventory_class_name(entries[i].object.class),
                    entries[i].object.label, entries[i].reason);
    }
    table_free(&table);
    return ok;
}

bool key_inventory_run(const struct invocation *invocation, struct error *err)
{
    struct opened opened = {0};
    struct inventory_entry *entries = NULL;
    size_t count = 0, paths_count = invocation_count(invocation);
    const char **paths = calloc(paths_count + 1, sizeof *paths);
    bool ok = paths != NULL || error_memory(err);
    for (size_t i = 0; ok && i < paths_count; i++)
        paths[i] = invocation_argument(invocation, i);
    ok = ok && open_token(invocation, SESSION_READ_ONLY, &opened, err) &&
         key_inventory(opened.session, &opened.facts, paths, paths_count, &entries, &count, err) &&
         (invocation_json(invocation) ? inventory_as_json(&opened, entries, count, err)
                                      : inventory_as_table(entries, count, err));
    for (size_t i = 0; ok && i < count; i++) {
        if (entries[i].judgement != INVENTORY_KNOWN)
            invocation_set_status(invocation, 1);
    }
    free(entries);
    free(paths);
    close_token(&opened);
    return ok;
}

/* -- retire and destroy -- */

/* The hub that the configuration names; without one, or without its token, nobody can be asked. */
static bool ask_hub(void *context, const char *label, struct key_use *out, struct error *err)
{
    const struct invocation *invocation = context;
    const struct config *config = NULL;
    struct web *web = NULL;
    struct seals *seals = NULL;
    struct seal_page page;
    *out = (struct key_use){.known = false};
    if (!invocation_may_config(invocation, &config, err))
        return false;
    if (config == NULL || config_text(config, "client", "rotation_token") == NULL)
        return true;
    bool ok = client_web_as(config, "rotation_token", &web, err) &&
              seals_open(web, config_text(config, "client", "hub"),
                         config_text(config, "client", "records"), &seals, err) &&
              seals_read(seals, label, 0, 0, &page, err);
    if (ok) {
        *out = (struct key_use){page.records >= 0, page.records, page.requests};
        seal_page_free(&page);
    }
    seals_close(&seals);
    web_close(&web);
    return ok;
}

static struct key_life_options life_options(const struct invocation *invocation)
{
    return (struct key_life_options){
        .transcript = invocation_argument(invocation, 0),
        .use = ask_hub,
        .context = (void *)(uintptr_t)invocation,
        .forced = invocation_flag(invocation, "force"),
        .confirmed = invocation_flag(invocation, "yes"),
    };
}

static bool life_as_json(const struct key_life_result *result, const char *state, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "state", state);
    json_put_text(json, "label", result->label);
    json_put_text(json, "id", result->id);
    json_put_text(json, "fingerprint", result->fingerprint);
    json_put_text(json, "descriptor", result->descriptor[0] != '\0' ? result->descriptor : NULL);
    json_put_text(json, "mark", result->mark[0] != '\0' ? result->mark : NULL);
    json_put_text(json, "head", result->head);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static void tell_head(const struct key_life_result *result, const char *state)
{
    fprintf(stderr, "recorded: the key \"%s\" is %s; SHA-256 of the transcript's last line\n%s\n",
            result->label, state, result->head);
}

/* The record alone keeps no connector from the key. */
static void tell_mark(const struct key_life_result *result)
{
    if (result->mark[0] != '\0')
        fprintf(
            stderr,
            "put: %s\nIt keeps connectors from the key; put it beside the descriptor on each of "
            "their machines, and start them anew\n",
            result->mark);
    else
        fprintf(stderr,
                "NOT put: the mark that keeps connectors from the key, as there is no descriptor "
                "%s here\nConnectors SERVE THE KEY ON until an (empty) file with the name of their "
                "descriptor and .retired behind is beside it, or the key is taken out of their "
                "configuration, and they are started anew\n",
                result->descriptor);
}

bool key_retire_run(const struct invocation *invocation, struct error *err)
{
    const struct key_life_options options = life_options(invocation);
    struct key_life_result result;
    if (!key_retire(&options, &result, err))
        return false;
    tell_head(&result, "retired");
    tell_mark(&result);
    return !invocation_json(invocation) || life_as_json(&result, "retired", err);
}

bool key_destroy_run(const struct invocation *invocation, struct error *err)
{
    const struct key_life_options options = life_options(invocation);
    struct opened opened = {0};
    struct key_life_result result;
    bool ok = open_token(invocation, SESSION_READ_WRITE, &opened, err) &&
              key_end(opened.session, &opened.facts, &options, &result, err);
    if (ok) {
        tell_head(&result, "destroyed");
        ok = !invocation_json(invocation) || life_as_json(&result, "destroyed", err);
    }
    close_token(&opened);
    return ok;
}

const struct command_option key_inventory_options[] = {
    TOKEN_OPTIONS, PIN_OPTION, {NULL, NULL, NULL}};
const struct command_option key_retire_options[] = {
    {"force", NULL, "although records are under it, or that is not known"},
    {"yes", NULL, "go on without asking, where the plan of the key allows it"},
    {NULL, NULL, NULL}};
const struct command_option key_destroy_options[] = {
    {"force", NULL, "although it was not retired, or records are under it, or that is not known"},
    {"yes", NULL, "go on without asking, where the plan of the key allows it"},
    TOKEN_OPTIONS,
    PIN_OPTION,
    {NULL, NULL, NULL}};
