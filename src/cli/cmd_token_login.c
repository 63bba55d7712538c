/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal token login`: a person tries one PIN, which clears the count of failed tries. */
#include <string.h>
#include "cmd_token.h"
#include "typed.h"

/* A PIN that no person types might be the wrong one that was tried before. */
static bool check_source(const char *source, struct error *err)
{
    if (strcmp(source, "prompt") == 0 || strcmp(source, "shares:prompt") == 0)
        return true;
    error_set(err, FAIL_USAGE, "the PIN of this command is typed by a person");
    return error_hint(err, "leave --pin out, or give --pin shares:prompt");
}

static bool confirm(const struct token_facts *token, enum pin_state state, struct error *err)
{
    static const char what[] = "the try";
    fprintf(stderr, "token \"%s\", serial %s, of %s: %s\n", token->label, token->serial,
            token->manufacturer, pin_state_text(state));
    if (state == PIN_STATE_OK)
        return true;
    if (state == PIN_STATE_FINAL_TRY) {
        fprintf(stderr, "A WRONG PIN LOCKS IT NOW, and only the security officer can open it.\n");
        return typed_confirm(what, "Type the label of the token to try a PIN once: ", token->label,
                             err);
    }
    fprintf(stderr,
            "How many tries are left the token does not tell; a wrong PIN costs one more.\n");
    return typed_confirm(what, "Try a PIN once? Type Yes to go on: ", "Yes", err);
}

static bool try_once(struct token *token, const char *source, enum pin_state told,
                     struct error *err)
{
    struct secret *pin = NULL;
    if (pin_is_for_pad(token, source))
        fprintf(stderr, PIN_PAD_NOTE "\n");
    else if (!secret_read(source, PIN_PROMPT, PIN_MAX, &pin, err))
        return false;
    bool ok = token_login_told(token, pin, told, err);
    secret_free(&pin);
    if (!ok && err->kind == FAIL_PIN)
        error_hint(err, "to try another one, run the command again: it tells first what the token "
                        "says of its count by then");
    return ok;
}

static bool print_login(const struct token_facts *token, enum pin_state before,
                        enum pin_state after, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "label", token->label);
    json_put_text(json, "serial", token->serial);
    json_put_text(json, "pinStateBefore", pin_state_text(before));
    json_put_text(json, "pinState", pin_state_text(after));
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool log_in(const struct invocation *invocation, struct token *token, const char *source,
                   struct error *err)
{
    struct token_facts facts;
    enum pin_state before, after;
    token_facts_get(token, &facts);
    if (!token_wants_login(token))
        return error_set(err, FAIL_USAGE, "token \"%s\" wants no login", facts.label);
    if (!token_pin_state(token, &before, err))
        return false;
    if (before > PIN_STATE_FINAL_TRY)
        return token_fail_pin_state(token, before, err);
    if (!confirm(&facts, before, err) || !try_once(token, source, before, err) ||
        !token_pin_state(token, &after, err))
        return false;
    fprintf(stderr, "the token has taken the PIN: %s\n", pin_state_text(after));
    return !invocation_json(invocation) || print_login(&facts, before, after, err);
}

bool run_token_login(const struct invocation *invocation, struct error *err)
{
    struct token_address address;
    struct token *token = NULL;
    const char *source = invocation_option(invocation, "pin");
    source = source != NULL ? source : "prompt";
    if (!check_source(source, err) || !token_options_address(invocation, &address, err))
        return false;
    if (!token_open(&address, &token, err))
        return token_options_fault(err);
    bool ok = log_in(invocation, token, source, err);
    token_close(&token);
    return ok;
}
