/* SPDX-License-Identifier: Apache-2.0 */
/* Help, made from the same tables that the command line is read with. */
#include <string.h>
#include "invocation.h"
#include "reseal/settings.h"

#define COLUMN 34 /* where explanations begin */

static void print_row(FILE *out, const char *left, const char *right)
{
    if (strlen(left) < COLUMN - 3)
        fprintf(out, "  %-*s%s\n", COLUMN - 2, left, right);
    else
        fprintf(out, "  %s\n%*s%s\n", left, COLUMN, "", right);
}

static void synopsis(const struct command *command, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s%s%s", command->noun, command->verb[0] != '\0' ? " " : "",
             command->verb, command->arguments[0] != '\0' ? " " : "", command->arguments);
}

/* `access` tends the files of the hub, which may have settings of its own. */
static void print_common_options(const char *noun, FILE *out)
{
    bool hub = noun != NULL && strcmp(noun, "access") == 0;
    fputs("\nOptions of every command:\n", out);
    print_row(out, "--config FILE",
              hub ? "configuration (default: " SETTINGS_HUB_PATH
                    " if it is there, else " SETTINGS_DEFAULT_PATH ")"
                  : "configuration (default: " SETTINGS_DEFAULT_PATH ")");
    print_row(out, "--json", "print data as JSON");
    print_row(out, "--help", "say how it is used, and do nothing");
}

static void print_command(const struct command *command, FILE *out)
{
    char line[256];
    synopsis(command, line, sizeof line);
    const struct command_option *row = command->options;
    bool options = row != NULL && row->name != NULL;
    fprintf(out, "usage: reseal %s%s\n\n%s\n", line, options ? " [options]" : "", command->summary);
    if (options)
        fputs("\nOptions:\n", out);
    for (; options && row->name != NULL; row++) {
        snprintf(line, sizeof line, "--%s%s%s", row->name, row->value != NULL ? " " : "",
                 row->value != NULL ? row->value : "");
        print_row(out, line, row->help);
    }
    print_common_options(command->noun, out);
}

static void print_list(const struct command *const *tables, const char *noun, FILE *out)
{
    for (; *tables != NULL; tables++) {
        for (const struct command *row = *tables; row->noun != NULL; row++) {
            char line[256];
            if (noun != NULL && strcmp(noun, row->noun) != 0)
                continue;
            synopsis(row, line, sizeof line);
            print_row(out, line, row->summary);
        }
    }
}

void command_help(const struct command *const *tables, const char *noun, const char *verb,
                  FILE *out)
{
    for (const struct command *const *table = tables; noun != NULL && *table != NULL; table++) {
        for (const struct command *row = *table; row->noun != NULL; row++) {
            if (strcmp(row->noun, noun) == 0 && strcmp(row->verb, verb != NULL ? verb : "") == 0) {
                print_command(row, out);
                return;
            }
        }
    }
    if (noun == NULL)
        fputs("Reseal delivers escrowed PFX certificates to devices without the password being\n"
              "readable on the way.\n\n",
              out);
    fprintf(out, "usage: reseal %s [options]\n\nCommands:\n", noun != NULL ? noun : "NOUN VERB");
    print_list(tables, noun, out);
    print_common_options(noun, out);
    if (noun == NULL) {
        fputs("\nExit status: 0 done, 1 failed, 2 usage, 3 refused by policy, 4 token, 5 remote.\n"
              "More: reseal NOUN VERB --help, reseal --version\n",
              out);
    }
}
