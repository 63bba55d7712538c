/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/credentials.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/access.h"
#include "reseal/key_wrap.h"
#include "reseal/text.h"

#define FILE_BYTES       16384
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
    const struct secret *wrap;
    bool strict; /* the hub's file, see credentials_load_hub */
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

static bool take_id(const struct loader *loader, struct credential *item, const char *value)
{
    if (strlen(value) >= sizeof item->access_key_id)
        return error_set(loader->err, FAIL_USAGE, "%s: the access key id of [%s] is too long",
                         loader->path, item->profile);
    snprintf(item->access_key_id, sizeof item->access_key_id, "%s", value);
    return true;
}

/* The wrapped form is kept in the place of the secret half until the whole section is known. */
static bool take_secret(const struct loader *loader, struct credential *item, const char *value,
                        bool wrapped)
{
    if (item->secret_access_key != NULL && item->wrapped != wrapped)
        return error_set(loader->err, FAIL_USAGE,
                         "%s: [%s] has its secret access key both in clear and wrapped",
                         loader->path, item->profile);
    item->wrapped = wrapped;
    secret_free(&item->secret_access_key);
    return secret_copy(value, strlen(value) + wrapped, &item->secret_access_key, loader->err);
}

/* Several lines add up. */
static bool take_rights(const struct loader *loader, struct credential *item, const char *value)
{
    size_t used = strlen(item->rights), room = sizeof item->rights - used;
    if (value[strspn(value, " \t,")] == '\0')
        return error_set(loader->err, FAIL_USAGE, "%s: [%s] has a line of rights without any",
                         loader->path, item->profile);
    if (!rights_valid(value, loader->err))
        return error_context(loader->err, "%s: [%s]", loader->path, item->profile);
    if (strlen(value) + 2 > room)
        return error_set(loader->err, FAIL_USAGE, "%s: the rights of [%s] have more than %d bytes",
                         loader->path, item->profile, CREDENTIAL_RIGHTS_MAX);
    snprintf(item->rights + used, room, "%s%s", used > 0 ? " " : "", value);
    return true;
}

/* Keys that the shared format has and that do not concern us. */
static bool take_other(const struct loader *loader, const struct credential *item, const char *name)
{
    static const char *const known[] = {"aws_access_key_id",
                                        "aws_secret_access_key",
                                        "aws_secret_access_key_wrapped",
                                        "rights",
                                        "region",
                                        "output",
                                        "aws_session_token",
                                        NULL};
    for (size_t i = 0; known[i] != NULL; i++) {
        if (!loader->strict || strcmp(known[i], name) == 0)
            return true;
    }
    error_set(loader->err, FAIL_USAGE, "%s: [%s] has the unknown key \"%.64s\"", loader->path,
              item->profile, name);
    const char *nearest = text_nearest(name, known);
    return nearest != NULL ? error_hint(loader->err, "did you mean \"%s\"?", nearest) : false;
}

static bool take_pair(struct loader *loader, struct credential *item, const char *name,
                      const char *value)
{
    if (strcmp(name, "aws_access_key_id") == 0)
        return take_id(loader, item, value);
    if (strcmp(name, "aws_secret_access_key") == 0)
        return take_secret(loader, item, value, false);
    if (loader->strict && strcmp(name, "aws_secret_access_key_wrapped") == 0)
        return take_secret(loader, item, value, true);
    if (loader->strict && strcmp(name, "rights") == 0)
        return take_rights(loader, item, value);
    return take_other(loader, item, name);
}

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct loader *loader = user;
    if (loader->failed)
        return 1;
    struct credential *item = profile_item(loader, section);
    loader->failed = item == NULL || !take_pair(loader, item, name, value);
    return loader->failed ? 0 : 1;
}

/* A line that inih cannot hold is a session token, which does not concern us; access keys fit. In
 * the hub's file it might be the rights of a key. */
static bool line_too_long(struct loader *loader)
{
    if (loader->strict)
        loader->failed = !error_set(loader->err, FAIL_USAGE,
                                    "%s: a line has more than %d bytes; give the rights in several "
                                    "lines",
                                    loader->path, INI_MAX_LINE - 2);
    return loader->failed;
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
    if (len + 1 > (size_t)size) {
        if (line_too_long(loader))
            return NULL;
        snprintf(out, (size_t)size, "\n");
        return out;
    }
    memcpy(out, line, len);
    out[len] = '\0';
    return out;
}

/* Puts the secret half into the place of its wrapped form. */
static bool unwrap(const struct loader *loader, struct credential *item)
{
    struct secret *clear = NULL;
    if (!item->wrapped || item->secret_access_key == NULL)
        return true;
    if (loader->wrap == NULL) {
        error_set(loader->err, FAIL_USAGE, "%s: the key [%s] is wrapped, and there is no key to it",
                  loader->path, item->profile);
        return error_hint(loader->err, "say where it is with access_key_wrap in [hub]");
    }
    const char *wrapped = (const char *)secret_bytes(item->secret_access_key).data;
    if (!key_unwrap(loader->wrap, item->access_key_id, wrapped, &clear, loader->err))
        return error_context(loader->err, "%s", loader->path);
    secret_free(&item->secret_access_key);
    item->secret_access_key = clear;
    return true;
}

static bool check_item(const struct loader *loader, struct credential *item)
{
    const struct credentials *all = loader->credentials;
    if (item->access_key_id[0] == '\0' || item->secret_access_key == NULL)
        return error_set(loader->err, FAIL_USAGE,
                         "%s: [%s] needs aws_access_key_id and aws_secret_access_key", loader->path,
                         item->profile);
    if (!unwrap(loader, item))
        return false;
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
    struct credentials *all = loader->credentials;
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

static bool load(struct loader *loader, struct credentials **out)
{
    struct secret *content = NULL;
    char source[4200];
    bool ok = false;
    *out = NULL;
    struct credentials *all = calloc(1, sizeof *all);
    if (all == NULL)
        return error_memory(loader->err);
    loader->credentials = all;
    snprintf(source, sizeof source, "file:%s", loader->path);
    if (!secret_read(source, "", FILE_BYTES - 64, &content, loader->err) || !parse(loader, content))
        goto done;
    *out = all;
    all = NULL; /* transferred */
    ok = true;
done:
    secret_free(&content);
    credentials_free(&all);
    return ok;
}

bool credentials_load(const char *path, struct credentials **out, struct error *err)
{
    struct loader loader = {.path = path, .err = err};
    return load(&loader, out);
}

bool credentials_load_hub(const char *path, const struct secret *wrap, struct credentials **out,
                          struct error *err)
{
    struct loader loader = {.path = path, .wrap = wrap, .strict = true, .err = err};
    return load(&loader, out);
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

size_t credentials_count(const struct credentials *all)
{
    return all->count;
}

const struct credential *credentials_at(const struct credentials *all, size_t index)
{
    return index < all->count ? &all->items[index] : NULL;
}
