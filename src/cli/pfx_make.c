/* SPDX-License-Identifier: Apache-2.0 */
#include "pfx_make.h"

#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/pfx.h"
#include "reseal/public_key.h"
#include "reseal/text.h"
#include "reseal/xml_text.h"

/* An option, or what [client] says, or NULL. `config` may be NULL. */
static const char *option_or_config(const struct invocation *invocation,
                                    const struct config *config, const char *option,
                                    const char *key)
{
    const char *given = invocation_option(invocation, option);
    if (given != NULL || config == NULL)
        return given;
    return config_text(config, "client", key);
}

static bool want(const char *value, const char *option, const char *key, struct error *err)
{
    if (value != NULL)
        return true;
    error_set(err, FAIL_USAGE, "--%s is missing", option);
    if (key == NULL)
        return error_hint(err, "see: reseal pfx new --help; pfx import takes the same");
    return error_hint(err, "give it, or %s in section [client] of the configuration", key);
}

static bool put_text(char *out, size_t size, const char *text, const char *what, struct error *err)
{
    size_t len = strlen(text);
    if (len == 0 || len >= size)
        return error_set(err, FAIL_USAGE, "the %s must have 1 to %zu bytes, not %zu", what,
                         size - 1, len);
    if (!utf8_is_strict(text, len))
        return error_set(err, FAIL_USAGE, "the %s is not text in UTF-8", what);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return error_set(err, FAIL_USAGE, "the %s has a control character", what);
    }
    memcpy(out, text, len + 1);
    return true;
}

/* The names that all records of a command have in common. */
static bool take_names(const struct invocation *invocation, const struct config *config,
                       struct record *record, struct error *err)
{
    const char *key_name = option_or_config(invocation, config, "key-name", "key_name");
    const char *provider = option_or_config(invocation, config, "provider", "provider_name");
    const char *padding = option_or_config(invocation, config, "padding", "padding");
    if (!want(key_name, "key-name", "key_name", err))
        return false;
    if (!put_text(record->key_name, sizeof record->key_name, key_name, "key name", err) ||
        !put_text(record->provider_name, sizeof record->provider_name,
                  provider != NULL ? provider : "reseal", "provider name", err))
        return false;
    if (padding != NULL && !padding_parse(padding, &record->padding, err)) {
        if (err->kind == FAIL_INPUT) {
            err->kind = FAIL_USAGE;
            error_hint(err, "oaepSha256, oaepSha384 or oaepSha512");
        }
        return false;
    }
    return true;
}

static bool take_user(const char *user, const char *purpose, struct record *record,
                      struct error *err)
{
    if (!put_text(record->user_principal_name, sizeof record->user_principal_name, user,
                  "user principal name", err))
        return false;
    if (!purpose_parse(purpose != NULL ? purpose : "smimeEncryption", &record->purpose, err)) {
        err->kind = FAIL_USAGE;
        return error_hint(err, "smimeEncryption, smimeSigning, wifi, vpn or unassigned");
    }
    if (record->purpose == PURPOSE_VPN)
        print_warning("Intune does not take imported certificates for vpn");
    return true;
}

static bool check_validity(const struct pfx_facts *facts, const char *path, bool force,
                           struct error *err)
{
    char text[CLOCK_TEXT];
    int64_t now = clock_real_ms();
    clock_format(facts->not_after_ms, text);
    if (facts->not_after_ms < now && !force) {
        error_set(err, FAIL_POLICY, "%s: the certificate expired on %s", path, text);
        return error_hint(err, "old mail may still need it: --force takes it anyway");
    }
    if (facts->not_after_ms < now)
        print_warning("%s: the certificate expired on %s", path, text);
    clock_format(facts->not_before_ms, text);
    if (facts->not_before_ms > now)
        print_warning("%s: the certificate is not valid before %s", path, text);
    return true;
}

static bool seal(const struct pfx_maker *maker, const char *path, const struct secret *password,
                 struct record *record, struct error *err)
{
    struct pfx_facts facts;
    if (!pfx_open(buf_bytes(&record->pfx), password, &facts, err))
        return error_context(err, "%s", path);
    if (!check_validity(&facts, path, maker->force, err))
        return false;
    if (facts.legacy)
        print_warning("%s uses an old algorithm (RC2 or the like) that new devices may refuse",
                      path);
    const char *trouble = cdata_trouble(secret_bytes(password));
    if (trouble != NULL)
        print_warning("%s: the password %s, so Apple devices cannot get it as a profile "
                      "(apple-profile); give the PFX another password if they are to",
                      path, trouble);
    memcpy(record->thumbprint, facts.thumbprint, sizeof record->thumbprint);
    record->not_before_ms = facts.not_before_ms;
    record->not_after_ms = facts.not_after_ms;
    return password_seal(maker->key, record->padding, password, &record->sealed, err);
}

static bool load_public_key(const struct invocation *invocation, const char *path, EVP_PKEY **out,
                            struct error *err)
{
    bool given = invocation_option(invocation, "public-key") != NULL;
    if (public_key_load(path, out, err))
        return true;
    error_context(err, "%s", given ? "--public-key" : "public_key in section [client]");
    if (err->hint[0] == '\0' && (err->kind == FAIL_INPUT || err->kind == FAIL_NOT_FOUND))
        error_hint(err, "the ceremony writes this file, and so does: reseal key export LABEL "
                        "--out FILE");
    return false;
}

bool pfx_maker_open(const struct invocation *invocation, struct pfx_maker *maker, struct error *err)
{
    const struct config *config;
    *maker = (struct pfx_maker){.force = invocation_flag(invocation, "force")};
    record_init(&maker->names);
    if (!invocation_may_config(invocation, &config, err))
        return false;
    const char *path = option_or_config(invocation, config, "public-key", "public_key");
    return want(path, "public-key", "public_key", err) &&
           take_names(invocation, config, &maker->names, err) &&
           load_public_key(invocation, path, &maker->key, err);
}

void pfx_maker_close(struct pfx_maker *maker)
{
    EVP_PKEY_free(maker->key);
    maker->key = NULL;
    record_free(&maker->names);
}

static bool read_pfx(const char *path, struct record *record, struct error *err)
{
    record->pfx.max = RECORD_BLOB_MAX;
    if (file_read(path, &record->pfx, err))
        return true;
    if (err->kind == FAIL_TOO_LARGE)
        error_hint(err, "a PFX for devices has key and certificate, and at most a short chain");
    return false;
}

/* What needs no password. */
static bool begin(const struct pfx_maker *maker, const struct pfx_wish *wish, struct record *record,
                  struct error *err)
{
    memcpy(record->key_name, maker->names.key_name, sizeof record->key_name);
    memcpy(record->provider_name, maker->names.provider_name, sizeof record->provider_name);
    record->padding = maker->names.padding;
    return take_user(wish->user, wish->purpose, record, err) && read_pfx(wish->path, record, err);
}

bool pfx_maker_make(const struct pfx_maker *maker, const struct pfx_wish *wish,
                    struct record *record, struct error *err)
{
    return begin(maker, wish, record, err) && seal(maker, wish->path, wish->password, record, err);
}

bool pfx_make(const struct invocation *invocation, struct record *record, struct error *err)
{
    const struct pfx_wish wish = {.path = invocation_option(invocation, "pfx"),
                                  .user = invocation_option(invocation, "user"),
                                  .purpose = invocation_option(invocation, "purpose")};
    const char *source = invocation_option(invocation, "password");
    struct pfx_maker maker = {.key = NULL};
    struct secret *password = NULL;
    char question[256];
    bool ok = false;
    if (source != NULL && !secret_source_check(source, err))
        return error_context(err, "--password");
    if (!want(wish.path, "pfx", NULL, err) || !want(wish.user, "user", NULL, err))
        return false;
    snprintf(question, sizeof question, "Password of %.200s", wish.path);
    /* What can be checked without a password is, before one is asked for. */
    if (!pfx_maker_open(invocation, &maker, err))
        goto done;
    if (!begin(&maker, &wish, record, err)) {
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "--pfx names the PFX file (PKCS#12, often .pfx or .p12) to be sealed");
        goto done;
    }
    if (!secret_read(source != NULL ? source : "prompt", question, PFX_PASSWORD_MAX, &password,
                     err)) {
        error_context(err, "password of the PFX");
        goto done;
    }
    ok = seal(&maker, wish.path, password, record, err);
done:
    secret_free(&password);
    pfx_maker_close(&maker);
    return ok;
}

bool thumbprint_parse(const char *text, char out[static RECORD_THUMBPRINT], struct error *err)
{
    size_t len = 0;
    for (; *text != '\0'; text++) {
        char c = *text >= 'A' && *text <= 'F' ? (char)(*text + 32) : *text;
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (c == ':' || c == ' ')
            continue;
        if (!digit || len == RECORD_THUMBPRINT - 1) {
            len = 0;
            break;
        }
        out[len++] = c;
    }
    out[len] = '\0';
    if (len == RECORD_THUMBPRINT - 1)
        return true;
    error_set(err, FAIL_USAGE, "the thumbprint must have 40 hexadecimal digits");
    return error_hint(err, "it is the SHA-1 of the certificate: openssl x509 -noout -fingerprint");
}
