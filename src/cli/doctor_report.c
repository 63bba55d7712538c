/* SPDX-License-Identifier: Apache-2.0 */
/* Findings: printed as they come or gathered as JSON, and counted for the exit status. */
#include <stdarg.h>
#include <string.h>
#include "doctor.h"

static const char *const area_names[DOCTOR_AREAS] = {
    [DOCTOR_CONFIG] = "config",       [DOCTOR_TOKEN] = "token",   [DOCTOR_PIN] = "pin",
    [DOCTOR_CONNECTOR] = "connector", [DOCTOR_KEY] = "key",       [DOCTOR_DEVICES] = "devices",
    [DOCTOR_QUEUE] = "queue",         [DOCTOR_CLIENT] = "client",
};
static const char *const mark_names[] = {"ok", "warning", "failure"};

static void print_finding(enum doctor_area area, enum mark mark, const char *hint, const char *text)
{
    print_mark(stdout, mark);
    printf("%*s%-10s %s\n", (int)(9 - strlen(mark_names[mark])), "", area_names[area], text);
    if (hint != NULL && hint[0] != '\0')
        printf("%20s-> %s\n", "", hint);
    fflush(stdout); /* the next one may take a while */
}

static void write_finding(struct json_writer *json, enum doctor_area area, enum mark mark,
                          const char *hint, const char *text)
{
    json_object(json, NULL);
    json_put_text(json, "area", area_names[area]);
    json_put_text(json, "mark", mark_names[mark]);
    json_put_text(json, "text", text);
    json_put_text(json, "hint", hint != NULL && hint[0] != '\0' ? hint : NULL);
    json_object_end(json);
}

void doctor_say(struct doctor *doctor, enum doctor_area area, enum mark mark, const char *hint,
                const char *format, ...)
{
    struct error text = ERROR_INIT; /* for its way to make any text printable */
    char line[sizeof text.text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    (void)error_set(&text, FAIL_NONE, "%s%s%s", doctor->about != NULL ? doctor->about : "",
                    doctor->about != NULL ? ": " : "", line);
    if (mark == MARK_WARNING)
        doctor->warnings++;
    if (mark == MARK_FAILURE)
        doctor->failures[area]++;
    if (doctor->json != NULL)
        write_finding(doctor->json, area, mark, hint, text.text);
    else
        print_finding(area, mark, hint, text.text);
}

void doctor_error(struct doctor *doctor, enum doctor_area area, enum mark mark,
                  const struct error *err, const char *hint)
{
    doctor_say(doctor, area, mark, err->hint[0] != '\0' ? err->hint : hint, "%s", err->text);
}

int doctor_status(const struct doctor *doctor)
{
    size_t token = 0, remote = 0, other = 0;
    for (int area = 0; area < DOCTOR_AREAS; area++) {
        if (area == DOCTOR_TOKEN || area == DOCTOR_PIN || area == DOCTOR_KEY)
            token += doctor->failures[area];
        else if (area == DOCTOR_QUEUE || area == DOCTOR_CLIENT || area == DOCTOR_CONNECTOR)
            remote += doctor->failures[area];
        else
            other += doctor->failures[area];
    }
    if (token + remote + other == 0)
        return error_exit_status(FAIL_NONE);
    if (remote + other == 0)
        return error_exit_status(FAIL_TOKEN);
    if (token + other == 0)
        return error_exit_status(FAIL_REMOTE);
    return error_exit_status(FAIL_IO);
}
