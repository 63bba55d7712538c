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

struct config_section {
    char name[CONFIG_SECTION_MAX + 1];
    const struct config_key *rows; /* they stand together in the table */
    size_t count;
    bool family;                 /* the table's section is one */
    bool given;                  /* the file gives a value */
    struct config_value *values; /* one for each row */
};

struct config {
    char *path;
    const struct config_key *table;
    struct config_section *sections; /* in the table's order; members behind the first */
    size_t count;
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

/* -- sections -- */

static struct config_section *find_section(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->count; i++) {
        if (strcmp(config->sections[i].name, name) == 0)
            return &config->sections[i];
    }
    return NULL;
}

/* The family that [name] would be a member of; *member becomes the part behind the blank. */
static struct config_section *find_family(const struct config *config, const char *name,
                                          const char **member)
{
    char first[CONFIG_SECTION_MAX + 1];
    const char *blank = strchr(name, ' ');
    if (blank == NULL || (size_t)(blank - name) >= sizeof first)
        return NULL;
    snprintf(first, sizeof first, "%.*s", (int)(blank - name), name);
    struct config_section *section = find_section(config, first);
    *member = blank + 1;
    return section != NULL && section->family ? section : NULL;
}

static bool member_check(const struct config_section *family, const char *member, struct error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    size_t len = strlen(member);
    if (len > 0 && len <= CONFIG_MEMBER_MAX && strspn(member, letters) == len &&
        strcmp(member, CONFIG_MEMBER_DEFAULT) != 0)
        return true;
    if (strcmp(member, CONFIG_MEMBER_DEFAULT) == 0)
        return error_set(err, FAIL_USAGE, "[%s %s] is written [%s]", family->name, member,
                         family->name);
    return error_set(err, FAIL_USAGE,
                     "the name in [%s NAME] must be 1 to %d letters, digits and dashes",
                     family->name, CONFIG_MEMBER_MAX);
}

static bool section_new(struct config *config, size_t at, const char *name,
                        const struct config_key *rows, size_t count, struct error *err)
{
    struct config_value *values = calloc(count, sizeof *values);
    struct config_section *grown =
        reallocarray(config->sections, config->count + 1, sizeof *config->sections);
    if (grown != NULL)
        config->sections = grown;
    if (values == NULL || grown == NULL) {
        free(values);
        return error_memory(err);
    }
    memmove(&grown[at + 1], &grown[at], (config->count - at) * sizeof *grown);
    config->count++;
    grown[at] = (struct config_section){.rows = rows, .count = count, .values = values};
    snprintf(grown[at].name, sizeof grown[at].name, "%s", name);
    return true;
}

static bool same_family(const struct config_section *a, const struct config_section *b)
{
    return a->rows == b->rows;
}

/* The section of that name, which becomes one of its family at its first mention. */
static bool want_section(struct config *config, const char *name, struct config_section **out,
                         struct error *err)
{
    const char *member = NULL;
    *out = find_section(config, name);
    if (*out != NULL)
        return true;
    const struct config_section *family = find_family(config, name, &member);
    if (family == NULL || !member_check(family, member, err))
        return false;
    size_t at = (size_t)(family - config->sections), members = 1;
    while (at + members < config->count && same_family(family, &config->sections[at + members]))
        members++;
    if (!section_new(config, at + members, name, family->rows, family->count, err))
        return false;
    *out = &config->sections[at + members];
    (*out)->family = true;
    return true;
}

static bool unknown_section(const struct config *config, const char *section, struct error *err)
{
    const char *names[64], *blank = strchr(section, ' ');
    char first[CONFIG_SECTION_MAX + 1];
    size_t count = 0;
    snprintf(first, sizeof first, "%.*s",
             blank != NULL ? (int)(blank - section) : CONFIG_SECTION_MAX, section);
    for (size_t i = 0; i < config->count && count + 1 < ARRAY_LEN(names); i++)
        names[count++] = config->sections[i].name;
    names[count] = NULL;
    const char *nearest = text_nearest(first, names);
    error_set(err, FAIL_USAGE, "unknown section [%s]", section);
    if (nearest == NULL)
        return false;
    const struct config_section *found = find_section(config, nearest);
    bool member = blank != NULL && found != NULL && found->family;
    return error_hint(err, "did you mean [%s%s]?", nearest, member ? blank : "");
}

static bool unknown_key(const struct config_section *section, const char *name, struct error *err)
{
    const char *names[64];
    size_t count = 0;
    for (size_t i = 0; i < section->count && count + 1 < ARRAY_LEN(names); i++)
        names[count++] = section->rows[i].name;
    names[count] = NULL;
    const char *nearest = text_nearest(name, names);
    error_set(err, FAIL_USAGE, "unknown key \"%s\" in section [%s]", name, section->name);
    return nearest != NULL ? error_hint(err, "did you mean \"%s\"?", nearest) : false;
}

static struct config_value *find_value(const struct config_section *section, const char *name,
                                       const struct config_key **row)
{
    for (size_t i = 0; i < section->count; i++) {
        *row = &section->rows[i];
        if (strcmp((*row)->name, name) == 0)
            return &section->values[i];
    }
    return NULL;
}

/* -- values -- */

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

static bool take_pair(struct loader *loader, const char *section_name, const char *name,
                      const char *text)
{
    struct config *config = loader->config;
    struct config_section *section = find_section(config, section_name);
    const struct config_key *row = NULL;
    if (section == NULL)
        return unknown_section(config, section_name, loader->err);
    struct config_value *value = find_value(section, name, &row);
    if (value == NULL)
        return unknown_key(section, name, loader->err);
    if (value->text != NULL)
        return error_set(loader->err, FAIL_USAGE, "%s is given a second time, first in line %d",
                         name, value->line);
    section->given = true;
    value->line = loader->line;
    value->text = strdup(text);
    if (value->text == NULL)
        return error_memory(loader->err);
    return value_check(config, row, value, text, loader->err);
}

static int on_pair(void *user, const char *section, const char *name, const char *text)
{
    struct loader *loader = user;
    if (loader->failed)
        return 1;
    loader->failed = !take_pair(loader, section, name, text);
    if (loader->failed)
        at_line(loader->config, loader->line, loader->err);
    return loader->failed ? 0 : 1;
}

/* inih tells of a section only with its first pair; an unknown one without any would pass unseen.
 * Here a member of a family is made. */
static bool check_section(struct loader *loader, const char *line, size_t len)
{
    char name[128];
    struct config_section *section = NULL;
    struct error *err = loader->err;
    size_t blank = strspn(line, " \t");
    const char *end = blank < len && line[blank] == '[' ? memchr(line, ']', len) : NULL;
    if (end == NULL)
        return true;
    snprintf(name, sizeof name, "%.*s", (int)(end - line - (long)blank - 1), line + blank + 1);
    *err = (struct error)ERROR_INIT;
    if (want_section(loader->config, name, &section, err))
        return true;
    if (err->kind == FAIL_NONE)
        unknown_section(loader->config, name, err);
    return at_line(loader->config, loader->line, err);
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

static bool section_fallbacks(const struct config *config, struct config_section *section,
                              struct error *err)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct config_key *row = &section->rows[i];
        struct config_value *value = &section->values[i];
        if (value->text != NULL || row->fallback == NULL)
            continue;
        if (!value_check(config, row, value, row->fallback, err))
            return error_context(err, "built-in default");
    }
    return true;
}

static bool finish_sections(struct config *config, struct error *err)
{
    for (size_t i = 0; i < config->count; i++) {
        const struct config_section *section = &config->sections[i];
        size_t given = 0;
        if (!section_fallbacks(config, &config->sections[i], err))
            return false;
        for (size_t j = 0; j <= i; j++)
            given += same_family(section, &config->sections[j]) && config->sections[j].given;
        if (given > CONFIG_FAMILY_MAX)
            return error_set(err, FAIL_USAGE,
                             "%s: section [%s] is one too many: at most %d of them "
                             "are possible",
                             config->path, section->name, CONFIG_FAMILY_MAX);
    }
    return true;
}

/* The first section of each group of rows. */
static bool make_sections(struct config *config, const struct config_key *table, struct error *err)
{
    for (size_t i = 0, count; table[i].section != NULL; i += count) {
        char name[CONFIG_SECTION_MAX + 1];
        size_t len = strlen(table[i].section), tail = strlen(CONFIG_FAMILY);
        bool family = len > tail && strcmp(table[i].section + len - tail, CONFIG_FAMILY) == 0;
        snprintf(name, sizeof name, "%.*s", (int)(family ? len - tail : len), table[i].section);
        for (count = 1; table[i + count].section != NULL; count++) {
            if (strcmp(table[i + count].section, table[i].section) != 0)
                break;
        }
        if (!section_new(config, config->count, name, &table[i], count, err))
            return false;
        config->sections[config->count - 1].family = family;
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
    config->path = realpath(path, NULL);
    if (config->path == NULL && errno != ENOMEM)
        config->path = strdup(path);
    if (config->path == NULL) {
        config_free(&config);
        return error_memory(err);
    }
    if (!make_sections(config, table, err)) {
        config_free(&config);
        return false;
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
    if (!run_inih(config, &content, err) || !finish_sections(config, err))
        goto done;
    *out = config;
    config = NULL; /* transferred */
    ok = true;
done:
    buf_free(&content);
    config_free(&config);
    return ok;
}

static void section_free(struct config_section *section)
{
    for (size_t i = 0; i < section->count; i++) {
        struct config_value *value = &section->values[i];
        for (size_t j = 0; j < value->count; j++)
            free(value->items[j]);
        free(value->items);
        free(value->text);
    }
    free(section->values);
}

void config_free(struct config **config)
{
    if (config == NULL || *config == NULL)
        return;
    for (size_t i = 0; i < (*config)->count; i++)
        section_free(&(*config)->sections[i]);
    free((*config)->sections);
    free((*config)->path);
    free(*config);
    *config = NULL;
}

const char *config_path(const struct config *config)
{
    return config->path;
}

/* A name that is not in the table, or a section that is not in the file, is a bug of the caller. */
static const struct config_value *value_of(const struct config *config, const char *section_name,
                                           const char *name, const struct config_key **row)
{
    const struct config_section *section = find_section(config, section_name);
    const struct config_value *value = section != NULL ? find_value(section, name, row) : NULL;
    if (value == NULL)
        abort();
    return value;
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

static bool is_left_out(const struct config *config, size_t at)
{
    const struct config_section *section = &config->sections[at];
    bool first = at == 0 || !same_family(section, section - 1);
    if (!section->family || section->given)
        return false;
    if (!first)
        return true; /* [token NAME] without any key is no token */
    for (size_t i = at + 1; i < config->count && same_family(section, &config->sections[i]); i++) {
        if (config->sections[i].given)
            return true;
    }
    return false;
}

const char *config_section_at(const struct config *config, size_t index)
{
    for (size_t i = 0, shown = 0; i < config->count; i++) {
        if (!is_left_out(config, i) && shown++ == index)
            return config->sections[i].name;
    }
    return NULL;
}

bool config_section_given(const struct config *config, const char *section)
{
    const struct config_section *found = find_section(config, section);
    return found != NULL && found->given;
}

const struct config_key *config_section_rows(const struct config *config, const char *section,
                                             size_t *count)
{
    const struct config_section *found = find_section(config, section);
    *count = found != NULL ? found->count : 0;
    return found != NULL ? found->rows : NULL;
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

static void print_section(const struct config_section *section, FILE *out)
{
    fprintf(out, "[%s]\n", section->name);
    for (size_t i = 0; i < section->count; i++) {
        const struct config_key *row = &section->rows[i];
        const struct config_value *value = &section->values[i];
        const char *text = value->text != NULL ? value->text : row->fallback;
        fprintf(out, "; %s\n", row->help);
        fprintf(out, "%s%s = %s\n", text == NULL ? "; " : "", row->name, text != NULL ? text : "");
    }
}

void config_print(const struct config *config, FILE *out)
{
    for (size_t i = 0, shown = 0; i < config->count; i++) {
        if (is_left_out(config, i))
            continue;
        if (shown++ > 0)
            fputc('\n', out);
        print_section(&config->sections[i], out);
    }
}
