/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/request.h"

#include <string.h>
#include "names.h"
#include "reseal/clock.h"
#include "reseal/json.h"

#define REQUEST_TYPE "reseal.request.v1"

static const struct name_row formats[] = {
    {FORMAT_CMS, "cms"},
    {FORMAT_WINDOWS_CSP, "windows-csp"},
    {FORMAT_APPLE_PROFILE, "apple-profile"},
};

static const struct name_row platforms[] = {
    {PLATFORM_OTHER, "other"}, {PLATFORM_WINDOWS, "windows"}, {PLATFORM_IOS, "ios"},
    {PLATFORM_MACOS, "macos"}, {PLATFORM_ANDROID, "android"},
};

bool format_parse(const char *name, enum format *out, struct error *err)
{
    int value;
    if (!name_lookup(formats, ARRAY_LEN(formats), name, "format", &value, err))
        return false;
    *out = (enum format)value;
    return true;
}

const char *format_name(enum format format)
{
    return name_of(formats, ARRAY_LEN(formats), (int)format);
}

bool platform_parse(const char *name, enum platform *out, struct error *err)
{
    int value;
    if (!name_lookup(platforms, ARRAY_LEN(platforms), name, "platform", &value, err))
        return false;
    *out = (enum platform)value;
    return true;
}

const char *platform_name(enum platform platform)
{
    return name_of(platforms, ARRAY_LEN(platforms), (int)platform);
}

void request_init(struct request *request)
{
    *request = (struct request){.padding = OAEP_SHA512,
                                .sealed = BUF_INIT(RECORD_SEALED_MAX + 3),
                                .pfx = BUF_INIT(RECORD_BLOB_MAX + 3),
                                .device_certificate = BUF_INIT(DEVICE_CERTIFICATE_MAX + 3)};
}

void request_free(struct request *request)
{
    buf_free(&request->sealed);
    buf_free(&request->pfx);
    buf_free(&request->device_certificate);
}

static bool want_field(const struct json_value *object, const char *where, const char *key,
                       size_t least, char *out, size_t size, struct error *err)
{
    const char *text;
    return json_want_text(object, where, key, size - 1, &text, err) &&
           text_field(out, size, least, text, key, err);
}

static bool want_time(const struct json_value *object, const char *where, const char *key,
                      int64_t *out, struct error *err)
{
    const char *text;
    if (!json_want_text(object, where, key, 64, &text, err))
        return false;
    if (!clock_parse(text, out))
        return error_set(err, FAIL_INPUT, "%s is no time of RFC 3339", key);
    return true;
}

static bool want_constant(const struct json_value *object, const char *key, const char *value,
                          struct error *err)
{
    const char *text;
    if (!json_want_text(object, "", key, 64, &text, err))
        return false;
    if (strcmp(text, value) != 0)
        return error_set(err, FAIL_INPUT, "%s must be \"%s\", not \"%s\"", key, value, text);
    return true;
}

static bool read_device(const struct json_value *data, struct request *request, struct error *err)
{
    const struct json_value *device;
    const char *text;
    if (!json_want_object(data, "data", "device", &device, err) ||
        !want_field(device, "data.device", "id", 0, request->device_id, sizeof request->device_id,
                    err) ||
        !json_want_text(device, "data.device", "platform", 16, &text, err) ||
        !platform_parse(text, &request->platform, err))
        return false;
    return json_want_base64(device, "data.device", "certificate", DEVICE_CERTIFICATE_MAX,
                            &request->device_certificate, err);
}

static bool read_thumbprint(const struct json_value *data, struct request *request,
                            struct error *err)
{
    if (!want_field(data, "data", "thumbprint", RECORD_THUMBPRINT - 1, request->thumbprint,
                    sizeof request->thumbprint, err))
        return false;
    if (strlen(request->thumbprint) != RECORD_THUMBPRINT - 1 ||
        strspn(request->thumbprint, "0123456789abcdefABCDEF") != RECORD_THUMBPRINT - 1)
        return error_set(err, FAIL_INPUT, "data.thumbprint must have 40 hexadecimal digits");
    return true;
}

static bool read_data(const struct json_value *data, struct request *request, struct error *err)
{
    const char *text;
    if (!want_field(data, "data", "keyName", 1, request->key_name, sizeof request->key_name, err) ||
        !want_field(data, "data", "providerName", 0, request->provider_name,
                    sizeof request->provider_name, err) ||
        !json_want_text(data, "data", "paddingScheme", 32, &text, err) ||
        !padding_parse(text, &request->padding, err) ||
        !json_want_base64(data, "data", "encryptedPfxPassword", RECORD_SEALED_MAX, &request->sealed,
                          err) ||
        !json_want_base64(data, "data", "encryptedPfxBlob", RECORD_BLOB_MAX, &request->pfx, err) ||
        !read_thumbprint(data, request, err) ||
        !want_field(data, "data", "userPrincipalName", 0, request->user_principal_name,
                    sizeof request->user_principal_name, err) ||
        !json_want_text(data, "data", "intendedPurpose", 32, &text, err) ||
        !purpose_parse(text, &request->purpose, err) || !read_device(data, request, err) ||
        !json_want_text(data, "data", "format", 32, &text, err) ||
        !format_parse(text, &request->format, err))
        return false;
    return want_time(data, "data", "expires", &request->expires_ms, err);
}

bool request_read(const void *text, size_t len, struct request *request, bool *addressed,
                  struct error *err)
{
    static const struct json_limits limits = {
        .bytes = MESSAGE_MAX, .string = MESSAGE_MAX, .values = 128};
    const struct json_value *data;
    struct json *json = NULL;
    bool ok = false;
    *addressed = false;
    if (!json_parse(text, len, &limits, "the request message", &json, err))
        return false;
    const struct json_value *root = json_root(json);
    if (json_type(root) != JSON_OBJECT) {
        error_set(err, FAIL_INPUT, "the request message must be an object, not %s",
                  json_type_name(json_type(root)));
        goto done;
    }
    if (!want_field(root, "", "source", 1, request->source, sizeof request->source, err) ||
        !want_field(root, "", "id", 1, request->id, sizeof request->id, err))
        goto done;
    *addressed = true;
    if (!want_constant(root, "specversion", "1.0", err) ||
        !want_constant(root, "type", REQUEST_TYPE, err) ||
        !want_time(root, "", "time", &request->time_ms, err) ||
        !json_want_object(root, "", "data", &data, err))
        goto done;
    ok = read_data(data, request, err);
done:
    json_free(&json);
    return ok;
}

static void put_time(struct json_writer *json, const char *key, int64_t ms)
{
    char text[CLOCK_TEXT];
    clock_format(ms, text);
    json_put_text(json, key, text);
}

static void write_data(struct json_writer *json, const struct request *request)
{
    json_object(json, "data");
    json_put_text(json, "keyName", request->key_name);
    json_put_text(json, "providerName", request->provider_name);
    json_put_text(json, "paddingScheme", padding_name(request->padding));
    json_put_base64(json, "encryptedPfxPassword", request->sealed.data, request->sealed.len);
    json_put_base64(json, "encryptedPfxBlob", request->pfx.data, request->pfx.len);
    json_put_text(json, "thumbprint", request->thumbprint);
    json_put_text(json, "userPrincipalName", request->user_principal_name);
    json_put_text(json, "intendedPurpose", purpose_name(request->purpose));
    json_object(json, "device");
    json_put_text(json, "id", request->device_id);
    json_put_text(json, "platform", platform_name(request->platform));
    json_put_base64(json, "certificate", request->device_certificate.data,
                    request->device_certificate.len);
    json_object_end(json);
    json_put_text(json, "format", format_name(request->format));
    put_time(json, "expires", request->expires_ms);
    json_object_end(json);
}

bool request_write(const struct request *request, struct buf *out, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "specversion", "1.0");
    json_put_text(json, "type", REQUEST_TYPE);
    json_put_text(json, "source", request->source);
    json_put_text(json, "id", request->id);
    put_time(json, "time", request->time_ms);
    json_put_text(json, "datacontenttype", "application/json");
    write_data(json, request);
    json_object_end(json);
    bool ok = json_finish(json, out, err);
    json_writer_free(&json);
    return ok;
}
