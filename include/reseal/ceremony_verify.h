/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transcript, years later and without the token: what is proven, what is not, and what is wrong.
 *
 * Each finding is a sentence. "Proven" means that the bytes at hand bear it out; "not proven" names
 * what a reader might take for granted and must not; "wrong" means that something was changed, or
 * was not done as the plan says.
 */
#ifndef RESEAL_CEREMONY_VERIFY_H
#define RESEAL_CEREMONY_VERIFY_H

#include <limits.h>
#include "reseal/ceremony_signature.h"

enum verdict {
    VERIFIED_PROVEN,
    VERIFIED_NOT_PROVEN,
    VERIFIED_WRONG,
};
/* "proven", "not proven", "wrong". */
const char *verdict_name(enum verdict verdict) MUST_USE;

struct verify_finding {
    enum verdict verdict;
    char about[24]; /* "chain", "plan", "key", "outputs" ... */
    char text[640];
};
#define VERIFY_FINDINGS_MAX   96
#define VERIFY_SIGNATURES_MAX 16

struct verified_signature {
    struct ceremony_signature signature;
    char path[PATH_MAX];
    char sha256[DIGEST_TEXT]; /* of the file */
    bool planned; /* of a witness of the plan, and by the key that it names, if it does */
};

struct verification {
    struct transcript_record *record; /* NULL where it is none */
    enum ceremony_state state;
    bool initialisation; /* of a token, and no ceremony; `state` tells nothing then */
    bool unfinished;     /* what was begun has no end in the record */
    size_t count, wrong;
    struct verify_finding findings[VERIFY_FINDINGS_MAX];
    size_t signature_count;
    struct verified_signature signatures[VERIFY_SIGNATURES_MAX];
    size_t counted;  /* different witnesses whose signatures the plan lets count */
    size_t required; /* that the plan wants */
};

struct verify_options {
    const char *transcript; /* path */
    const char *plan;       /* path; NULL: where the transcript says, or beside it */
    const char *head;       /* SHA-256 that one line must have, as it was written down; NULL */
};

/* False only where it cannot be looked at at all; what is wrong with it is a finding. */
bool ceremony_verify(const struct verify_options *options, struct verification **out,
                     struct error *err) MUST_USE;
/* Nothing is wrong, and the record tells how it ended. */
bool verification_holds(const struct verification *verification) MUST_USE;
/* In a word; NULL where it is no record. */
const char *verification_state(const struct verification *verification) MUST_USE;
/* FAIL_POLICY, in the words of the first finding that is wrong; true where none is. */
bool verification_check(const struct verification *verification, const char *transcript,
                        struct error *err) MUST_USE;
void verification_free(struct verification **verification);

#endif
