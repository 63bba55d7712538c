/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration and plan files: INI (read by inih), checked against a table of keywords.
 *
 * An unknown section or key, a key given twice, or a value out of its range is an error with
 * file:line and, for a misspelt name, the nearest known one. Secrets are never in such a file: a
 * CONFIG_SECRET value says where the secret is (reseal/secret.h, secret_read).
 */
#ifndef RESEAL_CONFIG_H
#define RESEAL_CONFIG_H

#include <stdio.h>
#include "reseal/buf.h"

enum config_type {
    CONFIG_TEXT,   /* min..max bytes (max 0: 1024) */
    CONFIG_PATH,   /* made absolute: relative to the folder of the file */
    CONFIG_NUMBER, /* whole number, min..max; or one of `choices` where given, which is 0 */
    CONFIG_CHOICE, /* one of `choices`, "a|b|c" */
    CONFIG_FLAG,   /* yes or no */
    CONFIG_LIST,   /* texts separated by commas, each one of `choices` where given */
    CONFIG_SECRET, /* a secret source; a file: path is made absolute */
};

struct config_key {
    const char *section;
    const char *name;
    enum config_type type;
    long min;             /* NUMBER: smallest value; TEXT: shortest length */
    long max;             /* NUMBER: largest value; TEXT: longest length */
    const char *choices;  /* CHOICE, LIST, NUMBER */
    const char *fallback; /* the value where the file has none; NULL: none */
    const char *help;     /* one line for `config show` and the manual */
};

struct config;

/* `table` ends with a row whose section is NULL and outlives the configuration. */
bool config_load(const char *path, const struct config_key *table, struct config **out,
                 struct error *err) MUST_USE;
void config_free(struct config **config);
const char *config_path(const struct config *config) MUST_USE;

/* Values by section and name; the name must be in the table (anything else is a bug and aborts).
 * NULL, or 0, where neither the file nor the table gives a value. Owned by the configuration. */
const char *config_text(const struct config *config, const char *section,
                        const char *name) MUST_USE;
long config_number(const struct config *config, const char *section, const char *name) MUST_USE;
bool config_flag(const struct config *config, const char *section, const char *name) MUST_USE;
size_t config_list_count(const struct config *config, const char *section,
                         const char *name) MUST_USE;
const char *config_list_at(const struct config *config, const char *section, const char *name,
                           size_t index) MUST_USE;
/* True where the file itself gives the value. */
bool config_given(const struct config *config, const char *section, const char *name) MUST_USE;
/* config_text, or FAIL_USAGE that names file, section and key where there is no value. */
bool config_want(const struct config *config, const char *section, const char *name,
                 const char **out, struct error *err) MUST_USE;
/* Writes the effective configuration with defaults and help as an INI file. */
void config_print(const struct config *config, FILE *out);

#endif
