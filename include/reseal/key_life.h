/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a sealing key's life, recorded in the transcript of its ceremony: retired, it is
 * served no more; destroyed, it is not on its token any more. A typed confirmation comes before
 * either, and a line in the record before and after, so that what was cut off is told and can be
 * done again.
 */
#ifndef RESEAL_KEY_LIFE_H
#define RESEAL_KEY_LIFE_H

#include "reseal/ceremony.h"
#include "reseal/transcript_read.h"

/* Who still needs the key, as the record store tells. */
struct key_use {
    bool known;       /* the store was asked and has answered */
    int64_t records;  /* under the key */
    int64_t requests; /* that wait to be served */
};

/* Of whom the caller asks about the key that the transcript tells of; *out is set to "not known"
 * where nobody can be asked. */
typedef bool key_use_fn(void *context, const char *label, struct key_use *out, struct error *err);

struct key_life_options {
    const char *transcript; /* path */
    key_use_fn *use;
    void *context;
    bool forced;    /* although it is in use, or that is not known, or it was not retired */
    bool confirmed; /* --yes; refused where the plan did not allow it */
};

struct key_life_result {
    char label[129], id[KEY_ID_TEXT], fingerprint[FINGERPRINT_TEXT];
    char descriptor[1024]; /* retire: where the plan has put it */
    char mark[1024]; /* retire: the file that keeps the connector from the key; empty: none was put,
                        as the descriptor is not there */
    struct key_use use;
    struct key_remains destroyed;
    char head[DIGEST_TEXT]; /* of the transcript afterwards */
};

/* From committed to retired. FAIL_POLICY where the record does not verify or is that of a
 * rehearsal, and where records or requests need the key, or that is not known, unless forced. */
bool key_retire(const struct key_life_options *options, struct key_life_result *out,
                struct error *err) MUST_USE;

/* From retired to destroyed (from any state with a key, where forced). `session` is a read-write
 * one on the token that the transcript names, which is compared. */
bool key_end(struct session *session, const struct token_facts *token,
             const struct key_life_options *options, struct key_life_result *out,
             struct error *err) MUST_USE;

#endif
