/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"
#include "reseal/tls_identity.h"

#define TOKEN_MAX 8192

bool client_web(const struct config *config, struct web **out, struct error *err)
{
    return client_web_as(config, "api_token", out, err);
}

bool client_web_as(const struct config *config, const char *key, struct web **out,
                   struct error *err)
{
    struct secret *token = NULL;
    struct tls_identity identity;
    const char *source = NULL;
    *out = NULL;
    if (!tls_identity_read(config, "client", &identity, err) ||
        !config_want(config, "client", key, &source, err) ||
        !secret_read(source, "API token", TOKEN_MAX, &token, err))
        return false;
    bool ok = web_open(token, config_text(config, "client", "ca_file"), out, err);
    secret_free(&token);
    if (ok && identity.certificate[0] != '\0' &&
        !web_identify(*out, identity.certificate, identity.key, err)) {
        web_close(out);
        ok = false;
    }
    return ok;
}

bool client_open(const struct invocation *invocation, struct client *client, struct error *err)
{
    const struct config *config;
    return invocation_config(invocation, &config, err) && client_web(config, &client->web, err) &&
           records_open(client->web, config_text(config, "client", "records"), &client->records,
                        err);
}

void client_close(struct client *client)
{
    records_close(&client->records);
    web_close(&client->web);
}
