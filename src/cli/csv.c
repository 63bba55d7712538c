/* SPDX-License-Identifier: Apache-2.0 */
#include "csv.h"

#include <stdio.h>
#include <string.h>
#include "reseal/text.h"

static bool fail(const struct csv *csv, const char *what, struct error *err)
{
    return error_set(err, FAIL_INPUT, "line %u: %s", csv->line, what);
}

/* The separator that the first line has most of, outside quotes. */
static char guess_separator(const char *text)
{
    static const char candidates[] = ",;\t";
    size_t counts[sizeof candidates - 1] = {0}, best = 0;
    bool quoted = false;
    for (; *text != '\0' && (quoted || *text != '\n'); text++) {
        if (*text == '"')
            quoted = !quoted;
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            counts[i] += !quoted && *text == candidates[i];
    }
    for (size_t i = 1; i < sizeof counts / sizeof counts[0]; i++) {
        if (counts[i] > counts[best])
            best = i;
    }
    return candidates[best];
}

/* A cell that begins with a quote, its doubled quotes made single in place. `line` is counted on,
 * as it may have line ends in it. *end is behind its last quote. */
static bool take_quoted(struct csv *csv, char *from, unsigned *line, char **end, struct error *err)
{
    char *to = from;
    for (char *at = from + 1;; at++) {
        if (*at == '\0')
            return fail(csv, "a quote is never closed", err);
        if (*at == '\n')
            ++*line;
        if (*at == '"' && at[1] != '"') {
            *end = at + 1;
            *to = '\0';
            return true;
        }
        at += *at == '"';
        *to++ = *at;
    }
}

/* One cell; *last: it ends the row. */
static bool take_cell(struct csv *csv, char **cell, bool *last, unsigned *line, struct error *err)
{
    char *from = csv->at, *end = from;
    const char stops[] = {csv->separator, '\r', '\n', '\0'};
    if (*from == '"') {
        if (!take_quoted(csv, from, line, &end, err))
            return false;
        if (*end != csv->separator && *end != '\r' && *end != '\n' && *end != '\0')
            return fail(csv, "there is something behind the closing quote of a cell", err);
    } else {
        end = from + strcspn(from, stops);
        if (memchr(from, '"', (size_t)(end - from)) != NULL)
            return fail(csv, "there is a quote inside a cell that does not begin with one", err);
    }
    *last = *end != csv->separator;
    csv->at = *end == '\0' ? end : end + 1;
    if (*end == '\r' && end[1] == '\n')
        csv->at++;
    *line += *end == '\r' || *end == '\n';
    *end = '\0';
    *cell = from;
    return true;
}

bool csv_next(struct csv *csv, char *cells[static CSV_COLUMNS_MAX], bool *found, struct error *err)
{
    *found = false;
    for (; *csv->at == '\r' || *csv->at == '\n'; csv->at++)
        csv->next_line += *csv->at == '\n';
    if (*csv->at == '\0')
        return true;
    csv->line = csv->next_line;
    size_t count = 0;
    bool last = false;
    while (!last) {
        char *cell = NULL;
        if (!take_cell(csv, &cell, &last, &csv->next_line, err))
            return false;
        if (count == CSV_COLUMNS_MAX || (csv->columns > 0 && count == csv->columns))
            return fail(csv, "it has more cells than the first line has names", err);
        cells[count++] = cell;
    }
    if (csv->columns > 0 && count < csv->columns)
        return fail(csv, "it has fewer cells than the first line has names", err);
    if (csv->columns == 0)
        csv->columns = count;
    *found = true;
    return true;
}

bool csv_open(struct buf *text, struct csv *out, struct error *err)
{
    char *cells[CSV_COLUMNS_MAX];
    bool found = false;
    *out = (struct csv){.line = 1, .next_line = 1};
    if (!utf8_is_strict(text->data, text->len)) {
        error_set(err, FAIL_INPUT, "it is not text in UTF-8");
        return error_hint(err, "spreadsheets write it as \"CSV UTF-8\"");
    }
    if (text->len == 0)
        return error_set(err, FAIL_INPUT, "it is empty");
    out->at = (char *)text->data;
    if (strncmp(out->at, "\xef\xbb\xbf", 3) == 0)
        out->at += 3;
    out->separator = guess_separator(out->at);
    if (!csv_next(out, cells, &found, err))
        return false;
    for (size_t i = 0; found && i < out->columns; i++) {
        if (strlen(cells[i]) >= CSV_NAME_MAX)
            return fail(out, "a name of a column is too long", err);
        snprintf(out->names[i], CSV_NAME_MAX, "%s", cells[i]);
    }
    return found || error_set(err, FAIL_INPUT, "it is empty");
}

size_t csv_column(const struct csv *csv, const char *name)
{
    for (size_t i = 0; i < csv->columns; i++) {
        if (text_equal_nocase(csv->names[i], name))
            return i;
    }
    return CSV_COLUMNS_MAX;
}
