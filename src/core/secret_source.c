/* SPDX-License-Identifier: Apache-2.0 */
/* Where secrets come from: file, descriptor, systemd credential, terminal. */
#define _GNU_SOURCE /* ppoll */
#include "reseal/secret.h"
#include "reseal/shares.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define SHARE_TRIES 32u /* lines typed before it is given up */

static const char source_hint[] = "use file:PATH, fd:N, credential:NAME, prompt or shares:prompt; "
                                  "the secret itself is never given "
                                  "here";

static const int end_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static volatile sig_atomic_t end_signal; /* the one that came while echo was off */

static const char *after(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static bool parse_descriptor(const char *text, int *out)
{
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0 || value > INT_MAX)
        return false;
    *out = (int)value;
    return true;
}

static bool bad_source(struct error *err)
{
    /* The text may be the secret itself, given by mistake: it is not repeated. */
    error_set(err, FAIL_USAGE, "a secret's source has none of the known forms");
    return error_hint(err, "%s", source_hint);
}

bool secret_source_check(const char *source, struct error *err)
{
    int fd;
    const char *rest;
    if (strcmp(source, "prompt") == 0)
        return true;
    if ((rest = after(source, "file:")) != NULL && *rest != '\0')
        return true;
    if ((rest = after(source, "credential:")) != NULL && *rest != '\0' && strchr(rest, '/') == NULL)
        return true;
    if ((rest = after(source, "fd:")) != NULL && parse_descriptor(rest, &fd))
        return true;
    if ((rest = after(source, "shares:")) != NULL &&
        (strcmp(rest, "prompt") == 0 ||
         ((rest = after(rest, "fd:")) != NULL && parse_descriptor(rest, &fd))))
        return true;
    return bad_source(err);
}

bool secret_source_path(const char *source, char *out, size_t size)
{
    const char *file = after(source, "file:"), *name = after(source, "credential:");
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    int len = -1;
    if (file != NULL)
        len = snprintf(out, size, "%s", file);
    else if (name != NULL && folder != NULL)
        len = snprintf(out, size, "%s/%s", folder, name);
    return len >= 0 && (size_t)len < size;
}

static void strip_line_end(struct secret *secret)
{
    size_t len = secret_len(secret);
    const uint8_t *data = secret_data(secret);
    if (len > 0 && data[len - 1] == '\n')
        len--;
    if (len > 0 && len < secret_len(secret) && data[len - 1] == '\r')
        len--;
    secret_truncate(secret, len);
}

/*
 * read() that an end signal ends also where it came a moment before: a plain read() would sleep
 * through that. The signals are let in by ppoll() alone.
 */
static ssize_t read_typed(int tty, uint8_t *out, size_t len)
{
    struct pollfd waited = {.fd = tty, .events = POLLIN};
    sigset_t end, before;
    sigemptyset(&end);
    for (size_t i = 0; i < ARRAY_LEN(end_signals); i++)
        sigaddset(&end, end_signals[i]);
    (void)sigprocmask(SIG_BLOCK, &end, &before);
    errno = EINTR;
    int ready = end_signal != 0 ? -1 : ppoll(&waited, 1, NULL, &before);
    int reason = errno;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return ready < 0 ? -1 : read(tty, out, len);
}

/* Reads until the end (or, on a terminal, the end of the line) straight into locked memory. */
static bool read_descriptor(int fd, const char *what, size_t max, bool one_line,
                            struct secret **out, struct error *err)
{
    struct secret *secret = NULL;
    bool ok = false;
    *out = NULL;
    if (!secret_new(max + 3, &secret, err)) /* a line end, and one byte that shows "too long" */
        return false;
    size_t len = 0;
    while (len < secret_len(secret)) {
        uint8_t *place = secret_data(secret) + len;
        ssize_t got =
            one_line ? read_typed(fd, place, 1) : read(fd, place, secret_len(secret) - len);
        if (got < 0 && errno == EINTR && !(one_line && end_signal != 0))
            continue;
        if (got < 0) {
            error_errno(err, FAIL_IO, "cannot read %s", what);
            goto done;
        }
        if (got == 0)
            break;
        len += (size_t)got;
        if (one_line && secret_data(secret)[len - 1] == '\n')
            break;
    }
    secret_truncate(secret, len);
    strip_line_end(secret);
    if (secret_len(secret) > max) {
        error_set(err, FAIL_TOO_LARGE, "%s holds more than %zu bytes", what, max);
        goto done;
    }
    *out = secret;
    secret = NULL; /* transferred */
    ok = true;
done:
    secret_free(&secret);
    return ok;
}

static bool read_file(const char *path, bool guarded, size_t max, struct secret **out,
                      struct error *err)
{
    char what[PATH_MAX + 16];
    struct stat st;
    bool ok = false;
    snprintf(what, sizeof what, "secret file %s", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        (void)error_open(err, what);
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "create it with mode 0600, readable by the user who runs this program");
        return false;
    }
    if (fstat(fd, &st) != 0) {
        error_errno(err, FAIL_IO, "cannot examine %s", what);
        goto done;
    }
    if (guarded && S_ISREG(st.st_mode) && (st.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        error_set(err, FAIL_POLICY, "%s is open to every user (mode %04o)", what,
                  (unsigned)(st.st_mode & 07777));
        error_hint(err, "chmod 600 %s, and consider the secret known", path);
        goto done;
    }
    ok = read_descriptor(fd, what, max, false, out, err);
done:
    close(fd);
    return ok;
}

static bool read_credential(const char *source, size_t max, struct secret **out, struct error *err)
{
    const char *name = after(source, "credential:");
    char path[PATH_MAX];
    if (getenv("CREDENTIALS_DIRECTORY") == NULL) {
        error_set(err, FAIL_USAGE, "credential %s: the service manager passed no credentials",
                  name);
        return error_hint(err, "add LoadCredential=%s:PATH to the unit", name);
    }
    if (!secret_source_path(source, path, sizeof path))
        return error_set(err, FAIL_USAGE, "credential %s: the path is too long", name);
    return read_file(path, false, max, out, err);
}

static void on_end_signal(int number)
{
    end_signal = number;
}

/* Reads a line without echo. A signal that ends the program waits until echo is on again. */
static bool read_quietly(int tty, const char *question, const struct termios *before, size_t max,
                         struct secret **out, struct error *err)
{
    struct sigaction catch = {.sa_handler = on_end_signal}, old[ARRAY_LEN(end_signals)];
    struct termios quiet = *before;
    bool ok = false;
    end_signal = 0;
    for (size_t i = 0; i < ARRAY_LEN(end_signals); i++)
        sigaction(end_signals[i], &catch, &old[i]); /* without SA_RESTART: read returns */
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    if (tcsetattr(tty, TCSAFLUSH, &quiet) == 0) {
        /* Asked only now: the flush drops what was typed before, and that may be no answer. */
        dprintf(tty, "%s: ", question);
        ok = read_descriptor(tty, "the terminal", max, true, out, err);
        tcsetattr(tty, TCSAFLUSH, before);
    } else {
        error_errno(err, FAIL_IO, "cannot silence the terminal");
    }
    for (size_t i = 0; i < ARRAY_LEN(end_signals); i++)
        sigaction(end_signals[i], &old[i], NULL);
    if (end_signal != 0) {
        dprintf(tty, "\n");
        raise(end_signal);
    }
    return ok;
}

static bool read_terminal(const char *question, size_t max, struct secret **out, struct error *err)
{
    struct termios before;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0 || tcgetattr(tty, &before) != 0) {
        if (tty >= 0)
            close(tty);
        error_set(err, FAIL_USAGE, "cannot ask for \"%s\": there is no terminal", question);
        return error_hint(err, "%s", source_hint);
    }
    bool ok = read_quietly(tty, question, &before, max, out, err);
    dprintf(tty, "\n");
    close(tty);
    return ok;
}

/* One share after the other, each said to be right before the next is asked for. A slip of the pen
 * is named, and that share is asked for again. */
static bool ask_for_shares(struct share_joining *joining, const char *question, struct error *err)
{
    unsigned missing;
    for (unsigned turn = 1; (missing = share_joining_missing(joining)) > 0; turn++) {
        char asked[256];
        struct secret *line = NULL;
        struct share_facts facts;
        struct error reason = ERROR_INIT;
        if (turn > SHARE_TRIES)
            return error_set(err, FAIL_INPUT, "%u shares were typed, and none of them completes it",
                             SHARE_TRIES);
        if (turn == 1)
            snprintf(asked, sizeof asked, "%.160s, a share of it", question);
        else
            snprintf(asked, sizeof asked, "%.160s, a share of it (%u missing)", question, missing);
        if (!read_terminal(asked, SHARE_LINE_MAX, &line, err))
            return false;
        bool ok = share_joining_add(joining, secret_bytes(line), &facts, &reason);
        secret_free(&line);
        int tty = open("/dev/tty", O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (tty >= 0 && ok)
            dprintf(tty, "share %u of %u, set %s, is right\n", facts.number, facts.count,
                    facts.set);
        else if (tty >= 0)
            dprintf(tty, "not taken: %s\n", reason.text);
        if (tty >= 0)
            close(tty);
        if (!ok && reason.kind == FAIL_INTERNAL) {
            *err = reason;
            return false;
        }
    }
    return true;
}

static bool read_shares(const char *from, const char *question, size_t max, struct secret **out,
                        struct error *err)
{
    const char *rest = after(from, "fd:");
    struct share_joining *joining = NULL;
    struct secret *text = NULL;
    int fd;
    bool ok = false;
    if (!share_joining_new(&joining, err))
        return false;
    if (rest == NULL)
        ok = ask_for_shares(joining, question, err);
    else
        ok = parse_descriptor(rest, &fd) &&
             read_descriptor(fd, "the descriptor with the shares", SHARES_MAX * SHARE_LINE_MAX,
                             false, &text, err) &&
             share_joining_take(joining, secret_bytes(text), err);
    ok = ok && share_joining_finish(joining, out, err);
    if (ok && secret_len(*out) > max) {
        ok = error_set(err, FAIL_TOO_LARGE, "the shares give more than %zu bytes", max);
        secret_free(out);
    }
    secret_free(&text);
    share_joining_free(&joining);
    return ok;
}

bool secret_read(const char *source, const char *prompt, size_t max, struct secret **out,
                 struct error *err)
{
    const char *rest;
    int fd;
    *out = NULL;
    if (!secret_source_check(source, err))
        return false;
    if ((rest = after(source, "file:")) != NULL)
        return read_file(rest, true, max, out, err);
    if (after(source, "credential:") != NULL)
        return read_credential(source, max, out, err);
    if ((rest = after(source, "shares:")) != NULL)
        return read_shares(rest, prompt, max, out, err);
    if ((rest = after(source, "fd:")) != NULL && parse_descriptor(rest, &fd))
        return read_descriptor(fd, source, max, false, out, err);
    return read_terminal(prompt, max, out, err);
}
