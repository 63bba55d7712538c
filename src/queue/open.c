/* SPDX-License-Identifier: Apache-2.0 */
/* The client that [queue] describes; the keys are in the table of src/core/settings.c. */
#include <string.h>
#include "client.h"
#include "reseal/config.h"
#include "reseal/tls_identity.h"

bool queue_client_open(const struct config *config, struct queue_client **out, struct error *err)
{
    return queue_client_open_as(config, config_text(config, "queue", "profile"), out, err);
}

bool queue_client_open_as(const struct config *config, const char *profile,
                          struct queue_client **out, struct error *err)
{
    const char *credentials = NULL;
    struct tls_identity identity;
    bool azure = strcmp(config_text(config, "queue", "engine"), "azure") == 0;
    *out = NULL;
    if (!config_want(config, "queue", "credentials", &credentials, err) ||
        !tls_identity_read(config, "queue", &identity, err))
        return false;
    const struct queue_options options = {
        .engine = azure ? QUEUE_AZURE : QUEUE_SQS,
        /* A connection string names the endpoint of its account; the built-in one is for SQS. */
        .endpoint = azure && !config_given(config, "queue", "endpoint")
                        ? NULL
                        : config_text(config, "queue", "endpoint"),
        .region = config_text(config, "queue", "region"),
        .ca_file = config_text(config, "queue", "ca_file"),
        .client_certificate = identity.certificate[0] != '\0' ? identity.certificate : NULL,
        .client_key = identity.key,
        .credentials = credentials,
        .profile = profile,
        .proxy = config_text(config, "queue", "proxy"),
        .proxy_credentials = config_text(config, "queue", "proxy_credentials"),
        .no_proxy = config_text(config, "queue", "no_proxy"),
        .connections = (unsigned)config_number(config, "queue", "connections"),
        .idle_poll_s = (unsigned)config_number(config, "queue", "idle_poll"),
        .max_receives = (unsigned)config_number(config, "queue", "max_receives"),
    };
    return queue_client_new(&options, out, err);
}
