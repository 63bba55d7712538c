/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/config.h"

#include <errno.h>
#include <ini.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/file.h"
#include "reseal/secret.h"
#include "reseal/text.h"

#define FILE_MAX  65536
#define LINE_MAX_ 4096
#define LIST_MAX  64

struct config_value {
    char *text;   /* from the file; NULL where the table's fallback counts */
    int line;     /* where it was given */
    char **items; /* LIST, split */
    size_t count;
    long number;
};

struct config {
    char *path;
    const struct config_key *table;
    size_t rows;
    struct config_value *values; /* one for each row of the table */
};

/* What the inih callbacks share. */
struct loader {
    struct config *config;
    const char *text; /* not yet given to inih */
    size_t left;
    int line; /* number of the line that inih handles */
    bool failed;
    struct error *err;
};

static bool at_line(const struct config *config, int line, struct error *err)
{
    return error_context(err, "%s:%d", config->path, line);
}

static const struct config_key *find_row(const struct config *config, const char *section,
                                         const char *name, size_t *index)
{
    for (size_t i = 0; i < config->rows; i++) {
        const struct config_key *row = &config->table[i];
        if (strcmp(row->section, section) == 0 && strcmp(row->name, name) == 0) {
            *index = i;
            return row;
        }
    }
    return NULL;
}

static bool section_known(const struct config *config, const char *section)
{
    for (size_t i = 0; i < config->rows; i++) {
        if (strcmp(config->table[i].section, section) == 0)
            return true;
    }
    return false;
}

static bool unknown_name(const struct config *config, const char *section, const char *name,
                         struct error *err)
{
    const char *names[256];
    size_t count = 0;
    bool known = section_known(config, section);
    for (size_t i = 0; i < config->rows && count + 1 < ARRAY_LEN(names); i++) {
        const struct config_key *row = &config->table[i];
        if (!known)
            names[count++] = row->section;
        else if (strcmp(row->section, section) == 0)
            names[count++] = row->name;
    }
    names[count] = NULL;
    const char *nearest = text_nearest(known ? name : section, names);
    if (known)
        error_set(err, FAIL_USAGE, "unknown key \"%s\" in section [%s]", name, section);
    else
        error_set(err, FAIL_USAGE, "unknown section [%s]", section);
    if (nearest != NULL)
        error_hint(err, known ? "did you mean \"%s\"?" : "did you mean [%s]?", nearest);
    return false;
}

/* True if `word` is one of "a|b|c". */
static bool choice_has(const char *choices, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = choices; at != NULL; at = strchr(at, '|'), at = at ? at + 1 : NULL) {
        if (strncmp(at, word, len) == 0 && (at[len] == '|' || at[len] == '\0'))
            return true;
    }
    return false;
}

static bool value_number(const struct config_key *row, const char *text, long *out,
                         struct error *err)
{
    char *end = NULL;
    if (row->choices != NULL && choice_has(row->choices, text)) {
        *out = 0;
        return true;
    }
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < row->min || number > row->max)
        return error_set(err, FAIL_USAGE,
                         "%s must be a whole number from %ld to %ld%s%s, not \"%s\"", row->name,
                         row->min, row->max, row->choices != NULL ? ", or " : "",
                         row->choices != NULL ? row->choices : "", text);
    *out = number;
    return true;
}

static bool value_list(const struct config_key *row, struct config_value *value, const char *text,
                       struct error *err)
{
    char *copy = strdup(text);
    char *state = NULL;
    bool ok = false;
    value->items = calloc(LIST_MAX, sizeof *value->items);
    if (copy == NULL || value->items == NULL) {
        error_memory(err);
        goto done;
    }
    for (char *item = strtok_r(copy, ",", &state); item != NULL;
         item = strtok_r(NULL, ",", &state)) {
        item += strspn(item, " \t");
        size_t len = strlen(item);
        while (len > 0 && (item[len - 1] == ' ' || item[len - 1] == '\t'))
            item[--len] = '\0';
        if (len == 0 || value->count == LIST_MAX) {
            error_set(err, FAIL_USAGE, "%s must be up to %d texts separated by commas", row->name,
                      LIST_MAX);
            goto done;
        }
        if (row->choices != NULL && !choice_has(row->choices, item)) {
            error_set(err, FAIL_USAGE, "%s must be of %s, not \"%s\"", row->name, row->choices,
                      item);
            goto done;
        }
        value->items[value->count] = strdup(item);
        if (value->items[value->count] == NULL) {
            error_memory(err);
            goto done;
        }
        value->count++;
    }
    ok = true;
done:
    free(copy);
    return ok;
}

/* A relative path means: beside the file that says it. */
static bool make_absolute(const struct config *config, const char *prefix, const char *path,
                          char **out, struct error *err)
{
    char copy[PATH_MAX];
    *out = NULL;
    snprintf(copy, sizeof copy, "%s", config->path);
    const char *folder = path[0] == '/' ? "" : dirname(copy);
    size_t size = strlen(prefix) + strlen(folder) + strlen(path) + 2;
    char *joined = malloc(size);
    if (joined == NULL)
        return error_memory(err);
    snprintf(joined, size, "%s%s%s%s", prefix, folder, folder[0] != '\0' ? "/" : "", path);
    *out = joined;
    return true;
}

static bool value_check(const struct config *config, const struct config_key *row,
                        struct config_value *value, const char *text, struct error *err)
{
    size_t len = strlen(text);
    size_t longest = row->max > 0 ? (size_t)row->max : 1024;
    char *path = NULL;
    switch (row->type) {
    case CONFIG_NUMBER:
        return value_number(row, text, &value->number, err);
    case CONFIG_CHOICE:
        if (!choice_has(row->choices, text))
            return error_set(err, FAIL_USAGE, "%s must be one of %s, not \"%s\"", row->name,
                             row->choices, text);
        return true;
    case CONFIG_FLAG:
        if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
            return error_set(err, FAIL_USAGE, "%s must be yes or no, not \"%s\"", row->name, text);
        value->number = text[0] == 'y';
        return true;
    case CONFIG_LIST:
        return value_list(row, value, text, err);
    case CONFIG_TEXT:
        if (len < (size_t)(row->min > 0 ? row->min : 0) || len > longest)
            return error_set(err, FAIL_USAGE, "%s must have %ld to %zu bytes", row->name,
                             row->min > 0 ? row->min : 0, longest);
        return true;
    case CONFIG_PATH:
        if (len == 0)
            return error_set(err, FAIL_USAGE, "%s is an empty path", row->name);
        if (value->text == NULL) /* a fallback stays as the table says it */
            return true;
        if (!make_absolute(config, "", text, &path, err))
            return false;
        free(value->text);
        value->text = path;
        return true;
    case CONFIG_SECRET:
        if (!secret_source_check(text, err))
            return error_context(err, "%s", row->name);
        if (strncmp(text, "file:", 5) != 0 || value->text == NULL)
            return true;
        if (!make_absolute(config, "file:", text + 5, &path, err))
            return false;
        free(value->text);
        value->text = path;
        return true;
    }
    return true;
}

static int on_pair(void *user, const char *section, const char *name, const char *text)
{
    struct loader *loader = user;
    struct config *config = loader->config;
    size_t index = 0;
    if (loader->failed)
        return 1;
    loader->failed = true; /* until this pair is known to be good */
    const struct config_key *row = find_row(config, section, name, &index);
    if (row == NULL) {
        unknown_name(config, section, name, loader->err);
        return at_line(config, loader->line, loader->err);
    }
    struct config_value *value = &config->values[index];
    if (value->text != NULL) {
        error_set(loader->err, FAIL_USAGE, "%s is given a second time, first in line %d", name,
                  value->line);
        return at_line(config, loader->line, loader->err);
    }
    value->line = loader->line;
    value->text = strdup(text);
    if (value->text == NULL)
        return error_memory(loader->err);
    if (!value_check(config, row, value, text, loader->err))
        return at_line(config, loader->line, loader->err);
    loader->failed = false;
    return 1;
}

/* inih tells of a section only with its first pair; an unknown one without any would pass unseen.
 */
static bool check_section(struct loader *loader, const char *line, size_t len)
{
    char name[64];
    size_t blank = strspn(line, " \t");
    const char *end = blank < len && line[blank] == '[' ? memchr(line, ']', len) : NULL;
    if (end == NULL)
        return true;
    snprintf(name, sizeof name, "%.*s", (int)(end - line - (long)blank - 1), line + blank + 1);
    if (section_known(loader->config, name))
        return true;
    unknown_name(loader->config, name, "", loader->err);
    return at_line(loader->config, loader->line, loader->err);
}

/* Gives inih one line a call, which is also how the line number is known. */
static char *next_line(char *out, int size, void *stream)
{
    struct loader *loader = stream;
    if (loader->left == 0 || loader->failed)
        return NULL;
    const char *end = memchr(loader->text, '\n', loader->left);
    size_t len = end != NULL ? (size_t)(end - loader->text) + 1 : loader->left;
    loader->line++;
    if (len + 1 > (size_t)size) {
        error_set(loader->err, FAIL_USAGE, "%s:%d: the line is longer than %d bytes",
                  loader->config->path, loader->line, size - 3);
        loader->failed = true;
        return NULL;
    }
    memcpy(out, loader->text, len);
    out[len] = '\0';
    if (!check_section(loader, out, len)) {
        loader->failed = true;
        return NULL;
    }
    loader->text += len;
    loader->left -= len;
    return out;
}

static bool run_inih(struct config *config, const struct buf *content, struct error *err)
{
    struct loader loader = {
        .config = config, .text = buf_text(content), .left = content->len, .err = err};
    ini_use_stack = false; /* the stack buffer has 200 bytes: too short for a PKCS#11 URI */
    ini_max_line = LINE_MAX_;
    ini_initial_alloc = LINE_MAX_;
    ini_allow_multiline = false;
    ini_allow_inline_comments = false; /* ';' is a part of URIs */
    int bad_line = ini_parse_stream(next_line, &loader, on_pair, &loader);
    if (loader.failed)
        return false;
    if (bad_line < 0)
        return error_memory(err);
    if (bad_line > 0) {
        error_set(err, FAIL_USAGE, "%s:%d: neither [section] nor name = value", config->path,
                  bad_line);
        return error_hint(err, "comments begin with ; or # in the first column");
    }
    return true;
}

static bool apply_fallbacks(struct config *config, struct error *err)
{
    for (size_t i = 0; i < config->rows; i++) {
        const struct config_key *row = &config->table[i];
        struct config_value *value = &config->values[i];
        if (value->text != NULL || row->fallback == NULL)
            continue;
        if (!value_check(config, row, value, row->fallback, err))
            return error_context(err, "built-in default");
    }
    return true;
}

static bool config_new(const char *path, const struct config_key *table, struct config **out,
                       struct error *err)
{
    *out = NULL;
    struct config *config = calloc(1, sizeof *config);
    if (config == NULL)
        return error_memory(err);
    config->table = table;
    while (table[config->rows].section != NULL)
        config->rows++;
    config->values = calloc(config->rows + 1, sizeof *config->values);
    config->path = realpath(path, NULL);
    if (config->path == NULL && errno != ENOMEM)
        config->path = strdup(path);
    if (config->values == NULL || config->path == NULL) {
        config_free(&config);
        return error_memory(err);
    }
    *out = config;
    return true;
}

bool config_load(const char *path, const struct config_key *table, struct config **out,
                 struct error *err)
{
    struct buf content = BUF_INIT(FILE_MAX);
    struct config *config = NULL;
    bool ok = false;
    *out = NULL;
    if (!config_new(path, table, &config, err))
        return false;
    if (!file_read(path, &content, err))
        goto done;
    if (!utf8_is_strict(buf_text(&content), content.len)) {
        error_set(err, FAIL_USAGE, "%s is not a text file in UTF-8", config->path);
        goto done;
    }
    if (!run_inih(config, &content, err) || !apply_fallbacks(config, err))
        goto done;
    *out = config;
    config = NULL; /* transferred */
    ok = true;
done:
    buf_free(&content);
    config_free(&config);
    return ok;
}

void config_free(struct config **config)
{
    if (config == NULL || *config == NULL)
        return;
    for (size_t i = 0; (*config)->values != NULL && i < (*config)->rows; i++) {
        struct config_value *value = &(*config)->values[i];
        for (size_t j = 0; j < value->count; j++)
            free(value->items[j]);
        free(value->items);
        free(value->text);
    }
    free((*config)->values);
    free((*config)->path);
    free(*config);
    *config = NULL;
}

const char *config_path(const struct config *config)
{
    return config->path;
}

static const struct config_value *value_of(const struct config *config, const char *section,
                                           const char *name, const struct config_key **row)
{
    size_t index = 0;
    *row = find_row(config, section, name, &index);
    if (*row == NULL)
        abort(); /* a name that is not in the table is a bug of the caller */
    return &config->values[index];
}

const char *config_text(const struct config *config, const char *section, const char *name)
{
    const struct config_key *row;
    const struct config_value *value = value_of(config, section, name, &row);
    return value->text != NULL ? value->text : row->fallback;
}

long config_number(const struct config *config, const char *section, const char *name)
{
    const struct config_key *row;
    return value_of(config, section, name, &row)->number;
}

bool config_flag(const struct config *config, const char *section, const char *name)
{
    return config_number(config, section, name) != 0;
}

size_t config_list_count(const struct config *config, const char *section, const char *name)
{
    const struct config_key *row;
    return value_of(config, section, name, &row)->count;
}

const char *config_list_at(const struct config *config, const char *section, const char *name,
                           size_t index)
{
    const struct config_key *row;
    const struct config_value *value = value_of(config, section, name, &row);
    return index < value->count ? value->items[index] : NULL;
}

bool config_given(const struct config *config, const char *section, const char *name)
{
    const struct config_key *row;
    return value_of(config, section, name, &row)->text != NULL;
}

bool config_want(const struct config *config, const char *section, const char *name,
                 const char **out, struct error *err)
{
    const struct config_key *row;
    const struct config_value *value = value_of(config, section, name, &row);
    *out = value->text != NULL ? value->text : row->fallback;
    if (*out != NULL)
        return true;
    error_set(err, FAIL_USAGE, "%s: section [%s] has no \"%s\"", config->path, section, name);
    return error_hint(err, "%s", row->help);
}

void config_print(const struct config *config, FILE *out)
{
    const char *section = "";
    for (size_t i = 0; i < config->rows; i++) {
        const struct config_key *row = &config->table[i];
        const struct config_value *value = &config->values[i];
        const char *text = value->text != NULL ? value->text : row->fallback;
        if (strcmp(section, row->section) != 0)
            fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", row->section);
        section = row->section;
        fprintf(out, "; %s\n", row->help);
        fprintf(out, "%s%s = %s\n", text == NULL ? "; " : "", row->name, text != NULL ? text : "");
    }
}
