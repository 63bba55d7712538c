/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal doctor`: one look at everything that this machine needs, and what to do about it. */
#include <string.h>
#include "doctor.h"
#include "token_options.h"

/* What this machine is, by what its configuration gives. */
static void list_roles(const struct config *config, char *out, size_t size)
{
    static const struct {
        const char *section, *name, *role;
    } roles[] = {
        {"connector", "device_ca", "connector"},
        {"queue", "credentials", "queue"},
        {"hub", "database", "hub"},
        {"client", "public_key", "importer"},
        {"client", "api_token", "client"},
    };
    size_t tokens = 0, used = 0;
    for (size_t i = 0; i < settings_token_count(config); i++)
        tokens += doctor_has_token(config, settings_token_section(config, i));
    out[0] = '\0';
    if (tokens == 1)
        used += (size_t)snprintf(out, size, "token");
    else if (tokens > 1)
        used += (size_t)snprintf(out, size, "%zu tokens", tokens);
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (config_given(config, roles[i].section, roles[i].name) && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "",
                                     roles[i].role);
    }
}

static void examine_config(struct doctor *doctor)
{
    char text[128] = "";
    list_roles(doctor->config, text, sizeof text);
    if (text[0] != '\0')
        doctor_say(doctor, DOCTOR_CONFIG, MARK_OK, NULL, "%s loads; it configures: %s",
                   config_path(doctor->config), text);
    else
        doctor_say(
            doctor, DOCTOR_CONFIG, MARK_WARNING, "`reseal config show` lists what can be set",
            "%s loads, but configures nothing that could be examined", config_path(doctor->config));
}

static void examine_all(struct doctor *doctor)
{
    struct error err = ERROR_INIT;
    if (!invocation_config(doctor->invocation, &doctor->config, &err)) {
        doctor_error(doctor, DOCTOR_CONFIG, MARK_FAILURE, &err, NULL);
        return;
    }
    examine_config(doctor);
    doctor_access(doctor);
    doctor_token(doctor);
    doctor_devices(doctor);
    doctor_queue(doctor);
    doctor_client(doctor);
}

static size_t count_failures(const struct doctor *doctor)
{
    size_t count = 0;
    for (size_t i = 0; i < DOCTOR_AREAS; i++)
        count += doctor->failures[i];
    return count;
}

static bool finish_json(struct doctor *doctor, struct error *err)
{
    json_array_end(doctor->json);
    json_put_integer(doctor->json, "failures", (int64_t)count_failures(doctor));
    json_put_integer(doctor->json, "warnings", (int64_t)doctor->warnings);
    json_object_end(doctor->json);
    bool ok = print_json(doctor->json, err);
    json_writer_free(&doctor->json);
    return ok;
}

static bool run_doctor(const struct invocation *invocation, struct error *err)
{
    struct doctor doctor = {.invocation = invocation,
                            .login = invocation_flag(invocation, "login")};
    bool ok = true;
    if (invocation_json(invocation)) {
        if (!json_writer_new(true, &doctor.json, err))
            return false;
        json_object(doctor.json, NULL);
        json_array(doctor.json, "findings");
    }
    examine_all(&doctor);
    if (doctor.json != NULL)
        ok = finish_json(&doctor, err);
    else
        printf("%zu failure%s, %zu warning%s\n", count_failures(&doctor),
               count_failures(&doctor) == 1 ? "" : "s", doctor.warnings,
               doctor.warnings == 1 ? "" : "s");
    invocation_set_status(invocation, doctor_status(&doctor));
    return ok;
}

static const struct command_option doctor_options[] = {
    {"login", NULL, "try the PIN once, and examine the keys (not needed while reseald runs)"},
    {"token", "NAME", "of several tokens, this one alone"},
    PIN_OPTION,
    {NULL, NULL, NULL}};

const struct command doctor_commands[] = {
    {"doctor", "", "", "examine all that a delivery needs, and say what to do", doctor_options, 0,
     0, run_doctor},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
