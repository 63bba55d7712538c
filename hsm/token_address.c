/* SPDX-License-Identifier: Apache-2.0 */
/* Which module and token: from the configuration, or from a PKCS#11 URI (RFC 7512). */
#include <p11-kit/uri.h>
#include <stdio.h>
#include <string.h>
#include "token_private.h"

static bool copy_text(const char *text, char *out, size_t size, const char *what, struct error *err)
{
    size_t len = strlen(text);
    if (len >= size)
        return error_set(err, FAIL_USAGE, "%s of %zu bytes is over the bound of %zu", what, len,
                         size - 1);
    memcpy(out, text, len + 1);
    return true;
}

bool token_address_from_config(const struct config *config, const char *section,
                               struct token_address *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    const char *uri = config_text(config, section, "uri");
    const struct {
        const char *name;
        char *place;
        size_t size;
    } rows[] = {
        {"module", out->module, sizeof out->module},
        {"label", out->label, sizeof out->label},
        {"serial", out->serial, sizeof out->serial},
        {"init_args", out->init_args, sizeof out->init_args},
    };
    if (uri != NULL && !token_address_from_uri(uri, out, err))
        return error_context(err, "%s: [%s] uri", config_path(config), section);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text = config_text(config, section, rows[i].name);
        if (text == NULL)
            continue;
        if (rows[i].place[0] != '\0' && strcmp(rows[i].place, text) != 0)
            return error_set(err, FAIL_USAGE, "%s: [%s] %s and uri contradict each other",
                             config_path(config), section, rows[i].name);
        if (!copy_text(text, rows[i].place, rows[i].size, rows[i].name, err))
            return error_context(err, "%s: [%s]", config_path(config), section);
    }
    if (out->module[0] == '\0') {
        error_set(err, FAIL_USAGE, "%s: [%s] module is not set", config_path(config), section);
        return error_hint(err, "give the path of the PKCS#11 module (.so) of the token's maker");
    }
    return true;
}

/* RFC 7512, section 2.3: module-name is the library's name without "lib" and ".so". */
static bool take_module(P11KitUri *uri, struct token_address *out, struct error *err)
{
    const char *path = p11_kit_uri_get_module_path(uri);
    const char *name = p11_kit_uri_get_module_name(uri);
    if (path != NULL)
        return copy_text(path, out->module, sizeof out->module, "module-path", err);
    if (name == NULL)
        return true; /* the configuration's module may say it */
    if (strchr(name, '/') != NULL)
        return error_set(err, FAIL_USAGE, "module-name is a name, not a path");
    int len = snprintf(out->module, sizeof out->module, "lib%s.so", name);
    if (len < 0 || (size_t)len >= sizeof out->module)
        return error_set(err, FAIL_USAGE, "module-name is too long");
    return true;
}

static bool take_uri(P11KitUri *uri, struct token_address *out, struct error *err)
{
    if (p11_kit_uri_get_pin_value(uri) != NULL || p11_kit_uri_get_pin_source(uri) != NULL) {
        error_set(err, FAIL_USAGE, "the PKCS#11 URI carries a PIN or says where one is");
        return error_hint(err, "a secret does not belong into a URI; use [token] pin");
    }
    if (p11_kit_uri_any_unrecognized(uri)) {
        error_set(err, FAIL_USAGE, "the PKCS#11 URI has an attribute that is not known here");
        return error_hint(err, "known are token, serial, manufacturer, model, module-path and "
                               "module-name");
    }
    const CK_TOKEN_INFO *info = p11_kit_uri_get_token_info(uri);
    ck_field_text(info->label, sizeof info->label, out->label);
    ck_field_text(info->serialNumber, sizeof info->serialNumber, out->serial);
    ck_field_text(info->manufacturerID, sizeof info->manufacturerID, out->manufacturer);
    ck_field_text(info->model, sizeof info->model, out->model);
    return take_module(uri, out, err);
}

bool token_address_from_uri(const char *uri, struct token_address *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    P11KitUri *parsed = p11_kit_uri_new();
    if (parsed == NULL)
        return error_memory(err);
    int result = p11_kit_uri_parse(uri, P11_KIT_URI_FOR_TOKEN | P11_KIT_URI_FOR_MODULE, parsed);
    bool ok = result == P11_KIT_URI_OK
                  ? take_uri(parsed, out, err)
                  : error_set(err, FAIL_USAGE, "not a PKCS#11 URI (RFC 7512): %s",
                              p11_kit_uri_message(result));
    /* p11-kit's copy of a PIN that should not have been there. */
    p11_kit_uri_free(parsed);
    return ok;
}
