/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the running hub share: its settings, keys and store. */
#ifndef RESEAL_HUB_HUB_H
#define RESEAL_HUB_HUB_H

#include <signal.h>
#include <stdatomic.h>
#include "hub_keys.h"
#include "reseal/config.h"
#include "sigv4.h"
#include "store.h"

#define ACCOUNT "000000000000" /* stands where AWS has the account number */

struct engine;
struct server;
struct control;
struct tls;

struct hub {
    /* settings, constant after hub_open */
    char requests[QUEUE_NAME_MAX + 1];
    char results[QUEUE_NAME_MAX + 1];
    char public_url[257]; /* without a '/' at its end; "": as the client names the host */
    int64_t request_lifetime_ms, delivery_retention_ms;
    int64_t requests_id, results_id, requests_dead_id, results_dead_id; /* queues.id */
    EVP_MD *md5;
    atomic_bool renew; /* read keys and tokens again, changed or not */
    /* the server thread's own */
    struct hub_keys *keys;
    struct sigv4 *sigv4;
    struct tls *tls; /* NULL: plain HTTP */
    struct store *store;
    struct engine *engine; /* NULL: the hub's own queue is what connectors come to */
    struct server *server;
    struct control *control;
};

/* Opens database, keys and socket and starts to serve. */
bool hub_open(const struct config *config, struct hub **out, struct error *err) MUST_USE;
/* Keys and tokens as they are now in their files; for the server thread, before it checks one, and
 * again with RENEW_LOOK before it refuses one as unknown. */
void hub_renew(struct hub *hub, enum renewal how);
/* Takes no new connection, finishes what is in hand, closes. */
void hub_close(struct hub **hub);

#endif
