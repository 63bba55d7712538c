/* SPDX-License-Identifier: Apache-2.0 */
/* Letting a key be used: the gate between a ceremony and the connector. */
#ifndef RESEAL_CEREMONY_COMMIT_H
#define RESEAL_CEREMONY_COMMIT_H

#include "reseal/ceremony_verify.h"

struct commit_options {
    const char *transcript; /* path */
    size_t witnesses;       /* signatures that are wanted, where that is more than the plan wants */
    bool confirmed;         /* --yes; refused where the plan does not allow it */
};

struct commit_result {
    char label[129];
    char descriptor[1024]; /* path of what was written */
    char fingerprint[DIGEST_TEXT];
    char head[DIGEST_TEXT]; /* of the transcript, after the commit */
    size_t signatures;      /* that were counted */
};

/*
 * Verifies the transcript, counts the signatures, looks whether the backup rule was fulfilled, asks
 * for a typed Yes, and writes the key's descriptor; announced and recorded in the transcript.
 * FAIL_POLICY where the plan's rules are not fulfilled.
 */
bool ceremony_commit(const struct commit_options *options, struct commit_result *out,
                     struct error *err) MUST_USE;

/* Adds words of a person to a transcript, at any time. */
bool ceremony_note(const char *transcript, const char *words, char head[static DIGEST_TEXT],
                   struct error *err) MUST_USE;

#endif
