/* SPDX-License-Identifier: Apache-2.0 */
#include "sigv4.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "reseal/text.h"

#define ALGORITHM         "AWS4-HMAC-SHA256"
#define SERVICE           "sqs"
#define TERMINATION       "aws4_request"
#define DIGEST_BYTES      32
#define REGION_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
#define DIGEST_HEX        (2 * DIGEST_BYTES + 1)
#define DATE_LEN          8  /* 20261123 */
#define TIME_LEN          16 /* 20261123T220127Z */
#define SIGNED_MAX        2048
#define CANONICAL_BYTES   32768

/* A signing key holds for one access key, day and region; most requests use the newest one. */
struct signing_key {
    const struct credential *credential;
    char date[DATE_LEN + 1];
    char region[SIGV4_REGION_MAX + 1];
    struct secret *key;
};

struct sigv4 {
    const struct credentials *credentials;
    EVP_MD *sha256;
    EVP_MAC_CTX *hmac;
    struct signing_key newest;
};

/* The Authorization header in its parts. */
struct authorization {
    const struct credential *credential;
    char date[DATE_LEN + 1];
    char region[SIGV4_REGION_MAX + 1];
    char time[TIME_LEN + 1]; /* X-Amz-Date */
    char signed_headers[SIGNED_MAX + 1];
    char signature[DIGEST_HEX];
};

bool sigv4_open(const struct credentials *credentials, struct sigv4 **out, struct error *err)
{
    bool ok = false;
    EVP_MAC *mac = NULL;
    *out = NULL;
    struct sigv4 *sigv4 = calloc(1, sizeof *sigv4);
    if (sigv4 == NULL)
        return error_memory(err);
    sigv4->credentials = credentials;
    sigv4->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (mac != NULL)
        sigv4->hmac = EVP_MAC_CTX_new(mac);
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    if (sigv4->sha256 == NULL || sigv4->hmac == NULL ||
        EVP_MAC_CTX_set_params(sigv4->hmac, parameters) != 1 ||
        !secret_new(DIGEST_BYTES, &sigv4->newest.key, err)) {
        error_openssl(err, FAIL_INTERNAL, "OpenSSL has no HMAC-SHA-256");
        goto done;
    }
    *out = sigv4;
    sigv4 = NULL; /* transferred */
    ok = true;
done:
    EVP_MAC_free(mac);
    sigv4_close(&sigv4);
    return ok;
}

void sigv4_close(struct sigv4 **sigv4)
{
    if (sigv4 == NULL || *sigv4 == NULL)
        return;
    secret_free(&(*sigv4)->newest.key);
    EVP_MAC_CTX_free((*sigv4)->hmac);
    EVP_MD_free((*sigv4)->sha256);
    free(*sigv4);
    *sigv4 = NULL;
}

void sigv4_renew(struct sigv4 *sigv4, const struct credentials *credentials)
{
    sigv4->credentials = credentials;
    sigv4->newest.credential = NULL; /* another may have the same place in memory */
}

static enum sigv4_verdict incomplete(struct error *err, const char *why)
{
    error_set(err, FAIL_AUTH, "the Authorization header %s", why);
    error_hint(err, "sign with " ALGORITHM " for the service " SERVICE);
    return SIGV4_INCOMPLETE;
}

/* Takes the text up to the character `end` ('\0': the rest) from *at into `out`. */
static bool take_until(const char **at, char end, char *out, size_t size)
{
    const char *stop = end != '\0' ? strchr(*at, end) : *at + strlen(*at);
    if (stop == NULL || stop == *at || (size_t)(stop - *at) >= size)
        return false;
    memcpy(out, *at, (size_t)(stop - *at));
    out[stop - *at] = '\0';
    *at = end != '\0' ? stop + 1 : stop;
    return true;
}

/* ACCESSKEY/DATE/REGION/sqs/aws4_request; the region comes back in ARNs, so it is as regions are.
 */
static bool parse_scope(const char *scope, char *access_key, size_t size,
                        struct authorization *authorization)
{
    return take_until(&scope, '/', access_key, size) &&
           take_until(&scope, '/', authorization->date, sizeof authorization->date) &&
           take_until(&scope, '/', authorization->region, sizeof authorization->region) &&
           authorization->region[strspn(authorization->region, REGION_CHARACTERS)] == '\0' &&
           strcmp(scope, SERVICE "/" TERMINATION) == 0;
}

/* "Name=value" members, separated by commas and spaces, in any order, each once. */
static bool parse_members(const char *at, char *scope, size_t scope_size,
                          struct authorization *authorization)
{
    struct {
        const char *name;
        char *place;
        size_t size;
        bool found;
    } members[] = {
        {"Credential=", scope, scope_size, false},
        {"SignedHeaders=", authorization->signed_headers, sizeof authorization->signed_headers,
         false},
        {"Signature=", authorization->signature, sizeof authorization->signature, false},
    };
    size_t found = 0;
    while (*(at += strspn(at, ", ")) != '\0') {
        size_t len = strcspn(at, ", "), i = 0;
        while (i < ARRAY_LEN(members) && strncmp(at, members[i].name, strlen(members[i].name)) != 0)
            i++;
        if (i == ARRAY_LEN(members) || members[i].found)
            return false;
        size_t name = strlen(members[i].name);
        if (len <= name || len - name >= members[i].size)
            return false;
        memcpy(members[i].place, at + name, len - name);
        members[i].place[len - name] = '\0';
        members[i].found = true;
        found++;
        at += len;
    }
    return found == ARRAY_LEN(members);
}

static bool is_signed(const char *signed_headers, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = signed_headers; *at != '\0'; at += *at == ';' ? 1 : 0) {
        size_t here = strcspn(at, ";");
        if (here == len && strncmp(at, name, len) == 0)
            return true;
        at += here;
    }
    return false;
}

/* What steers the operation must be under the signature. NULL, or the first header that is not. */
static const char *unsigned_header(const struct sigv4_request *request, const char *signed_headers)
{
    static const char *const always[] = {"host", "x-amz-date"};
    static const char *const if_sent[] = {"x-amz-target", "content-type", "x-amz-content-sha256",
                                          "x-amz-security-token"};
    for (size_t i = 0; i < ARRAY_LEN(always); i++) {
        if (!is_signed(signed_headers, always[i]))
            return always[i];
    }
    for (size_t i = 0; i < ARRAY_LEN(if_sent); i++) {
        if (request->header(request->context, if_sent[i]) != NULL &&
            !is_signed(signed_headers, if_sent[i]))
            return if_sent[i];
    }
    return NULL;
}

static bool parse_time(const char *text, int64_t *ms)
{
    char rfc3339[CLOCK_TEXT];
    if (strlen(text) != TIME_LEN || text[8] != 'T' || text[15] != 'Z')
        return false;
    snprintf(rfc3339, sizeof rfc3339, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", text, text + 4, text + 6,
             text + 9, text + 11, text + 13);
    return clock_parse(rfc3339, ms);
}

static enum sigv4_verdict check_clock(const struct sigv4_request *request,
                                      struct authorization *authorization, struct error *err)
{
    int64_t signed_ms;
    const char *date = request->header(request->context, "x-amz-date");
    if (date == NULL || !parse_time(date, &signed_ms) ||
        strncmp(date, authorization->date, DATE_LEN) != 0)
        return incomplete(err, "needs an X-Amz-Date of the day in its credential scope");
    memcpy(authorization->time, date, TIME_LEN + 1);
    int64_t ahead_s = (signed_ms - request->now_ms) / 1000;
    if (ahead_s >= -SIGV4_SKEW_MAX_S && ahead_s <= SIGV4_SKEW_MAX_S)
        return SIGV4_GOOD;
    error_set(err, FAIL_AUTH,
              "the request was signed at %s, which is %" PRId64 " seconds %s the hub's clock", date,
              ahead_s < 0 ? -ahead_s : ahead_s, ahead_s < 0 ? "behind" : "ahead of");
    error_hint(err, "set both clocks (NTP); %d seconds are allowed", SIGV4_SKEW_MAX_S);
    return ahead_s < 0 ? SIGV4_EXPIRED : SIGV4_FUTURE;
}

static enum sigv4_verdict read_headers(const struct sigv4 *sigv4,
                                       const struct sigv4_request *request,
                                       struct authorization *out, struct error *err)
{
    char scope[512], access_key[sizeof out->credential->access_key_id];
    const char *header = request->header(request->context, "authorization");
    *out = (struct authorization){.credential = NULL};
    if (header == NULL) {
        error_set(err, FAIL_AUTH, "the request is not signed");
        error_hint(err, "sign with " ALGORITHM " and an access key of the hub's credentials");
        return SIGV4_MISSING;
    }
    if (strncmp(header, ALGORITHM " ", sizeof ALGORITHM) != 0)
        return incomplete(err, "is not of the scheme " ALGORITHM);
    if (!parse_members(header + sizeof ALGORITHM, scope, sizeof scope, out))
        return incomplete(err, "must have Credential, SignedHeaders and Signature, each once");
    if (!parse_scope(scope, access_key, sizeof access_key, out))
        return incomplete(err, "must have a credential scope KEY/DATE/REGION/sqs/aws4_request");
    const char *missing = unsigned_header(request, out->signed_headers);
    if (missing != NULL) {
        char why[64];
        snprintf(why, sizeof why, "must name %s among its SignedHeaders", missing);
        return incomplete(err, why);
    }
    if (request->query[0] != '\0')
        return incomplete(err, "signs a query, which this service does not take");
    if (request->header(request->context, "x-amz-security-token") != NULL) {
        error_set(err, FAIL_AUTH, "session tokens are not taken: this hub gives none out");
        error_hint(err, "sign with an access key of the hub's credentials alone");
        return SIGV4_UNKNOWN_KEY;
    }
    out->credential = credentials_by_access_key(sigv4->credentials, access_key);
    if (out->credential == NULL) {
        error_set(err, FAIL_AUTH, "the access key is not known to this hub");
        error_hint(err, "put it into the hub's credentials file, which is read again by itself");
        return SIGV4_UNKNOWN_KEY;
    }
    return check_clock(request, out, err);
}

enum sigv4_verdict sigv4_check_headers(const struct sigv4 *sigv4,
                                       const struct sigv4_request *request,
                                       struct sigv4_signer *signer, struct error *err)
{
    struct authorization authorization;
    enum sigv4_verdict verdict = read_headers(sigv4, request, &authorization, err);
    *signer = (struct sigv4_signer){.credential = authorization.credential};
    memcpy(signer->region, authorization.region, sizeof authorization.region);
    return verdict;
}

static bool hmac(struct sigv4 *sigv4, struct bytes key, const void *data, size_t len,
                 uint8_t out[static DIGEST_BYTES])
{
    size_t written = 0;
    return EVP_MAC_init(sigv4->hmac, key.data, key.len, NULL) == 1 &&
           EVP_MAC_update(sigv4->hmac, data, len) == 1 &&
           EVP_MAC_final(sigv4->hmac, out, &written, DIGEST_BYTES) == 1 && written == DIGEST_BYTES;
}

/* kSigning = HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request"), each
 * step written over the one before in locked memory. */
static bool derive_key(struct sigv4 *sigv4, const struct authorization *authorization,
                       struct error *err)
{
    struct signing_key *newest = &sigv4->newest;
    const char *const steps[] = {authorization->date, authorization->region, SERVICE, TERMINATION};
    struct secret *start = NULL;
    struct bytes secret = secret_bytes(authorization->credential->secret_access_key);
    if (newest->credential == authorization->credential &&
        strcmp(newest->date, authorization->date) == 0 &&
        strcmp(newest->region, authorization->region) == 0)
        return true;
    if (!secret_new(4 + secret.len, &start, err))
        return false;
    memcpy(secret_data(start), "AWS4", 4);
    if (secret.len > 0)
        memcpy(secret_data(start) + 4, secret.data, secret.len);
    struct bytes key = secret_bytes(start);
    bool ok = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(steps); i++) {
        ok = hmac(sigv4, key, steps[i], strlen(steps[i]), secret_data(newest->key));
        key = secret_bytes(newest->key);
    }
    secret_free(&start);
    newest->credential = ok ? authorization->credential : NULL;
    memcpy(newest->date, authorization->date, sizeof newest->date);
    memcpy(newest->region, authorization->region, sizeof newest->region);
    return ok || error_openssl(err, FAIL_INTERNAL, "HMAC-SHA-256 failed");
}

static bool sha256_hex(const struct sigv4 *sigv4, struct bytes data, char out[static DIGEST_HEX])
{
    uint8_t digest[DIGEST_BYTES];
    const void *at = data.data != NULL ? (const void *)data.data : "";
    if (EVP_Digest(at, data.len, digest, NULL, sigv4->sha256, NULL) != 1)
        return false;
    hex_encode(out, digest, sizeof digest);
    return true;
}

/* The path is encoded once more, as every service but S3 has it. */
static void put_canonical_path(struct buf *out, const char *path)
{
    for (const char *at = path; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._~/", c) != NULL;
        if (plain)
            buf_put_u8(out, c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

/* White space around is dropped, each run of spaces inside becomes one. */
static void put_canonical_value(struct buf *out, const char *value)
{
    value += strspn(value, " \t");
    size_t len = strlen(value);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    for (size_t i = 0; i < len; i++) {
        bool space = value[i] == ' ' || value[i] == '\t';
        if (!space)
            buf_put_u8(out, (uint8_t)value[i]);
        else if (value[i - 1] != ' ' && value[i - 1] != '\t')
            buf_put_u8(out, ' ');
    }
}

static bool put_canonical_headers(struct buf *out, const struct sigv4_request *request,
                                  const char *signed_headers)
{
    char name[128], previous[128] = "";
    const char *at = signed_headers;
    while (*at != '\0') {
        size_t len = strcspn(at, ";");
        if (len == 0 || len >= sizeof name)
            return false;
        memcpy(name, at, len);
        name[len] = '\0';
        const char *value = request->header(request->context, name);
        if (value == NULL || strcmp(previous, name) >= 0) /* sorted, each once, none missing */
            return false;
        buf_put(out, name, len);
        buf_put_u8(out, ':');
        put_canonical_value(out, value);
        buf_put_u8(out, '\n');
        memcpy(previous, name, len + 1);
        at += len;
        if (*at == ';')
            at++;
    }
    return true;
}

static enum sigv4_verdict mismatch(struct error *err, const char *why)
{
    error_set(err, FAIL_AUTH, "the signature does not belong to this request: %s", why);
    error_hint(err, "check the secret access key on both sides, and that no proxy changes the "
                    "body, the Host or another signed header");
    return SIGV4_MISMATCH;
}

static bool signature_of(struct sigv4 *sigv4, const struct authorization *authorization,
                         const char *request_hash, char out[static DIGEST_HEX], struct error *err)
{
    char to_sign[512];
    uint8_t mac[DIGEST_BYTES];
    int len =
        snprintf(to_sign, sizeof to_sign, ALGORITHM "\n%s\n%s/%s/" SERVICE "/" TERMINATION "\n%s",
                 authorization->time, authorization->date, authorization->region, request_hash);
    if (!derive_key(sigv4, authorization, err))
        return false;
    if (!hmac(sigv4, secret_bytes(sigv4->newest.key), to_sign, (size_t)len, mac))
        return error_openssl(err, FAIL_INTERNAL, "HMAC-SHA-256 failed");
    hex_encode(out, mac, sizeof mac);
    return true;
}

enum sigv4_verdict sigv4_verify(struct sigv4 *sigv4, const struct sigv4_request *request,
                                struct sigv4_signer *signer, struct error *err)
{
    struct authorization authorization;
    char body_hash[DIGEST_HEX], request_hash[DIGEST_HEX], expected[DIGEST_HEX];
    struct buf canonical = BUF_INIT(CANONICAL_BYTES);
    enum sigv4_verdict verdict = read_headers(sigv4, request, &authorization, err);
    *signer = (struct sigv4_signer){.credential = authorization.credential};
    memcpy(signer->region, authorization.region, sizeof authorization.region);
    if (verdict != SIGV4_GOOD)
        return verdict;
    verdict = SIGV4_FAULT;
    if (!sha256_hex(sigv4, request->body, body_hash)) {
        error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
        goto done;
    }
    const char *claimed = request->header(request->context, "x-amz-content-sha256");
    if (claimed != NULL && strcmp(claimed, body_hash) != 0) {
        verdict = mismatch(err, "x-amz-content-sha256 is not the SHA-256 of the body");
        goto done;
    }
    buf_printf(&canonical, "%s\n", request->method);
    put_canonical_path(&canonical, request->path);
    buf_put_text(&canonical, "\n\n"); /* no query */
    if (!put_canonical_headers(&canonical, request, authorization.signed_headers)) {
        verdict = incomplete(err, "must name the signed headers in order, each of them sent");
        goto done;
    }
    buf_printf(&canonical, "\n%s\n%s", authorization.signed_headers, body_hash);
    if (!buf_check(&canonical, "the canonical request", err) ||
        !sha256_hex(sigv4, buf_bytes(&canonical), request_hash) ||
        !signature_of(sigv4, &authorization, request_hash, expected, err))
        goto done;
    verdict = text_equal_constant_time(expected, authorization.signature)
                  ? SIGV4_GOOD
                  : mismatch(err, "method, path, headers, body or secret key differ");
done:
    buf_free(&canonical);
    return verdict;
}
