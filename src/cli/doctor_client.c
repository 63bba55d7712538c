/* SPDX-License-Identifier: Apache-2.0 */
/* What an importer needs: a public key, and a hub that accepts its bearer token. */
#include <openssl/evp.h>
#include <stdio.h>
#include "client.h"
#include "doctor.h"
#include "login.h"

static void examine_public_key(struct doctor *doctor, const char *path)
{
    char fingerprint[FINGERPRINT_TEXT];
    struct error err = ERROR_INIT;
    EVP_PKEY *key = NULL;
    if (!public_key_load(path, &key, &err) || !public_key_fingerprint(key, fingerprint, &err)) {
        doctor_error(doctor, DOCTOR_CLIENT, MARK_FAILURE, &err,
                     "the ceremony writes this file; `reseal key export` writes it again");
    } else if (config_text(doctor->config, "client", "key_name") == NULL) {
        doctor_say(doctor, DOCTOR_CLIENT, MARK_FAILURE, "set it to the key's label on the token",
                   "[client] key_name is not set");
    } else {
        doctor_say(doctor, DOCTOR_CLIENT, MARK_OK, NULL, "public key %s: RSA-%d, SHA-256 %s",
                   config_text(doctor->config, "client", "key_name"), EVP_PKEY_get_bits(key),
                   fingerprint);
    }
    EVP_PKEY_free(key);
}

static void examine_hub(struct doctor *doctor)
{
    const char *hub = config_text(doctor->config, "client", "hub");
    struct web_answer answer = {0};
    struct web *web = NULL;
    struct error err = ERROR_INIT;
    char url[640];
    snprintf(url, sizeof url, "%s/v1/status", hub);
    if (!client_web(doctor->config, &web, &err) || !web_call(web, "GET", url, NULL, &answer, &err))
        doctor_error(doctor, DOCTOR_CLIENT, MARK_FAILURE, &err,
                     err.kind == FAIL_AUTH ? "check [client] api_token against [hub] api_token"
                                           : "check [client] hub, and that the hub runs");
    else
        doctor_say(doctor, DOCTOR_CLIENT, MARK_OK, NULL, "the hub at %s answers and accepts us",
                   hub);
    web_answer_free(&answer);
    web_close(&web);
}

static void examine_login(struct doctor *doctor)
{
    struct web *web = NULL;
    struct error err = ERROR_INIT;
    if (!client_records_web(doctor->config, &web, &err))
        doctor_error(doctor, DOCTOR_CLIENT, MARK_FAILURE, &err, NULL);
    else
        doctor_say(doctor, DOCTOR_CLIENT, MARK_OK, NULL, "%s gives us a token for %s",
                   config_text(doctor->config, "client", "authority"),
                   config_text(doctor->config, "client", "records"));
    web_close(&web);
}

void doctor_client(struct doctor *doctor)
{
    const char *path = config_text(doctor->config, "client", "public_key");
    const char *source = config_text(doctor->config, "client", "api_token");
    if (path != NULL)
        examine_public_key(doctor, path);
    if (source != NULL)
        examine_hub(doctor);
    if (login_kind(doctor->config) != LOGIN_BY_TOKEN)
        examine_login(doctor);
}
