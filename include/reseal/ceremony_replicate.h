/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key of which the plan says that it is replicated goes to a second token
 * (reseal/key_transport.h), between the end of its ceremony and its commit, and in the same record:
 * the transport key, what was wrapped and unwrapped, the read-back and the proof of the replica.
 * With the last transport key that the plan names, the key is shut, and the step "backup" is done.
 */
#ifndef RESEAL_CEREMONY_REPLICATE_H
#define RESEAL_CEREMONY_REPLICATE_H

#include "reseal/key_transport.h"
#include "reseal/transcript_read.h"

/* One of the two tokens, and how to log in to it. */
struct replicate_side {
    struct token_address address;
    bool (*login)(void *context, struct token *token, struct error *err);
    void *context;
};

struct replicate_options {
    const char *transcript;      /* path */
    const char *transport_label; /* of the transport key, one that the plan names */
    struct replicate_side from, to;
    const struct secret *so_pin; /* of the first token; NULL: the user wraps */
    bool confirmed;              /* --yes; refused where the plan does not allow it */
};

struct replicate_result {
    char label[129], fingerprint[FINGERPRINT_TEXT];
    struct token_facts from, to;
    char transport_fingerprint[FINGERPRINT_TEXT];
    char mechanism[MECHANISM_TEXT]; /* by which the key was wrapped */
    enum transport_hash hash;
    struct key_birth birth;     /* of the replica */
    struct key_finding finding; /* what it can do */
    size_t wanted, done;        /* transport keys that the plan names, and those that are done */
    bool shut;                  /* with the last one */
    size_t attempt_count;       /* to wrap it afterwards */
    struct wrap_attempt attempts[WRAP_ATTEMPTS_MAX];
    bool confined;
    char head[DIGEST_TEXT]; /* of the transcript afterwards */
};

bool ceremony_replicate(const struct replicate_options *options, struct replicate_result *out,
                        struct error *err) MUST_USE;

#endif
