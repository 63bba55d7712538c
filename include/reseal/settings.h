/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file that all programs share: one table, one file, each program reads its
 * sections.
 */
#ifndef RESEAL_SETTINGS_H
#define RESEAL_SETTINGS_H

#include "reseal/config.h"

#define SETTINGS_DEFAULT_PATH "/etc/reseal/reseal.conf"
#define SETTINGS_HUB_PATH     "/etc/reseal/hub.conf"

extern const struct config_key reseal_settings[];

/* Loads `path`, or SETTINGS_DEFAULT_PATH where `path` is NULL, against the table. */
bool settings_load(const char *path, struct config **out, struct error *err) MUST_USE;
/* The same for the hub and for what tends its files: where `path` is NULL and SETTINGS_HUB_PATH is
 * there, that one, readable or not. */
bool settings_load_hub(const char *path, struct config **out, struct error *err) MUST_USE;

/*
 * The tokens: section [token] is the token "default", section [token NAME] the token NAME. A file
 * that gives none of them has one token, of which nothing is known.
 */
#define TOKENS_MAX     CONFIG_FAMILY_MAX
#define TOKEN_NAME_MAX CONFIG_MEMBER_MAX

size_t settings_token_count(const struct config *config) MUST_USE;
/* "token" or "token NAME", for config_text and its like. */
const char *settings_token_section(const struct config *config, size_t index) MUST_USE;
/* "default" or NAME. */
const char *settings_token_name(const char *section) MUST_USE;
/* The section of the token `name`; NULL means the only one. FAIL_USAGE tells the names. */
bool settings_token_find(const struct config *config, const char *name, const char **section,
                         struct error *err) MUST_USE;
/* For a PIN that reseald, shut in, could read. */
#define EXPOSED_PIN_HINT                                                                           \
    "keep it apart from the queue's credentials and certificates and from /etc, best as a "        \
    "credential of the service manager: pin = credential:NAME"
/* Sessions on that token, each with a thread of its own. */
unsigned settings_workers(const struct config *config, const char *section) MUST_USE;

/* The path of reseal-hsm: as [connector] helper says; otherwise the installed one, or the one
 * beside this program (a build folder). Whether it can be executed is seen when it is. */
bool settings_helper(const struct config *config, char *out, size_t size,
                     struct error *err) MUST_USE;

#endif
