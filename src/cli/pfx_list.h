/* SPDX-License-Identifier: Apache-2.0 */
/* A list of PFX files to import, as CSV: columns pfx, user, password or password_file, purpose. */
#ifndef RESEAL_PFX_LIST_H
#define RESEAL_PFX_LIST_H

#include "csv.h"
#include "reseal/secret.h"

struct pfx_list {
    struct buf text; /* has passwords in it, where the list has */
    struct csv csv;
    char folder[4096];                                  /* that its paths are relative to */
    size_t pfx, user, password, password_file, purpose; /* columns; CSV_COLUMNS_MAX: none */
};

/* Refuses a list with passwords that everybody may read (FAIL_POLICY). `list` is to be closed in
 * any case. */
bool pfx_list_open(const char *path, struct pfx_list *list, struct error *err) MUST_USE;
void pfx_list_close(struct pfx_list *list);

struct pfx_list_row {
    unsigned line;
    char path[4096];
    const char *user, *purpose; /* purpose NULL: not said; both belong to the list */
    const char *password;       /* of the list, or NULL */
    char password_file[4096];   /* where it is, if it is not in the list */
};
/* *found false: there is none any more. */
bool pfx_list_next(struct pfx_list *list, struct pfx_list_row *row, bool *found,
                   struct error *err) MUST_USE;
/* Owned by the caller. */
bool pfx_list_password(const struct pfx_list_row *row, struct secret **out,
                       struct error *err) MUST_USE;

#endif
