/* SPDX-License-Identifier: Apache-2.0 */
#include "token_options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool given_by_options(const struct invocation *invocation)
{
    return invocation_option(invocation, "module") != NULL ||
           invocation_option(invocation, "uri") != NULL;
}

static bool copy_option(const struct invocation *invocation, const char *name, char *out,
                        size_t size, struct error *err)
{
    const char *text = invocation_option(invocation, name);
    if (text == NULL)
        return true;
    if (strlen(text) >= size)
        return error_set(err, FAIL_USAGE, "--%s has %zu bytes, and at most %zu are possible", name,
                         strlen(text), size - 1);
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static bool address_from_module(const struct invocation *invocation, struct token_address *out,
                                struct error *err)
{
    if (invocation_option(invocation, "uri") != NULL) {
        error_set(err, FAIL_USAGE, "--module and --uri are two ways to say the same");
        return error_hint(err, "give one of them");
    }
    /* The dynamic linker looks for a name without a slash in the system's folders only; a file of
     * that name where the user stands is what he means. */
    const char *module = invocation_option(invocation, "module");
    if (strchr(module, '/') == NULL && access(module, F_OK) == 0 &&
        snprintf(out->module, sizeof out->module, "./%s", module) < (int)sizeof out->module)
        return true;
    return copy_option(invocation, "module", out->module, sizeof out->module, err);
}

bool token_options_section(const struct invocation *invocation, const struct config *config,
                           const char **out, struct error *err)
{
    return settings_token_find(config, invocation_option(invocation, "token"), out, err);
}

static bool address_from_config(const struct invocation *invocation, struct token_address *out,
                                struct error *err)
{
    const struct config *config = NULL;
    const char *section = NULL;
    if (!invocation_config(invocation, &config, err)) {
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "name the token by --config FILE, --module PATH or --uri URI");
        return false;
    }
    return token_options_section(invocation, config, &section, err) &&
           token_address_from_config(config, section, out, err);
}

bool token_options_address(const struct invocation *invocation, struct token_address *out,
                           struct error *err)
{
    memset(out, 0, sizeof *out);
    if (invocation_option(invocation, "token") != NULL && given_by_options(invocation)) {
        error_set(err, FAIL_USAGE,
                  "--token names a token of the configuration, and --module or "
                  "--uri another");
        return error_hint(err, "give one of them");
    }
    if (invocation_option(invocation, "module") != NULL) {
        if (!address_from_module(invocation, out, err))
            return false;
    } else if (invocation_option(invocation, "uri") != NULL) {
        if (!token_address_from_uri(invocation_option(invocation, "uri"), out, err))
            return false;
    } else if (!address_from_config(invocation, out, err)) {
        return false;
    }
    return copy_option(invocation, "init-args", out->init_args, sizeof out->init_args, err) &&
           copy_option(invocation, "label", out->label, sizeof out->label, err) &&
           copy_option(invocation, "serial", out->serial, sizeof out->serial, err);
}

bool token_options_fault(struct error *err)
{
    if (err->kind == FAIL_NOT_FOUND)
        err->kind = FAIL_TOKEN;
    return false;
}

static bool pin_source(const struct invocation *invocation, const char **out, struct error *err)
{
    const struct config *config = NULL;
    const char *section = NULL;
    *out = invocation_option(invocation, "pin");
    if (*out != NULL || given_by_options(invocation))
        return true;
    if (!invocation_config(invocation, &config, err) ||
        !token_options_section(invocation, config, &section, err))
        return false;
    *out = config_text(config, section, "pin");
    return true;
}

bool pin_is_elsewhere(const char *source)
{
    if (source == NULL)
        return false;
    if (strncmp(source, "fd:", 3) == 0)
        return true;
    return strncmp(source, "credential:", 11) == 0 && getenv("CREDENTIALS_DIRECTORY") == NULL;
}

bool token_options_pin(const struct invocation *invocation, struct secret **out, struct error *err)
{
    const char *source = NULL;
    *out = NULL;
    if (!pin_source(invocation, &source, err))
        return false;
    if (secret_read(source != NULL ? source : "prompt", PIN_PROMPT, PIN_MAX, out, err))
        return true;
    if (invocation_option(invocation, "pin") == NULL && pin_is_elsewhere(source))
        error_hint(err, "only the service itself can read %s: give the PIN with --pin SOURCE",
                   source);
    return error_context(err, "the PIN of the token");
}

bool pin_is_for_pad(const struct token *token, const char *source)
{
    return token_has_pin_pad(token) && (source == NULL || strcmp(source, "prompt") == 0);
}

bool token_options_login(const struct invocation *invocation, struct token *token,
                         struct error *err)
{
    const char *source = NULL;
    struct secret *pin = NULL;
    if (!pin_source(invocation, &source, err))
        return false;
    if (source == NULL && !token_wants_login(token))
        return token_login(token, NULL, err);
    if (pin_is_for_pad(token, source))
        fprintf(stderr, PIN_PAD_NOTE "\n");
    else if (!token_options_pin(invocation, &pin, err))
        return false;
    bool ok = token_login(token, pin, err);
    secret_free(&pin);
    return ok;
}
