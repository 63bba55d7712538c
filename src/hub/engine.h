/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub as a client of an external queue engine ([hub] queue = external): the engine of section
 * [queue] stands where the hub's own queue would.
 *
 *   delivery -> the hub's request queue -> lease -> send to the engine -> delete
 *   delivery <- taken, on disk <- receive from the engine; then delete there
 *
 * A request stays in the hub's own queue until the engine has taken it, and a result in the engine
 * until the hub's database has it. So nothing is lost while either side is away or the hub is
 * killed. A request may come twice, and a second result for it changes nothing.
 */
#ifndef RESEAL_HUB_ENGINE_H
#define RESEAL_HUB_ENGINE_H

#include "hub.h"

struct engine;

/* The client of [queue], checked; nothing runs yet. */
bool engine_open(struct hub *hub, const struct config *config, struct engine **out,
                 struct error *err) MUST_USE;
/* Begins to carry requests and results, in a thread of its own. The store has been started. */
bool engine_start(struct engine *engine, struct error *err) MUST_USE;
/* Where the engine is and what is wrong with it, as a member of the object that is open. From any
 * thread. */
struct json_writer;
void engine_write_status(struct engine *engine, const char *key, struct json_writer *json);
/* Gives back what is not sent, and ends the thread. The store is still running, and drained. */
void engine_stop(struct engine *engine);
/* Nobody asks for its status any more. */
void engine_close(struct engine **engine);

#endif
