/* SPDX-License-Identifier: Apache-2.0 */
/* What commands print: tables, marks, JSON. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "command.h"

#define COLUMNS_MAX 16
#define TEXT_MAX    (16 * 1024 * 1024)

struct table {
    size_t columns, rows;
    size_t width[COLUMNS_MAX]; /* in characters */
    char **cells;              /* rows * columns, the header first */
};

/* Characters, not bytes: a UTF-8 sequence has one byte that is no continuation. */
static size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* A cell may come from the other side of a network: no control character reaches the terminal. C1
 * controls are 0xc2 0x80..0x9f in UTF-8. */
static void make_harmless(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7f)
            *at = '?';
        else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
            at[0] = at[1] = '?';
    }
}

bool table_new(const char *const *headers, size_t columns, struct table **out, struct error *err)
{
    *out = NULL;
    if (columns == 0 || columns > COLUMNS_MAX)
        return error_set(err, FAIL_INTERNAL, "a table of %zu columns", columns);
    struct table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return error_memory(err);
    table->columns = columns;
    if (!table_row(table, headers, err)) {
        table_free(&table);
        return false;
    }
    *out = table;
    return true;
}

bool table_row(struct table *table, const char *const *cells, struct error *err)
{
    size_t used = table->rows * table->columns;
    char **grown = reallocarray(table->cells, used + table->columns, sizeof *grown);
    if (grown == NULL)
        return error_memory(err);
    table->cells = grown;
    for (size_t i = 0; i < table->columns; i++) {
        char *cell = strdup(cells[i] != NULL ? cells[i] : "-");
        if (cell == NULL) {
            while (i > 0)
                free(grown[used + --i]);
            return error_memory(err);
        }
        make_harmless(cell);
        size_t width = text_width(cell);
        if (width > table->width[i])
            table->width[i] = width;
        grown[used + i] = cell;
    }
    table->rows++;
    return true;
}

void table_print(const struct table *table, FILE *out)
{
    for (size_t row = 0; row < table->rows; row++) {
        for (size_t i = 0; i < table->columns; i++) {
            const char *cell = table->cells[row * table->columns + i];
            bool last = i + 1 == table->columns;
            size_t space = last ? 0 : table->width[i] - text_width(cell) + 2;
            fprintf(out, "%s%*s", cell, (int)space, "");
        }
        fputc('\n', out);
    }
}

void table_free(struct table **table)
{
    if (table == NULL || *table == NULL)
        return;
    for (size_t i = 0; i < (*table)->rows * (*table)->columns; i++)
        free((*table)->cells[i]);
    free((*table)->cells);
    free(*table);
    *table = NULL;
}

bool print_json(struct json_writer *json, struct error *err)
{
    struct buf text = BUF_INIT(TEXT_MAX);
    bool ok = json_finish(json, &text, err);
    if (ok) {
        /* The pretty writer ends its text with a line end of its own. */
        bool ended = text.len > 0 && text.data[text.len - 1] == '\n';
        ok = fwrite(text.data, 1, text.len, stdout) == text.len && (ended || putchar('\n') != EOF);
        if (!ok)
            error_errno(err, FAIL_IO, "cannot write standard output");
    }
    buf_free(&text);
    return ok;
}

void print_warning(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_harmless(text);
    fprintf(stderr, "reseal: warning: %s\n", text);
}

void print_mark(FILE *out, enum mark mark)
{
    static const char *const words[] = {"ok", "warning", "failure"};
    static const char *const colours[] = {"32", "33", "31"};
    const char *plain = getenv("NO_COLOR"); /* no-color.org: present and not empty */
    bool colour = isatty(fileno(out)) && (plain == NULL || plain[0] == '\0');
    if (colour)
        fprintf(out, "\033[%sm%s\033[0m", colours[mark], words[mark]);
    else
        fputs(words[mark], out);
}
