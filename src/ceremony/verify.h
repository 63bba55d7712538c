/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a verification. */
#ifndef RESEAL_CEREMONY_VERIFY_PRIVATE_H
#define RESEAL_CEREMONY_VERIFY_PRIVATE_H

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

/* -- verify_key.c: what the record says of the key, held against the plan's rules -- */
void verify_key(struct verification *verification);
/* -- verify_outputs.c -- */
void verify_plan(struct verification *verification, const struct verify_options *options);
void verify_programs(struct verification *verification, const struct verify_options *options);
void verify_outputs(struct verification *verification, const struct verify_options *options);
/* -- verify_signatures.c -- */
void verify_signatures(struct verification *verification, const struct verify_options *options);

#endif
