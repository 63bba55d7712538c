/* SPDX-License-Identifier: Apache-2.0 */
#include "pfx_list.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "reseal/file.h"
#include "reseal/pfx.h"
#include "reseal/text.h"

#define LIST_MAX (64 * 1024 * 1024) /* bytes; a hundred thousand rows are about ten million */

#define COLUMNS_HINT                                                                               \
    "the first line has the names pfx, user, password or password_file, and perhaps purpose"

static bool take_columns(struct pfx_list *list, struct error *err)
{
    static const char *const names[] = {"pfx",           "user",    "password",
                                        "password_file", "purpose", NULL};
    size_t *const places[] = {&list->pfx, &list->user, &list->password, &list->password_file,
                              &list->purpose};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        *places[i] = csv_column(&list->csv, names[i]);
    for (size_t i = 0; i < list->csv.columns; i++) {
        const char *name = list->csv.names[i];
        size_t known = 0;
        while (names[known] != NULL && !text_equal_nocase(names[known], name))
            known++;
        if (names[known] == NULL || csv_column(&list->csv, name) != i) {
            error_set(err, FAIL_INPUT, "line 1: the column \"%s\" is %s", name,
                      names[known] == NULL ? "not known" : "there twice");
            return error_hint(err, COLUMNS_HINT);
        }
    }
    bool inside = list->password != CSV_COLUMNS_MAX,
         beside = list->password_file != CSV_COLUMNS_MAX;
    if (list->pfx != CSV_COLUMNS_MAX && list->user != CSV_COLUMNS_MAX && inside != beside)
        return true;
    error_set(err, FAIL_INPUT, "line 1: a column is missing, or one too many");
    return error_hint(err, COLUMNS_HINT);
}

static bool check_mode(const char *path, const struct pfx_list *list, struct error *err)
{
    struct stat st;
    if (list->password == CSV_COLUMNS_MAX || strcmp(path, "-") == 0)
        return true;
    if (stat(path, &st) != 0)
        return error_errno(err, FAIL_IO, "cannot examine %s", path);
    if ((st.st_mode & (S_IROTH | S_IWOTH)) == 0)
        return true;
    error_set(err, FAIL_POLICY, "it has passwords, and is open to every user (mode %04o)",
              (unsigned)(st.st_mode & 07777));
    return error_hint(err, "chmod 600 %s, and consider the passwords known", path);
}

static bool fail_list(const char *path, struct error *err)
{
    if (err->hint[0] == '\0')
        error_hint(err, COLUMNS_HINT);
    return error_context(err, "%s", path);
}

bool pfx_list_open(const char *path, struct pfx_list *list, struct error *err)
{
    const char *slash = strrchr(path, '/');
    *list = (struct pfx_list){.text = BUF_INIT(LIST_MAX)};
    snprintf(list->folder, sizeof list->folder, "%.*s", slash != NULL ? (int)(slash - path + 1) : 0,
             path);
    if (!file_read(path, &list->text, err))
        return error_hint(err, "--list names a CSV file: " COLUMNS_HINT);
    return (csv_open(&list->text, &list->csv, err) && take_columns(list, err) &&
            check_mode(path, list, err)) ||
           fail_list(path, err);
}

void pfx_list_close(struct pfx_list *list)
{
    buf_free(&list->text);
}

static bool put_path(const struct pfx_list *list, const char *given, char *out, size_t size,
                     struct error *err)
{
    int len = snprintf(out, size, "%s%s", given[0] == '/' ? "" : list->folder, given);
    if (given[0] == '\0')
        return error_set(err, FAIL_INPUT, "line %u: the name of a file is empty", list->csv.line);
    if (len < 0 || (size_t)len >= size)
        return error_set(err, FAIL_INPUT, "line %u: the path is too long", list->csv.line);
    return true;
}

bool pfx_list_next(struct pfx_list *list, struct pfx_list_row *row, bool *found, struct error *err)
{
    char *cells[CSV_COLUMNS_MAX];
    *row = (struct pfx_list_row){.line = 0};
    if (!csv_next(&list->csv, cells, found, err))
        return false;
    if (!*found)
        return true;
    row->line = list->csv.line;
    row->user = cells[list->user];
    if (list->purpose != CSV_COLUMNS_MAX && cells[list->purpose][0] != '\0')
        row->purpose = cells[list->purpose];
    if (list->password != CSV_COLUMNS_MAX)
        row->password = cells[list->password];
    return put_path(list, cells[list->pfx], row->path, sizeof row->path, err) &&
           (row->password != NULL || put_path(list, cells[list->password_file], row->password_file,
                                              sizeof row->password_file, err));
}

bool pfx_list_password(const struct pfx_list_row *row, struct secret **out, struct error *err)
{
    char source[4096 + 8];
    if (row->password == NULL) {
        snprintf(source, sizeof source, "file:%s", row->password_file);
        return secret_read(source, NULL, PFX_PASSWORD_MAX, out, err);
    }
    if (strlen(row->password) > PFX_PASSWORD_MAX)
        return error_set(err, FAIL_INPUT, "the password has more than %d bytes", PFX_PASSWORD_MAX);
    return secret_copy(row->password, strlen(row->password), out, err);
}
