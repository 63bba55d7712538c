/* SPDX-License-Identifier: Apache-2.0 */
/* The services that [client] of the configuration names. */
#ifndef RESEAL_CLIENT_H
#define RESEAL_CLIENT_H

#include "command.h"
#include "reseal/records.h"
#include "reseal/web.h"

/* An open connection with the bearer token of the configuration. */
bool client_web(const struct config *config, struct web **out, struct error *err) MUST_USE;

/* The same with another token of [client]: "rotation_token". */
bool client_web_as(const struct config *config, const char *key, struct web **out,
                   struct error *err) MUST_USE;

/* The same for the record store, which wants a login of its own where the settings say so. */
bool client_records_web(const struct config *config, struct web **out, struct error *err) MUST_USE;

/* The same without a token, for the service that gives one. */
bool client_login_web(const struct config *config, struct web **out, struct error *err) MUST_USE;

struct client {
    struct web *web;
    struct records *records;
};
/* The record store. `client` was set to zero and is to be closed in any case. */
bool client_open(const struct invocation *invocation, struct client *client,
                 struct error *err) MUST_USE;
void client_close(struct client *client);

#endif
