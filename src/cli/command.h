/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `reseal NOUN VERB`: one table of commands, one file per noun.
 *
 * A command says what it takes as data; main.c parses, prints usage from the same data, runs the
 * command and turns an error into "reseal: what, where, why", a hint and the exit status. Data goes
 * to standard output, talk to standard error.
 */
#ifndef RESEAL_COMMAND_H
#define RESEAL_COMMAND_H

#include <stdio.h>
#include "reseal/json.h"
#include "reseal/settings.h"

/* `--name VALUE`, or a flag where `value` is NULL. A list ends with a row without a name. */
struct command_option {
    const char *name;  /* without the dashes */
    const char *value; /* "FILE", "N" ..., or NULL */
    const char *help;
};

struct invocation;

struct command {
    const char *noun;
    const char *verb;                     /* "" for a noun that is a command by itself (doctor) */
    const char *arguments;                /* "PLAN", "FILE...", "" */
    const char *summary;                  /* one line */
    const struct command_option *options; /* NULL: none of its own */
    size_t min_arguments, max_arguments;
    bool (*run)(const struct invocation *invocation, struct error *err);
};

/* Options of every command: --config FILE, --json, --help. */

/* NULL where the option was not given. A name that the command does not have is a bug and aborts.
 */
const char *invocation_option(const struct invocation *invocation, const char *name) MUST_USE;
bool invocation_flag(const struct invocation *invocation, const char *name) MUST_USE;
size_t invocation_count(const struct invocation *invocation) MUST_USE;
const char *invocation_argument(const struct invocation *invocation, size_t index) MUST_USE;
/* True with --json. */
bool invocation_json(const struct invocation *invocation) MUST_USE;
/* Loads --config, or the default path, at the first call; owned by the invocation. */
bool invocation_config(const struct invocation *invocation, const struct config **out,
                       struct error *err) MUST_USE;
/* The same for commands that tend the hub's files: the default is that of the hub. */
bool invocation_hub_config(const struct invocation *invocation, const struct config **out,
                           struct error *err) MUST_USE;
/* As invocation_config, for commands that can do without: *out is NULL where --config was not given
 * and there is no file at the default path. */
bool invocation_may_config(const struct invocation *invocation, const struct config **out,
                           struct error *err) MUST_USE;
/* For commands about the file itself, which take it as their argument too. *path is NULL for the
 * default one, also on failure. */
bool invocation_config_file(const struct invocation *invocation, const struct config **out,
                            const char **path, struct error *err) MUST_USE;
/* A command whose work was done but whose finding is bad (doctor) sets the exit status itself and
 * returns true. */
void invocation_set_status(const struct invocation *invocation, int status);

/* Writes a finished JSON text and a line end to standard output. */
bool print_json(struct json_writer *json, struct error *err) MUST_USE;

/* A table for people: header first, columns aligned, cut to nothing. NULL cells are shown as "-".
 */
struct table;
bool table_new(const char *const *headers, size_t columns, struct table **out,
               struct error *err) MUST_USE;
bool table_row(struct table *table, const char *const *cells, struct error *err) MUST_USE;
void table_print(const struct table *table, FILE *out);
void table_free(struct table **table);

/* "ok", "warning", "failure" in green, yellow, red where `out` is a terminal and NO_COLOR is not
 * set. */
enum mark {
    MARK_OK,
    MARK_WARNING,
    MARK_FAILURE,
};
void print_mark(FILE *out, enum mark mark);

/* "reseal: warning: ..." on standard error; for what a person should know and that stops nothing.
 */
void print_warning(const char *format, ...) PRINTF_LIKE(1, 2);

/* The tables of each file, ended by a row without a noun. */
extern const struct command pfx_commands[];
extern const struct command device_commands[];
extern const struct command deliver_commands[];
extern const struct command login_commands[];
extern const struct command config_commands[];
extern const struct command token_commands[];
extern const struct command key_commands[];
extern const struct command ceremony_commands[];
extern const struct command doctor_commands[];
extern const struct command status_commands[];
extern const struct command queue_commands[];
extern const struct command access_commands[];

#endif
