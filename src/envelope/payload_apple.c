/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Apple's configuration profile, encrypted for one device.
 *
 * Its identifiers are made from the certificate's thumbprint: the same certificate delivered again
 * replaces the profile that is there, and another payload can name it by its UUID.
 */
#include "payload_format.h"

#include <stdio.h>
#include <string.h>
#include "reseal/text.h"
#include "reseal/xml_text.h"

#define PLIST_BEGIN                                                                                \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"                                                 \
    "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" "                                      \
    "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n"                                        \
    "<plist version=\"1.0\">\n"

/* Bytes that CMS fills the content up to: AES-CBC (RFC 5652, section 6.3). */
#define BLOCK 16

static void put_string(struct buf *out, const char *key, const char *value)
{
    buf_printf(out, "<key>%s</key><string>", key);
    xml_put_text(out, value);
    buf_put_text(out, "</string>\n");
}

static void put_data(struct buf *out, const char *key, struct bytes value)
{
    buf_printf(out, "<key>%s</key><data>", key);
    base64_encode(out, value.data, value.len);
    buf_put_text(out, "</data>\n");
}

static void put_flag(struct buf *out, const char *key, bool value)
{
    buf_printf(out, "<key>%s</key><%s/>\n", key, value ? "true" : "false");
}

/* The keys that profile and payload have in common. `part` tells the two apart. */
static bool put_identity(const struct payload_options *options, const struct request *request,
                         const char *type, const char *part, struct buf *out, struct error *err)
{
    char seed[1024], name[RECORD_UPN_MAX + 32], identifier[512], uuid[UUID_TEXT];
    char thumbprint[RECORD_THUMBPRINT];
    const char *user = request->user_principal_name;
    thumbprint_in_case(request, false, thumbprint);
    int len = snprintf(identifier, sizeof identifier, "%s.%s%s", options->apple.identifier,
                       thumbprint, part);
    snprintf(seed, sizeof seed, "apple-profile %s", identifier);
    snprintf(name, sizeof name, "Certificate of %s", user[0] != '\0' ? user : thumbprint);
    if (len < 0 || (size_t)len >= sizeof identifier)
        return error_set(err, FAIL_INTERNAL, "the identifier of a profile is too long");
    if (!uuid_from(seed, strlen(seed), uuid, err))
        return false;
    put_string(out, "PayloadType", type);
    buf_put_text(out, "<key>PayloadVersion</key><integer>1</integer>\n");
    put_string(out, "PayloadIdentifier", identifier);
    put_string(out, "PayloadUUID", uuid);
    put_string(out, "PayloadDisplayName", name);
    if (options->apple.organization != NULL)
        put_string(out, "PayloadOrganization", options->apple.organization);
    return true;
}

bool apple_check(const struct request *request, struct error *err)
{
    const char *user = request->user_principal_name;
    if (!xml_legal(user, strlen(user))) {
        error_set(err, FAIL_INPUT, "userPrincipalName has a character that a profile cannot carry");
        return error_hint(err, "U+FFFE and U+FFFF are no characters of XML");
    }
    if (request->pfx.len > PAYLOAD_PFX_MAX) {
        error_set(err, FAIL_TOO_LARGE, "the PFX has %zu bytes, and a profile takes %d",
                  request->pfx.len, PAYLOAD_PFX_MAX);
        return error_hint(err,
                          "leave other certificates out of the PFX, or ask for the format cms");
    }
    return true;
}

/* White space behind the list, which readers pass over. */
static void pad(const struct buf *prefix, struct buf *suffix)
{
    while ((prefix->len + suffix->len) % BLOCK != 0 && !suffix->failed)
        buf_put_u8(suffix, '\n');
}

bool apple_around_password(const struct payload_options *options, const struct request *request,
                           struct buf *prefix, struct buf *suffix, struct error *err)
{
    char thumbprint[RECORD_THUMBPRINT];
    thumbprint_in_case(request, false, thumbprint);
    buf_put_text(prefix, PLIST_BEGIN "<array>\n<dict>\n");
    if (!put_identity(options, request, "com.apple.security.pkcs12", ".pkcs12", prefix, err))
        return false;
    buf_printf(prefix, "<key>PayloadCertificateFileName</key><string>%s.p12</string>\n",
               thumbprint);
    put_data(prefix, "PayloadContent", buf_bytes(&request->pfx));
    if (request->platform != PLATFORM_IOS) { /* its default on macOS is yes */
        put_flag(prefix, "KeyIsExtractable", options->apple.extractable);
        put_flag(prefix, "AllowAllAppsAccess", options->apple.all_apps);
    }
    buf_put_text(prefix, "<key>Password</key><string><![CDATA[");
    buf_put_text(suffix, "]]></string>\n</dict>\n</array>\n</plist>\n");
    pad(prefix, suffix);
    return buf_check(prefix, "the content of a profile", err) &&
           buf_check(suffix, "the content of a profile", err);
}

bool apple_write(const struct payload_options *options, const struct request *request,
                 struct bytes der, struct buf *out, struct error *err)
{
    buf_put_text(out, PLIST_BEGIN "<dict>\n");
    if (!put_identity(options, request, "Configuration", "", out, err))
        return false;
    put_flag(out, "IsEncrypted", true);
    put_data(out, "EncryptedPayloadContent", der);
    buf_put_text(out, "</dict>\n</plist>\n");
    return true;
}
