/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a ceremony, written: JSON Lines, each line bound to the one before it.
 *
 *     {"seq":1,"time":"...","step":"...","outcome":"...", facts ..., "previous":"...","hash":"..."}
 *
 * `previous` is the SHA-256 of the whole line before, without its line end; 64 zeros in the first
 * line. `hash` is the SHA-256 of the line's own text up to (not with) `,"hash"`, so that the last
 * line, to which nothing is bound yet, shows a change as well. Who knows the SHA-256 of a line (the
 * head, when it was the last) can tell any change in it and in all before it.
 *
 * A line is on the disk before its writer goes on. What changes something outside the record is
 * announced in a line of its own first: a ceremony that is cut off at any moment has said what it
 * was about to do.
 */
#ifndef RESEAL_TRANSCRIPT_H
#define RESEAL_TRANSCRIPT_H

#include "reseal/digest.h"
#include "reseal/json.h"

#define TRANSCRIPT_LINE_MAX (256 * 1024)       /* bytes of one line */
#define TRANSCRIPT_MAX      (16 * 1024 * 1024) /* bytes of a whole transcript */
#define TRANSCRIPT_STEP     32                 /* bytes of a step's name, end mark included */

/* What to do where there is none: the hint of whoever was given the path. */
#define TRANSCRIPT_HINT                                                                            \
    "TRANSCRIPT is the record that `reseal ceremony run` wrote, `transcript` of the plan"

enum line_outcome {
    LINE_ANNOUNCED, /* is about to be done */
    LINE_DONE,
    LINE_FAILED, /* the reason is the member "error" */
    LINE_NOTED,  /* nothing was done: words of a person, or what was found */
};
/* "announced", "done", "failed", "noted". */
const char *line_outcome_name(enum line_outcome outcome) MUST_USE;
bool line_outcome_parse(const char *name, enum line_outcome *out) MUST_USE;

struct transcript;

/* Makes the file, mode 0644; FAIL_EXISTS where there is one. */
bool transcript_create(const char *path, struct transcript **out, struct error *err) MUST_USE;
/*
 * Opens an existing one to go on with it. It is read first: a broken chain is refused (FAIL_INPUT).
 * A last line without an end, which a crash while writing leaves, is taken off: what it would have
 * announced was never begun; *cut_off says how many bytes. While one process has a transcript open
 * for writing, another is refused (FAIL_EXISTS).
 */
bool transcript_open(const char *path, struct transcript **out, size_t *cut_off,
                     struct error *err) MUST_USE;
void transcript_close(struct transcript **transcript);
/* Takes a file of no bytes away, which a crash between making it and its first line leaves: nothing
 * was begun. *was_empty is false, and nothing done, where it holds anything or is no file. */
bool transcript_discard_empty(const char *path, bool *was_empty, struct error *err) MUST_USE;

/* Begins a line: an open object to which the caller adds facts. */
bool transcript_begin(struct transcript *transcript, const char *step, enum line_outcome outcome,
                      struct json_writer **out, struct error *err) MUST_USE;
/* Chains, writes and syncs the line, and frees the writer in every case. A line that could not be
 * written whole is taken off the file again. */
bool transcript_commit(struct transcript *transcript, struct json_writer **line,
                       struct error *err) MUST_USE;
/* Adds {"error":{"kind":...,"text":...}} to an open line. */
void transcript_put_failure(struct json_writer *line, const struct error *failure);
/* A whole line with the facts that `facts` adds (NULL: none), and with the failure where that is
 * not NULL. */
bool transcript_add(struct transcript *transcript, const char *step, enum line_outcome outcome,
                    void (*facts)(const void *context, struct json_writer *line),
                    const void *context, const struct error *failure, struct error *err) MUST_USE;

/* The SHA-256 of the last line, in hex, and how many lines there are. */
const char *transcript_head(const struct transcript *transcript) MUST_USE;
size_t transcript_lines(const struct transcript *transcript) MUST_USE;
const char *transcript_path(const struct transcript *transcript) MUST_USE;

#endif
