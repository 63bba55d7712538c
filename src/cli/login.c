/* SPDX-License-Identifier: Apache-2.0 */
#include "login.h"

#include <stdio.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "demo_ca.h"
#include "reseal/token_signer.h"

#define KEY_MAX 16384 /* bytes of a private key in PEM */

enum login_kind login_kind(const struct config *config)
{
    const char *kind = config_text(config, "client", "login");
    if (strcmp(kind, "secret") == 0)
        return LOGIN_BY_SECRET;
    return strcmp(kind, "certificate") == 0 ? LOGIN_BY_CERTIFICATE : LOGIN_BY_TOKEN;
}

bool login_client(const struct config *config, char scope[static LOGIN_SCOPE_MAX],
                  struct oauth_client *out, struct error *err)
{
    const char *records = config_text(config, "client", "records");
    const char *given = config_text(config, "client", "scope");
    *out = (struct oauth_client){.authority = config_text(config, "client", "authority"),
                                 .scope = scope};
    if (!config_want(config, "client", "tenant", &out->tenant, err) ||
        !config_want(config, "client", "client_id", &out->client_id, err) ||
        !web_check_base(records, "records in section [client]", err))
        return false;
    const char *host = strstr(records, "://") + 3;
    int origin = (int)(host - records) + (int)strcspn(host, "/");
    if (given != NULL)
        snprintf(scope, LOGIN_SCOPE_MAX, "%s", given);
    else
        snprintf(scope, LOGIN_SCOPE_MAX, "%.*s/.default", origin, records);
    return true;
}

static bool by_secret(const struct config *config, struct web *web,
                      const struct oauth_client *client, struct oauth_grant *grant,
                      struct error *err)
{
    const char *source = NULL;
    struct secret *secret = NULL;
    if (!config_want(config, "client", "client_secret", &source, err) ||
        !secret_read(source, "Secret of the application", OAUTH_SECRET_MAX, &secret, err))
        return false;
    bool ok = oauth_by_secret(web, client, secret, grant, err);
    secret_free(&secret);
    return ok;
}

/* The key of the certificate, from a file or on a token. */
struct login_key {
    struct signing_key key;
    struct token_signer *signer; /* NULL: the key is ours */
};

static void login_key_free(struct login_key *key)
{
    if (key->signer == NULL)
        EVP_PKEY_free(key->key.key);
    token_signer_close(&key->signer);
}

static bool key_on_token(const struct config *config, const char *uri, struct login_key *out,
                         struct error *err)
{
    struct signer_address address;
    struct secret *pin = NULL;
    const char *source = NULL;
    bool ok = signer_address_from_uri(uri, &address, err) &&
              config_want(config, "client", "login_pin", &source, err) &&
              secret_read(source, "PIN of the token with the login's key", PIN_MAX, &pin, err) &&
              token_signer_open(&address, pin, &out->signer, err);
    secret_free(&pin);
    if (ok)
        out->key = *token_signer_key(out->signer);
    return ok || error_context(err, "login_uri in section [client]");
}

static bool key_from_source(const char *source, struct login_key *out, struct error *err)
{
    struct secret *text = NULL;
    if (!secret_read(source, "Private key of the login", KEY_MAX, &text, err))
        return error_context(err, "login_key in section [client]");
    struct bytes bytes = secret_bytes(text);
    BIO *bio = BIO_new_mem_buf(bytes.data, (int)bytes.len);
    out->key.key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;
    BIO_free(bio);
    secret_free(&text);
    ERR_clear_error();
    if (out->key.key != NULL)
        return true;
    error_set(err, FAIL_INPUT, "login_key in section [client]: this is no private key in PEM");
    return error_hint(err, "BEGIN PRIVATE KEY, without a password; or name a key on a token with "
                           "login_uri");
}

static bool load_key(const struct config *config, struct login_key *out, struct error *err)
{
    const char *uri = config_text(config, "client", "login_uri");
    const char *source = config_text(config, "client", "login_key");
    *out = (struct login_key){.signer = NULL};
    if ((uri == NULL) == (source == NULL)) {
        error_set(err, FAIL_USAGE, "%s: login = certificate wants %s in section [client]",
                  config_path(config), uri == NULL ? "a key" : "one key");
        return error_hint(err, "give either login_key or login_uri");
    }
    return uri != NULL ? key_on_token(config, uri, out, err) : key_from_source(source, out, err);
}

static bool by_certificate(const struct config *config, struct web *web,
                           const struct oauth_client *client, struct oauth_grant *grant,
                           struct error *err)
{
    const char *path = NULL;
    unsigned char *der = NULL;
    X509 *certificate = NULL;
    struct login_key key;
    bool ok = false;
    if (!config_want(config, "client", "login_certificate", &path, err) ||
        !load_key(config, &key, err))
        return false;
    if (!read_certificate(path, &certificate, err)) {
        error_context(err, "login_certificate in section [client]");
        error_hint(err, "it names the certificate that is registered with the application, PEM or "
                        "DER");
        goto done;
    }
    int len = i2d_X509(certificate, &der);
    if (len <= 0) {
        error_openssl(err, FAIL_INTERNAL, "%s cannot be encoded", path);
        goto done;
    }
    ok = oauth_by_certificate(web, client, &key.key, (struct bytes){der, (size_t)len}, grant, err);
    if (!ok && err->kind == FAIL_INPUT)
        error_context(err, "%s", path);
done:
    OPENSSL_free(der);
    X509_free(certificate);
    login_key_free(&key);
    return ok;
}

bool login_token(const struct config *config, struct web *web, struct secret **out,
                 struct error *err)
{
    char scope[LOGIN_SCOPE_MAX];
    struct oauth_client client;
    struct oauth_grant grant = {0};
    bool ok = false;
    *out = NULL;
    if (!login_client(config, scope, &client, err))
        return false;
    switch (login_kind(config)) {
    case LOGIN_BY_SECRET:
        ok = by_secret(config, web, &client, &grant, err);
        break;
    case LOGIN_BY_CERTIFICATE:
        ok = by_certificate(config, web, &client, &grant, err);
        break;
    case LOGIN_BY_TOKEN:
        error_set(err, FAIL_INTERNAL, "there is no login to be done");
    }
    if (ok) {
        *out = grant.token;
        grant.token = NULL; /* transferred */
    }
    oauth_grant_free(&grant);
    return ok;
}
