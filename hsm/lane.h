/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes: the sessions on the token that the workers share, each with handles of every key. There
 * are more workers than lanes: while the token is at one job, the certificate of the next is
 * checked and the message of the last is made.
 *
 * A lane for which the token had no session rests for a while; whoever waits for a lane tries it
 * again then, whatever the others do.
 */
#ifndef RESEAL_HSM_LANE_H
#define RESEAL_HSM_LANE_H

#include "sealing_key.h"

#define LANES_MAX 64

struct token_service;

struct lane {
    struct session *session;                  /* NULL before the first use, and after it was lost */
    struct sealing_key *keys[PROBE_KEYS_MAX]; /* NULL: not on the token any more */
    /* Guarded by the lock of the lanes: */
    bool taken;
    bool open;             /* it had a session when it was given back */
    int64_t rest_until_ms; /* the token had none for it: not tried again before, monotonic */
};

struct lanes;
bool lanes_new(size_t count, struct lanes **out, struct error *err) MUST_USE;
/* Closes all sessions; nobody has a lane. */
void lanes_free(struct lanes **lanes);

/* A lane for the caller alone. Waits while all are taken; one with a session comes before one
 * without. */
struct lane *lanes_take(struct lanes *lanes) MUST_USE;
void lanes_give(struct lanes *lanes, struct lane *lane);
/* True where another lane has a session, so that this one can be done without. */
bool lanes_have_another(struct lanes *lanes, const struct lane *lane) MUST_USE;

/* Sees to it that the lane has a session, the user logged in, and a handle of every key that is
 * there. *denied: the token had no session for it, which says nothing about the others. */
bool lane_open(struct token_service *service, struct lane *lane, bool *denied,
               struct error *err) MUST_USE;
/* That key in an open lane; FAIL_NOT_FOUND where it is not on the token any more. */
bool lane_key(struct token_service *service, struct lane *lane, size_t index,
              struct sealing_key **out, struct error *err) MUST_USE;
/* Closes the session of the lane. */
void lane_drop(struct lane *lane);

#endif
