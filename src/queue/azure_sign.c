/* SPDX-License-Identifier: Apache-2.0 */
#include "azure_sign.h"

#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include "reseal/text.h"

#define CONNECTION_STRING_MAX 4096
#define KEY_LEAST             16 /* bytes of an account key */

/* -- the connection string -- */

/* One "Name=value" of it; a value may contain '='. */
static struct bytes part(struct bytes all, const char *name)
{
    size_t wanted = strlen(name);
    struct cursor left = cursor_over(all);
    while (left.left > 0) {
        const uint8_t *end = memchr(left.at, ';', left.left);
        size_t len = end != NULL ? (size_t)(end - left.at) : left.left;
        struct bytes pair;
        if (!cursor_take(&left, len, &pair))
            break;
        if (end != NULL && !cursor_take(&left, 1, &(struct bytes){NULL, 0}))
            break;
        if (pair.len > wanted && pair.data[wanted] == '=' &&
            strncasecmp((const char *)pair.data, name, wanted) == 0)
            return (struct bytes){pair.data + wanted + 1, pair.len - wanted - 1};
    }
    return (struct bytes){NULL, 0};
}

static bool copy_part(struct bytes all, const char *name, char *out, size_t size)
{
    struct bytes found = part(all, name);
    if (found.len == 0 || found.len >= size)
        return false;
    snprintf(out, size, "%.*s", (int)found.len, (const char *)found.data);
    return true;
}

static bool take_endpoint(struct bytes all, struct access_key *out)
{
    char scheme[8] = "https", suffix[256] = "core.windows.net";
    if (copy_part(all, "QueueEndpoint", out->endpoint, sizeof out->endpoint))
        return true;
    if (out->id[0] == '\0')
        return false;
    (void)!copy_part(all, "DefaultEndpointsProtocol", scheme, sizeof scheme);
    (void)!copy_part(all, "EndpointSuffix", suffix, sizeof suffix);
    snprintf(out->endpoint, sizeof out->endpoint, "%s://%s.queue.%s", scheme, out->id, suffix);
    return true;
}

static bool take_sas(struct bytes sas, struct access_key *out, struct error *err)
{
    if (sas.len > 0 && sas.data[0] == '?') /* as portals hand it out */
        sas = (struct bytes){sas.data + 1, sas.len - 1};
    if (!secret_new(sas.len + 1, &out->sas, err))
        return false;
    memcpy(secret_data(out->sas), sas.data, sas.len);
    const char *text = (const char *)secret_data(out->sas);
    if (strlen(text) == sas.len && strstr(text, "sig=") != NULL &&
        strspn(text,
               "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%&=:+/*@") ==
            sas.len)
        return true;
    return error_set(err, FAIL_USAGE, "SharedAccessSignature is not of the form sv=...&sig=...");
}

static bool take_account_key(struct bytes text, struct access_key *out, struct error *err)
{
    uint8_t *key;
    if (out->id[0] == '\0')
        return error_set(err, FAIL_USAGE, "there is an AccountKey without an AccountName");
    /* Straight into the secret heap: no copy on the way. */
    if (!secret_new(text.len / 4 * 3 + 3, &out->secret, err))
        return false;
    key = secret_data(out->secret);
    int len = text.len % 4 == 0 ? EVP_DecodeBlock(key, text.data, (int)text.len) : -1;
    for (size_t i = 0; len > 0 && i < 2 && i < text.len && text.data[text.len - 1 - i] == '='; i++)
        len--;
    if (len < KEY_LEAST)
        return error_set(err, FAIL_USAGE, "AccountKey is no base64 of at least %d bytes",
                         KEY_LEAST);
    secret_truncate(out->secret, (size_t)len);
    return true;
}

static bool take_parts(struct bytes all, struct access_key *out, struct error *err)
{
    struct bytes key = part(all, "AccountKey"), sas = part(all, "SharedAccessSignature");
    (void)!copy_part(all, "AccountName", out->id, sizeof out->id);
    (void)!take_endpoint(all, out);
    if (sas.len > 0)
        return take_sas(sas, out, err);
    if (key.len > 0)
        return take_account_key(key, out, err);
    return error_set(err, FAIL_USAGE, "there is neither an AccountKey nor a SharedAccessSignature");
}

bool azure_key_load(const char *path, struct access_key *out, struct error *err)
{
    struct secret *content = NULL;
    char source[4200];
    snprintf(source, sizeof source, "file:%s", path);
    if (!secret_read(source, "", CONNECTION_STRING_MAX, &content, err))
        return false;
    bool ok = take_parts(secret_bytes(content), out, err);
    if (!ok && err->kind == FAIL_USAGE) {
        error_context(err, "%s is no connection string", path);
        error_hint(err, "copy it from the access keys, or the shared access signature, of the "
                        "storage account; it is one line");
    }
    secret_free(&content);
    return ok;
}

/* -- one request -- */

static bool sign(const struct secret *key, const struct buf *text, struct buf *out,
                 struct error *err)
{
    unsigned char mac[SHA256_DIGEST_LENGTH];
    size_t mac_len = 0;
    struct bytes secret = secret_bytes(key);
    if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret.data, secret.len, text->data,
                  text->len, mac, sizeof mac, &mac_len) == NULL)
        return error_openssl(err, FAIL_INTERNAL, "cannot sign a request");
    base64_encode(out, mac, mac_len);
    return true;
}

bool azure_authorization(const struct access_key *key, const struct azure_request *request,
                         struct buf *out, struct error *err)
{
    struct buf text = BUF_INIT(8192);
    bool ok = false;
    /* Content-Encoding, -Language, -Length, -MD5, -Type, then six conditions that we never set. */
    buf_printf(&text, "%s\n\n\n", request->method);
    if (request->content_length > 0)
        buf_printf(&text, "%zu", request->content_length);
    buf_printf(&text, "\n\n%s\n\n\n\n\n\n\n", request->content_type);
    buf_printf(&text, "x-ms-date:%s\nx-ms-version:%s\n", request->date, request->version);
    buf_printf(&text, "/%s%s", key->id, request->path);
    for (const struct azure_parameter *at = request->parameters; at->name != NULL; at++)
        buf_printf(&text, "\n%s:%s", at->name, at->value);
    if (!buf_check(&text, "what a request is signed over", err))
        goto done;
    buf_printf(out, "SharedKey %s:", key->id);
    ok = sign(key->secret, &text, out, err);
done:
    buf_free(&text);
    return ok;
}
