/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `reseal ceremony shares make|join`: a PIN for several people, where the HSM has no such thing of
 * its own.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cmd_ceremony.h"
#include "reseal/file.h"
#include "reseal/shares.h"
#include "token_options.h"

static bool read_number(const struct invocation *invocation, const char *name, unsigned least,
                        unsigned most, unsigned *out, struct error *err)
{
    const char *text = invocation_option(invocation, name);
    char *end = NULL;
    unsigned long value = text != NULL ? strtoul(text, &end, 10) : 0;
    if (text == NULL || end == text || *end != '\0' || value < least || value > most)
        return error_set(err, FAIL_USAGE, "--%s must be a number from %u to %u", name, least, most);
    *out = (unsigned)value;
    return true;
}

/* -- make -- */

/* A sheet to print, in locked memory until it is in its file. */
static bool write_sheet(const char *folder, const struct share_facts *facts,
                        const struct secret *line, char *path, size_t size, struct error *err)
{
    static const char head[] = "# Reseal: a share of a PIN\n"
                               "# share %u of %u, set %s; %u of them together give the PIN\n"
                               "# What counts is the line below. Blanks, dashes and the case of "
                               "letters do not.\n";
    struct secret *sheet = NULL;
    int len = snprintf(path, size, "%s/share-%u-of-%u.txt", folder, facts->number, facts->count);
    if (len < 0 || (size_t)len >= size)
        return error_set(err, FAIL_USAGE, "the path of the folder is too long");
    if (!secret_new(sizeof head + 64 + secret_len(line), &sheet, err))
        return false;
    char *text = (char *)secret_data(sheet);
    size_t used = (size_t)snprintf(text, secret_len(sheet), head, facts->number, facts->count,
                                   facts->set, facts->needed);
    memcpy(text + used, secret_bytes(line).data, secret_len(line));
    text[used + secret_len(line)] = '\n';
    secret_truncate(sheet, used + secret_len(line) + 1);
    bool ok = file_write(path, 0600, FILE_NEW, secret_bytes(sheet), err);
    secret_free(&sheet);
    return ok;
}

/* All of them. Where one fails, those before it are shares of the PIN all the same. */
static bool write_sheets(const char *folder, struct share_facts *facts, struct secret *const *lines,
                         struct error *err)
{
    char path[PATH_MAX];
    for (unsigned i = 0; i < facts->count; i++) {
        facts->number = i + 1;
        if (write_sheet(folder, facts, lines[i], path, sizeof path, err))
            continue;
        if (i > 0)
            error_hint(err,
                       "%u of the %u shares are in %s already, and %u give the PIN: remove them, "
                       "and make all anew",
                       i, facts->count, folder, facts->needed);
        return false;
    }
    return true;
}

static bool tell(const struct share_facts *facts, const char *folder, bool as_json,
                 struct error *err)
{
    struct json_writer *json = NULL;
    fprintf(stderr,
            "%u shares of set %s are in %s; any %u of them give the PIN\n"
            "print each, give it to its keeper, and remove the file\n",
            facts->count, facts->set, folder, facts->needed);
    if (!as_json)
        return true;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "set", facts->set);
    json_put_integer(json, "needed", facts->needed);
    json_put_integer(json, "count", facts->count);
    json_put_text(json, "folder", folder);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool make(const struct invocation *invocation, struct error *err)
{
    const char *source = invocation_option(invocation, "pin");
    const char *folder = invocation_option(invocation, "out");
    struct secret *pin = NULL, *lines[SHARES_MAX] = {NULL};
    struct share_facts facts;
    unsigned needed, count;
    bool ok = false;
    if (invocation_count(invocation) > 1)
        return error_set(err, FAIL_USAGE, "`shares make` takes no files");
    if (folder == NULL) {
        error_set(err, FAIL_USAGE, "where to? --out FOLDER is missing");
        return error_hint(err, "each share gets a file of its own there, for you alone");
    }
    if (!read_number(invocation, "count", 2, SHARES_MAX, &count, err) ||
        !read_number(invocation, "needed", 2, count, &needed, err) ||
        !secret_read(source != NULL ? source : "prompt", PIN_PROMPT, PIN_MAX, &pin, err))
        goto done;
    if (!shares_make(pin, needed, count, lines, &facts, err))
        goto done;
    ok = write_sheets(folder, &facts, lines, err);
    ok = ok && tell(&facts, folder, invocation_json(invocation), err);
done:
    for (unsigned i = 0; i < SHARES_MAX; i++)
        secret_free(&lines[i]);
    secret_free(&pin);
    return ok;
}

/* -- join -- */

static bool take_files(const struct invocation *invocation, struct share_joining *joining,
                       struct error *err)
{
    for (size_t i = 1; i < invocation_count(invocation); i++) {
        const char *path = invocation_argument(invocation, i);
        char source[PATH_MAX + 8];
        struct secret *text = NULL;
        snprintf(source, sizeof source, "file:%s", path);
        bool ok = secret_read(source, "share", SHARE_LINE_MAX, &text, err) &&
                  share_joining_take(joining, secret_bytes(text), err);
        secret_free(&text);
        if (!ok)
            return error_context(err, "%s", path);
    }
    return true;
}

static bool join_files(const struct invocation *invocation, struct secret **out, struct error *err)
{
    struct share_joining *joining = NULL;
    bool ok = share_joining_new(&joining, err) && take_files(invocation, joining, err) &&
              share_joining_finish(joining, out, err);
    share_joining_free(&joining);
    return ok;
}

/* The PIN goes where a program reads it, and never before somebody's eyes. */
static bool join(const struct invocation *invocation, struct error *err)
{
    struct secret *pin = NULL;
    unsigned fd = STDOUT_FILENO;
    if (invocation_option(invocation, "fd") != NULL &&
        !read_number(invocation, "fd", 1, 1 << 20, &fd, err))
        return false;
    if (isatty((int)fd) == 1) {
        error_set(err, FAIL_POLICY, "descriptor %u is a terminal, and a PIN is never shown", fd);
        return error_hint(err, "let a program read it, or give shares:prompt as the PIN's source "
                               "where a PIN is wanted");
    }
    bool ok = invocation_count(invocation) > 1
                  ? join_files(invocation, &pin, err)
                  : secret_read("shares:prompt", PIN_PROMPT, PIN_MAX, &pin, err);
    if (ok && !fd_write_all((int)fd, secret_bytes(pin), err))
        ok = error_context(err, "descriptor %u", fd);
    secret_free(&pin);
    return ok;
}

bool run_ceremony_shares(const struct invocation *invocation, struct error *err)
{
    const char *what = invocation_argument(invocation, 0);
    if (strcmp(what, "make") == 0)
        return make(invocation, err);
    if (strcmp(what, "join") == 0)
        return join(invocation, err);
    return error_set(err, FAIL_USAGE, "`reseal ceremony shares` wants make or join");
}

const struct command_option ceremony_shares_options[] = {
    {"needed", "N", "make: how many shares give the PIN"},
    {"count", "N", "make: how many shares there are, at most 16"},
    {"pin", "SOURCE", "make: where the PIN is: file:PATH, fd:N, credential:NAME or prompt"},
    {"out", "FOLDER", "make: where each share gets a new file"},
    {"fd", "N", "join: the descriptor that the PIN is written to (default: standard output)"},
    {NULL, NULL, NULL}};
