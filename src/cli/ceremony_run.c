/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* ppoll */
#include "ceremony_run.h"

#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "reseal/clock.h"

static volatile sig_atomic_t signal_seen;

static const int guarded_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static void on_signal(int number)
{
    signal_seen = number;
}

/* Without SA_RESTART: whoever waits for a person at the terminal is woken. */
static void guard_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(guarded_signals); i++)
        (void)sigaction(guarded_signals[i], &action, NULL);
}

static void unguard_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(guarded_signals); i++)
        (void)sigaction(guarded_signals[i], &action, NULL);
}

bool ceremony_interrupted(struct error *err)
{
    if (signal_seen == 0)
        return false;
    error_set(err, FAIL_IO, "the ceremony was interrupted (%s)", strsignal(signal_seen));
    return true;
}

bool ceremony_wait_typed(int tty, struct error *err)
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

static size_t count_steps(void)
{
    size_t count = 0;
    while (ceremony_steps[count].name != NULL)
        count++;
    return count;
}

static void put_failure(struct json_writer *line, const struct error *failure)
{
    json_object(line, "error");
    json_put_text(line, "kind", failure_name(failure->kind));
    json_put_text(line, "text", failure->text);
    json_object_end(line);
}

/* One line for a step that is over. `failure` is NULL where it went well. */
static bool record(struct ceremony *ceremony, size_t index, int64_t time_ms,
                   const struct error *failure, struct error *err)
{
    const struct ceremony_step *step = &ceremony_steps[index];
    struct json_writer *line = NULL;
    bool last = ceremony_steps[index + 1].name == NULL;
    if (!transcript_begin(ceremony->transcript, step->name, time_ms, &line, err))
        return false;
    if (step->facts != NULL)
        step->facts(ceremony, line);
    json_put_text(line, "outcome", failure != NULL ? "failed" : last ? "accepted" : "done");
    if (failure != NULL)
        put_failure(line, failure);
    return transcript_commit(ceremony->transcript, &line, err);
}

/* The preparation is recorded when the transcript is open, with the times at which it was done. */
static bool record_preparation(struct ceremony *ceremony, const int64_t *times, struct error *err)
{
    for (size_t i = 0; i < CEREMONY_PREPARATION; i++) {
        if (!record(ceremony, i, times[i], NULL, err))
            return false;
    }
    return true;
}

static bool run_step(struct ceremony *ceremony, size_t index, int64_t *times, struct error *err)
{
    const struct ceremony_step *step = &ceremony_steps[index];
    struct error ignored = ERROR_INIT;
    fprintf(stderr, "%2zu/%zu  %s\n", index + 1, count_steps(), step->title);
    if (index + 1 == CEREMONY_GUARDED)
        guard_signals();
    bool ok = step->act(ceremony, err);
    if (ok && ceremony_interrupted(err))
        ok = false;
    int64_t now = clock_real_ms();
    if (index < CEREMONY_PREPARATION)
        times[index] = now;
    if (!ok) {
        if (ceremony->transcript != NULL && index >= CEREMONY_PREPARATION)
            (void)!record(ceremony, index, now, err, &ignored);
        return false;
    }
    if (index + 1 < CEREMONY_PREPARATION)
        return true;
    if (index + 1 == CEREMONY_PREPARATION)
        return record_preparation(ceremony, times, err);
    return record(ceremony, index, now, NULL, err);
}

/* Takes the key and the files away again; what could not be undone is added to `err`. */
static bool undo_key(struct ceremony *ceremony, struct error *undo)
{
    bool ok = key_destroy(ceremony->session, ceremony->key, undo) &&
              key_label_free(ceremony->session, ceremony->plan->key.label, undo);
    if (ok)
        fprintf(stderr, "      the key \"%s\" was destroyed\n", ceremony->plan->key.label);
    sealing_key_free(&ceremony->key);
    return ok;
}

static void record_undo(struct ceremony *ceremony, bool key_was_made, const struct error *undo,
                        const struct error *failure)
{
    struct error ignored = ERROR_INIT; /* the failure that led here is the one that is told */
    struct json_writer *line = NULL;
    int64_t now = clock_real_ms();
    if (key_was_made && transcript_begin(ceremony->transcript, "destroy", now, &line, &ignored)) {
        json_put_text(line, "label", ceremony->plan->key.label);
        json_put_text(line, "outcome", undo->kind == FAIL_NONE ? "done" : "failed");
        if (undo->kind != FAIL_NONE)
            put_failure(line, undo);
        (void)!transcript_commit(ceremony->transcript, &line, &ignored);
    }
    if (transcript_begin(ceremony->transcript, "close", now, &line, &ignored)) {
        json_put_text(line, "outcome", "failed");
        put_failure(line, failure);
        (void)!transcript_commit(ceremony->transcript, &line, &ignored);
    }
    memcpy(ceremony->head, transcript_head(ceremony->transcript), DIGEST_TEXT);
}

static void undo(struct ceremony *ceremony, struct error *err)
{
    struct error undone = ERROR_INIT;
    bool made = ceremony->key != NULL || ceremony->birth.check_count > 0;
    if (ceremony->key != NULL && !undo_key(ceremony, &undone))
        error_hint(err, "the key \"%s\" is STILL ON THE TOKEN, it could not be destroyed: %s",
                   ceremony->plan->key.label, undone.text);
    if (ceremony->pem_written)
        (void)unlink(ceremony->plan->public_key);
    if (ceremony->cng_written)
        (void)unlink(ceremony->plan->public_key_cng);
    if (ceremony->transcript == NULL)
        return;
    record_undo(ceremony, made, &undone, err);
    fprintf(stderr, "      the ceremony failed; its record is %s\n", ceremony->plan->transcript);
}

bool ceremony_run(const struct ceremony_options *options, struct ceremony *out, struct error *err)
{
    int64_t times[CEREMONY_PREPARATION] = {0};
    bool ok = true;
    memset(out, 0, sizeof *out);
    out->options = options;
    signal_seen = 0;
    for (size_t i = 0; ceremony_steps[i].name != NULL && ok; i++)
        ok = run_step(out, i, times, err);
    out->accepted = ok;
    if (ok)
        memcpy(out->head, transcript_head(out->transcript), DIGEST_TEXT);
    else
        undo(out, err);
    unguard_signals();
    return ok;
}

void ceremony_end(struct ceremony *ceremony)
{
    sealing_key_free(&ceremony->key);
    EVP_PKEY_free(ceremony->public_key);
    ceremony->public_key = NULL;
    session_close(&ceremony->session);
    token_close(&ceremony->token);
    secret_free(&ceremony->pin);
    transcript_close(&ceremony->transcript);
    ceremony_plan_free(&ceremony->plan);
}
