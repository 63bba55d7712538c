/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What requests are signed with, and its renewal: keys are rotated while the client runs.
 *
 * The file is looked at once a second while there is something to do, and read when it has changed.
 * What cannot be read changes nothing: the key in use stays. A refusal (401, 403, or 407 of the
 * proxy) has the file read at once, whatever its date; a newer key is tried once with the same
 * request, and a person is told either way.
 */
#include <stdlib.h>
#include <string.h>
#include "dialect.h"
#include "reseal/clock.h"
#include "reseal/log.h"

void access_key_free(struct access_key *key)
{
    secret_free(&key->secret);
    secret_free(&key->sas);
    *key = (struct access_key){0};
}

static bool same_secret(const struct secret *a, const struct secret *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    struct bytes x = secret_bytes(a), y = secret_bytes(b);
    return x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
}

static bool same_key(const struct access_key *a, const struct access_key *b)
{
    return strcmp(a->id, b->id) == 0 && same_secret(a->secret, b->secret) &&
           same_secret(a->sas, b->sas);
}

bool client_keys_open(struct queue_client *client, const struct queue_options *options,
                      struct error *err)
{
    struct keys *keys = &client->keys;
    if (options->credentials == NULL && options->credential == NULL)
        return true;
    if (options->credentials != NULL) {
        keys->path = strdup(options->credentials);
        keys->profile = strdup(options->profile != NULL ? options->profile : "default");
        if (keys->path == NULL || keys->profile == NULL)
            return error_memory(err);
        (void)!stat(keys->path, &keys->seen); /* before it is read: a later change is seen */
    }
    keys->fixed = options->credential;
    bool ok = client->dialect->load_key(client, &keys->key, err);
    keys->fixed = NULL; /* the caller's */
    keys->generation = 1;
    return ok;
}

void client_keys_close(struct queue_client *client)
{
    access_key_free(&client->keys.key);
    free(client->keys.path);
    free(client->keys.profile);
}

bool file_unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* True where the key is another one now. */
static bool reload(struct queue_client *client)
{
    struct keys *keys = &client->keys;
    struct access_key newer = {0};
    struct error err = ERROR_INIT;
    if (!client->dialect->load_key(client, &newer, &err)) {
        log_error(LEVEL_WARNING, EVENT_NOTE,
                  "the access key cannot be read anew, the one in use stays", &err);
        access_key_free(&newer);
        return false;
    }
    if (same_key(&newer, &keys->key)) {
        access_key_free(&newer);
        return false;
    }
    access_key_free(&keys->key);
    keys->key = newer; /* transferred */
    keys->generation++;
    log_event(LEVEL_INFO, EVENT_NOTE, "the access key was read anew", LOG_TEXT("file", keys->path),
              LOG_TEXT("key", keys->key.id));
    return true;
}

void client_keys_look(struct queue_client *client, int64_t now_ms)
{
    struct keys *keys = &client->keys;
    struct stat found;
    if (now_ms < keys->look_ms)
        return;
    keys->look_ms = now_ms + KEY_LOOK_MS;
    if (proxy_changed(&client->proxy)) {
        keys->generation++;
        log_event(LEVEL_INFO, EVENT_NOTE, "the credentials of the proxy were read anew",
                  LOG_TEXT("proxy", client->proxy.url));
    }
    if (keys->path == NULL || stat(keys->path, &found) != 0 || file_unchanged(&found, &keys->seen))
        return; /* between two names while it is replaced, it comes back */
    keys->seen = found;
    (void)!reload(client);
}

bool client_keys_renew(struct queue_client *client, unsigned generation)
{
    struct keys *keys = &client->keys;
    bool newer = generation != keys->generation; /* it was renewed while the request was away */
    if (!newer && keys->path != NULL)
        newer = reload(client);
    if (proxy_reload(&client->proxy)) {
        keys->generation++;
        newer = true;
    }
    if (newer) {
        log_event(
            LEVEL_WARNING, EVENT_NOTE,
            "what we sent to prove who we are was refused; a newer one was found, and is tried",
            LOG_TEXT("endpoint", client->endpoint), LOG_TEXT("key", keys->key.id));
    } else if (keys->refused != generation) {
        keys->refused = generation;
        log_event(LEVEL_ERROR, EVENT_NOTE,
                  "what we sent to prove who we are was refused, and there is nothing newer: a "
                  "person has to act",
                  LOG_TEXT("endpoint", client->endpoint), LOG_TEXT("key", keys->key.id),
                  LOG_TEXT("file", keys->path != NULL ? keys->path : ""));
    }
    return newer;
}
