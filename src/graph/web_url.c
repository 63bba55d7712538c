/* SPDX-License-Identifier: Apache-2.0 */
#include "web_url.h"

#include <stdio.h>
#include <string.h>
#include <curl/curl.h>
#include "reseal/text.h"
#include "reseal/web.h"

static bool has_part(CURLU *parsed, CURLUPart part)
{
    char *text = NULL;
    bool there = curl_url_get(parsed, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return there;
}

static bool copy_part(CURLU *parsed, CURLUPart part, unsigned flags, char *out, size_t size)
{
    char *text = NULL;
    bool ok = curl_url_get(parsed, part, &text, flags) == CURLUE_OK && strlen(text) < size;
    for (size_t i = 0; ok && i <= strlen(text); i++)
        out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
    curl_free(text);
    return ok;
}

bool url_parse(const char *url, struct url_parts *out)
{
    *out = (struct url_parts){0};
    CURLU *parsed = curl_url();
    bool ok = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
              copy_part(parsed, CURLUPART_SCHEME, 0, out->scheme, sizeof out->scheme) &&
              copy_part(parsed, CURLUPART_HOST, 0, out->host, sizeof out->host) &&
              copy_part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT, out->port, sizeof out->port);
    if (ok) {
        out->user = has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD);
        out->query = has_part(parsed, CURLUPART_QUERY) || has_part(parsed, CURLUPART_FRAGMENT);
    }
    curl_url_cleanup(parsed);
    return ok && (strcmp(out->scheme, "http") == 0 || strcmp(out->scheme, "https") == 0);
}

bool url_is_loopback(const struct url_parts *url)
{
    const char *dotted = "0123456789.";
    return strcmp(url->host, "localhost") == 0 || strcmp(url->host, "[::1]") == 0 ||
           (strncmp(url->host, "127.", 4) == 0 && strspn(url->host, dotted) == strlen(url->host));
}

bool web_check_base(const char *url, const char *what, struct error *err)
{
    struct url_parts parts;
    if (!url_parse(url, &parts)) {
        error_set(err, FAIL_USAGE, "%s is no http or https URL", what);
        return error_hint(err, "as in https://hub.example.org");
    }
    if (parts.user)
        return error_set(err, FAIL_USAGE, "%s has a user or password; a secret is never part of it",
                         what);
    if (parts.query)
        return error_set(err, FAIL_USAGE, "%s must end with its path, without ? and #", what);
    return true;
}

bool web_same_origin(const char *a, const char *b)
{
    struct url_parts first, second;
    return url_parse(a, &first) && url_parse(b, &second) && !first.user && !second.user &&
           strcmp(first.scheme, second.scheme) == 0 && strcmp(first.host, second.host) == 0 &&
           strcmp(first.port, second.port) == 0;
}

bool web_check_private(const char *url, const char *what, struct error *err)
{
    struct url_parts parts;
    if (!web_check_base(url, what, err))
        return false;
    if (url_parse(url, &parts) && (strcmp(parts.scheme, "https") == 0 || url_is_loopback(&parts)))
        return true;
    error_set(err, FAIL_USAGE,
              "%s: %s is not https, and what we log in with would be read on the way", what, url);
    return error_hint(err, "give the https URL of the service");
}
