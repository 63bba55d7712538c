/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/oauth.h"

#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "reseal/clock.h"
#include "reseal/text.h"

#define URL_BYTES       1024
#define FORM_BYTES      16384
#define ACCESS_MAX      8192 /* bytes of an access token */
#define DEVICE_CODE_MAX 4096
#define INTERVAL_MIN    1   /* second */
#define INTERVAL        5   /* seconds, where the server says none (RFC 8628, section 3.2) */
#define SLOWER          5   /* seconds that slow_down adds (section 3.5) */
#define INTERVAL_MAX    300 /* seconds */
#define ASSERTION_LIFE  300 /* seconds; Entra takes up to ten minutes */
#define LIFETIME_MAX    31536000

void oauth_grant_free(struct oauth_grant *grant)
{
    secret_free(&grant->token);
    grant->lifetime_s = 0;
}

void oauth_device_free(struct oauth_device *device)
{
    secret_free(&device->device_code);
}

/* -- asking -- */

static bool endpoint(struct web *web, const struct oauth_client *client, const char *name,
                     struct buf *out, struct error *err)
{
    size_t len = strlen(client->authority);
    if (!web_check_private(client->authority, "authority in section [client]", err))
        return false;
    while (len > 0 && client->authority[len - 1] == '/')
        len--;
    buf_put(out, client->authority, len);
    buf_put_text(out, "/");
    if (!web_encode(web, client->tenant, out, err))
        return false;
    buf_printf(out, "/oauth2/v2.0/%s", name);
    return buf_check(out, "the URL of the login", err);
}

/* One more field of a form (application/x-www-form-urlencoded). */
static bool put_field(struct web *web, struct buf *form, const char *name, const char *value,
                      struct error *err)
{
    buf_printf(form, "%s%s=", form->len > 0 ? "&" : "", name);
    return web_encode(web, value, form, err);
}

/* The same for a secret, in whose bytes nothing may end the text early. */
static bool put_secret(struct web *web, struct buf *form, const char *name,
                       const struct secret *value, const char *what, struct error *err)
{
    struct bytes bytes = secret_bytes(value);
    struct buf text = BUF_INIT(DEVICE_CODE_MAX + 1);
    if (bytes.len == 0 || memchr(bytes.data, '\0', bytes.len) != NULL)
        return error_set(err, FAIL_USAGE, "%s is empty, or no text", what);
    buf_put(&text, bytes.data, bytes.len);
    bool ok = buf_check(&text, what, err) && put_field(web, form, name, buf_text(&text), err);
    buf_free(&text);
    return ok;
}

static bool read_grant(const struct web_answer *answer, struct oauth_grant *out, struct error *err)
{
    const char *type = NULL, *token = NULL;
    if (answer->json == NULL)
        return error_set(err, FAIL_REMOTE, "the answer to a login is empty");
    const struct json_value *root = json_root(answer->json);
    bool ok = json_want_text(root, "", "access_token", ACCESS_MAX, &token, err) &&
              json_want_text(root, "", "token_type", 32, &type, err) &&
              json_may_integer(root, "", "expires_in", 0, LIFETIME_MAX, 0, &out->lifetime_s, err);
    if (ok && !text_equal_nocase(type, "Bearer"))
        ok = error_set(err, FAIL_REMOTE, "the token is of type %.32s, not Bearer", type);
    ok = ok && secret_copy(token, strlen(token), &out->token, err);
    if (!ok && err->kind == FAIL_INPUT)
        err->kind = FAIL_REMOTE;
    return ok || error_context(err, "the answer to a login");
}

/* A refusal of the server is one of who asks, whatever its status. */
static bool ask(struct web *web, const struct oauth_client *client, const char *name,
                const struct buf *form, struct web_answer *answer, struct error *err)
{
    struct buf url = BUF_INIT(URL_BYTES);
    bool ok = endpoint(web, client, name, &url, err) && buf_check(form, "the login", err) &&
              web_post_form(web, buf_text(&url), form, answer, err);
    buf_free(&url);
    if (ok || answer->code[0] == '\0' || err->kind == FAIL_REMOTE)
        return ok;
    err->kind = FAIL_AUTH;
    return error_hint(err, "check tenant, client_id, scope and what they log in with in section "
                           "[client]; for AADSTS codes see Microsoft's list of them");
}

static bool begin_form(struct web *web, const struct oauth_client *client, const char *grant,
                       struct buf *form, struct error *err)
{
    return (grant == NULL || put_field(web, form, "grant_type", grant, err)) &&
           put_field(web, form, "client_id", client->client_id, err);
}

bool oauth_by_secret(struct web *web, const struct oauth_client *client,
                     const struct secret *secret, struct oauth_grant *out, struct error *err)
{
    struct buf form = BUF_INIT(FORM_BYTES);
    struct web_answer answer = {0};
    *out = (struct oauth_grant){0};
    bool ok = begin_form(web, client, "client_credentials", &form, err) &&
              put_field(web, &form, "scope", client->scope, err) &&
              put_secret(web, &form, "client_secret", secret, "the client secret", err) &&
              ask(web, client, "token", &form, &answer, err) && read_grant(&answer, out, err);
    web_answer_free(&answer);
    buf_free(&form);
    return ok;
}

/* -- the assertion: a JWT (RFC 7519) with PS256 (RFC 7518, section 3.5) -- */

static bool put_header(struct buf *jwt, struct bytes certificate, struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    struct buf header = BUF_INIT(256);
    if (EVP_Digest(certificate.data, certificate.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
    buf_put_text(&header, "{\"alg\":\"PS256\",\"typ\":\"JWT\",\"x5t#S256\":\"");
    base64url_encode(&header, digest, 32);
    buf_put_text(&header, "\"}");
    bool ok = buf_check(&header, "the header of an assertion", err);
    base64url_encode(jwt, header.data, header.len);
    buf_free(&header);
    return ok;
}

static bool put_claims(struct buf *jwt, const struct oauth_client *client, const char *audience,
                       struct error *err)
{
    struct json_writer *json = NULL;
    struct buf claims = BUF_INIT(4096);
    char id[UUID_TEXT];
    int64_t now_s = clock_real_ms() / 1000;
    if (!uuid_random(id, err) || !json_writer_new(false, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "aud", audience);
    json_put_text(json, "iss", client->client_id);
    json_put_text(json, "sub", client->client_id);
    json_put_text(json, "jti", id);
    json_put_integer(json, "nbf", now_s);
    json_put_integer(json, "iat", now_s);
    json_put_integer(json, "exp", now_s + ASSERTION_LIFE);
    json_object_end(json);
    bool ok = json_finish(json, &claims, err);
    base64url_encode(jwt, claims.data, claims.len);
    json_writer_free(&json);
    buf_free(&claims);
    return ok;
}

static bool make_assertion(const struct oauth_client *client, const char *audience,
                           const struct signing_key *key, struct bytes certificate, struct buf *jwt,
                           struct error *err)
{
    struct buf signature = BUF_INIT(SIGNATURE_MAX);
    bool ok = put_header(jwt, certificate, err);
    buf_put_text(jwt, ".");
    ok = ok && put_claims(jwt, client, audience, err) && buf_check(jwt, "the assertion", err) &&
         signature_make(key, buf_bytes(jwt), &signature, err);
    if (ok) {
        buf_put_text(jwt, ".");
        base64url_encode(jwt, signature.data, signature.len);
        ok = buf_check(jwt, "the assertion", err);
    }
    buf_free(&signature);
    return ok;
}

static bool key_fits(const struct signing_key *key, struct bytes der, struct error *err)
{
    const unsigned char *at = der.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der.len);
    EVP_PKEY *public_half = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
    bool ok = false;
    if (public_half == NULL || at != der.data + der.len)
        error_set(err, FAIL_INPUT, "this is no certificate");
    else if (!EVP_PKEY_is_a(public_half, "RSA"))
        error_set(err, FAIL_INPUT,
                  "the certificate has no RSA key, and assertions are signed by one");
    else if (EVP_PKEY_eq(key->key, public_half) != 1)
        error_set(err, FAIL_INPUT, "the key is not that of the certificate");
    else
        ok = true;
    X509_free(certificate);
    return ok;
}

bool oauth_by_certificate(struct web *web, const struct oauth_client *client,
                          const struct signing_key *key, struct bytes certificate,
                          struct oauth_grant *out, struct error *err)
{
    struct buf form = BUF_INIT(FORM_BYTES), jwt = BUF_INIT(8192), url = BUF_INIT(URL_BYTES);
    struct web_answer answer = {0};
    *out = (struct oauth_grant){0};
    bool ok = key_fits(key, certificate, err) && endpoint(web, client, "token", &url, err) &&
              make_assertion(client, buf_text(&url), key, certificate, &jwt, err) &&
              begin_form(web, client, "client_credentials", &form, err) &&
              put_field(web, &form, "scope", client->scope, err) &&
              put_field(web, &form, "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", err) &&
              put_field(web, &form, "client_assertion", buf_text(&jwt), err) &&
              ask(web, client, "token", &form, &answer, err) && read_grant(&answer, out, err);
    web_answer_free(&answer);
    buf_free(&form);
    buf_free(&jwt);
    buf_free(&url);
    return ok;
}

/* -- the device flow -- */

static bool read_device(const struct web_answer *answer, struct oauth_device *out,
                        struct error *err)
{
    const char *user = NULL, *device = NULL, *url = NULL;
    int64_t interval;
    if (answer->json == NULL)
        return error_set(err, FAIL_REMOTE, "the answer to a login is empty");
    const struct json_value *root = json_root(answer->json);
    bool ok = json_want_text(root, "", "user_code", sizeof out->user_code - 1, &user, err) &&
              json_want_text(root, "", "verification_uri", sizeof out->url - 1, &url, err) &&
              json_want_text(root, "", "device_code", DEVICE_CODE_MAX, &device, err) &&
              json_want_integer(root, "", "expires_in", 1, LIFETIME_MAX, &out->lifetime_s, err) &&
              json_may_integer(root, "", "interval", 0, INTERVAL_MAX, INTERVAL, &interval, err) &&
              secret_copy(device, strlen(device), &out->device_code, err);
    if (ok) {
        snprintf(out->user_code, sizeof out->user_code, "%s", user);
        snprintf(out->url, sizeof out->url, "%s", url);
        text_make_printable(out->user_code); /* both are for a terminal */
        text_make_printable(out->url);
        out->interval_s = (unsigned)(interval < INTERVAL_MIN ? INTERVAL_MIN : interval);
    } else if (err->kind == FAIL_INPUT) {
        err->kind = FAIL_REMOTE;
    }
    return ok || error_context(err, "the answer to a login");
}

bool oauth_device_begin(struct web *web, const struct oauth_client *client,
                        struct oauth_device *out, struct error *err)
{
    struct buf form = BUF_INIT(FORM_BYTES);
    struct web_answer answer = {0};
    *out = (struct oauth_device){0};
    bool ok = begin_form(web, client, NULL, &form, err) &&
              put_field(web, &form, "scope", client->scope, err) &&
              ask(web, client, "devicecode", &form, &answer, err) && read_device(&answer, out, err);
    web_answer_free(&answer);
    buf_free(&form);
    return ok;
}

/* RFC 8628, section 3.5: what is no refusal. A service that is away for a moment is asked again,
 * and more rarely. */
static bool is_to_be_asked_again(const struct web_answer *answer, struct oauth_device *device,
                                 const struct error *err)
{
    if (strcmp(answer->code, "authorization_pending") == 0)
        return true;
    if (strcmp(answer->code, "slow_down") != 0 && err->kind != FAIL_REMOTE)
        return false;
    if (device->interval_s + SLOWER <= INTERVAL_MAX)
        device->interval_s += SLOWER;
    return true;
}

bool oauth_device_poll(struct web *web, const struct oauth_client *client,
                       struct oauth_device *device, bool *done, struct oauth_grant *out,
                       struct error *err)
{
    struct buf form = BUF_INIT(FORM_BYTES);
    struct web_answer answer = {0};
    *out = (struct oauth_grant){0};
    *done = false;
    bool ok = begin_form(web, client, "urn:ietf:params:oauth:grant-type:device_code", &form, err) &&
              put_secret(web, &form, "device_code", device->device_code, "the device code", err);
    if (ok && ask(web, client, "token", &form, &answer, err))
        ok = *done = read_grant(&answer, out, err);
    else if (ok)
        ok = is_to_be_asked_again(&answer, device, err);
    web_answer_free(&answer);
    buf_free(&form);
    return ok;
}
