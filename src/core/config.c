/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file is read: inih gives the pairs, line by line. */
#include "config_private.h"

#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/file.h"
#include "reseal/text.h"

#define FILE_MAX  65536
#define LINE_MAX_ 4096

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

static bool take_pair(struct loader *loader, const char *section_name, const char *name,
                      const char *text)
{
    struct config *config = loader->config;
    struct config_section *section = config_section_find(config, section_name);
    const struct config_key *row = NULL;
    if (section == NULL)
        return config_section_unknown(config, section_name, loader->err);
    struct config_value *value = config_value_find(section, name, &row);
    if (value == NULL)
        return config_key_unknown(section, name, loader->err);
    if (value->text != NULL)
        return error_set(loader->err, FAIL_USAGE, "%s is given a second time, first in line %d",
                         name, value->line);
    section->given = true;
    value->line = loader->line;
    value->text = strdup(text);
    if (value->text == NULL)
        return error_memory(loader->err);
    return config_value_check(config, row, value, text, loader->err);
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

/* inih passes over what follows a section on its line, a forgotten line end too. */
static bool alone_in_line(const char *rest, const char *end)
{
    while (rest < end && strchr(" \t\r\n", *rest) != NULL)
        rest++;
    return rest == end || *rest == ';' || *rest == '#';
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
    if (!alone_in_line(end + 1, line + len)) {
        error_set(err, FAIL_USAGE, "something follows the section on its line");
        error_hint(err, "write it on a line of its own");
        return at_line(loader->config, loader->line, err);
    }
    snprintf(name, sizeof name, "%.*s", (int)(end - line - (long)blank - 1), line + blank + 1);
    *err = (struct error)ERROR_INIT;
    if (config_section_want(loader->config, name, &section, err))
        return true;
    if (err->kind == FAIL_NONE)
        config_section_unknown(loader->config, name, err);
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
    static const char mark[] = "\xef\xbb\xbf"; /* as some editors begin a file */
    size_t skip = strncmp(buf_text(content), mark, sizeof mark - 1) == 0 ? sizeof mark - 1 : 0;
    struct loader loader = {.config = config,
                            .text = buf_text(content) + skip,
                            .left = content->len - skip,
                            .err = err};
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
        if (!config_value_check(config, row, value, row->fallback, err))
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
            given +=
                config_section_akin(section, &config->sections[j]) && config->sections[j].given;
        if (given > CONFIG_FAMILY_MAX)
            return error_set(err, FAIL_USAGE,
                             "%s: section [%s] is one too many: at most %d of them "
                             "are possible",
                             config->path, section->name, CONFIG_FAMILY_MAX);
    }
    return true;
}

/* Takes `path` over. */
static bool config_new(char *path, const struct config_key *table, struct config **out,
                       struct error *err)
{
    *out = NULL;
    struct config *config = calloc(1, sizeof *config);
    if (config == NULL || path == NULL) {
        free(config);
        free(path);
        return error_memory(err);
    }
    config->path = path;
    if (!config_sections_make(config, table, err)) {
        config_free(&config);
        return false;
    }
    *out = config;
    return true;
}

/* Takes `path` over. */
static bool read_content(char *path, const struct buf *content, const struct config_key *table,
                         struct config **out, struct error *err)
{
    struct config *config = NULL;
    *out = NULL;
    if (!config_new(path, table, &config, err))
        return false;
    if (!utf8_is_strict(buf_text(content), content->len))
        error_set(err, FAIL_USAGE, "%s is not a text file in UTF-8", config->path);
    else if (run_inih(config, content, err) && finish_sections(config, err))
        *out = config;
    if (*out == NULL)
        config_free(&config);
    return *out != NULL;
}

bool config_parse(const char *path, struct bytes text, const struct config_key *table,
                  struct config **out, struct error *err)
{
    struct buf content = BUF_INIT(FILE_MAX);
    *out = NULL;
    buf_put(&content, text.data, text.len);
    bool ok =
        buf_check(&content, path, err) && read_content(strdup(path), &content, table, out, err);
    buf_free(&content);
    return ok;
}

bool config_load(const char *path, const struct config_key *table, struct config **out,
                 struct error *err)
{
    struct buf content = BUF_INIT(FILE_MAX);
    *out = NULL;
    char *real = realpath(path, NULL);
    if (real == NULL && errno != ENOMEM)
        real = strdup(path);
    bool ok = file_read(path, &content, err);
    if (ok)
        ok = read_content(real, &content, table, out, err);
    else
        free(real);
    buf_free(&content);
    return ok;
}

void config_free(struct config **config)
{
    if (config == NULL || *config == NULL)
        return;
    for (size_t i = 0; i < (*config)->count; i++)
        config_section_clear(&(*config)->sections[i]);
    free((*config)->sections);
    free((*config)->path);
    free(*config);
    *config = NULL;
}
