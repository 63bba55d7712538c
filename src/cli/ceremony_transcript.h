/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a ceremony: JSON Lines, each line bound to the one before it.
 *
 *     {"seq":1,"time":"...","step":"...", facts ..., "previous":"<64 hex digits>"}
 *
 * `previous` is the SHA-256 of the line before, without its line end; 64 zeros in the first line.
 * Each line is on the disk before the act goes on, so that a ceremony that is cut off leaves its
 * record up to there. Who knows the SHA-256 of the last line (the head) can tell any change.
 */
#ifndef RESEAL_CLI_CEREMONY_TRANSCRIPT_H
#define RESEAL_CLI_CEREMONY_TRANSCRIPT_H

#include "digest.h"
#include "reseal/json.h"

struct transcript;

/* Makes the file, mode 0644; FAIL_EXISTS where there is one. */
bool transcript_create(const char *path, struct transcript **out, struct error *err) MUST_USE;
void transcript_close(struct transcript **transcript);

/* Begins a line: an open object to which the caller adds facts. `time_ms` is real time. */
bool transcript_begin(struct transcript *transcript, const char *step, int64_t time_ms,
                      struct json_writer **out, struct error *err) MUST_USE;
/* Chains, writes and syncs the line, and frees the writer in every case. A line that could not be
 * written whole is taken off the file again. */
bool transcript_commit(struct transcript *transcript, struct json_writer **line,
                       struct error *err) MUST_USE;

/* The SHA-256 of the last line, in hex. */
const char *transcript_head(const struct transcript *transcript) MUST_USE;

struct transcript_facts {
    size_t lines;
    char head[DIGEST_TEXT];
    bool closed;   /* the last line is the step "close" */
    bool accepted; /* ... with the outcome "accepted" */
};
/* Checks numbering and chain of a whole transcript; the error names the first line that is wrong.
 */
bool transcript_verify(struct bytes content, struct transcript_facts *out,
                       struct error *err) MUST_USE;

#endif
