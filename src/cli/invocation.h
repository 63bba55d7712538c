/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From argv to a command that runs: what main.c and the tests use; commands see command.h only.
 */
#ifndef RESEAL_INVOCATION_H
#define RESEAL_INVOCATION_H

#include "command.h"

/* What one command line asks for. */
enum wish {
    WISH_RUN,
    WISH_HELP,       /* of everything, of a noun, or of a command */
    WISH_VERSION,    /* `reseal --version` */
    WISH_INCOMPLETE, /* `reseal`, or a noun that wants a verb: help, but exit status 2 */
};

struct invocation;

/*
 * Reads argv against the tables (ended by NULL). An unknown or incomplete word is FAIL_USAGE with
 * the nearest known name; values are never repeated in an error, one of them may be a secret given
 * by mistake. `argv` outlives the invocation.
 */
bool invocation_parse(const struct command *const *tables, int argc, char **argv,
                      struct invocation **out, struct error *err) MUST_USE;
void invocation_free(struct invocation **invocation);
enum wish invocation_wish(const struct invocation *invocation) MUST_USE;
/* Runs the command. */
bool invocation_run(const struct invocation *invocation, struct error *err) MUST_USE;
/* What the command set by invocation_set_status, otherwise 0. */
int invocation_status(const struct invocation *invocation) MUST_USE;
/* Writes the help that the command line asks for. */
void invocation_help(const struct invocation *invocation, FILE *out);

/* Help from the tables; noun and verb may be NULL. */
void command_help(const struct command *const *tables, const char *noun, const char *verb,
                  FILE *out);

/* A whole program: parses, runs, prints errors to standard error, returns the exit status. */
int command_main(const struct command *const *tables, int argc, char **argv) MUST_USE;

#endif
