/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/web.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <curl/curl.h>
#include "reseal/log.h"
#include "reseal/text.h"
#include "web_url.h"

#define TOKEN_MAX        8192  /* bytes of a bearer token; Graph's have about 2,000 */
#define URL_MAX          8192  /* bytes, a nextLink with its skip token included */
#define TRIES_MAX        5     /* of one call that is answered 429 or 503 */
#define PAUSE_MAX_MS     30000 /* longest single wait that we go along with */
#define PAUSE_FIRST_MS   500   /* where the service does not say how long; doubles */
#define IF_MATCH_MAX     128   /* bytes of an entity tag */
#define SERVICE_CODE     sizeof(((struct web_answer *)NULL)->code)
#define HEADER_BYTES     65536 /* of an answer's header lines, trailers among them */
#define CONNECT_TIMEOUT  10L   /* seconds */
#define TRANSFER_TIMEOUT 90L   /* seconds; a long poll takes 20 */

static const struct json_limits answer_limits = {
    .bytes = WEB_BODY_MAX, .string = 2 * 1024 * 1024, .values = 200000};

struct web {
    CURL *curl;
    struct secret *authorization; /* the whole header line with its end mark; NULL: none */
    char *ca_file;
    char *certificate, *key; /* NULL: none */
    bool warned;             /* about a token on an open line */
};

/* What one try brought. */
struct reply {
    struct buf body;
    bool too_large;
    size_t header_bytes; /* libcurl 7.88 keeps them all and does not bound the trailer */
    long retry_after_ms; /* from x-ms-retry-after-ms; -1: not said */
    char request_id[80];
};

static bool make_authorization(const struct secret *token, struct secret **out, struct error *err)
{
    static const char name[] = "Authorization: Bearer ";
    struct bytes bytes = secret_bytes(token);
    if (bytes.len == 0 || bytes.len > TOKEN_MAX)
        return error_set(err, FAIL_USAGE, "the API token has %zu bytes, 1 to %d are taken",
                         bytes.len, TOKEN_MAX);
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] <= ' ' || bytes.data[i] > '~') {
            error_set(err, FAIL_USAGE, "the API token has a byte that no token has (RFC 6750)");
            return error_hint(err, "one line, without spaces; check the file that holds it");
        }
    }
    if (!secret_new(sizeof name + bytes.len, out, err))
        return false;
    memcpy(secret_data(*out), name, sizeof name - 1);
    memcpy(secret_data(*out) + sizeof name - 1, bytes.data, bytes.len);
    return true;
}

bool web_open(const struct secret *token, const char *ca_file, struct web **out, struct error *err)
{
    static bool started; /* commands open one after the other, from one thread */
    bool ok = false;
    *out = NULL;
    if (!started && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(err, FAIL_INTERNAL, "libcurl does not start");
    started = true;
    struct web *web = calloc(1, sizeof *web);
    if (web == NULL)
        return error_memory(err);
    web->curl = curl_easy_init();
    web->ca_file = ca_file != NULL ? strdup(ca_file) : NULL;
    if (web->curl == NULL || (ca_file != NULL && web->ca_file == NULL)) {
        error_memory(err);
        goto done;
    }
    if (token != NULL && !make_authorization(token, &web->authorization, err))
        goto done;
    *out = web;
    web = NULL; /* transferred */
    ok = true;
done:
    web_close(&web);
    return ok;
}

bool web_identify(struct web *web, const char *certificate, const char *key, struct error *err)
{
    web->certificate = strdup(certificate);
    web->key = strdup(key);
    return (web->certificate != NULL && web->key != NULL) || error_memory(err);
}

void web_close(struct web **web)
{
    if (web == NULL || *web == NULL)
        return;
    curl_easy_cleanup((*web)->curl);
    secret_free(&(*web)->authorization);
    free((*web)->ca_file);
    free((*web)->certificate);
    free((*web)->key);
    free(*web);
    *web = NULL;
}

void web_answer_free(struct web_answer *answer)
{
    json_free(&answer->json);
    answer->status = 0;
    answer->request_id[0] = answer->code[0] = '\0';
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct reply *reply = user;
    buf_put(&reply->body, data, size * count);
    reply->too_large = reply->body.failed;
    return reply->too_large ? 0 : size * count; /* 0 ends the transfer */
}

/* The value of the header line if it has that name, without white space around it. */
static bool header_value(const char *line, size_t len, const char *name, char *out, size_t size)
{
    size_t skip = strlen(name);
    if (len <= skip || strncasecmp(line, name, skip) != 0 || line[skip] != ':')
        return false;
    skip++;
    while (skip < len && (line[skip] == ' ' || line[skip] == '\t'))
        skip++;
    while (len > skip && (unsigned char)line[len - 1] <= ' ')
        len--;
    snprintf(out, size, "%.*s", (int)(len - skip), line + skip);
    return true;
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    struct reply *reply = user;
    char text[32];
    size_t len = size * count;
    reply->header_bytes += len;
    if (reply->header_bytes > HEADER_BYTES)
        return 0; /* ends the transfer */
    if (header_value(data, len, "x-ms-retry-after-ms", text, sizeof text) &&
        strspn(text, "0123456789") == strlen(text) && strlen(text) > 0 && strlen(text) < 10)
        reply->retry_after_ms = strtol(text, NULL, 10);
    else
        (void)header_value(data, len, "request-id", reply->request_id, sizeof reply->request_id);
    return len;
}

static void set_options(struct web *web, const char *method, const char *url,
                        const struct buf *body, struct reply *reply, char *reason)
{
    CURL *curl = web->curl;
    struct url_parts parts;
    curl_easy_reset(curl); /* keeps connections */
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TRANSFER_TIMEOUT);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "reseal/" RESEAL_VERSION);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, reply);
    if (web->ca_file != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, web->ca_file);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (web->certificate != NULL) {
        curl_easy_setopt(curl, CURLOPT_SSLCERT, web->certificate);
        curl_easy_setopt(curl, CURLOPT_SSLKEY, web->key);
    }
    /* A proxy from the environment is no way to this machine itself. */
    if (url_parse(url, &parts) && url_is_loopback(&parts))
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, buf_text(body));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    }
}

static bool transfer_failed(CURLcode code, const char *where, const char *reason,
                            const struct reply *reply, struct error *err)
{
    if (reply->too_large)
        return error_set(err, FAIL_REMOTE, "%s: the answer is longer than %d bytes", where,
                         WEB_BODY_MAX);
    if (reply->header_bytes > HEADER_BYTES)
        return error_set(err, FAIL_REMOTE, "%s: the answer has more than %d bytes of header lines",
                         where, HEADER_BYTES);
    error_set(err, FAIL_REMOTE, "%s: %s", where,
              reason[0] != '\0' ? reason : curl_easy_strerror(code));
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return error_hint(err, "is the service running, and its URL right in section [client]?");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return error_hint(err, "name the service's CA with ca_file in section [client]");
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        err->kind = FAIL_USAGE;
        return false;
    default:
        return false;
    }
}

/* What is to be asked. */
struct call {
    const char *method, *url;
    const char *if_match;   /* an entity tag, or NULL */
    const struct buf *body; /* or NULL */
    bool form;              /* it is no JSON */
};

/* One try. The header lines are borrowed by libcurl for its length, so that the token is in no
 * list of ours outside the secure heap. */
static bool perform(struct web *web, const struct call *call, const char *where,
                    struct reply *reply, long *status, struct error *err)
{
    char reason[CURL_ERROR_SIZE] = "";
    char accept[] = "Accept: application/json";
    char json[] = "Content-Type: application/json";
    char form[] = "Content-Type: application/x-www-form-urlencoded";
    char expect[] = "Expect:"; /* no pause of a second before a body */
    char condition[IF_MATCH_MAX + 16];
    struct curl_slist lines[5] = {{accept, NULL}, {expect, NULL}, {call->form ? form : json, NULL}};
    size_t count = call->body != NULL ? 3 : 2;
    if (call->if_match != NULL) {
        snprintf(condition, sizeof condition, "If-Match: %s", call->if_match);
        lines[count++].data = condition;
    }
    if (web->authorization != NULL)
        lines[count++].data = (char *)secret_data(web->authorization);
    for (size_t i = 0; i + 1 < count; i++)
        lines[i].next = &lines[i + 1];
    buf_reset(&reply->body);
    reply->too_large = false;
    reply->header_bytes = 0;
    reply->retry_after_ms = -1;
    reply->request_id[0] = '\0';
    set_options(web, call->method, call->url, call->body, reply, reason);
    curl_easy_setopt(web->curl, CURLOPT_HTTPHEADER, lines);
    CURLcode code = curl_easy_perform(web->curl);
    curl_easy_setopt(web->curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(web->curl, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK)
        return transfer_failed(code, where, reason, reply, err);
    curl_easy_getinfo(web->curl, CURLINFO_RESPONSE_CODE, status);
    return true;
}

static enum failure kind_of_status(long status)
{
    if (status == 401 || status == 403)
        return FAIL_AUTH;
    if (status == 404)
        return FAIL_NOT_FOUND;
    if (status == 409)
        return FAIL_EXISTS;
    if (status == 413)
        return FAIL_TOO_LARGE;
    if (status >= 400 && status < 500 && status != 408 && status != 429)
        return FAIL_INPUT;
    return FAIL_REMOTE;
}

/* {"error":{"code","message"}}, as Graph and the hub say it, or {"error","error_description"} (RFC
 * 6749, section 5.2); anything else is left out. */
static void service_words(const struct reply *reply, char *out, size_t size,
                          char code_out[static SERVICE_CODE])
{
    struct json *json = NULL;
    struct error ignored = ERROR_INIT;
    const char *code = NULL, *message = NULL;
    out[0] = '\0';
    if (reply->body.len == 0 || !json_parse(reply->body.data, reply->body.len, &answer_limits,
                                            "the answer", &json, &ignored))
        return;
    const struct json_value *root = json_root(json), *error = NULL;
    if (json_type(root) == JSON_OBJECT)
        error = json_get(root, "error");
    /* One that is too long or no text is left out, and the other told. */
    if (error != NULL && json_type(error) == JSON_OBJECT) {
        (void)!json_may_text(error, "", "code", 128, &code, &ignored);
        (void)!json_may_text(error, "", "message", 65536, &message, &ignored);
    } else if (error != NULL && json_type(error) == JSON_STRING) {
        (void)!json_may_text(root, "", "error", 128, &code, &ignored);
        (void)!json_may_text(root, "", "error_description", 65536, &message, &ignored);
    }
    if (code != NULL || message != NULL) {
        snprintf(out, size, ": %s%s%.400s", code != NULL ? code : "",
                 code != NULL && message != NULL ? ": " : "", message != NULL ? message : "");
        snprintf(code_out, SERVICE_CODE, "%s", code != NULL ? code : "");
    }
    json_free(&json);
}

static bool status_failed(long status, const char *where, const struct reply *reply,
                          char code[static SERVICE_CODE], struct error *err)
{
    char words[600];
    service_words(reply, words, sizeof words, code);
    error_set(err, kind_of_status(status), "%s: HTTP status %ld%s%s%s%s", where, status, words,
              reply->request_id[0] != '\0' ? " (request-id " : "", reply->request_id,
              reply->request_id[0] != '\0' ? ")" : "");
    if (status >= 300 && status < 400)
        return error_hint(err, "redirects are not followed; put the final URL into [client]");
    if (status == 401 || status == 403)
        return error_hint(err, "check api_token, records_token or login in section [client], and "
                               "what it is allowed to do there");
    if (status == 429 || status == 503)
        return error_hint(err, "the service is busy; try again later");
    return false;
}

/* How long to wait before the next try; -1: longer than we go along with. */
static long pause_ms(struct web *web, const struct reply *reply, int tries)
{
    curl_off_t seconds = 0; /* Retry-After as seconds or as a date */
    if (reply->retry_after_ms >= 0)
        return reply->retry_after_ms <= PAUSE_MAX_MS ? reply->retry_after_ms : -1;
    if (curl_easy_getinfo(web->curl, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK && seconds > 0)
        return seconds <= PAUSE_MAX_MS / 1000 ? (long)seconds * 1000 : -1;
    return (long)PAUSE_FIRST_MS << tries;
}

static void pause_for(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&left, NULL); /* cut short by a signal: the next try comes early, no harm */
}

static void warn_open_line(struct web *web, const char *url)
{
    struct url_parts parts;
    if (web->warned || web->authorization == NULL || !url_parse(url, &parts) ||
        strcmp(parts.scheme, "http") != 0 || url_is_loopback(&parts))
        return;
    web->warned = true;
    log_event(LEVEL_WARNING, EVENT_NOTE, "the API token goes over the network unencrypted",
              LOG_TEXT("host", parts.host));
}

static bool read_answer(const struct reply *reply, const char *where, struct web_answer *out,
                        struct error *err)
{
    if (reply->body.len == 0 || json_parse(reply->body.data, reply->body.len, &answer_limits,
                                           "the answer", &out->json, err))
        return true;
    err->kind = FAIL_REMOTE;
    error_context(err, "%s", where);
    return error_hint(err, "is this the URL of the service's API?");
}

bool web_call(struct web *web, const char *method, const char *url, const struct buf *body,
              struct web_answer *out, struct error *err)
{
    return web_call_if(web, method, url, NULL, body, out, err);
}

/* With its tries. */
static bool carry_out(struct web *web, const struct call *call, struct web_answer *out,
                      struct error *err)
{
    const char *url = call->url, *if_match = call->if_match;
    struct reply reply = {.body = BUF_INIT(WEB_BODY_MAX)};
    char where[300];
    long status = 0;
    bool ok = false;
    *out = (struct web_answer){0};
    /* The query may be long and has nothing that a reader of an error needs. */
    snprintf(where, sizeof where, "%s %.*s", call->method, (int)strcspn(url, "?#"), url);
    if (strlen(url) > URL_MAX)
        return error_set(err, FAIL_TOO_LARGE, "%s: a URL of %zu bytes, at most %d are taken", where,
                         strlen(url), URL_MAX);
    if (if_match != NULL && strlen(if_match) > IF_MATCH_MAX)
        return error_set(err, FAIL_REMOTE, "%s: an entity tag of %zu bytes", where,
                         strlen(if_match));
    warn_open_line(web, url);
    for (int tries = 0;; tries++) {
        if (!perform(web, call, where, &reply, &status, err))
            goto done;
        if ((status != 429 && status != 503) || tries + 1 == TRIES_MAX)
            break;
        long pause = pause_ms(web, &reply, tries);
        if (pause < 0)
            break;
        pause_for(pause);
    }
    out->status = status;
    memcpy(out->request_id, reply.request_id, sizeof out->request_id);
    ok = status >= 200 && status < 300 ? read_answer(&reply, where, out, err)
                                       : status_failed(status, where, &reply, out->code, err);
done:
    buf_free(&reply.body);
    return ok;
}

bool web_call_if(struct web *web, const char *method, const char *url, const char *if_match,
                 const struct buf *body, struct web_answer *out, struct error *err)
{
    const struct call call = {.method = method, .url = url, .if_match = if_match, .body = body};
    return carry_out(web, &call, out, err);
}

bool web_post_form(struct web *web, const char *url, const struct buf *form, struct web_answer *out,
                   struct error *err)
{
    const struct call call = {.method = "POST", .url = url, .body = form, .form = true};
    return carry_out(web, &call, out, err);
}

bool web_encode(struct web *web, const char *text, struct buf *out, struct error *err)
{
    /* RFC 3986, section 2.3, is what libcurl keeps. */
    char *encoded = curl_easy_escape(web->curl, text, (int)strlen(text));
    if (encoded == NULL)
        return error_memory(err);
    buf_put_text(out, encoded);
    memory_wipe(encoded, strlen(encoded)); /* it may be a secret */
    curl_free(encoded);
    return buf_check(out, "a URL", err);
}
