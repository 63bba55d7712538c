/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of a ceremony: one reviewed INI file is its only input. It is read against a strict
 * table and checked as a whole before anything is done; a plan cannot be half right.
 */
#ifndef RESEAL_CEREMONY_PLAN_H
#define RESEAL_CEREMONY_PLAN_H

#include "reseal/ceremony.h"
#include "reseal/digest.h"

#define PLAN_MAX      (64 * 1024)       /* bytes of the file */
#define WITNESSES_MAX CONFIG_FAMILY_MAX /* sections [witness NAME] */

struct plan_witness {
    const char *id;   /* NAME of [witness NAME]: how commands call him */
    const char *name; /* as he is called in the record */
    const char *key;  /* path of his public key (PEM); NULL: not told before */
    char key_fingerprint[FINGERPRINT_TEXT]; /* of that file's SPKI; empty without one */
};

/* What must be done with the key before it may be used. */
enum backup_rule {
    BACKUP_NONE,      /* nothing: it cannot leave its token in any form */
    BACKUP_TRANSPORT, /* it is replicated, wrapped for the named transport keys and no others */
};

struct ceremony_plan {
    struct config *config; /* owns the texts below */
    const char *path;
    struct buf text;          /* of the file */
    char sha256[DIGEST_TEXT]; /* of the file */
    const char *name;         /* of the ceremony */
    const char *place;        /* NULL where not told, as officer */
    const char *officer;
    bool allow_yes; /* --yes may stand for what a person types */
    size_t witness_count;
    struct plan_witness witnesses[WITNESSES_MAX];
    size_t signatures;            /* of witnesses, that a commit needs */
    struct token_address address; /* module and init arguments, label, serial */
    const char *manufacturer;     /* wanted of the token; NULL: not compared, as the next two */
    const char *model;
    const char *firmware;
    const char *pin; /* a secret's source */
    struct key_plan key;
    size_t padding_count;
    enum padding paddings[PADDING_COUNT];
    enum backup_rule backup;
    size_t transport_count;     /* config_list_at(config, "backup", "transport_key", i) */
    const char *public_key;     /* path of the PEM file */
    const char *public_key_cng; /* NULL: not written */
    char descriptor[1024]; /* path of what `commit` writes for the connector; where the plan names
                              none: that of the public key with ".descriptor" behind */
    const char *transcript;
};

/* The table of a plan, ended by a row without a section, for help and manuals. */
extern const struct config_key ceremony_plan_table[];

bool ceremony_plan_load(const char *path, struct ceremony_plan **out, struct error *err) MUST_USE;
/* The plan of a record, by the text that is kept there. `path` is where it was; no file is opened,
 * so the witnesses' fingerprints stay empty. */
bool ceremony_plan_recall(const char *path, struct bytes text, struct ceremony_plan **out,
                          struct error *err) MUST_USE;
void ceremony_plan_free(struct ceremony_plan **plan);

/* Checks that no output of the ceremony exists and that each can be made (FAIL_EXISTS, FAIL_IO). */
bool ceremony_plan_outputs_free(const struct ceremony_plan *plan, struct error *err) MUST_USE;
/* The same for one path. */
bool ceremony_output_possible(const char *path, struct error *err) MUST_USE;

/* "none", "transport". */
const char *backup_rule_name(enum backup_rule rule) MUST_USE;
/* The witness of that id, or NULL. */
const struct plan_witness *ceremony_plan_witness(const struct ceremony_plan *plan,
                                                 const char *id) MUST_USE;

#endif
