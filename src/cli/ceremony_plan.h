/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of a ceremony: one reviewed INI file is its only input. It is read against a strict
 * table and checked as a whole before anything is done; a plan cannot be half right.
 */
#ifndef RESEAL_CLI_CEREMONY_PLAN_H
#define RESEAL_CLI_CEREMONY_PLAN_H

#include "digest.h"
#include "reseal/ceremony.h"

struct ceremony_plan {
    struct config *config; /* owns the texts below */
    const char *path;
    char sha256[DIGEST_TEXT]; /* of the file */
    const char *name;         /* of the ceremony */
    const char *place;        /* NULL where not told, as officer */
    const char *officer;
    struct token_address address; /* module and init arguments, label, serial */
    const char *manufacturer;     /* wanted of the token; NULL: not compared, as the next two */
    const char *model;
    const char *firmware;
    const char *pin; /* a secret's source */
    struct key_plan key;
    size_t padding_count;
    enum padding paddings[PADDING_COUNT];
    const char *public_key;     /* path of the PEM file */
    const char *public_key_cng; /* NULL: not written */
    const char *transcript;
};

/* Also checks that no output exists and that each can be made (FAIL_EXISTS, FAIL_IO). */
bool ceremony_plan_load(const char *path, struct ceremony_plan **out, struct error *err) MUST_USE;
void ceremony_plan_free(struct ceremony_plan **plan);

#endif
