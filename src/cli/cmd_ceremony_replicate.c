/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal ceremony replicate`: a key goes to a second token of the configuration. */
#include <string.h>
#include "cmd_ceremony.h"
#include "reseal/ceremony_replicate.h"
#include "token_options.h"

/* The user PIN of one of the configuration's tokens. */
struct login {
    const struct config *config;
    const char *section;
};

static bool log_in(void *context, struct token *token, struct error *err)
{
    const struct login *login = context;
    const char *source = config_text(login->config, login->section, "pin");
    struct secret *pin = NULL;
    if (pin_is_for_pad(token, source))
        fprintf(stderr, PIN_PAD_NOTE "\n");
    else if (!secret_read(source != NULL ? source : "prompt", PIN_PROMPT, PIN_MAX, &pin, err))
        return error_context(err, "the PIN of [%s]", login->section);
    bool ok = token_login(token, pin, err);
    secret_free(&pin);
    return ok;
}

static bool side_of(const struct config *config, const char *name, struct login *login,
                    struct replicate_side *out, struct error *err)
{
    login->config = config;
    out->login = log_in;
    out->context = login;
    return settings_token_find(config, name, &login->section, err) &&
           token_address_from_config(config, login->section, &out->address, err);
}

static bool tell(const struct invocation *invocation, const struct replicate_result *result,
                 struct error *err)
{
    struct json_writer *json = NULL;
    fprintf(stderr,
            "the key \"%s\" is on token \"%s\", serial %s, as well: %zu of %zu transport keys\n",
            result->label, result->to.label, result->to.serial, result->done, result->wanted);
    if (result->shut)
        fprintf(stderr, "it can be wrapped %s; next: reseal ceremony commit %s\n",
                result->confined ? "no more" : "STILL, as this token does not keep it from that",
                invocation_argument(invocation, 0));
    if (!invocation_json(invocation))
        return true;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "label", result->label);
    json_put_text(json, "fingerprint", result->fingerprint);
    json_put_text(json, "from", result->from.serial);
    json_put_text(json, "to", result->to.serial);
    json_put_text(json, "transportKey", result->transport_fingerprint);
    json_put_text(json, "mechanism", result->mechanism);
    json_put_integer(json, "done", (int64_t)result->done);
    json_put_integer(json, "wanted", (int64_t)result->wanted);
    json_put_bool(json, "shut", result->shut);
    json_put_bool(json, "confined", result->shut && result->confined);
    json_put_text(json, "head", result->head);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

bool run_ceremony_replicate(const struct invocation *invocation, struct error *err)
{
    const struct config *config = NULL;
    const char *to = invocation_option(invocation, "to");
    const char *so_source = invocation_option(invocation, "so-pin");
    struct login logins[2];
    struct secret *so_pin = NULL;
    struct replicate_options options = {
        .transcript = invocation_argument(invocation, 0),
        .transport_label = invocation_option(invocation, "transport"),
        .confirmed = invocation_flag(invocation, "yes"),
    };
    static struct replicate_result result; /* large */
    if (to == NULL || options.transport_label == NULL)
        return error_set(err, FAIL_USAGE, "--to NAME and --transport LABEL are needed");
    bool ok =
        invocation_config(invocation, &config, err) &&
        side_of(config, invocation_option(invocation, "token"), &logins[0], &options.from, err) &&
        side_of(config, to, &logins[1], &options.to, err) &&
        (so_source == NULL || secret_read(so_source, "SO PIN of the token", PIN_MAX, &so_pin, err));
    options.so_pin = so_pin;
    ok = ok && ceremony_replicate(&options, &result, err) && tell(invocation, &result, err);
    secret_free(&so_pin);
    return ok;
}

const struct command_option ceremony_replicate_options[] = {
    {"token", "NAME", "the token that has the key: of [token NAME] of the configuration"},
    {"to", "NAME", "the second token: of [token NAME]"},
    {"transport", "LABEL", "its transport key, as the plan names it; made where it is not there"},
    {"so-pin", "SOURCE", "SO PIN of the first token, where the plan has wrapping = trusted"},
    {"yes", NULL, "go on without asking for a typed Yes, where the plan allows it"},
    {NULL, NULL, NULL}};
