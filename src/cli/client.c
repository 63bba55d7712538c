/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"
#include "login.h"
#include "reseal/tls_identity.h"

#define TOKEN_MAX 8192

bool client_web(const struct config *config, struct web **out, struct error *err)
{
    return client_web_as(config, "api_token", out, err);
}

/* `token` NULL: for what wants none. */
static bool open_web(const struct config *config, const struct secret *token, struct web **out,
                     struct error *err)
{
    struct tls_identity identity;
    *out = NULL;
    if (!tls_identity_read(config, "client", &identity, err))
        return false;
    bool ok = web_open(token, config_text(config, "client", "ca_file"), out, err);
    if (ok && identity.certificate[0] != '\0' &&
        !web_identify(*out, identity.certificate, identity.key, err)) {
        web_close(out);
        ok = false;
    }
    return ok;
}

bool client_web_as(const struct config *config, const char *key, struct web **out,
                   struct error *err)
{
    struct secret *token = NULL;
    const char *source = NULL;
    *out = NULL;
    if (!config_want(config, "client", key, &source, err) ||
        !secret_read(source, "API token", TOKEN_MAX, &token, err))
        return false;
    bool ok = open_web(config, token, out, err);
    secret_free(&token);
    return ok;
}

bool client_login_web(const struct config *config, struct web **out, struct error *err)
{
    /* The service that logs in is another one than the record store: it gets no identity of ours
     * but the one that it asks for. */
    return web_open(NULL, config_text(config, "client", "ca_file"), out, err);
}

/* The hub's token goes to the hub alone. */
static bool by_token(const struct config *config, struct web **out, struct error *err)
{
    const char *records = config_text(config, "client", "records");
    const char *hub = config_text(config, "client", "hub");
    if (config_text(config, "client", "records_token") != NULL)
        return client_web_as(config, "records_token", out, err);
    if (web_same_origin(records, hub))
        return client_web(config, out, err);
    error_set(err, FAIL_USAGE,
              "%s: the record store is %s, which is not the hub, and has no token of its own",
              config_path(config), records);
    return error_hint(err, "give records_token or login in section [client]; api_token is for %s",
                      hub);
}

bool client_records_web(const struct config *config, struct web **out, struct error *err)
{
    const char *records = config_text(config, "client", "records");
    struct secret *token = NULL;
    struct web *web = NULL;
    *out = NULL;
    if (login_kind(config) == LOGIN_BY_TOKEN)
        return by_token(config, out, err);
    if (!web_check_private(records, "records in section [client]", err))
        return false;
    bool ok = client_login_web(config, &web, err) && login_token(config, web, &token, err) &&
              open_web(config, token, out, err);
    secret_free(&token);
    web_close(&web);
    return ok;
}

bool client_open(const struct invocation *invocation, struct client *client, struct error *err)
{
    const struct config *config;
    return invocation_config(invocation, &config, err) &&
           client_records_web(config, &client->web, err) &&
           records_open(client->web, config_text(config, "client", "records"), &client->records,
                        err);
}

void client_close(struct client *client)
{
    records_close(&client->records);
    web_close(&client->web);
}
