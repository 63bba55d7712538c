/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token helper of our own, for a rotation: the same reseal-hsm, with the same sessions, recovery
 * and care for secrets, as serves a connector. This process maps no module and sees no password.
 */
#ifndef RESEAL_CLI_ROTATE_HELPER_H
#define RESEAL_CLI_ROTATE_HELPER_H

#include "reseal/config.h"
#include "reseal/helper_message.h"

struct rotate_helper;

/* Starts it for that token and waits until it is ready; otherwise the error is its reason. */
bool rotate_helper_start(const struct config *config, const char *token, struct rotate_helper **out,
                         struct error *err) MUST_USE;
/* Closes its socket and waits for its end. */
void rotate_helper_end(struct rotate_helper **helper);
const struct hello_message *rotate_helper_hello(const struct rotate_helper *helper) MUST_USE;

/* Asks for one rotation; at most twice as many as it has sessions are worth asking for ahead. */
bool rotate_helper_ask(struct rotate_helper *helper, uint32_t number,
                       const struct rotate_message *message, struct error *err) MUST_USE;

struct rotate_answer {
    uint32_t number;
    bool done;
    enum custody custody; /* where done */
    struct bytes sealed;  /* where done; valid until the next call */
    struct error failure; /* where not */
};
/* Waits for the next answer. False: the helper is gone or breaks the protocol. */
bool rotate_helper_next(struct rotate_helper *helper, struct rotate_answer *out,
                        struct error *err) MUST_USE;

#endif
