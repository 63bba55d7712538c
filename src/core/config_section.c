/* SPDX-License-Identifier: Apache-2.0 */
/* The sections of a configuration: those of the table, and members of its families by mention. */
#include "config_private.h"

#include <stdlib.h>
#include <string.h>
#include "reseal/text.h"

struct config_section *config_section_find(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->count; i++) {
        if (strcmp(config->sections[i].name, name) == 0)
            return &config->sections[i];
    }
    return NULL;
}

/* The family that [name] would be a member of; *member becomes the part behind the blank. */
static struct config_section *find_family(const struct config *config, const char *name,
                                          const char **member)
{
    char first[CONFIG_SECTION_MAX + 1];
    const char *blank = strchr(name, ' ');
    if (blank == NULL || (size_t)(blank - name) >= sizeof first)
        return NULL;
    snprintf(first, sizeof first, "%.*s", (int)(blank - name), name);
    struct config_section *section = config_section_find(config, first);
    *member = blank + 1;
    return section != NULL && section->family ? section : NULL;
}

static bool member_check(const struct config_section *family, const char *member, struct error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    size_t len = strlen(member);
    if (len > 0 && len <= CONFIG_MEMBER_MAX && strspn(member, letters) == len &&
        strcmp(member, CONFIG_MEMBER_DEFAULT) != 0)
        return true;
    if (strcmp(member, CONFIG_MEMBER_DEFAULT) == 0)
        return error_set(err, FAIL_USAGE, "[%s %s] is written [%s]", family->name, member,
                         family->name);
    return error_set(err, FAIL_USAGE,
                     "the name in [%s NAME] must be 1 to %d letters, digits and dashes",
                     family->name, CONFIG_MEMBER_MAX);
}

static bool section_new(struct config *config, size_t at, const char *name,
                        const struct config_key *rows, size_t count, struct error *err)
{
    struct config_value *values = calloc(count, sizeof *values);
    struct config_section *grown =
        reallocarray(config->sections, config->count + 1, sizeof *config->sections);
    if (grown != NULL)
        config->sections = grown;
    if (values == NULL || grown == NULL) {
        free(values);
        return error_memory(err);
    }
    memmove(&grown[at + 1], &grown[at], (config->count - at) * sizeof *grown);
    config->count++;
    grown[at] = (struct config_section){.rows = rows, .count = count, .values = values};
    snprintf(grown[at].name, sizeof grown[at].name, "%s", name);
    return true;
}

bool config_section_akin(const struct config_section *a, const struct config_section *b)
{
    return a->rows == b->rows;
}

bool config_section_want(struct config *config, const char *name, struct config_section **out,
                         struct error *err)
{
    const char *member = NULL;
    *out = config_section_find(config, name);
    if (*out != NULL)
        return true;
    const struct config_section *family = find_family(config, name, &member);
    if (family == NULL || !member_check(family, member, err))
        return false;
    size_t at = (size_t)(family - config->sections), members = 1;
    while (at + members < config->count &&
           config_section_akin(family, &config->sections[at + members]))
        members++;
    if (!section_new(config, at + members, name, family->rows, family->count, err))
        return false;
    *out = &config->sections[at + members];
    (*out)->family = true;
    return true;
}

bool config_section_unknown(const struct config *config, const char *section, struct error *err)
{
    const char *names[64], *blank = strchr(section, ' ');
    char first[CONFIG_SECTION_MAX + 1];
    size_t count = 0;
    snprintf(first, sizeof first, "%.*s",
             blank != NULL ? (int)(blank - section) : CONFIG_SECTION_MAX, section);
    for (size_t i = 0; i < config->count && count + 1 < ARRAY_LEN(names); i++)
        names[count++] = config->sections[i].name;
    names[count] = NULL;
    const char *nearest = text_nearest(first, names);
    error_set(err, FAIL_USAGE, "unknown section [%s]", section);
    if (nearest == NULL)
        return false;
    const struct config_section *found = config_section_find(config, nearest);
    bool member = blank != NULL && found != NULL && found->family;
    return error_hint(err, "did you mean [%s%s]?", nearest, member ? blank : "");
}

bool config_key_unknown(const struct config_section *section, const char *name, struct error *err)
{
    const char *names[64];
    size_t count = 0;
    for (size_t i = 0; i < section->count && count + 1 < ARRAY_LEN(names); i++)
        names[count++] = section->rows[i].name;
    names[count] = NULL;
    const char *nearest = text_nearest(name, names);
    error_set(err, FAIL_USAGE, "unknown key \"%s\" in section [%s]", name, section->name);
    return nearest != NULL ? error_hint(err, "did you mean \"%s\"?", nearest) : false;
}

struct config_value *config_value_find(const struct config_section *section, const char *name,
                                       const struct config_key **row)
{
    for (size_t i = 0; i < section->count; i++) {
        *row = &section->rows[i];
        if (strcmp((*row)->name, name) == 0)
            return &section->values[i];
    }
    return NULL;
}

bool config_sections_make(struct config *config, const struct config_key *table, struct error *err)
{
    for (size_t i = 0, count; table[i].section != NULL; i += count) {
        char name[CONFIG_SECTION_MAX + 1];
        size_t len = strlen(table[i].section), tail = strlen(CONFIG_FAMILY);
        bool family = len > tail && strcmp(table[i].section + len - tail, CONFIG_FAMILY) == 0;
        snprintf(name, sizeof name, "%.*s", (int)(family ? len - tail : len), table[i].section);
        for (count = 1; table[i + count].section != NULL; count++) {
            if (strcmp(table[i + count].section, table[i].section) != 0)
                break;
        }
        if (!section_new(config, config->count, name, &table[i], count, err))
            return false;
        config->sections[config->count - 1].family = family;
    }
    return true;
}

void config_section_clear(struct config_section *section)
{
    for (size_t i = 0; i < section->count; i++) {
        struct config_value *value = &section->values[i];
        for (size_t j = 0; j < value->count; j++)
            free(value->items[j]);
        free(value->items);
        free(value->text);
    }
    free(section->values);
}
