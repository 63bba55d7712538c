/* SPDX-License-Identifier: Apache-2.0 */
#include "hub_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "reseal/key_wrap.h"
#include "reseal/log.h"
#include "reseal/text.h"
#include "watched_file.h"

#define TOKENS_MAX   16
#define TOKEN_LEAST  16   /* bytes; a shorter one could be guessed, from its digest above all */
#define TOKEN_FILE   4096 /* bytes of all tokens together */
#define LOOK_EVERY   250  /* milliseconds between two looks at the files */
#define DIGEST_BYTES 32
#define DIGEST_MARK  "sha256:"

/* The tokens of one kind. */
struct tokens {
    size_t count;
    uint8_t digests[TOKENS_MAX][DIGEST_BYTES];
};

static const char *const settings[TOKEN_KINDS] = {
    [TOKEN_API] = "api_token",
    [TOKEN_ROTATION] = "rotation_token",
};

struct hub_keys {
    EVP_MD *sha256;
    char *credentials_path;
    char *token_sources[TOKEN_KINDS]; /* NULL: there are none of that kind */
    struct secret *wrap;              /* NULL: access keys are in clear in their file */
    struct credentials *credentials;
    struct tokens tokens[TOKEN_KINDS];
    struct watched_file credentials_file, token_files[TOKEN_KINDS];
    int64_t looked_ms; /* monotonic */
};

/* -- tokens -- */

static bool digest(const struct hub_keys *keys, struct bytes token,
                   uint8_t out[static DIGEST_BYTES])
{
    return EVP_Digest(token.data, token.len, out, NULL, keys->sha256, NULL) == 1;
}

static bool take_line(const struct hub_keys *keys, struct bytes line, struct tokens *tokens,
                      struct error *err)
{
    static const size_t mark = sizeof DIGEST_MARK - 1;
    struct buf bytes = BUF_INIT(DIGEST_BYTES);
    if (tokens->count == TOKENS_MAX)
        return error_set(err, FAIL_USAGE, "there are more than %d tokens", TOKENS_MAX);
    uint8_t *place = tokens->digests[tokens->count++];
    if (line.len > mark && memcmp(line.data, DIGEST_MARK, mark) == 0) {
        struct error ignored = ERROR_INIT;
        bool ok = hex_decode(&bytes, (const char *)line.data + mark, line.len - mark, "digest",
                             &ignored) &&
                  bytes.len == DIGEST_BYTES;
        if (ok)
            memcpy(place, bytes.data, DIGEST_BYTES);
        buf_free(&bytes);
        return ok || error_set(err, FAIL_USAGE, "a line is " DIGEST_MARK " without 64 digits");
    }
    if (line.len < TOKEN_LEAST) {
        error_set(err, FAIL_USAGE, "the token has %zu bytes, at least %d are needed", line.len,
                  TOKEN_LEAST);
        return error_hint(err, "make one with: openssl rand -hex 32");
    }
    return digest(keys, line, place) || error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
}

static struct bytes trim(struct bytes line)
{
    while (line.len > 0 && strchr(" \t\r", line.data[line.len - 1]) != NULL)
        line.len--;
    while (line.len > 0 && strchr(" \t", line.data[0]) != NULL) {
        line.data++;
        line.len--;
    }
    return line;
}

/* A token or a digest on each line; lines that are empty or begin with '#' are none. */
static bool read_tokens(const struct hub_keys *keys, const char *source, struct tokens *out,
                        struct error *err)
{
    struct secret *content = NULL;
    bool ok = true;
    *out = (struct tokens){.count = 0};
    if (!secret_read(source, "API token", TOKEN_FILE, &content, err))
        return false;
    struct bytes left = secret_bytes(content);
    while (ok && left.len > 0) {
        const uint8_t *end = memchr(left.data, '\n', left.len);
        size_t len = end != NULL ? (size_t)(end - left.data) : left.len;
        struct bytes line = trim((struct bytes){left.data, len});
        left.data += len + (end != NULL);
        left.len -= len + (end != NULL);
        if (line.len > 0 && line.data[0] != '#')
            ok = take_line(keys, line, out, err);
    }
    secret_free(&content);
    if (!ok || out->count > 0)
        return ok;
    error_set(err, FAIL_USAGE, "there is no token");
    return error_hint(err, "make one with: openssl rand -hex 32");
}

/* One token for both would give every importer what only a rotation is to have. */
static bool differ(const struct tokens *a, const struct tokens *b)
{
    for (size_t i = 0; i < a->count; i++) {
        for (size_t k = 0; k < b->count; k++) {
            if (CRYPTO_memcmp(a->digests[i], b->digests[k], DIGEST_BYTES) == 0)
                return false;
        }
    }
    return true;
}

static bool load_tokens(struct hub_keys *keys, enum token_kind kind, struct error *err)
{
    struct tokens fresh;
    enum token_kind other = kind == TOKEN_API ? TOKEN_ROTATION : TOKEN_API;
    if (keys->token_sources[kind] == NULL)
        return true;
    if (!read_tokens(keys, keys->token_sources[kind], &fresh, err))
        return error_context(err, "hub.%s", settings[kind]);
    if (!differ(&fresh, &keys->tokens[other]))
        return error_set(err, FAIL_USAGE, "hub.rotation_token and hub.api_token are one token");
    keys->tokens[kind] = fresh;
    return true;
}

bool hub_keys_has_tokens(const struct hub_keys *keys, enum token_kind kind)
{
    return keys->tokens[kind].count > 0;
}

bool hub_keys_token_good(const struct hub_keys *keys, enum token_kind kind, const char *token)
{
    const struct tokens *tokens = &keys->tokens[kind];
    uint8_t given[DIGEST_BYTES];
    unsigned good = 0;
    if (!digest(keys, (struct bytes){(const uint8_t *)token, strlen(token)}, given))
        return false;
    for (size_t i = 0; i < tokens->count; i++)
        good |= CRYPTO_memcmp(given, tokens->digests[i], DIGEST_BYTES) == 0;
    return good != 0;
}

/* -- both -- */

static bool load_credentials(struct hub_keys *keys, struct error *err)
{
    struct credentials *fresh = NULL;
    if (!credentials_load_hub(keys->credentials_path, keys->wrap, &fresh, err)) {
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "`reseal access add` makes it; it must be readable by the hub's user");
        return false;
    }
    credentials_free(&keys->credentials);
    keys->credentials = fresh;
    return true;
}

static bool copy_token_source(struct hub_keys *keys, const char *source, enum token_kind kind,
                              struct error *err)
{
    if (source == NULL)
        return true;
    keys->token_sources[kind] = strdup(source);
    if (keys->token_sources[kind] == NULL)
        return error_memory(err);
    if (strncmp(source, "file:", 5) == 0)
        keys->token_files[kind].path = keys->token_sources[kind] + 5;
    return true;
}

static bool copy_settings(struct hub_keys *keys, const struct config *config, struct error *err)
{
    const char *api, *path, *wrap = config_text(config, "hub", "access_key_wrap");
    const char *rotation = config_text(config, "hub", settings[TOKEN_ROTATION]);
    if (!config_want(config, "hub", settings[TOKEN_API], &api, err) ||
        !config_want(config, "hub", "credentials", &path, err) ||
        !copy_token_source(keys, api, TOKEN_API, err) ||
        !copy_token_source(keys, rotation, TOKEN_ROTATION, err))
        return false;
    keys->credentials_path = strdup(path);
    keys->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (keys->credentials_path == NULL || keys->sha256 == NULL)
        return error_memory(err);
    keys->credentials_file.path = keys->credentials_path;
    return wrap == NULL || key_wrap_read(wrap, &keys->wrap, err);
}

bool hub_keys_open(const struct config *config, struct hub_keys **out, struct error *err)
{
    *out = NULL;
    struct hub_keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL)
        return error_memory(err);
    bool ok = copy_settings(keys, config, err);
    for (size_t i = 0; ok && i < TOKEN_KINDS; i++) {
        /* Looked at before it is read: what changes meanwhile is read again. */
        (void)!watched_file_changed(&keys->token_files[i]);
        ok = load_tokens(keys, (enum token_kind)i, err);
    }
    if (ok) {
        (void)!watched_file_changed(&keys->credentials_file);
        ok = load_credentials(keys, err);
    }
    if (!ok)
        hub_keys_close(&keys);
    *out = keys;
    return ok;
}

void hub_keys_close(struct hub_keys **keys)
{
    if (keys == NULL || *keys == NULL)
        return;
    credentials_free(&(*keys)->credentials);
    secret_free(&(*keys)->wrap);
    EVP_MD_free((*keys)->sha256);
    free((*keys)->credentials_path);
    for (size_t i = 0; i < TOKEN_KINDS; i++)
        free((*keys)->token_sources[i]);
    free(*keys);
    *keys = NULL;
}

const struct credentials *hub_keys_credentials(const struct hub_keys *keys)
{
    return keys->credentials;
}

/* Tells what has become of a file that was read again. */
static bool told(bool ok, const char *what, const char *file, const struct error *err)
{
    char message[96];
    snprintf(message, sizeof message, "%s %s", what,
             ok ? "were read again" : "cannot be read again; those from before stay in force");
    if (ok)
        log_event(LEVEL_INFO, EVENT_NOTE, message, LOG_TEXT("file", file));
    else
        log_error(LEVEL_ERROR, EVENT_NOTE, message, err);
    return ok;
}

bool hub_keys_renew(struct hub_keys *keys, enum renewal how)
{
    struct error err = ERROR_INIT;
    int64_t time_ms = clock_monotonic_ms();
    bool renewed = false;
    bool read = how == RENEW_READ;
    if (how == RENEW_AT_TIMES && time_ms - keys->looked_ms < LOOK_EVERY)
        return false;
    keys->looked_ms = time_ms;
    for (size_t i = 0; i < TOKEN_KINDS; i++) {
        bool changed = watched_file_changed(&keys->token_files[i]);
        if (changed || (read && keys->token_files[i].path != NULL))
            (void)told(load_tokens(keys, (enum token_kind)i, &err), "API tokens",
                       keys->token_files[i].path, &err);
    }
    if (watched_file_changed(&keys->credentials_file) || read)
        renewed = told(load_credentials(keys, &err), "access keys", keys->credentials_path, &err);
    return renewed;
}
