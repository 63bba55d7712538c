/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal config check|show`. */
#include <string.h>
#include "command.h"
#include "reseal/file.h"
#include "reseal/payload.h"

#define FILE_MAX 65536

static void write_value(struct json_writer *json, const struct config *config, const char *section,
                        const struct config_key *row)
{
    const char *text = config_text(config, section, row->name);
    if (text == NULL) {
        json_put_null(json, row->name);
    } else if (row->type == CONFIG_NUMBER) {
        json_put_integer(json, row->name, config_number(config, section, row->name));
    } else if (row->type == CONFIG_FLAG) {
        json_put_bool(json, row->name, config_flag(config, section, row->name));
    } else if (row->type == CONFIG_LIST) {
        json_array(json, row->name);
        for (size_t i = 0; i < config_list_count(config, section, row->name); i++)
            json_put_text(json, NULL, config_list_at(config, section, row->name, i));
        json_array_end(json);
    } else {
        json_put_text(json, row->name, text);
    }
}

static void write_sections(struct json_writer *json, const struct config *config)
{
    const char *section;
    for (size_t i = 0; (section = config_section_at(config, i)) != NULL; i++) {
        size_t count = 0;
        const struct config_key *rows = config_section_rows(config, section, &count);
        json_object(json, section);
        for (size_t j = 0; j < count; j++)
            write_value(json, config, section, &rows[j]);
        json_object_end(json);
    }
}

/* The next section, in the table's order, of which the file gives a value; NULL: no more. */
static const char *next_section(const struct config *config, size_t *at)
{
    const char *section;
    while ((section = config_section_at(config, *at)) != NULL) {
        (*at)++;
        if (config_section_given(config, section))
            return section;
    }
    return NULL;
}

/* People take the plan of a ceremony for a configuration: both are INI, and both have [token]. */
static bool is_plan(const char *path)
{
    struct buf text = BUF_INIT(FILE_MAX);
    struct error ignored = ERROR_INIT;
    bool found = false;
    if (path != NULL && strcmp(path, "-") != 0 && file_read(path, &text, &ignored)) {
        const char *at = buf_text(&text);
        found = strncmp(at, "[ceremony]", 10) == 0 || strstr(at, "\n[ceremony]") != NULL;
    }
    buf_free(&text);
    return found;
}

static bool load(const struct invocation *invocation, const struct config **out, struct error *err)
{
    const char *path = NULL;
    if (invocation_config_file(invocation, out, &path, err))
        return true;
    if (err->kind != FAIL_USAGE || !is_plan(path))
        return false;
    error_set(err, FAIL_USAGE, "%s: this is a ceremony plan, not a configuration", path);
    return error_hint(err, "use: reseal ceremony run %s", path);
}

static bool print_check_json(const struct config *config, const struct error *fault,
                             struct error *err)
{
    struct json_writer *json = NULL;
    size_t at = 0;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    if (config != NULL) {
        json_put_text(json, "path", config_path(config));
        json_put_bool(json, "ok", true);
        json_array(json, "sections");
        for (const char *name; (name = next_section(config, &at)) != NULL;)
            json_put_text(json, NULL, name);
        json_array_end(json);
    } else {
        json_put_bool(json, "ok", false);
        json_put_text(json, "error", fault->text);
        json_put_text(json, "hint", fault->hint[0] != '\0' ? fault->hint : NULL);
    }
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static void print_check(const struct config *config)
{
    size_t at = 0;
    size_t count = 0;
    printf("%s: ok", config_path(config));
    for (const char *name; (name = next_section(config, &at)) != NULL; count++)
        printf("%s[%s]", count == 0 ? "; it gives " : ", ", name);
    printf("\n");
}

static bool run_check(const struct invocation *invocation, struct error *err)
{
    const struct config *config;
    size_t at = 0;
    struct payload_options payload;
    if (!load(invocation, &config, err) || !payload_options_read(config, &payload, err)) {
        struct error fault = *err;
        if (invocation_json(invocation) && !print_check_json(NULL, &fault, err))
            return false;
        *err = fault;
        return false; /* told on standard error as well, and by the exit status */
    }
    if (next_section(config, &at) == NULL)
        print_warning("%s configures nothing", config_path(config));
    if (invocation_json(invocation))
        return print_check_json(config, NULL, err);
    print_check(config);
    return true;
}

static bool print_config_json(const struct config *config, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "path", config_path(config));
    write_sections(json, config);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool run_show(const struct invocation *invocation, struct error *err)
{
    const struct config *config;
    if (!load(invocation, &config, err))
        return false;
    if (invocation_json(invocation))
        return print_config_json(config, err);
    config_print(config, stdout);
    return true;
}

const struct command config_commands[] = {
    {"config", "check", "[FILE]", "check the configuration file", NULL, 0, 1, run_check},
    {"config", "show", "[FILE]", "print the effective configuration with its defaults", NULL, 0, 1,
     run_show},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
