/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the command line and running one command. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "invocation.h"
#include "reseal/config.h"
#include "reseal/text.h"

#define OPTIONS_MAX 32 /* of one command */
#define NAMES_MAX   128

/* What a run may change although the command sees a constant invocation. */
struct state {
    struct config *config;
    int status;
};

struct invocation {
    const struct command *const *tables;
    enum wish wish;
    const char *noun, *verb; /* what help is asked for */
    const struct command *command;
    const char *values[OPTIONS_MAX]; /* by position in command->options; a flag has "" */
    const char **arguments;          /* pointers into argv */
    size_t count;
    const char *config_path;
    bool json;
    struct state *state;
};

/* What is left of argv. */
struct words {
    char **at;
    size_t left;
};

static const char *take_word(struct words *words)
{
    if (words->left == 0)
        return NULL;
    words->left--;
    return *words->at++;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0'; /* "-" alone is standard input */
}

static const struct command *find_command(const struct command *const *tables, const char *noun,
                                          const char *verb)
{
    for (; *tables != NULL; tables++) {
        for (const struct command *row = *tables; row->noun != NULL; row++) {
            if (strcmp(row->noun, noun) == 0 && (verb == NULL || strcmp(row->verb, verb) == 0))
                return row;
        }
    }
    return NULL;
}

static bool unknown_noun(const struct invocation *invocation, const char *noun, struct error *err)
{
    const char *names[NAMES_MAX] = {"help"};
    size_t count = 1;
    for (const struct command *const *table = invocation->tables; *table != NULL; table++) {
        for (const struct command *row = *table; row->noun != NULL; row++) {
            if (count + 1 < ARRAY_LEN(names))
                names[count++] = row->noun;
        }
    }
    const char *nearest = text_nearest(noun, names);
    error_set(err, FAIL_USAGE, "there is no command \"%.64s\"", noun);
    if (nearest != NULL)
        return error_hint(err, "did you mean \"reseal %s\"?", nearest);
    return error_hint(err, "see: reseal help");
}

static bool unknown_verb(const struct invocation *invocation, const char *noun, const char *verb,
                         struct error *err)
{
    const char *names[NAMES_MAX] = {NULL};
    size_t count = 0;
    for (const struct command *const *table = invocation->tables; *table != NULL; table++) {
        for (const struct command *row = *table; row->noun != NULL; row++) {
            if (strcmp(row->noun, noun) == 0 && count + 1 < ARRAY_LEN(names))
                names[count++] = row->verb;
        }
    }
    const char *nearest = text_nearest(verb, names);
    error_set(err, FAIL_USAGE, "\"%s\" has no command \"%.64s\"", noun, verb);
    if (nearest != NULL && nearest[0] != '\0')
        return error_hint(err, "did you mean \"reseal %s %s\"?", noun, nearest);
    return error_hint(err, "see: reseal help %s", noun);
}

static void command_title(const struct command *command, char *out, size_t size)
{
    snprintf(out, size, "reseal %s%s%s", command->noun, command->verb[0] != '\0' ? " " : "",
             command->verb);
}

static bool unknown_option(const struct command *command, const char *name, size_t len,
                           struct error *err)
{
    const char *names[OPTIONS_MAX + 4] = {"config", "json", "help", NULL};
    size_t count = 3;
    char word[64], title[128] = "reseal";
    snprintf(word, sizeof word, "%.*s", (int)(len < 63 ? len : 63), name);
    if (command != NULL) {
        command_title(command, title, sizeof title);
        for (const struct command_option *row = command->options;
             row != NULL && row->name != NULL && count + 1 < ARRAY_LEN(names); row++)
            names[count++] = row->name;
    }
    const char *nearest = text_nearest(word, names);
    error_set(err, FAIL_USAGE, "%s has no option --%s", title, word);
    if (nearest != NULL)
        return error_hint(err, "did you mean --%s?", nearest);
    return error_hint(err, "see: %s --help", title);
}

/* True if the option word, without its dashes, is `name` or `name=...`. */
static bool option_is(const char *word, size_t len, const char *name)
{
    return strlen(name) == len && strncmp(word, name, len) == 0;
}

static bool option_value(struct words *words, const char *name, const char *attached,
                         const char *kind, const char **out, struct error *err)
{
    if (*out != NULL)
        return error_set(err, FAIL_USAGE, "--%s is given twice", name);
    if (kind == NULL && attached != NULL)
        return error_set(err, FAIL_USAGE, "--%s takes no value", name);
    /* `--out --json` is a forgotten value and not a file named "--json"; --out=--json is one. */
    bool forgotten = words->left == 0 || strncmp(*words->at, "--", 2) == 0;
    if (kind == NULL)
        *out = "";
    else if (attached != NULL)
        *out = attached;
    else if (!forgotten)
        *out = take_word(words);
    if (*out == NULL) {
        error_set(err, FAIL_USAGE, "--%s wants a value: %s", name, kind);
        return error_hint(err, "write --%s %s", name, kind);
    }
    return true;
}

static bool read_option(struct invocation *invocation, struct words *words, const char *word,
                        struct error *err)
{
    if (strcmp(word, "-h") == 0)
        word = "--help";
    if (word[1] != '-')
        return unknown_option(invocation->command, word + 1, 1, err);
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    const char *attached = name[len] == '=' ? name + len + 1 : NULL;
    const char *flag = NULL;
    if (option_is(name, len, "config"))
        return option_value(words, "config", attached, "FILE", &invocation->config_path, err);
    if (option_is(name, len, "json")) {
        invocation->json = true;
        return option_value(words, "json", attached, NULL, &flag, err);
    }
    if (option_is(name, len, "help")) {
        invocation->wish = WISH_HELP;
        return option_value(words, "help", attached, NULL, &flag, err);
    }
    if (invocation->command == NULL && option_is(name, len, "version")) {
        invocation->wish = WISH_VERSION;
        return option_value(words, "version", attached, NULL, &flag, err);
    }
    const struct command_option *options =
        invocation->command != NULL ? invocation->command->options : NULL;
    for (size_t i = 0; options != NULL && options[i].name != NULL && i < OPTIONS_MAX; i++) {
        if (option_is(name, len, options[i].name))
            return option_value(words, options[i].name, attached, options[i].value,
                                &invocation->values[i], err);
    }
    return unknown_option(invocation->command, name, len, err);
}

/* Options up to the next word that is none. */
static bool read_leading_options(struct invocation *invocation, struct words *words,
                                 struct error *err)
{
    while (words->left > 0 && is_option(*words->at)) {
        if (!read_option(invocation, words, take_word(words), err))
            return false;
    }
    return true;
}

static bool check_counts(const struct invocation *invocation, struct error *err)
{
    const struct command *command = invocation->command;
    char title[128];
    command_title(command, title, sizeof title);
    if (invocation->count >= command->min_arguments && invocation->count <= command->max_arguments)
        return true;
    if (command->max_arguments == 0)
        error_set(err, FAIL_USAGE, "%s takes options only, and %zu other words were given", title,
                  invocation->count);
    else
        error_set(err, FAIL_USAGE, "%s wants %s, and %zu words were given", title,
                  command->arguments, invocation->count);
    return error_hint(err, "see: %s --help", title);
}

static bool read_rest(struct invocation *invocation, struct words *words, struct error *err)
{
    bool options = true;
    const char *word;
    while ((word = take_word(words)) != NULL) {
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (!options || !is_option(word))
            invocation->arguments[invocation->count++] = word;
        else if (!read_option(invocation, words, word, err))
            return false;
    }
    return invocation->wish == WISH_HELP || check_counts(invocation, err);
}

/* `reseal help [NOUN [VERB]]`. */
static bool read_help(struct invocation *invocation, struct words *words, struct error *err)
{
    invocation->wish = WISH_HELP;
    invocation->noun = take_word(words);
    if (invocation->noun == NULL)
        return true;
    if (find_command(invocation->tables, invocation->noun, NULL) == NULL)
        return unknown_noun(invocation, invocation->noun, err);
    invocation->verb = take_word(words);
    if (invocation->verb != NULL &&
        find_command(invocation->tables, invocation->noun, invocation->verb) == NULL)
        return unknown_verb(invocation, invocation->noun, invocation->verb, err);
    return true;
}

static bool read_words(struct invocation *invocation, struct words *words, struct error *err)
{
    if (!read_leading_options(invocation, words, err))
        return false;
    const char *noun = take_word(words);
    if (noun == NULL) {
        if (invocation->wish == WISH_RUN)
            invocation->wish = WISH_INCOMPLETE;
        return true;
    }
    if (strcmp(noun, "help") == 0)
        return read_help(invocation, words, err);
    if (find_command(invocation->tables, noun, NULL) == NULL)
        return unknown_noun(invocation, noun, err);
    invocation->noun = noun;
    const struct command *alone = find_command(invocation->tables, noun, "");
    if (alone == NULL && !read_leading_options(invocation, words, err))
        return false;
    const char *verb = words->left > 0 ? *words->at : NULL;
    if (alone != NULL && (verb == NULL || find_command(invocation->tables, noun, verb) == NULL)) {
        invocation->command = alone;
        invocation->verb = "";
    } else if (verb == NULL) {
        if (invocation->wish == WISH_RUN)
            invocation->wish = WISH_INCOMPLETE;
        return true;
    } else {
        invocation->command = find_command(invocation->tables, noun, verb);
        if (invocation->command == NULL)
            return unknown_verb(invocation, noun, verb, err);
        invocation->verb = take_word(words);
    }
    return read_rest(invocation, words, err);
}

bool invocation_parse(const struct command *const *tables, int argc, char **argv,
                      struct invocation **out, struct error *err)
{
    bool ok = false;
    *out = NULL;
    size_t count = argc > 0 ? (size_t)argc : 0;
    struct invocation *invocation = calloc(1, sizeof *invocation);
    if (invocation == NULL)
        return error_memory(err);
    invocation->tables = tables;
    invocation->state = calloc(1, sizeof *invocation->state);
    invocation->arguments = calloc(count + 1, sizeof *invocation->arguments);
    if (invocation->state == NULL || invocation->arguments == NULL) {
        error_memory(err);
        goto done;
    }
    struct words words = {argv + (count > 0), count - (count > 0)};
    if (!read_words(invocation, &words, err))
        goto done;
    *out = invocation;
    invocation = NULL; /* transferred */
    ok = true;
done:
    invocation_free(&invocation);
    return ok;
}

void invocation_free(struct invocation **invocation)
{
    if (invocation == NULL || *invocation == NULL)
        return;
    if ((*invocation)->state != NULL)
        config_free(&(*invocation)->state->config);
    free((*invocation)->state);
    free((*invocation)->arguments);
    free(*invocation);
    *invocation = NULL;
}

enum wish invocation_wish(const struct invocation *invocation)
{
    return invocation->wish;
}

bool invocation_run(const struct invocation *invocation, struct error *err)
{
    return invocation->command->run(invocation, err);
}

int invocation_status(const struct invocation *invocation)
{
    return invocation->state->status;
}

void invocation_help(const struct invocation *invocation, FILE *out)
{
    command_help(invocation->tables, invocation->noun, invocation->verb, out);
}

static const char *value_of(const struct invocation *invocation, const char *name, bool flag)
{
    const struct command_option *options = invocation->command->options;
    for (size_t i = 0; options != NULL && options[i].name != NULL && i < OPTIONS_MAX; i++) {
        if (strcmp(options[i].name, name) == 0 && (options[i].value == NULL) == flag)
            return invocation->values[i];
    }
    abort(); /* a name that is not in the command's table is a bug of the command */
}

const char *invocation_option(const struct invocation *invocation, const char *name)
{
    return value_of(invocation, name, false);
}

bool invocation_flag(const struct invocation *invocation, const char *name)
{
    return value_of(invocation, name, true) != NULL;
}

size_t invocation_count(const struct invocation *invocation)
{
    return invocation->count;
}

const char *invocation_argument(const struct invocation *invocation, size_t index)
{
    return index < invocation->count ? invocation->arguments[index] : NULL;
}

bool invocation_json(const struct invocation *invocation)
{
    return invocation->json;
}

typedef bool settings_loader(const char *path, struct config **out, struct error *err);

static bool load_config(const struct invocation *invocation, const char *path,
                        settings_loader *load, const struct config **out, struct error *err)
{
    struct state *state = invocation->state;
    *out = NULL;
    if (state->config == NULL && !load(path, &state->config, err)) {
        if (err->kind == FAIL_NOT_FOUND && path != NULL)
            error_hint(err,
                       "name the configuration file; where none is named, %s" SETTINGS_DEFAULT_PATH
                       " is read",
                       load == settings_load_hub ? SETTINGS_HUB_PATH " or " : "");
        return false;
    }
    *out = state->config;
    return true;
}

bool invocation_config(const struct invocation *invocation, const struct config **out,
                       struct error *err)
{
    return load_config(invocation, invocation->config_path, settings_load, out, err);
}

bool invocation_hub_config(const struct invocation *invocation, const struct config **out,
                           struct error *err)
{
    return load_config(invocation, invocation->config_path, settings_load_hub, out, err);
}

bool invocation_config_file(const struct invocation *invocation, const struct config **out,
                            const char **path, struct error *err)
{
    const char *argument = invocation_argument(invocation, 0);
    *out = NULL;
    *path = argument != NULL ? argument : invocation->config_path;
    if (argument != NULL && invocation->config_path != NULL) {
        error_set(err, FAIL_USAGE, "FILE and --config are two ways to say the same");
        return error_hint(err, "give one of them");
    }
    return load_config(invocation, *path, settings_load, out, err);
}

bool invocation_may_config(const struct invocation *invocation, const struct config **out,
                           struct error *err)
{
    if (invocation_config(invocation, out, err))
        return true;
    return invocation->config_path == NULL && err->kind == FAIL_NOT_FOUND;
}

void invocation_set_status(const struct invocation *invocation, int status)
{
    invocation->state->status = status;
}

static int print_error(const struct error *err)
{
    fflush(stdout); /* what was done comes before what failed */
    fprintf(stderr, "reseal: %s\n", err->text);
    if (err->hint[0] != '\0')
        fprintf(stderr, "hint: %s\n", err->hint);
    return error_exit_status(err->kind);
}

static int run_wish(const struct invocation *invocation, struct error *err)
{
    switch (invocation->wish) {
    case WISH_HELP:
        invocation_help(invocation, stdout);
        return 0;
    case WISH_INCOMPLETE:
        invocation_help(invocation, stdout);
        return error_exit_status(FAIL_USAGE);
    case WISH_VERSION:
        puts("reseal " RESEAL_VERSION);
        return 0;
    case WISH_RUN:
        break;
    }
    if (!invocation_run(invocation, err))
        return print_error(err);
    return invocation_status(invocation);
}

int command_main(const struct command *const *tables, int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct invocation *invocation = NULL;
    int status;
    if (!invocation_parse(tables, argc, argv, &invocation, &err))
        return print_error(&err);
    status = run_wish(invocation, &err);
    invocation_free(&invocation);
    /* A full disk or a closed pipe shows only when the last bytes go out. */
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
        error_errno(&err, FAIL_IO, "cannot write standard output");
        status = print_error(&err);
    }
    return status;
}
