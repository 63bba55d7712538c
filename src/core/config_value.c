/* SPDX-License-Identifier: Apache-2.0 */
/* The values of a configuration: each is checked and read by the type of its row. */
#include "config_private.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/secret.h"

#define LIST_MAX 64

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

bool config_value_check(const struct config *config, const struct config_key *row,
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
