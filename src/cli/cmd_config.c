/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal config check|show`. */
#include <string.h>
#include "command.h"

static void write_value(struct json_writer *json, const struct config *config,
                        const struct config_key *row)
{
    const char *text = config_text(config, row->section, row->name);
    if (text == NULL) {
        json_put_null(json, row->name);
    } else if (row->type == CONFIG_NUMBER) {
        json_put_integer(json, row->name, config_number(config, row->section, row->name));
    } else if (row->type == CONFIG_FLAG) {
        json_put_bool(json, row->name, config_flag(config, row->section, row->name));
    } else if (row->type == CONFIG_LIST) {
        json_array(json, row->name);
        for (size_t i = 0; i < config_list_count(config, row->section, row->name); i++)
            json_put_text(json, NULL, config_list_at(config, row->section, row->name, i));
        json_array_end(json);
    } else {
        json_put_text(json, row->name, text);
    }
}

/* The rows of a section stand together in the table. */
static void write_sections(struct json_writer *json, const struct config *config)
{
    const char *section = NULL;
    for (const struct config_key *row = reseal_settings; row->section != NULL; row++) {
        if (section == NULL || strcmp(section, row->section) != 0) {
            if (section != NULL)
                json_object_end(json);
            json_object(json, row->section);
        }
        section = row->section;
        write_value(json, config, row);
    }
    if (section != NULL)
        json_object_end(json);
}

static bool print_config_json(const struct config *config, bool sections, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "path", config_path(config));
    if (sections)
        write_sections(json, config);
    else
        json_put_bool(json, "ok", true);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool run_check(const struct invocation *invocation, struct error *err)
{
    const struct config *config;
    if (!invocation_config(invocation, &config, err))
        return false;
    if (invocation_json(invocation))
        return print_config_json(config, false, err);
    printf("%s: ok\n", config_path(config));
    return true;
}

static bool run_show(const struct invocation *invocation, struct error *err)
{
    const struct config *config;
    if (!invocation_config(invocation, &config, err))
        return false;
    if (invocation_json(invocation))
        return print_config_json(config, true, err);
    config_print(config, stdout);
    return true;
}

const struct command config_commands[] = {
    {"config", "check", "", "check the configuration file", NULL, 0, 0, run_check},
    {"config", "show", "", "print the effective configuration with its defaults", NULL, 0, 0,
     run_show},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
