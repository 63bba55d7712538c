/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration and plan files: INI (read by inih), checked against a table of keywords.
 *
 * An unknown section or key, a key given twice, or a value out of its range is an error with
 * file:line and, for a misspelt name, the nearest known one. Secrets are never in such a file: a
 * CONFIG_SECRET value says where the secret is (reseal/secret.h, secret_read).
 *
 * A section whose name in the table ends with CONFIG_FAMILY is a family: besides [section] the file
 * may have sections [section MEMBER] with the same keys, each with values of its own. MEMBER is
 * letters, digits and dashes.
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

#define CONFIG_FAMILY      " *"
#define CONFIG_FAMILY_MAX  8  /* sections of one family that give a value */
#define CONFIG_MEMBER_MAX  32 /* bytes of a member's name */
#define CONFIG_SECTION_MAX 64 /* bytes of a section's name */
/* By this name a family's first section, [section], is known beside [section MEMBER]. */
#define CONFIG_MEMBER_DEFAULT "default"

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
/* The same from a text that was read before. `path` names it in errors, and is what the relative
 * paths in it are relative to; no file is opened. */
bool config_parse(const char *path, struct bytes text, const struct config_key *table,
                  struct config **out, struct error *err) MUST_USE;
void config_free(struct config **config);
const char *config_path(const struct config *config) MUST_USE;

/* Values by section ("token", "token MEMBER") and name; the name must be in the table (anything
 * else is a bug and aborts). NULL, or 0, where neither the file nor the table gives a value. Owned
 * by the configuration. */
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
/* The sections in the table's order, the members of a family in the file's: NULL after the last.
 * The first section of a family, "token", is left out where the file gives members alone. */
const char *config_section_at(const struct config *config, size_t index) MUST_USE;
/* True where the file gives a value of the section. */
bool config_section_given(const struct config *config, const char *section) MUST_USE;
/* The section's rows of the table; NULL where there is no such section. */
const struct config_key *config_section_rows(const struct config *config, const char *section,
                                             size_t *count) MUST_USE;
/* config_text, or FAIL_USAGE that names file, section and key where there is no value. */
bool config_want(const struct config *config, const char *section, const char *name,
                 const char **out, struct error *err) MUST_USE;
/* Writes the effective configuration with defaults and help as an INI file. */
void config_print(const struct config *config, FILE *out);

#endif
