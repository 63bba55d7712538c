/* SPDX-License-Identifier: Apache-2.0 */
#include "hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "control.h"
#include "engine.h"
#include "reseal/log.h"
#include "server.h"
#include "store_deliveries.h"
#include "store_queue.h"
#include "store_seals.h"
#include "tls.h"

#define DEAD_SUFFIX       "-dead"
#define RESULT_RECEIVES   10
#define DEAD_RETENTION_S  1209600 /* 14 days, the longest that SQS has */
#define SECRET_HEAP_BYTES (64 * 1024)

static bool read_public_url(struct hub *hub, const struct config *config, struct error *err)
{
    const char *url = config_text(config, "hub", "public_url");
    if (url == NULL || url[0] == '\0')
        return true;
    size_t len = strlen(url);
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : "";
    if (host[0] == '\0' || host[0] == '/' || strpbrk(url, " \"<>?#@\\^`{|}") != NULL) {
        error_set(err, FAIL_USAGE, "%s: hub.public_url: \"%s\" is no URL of a server",
                  config_path(config), url);
        return error_hint(err, "write https://HOST, https://HOST:PORT or https://HOST/PATH");
    }
    while (url[len - 1] == '/')
        len--;
    snprintf(hub->public_url, sizeof hub->public_url, "%.*s", (int)len, url);
    return true;
}

static bool is_dead_of(const char *name, const char *queue)
{
    size_t len = strlen(queue);
    return strncmp(name, queue, len) == 0 && strcmp(name + len, DEAD_SUFFIX) == 0;
}

/* The hub has four queues: requests, results and the dead letters of both. */
static bool check_distinct(const char *requests, const char *results, const char *path,
                           struct error *err)
{
    const char *clash = NULL;
    if (strcmp(requests, results) == 0)
        clash = "they are the same queue";
    else if (is_dead_of(requests, results))
        clash = "the first is the queue for the dead letters of the second";
    else if (is_dead_of(results, requests))
        clash = "the second is the queue for the dead letters of the first";
    if (clash == NULL)
        return true;
    error_set(err, FAIL_USAGE, "%s: hub.requests \"%s\" and hub.results \"%s\": %s", path, requests,
              results, clash);
    return error_hint(err, "give one of them another name; the dead letters of NAME go to "
                           "NAME" DEAD_SUFFIX);
}

static bool read_settings(struct hub *hub, const struct config *config, struct error *err)
{
    const char *requests = config_text(config, "hub", "requests");
    const char *results = config_text(config, "hub", "results");
    if (!read_public_url(hub, config, err))
        return false;
    const char *const names[] = {requests, results};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!stored_queue_name_valid(names[i]) ||
            strlen(names[i]) + strlen(DEAD_SUFFIX) > QUEUE_NAME_MAX) {
            error_set(err, FAIL_USAGE, "%s: \"%s\" is no name of a queue", config_path(config),
                      names[i]);
            return error_hint(err, "use 1 to 75 letters, digits, '-' and '_'");
        }
    }
    if (!check_distinct(requests, results, config_path(config), err))
        return false;
    snprintf(hub->requests, sizeof hub->requests, "%s", requests);
    snprintf(hub->results, sizeof hub->results, "%s", results);
    hub->request_lifetime_ms = (int64_t)config_number(config, "hub", "request_lifetime") * 1000;
    hub->delivery_retention_ms = (int64_t)config_number(config, "hub", "delivery_retention") * 1000;
    return true;
}

/* Makes the queue where it is not there yet, and sets its redrive policy. Its messages are kept for
 * `retention_s` seconds, or longer where somebody has said so. */
static bool ensure_queue(struct database *database, const char *name, int64_t retention_s,
                         int64_t dead_letter, int64_t max_receives, int64_t *id, struct error *err)
{
    struct queue_row wanted;
    const struct queue_row *found = stored_queue_find(database, name);
    stored_queue_defaults(&wanted, name);
    if (found != NULL)
        wanted = *found;
    bool longer = wanted.retention_s < retention_s;
    if (longer)
        wanted.retention_s = retention_s;
    bool new_policy = dead_letter != 0 &&
                      (wanted.dead_letter != dead_letter || wanted.max_receives != max_receives);
    if (new_policy) {
        wanted.dead_letter = dead_letter;
        wanted.max_receives = max_receives;
    }
    if (found == NULL && !stored_queue_create(database, &wanted, err))
        return false;
    if (found != NULL && (new_policy || longer) && !stored_queue_update(database, &wanted, err))
        return false;
    found = stored_queue_find(database, name);
    if (found == NULL)
        return error_set(err, FAIL_INTERNAL, "the queue \"%s\" was not made", name);
    *id = found->id;
    return true;
}

static bool ensure_queues(struct hub *hub, const struct config *config, struct error *err)
{
    struct database *database = store_database(hub->store);
    char dead[QUEUE_NAME_MAX + sizeof DEAD_SUFFIX];
    long max_receives = config_number(config, "hub", "max_receives");
    if (!database_begin(database, err))
        return false;
    snprintf(dead, sizeof dead, "%s" DEAD_SUFFIX, hub->requests);
    bool ok = ensure_queue(database, dead, DEAD_RETENTION_S, 0, 0, &hub->requests_dead_id, err) &&
              ensure_queue(database, hub->requests, hub->request_lifetime_ms / 1000,
                           hub->requests_dead_id, max_receives, &hub->requests_id, err);
    snprintf(dead, sizeof dead, "%s" DEAD_SUFFIX, hub->results);
    ok = ok && ensure_queue(database, dead, DEAD_RETENTION_S, 0, 0, &hub->results_dead_id, err) &&
         ensure_queue(database, hub->results, 0, hub->results_dead_id, RESULT_RECEIVES,
                      &hub->results_id, err);
    database->requests_queue = hub->requests_id;
    if (!ok || !seal_note_waiting(database, err)) {
        database_rollback(database);
        return false;
    }
    database->delivery_retention_ms = hub->delivery_retention_ms;
    database->results_queue = hub->results_id;
    database->events.message_given_up = delivery_give_up;
    return database_commit(database, err);
}

static bool open_parts(struct hub *hub, const struct config *config, struct error *err)
{
    const char *path;
    if (!secret_heap_open(SECRET_HEAP_BYTES, err) || !read_settings(hub, config, err) ||
        !config_want(config, "hub", "database", &path, err))
        return false;
    hub->md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    if (hub->md5 == NULL)
        return error_openssl(err, FAIL_INTERNAL,
                             "OpenSSL has no MD5, which the queue protocol needs");
    return hub_keys_open(config, &hub->keys, err) &&
           sigv4_open(hub_keys_credentials(hub->keys), &hub->sigv4, err) &&
           tls_open(config, &hub->tls, err) && store_open(path, &hub->store, err) &&
           ensure_queues(hub, config, err);
}

static bool open_engine(struct hub *hub, const struct config *config, struct error *err)
{
    return strcmp(config_text(config, "hub", "queue"), "external") != 0 ||
           engine_open(hub, config, &hub->engine, err);
}

static void free_parts(struct hub **hub)
{
    if ((*hub)->store != NULL)
        store_drain((*hub)->store); /* ends what waits, and a backup that is under way */
    engine_close(&(*hub)->engine);
    control_stop(&(*hub)->control);
    store_close(&(*hub)->store);
    sigv4_close(&(*hub)->sigv4);
    tls_close(&(*hub)->tls);
    hub_keys_close(&(*hub)->keys);
    EVP_MD_free((*hub)->md5);
    free(*hub);
    *hub = NULL;
}

void hub_renew(struct hub *hub, enum renewal how)
{
    if (atomic_exchange(&hub->renew, false))
        how = RENEW_READ;
    if (hub_keys_renew(hub->keys, how))
        sigv4_renew(hub->sigv4, hub_keys_credentials(hub->keys));
}

/* Passwords do not pass here in clear, but a token does, and with it everything can be asked for.
 */
static bool open_listener(const struct hub *hub, const struct config *config, int *listener,
                          unsigned *port, struct error *err)
{
    const char *address = config_text(config, "hub", "listen");
    bool loopback = true;
    if (!listener_open(address, listener, port, &loopback, err))
        return false;
    if (loopback || hub->tls != NULL)
        return true;
    if (config_flag(config, "hub", "cleartext")) {
        log_event(LEVEL_WARNING, EVENT_NOTE, "reachable from other machines, without TLS",
                  LOG_TEXT("listen", address));
        return true;
    }
    close(*listener);
    error_set(err, FAIL_POLICY, "hub.listen: other machines reach %s, and there is no TLS",
              address);
    return error_hint(err,
                      "configure tls_certificate and tls_key in [hub], listen on 127.0.0.1, or "
                      "say cleartext = yes where a TLS proxy stands before it");
}

bool hub_open(const struct config *config, struct hub **out, struct error *err)
{
    const char *address = config_text(config, "hub", "listen");
    unsigned port = 0;
    int listener = -1;
    *out = NULL;
    struct hub *hub = calloc(1, sizeof *hub);
    if (hub == NULL)
        return error_memory(err);
    /* The socket comes last: who can connect is served. */
    if (!open_parts(hub, config, err) || !open_engine(hub, config, err) ||
        !store_start(hub->store, err) ||
        !control_start(hub->store, config_text(config, "hub", "database"), &hub->control, err) ||
        (hub->engine != NULL && !engine_start(hub->engine, err)) ||
        !open_listener(hub, config, &listener, &port, err) ||
        !server_start(hub, listener, &hub->server, err)) {
        free_parts(&hub);
        return false;
    }
    const char *transport = hub->tls == NULL              ? "http"
                            : tls_wants_clients(hub->tls) ? "https, with client certificates"
                                                          : "https";
    log_event(LEVEL_INFO, EVENT_NOTE, "listening", LOG_TEXT("listen", address),
              LOG_TEXT("transport", transport), LOG_NUMBER("port", port),
              LOG_TEXT("requests", hub->requests), LOG_TEXT("results", hub->results));
    *out = hub;
    return true;
}

void hub_close(struct hub **hub)
{
    if (hub == NULL || *hub == NULL)
        return;
    if ((*hub)->engine != NULL) {
        store_drain((*hub)->store); /* its lease of requests no longer waits */
        engine_stop((*hub)->engine);
    }
    server_stop(&(*hub)->server);
    free_parts(hub);
}
