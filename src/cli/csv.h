/* SPDX-License-Identifier: Apache-2.0 */
/* Tables as spreadsheets write them (RFC 4180): a line of names, then rows. Separated by commas,
 * semicolons or tabs, whichever the first line has; quoted by '"'; UTF-8, with a byte order mark or
 * not. */
#ifndef RESEAL_CSV_H
#define RESEAL_CSV_H

#include "reseal/buf.h"

#define CSV_COLUMNS_MAX 16
#define CSV_NAME_MAX    64 /* bytes of a column's name */

struct csv {
    char *at; /* the rest of the text */
    char separator;
    unsigned line;      /* of the row that was read last */
    unsigned next_line; /* of what comes then */
    size_t columns;
    char names[CSV_COLUMNS_MAX][CSV_NAME_MAX];
};

/* Reads the first line. The text is taken apart in place, and holds what the rows point to.
 * FAIL_INPUT names the line. */
bool csv_open(struct buf *text, struct csv *out, struct error *err) MUST_USE;
/* The next row that is not empty; *found false: there is none. Each has as many cells as there are
 * names, each with an end mark. */
bool csv_next(struct csv *csv, char *cells[static CSV_COLUMNS_MAX], bool *found,
              struct error *err) MUST_USE;
/* Its place among the names, or CSV_COLUMNS_MAX. */
size_t csv_column(const struct csv *csv, const char *name) MUST_USE;

#endif
