/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A witness's signature under a transcript: a JSON file beside it, TRANSCRIPT.ID.sig.
 *
 *     {"statement":"...","algorithm":"...","publicKey":"<b64 DER>","signature":"<b64>"}
 *
 * What is signed is the statement, a few lines of text that name the SHA-256 of one line of the
 * transcript: that line and all before it are covered, what was added later is not.
 */
#ifndef RESEAL_CEREMONY_SIGNATURE_H
#define RESEAL_CEREMONY_SIGNATURE_H

#include <openssl/types.h>
#include "reseal/signing.h"
#include "reseal/transcript_read.h"

#define WITNESS_ID_MAX   33  /* with the end mark */
#define WITNESS_NAME_MAX 129 /* with the end mark */

struct ceremony_signature {
    char id[WITNESS_ID_MAX];
    char name[WITNESS_NAME_MAX];
    char time[32];                     /* RFC 3339, by the clock of who signed */
    size_t lines;                      /* that are covered */
    char sha256[DIGEST_TEXT];          /* of the last of them */
    char key_fingerprint[DIGEST_TEXT]; /* SHA-256 of the SPKI */
    char algorithm[32];
};

/* Letters, digits and dashes, as in [witness ID]. */
bool witness_id_check(const char *id, struct error *err) MUST_USE;
/* The usual path of the file. */
bool ceremony_signature_path(const char *transcript, const char *id, char *out, size_t size,
                             struct error *err) MUST_USE;

/* Signs the record up to its last line with `key`, and appends the file's content. `id` and `name`
 * of `signature` are given, the rest is filled. */
bool ceremony_signature_make(const struct transcript_record *record, const struct signing_key *key,
                             struct ceremony_signature *signature, struct buf *out,
                             struct error *err) MUST_USE;
/* Reads such a file and checks the signature, and that the record has that line: FAIL_CRYPTO or
 * FAIL_INPUT. Any byte that is not as ceremony_signature_make writes it is refused. */
bool ceremony_signature_check(const struct transcript_record *record, struct bytes content,
                              struct ceremony_signature *out, struct error *err) MUST_USE;

#endif
