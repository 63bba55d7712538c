/* SPDX-License-Identifier: Apache-2.0 */
#include "payload_format.h"

#include <ctype.h>
#include <string.h>
#include "reseal/text.h"
#include "reseal/xml_text.h"

static bool read_windows(const struct config *config, struct payload_options *out,
                         struct error *err)
{
    static const char *const places[] = {"tpm", "tpm-or-software", "software"};
    const char *place = config_text(config, "windows", "key_location");
    out->windows.key_location = 0;
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (strcmp(place, places[i]) == 0)
            out->windows.key_location = i + 1;
    }
    out->windows.root = strcmp(config_text(config, "windows", "scope"), "device") == 0
                            ? "./Device/Vendor/MSFT"
                            : "./User/Vendor/MSFT";
    out->windows.exportable = config_flag(config, "windows", "exportable");
    out->windows.device_store = config_text(config, "windows", "device_store");
    if (out->windows.exportable && out->windows.key_location != WINDOWS_SOFTWARE) {
        error_set(err, FAIL_USAGE, "%s: [windows] exportable is yes, and key_location is %s",
                  config_path(config), place);
        return error_hint(err, "Windows exports a key from software only: key_location = software");
    }
    return true;
}

/* What goes into a document as text. */
static bool check_text(const struct config *config, const char *section, const char *name,
                       struct error *err)
{
    const char *text = config_text(config, section, name);
    if (text == NULL || xml_legal(text, strlen(text)))
        return true;
    error_set(err, FAIL_USAGE, "%s: [%s] %s has a character that XML cannot carry",
              config_path(config), section, name);
    return error_hint(err, "take control characters, U+FFFE and U+FFFF out of it");
}

bool payload_options_read(const struct config *config, struct payload_options *out,
                          struct error *err)
{
    if (!check_text(config, "apple", "identifier", err) ||
        !check_text(config, "apple", "organization", err) ||
        !check_text(config, "windows", "device_store", err))
        return false;
    *out = (struct payload_options){0};
    for (size_t i = 0; i < config_list_count(config, "connector", "formats"); i++) {
        enum format format;
        if (!format_parse(config_list_at(config, "connector", "formats", i), &format, err))
            return false;
        out->made[format] = true;
    }
    out->apple.identifier = config_text(config, "apple", "identifier");
    out->apple.organization = config_text(config, "apple", "organization");
    out->apple.extractable = config_flag(config, "apple", "extractable");
    out->apple.all_apps = config_flag(config, "apple", "all_apps");
    return read_windows(config, out, err);
}

void thumbprint_in_case(const struct request *request, bool capital, char out[RECORD_THUMBPRINT])
{
    for (size_t i = 0; i < RECORD_THUMBPRINT; i++) {
        unsigned char digit = (unsigned char)request->thumbprint[i];
        out[i] = (char)(capital ? toupper(digit) : tolower(digit));
    }
}

bool payload_check(const struct payload_options *options, const struct request *request,
                   struct error *err)
{
    if (!options->made[request->format]) {
        error_set(err, FAIL_UNSUPPORTED, "this connector does not make the format %s",
                  format_name(request->format));
        return error_hint(err, "formats of [connector] has those that it makes");
    }
    if (request->format == FORMAT_CMS)
        return true;
    if (request->pfx.len == 0) {
        error_set(err, FAIL_INPUT, "the format %s needs the PFX, and encryptedPfxBlob is empty",
                  format_name(request->format));
        return error_hint(err, "send the PFX along, or ask for the format cms");
    }
    return request->format != FORMAT_APPLE_PROFILE || apple_check(request, err);
}

bool payload_has_cdata(const struct request *request)
{
    return request->format == FORMAT_APPLE_PROFILE;
}

bool payload_around_password(const struct payload_options *options, const struct request *request,
                             struct buf *prefix, struct buf *suffix, struct error *err)
{
    if (request->format == FORMAT_APPLE_PROFILE)
        return apple_around_password(options, request, prefix, suffix, err);
    return true;
}

bool payload_write(const struct payload_options *options, const struct request *request,
                   struct bytes der, struct buf *out, struct error *err)
{
    bool ok = true;
    switch (request->format) {
    case FORMAT_CMS:
        buf_put(out, der.data, der.len);
        break;
    case FORMAT_APPLE_PROFILE:
        ok = apple_write(options, request, der, out, err);
        break;
    case FORMAT_WINDOWS_CSP:
        windows_write(options, request, der, out);
        break;
    }
    return ok && buf_check(out, "the payload of a result", err);
}
