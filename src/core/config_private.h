/* SPDX-License-Identifier: Apache-2.0 */
/* What is behind `struct config`, for the files src/core/config*.c alone. */
#ifndef RESEAL_CORE_CONFIG_PRIVATE_H
#define RESEAL_CORE_CONFIG_PRIVATE_H

#include "reseal/config.h"

struct config_value {
    char *text;   /* from the file; NULL where the table's fallback counts */
    int line;     /* where it was given */
    char **items; /* LIST, split */
    size_t count;
    long number;
};

struct config_section {
    char name[CONFIG_SECTION_MAX + 1];
    const struct config_key *rows; /* they stand together in the table */
    size_t count;
    bool family;                 /* the table's section is one */
    bool given;                  /* the file gives a value */
    struct config_value *values; /* one for each row */
};

struct config {
    char *path;
    struct config_section *sections; /* in the table's order; members behind the first */
    size_t count;
};

/* NULL where there is none of that name. */
struct config_section *config_section_find(const struct config *config, const char *name) MUST_USE;
/* The section of that name, which becomes one of its family at its first mention. False, and `err`
 * as it was, where the table has no such section. */
bool config_section_want(struct config *config, const char *name, struct config_section **out,
                         struct error *err) MUST_USE;
/* True where both are of one family, or the same section. */
bool config_section_akin(const struct config_section *a, const struct config_section *b) MUST_USE;
/* Makes the first section of each group of rows. */
bool config_sections_make(struct config *config, const struct config_key *table,
                          struct error *err) MUST_USE;
void config_section_clear(struct config_section *section);

/* The value of that name, and its row; NULL where the section has none. */
struct config_value *config_value_find(const struct config_section *section, const char *name,
                                       const struct config_key **row) MUST_USE;
/* Checks `text`, which the file (where value->text is set) or the table gives, by the row's type.
 */
bool config_value_check(const struct config *config, const struct config_key *row,
                        struct config_value *value, const char *text, struct error *err) MUST_USE;

/* Errors that name the nearest known name; always false. */
bool config_section_unknown(const struct config *config, const char *section, struct error *err);
bool config_key_unknown(const struct config_section *section, const char *name, struct error *err);

#endif
