/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/credentials.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES       65536
#define SECRET_KEY_LEAST 12 /* characters; AWS gives 40 */

struct credentials {
    struct credential items[CREDENTIALS_MAX];
    size_t count;
};

struct loader {
    struct credentials *credentials;
    const char *path;
    const char *text; /* not yet given to inih */
    size_t left;
    struct error *err;
    bool failed;
};

static struct credential *profile_item(struct loader *loader, const char *profile)
{
    struct credentials *all = loader->credentials;
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->items[i].profile, profile) == 0)
            return &all->items[i];
    }
    if (all->count == CREDENTIALS_MAX || strlen(profile) >= sizeof all->items[0].profile) {
        error_set(loader->err, FAIL_USAGE,
                  "%s: more than %d profiles, or a profile name that is too long", loader->path,
                  CREDENTIALS_MAX);
        return NULL;
    }
    struct credential *item = &all->items[all->count++];
    snprintf(item->profile, sizeof item->profile, "%s", profile);
    return item;
}

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct loader *loader = user;
    if (loader->failed)
        return 1;
    loader->failed = true; /* until this pair is known to be good */
    struct credential *item = profile_item(loader, section);
    if (item == NULL)
        return 0;
    if (strcmp(name, "aws_access_key_id") == 0) {
        if (strlen(value) >= sizeof item->access_key_id)
            return error_set(loader->err, FAIL_USAGE, "%s: the access key id of [%s] is too long",
                             loader->path, section);
        snprintf(item->access_key_id, sizeof item->access_key_id, "%s", value);
    } else if (strcmp(name, "aws_secret_access_key") == 0) {
        secret_free(&item->secret_access_key);
        if (!secret_copy(value, strlen(value), &item->secret_access_key, loader->err))
            return 0;
    } /* other keys of the shared format (region, session token) do not concern us */
    loader->failed = false;
    return 1;
}

static char *next_line(char *out, int size, void *stream)
{
    struct loader *loader = stream;
    if (loader->left == 0 || loader->failed)
        return NULL;
    const char *end = memchr(loader->text, '\n', loader->left);
    size_t len = end != NULL ? (size_t)(end - loader->text) + 1 : loader->left;
    const char *line = loader->text;
    loader->text += len;
    loader->left -= len;
    if (len + 1 > (size_t)size) { /* a session token: it does not concern us, an access key fits */
        snprintf(out, (size_t)size, "\n");
        return out;
    }
    memcpy(out, line, len);
    out[len] = '\0';
    return out;
}

static bool check_item(const struct loader *loader, const struct credential *item)
{
    const struct credentials *all = loader->credentials;
    if (item->access_key_id[0] == '\0' || item->secret_access_key == NULL)
        return error_set(loader->err, FAIL_USAGE,
                         "%s: [%s] needs aws_access_key_id and aws_secret_access_key", loader->path,
                         item->profile);
    /* An empty one, left by a script that failed, would let everybody in who knows the key id. */
    if (secret_len(item->secret_access_key) < SECRET_KEY_LEAST) {
        error_set(loader->err, FAIL_USAGE,
                  "%s: the secret access key of [%s] has fewer than %d characters", loader->path,
                  item->profile, SECRET_KEY_LEAST);
        return error_hint(loader->err, "make one with: openssl rand -base64 30");
    }
    const struct credential *first = credentials_by_access_key(all, item->access_key_id);
    if (first != item)
        return error_set(loader->err, FAIL_USAGE, "%s: [%s] and [%s] have the same access key id",
                         loader->path, first->profile, item->profile);
    return true;
}

static bool check_complete(const struct loader *loader)
{
    const struct credentials *all = loader->credentials;
    for (size_t i = 0; i < all->count; i++) {
        if (!check_item(loader, &all->items[i]))
            return false;
    }
    if (all->count == 0)
        return error_set(loader->err, FAIL_USAGE, "%s holds no access key", loader->path);
    return true;
}

/* Overwrites the stack below the caller, where a function that has returned kept its lines. */
static __attribute__((noinline)) void wipe_stack(void)
{
    volatile char place[1024];
    memory_wipe((char *)(uintptr_t)place, sizeof place);
}

static bool parse(struct loader *loader, const struct secret *content)
{
    struct bytes text = secret_bytes(content);
    loader->text = (const char *)text.data;
    loader->left = text.len;
    ini_use_stack = true; /* 200 bytes are enough for both lines, and the heap would keep copies */
    ini_allow_multiline = false;
    ini_allow_inline_comments = false; /* a secret key may contain anything */
    int bad = ini_parse_stream(next_line, loader, on_pair, loader);
    wipe_stack(); /* where inih held the lines */
    if (loader->failed)
        return false;
    if (bad != 0)
        return error_set(loader->err, FAIL_USAGE, "%s:%d: neither [profile] nor name = value",
                         loader->path, bad);
    return check_complete(loader);
}

bool credentials_load(const char *path, struct credentials **out, struct error *err)
{
    struct secret *content = NULL;
    char source[4200];
    bool ok = false;
    *out = NULL;
    struct credentials *all = calloc(1, sizeof *all);
    if (all == NULL)
        return error_memory(err);
    snprintf(source, sizeof source, "file:%s", path);
    struct loader loader = {.credentials = all, .path = path, .err = err};
    if (!secret_read(source, "", FILE_BYTES / 8, &content, err))
        goto done;
    if (!parse(&loader, content))
        goto done;
    *out = all;
    all = NULL; /* transferred */
    ok = true;
done:
    secret_free(&content);
    credentials_free(&all);
    return ok;
}

void credentials_free(struct credentials **credentials)
{
    if (credentials == NULL || *credentials == NULL)
        return;
    for (size_t i = 0; i < (*credentials)->count; i++)
        secret_free(&(*credentials)->items[i].secret_access_key);
    free(*credentials);
    *credentials = NULL;
}

const struct credential *credentials_by_profile(const struct credentials *all, const char *profile)
{
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->items[i].profile, profile) == 0)
            return &all->items[i];
    }
    return NULL;
}

const struct credential *credentials_by_access_key(const struct credentials *all, const char *id)
{
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->items[i].access_key_id, id) == 0)
            return &all->items[i];
    }
    return NULL;
}
