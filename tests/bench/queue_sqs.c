/* SPDX-License-Identifier: Apache-2.0 */
/* Amazon SQS, JSON protocol. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include "devices.h"
#include "queue_engine.h"
#include "reseal/text.h"

#define REGION     "local"
#define SCOPE_TAIL REGION "/sqs/aws4_request"
#define LEASE_S    "120"

static void hmac(const void *key, size_t key_len, const char *text, uint8_t out[static 32])
{
    unsigned len = 0;
    if (HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)text, strlen(text), out, &len) ==
        NULL)
        bench_give_up("HMAC failed");
}

static void hash(const void *data, size_t len, char out[static 65])
{
    uint8_t digest[32];
    SHA256(data, len, digest);
    hex_encode(out, digest, sizeof digest);
}

/* The signing key changes with the day only. */
static const uint8_t *signing_key(const char *secret, const char *day)
{
    static uint8_t key[32];
    static char of_day[9] = "";
    if (strcmp(of_day, day) != 0) {
        char start[256];
        int len = snprintf(start, sizeof start, "AWS4%s", secret);
        hmac(start, (size_t)len, day, key);
        hmac(key, sizeof key, REGION, key);
        hmac(key, sizeof key, "sqs", key);
        hmac(key, sizeof key, "aws4_request", key);
        snprintf(of_day, sizeof of_day, "%s", day);
    }
    return key;
}

static void put_signed(const struct engine *engine, struct buf *out, const char *operation,
                       const struct buf *body, const char *body_hash)
{
    char stamp[20], day[9], canonical_hash[65], canonical[1024], to_sign[256];
    char signature[65];
    uint8_t mac[32];
    struct tm utc;
    time_t now = time(NULL);
    gmtime_r(&now, &utc);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc);
    strftime(day, sizeof day, "%Y%m%d", &utc);
    int len = snprintf(canonical, sizeof canonical,
                       "POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:%s\n"
                       "x-amz-date:%s\nx-amz-target:AmazonSQS.%s\n\n"
                       "content-type;host;x-amz-date;x-amz-target\n%s",
                       engine->host, stamp, operation, body_hash);
    hash(canonical, (size_t)len, canonical_hash);
    snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256\n%s\n%s/" SCOPE_TAIL "\n%s", stamp, day,
             canonical_hash);
    hmac(signing_key(engine->secret, day), 32, to_sign, mac);
    hex_encode(signature, mac, sizeof mac);
    buf_reset(out);
    buf_printf(out,
               "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-amz-json-1.0\r\n"
               "X-Amz-Date: %s\r\nX-Amz-Target: AmazonSQS.%s\r\n"
               "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/" SCOPE_TAIL ", "
               "SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=%s\r\n"
               "Content-Length: %zu\r\n\r\n",
               engine->host, stamp, operation, engine->key, day, signature, body->len);
    buf_put(out, body->data, body->len);
}

static void put_request(const struct engine *engine, struct buf *out, const char *operation,
                        const struct buf *body)
{
    char body_hash[65];
    hash(body->data, body->len, body_hash);
    put_signed(engine, out, operation, body, body_hash);
}

static struct buf *begin_body(const struct engine *engine)
{
    static struct buf body = BUF_INIT(1024 * 1024);
    buf_reset(&body);
    buf_printf(&body, "{\"QueueUrl\":\"%s/000000000000/%s\"", engine->url, engine->queue);
    return &body;
}

static void create(const struct engine *engine, struct buf *out)
{
    struct buf body = BUF_INIT(1024);
    buf_printf(&body, "{\"QueueName\":\"%s\"}", engine->queue);
    put_request(engine, out, "CreateQueue", &body);
    buf_free(&body);
}

static void put_messages(struct buf *body, const char *text, size_t count)
{
    if (count > 1)
        buf_put_text(body, ",\"Entries\":[");
    for (size_t i = 0; count > 1 && i < count; i++) {
        buf_printf(body, "%s{\"Id\":\"%zu\",\"MessageBody\":\"", i > 0 ? "," : "", i);
        buf_put_text(body, text);
        buf_put_text(body, "\"}");
    }
    if (count == 1) {
        buf_put_text(body, ",\"MessageBody\":\"");
        buf_put_text(body, text);
    }
    buf_put_text(body, count > 1 ? "]}" : "\"}");
}

/* All sends of a run have one body. It is made and hashed once: the tool runs beside what it
 * measures, on the same processors. */
static void send(const struct engine *engine, struct buf *out, const char *text, size_t count)
{
    static struct buf kept = BUF_INIT(1024 * 1024);
    static char kept_hash[65];
    static const struct engine *of_engine;
    static const char *of_text;
    static size_t of_count;
    if (engine != of_engine || text != of_text || count != of_count) {
        struct buf *body = begin_body(engine);
        put_messages(body, text, count);
        buf_reset(&kept);
        buf_put(&kept, body->data, body->len);
        hash(kept.data, kept.len, kept_hash);
        of_engine = engine;
        of_text = text;
        of_count = count;
    }
    put_signed(engine, out, count > 1 ? "SendMessageBatch" : "SendMessage", &kept, kept_hash);
}

static void receive(const struct engine *engine, struct buf *out, size_t max)
{
    struct buf *body = begin_body(engine);
    buf_printf(body,
               ",\"MaxNumberOfMessages\":%zu,\"VisibilityTimeout\":" LEASE_S
               ",\"WaitTimeSeconds\":0,\"MessageSystemAttributeNames\":"
               "[\"ApproximateReceiveCount\"]}",
               max);
    put_request(engine, out, "ReceiveMessage", body);
}

static size_t received(char *body, struct held *out, size_t max)
{
    static const char mark[] = "\"ReceiptHandle\":\"";
    size_t count = 0;
    for (const char *at = body; count < max && (at = strstr(at, mark)) != NULL; count++) {
        at += strlen(mark);
        size_t len = strcspn(at, "\"");
        if (len >= HANDLE_MAX)
            bench_give_up("a receipt handle is too long");
        memcpy(out[count].handle, at, len);
        out[count].handle[len] = '\0';
    }
    return count;
}

/* The call for one receipt handle, or for all in a batch. */
static void put_handles(const struct engine *engine, struct buf *out, const char *operation,
                        const char *more, const struct held *held, size_t count)
{
    char name[64];
    struct buf *body = begin_body(engine);
    if (count > 1)
        buf_put_text(body, ",\"Entries\":[");
    for (size_t i = 0; count > 1 && i < count; i++)
        buf_printf(body, "%s{\"Id\":\"%zu\",\"ReceiptHandle\":\"%s\"%s}", i > 0 ? "," : "", i,
                   held[i].handle, more);
    if (count == 1)
        buf_printf(body, ",\"ReceiptHandle\":\"%s\"%s", held[0].handle, more);
    buf_put_text(body, count > 1 ? "]}" : "}");
    snprintf(name, sizeof name, "%s%s", operation, count > 1 ? "Batch" : "");
    put_request(engine, out, name, body);
}

static void extend(const struct engine *engine, struct buf *out, const struct held *held,
                   size_t count)
{
    put_handles(engine, out, "ChangeMessageVisibility", ",\"VisibilityTimeout\":" LEASE_S, held,
                count);
}

static void extended(const char *head, struct held *held)
{
    (void)head; /* the handle stays as it is */
    (void)held;
}

static void delete (const struct engine *engine, struct buf *out, const struct held *held,
                    size_t count)
{
    put_handles(engine, out, "DeleteMessage", "", held, count);
}

static size_t done(const char *body, size_t count)
{
    size_t good = 0;
    if (count == 1)
        return 1;
    const char *failed = strstr(body, "\"Failed\":[");
    for (const char *at = body; (at = strstr(at, "\"Id\":")) != NULL; at++) {
        if (failed == NULL || at < failed || failed[10] == ']')
            good++;
    }
    return good;
}

const struct engine engine_sqs = {.batch_max = ENGINE_BATCH_MAX,
                                  .create = create,
                                  .send = send,
                                  .receive = receive,
                                  .received = received,
                                  .extend = extend,
                                  .extended = extended,
                                  .delete = delete,
                                  .done = done};
