/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/tls_identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/secret.h"

#define KEY_BYTES 16384 /* of a private key in PEM */

/* libcurl wants a file, which a systemd credential is, too. */
static bool path_of(const char *source, char *out, size_t size, struct error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    int len = -1;
    if (strncmp(source, "file:", 5) == 0)
        len = snprintf(out, size, "%s", source + 5);
    else if (strncmp(source, "credential:", 11) == 0 && folder != NULL)
        len = snprintf(out, size, "%s/%s", folder, source + 11);
    if (len >= 0 && (size_t)len < size)
        return true;
    error_set(err, FAIL_USAGE, "the key of a client certificate must be in a file");
    return error_hint(err, "use file:PATH, or credential:NAME in a service");
}

/* What would otherwise be seen at the first connection only. */
static bool check_key(const char *source, struct error *err)
{
    struct secret *key = NULL;
    bool ok = secret_read(source, "", KEY_BYTES, &key, err);
    secret_free(&key);
    return ok;
}

bool tls_identity_read(const struct config *config, const char *section, struct tls_identity *out,
                       struct error *err)
{
    const char *certificate = config_text(config, section, "client_certificate");
    const char *key = config_text(config, section, "client_key");
    *out = (struct tls_identity){.certificate = ""};
    if (certificate == NULL && key == NULL)
        return true;
    if (certificate == NULL || key == NULL) {
        error_set(err, FAIL_USAGE, "%s: [%s] has %s without %s", config_path(config), section,
                  certificate != NULL ? "client_certificate" : "client_key",
                  certificate != NULL ? "client_key" : "client_certificate");
        return error_hint(err, "give both, or none");
    }
    if (!path_of(key, out->key, sizeof out->key, err) || !check_key(key, err))
        return error_context(err, "%s: [%s] client_key", config_path(config), section);
    if (snprintf(out->certificate, sizeof out->certificate, "%s", certificate) < PATH_MAX)
        return true;
    return error_set(err, FAIL_USAGE, "%s: [%s] client_certificate: the path is too long",
                     config_path(config), section);
}
