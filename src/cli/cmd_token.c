/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal token list` and `reseal token probe`; `token matrix` and `token login` have files of
 * their own. */
#include <stdlib.h>
#include <string.h>
#include "cmd_token.h"
#include "token_report.h"

static const char *item_state(const struct token_list_item *item)
{
    if (!item->initialized)
        return "token not initialised";
    if (!item->login_required)
        return "no PIN needed";
    return pin_state_text(item->pin_state);
}

static bool list_as_json(const struct token_list_item *items, size_t count, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_array(json, "tokens");
    for (size_t i = 0; i < count; i++) {
        const struct token_facts *facts = &items[i].facts;
        json_object(json, NULL);
        json_put_text(json, "label", facts->label);
        json_put_text(json, "serial", facts->serial);
        json_put_text(json, "manufacturer", facts->manufacturer);
        json_put_text(json, "model", facts->model);
        json_put_text(json, "firmware", facts->firmware);
        json_put_text(json, "library", facts->library);
        json_put_integer(json, "slot", (int64_t)facts->slot);
        json_put_bool(json, "initialized", items[i].initialized);
        json_put_bool(json, "loginRequired", items[i].login_required);
        json_put_text(json, "pinState", item_state(&items[i]));
        json_object_end(json);
    }
    json_array_end(json);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool list_as_table(const struct token_list_item *items, size_t count, struct error *err)
{
    static const char *const headers[] = {"LABEL",    "SERIAL", "MANUFACTURER", "MODEL",
                                          "FIRMWARE", "SLOT",   "PIN"};
    struct table *table = NULL;
    bool ok = false;
    if (!table_new(headers, ARRAY_LEN(headers), &table, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct token_facts *facts = &items[i].facts;
        char slot[24];
        snprintf(slot, sizeof slot, "%lu", facts->slot);
        const char *cells[] = {facts->label,    facts->serial, facts->manufacturer,  facts->model,
                               facts->firmware, slot,          item_state(&items[i])};
        if (!table_row(table, cells, err))
            goto done;
    }
    table_print(table, stdout);
    ok = true;
done:
    table_free(&table);
    return ok;
}

static bool fits(const char *wanted, const char *found)
{
    return wanted[0] == '\0' || strcmp(wanted, found) == 0;
}

/* The label of the configuration narrows nothing here: who looks for its mistake wants to see the
 * tokens that are there. */
static size_t keep_wanted(const struct invocation *invocation, const struct token_address *address,
                          struct token_list_item *items, size_t count)
{
    bool by_uri = invocation_option(invocation, "uri") != NULL;
    bool by_label = by_uri || invocation_option(invocation, "label") != NULL;
    bool by_serial = by_uri || invocation_option(invocation, "serial") != NULL;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct token_facts *facts = &items[i].facts;
        if ((!by_label || fits(address->label, facts->label)) &&
            (!by_serial || fits(address->serial, facts->serial)) &&
            fits(address->manufacturer, facts->manufacturer) && fits(address->model, facts->model))
            items[kept++] = items[i];
    }
    return kept;
}

static bool run_list(const struct invocation *invocation, struct error *err)
{
    struct token_address address;
    struct token_list_item *items = NULL;
    size_t found = 0;
    if (!token_options_address(invocation, &address, err))
        return false;
    if (!token_list(&address, &items, &found, err))
        return token_options_fault(err);
    size_t count = keep_wanted(invocation, &address, items, found);
    bool ok = invocation_json(invocation) ? list_as_json(items, count, err)
                                          : list_as_table(items, count, err);
    if (ok && found == 0 && !invocation_json(invocation))
        fprintf(stderr, "the module %s has no token\n", address.module);
    else if (ok && count == 0 && !invocation_json(invocation))
        fprintf(stderr, "of %zu tokens of the module %s none is the one that was asked for\n",
                found, address.module);
    free(items);
    return ok;
}

/* The keys to probe: those of the command line, or those of the configuration. */
static bool probe_names(const struct invocation *invocation, const char **names, size_t *count,
                        struct error *err)
{
    const struct config *config = NULL;
    const char *section = NULL;
    *count = invocation_count(invocation);
    for (size_t i = 0; i < *count; i++)
        names[i] = invocation_argument(invocation, i);
    if (*count > 0)
        return true;
    if (invocation_option(invocation, "module") == NULL &&
        invocation_option(invocation, "uri") == NULL) {
        if (!invocation_config(invocation, &config, err) ||
            !token_options_section(invocation, config, &section, err))
            return false;
        *count = config_list_count(config, section, "key");
    }
    if (*count == 0) {
        error_set(err, FAIL_USAGE, "no key to probe is named");
        return error_hint(err, "give the label of a key, or [token] key in the configuration; "
                               "`reseal key list` shows the labels");
    }
    if (*count > PROBE_KEYS_MAX)
        return error_set(err, FAIL_USAGE, "[%s] key names %zu keys, and at most %d are possible",
                         section, *count, PROBE_KEYS_MAX);
    for (size_t i = 0; i < *count; i++)
        names[i] = config_list_at(config, section, "key", i);
    return true;
}

bool token_examine_key(struct session *session, const char *name, struct key_finding *out,
                       struct error *err)
{
    struct sealing_key *key = NULL;
    memset(out, 0, sizeof *out);
    if (!sealing_key_find(session, name, &key, err))
        return false;
    bool ok = sealing_key_describe(session, key, out, err) && token_probe(session, key, out, err);
    sealing_key_free(&key);
    return ok;
}

static bool probe_all(const struct invocation *invocation, struct probe_report *report,
                      struct error *err)
{
    const char *names[PROBE_KEYS_MAX];
    struct token_address address;
    struct token *token = NULL;
    struct session *session = NULL;
    bool ok = false;
    if (!probe_names(invocation, names, &report->key_count, err) ||
        !token_options_address(invocation, &address, err))
        goto done;
    if (!token_open(&address, &token, err)) {
        token_options_fault(err);
        goto done;
    }
    token_facts_get(token, &report->token);
    if (!token_options_login(invocation, token, err) ||
        !session_open(token, SESSION_READ_ONLY, &session, err))
        goto done;
    for (size_t i = 0; i < report->key_count; i++) {
        if (!token_examine_key(session, names[i], &report->keys[i], err)) {
            token_options_fault(err);
            goto done;
        }
    }
    ok = true;
done:
    session_close(&session);
    token_close(&token);
    return ok;
}

static bool run_probe(const struct invocation *invocation, struct error *err)
{
    struct probe_report *report = calloc(1, sizeof *report);
    struct json_writer *json = NULL;
    bool ok = false;
    if (report == NULL)
        return error_memory(err);
    if (!probe_all(invocation, report, err))
        goto done;
    if (!invocation_json(invocation)) {
        ok = token_report_print(report, stdout, err);
        goto done;
    }
    if (!json_writer_new(true, &json, err))
        goto done;
    json_object(json, NULL);
    probe_report_write(json, report);
    json_object_end(json);
    ok = print_json(json, err);
done:
    json_writer_free(&json);
    free(report);
    return ok;
}

static const struct command_option list_options[] = {TOKEN_OPTIONS, {NULL, NULL, NULL}};
static const struct command_option probe_options[] = {
    TOKEN_OPTIONS, PIN_OPTION, {NULL, NULL, NULL}};
static const struct command_option login_options[] = {
    TOKEN_OPTIONS,
    {"pin", "SOURCE", "prompt (default) or shares:prompt: the PIN is typed, or its shares are"},
    {NULL, NULL, NULL}};

const struct command token_commands[] = {
    {"token", "list", "", "show the tokens that a PKCS#11 module has", list_options, 0, 0,
     run_list},
    {"token", "probe", "[KEY...]",
     "find out by doing which custody a token reaches with its sealing keys", probe_options, 0,
     PROBE_KEYS_MAX, run_probe},
    {"token", "matrix", "", "find out what a token can do, for all key sizes; a table to publish",
     probe_options, 0, 0, run_token_matrix},
    {"token", "login", "", "try one PIN that a person types, which clears a count of wrong ones",
     login_options, 0, 0, run_token_login},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
