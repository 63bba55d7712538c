/* SPDX-License-Identifier: Apache-2.0 */
/* Azure Queue Storage, REST and XML. Only a receive takes several messages at once. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "devices.h"
#include "queue_engine.h"

#define VERSION "2021-12-02"
#define LEASE_S "120"

static const uint8_t *account_key(const char *secret, size_t *len)
{
    static uint8_t key[256];
    static int got = -1;
    size_t digits = strlen(secret);
    if (got < 0 && digits <= sizeof key) {
        got = EVP_DecodeBlock(key, (const uint8_t *)secret, (int)digits);
        while (got > 0 && digits > 0 && secret[--digits] == '=')
            got--;
    }
    if (got <= 0)
        bench_give_up("the account key is no base64");
    *len = (size_t)got;
    return key;
}

/* `query` as it is sent; `canonical` its parameters as SharedKey signs them: sorted, decoded, each
 * "\nname:value". */
static void put_request(const struct engine *engine, struct buf *out, const char *method,
                        const char *path, const char *query, const char *canonical,
                        const char *text)
{
    char date[40], to_sign[2048], length[24] = "", signature[64];
    uint8_t mac[32];
    unsigned mac_len = 0;
    size_t key_len;
    struct tm utc;
    time_t now = time(NULL);
    size_t body = text != NULL ? strlen(text) + strlen("<QueueMessage><MessageText>") +
                                     strlen("</MessageText></QueueMessage>")
                               : 0;
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    if (body > 0)
        snprintf(length, sizeof length, "%zu", body);
    snprintf(to_sign, sizeof to_sign,
             "%s\n\n\n%s\n\n%s\n\n\n\n\n\n\nx-ms-date:%s\nx-ms-version:" VERSION "\n/%s/%s/%s%s",
             method, length, body > 0 ? "application/xml" : "", date, engine->key, engine->key,
             path, canonical);
    const uint8_t *key = account_key(engine->secret, &key_len);
    HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)to_sign, strlen(to_sign), mac, &mac_len);
    EVP_EncodeBlock((uint8_t *)signature, mac, (int)mac_len);
    buf_reset(out);
    buf_printf(out,
               "%s /%s/%s%s HTTP/1.1\r\nHost: %s\r\nx-ms-date: %s\r\nx-ms-version: " VERSION
               "\r\nAuthorization: SharedKey %s:%s\r\n%sContent-Length: %zu\r\n\r\n",
               method, engine->key, path, query, engine->host, date, engine->key, signature,
               body > 0 ? "Content-Type: application/xml\r\n" : "", body);
    if (body == 0)
        return;
    buf_put_text(out, "<QueueMessage><MessageText>");
    buf_put_text(out, text);
    buf_put_text(out, "</MessageText></QueueMessage>");
}

static void create(const struct engine *engine, struct buf *out)
{
    put_request(engine, out, "PUT", engine->queue, "", "", NULL);
}

static void send(const struct engine *engine, struct buf *out, const char *text, size_t count)
{
    char path[128];
    (void)count;
    snprintf(path, sizeof path, "%s/messages", engine->queue);
    put_request(engine, out, "POST", path, "", "", text);
}

static void receive(const struct engine *engine, struct buf *out, size_t max)
{
    char path[128], query[128], canonical[128];
    snprintf(path, sizeof path, "%s/messages", engine->queue);
    snprintf(query, sizeof query, "?numofmessages=%zu&visibilitytimeout=" LEASE_S, max);
    snprintf(canonical, sizeof canonical, "\nnumofmessages:%zu\nvisibilitytimeout:" LEASE_S, max);
    put_request(engine, out, "GET", path, query, canonical, NULL);
}

/* The text of the next element of that name, or false. */
static bool next_element(const char **at, const char *open, char *out, size_t size)
{
    const char *from = strstr(*at, open);
    if (from == NULL)
        return false;
    from += strlen(open);
    size_t len = strcspn(from, "<");
    if (len >= size)
        bench_give_up("an element is too long");
    memcpy(out, from, len);
    out[len] = '\0';
    *at = from + len;
    return true;
}

static size_t received(char *body, struct held *out, size_t max)
{
    const char *at = body;
    size_t count = 0;
    while (count < max && next_element(&at, "<MessageId>", out[count].id, sizeof out[count].id) &&
           next_element(&at, "<PopReceipt>", out[count].handle, HANDLE_MAX))
        count++;
    return count;
}

static void put_handle(const struct engine *engine, struct buf *out, const char *method,
                       const struct held *held, bool lease)
{
    char path[256], query[2 * HANDLE_MAX], canonical[HANDLE_MAX + 64];
    size_t len = (size_t)snprintf(query, sizeof query, "?popreceipt=");
    for (const char *at = held->handle; *at != '\0' && len + 32 < sizeof query; at++)
        len += (size_t)snprintf(query + len, sizeof query - len,
                                strchr("+/=&%", *at) != NULL ? "%%%02X" : "%c", *at);
    snprintf(query + len, sizeof query - len, "%s", lease ? "&visibilitytimeout=" LEASE_S : "");
    snprintf(path, sizeof path, "%s/messages/%s", engine->queue, held->id);
    snprintf(canonical, sizeof canonical, "\npopreceipt:%s%s", held->handle,
             lease ? "\nvisibilitytimeout:" LEASE_S : "");
    put_request(engine, out, method, path, query, canonical, NULL);
}

static void extend(const struct engine *engine, struct buf *out, const struct held *held,
                   size_t count)
{
    (void)count;
    put_handle(engine, out, "PUT", held, true);
}

/* Each update gives a pop receipt in place of the old one. */
static void extended(const char *head, struct held *held)
{
    static const char name[] = "\r\nx-ms-popreceipt: ";
    const char *at = strstr(head, name);
    if (at == NULL)
        bench_give_up("an update gave no pop receipt");
    at += strlen(name);
    size_t len = strcspn(at, "\r");
    if (len >= HANDLE_MAX)
        bench_give_up("a pop receipt is too long");
    memcpy(held->handle, at, len);
    held->handle[len] = '\0';
}

static void delete (const struct engine *engine, struct buf *out, const struct held *held,
                    size_t count)
{
    (void)count;
    put_handle(engine, out, "DELETE", held, false);
}

static size_t done(const char *body, size_t count)
{
    (void)body;
    return count;
}

const struct engine engine_azure = {.batch_max = 1,
                                    .create = create,
                                    .send = send,
                                    .receive = receive,
                                    .received = received,
                                    .extend = extend,
                                    .extended = extended,
                                    .delete = delete,
                                    .done = done};
