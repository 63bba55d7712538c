/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal of a ceremony: questions, exceptions in words, and signals. */
#define _GNU_SOURCE /* ppoll */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "reseal/text.h"
#include "run.h"

static volatile sig_atomic_t signal_seen;

static const int guarded_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static void on_signal(int number)
{
    signal_seen = number;
}

static void handle_signals(void (*handler)(int))
{
    /* Without SA_RESTART: whoever waits for a person at the terminal is woken. */
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(guarded_signals); i++)
        (void)sigaction(guarded_signals[i], &action, NULL);
}

void signals_guard(void)
{
    signal_seen = 0;
    handle_signals(on_signal);
}

void signals_unguard(void)
{
    handle_signals(SIG_DFL);
}

bool ceremony_interrupted(struct error *err)
{
    if (signal_seen == 0)
        return false;
    error_set(err, FAIL_IO, "the ceremony was interrupted (%s)", strsignal(signal_seen));
    return true;
}

void talk(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("       ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
}

bool terminal_present(struct error *err)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0) {
        error_set(err, FAIL_USAGE, "there is no terminal on which this ceremony can be confirmed");
        return error_hint(err, "run it on a terminal, or confirm it with --yes where the plan "
                               "allows it ([ceremony] allow_yes)");
    }
    close(tty);
    return true;
}

/* Waits until the terminal has something to read; false if a signal came, before or meanwhile. */
static bool wait_typed(int tty, struct error *err)
{
    struct pollfd waited = {.fd = tty, .events = POLLIN};
    sigset_t guarded, before;
    sigemptyset(&guarded);
    for (size_t i = 0; i < ARRAY_LEN(guarded_signals); i++)
        sigaddset(&guarded, guarded_signals[i]);
    /* A signal between the look and the sleep would be slept through: only ppoll lets it in. */
    (void)sigprocmask(SIG_BLOCK, &guarded, &before);
    int ready = 0;
    while (!ceremony_interrupted(err) && (ready = ppoll(&waited, 1, NULL, &before)) < 0) {
        if (errno == EINTR)
            continue;
        error_errno(err, FAIL_IO, "cannot wait for the terminal");
        break;
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return ready > 0;
}

/* Reads what is typed up to the end of the line; a signal ends it. */
static bool read_typed(int tty, char out[static TYPED_MAX], struct error *err)
{
    size_t len = 0;
    for (;;) {
        char c;
        if (!wait_typed(tty, err))
            return false;
        ssize_t got = read(tty, &c, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, FAIL_IO, "cannot read from the terminal");
        if (got == 0 || c == '\n')
            break;
        if (len + 1 < TYPED_MAX)
            out[len++] = c;
    }
    out[len] = '\0';
    text_make_printable(out);
    return true;
}

struct note {
    const char *words, *step;
};

static void facts_note(const void *context, struct json_writer *line)
{
    const struct note *note = context;
    json_put_text(line, "during", note->step);
    json_put_text(line, "words", note->words);
}

static bool record_words(struct ceremony *ceremony, const char *words, struct error *err)
{
    const struct note note = {words + strspn(words, " \t"), ceremony_steps[ceremony->next].name};
    if (!transcript_add(ceremony->transcript, "note", LINE_NOTED, facts_note, &note, NULL, err))
        return false;
    talk("recorded: %s", note.words);
    return true;
}

static bool ask(struct ceremony *ceremony, const char *question, char out[static TYPED_MAX],
                struct error *err)
{
    bool ok;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return error_errno(err, FAIL_IO, "cannot open the terminal");
    for (;;) {
        dprintf(tty, "       %s", question);
        ok = read_typed(tty, out, err);
        if (!ok || out[0] != '!' || ceremony->transcript == NULL)
            break;
        ok = record_words(ceremony, out + 1, err);
        if (!ok)
            break;
    }
    close(tty);
    return ok;
}

bool talk_confirm(struct ceremony *ceremony, const char *question, struct error *err)
{
    char typed[TYPED_MAX];
    if (ceremony->options->confirmed) {
        talk("%s confirmed by --yes", question);
        return true;
    }
    fprintf(stderr, "       %s\n", question);
    if (!ask(ceremony, "Type Yes to go on (! and words for the record): ", typed, err))
        return false;
    ceremony->asked = true;
    if (strcmp(typed, "Yes") == 0)
        return true;
    error_set(err, FAIL_POLICY, "the ceremony was not confirmed");
    return error_hint(err, "only exactly \"Yes\" confirms");
}

bool talk_typed(const char *question, const char *wanted, struct error *err)
{
    char typed[TYPED_MAX];
    if (!terminal_present(err))
        return false;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return error_errno(err, FAIL_IO, "cannot open the terminal");
    dprintf(tty, "%s", question);
    bool ok = read_typed(tty, typed, err);
    close(tty);
    if (!ok || strcmp(typed, wanted) == 0)
        return ok;
    error_set(err, FAIL_POLICY, "it was not confirmed");
    return error_hint(err, "nothing was done; only exactly \"%s\" confirms", wanted);
}

bool talk_yes(const char *question, struct error *err)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s Type Yes to go on: ", question);
    return talk_typed(whole, "Yes", err);
}

bool talk_pause(struct ceremony *ceremony, struct error *err)
{
    char typed[TYPED_MAX];
    return ceremony->options->confirmed ||
           ask(ceremony, "Press Enter to go on (! and words for the record): ", typed, err);
}
