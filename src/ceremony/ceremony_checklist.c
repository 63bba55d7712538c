/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_checklist.h"

#include <stdarg.h>
#include <string.h>
#include "run.h"

#define EXCEPTION_ROWS 12
#define TEXT_MAX       1024 /* bytes of one row's text */

void ceremony_narrate(const struct checklist_facts *facts, FILE *out)
{
    const struct ceremony_plan *plan = facts->plan;
    fprintf(out, "Ceremony \"%s\"%s%s%s%s\n", plan->name, plan->place != NULL ? ", at " : "",
            plan->place != NULL ? plan->place : "", plan->officer != NULL ? ", held by " : "",
            plan->officer != NULL ? plan->officer : "");
    fprintf(out, "It makes the key \"%s\", RSA-%d, for custody %s, on the token \"%s\".\n\n",
            plan->key.label, plan->key.bits, custody_name(plan->key.custody),
            facts->token != NULL ? facts->token->label : plan->address.label);
    for (size_t i = 0; ceremony_steps[i].name != NULL; i++) {
        size_t number = ceremony_step_number(i);
        if (number > 0)
            fprintf(out, "%2zu. %s.\n    %s\n", number, ceremony_steps[i].title,
                    ceremony_steps[i].plain);
    }
    fprintf(out, "\nAfterwards:\n");
    if (plan->signatures > 0)
        fprintf(out, " - %zu of %zu witnesses sign the transcript, each with his own key.\n",
                plan->signatures, plan->witness_count);
    if (plan->backup == BACKUP_TRANSPORT)
        fprintf(out, " - The key is replicated for %zu transport keys.\n", plan->transport_count);
    else
        fprintf(out, " - No backup: the key never leaves its token, and is lost with it.\n");
    fprintf(out, " - `reseal ceremony commit` writes %s; only then connectors use the key.\n",
            plan->descriptor);
}

/* Where the checklist goes. */
struct sheet {
    struct buf *out;
    bool html;
};

static void put_escaped(const struct sheet *sheet, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (sheet->html && *at == '&')
            buf_put_text(sheet->out, "&amp;");
        else if (sheet->html && *at == '<')
            buf_put_text(sheet->out, "&lt;");
        else if (sheet->html && *at == '>')
            buf_put_text(sheet->out, "&gt;");
        else if (!sheet->html && strchr("|\\`*_<", *at) != NULL)
            buf_printf(sheet->out, "\\%c", *at);
        else
            buf_put_u8(sheet->out, (uint8_t)*at);
    }
}

static void put_heading(const struct sheet *sheet, int level, const char *text)
{
    if (sheet->html)
        buf_printf(sheet->out, "<h%d>", level);
    else
        buf_printf(sheet->out, "\n%s ", level == 1 ? "#" : "##");
    put_escaped(sheet, text);
    if (sheet->html)
        buf_printf(sheet->out, "</h%d>\n", level);
    else
        buf_put_text(sheet->out, "\n\n");
}

static void begin_table(const struct sheet *sheet, const char *const *headers, size_t count)
{
    buf_put_text(sheet->out, sheet->html ? "<table>\n<tr>" : "|");
    for (size_t i = 0; i < count; i++)
        buf_printf(sheet->out, sheet->html ? "<th>%s</th>" : " %s |", headers[i]);
    buf_put_text(sheet->out, sheet->html ? "</tr>\n" : "\n|");
    for (size_t i = 0; i < count && !sheet->html; i++)
        buf_put_text(sheet->out, "---|");
    if (!sheet->html)
        buf_put_u8(sheet->out, '\n');
}

static void put_row(const struct sheet *sheet, const char *const *cells, size_t count)
{
    buf_put_text(sheet->out, sheet->html ? "<tr>" : "|");
    for (size_t i = 0; i < count; i++) {
        buf_put_text(sheet->out, sheet->html ? "<td>" : " ");
        put_escaped(sheet, cells[i]);
        buf_put_text(sheet->out, sheet->html ? "</td>" : " |");
    }
    buf_put_text(sheet->out, sheet->html ? "</tr>\n" : "\n");
}

static void end_table(const struct sheet *sheet)
{
    buf_put_text(sheet->out, sheet->html ? "</table>\n" : "\n");
}

static void put_identity(const struct sheet *sheet, const struct checklist_facts *facts)
{
    static const char *const headers[] = {"token", "in the plan", "found when this was printed"};
    const struct ceremony_plan *plan = facts->plan;
    const struct token_facts *found = facts->token;
    const char *rows[][3] = {
        {"label", plan->address.label, found != NULL ? found->label : ""},
        {"serial", plan->address.serial, found != NULL ? found->serial : ""},
        {"manufacturer", plan->manufacturer, found != NULL ? found->manufacturer : ""},
        {"model", plan->model, found != NULL ? found->model : ""},
        {"firmware", plan->firmware, found != NULL ? found->firmware : ""},
    };
    put_heading(sheet, 2, "Token");
    begin_table(sheet, headers, ARRAY_LEN(headers));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i][1] == NULL)
            rows[i][1] = "";
        put_row(sheet, rows[i], 3);
    }
    end_table(sheet);
}

static void put_people(const struct sheet *sheet, const struct ceremony_plan *plan)
{
    static const char *const headers[] = {"role", "name", "identity checked by", "initials"};
    put_heading(sheet, 2, "People");
    begin_table(sheet, headers, ARRAY_LEN(headers));
    const char *officer[] = {"officer", plan->officer != NULL ? plan->officer : "", "", ""};
    put_row(sheet, officer, 4);
    for (size_t i = 0; i < plan->witness_count; i++) {
        const char *witness[] = {"witness", plan->witnesses[i].name, "", ""};
        put_row(sheet, witness, 4);
    }
    const char *blank[] = {"", "", "", ""};
    put_row(sheet, blank, 4);
    end_table(sheet);
}

/* One line to tick off: number, what, initials, time. */
static void put_task(const struct sheet *sheet, size_t *number, const char *format, ...)
    PRINTF_LIKE(3, 4);
static void put_task(const struct sheet *sheet, size_t *number, const char *format, ...)
{
    char text[TEXT_MAX], count[16];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    snprintf(count, sizeof count, "%zu", ++*number);
    const char *cells[] = {count, text, "", ""};
    put_row(sheet, cells, 4);
}

static const char *const task_headers[] = {"#", "what is done, and what must be seen", "initials",
                                           "time"};

static void put_before(const struct sheet *sheet, const struct ceremony_plan *plan, size_t *number)
{
    put_heading(sheet, 2, "Before");
    begin_table(sheet, task_headers, ARRAY_LEN(task_headers));
    put_task(sheet, number, "Everybody is present, and identified. Phones are put away.");
    put_task(sheet, number,
             "The officer runs sha256sum on the plan and reads it aloud; it is %.32s %.32s.",
             plan->sha256, plan->sha256 + 32);
    put_task(sheet, number, "The serial number on the token's case is the one above.");
    put_task(sheet, number, "The same plan was rehearsed: reseal ceremony run PLAN --rehearse.");
    end_table(sheet);
}

static void put_steps(const struct sheet *sheet, size_t *number)
{
    put_heading(sheet, 2, "reseal ceremony run PLAN");
    begin_table(sheet, task_headers, ARRAY_LEN(task_headers));
    for (size_t i = 0; ceremony_steps[i].name != NULL; i++) {
        size_t step = ceremony_step_number(i);
        if (step > 0)
            put_task(sheet, number, "Step %zu, %s. %s", step, ceremony_steps[i].title,
                     ceremony_steps[i].plain);
    }
    put_task(sheet, number,
             "The SHA-256 of the transcript's last line is written down here: "
             "________________ ________________ ________________ ________________");
    end_table(sheet);
}

static void put_after(const struct sheet *sheet, const struct ceremony_plan *plan, size_t *number)
{
    put_heading(sheet, 2, "After");
    begin_table(sheet, task_headers, ARRAY_LEN(task_headers));
    for (size_t i = 0; i < plan->witness_count; i++)
        put_task(sheet, number,
                 "%s compares the SHA-256 that was written down, and signs: reseal ceremony sign "
                 "TRANSCRIPT --witness %s --key KEY",
                 plan->witnesses[i].name, plan->witnesses[i].id);
    if (plan->signatures > 0)
        put_task(sheet, number, "At least %zu of them have signed.", plan->signatures);
    if (plan->backup == BACKUP_TRANSPORT)
        put_task(sheet, number, "The key is replicated for the %zu transport keys of the plan.",
                 plan->transport_count);
    put_task(sheet, number, "reseal ceremony verify TRANSCRIPT finds nothing wrong.");
    put_task(sheet, number, "reseal ceremony commit TRANSCRIPT writes the descriptor.");
    put_task(sheet, number, "Transcript, plan, signatures and this sheet are put away together.");
    end_table(sheet);
}

static void put_exceptions(const struct sheet *sheet)
{
    static const char *const headers[] = {"step", "time", "what was not as planned, in words",
                                          "initials"};
    static const char *const blank[] = {"", "", "", ""};
    put_heading(sheet, 2, "Exceptions");
    begin_table(sheet, headers, ARRAY_LEN(headers));
    for (size_t i = 0; i < EXCEPTION_ROWS; i++)
        put_row(sheet, blank, ARRAY_LEN(blank));
    end_table(sheet);
}

static const char html_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Ceremony</title>\n"
    "<style>\n@page { size: A4; margin: 15mm }\nbody { font: 10pt serif }\n"
    "table { border-collapse: collapse; width: 100% }\n"
    "th, td { border: 1px solid; padding: 2mm; text-align: left; vertical-align: top; height: 6mm "
    "}\n"
    "td:nth-last-child(2), td:last-child { min-width: 18mm }\n"
    "tr { break-inside: avoid }\nh2 { break-after: avoid }\n</style></head><body>\n";

void ceremony_checklist(const struct checklist_facts *facts, enum checklist_form form,
                        struct buf *out)
{
    const struct sheet sheet = {out, form == CHECKLIST_HTML};
    const struct ceremony_plan *plan = facts->plan;
    char line[TEXT_MAX];
    size_t number = 0;
    if (sheet.html)
        buf_put_text(out, html_head);
    snprintf(line, sizeof line, "Ceremony: %s", plan->name);
    put_heading(&sheet, 1, line);
    snprintf(line, sizeof line, "Place: %s. Date: ______________. Key: %s, RSA-%d, custody %s.",
             plan->place != NULL ? plan->place : "______________", plan->key.label, plan->key.bits,
             custody_name(plan->key.custody));
    buf_put_text(out, sheet.html ? "<p>" : "");
    put_escaped(&sheet, line);
    buf_put_text(out, sheet.html ? "</p>\n" : "\n");
    put_identity(&sheet, facts);
    put_people(&sheet, plan);
    put_before(&sheet, plan, &number);
    put_steps(&sheet, &number);
    put_after(&sheet, plan, &number);
    put_exceptions(&sheet);
    if (sheet.html)
        buf_put_text(out, "</body></html>\n");
}
