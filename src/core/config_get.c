/* SPDX-License-Identifier: Apache-2.0 */
/* A loaded configuration as the programs ask for it, and as it is shown. */
#include "config_private.h"

#include <stdlib.h>

const char *config_path(const struct config *config)
{
    return config->path;
}

/* A name that is not in the table, or a section that is not in the file, is a bug of the caller. */
static const struct config_value *value_of(const struct config *config, const char *section_name,
                                           const char *name, const struct config_key **row)
{
    const struct config_section *section = config_section_find(config, section_name);
    const struct config_value *value =
        section != NULL ? config_value_find(section, name, row) : NULL;
    if (value == NULL)
        abort();
    return value;
}

const char *config_text(const struct config *config, const char *section, const char *name)
{
    const struct config_key *row;
    const struct config_value *value = value_of(config, section, name, &row);
    return value->text != NULL ? value->text : row->fallback;
}

long config_number(const struct config *config, const char *section, const char *name)
{
    const struct config_key *row;
    return value_of(config, section, name, &row)->number;
}

bool config_flag(const struct config *config, const char *section, const char *name)
{
    return config_number(config, section, name) != 0;
}

size_t config_list_count(const struct config *config, const char *section, const char *name)
{
    const struct config_key *row;
    return value_of(config, section, name, &row)->count;
}

const char *config_list_at(const struct config *config, const char *section, const char *name,
                           size_t index)
{
    const struct config_key *row;
    const struct config_value *value = value_of(config, section, name, &row);
    return index < value->count ? value->items[index] : NULL;
}

bool config_given(const struct config *config, const char *section, const char *name)
{
    const struct config_key *row;
    return value_of(config, section, name, &row)->text != NULL;
}

static bool is_left_out(const struct config *config, size_t at)
{
    const struct config_section *section = &config->sections[at];
    bool first = at == 0 || !config_section_akin(section, section - 1);
    if (!section->family || section->given)
        return false;
    if (!first)
        return true; /* [token NAME] without any key is no token */
    for (size_t i = at + 1; i < config->count && config_section_akin(section, &config->sections[i]);
         i++) {
        if (config->sections[i].given)
            return true;
    }
    return false;
}

const char *config_section_at(const struct config *config, size_t index)
{
    for (size_t i = 0, shown = 0; i < config->count; i++) {
        if (!is_left_out(config, i) && shown++ == index)
            return config->sections[i].name;
    }
    return NULL;
}

bool config_section_given(const struct config *config, const char *section)
{
    const struct config_section *found = config_section_find(config, section);
    return found != NULL && found->given;
}

const struct config_key *config_section_rows(const struct config *config, const char *section,
                                             size_t *count)
{
    const struct config_section *found = config_section_find(config, section);
    *count = found != NULL ? found->count : 0;
    return found != NULL ? found->rows : NULL;
}

bool config_want(const struct config *config, const char *section, const char *name,
                 const char **out, struct error *err)
{
    const struct config_key *row;
    const struct config_value *value = value_of(config, section, name, &row);
    *out = value->text != NULL ? value->text : row->fallback;
    if (*out != NULL)
        return true;
    error_set(err, FAIL_USAGE, "%s: section [%s] has no \"%s\"", config->path, section, name);
    return error_hint(err, "%s", row->help);
}

static void print_section(const struct config_section *section, FILE *out)
{
    fprintf(out, "[%s]\n", section->name);
    for (size_t i = 0; i < section->count; i++) {
        const struct config_key *row = &section->rows[i];
        const struct config_value *value = &section->values[i];
        const char *text = value->text != NULL ? value->text : row->fallback;
        fprintf(out, "; %s\n", row->help);
        fprintf(out, "%s%s = %s\n", text == NULL ? "; " : "", row->name, text != NULL ? text : "");
    }
}

void config_print(const struct config *config, FILE *out)
{
    for (size_t i = 0, shown = 0; i < config->count; i++) {
        if (is_left_out(config, i))
            continue;
        if (shown++ > 0)
            fputc('\n', out);
        print_section(&config->sections[i], out);
    }
}
