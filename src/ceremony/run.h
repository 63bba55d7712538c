/* SPDX-License-Identifier: Apache-2.0 */
/* What is behind `struct ceremony`, for the files of this folder alone. */
#ifndef RESEAL_CEREMONY_RUN_PRIVATE_H
#define RESEAL_CEREMONY_RUN_PRIVATE_H

#include "reseal/ceremony_plan.h"
#include "reseal/ceremony_run.h"
#include "reseal/key_transport.h"
#include "reseal/transcript_read.h"

/* What the token is wanted to be, and what it is. */
struct identity_check {
    const char *name;
    const char *wanted; /* NULL: the plan does not say */
    const char *found;
    bool ok;
};
#define IDENTITY_CHECKS 5

/* What the key has shown with one padding. */
struct padding_proof {
    enum padding padding;
    enum custody custody; /* that was reached: sealed, resealed, opened, compared */
    char call[CK_CALL_TEXT],
        ck_rv[CK_RV_TEXT]; /* what kept it from custody token; empty: nothing */
    char quirk[160];
    bool other_refused; /* the direction that the key is not for */
    char other_call[CK_CALL_TEXT], other_ck_rv[CK_RV_TEXT];
    char secret_ck_rv[CK_RV_TEXT]; /* answer for the unwrapped secret's value; empty: not asked */
};

/* Where an unfinished ceremony was cut off, and what is done about it. */
enum resume_way {
    RESUME_AFRESH, /* nothing is on the token: the key is made now */
    RESUME_UNDO,   /* what is there is destroyed, then the key is made */
    RESUME_ADOPT,  /* the key is whole and was read back: the proof goes on */
    RESUME_END,    /* the ceremony had failed: what is there is destroyed, and it is closed */
};

struct rehearsal;

struct ceremony {
    const struct ceremony_options *options;
    struct ceremony_plan *plan;
    struct rehearsal *rehearsal;      /* NULL in earnest */
    struct transcript *transcript;    /* NULL until outputs and label are known to be free */
    struct transcript_record *record; /* of the ceremony that is gone on with; NULL: a new one */
    size_t cut_off;                   /* bytes of a broken last line of that */
    size_t next;                      /* index of the step that comes next */
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
    bool asked;          /* a person confirmed; otherwise --yes */
    enum resume_way way; /* of a resumed ceremony */
    struct key_remains remains;
    char id[KEY_ID_TEXT]; /* chosen, and written down, before the key is made; empty: not yet */
    bool announced;       /* a line says that a key with that id is about to be made */
    struct key_birth birth;
    struct error birth_error; /* why the pair was not accepted when it was made */
    struct sealing_key *key;  /* NULL while there is none */
    EVP_PKEY *public_key;     /* as read right after the key was made */
    char refusal[CK_RV_TEXT]; /* the token's answer when the private key was asked for */
    size_t attempt_count;     /* to wrap the key, by a plan without backup */
    struct wrap_attempt attempts[WRAP_ATTEMPTS_MAX];
    bool confined; /* the token refused them all */
    struct key_finding finding;
    size_t proof_count;
    struct padding_proof proofs[PADDING_COUNT];
    bool pem_written, cng_written;
    char pem_sha256[DIGEST_TEXT], cng_sha256[DIGEST_TEXT];
    bool accepted;
    bool ending;            /* it is to be closed as failed, whatever was announced */
    bool left_open;         /* it failed before a key was announced: the next run goes on */
    char head[DIGEST_TEXT]; /* of the closed transcript */
};

enum step_flag {
    STEP_UNRECORDED = 1, /* before the transcript is open; what it found is in the line "open" */
    STEP_ANNOUNCED = 2,  /* changes something: a line comes before the act */
    STEP_PAUSE = 4,      /* people look at what it shows before the next step begins */
    STEP_RESUMED = 8,    /* only where a ceremony is gone on with; has no number */
    STEP_CALL = 32, /* one call of the token decides: its answer is recorded also when it is good */
    STEP_GUARDED = 16, /* from here on a signal ends the ceremony, not the program */
};

struct ceremony_step {
    const char *name;  /* in the transcript */
    const char *title; /* for people */
    unsigned flags;
    bool (*before)(struct ceremony *ceremony,
                   struct error *err); /* before it is announced; or NULL */
    bool (*act)(struct ceremony *ceremony, struct error *err);
    void (*announce)(const void *ceremony, struct json_writer *line); /* facts; may be NULL */
    /* The step's facts for its last line, also where it failed. May be NULL. */
    void (*facts)(const void *ceremony, struct json_writer *line);
    const char *plain; /* what it does, in plain words, for `ceremony plan` and the checklist */
};

/* The steps in their order, ended by a row without a name. */
extern const struct ceremony_step ceremony_steps[];
/* Index of the step of that name. */
size_t ceremony_step_index(const char *name) MUST_USE;
/* Its number for people, from 1; 0 where it has none. */
size_t ceremony_step_number(size_t index) MUST_USE;
size_t ceremony_step_count(void) MUST_USE; /* of those with a number */

/* -- steps_begin.c -- */
bool act_plan(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_token(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_open(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_login(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_confirm(struct ceremony *ceremony, struct error *err) MUST_USE;
/* -- steps_key.c -- */
bool before_generate(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_generate(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_read_back(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_unreadable(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_proof(struct ceremony *ceremony, struct error *err) MUST_USE;
/* -- steps_public.c -- */
bool before_public_key(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_public_key(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_fingerprint(struct ceremony *ceremony, struct error *err) MUST_USE;
bool act_close(struct ceremony *ceremony, struct error *err) MUST_USE;
/* -- resume.c -- */
bool act_resume(struct ceremony *ceremony, struct error *err) MUST_USE;
/* Destroys whatever is on the token under the announced CKA_ID, recorded before and after. */
bool ceremony_undo_key(struct ceremony *ceremony, struct error *err) MUST_USE;
/* -- rehearse.c -- */
/* Makes the throw-away token and turns the plan towards it. */
bool rehearsal_begin(struct ceremony *ceremony, struct error *err) MUST_USE;
/* Takes token and files away. */
void rehearsal_end(struct ceremony *ceremony);
/* -- dry_run.c -- */
/* Plan and token, without a login. */
bool ceremony_look(struct ceremony *ceremony, struct error *err) MUST_USE;
bool ceremony_dry_run(struct ceremony *ceremony, struct error *err) MUST_USE;

/* -- talk.c: the terminal, and signals -- */
#define TYPED_MAX 512                                 /* bytes of one typed line */
void talk(const char *format, ...) PRINTF_LIKE(1, 2); /* an indented line on standard error */
bool terminal_present(struct error *err) MUST_USE;
/* Asks until exactly "Yes" is typed, or something else: FAIL_POLICY. A line that begins with "!" is
 * an exception in words: it goes into the transcript, and the question is asked again. With --yes
 * nobody is asked. */
bool talk_confirm(struct ceremony *ceremony, const char *question, struct error *err) MUST_USE;
/* Outside of a run: only exactly `wanted` confirms, and nothing else does (FAIL_POLICY). */
bool talk_typed(const char *question, const char *wanted, struct error *err) MUST_USE;
bool talk_yes(const char *question, struct error *err) MUST_USE;
/* Waits for Enter, with the same "!". */
bool talk_pause(struct ceremony *ceremony, struct error *err) MUST_USE;
void signals_guard(void);
void signals_unguard(void);
/* True, with the reason in `err`, if a signal came since the guarded steps began. */
bool ceremony_interrupted(struct error *err) MUST_USE;

/* -- facts.c -- */
/* What the first line says by the plan alone. */
void facts_of_plan(const struct ceremony_plan *plan, struct json_writer *line);
void facts_open(const void *ceremony, struct json_writer *line);
void facts_login(const void *ceremony, struct json_writer *line);
void facts_resume(const void *ceremony, struct json_writer *line);
void facts_confirm(const void *ceremony, struct json_writer *line);
void facts_generate(const void *ceremony, struct json_writer *line);
void facts_read_back(const void *ceremony, struct json_writer *line);
/* Each attribute that was read back, as wanted and as found. */
void facts_attributes(const struct key_birth *birth, struct json_writer *line);
/* With what answers the token refused to wrap the key. */
void facts_wrap_attempts(const struct wrap_attempt *attempts, size_t count,
                         struct json_writer *line);
void facts_unreadable(const void *ceremony, struct json_writer *line);
void facts_proof(const void *ceremony, struct json_writer *line);
void facts_outputs(const void *ceremony, struct json_writer *line);
void facts_public_key(const void *ceremony, struct json_writer *line);
void facts_fingerprint(const void *ceremony, struct json_writer *line);

#endif
