/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Supervision of one token helper, reseal-hsm: started by the nursery with one end of a socket
 * pair, watched, replaced when it dies, hangs or breaks the protocol.
 *
 *   down -> starting (HELLO is awaited) -> ready -> dying (until it is reaped) -> down
 *   starting -> dying -> lost with a refusal: it has said why it cannot serve, or it was lost while
 *                        it logged in, which may have spent a try of the PIN; the owner decides
 *   ready -> closing (orderly end) -> gone
 *   lost with a refusal -> halted: never started again by itself
 *   retired, then lost -> gone
 *
 * A wrong PIN must never be tried twice: whoever owns the helper calls helper_halt on FAIL_PIN.
 * What is known of the PIN belongs to the token (pin_history.h).
 */
#ifndef RESEAL_CONNECTOR_HELPER_H
#define RESEAL_CONNECTOR_HELPER_H

#include <poll.h>
#include <sys/types.h>
#include "nursery.h"
#include "pin_history.h"
#include "reseal/helper_message.h"

struct helper;

/* Called from helper_serve, helper_reap and helper_tick; none of them frees the helper. */
struct helper_events {
    void (*ready)(void *context, struct helper *helper);
    /* False: the message cannot belong to anything asked for; the helper is replaced. */
    bool (*resealed)(void *context, struct helper *helper, uint32_t number,
                     const struct resealed_message *message, struct error *err);
    bool (*failed)(void *context, struct helper *helper, uint32_t number,
                   const struct error *failure, struct error *err);
    /* The answer to helper_ask_status. */
    void (*status)(void *context, struct helper *helper, const struct status_message *message);
    /* What was in its hands is lost. It is started again unless it is halted or closed now, or was
     * retired. `refusal`: it answered HELLO with an error and ended, or was lost while it logged in
     * (FAIL_PIN); otherwise NULL. */
    void (*lost)(void *context, struct helper *helper, const struct error *refusal);
};

struct helper_options {
    struct nursery *const *nursery; /* where it is, before the first helper_tick */
    size_t index;                   /* of its token there */
    const char *token;              /* its name */
    struct pin_history *pin;
    const struct helper_events *events;
    void *context;
};

/* Everything the options point to outlives the helper. Nothing is started yet. */
bool helper_new(const struct helper_options *options, struct helper **out,
                struct error *err) MUST_USE;
/* Kills it if it runs. */
void helper_free(struct helper **helper);

/* Starts, restarts and kills what is due; *next_ms becomes the time of what will be. */
void helper_tick(struct helper *helper, int64_t now_ms, int64_t *next_ms);
/* Its descriptor for poll; fd is -1 while there is none. */
struct pollfd helper_pollfd(const struct helper *helper) MUST_USE;
/* Reads and writes what the descriptor allows. */
void helper_serve(struct helper *helper, short revents);
/* After SIGCHLD: collects its process if that has ended. */
void helper_reap(struct helper *helper);

/* Queues one RESEAL; written by helper_flush. */
bool helper_send(struct helper *helper, uint32_t number, const struct reseal_message *message,
                 struct error *err) MUST_USE;
/* Queues one LOGIN, where the helper is ready and was not told so before. Each begins with
 * LOGIN_FREE. `why` counts for LOGIN_NEVER. */
bool helper_rule_login(struct helper *helper, enum login_rule rule, const struct error *why,
                       struct error *err) MUST_USE;
/* It has said that it waits with every login. */
bool helper_holds_logins(const struct helper *helper) MUST_USE;
/* Queues one STATUS, unless an answer is still to come. */
bool helper_ask_status(struct helper *helper, struct error *err) MUST_USE;
void helper_flush(struct helper *helper);
/* Kills it because of `why`; it is started again. */
void helper_replace(struct helper *helper, const struct error *why);
/* Never started again. */
void helper_halt(struct helper *helper, const struct error *why);
/* It finishes what it has, and is not started again when it is lost. */
void helper_retire(struct helper *helper);
/* Orderly end: it sees its socket close, and is killed if that does not help. */
void helper_close(struct helper *helper);

bool helper_is_ready(const struct helper *helper) MUST_USE;
bool helper_is_halted(const struct helper *helper) MUST_USE;
/* No process is left (after helper_close, helper_halt or helper_retire). */
bool helper_is_gone(const struct helper *helper) MUST_USE;
pid_t helper_pid(const struct helper *helper) MUST_USE;
unsigned helper_restarts(const struct helper *helper) MUST_USE;
/* Why it does not serve, FAIL_NONE while it does. */
const struct error *helper_trouble(const struct helper *helper) MUST_USE;
/* What the newest HELLO said; NULL before the first. */
const struct hello_message *helper_hello(const struct helper *helper) MUST_USE;

#endif
