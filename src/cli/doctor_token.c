/* SPDX-License-Identifier: Apache-2.0 */
/* Module, token, PIN and keys. A PIN is tried only when --login asks for it, and then once. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "doctor.h"
#include "token_options.h"
#include "token_report.h"

static const char login_hint[] = "`reseal doctor --login` tries the PIN once";

static bool examine_module(struct doctor *doctor, struct token_address *address)
{
    struct error err = ERROR_INIT;
    if (!token_address_from_config(doctor->config, doctor->section, address, &err)) {
        doctor_error(doctor, DOCTOR_TOKEN, MARK_FAILURE, &err, "correct the [token] section");
        return false;
    }
    if (strchr(address->module, '/') != NULL && access(address->module, R_OK) != 0) {
        (void)error_errno(&err, FAIL_IO, "cannot read the module %s", address->module);
        doctor_error(doctor, DOCTOR_TOKEN, MARK_FAILURE, &err,
                     "install the PKCS#11 module of the token's maker, and correct [token] module");
        return false;
    }
    return true;
}

static bool examine_token(struct doctor *doctor, struct token **token)
{
    struct token_address address;
    struct token_facts facts;
    struct error err = ERROR_INIT;
    if (!examine_module(doctor, &address))
        return false;
    if (!token_open(&address, token, &err)) {
        doctor_error(doctor, DOCTOR_TOKEN, MARK_FAILURE, &err,
                     "`reseal token list` shows the tokens of the module");
        return false;
    }
    token_facts_get(*token, &facts);
    doctor_say(doctor, DOCTOR_TOKEN, MARK_OK, NULL, "module %s loads: %s", address.module,
               facts.library);
    doctor_say(doctor, DOCTOR_TOKEN, MARK_OK, NULL, "token %s found: serial %s, %s %s, firmware %s",
               facts.label, facts.serial, facts.manufacturer, facts.model, facts.firmware);
    return true;
}

static const char *pin_state_hint(enum pin_state state)
{
    switch (state) {
    case PIN_STATE_COUNT_LOW:
    case PIN_STATE_FINAL_TRY:
        return "correct what `pin` names first; then type the right PIN at `reseal token login`, "
               "which clears the count";
    case PIN_STATE_LOCKED:
        return "correct what `pin` names first; then let the security officer set the PIN anew, "
               "with "
               "the tool of the token's maker";
    case PIN_STATE_UNSET:
        return "let the security officer set a user PIN, with the tool of the token's maker";
    case PIN_STATE_EXPIRED:
        return "change the PIN with the tool of the token's maker, and put the new one where `pin` "
               "says";
    case PIN_STATE_OK:
        break;
    }
    return NULL;
}

static void examine_pin_state(struct doctor *doctor, const struct token *token)
{
    struct error err = ERROR_INIT;
    enum pin_state state;
    if (!token_pin_state(token, &state, &err)) {
        doctor_error(doctor, DOCTOR_PIN, MARK_FAILURE, &err,
                     "the token was there a moment ago: look at its connection");
        return;
    }
    if (!token_wants_login(token))
        doctor_say(doctor, DOCTOR_PIN, MARK_OK, NULL, "the token wants no login");
    else if (state == PIN_STATE_OK)
        doctor_say(doctor, DOCTOR_PIN, MARK_OK, NULL, "the token has no complaint about its PIN");
    else
        doctor_say(doctor, DOCTOR_PIN, MARK_FAILURE, pin_state_hint(state),
                   "the token says: %s; no login is tried in this state", pin_state_text(state));
}

static void judge_pin_length(struct doctor *doctor, const struct token *token,
                             const struct secret *pin)
{
    size_t min = 0, max = 0, len = secret_len(pin);
    token_pin_bounds(token, &min, &max);
    if (len < min || (max > 0 && len > max))
        doctor_say(doctor, DOCTOR_PIN, MARK_FAILURE,
                   "put the user PIN of this token there, alone and on one line",
                   "what [%s] pin names is not as long as this token's PINs (%zu to %zu bytes)",
                   doctor->section, min, max);
    else
        doctor_say(doctor, DOCTOR_PIN, MARK_OK, NULL,
                   "what [%s] pin names can be read, and its length is possible", doctor->section);
}

static const char *pin_source(const struct doctor *doctor)
{
    const char *option = invocation_option(doctor->invocation, "pin");
    return option != NULL ? option : config_text(doctor->config, doctor->section, "pin");
}

static void examine_pin_source(struct doctor *doctor, const struct token *token,
                               struct secret **pin)
{
    const char *source = pin_source(doctor);
    struct error err = ERROR_INIT;
    if (pin_is_for_pad(token, source)) {
        doctor_say(doctor, DOCTOR_PIN, MARK_OK, NULL, "the token has a pad of its own for its PIN");
    } else if (source == NULL && !token_wants_login(token)) {
        return;
    } else if (source == NULL) {
        doctor_say(doctor, DOCTOR_PIN, MARK_FAILURE, "set it to file:PATH or credential:NAME",
                   "[%s] pin is not set: the connector cannot log in", doctor->section);
    } else if (invocation_option(doctor->invocation, "pin") == NULL && pin_is_elsewhere(source)) {
        doctor_say(doctor, DOCTOR_PIN, MARK_WARNING, "give it to doctor with --pin SOURCE",
                   "[%s] pin is %s, which only the service itself can read", doctor->section,
                   source);
    } else if (strcmp(source, "prompt") == 0 && !doctor->login) {
        doctor_say(doctor, DOCTOR_PIN, MARK_WARNING, login_hint,
                   "the PIN is asked for when needed");
    } else if (!secret_read(source, PIN_PROMPT, PIN_MAX, pin, &err)) {
        doctor_error(doctor, DOCTOR_PIN, MARK_FAILURE, &err,
                     "correct `pin` of the token's section");
    } else {
        judge_pin_length(doctor, token, *pin);
    }
}

static void examine_keys(struct doctor *doctor, struct session *session)
{
    struct key_finding *finding = calloc(1, sizeof *finding);
    struct error err = ERROR_INIT;
    if (finding == NULL) {
        (void)error_memory(&err);
        doctor_error(doctor, DOCTOR_KEY, MARK_FAILURE, &err, "free memory, and try again");
        return;
    }
    for (size_t i = 0; i < config_list_count(doctor->config, doctor->section, "key"); i++) {
        const char *name = config_list_at(doctor->config, doctor->section, "key", i);
        if (token_examine_key(session, name, finding, &err))
            doctor_key(doctor, finding);
        else
            doctor_error(doctor, DOCTOR_KEY, MARK_FAILURE, &err,
                         "`reseal key list` shows the keys of the token");
    }
    free(finding);
}

static void log_in(struct doctor *doctor, struct token *token, const struct secret *pin)
{
    struct session *session = NULL;
    struct error err = ERROR_INIT;
    if (pin == NULL && token_wants_login(token))
        fprintf(stderr, PIN_PAD_NOTE "\n");
    if (!token_login(token, pin, &err)) {
        doctor_error(doctor, DOCTOR_PIN, MARK_FAILURE, &err, "correct the source of the PIN");
        return;
    }
    if (token_wants_login(token))
        doctor_say(doctor, DOCTOR_PIN, MARK_OK, NULL, "the token takes the PIN");
    if (session_open(token, SESSION_READ_ONLY, &session, &err))
        examine_keys(doctor, session);
    else
        doctor_error(doctor, DOCTOR_TOKEN, MARK_FAILURE, &err,
                     "the token may be out of sessions: end other programs that use it");
    session_close(&session);
}

bool doctor_has_token(const struct config *config, const char *section)
{
    return config_given(config, section, "module") || config_given(config, section, "uri");
}

static void examine_section(struct doctor *doctor)
{
    struct token *token = NULL;
    struct secret *pin = NULL;
    if (config_list_count(doctor->config, doctor->section, "key") == 0)
        doctor_say(doctor, DOCTOR_KEY, MARK_FAILURE,
                   "make a key by `reseal ceremony run PLAN` and name it there",
                   "[%s] key names no sealing key", doctor->section);
    if (examine_token(doctor, &token)) {
        examine_pin_state(doctor, token);
        examine_pin_source(doctor, token, &pin);
    }
    bool proved = doctor_connector_token(doctor);
    if (!proved && doctor->login && pin != NULL)
        log_in(doctor, token, pin);
    else if (!proved && doctor->login && token != NULL &&
             (pin_is_for_pad(token, pin_source(doctor)) || !token_wants_login(token)))
        log_in(doctor, token, NULL);
    else if (!proved && token != NULL)
        doctor_say(doctor, DOCTOR_KEY, MARK_WARNING,
                   doctor->login ? "see to the PIN first, above" : login_hint,
                   "PIN, keys and custody were not tried");
    secret_free(&pin);
    token_close(&token);
}

/* One PIN for several tokens would spend a try of each that it does not fit. */
static bool choose_tokens(struct doctor *doctor, const char **only)
{
    const char *name = invocation_option(doctor->invocation, "token");
    struct error err = ERROR_INIT;
    *only = NULL;
    if (name == NULL && invocation_option(doctor->invocation, "pin") == NULL)
        return true;
    if (settings_token_find(doctor->config, name, only, &err))
        return true;
    doctor_error(doctor, DOCTOR_TOKEN, MARK_FAILURE, &err, NULL);
    return false;
}

void doctor_token(struct doctor *doctor)
{
    const char *only, *section;
    size_t count = settings_token_count(doctor->config);
    bool asked = false;
    if (!choose_tokens(doctor, &only))
        return;
    for (size_t i = 0; (section = settings_token_section(doctor->config, i)) != NULL; i++) {
        if ((only != NULL && only != section) ||
            (count == 1 && !doctor_has_token(doctor->config, section)))
            continue;
        if (!asked)
            doctor_connector(doctor);
        asked = true;
        doctor->section = section;
        doctor->about = count > 1 ? settings_token_name(section) : NULL;
        examine_section(doctor);
        doctor->about = NULL;
    }
    json_free(&doctor->status);
}
