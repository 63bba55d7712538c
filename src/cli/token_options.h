/* SPDX-License-Identifier: Apache-2.0 */
/* Which token a command works on: the options that every token and key command has. */
#ifndef RESEAL_CLI_TOKEN_OPTIONS_H
#define RESEAL_CLI_TOKEN_OPTIONS_H

#include "command.h"
#include "reseal/token.h"

#define PIN_PROMPT "User PIN of the token"

/* Rows for a command's option list. */
#define TOKEN_OPTIONS                                                                              \
    {"token", "NAME", "the token of the section [token NAME] of the configuration"},               \
        {"module", "PATH", "PKCS#11 module, instead of what the configuration names"},             \
        {"init-args", "TEXT", "library parameters for the module (NSS)"},                          \
        {"uri", "URI", "RFC 7512 URI, instead of what the configuration names"},                   \
        {"label", "TEXT", "label of the token"},                                                   \
    {                                                                                              \
        "serial", "TEXT", "serial number of the token"                                             \
    }
#define PIN_OPTION                                                                                 \
    {                                                                                              \
        "pin", "SOURCE", "where the user PIN is: file:PATH, fd:N, credential:NAME or prompt"       \
    }

/* The section of the configuration: that of --token, or the only one. */
bool token_options_section(const struct invocation *invocation, const struct config *config,
                           const char **out, struct error *err) MUST_USE;

/* From --module or --uri where given, otherwise from the configuration; --label and --serial narrow
 * either. */
bool token_options_address(const struct invocation *invocation, struct token_address *out,
                           struct error *err) MUST_USE;

/* For an error that came from the token: a module, a token or a key that is not there is trouble of
 * the token too, with its exit status. Returns false. */
bool token_options_fault(struct error *err);

/* From --pin; otherwise, where the configuration names the token, from its `pin`; otherwise from
 * the terminal. */
bool token_options_pin(const struct invocation *invocation, struct secret **out,
                       struct error *err) MUST_USE;

/* A descriptor or a credential belongs to the service that gets it; here is nothing to read. */
bool pin_is_elsewhere(const char *source) MUST_USE;

#define PIN_PAD_NOTE "type the PIN on the pad of the token"
/* True where the PIN is not for us to ask for: no source is named (or `prompt`), and the token has
 * a pad of its own. */
bool pin_is_for_pad(const struct token *token, const char *source) MUST_USE;

/* Logs in at the token's own pad, or with the PIN of token_options_pin. */
bool token_options_login(const struct invocation *invocation, struct token *token,
                         struct error *err) MUST_USE;

#endif
