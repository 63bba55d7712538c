/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way through a proxy: HTTP through an http or https proxy, HTTPS through its CONNECT.
 *
 * Only the configuration counts: http_proxy, https_proxy, all_proxy and no_proxy of the environment
 * are not looked at, so that a daemon does the same wherever it was started from.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "client.h"

#define PROXY_CREDENTIALS_MAX 1024

static bool url_part(CURLU *url, CURLUPart part, char *out, size_t size)
{
    char *text = NULL;
    bool found = curl_url_get(url, part, &text, 0) == CURLUE_OK;
    if (found)
        snprintf(out, size, "%s", text);
    curl_free(text);
    return found;
}

static bool check_url(const char *text, struct error *err)
{
    char scheme[16] = "", part[512] = "";
    CURLU *url = curl_url();
    if (url == NULL)
        return error_memory(err);
    bool is_url = curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                  url_part(url, CURLUPART_SCHEME, scheme, sizeof scheme);
    bool named = url_part(url, CURLUPART_USER, part, sizeof part) ||
                 url_part(url, CURLUPART_PASSWORD, part, sizeof part);
    bool more = url_part(url, CURLUPART_QUERY, part, sizeof part) ||
                (url_part(url, CURLUPART_PATH, part, sizeof part) && strcmp(part, "/") != 0);
    curl_url_cleanup(url);
    if (named) {
        error_set(err, FAIL_USAGE, "the proxy's URL must not carry a user or password");
        return error_hint(err, "name a file with USER:PASSWORD in proxy_credentials of [queue]");
    }
    if (is_url && !more && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0))
        return true;
    error_set(err, FAIL_USAGE, "the proxy \"%.200s\" is not of the form http://HOST:PORT", text);
    return error_hint(err, "write http:// or https://, host and port; nothing else");
}

static bool copy(const char *text, char **out, struct error *err)
{
    if (text == NULL)
        return true;
    *out = strdup(text);
    return *out != NULL || error_memory(err);
}

/* USER:PASSWORD, as in a URL but without its escapes. */
static bool read_credentials(const char *source, struct secret **user, struct secret **password,
                             struct error *err)
{
    struct secret *both = NULL;
    if (!secret_read(source, "user:password of the proxy", PROXY_CREDENTIALS_MAX, &both, err))
        return error_context(err, "proxy_credentials of [queue]");
    struct bytes text = secret_bytes(both);
    const uint8_t *colon = text.len > 0 ? memchr(text.data, ':', text.len) : NULL;
    bool ok = false;
    if (colon == NULL || colon == text.data || memchr(text.data, '\0', text.len) != NULL) {
        error_set(err, FAIL_USAGE,
                  "proxy_credentials of [queue]: what is there is not of the form USER:PASSWORD");
    } else {
        size_t at = (size_t)(colon - text.data), rest = text.len - at - 1;
        ok = secret_new(at + 1, user, err) && secret_new(rest + 1, password, err);
        if (ok) {
            memcpy(secret_data(*user), text.data, at);
            memcpy(secret_data(*password), colon + 1, rest);
        }
    }
    secret_free(&both);
    return ok;
}

bool proxy_open(struct queue_client *client, const struct queue_options *options, struct error *err)
{
    struct proxy *proxy = &client->proxy;
    if (options->proxy == NULL) {
        if (options->proxy_credentials == NULL && options->no_proxy == NULL)
            return true;
        return error_set(err, FAIL_USAGE,
                         "[queue] has proxy_credentials or no_proxy, but no proxy");
    }
    if (options->proxy_credentials != NULL && strncmp(options->proxy_credentials, "file:", 5) == 0)
        (void)!stat(options->proxy_credentials + 5, &proxy->seen); /* before it is read */
    return check_url(options->proxy, err) && copy(options->proxy, &proxy->url, err) &&
           copy(options->no_proxy, &proxy->none_for, err) &&
           copy(options->ca_file, &proxy->ca_file, err) &&
           copy(options->proxy_credentials, &proxy->source, err) &&
           (proxy->source == NULL ||
            read_credentials(proxy->source, &proxy->user, &proxy->password, err));
}

void proxy_close(struct proxy *proxy)
{
    secret_free(&proxy->user);
    secret_free(&proxy->password);
    free(proxy->url);
    free(proxy->none_for);
    free(proxy->source);
    free(proxy->ca_file);
    *proxy = (struct proxy){0};
}

bool proxy_set_up(const struct proxy *proxy, CURL *easy)
{
    /* An empty text, too, keeps libcurl from the environment. */
    bool ok =
        curl_easy_setopt(easy, CURLOPT_PROXY, proxy->url != NULL ? proxy->url : "") == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_NOPROXY, proxy->none_for != NULL ? proxy->none_for : "") ==
            CURLE_OK;
    if (!ok || proxy->url == NULL)
        return ok;
    ok = curl_easy_setopt(easy, CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYPEER, 1L) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYHOST, 2L) == CURLE_OK;
    if (ok && proxy->ca_file != NULL)
        ok = curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, proxy->ca_file) == CURLE_OK;
    return ok;
}

bool proxy_sign(const struct proxy *proxy, CURL *easy)
{
    if (proxy->user == NULL)
        return true;
    struct bytes user = secret_bytes(proxy->user), password = secret_bytes(proxy->password);
    return curl_easy_setopt(easy, CURLOPT_PROXYUSERNAME, (const char *)user.data) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXYPASSWORD, (const char *)password.data) == CURLE_OK;
}

static bool same(const struct secret *a, const struct secret *b)
{
    struct bytes x = secret_bytes(a), y = secret_bytes(b);
    return x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
}

bool proxy_changed(struct proxy *proxy)
{
    struct stat found;
    if (proxy->source == NULL || strncmp(proxy->source, "file:", 5) != 0 ||
        stat(proxy->source + 5, &found) != 0 || file_unchanged(&found, &proxy->seen))
        return false;
    proxy->seen = found;
    return proxy_reload(proxy);
}

bool proxy_reload(struct proxy *proxy)
{
    struct secret *user = NULL, *password = NULL;
    struct error err = ERROR_INIT;
    bool newer = false;
    /* A descriptor or a terminal can be read once only. */
    if (proxy->source == NULL || strncmp(proxy->source, "fd:", 3) == 0 ||
        strcmp(proxy->source, "prompt") == 0)
        return false;
    if (read_credentials(proxy->source, &user, &password, &err) &&
        !(same(user, proxy->user) && same(password, proxy->password))) {
        secret_free(&proxy->user);
        secret_free(&proxy->password);
        proxy->user = user;
        proxy->password = password;
        user = password = NULL; /* transferred */
        newer = true;
    }
    secret_free(&user);
    secret_free(&password);
    return newer;
}

bool proxy_refused(const struct exchange *exchange, struct error *err)
{
    const struct queue_client *client = exchange->client;
    long status = 0, connect_status = 0;
    curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(exchange->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
    if (client->proxy.url == NULL || (status != 407 && connect_status < 400))
        return false;
    if (status == 407)
        connect_status = status;
    bool unknown = connect_status == 407 || connect_status == 401;
    error_set(err, unknown ? FAIL_AUTH : FAIL_REMOTE,
              "%s on queue \"%s\" at %s: the proxy %s answers with status %ld",
              call_name(client, exchange->call), exchange->queue->name, client->endpoint,
              client->proxy.url, connect_status);
    if (unknown)
        error_hint(err, client->proxy.source != NULL
                            ? "check the user and password that proxy_credentials of [queue] names"
                            : "the proxy wants a user and a password: set proxy_credentials of "
                              "[queue]");
    else
        error_hint(err, "check proxy and no_proxy of [queue], and what the proxy lets through");
    return true;
}
