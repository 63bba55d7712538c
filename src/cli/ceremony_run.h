/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ceremony, step by step. Each step is announced on standard error, done, and recorded; what goes
 * wrong after the key was made takes the key with it.
 */
#ifndef RESEAL_CLI_CEREMONY_RUN_H
#define RESEAL_CLI_CEREMONY_RUN_H

#include "ceremony_plan.h"
#include "ceremony_transcript.h"

struct ceremony_options {
    const char *plan; /* path */
    const char *pin;  /* a secret's source, instead of the plan's; NULL: the plan's */
    bool confirmed;   /* --yes: nobody is asked */
};

/* What the token is wanted to be, and what it is. */
struct identity_check {
    const char *name;
    const char *wanted; /* NULL: the plan does not say */
    const char *found;
    bool ok;
};
#define IDENTITY_CHECKS 5

struct ceremony {
    const struct ceremony_options *options;
    struct ceremony_plan *plan;
    struct transcript *transcript; /* NULL until the outputs and the label are known to be free */
    struct secret *pin;
    struct token *token;
    struct session *session;
    struct token_facts facts;
    struct identity_check identity[IDENTITY_CHECKS];
    char binary[1024]; /* path of this program */
    char binary_sha256[DIGEST_TEXT];
    char module[1024]; /* path of the module that was really loaded */
    char module_sha256[DIGEST_TEXT];
    enum pin_state pin_state;
    bool asked; /* a person confirmed; otherwise --yes */
    struct key_birth birth;
    struct error birth_error; /* why the pair was not accepted when it was made */
    struct sealing_key *key;  /* NULL while there is none */
    EVP_PKEY *public_key;     /* as read right after the key was made */
    char refusal[CK_RV_TEXT]; /* the token's answer when the private key was asked for */
    struct key_finding finding;
    bool pem_written, cng_written;
    char pem_sha256[DIGEST_TEXT], cng_sha256[DIGEST_TEXT];
    bool accepted;
    char head[DIGEST_TEXT]; /* of the closed transcript */
};

struct ceremony_step {
    const char *name;  /* in the transcript */
    const char *title; /* for people */
    bool (*act)(struct ceremony *ceremony, struct error *err);
    /* Adds the step's facts to its line; called also when the step failed. May be NULL. */
    void (*facts)(const struct ceremony *ceremony, struct json_writer *line);
};

/* The steps in their order, ended by a row without a name. */
extern const struct ceremony_step ceremony_steps[];
/* Steps up to this one (counted from 1) come before the transcript is open. */
#define CEREMONY_PREPARATION 3
/* From this step on a signal does not end the program but the ceremony. */
#define CEREMONY_GUARDED 5

/* Runs the whole ceremony. `out` is filled as far as it came, also on failure; the caller ends it
 * with ceremony_end. */
bool ceremony_run(const struct ceremony_options *options, struct ceremony *out,
                  struct error *err) MUST_USE;
void ceremony_end(struct ceremony *ceremony);

/* True, with the reason in `err`, if a signal came since the guarded steps began. */
bool ceremony_interrupted(struct error *err) MUST_USE;
/* Waits until the terminal has something to read; false if a signal came, before or meanwhile. */
bool ceremony_wait_typed(int tty, struct error *err) MUST_USE;

/* Facts of the steps, in ceremony_facts.c. */
void facts_plan(const struct ceremony *ceremony, struct json_writer *line);
void facts_token(const struct ceremony *ceremony, struct json_writer *line);
void facts_free(const struct ceremony *ceremony, struct json_writer *line);
void facts_login(const struct ceremony *ceremony, struct json_writer *line);
void facts_confirm(const struct ceremony *ceremony, struct json_writer *line);
void facts_generate(const struct ceremony *ceremony, struct json_writer *line);
void facts_read_back(const struct ceremony *ceremony, struct json_writer *line);
void facts_unreadable(const struct ceremony *ceremony, struct json_writer *line);
void facts_proof(const struct ceremony *ceremony, struct json_writer *line);
void facts_public_key(const struct ceremony *ceremony, struct json_writer *line);
void facts_fingerprint(const struct ceremony *ceremony, struct json_writer *line);

#endif
