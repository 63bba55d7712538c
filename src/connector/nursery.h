/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that starts token helpers.
 *
 * reseald shuts itself in (sandbox.h) before it talks to anybody: from then on it starts no program
 * and reads few files, and neither could what it starts. A helper must be free of that. So one
 * process is forked off before. It does one thing: asked over a socket for the helper of the N-th
 * token, it starts that program with that configuration, as both were when it was forked off, and
 * hands over the helper's socket. It holds the descriptors that PINs come from, which reseald gives
 * up.
 *
 * The helper is reseald's child, by adoption: it can be waited for, and its process id means
 * nobody else before that.
 */
#ifndef RESEAL_CONNECTOR_NURSERY_H
#define RESEAL_CONNECTOR_NURSERY_H

#include "helper_process.h"

struct nursery;

/* Forks, once, while there is one thread. What the commands point to outlives the nursery. The
 * descriptors of PINs are closed here; the standard ones become /dev/null. */
bool nursery_open(const struct helper_command *commands, size_t count, struct nursery **out,
                  struct error *err) MUST_USE;
/* It ends by itself when it sees this. */
void nursery_close(struct nursery **nursery);
/* For poll: what comes there is its end, and no helper can be started any more. */
int nursery_fd(const struct nursery *nursery) MUST_USE;

/* Starts the helper of the `index`-th command. *pid becomes the process, *fd our end of its socket,
 * close-on-exec and not blocking; the caller owns both. Where it fails, nothing runs. */
bool nursery_start(struct nursery *nursery, size_t index, pid_t *pid, int *fd,
                   struct error *err) MUST_USE;
/* The PIN of that token came through a pipe and has served: its descriptor goes. */
void nursery_drop_pin(struct nursery *nursery, size_t index);

#endif
