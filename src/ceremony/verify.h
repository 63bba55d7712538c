/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a verification. */
#ifndef RESEAL_CEREMONY_VERIFY_PRIVATE_H
#define RESEAL_CEREMONY_VERIFY_PRIVATE_H

#include "reseal/ceremony.h"
#include "reseal/ceremony_verify.h"

/* Adds a finding; too many are a bug, and the last place then says so. */
void verify_say(struct verification *verification, enum verdict verdict, const char *about,
                const char *format, ...) PRINTF_LIKE(4, 5);

/* Where a file of the record is now: at its path, or by its name beside the transcript. False where
 * it is in neither place. */
bool verify_locate(const struct verify_options *options, const char *recorded, char *out,
                   size_t size) MUST_USE;
/* Says whether the file has that SHA-256. */
void verify_file(struct verification *verification, const struct verify_options *options,
                 const char *about, const char *what, const char *recorded, const char *sha256);

/* -- verify_plan.c: what the first line says by the plan, held against the plan's own text -- */
void verify_plan(struct verification *verification, const struct verify_options *options);
/* -- verify_key.c: what the record says of the key, held against the first line -- */
void verify_key(struct verification *verification);
/* Judges the attempts to wrap the key of which that line tells. */
void verify_confined(struct verification *verification, const struct transcript_line *line);
/* -- verify_replicas.c: `closed` is the line by which the key was accepted -- */
void verify_replicas(struct verification *verification, const struct transcript_line *closed,
                     const struct key_plan *plan);
/* -- verify_attributes.c -- */
/* The plan of the key, by the first line. False where that does not tell it. */
bool verify_key_plan(const struct transcript_record *record, struct key_plan *out) MUST_USE;
/* Judges the attributes that a line tells, one by one, for a key of that plan on a token of that
 * maker; `whose` is the key in words. */
void verify_attributes(struct verification *verification, const struct transcript_line *line,
                       const struct key_plan *plan, const char *manufacturer, const char *whose);
/* -- verify_outputs.c -- */
void verify_programs(struct verification *verification, const struct verify_options *options);
void verify_outputs(struct verification *verification, const struct verify_options *options);
/* -- verify_signatures.c -- */
void verify_signatures(struct verification *verification, const struct verify_options *options);

#endif
