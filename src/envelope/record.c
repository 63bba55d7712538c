/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/record.h"

#include <string.h>
#include "names.h"
#include "reseal/clock.h"
#include "reseal/json.h"
#include "reseal/text.h"

static const struct name_row purposes[] = {
    {PURPOSE_UNASSIGNED, "unassigned"},
    {PURPOSE_SMIME_ENCRYPTION, "smimeEncryption"},
    {PURPOSE_SMIME_SIGNING, "smimeSigning"},
    {PURPOSE_VPN, "vpn"},
    {PURPOSE_WIFI, "wifi"},
};

bool purpose_parse(const char *name, enum purpose *out, struct error *err)
{
    int value;
    if (!name_lookup(purposes, ARRAY_LEN(purposes), name, "intendedPurpose", &value, err))
        return false;
    *out = (enum purpose)value;
    return true;
}

const char *purpose_name(enum purpose purpose)
{
    return name_of(purposes, ARRAY_LEN(purposes), (int)purpose);
}

void record_init(struct record *record)
{
    *record = (struct record){.padding = OAEP_SHA512,
                              .pfx = BUF_INIT(RECORD_BLOB_MAX + 3),
                              .sealed = BUF_INIT(RECORD_SEALED_MAX + 3)};
}

void record_free(struct record *record)
{
    buf_free(&record->pfx);
    buf_free(&record->sealed);
}

/* SHA-1 of the certificate: 40 hex digits; Graph and Windows tools differ in case. */
static bool read_thumbprint(const char *text, char out[static RECORD_THUMBPRINT], struct error *err)
{
    if (strlen(text) != RECORD_THUMBPRINT - 1 ||
        strspn(text, "0123456789abcdefABCDEF") != RECORD_THUMBPRINT - 1)
        return error_set(err, FAIL_INPUT, "thumbprint must have 40 hexadecimal digits");
    for (size_t i = 0; i < RECORD_THUMBPRINT; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] + 32) : text[i];
    return true;
}

static bool read_text(const struct json_value *object, const char *key, size_t least, char *out,
                      size_t size, struct error *err)
{
    const char *text;
    return json_want_text(object, "", key, size - 1, &text, err) &&
           text_field(out, size, least, text, key, err);
}

static bool read_time(const struct json_value *object, const char *key, bool must, int64_t *out,
                      struct error *err)
{
    const char *text;
    *out = 0;
    if (!json_may_text(object, "", key, 64, &text, err))
        return false;
    if (text == NULL && !must)
        return true;
    if (text == NULL || !clock_parse(text, out))
        return error_set(err, FAIL_INPUT, "%s must be a time as in 2026-01-31T12:00:00Z (RFC 3339)",
                         key);
    return true;
}

static bool read_secrets(const struct json_value *object, struct record *record, struct error *err)
{
    if (!json_want_base64(object, "", "encryptedPfxBlob", RECORD_BLOB_MAX, &record->pfx, err) ||
        !json_want_base64(object, "", "encryptedPfxPassword", RECORD_SEALED_MAX, &record->sealed,
                          err))
        return false;
    if (record->pfx.len == 0)
        return error_set(err, FAIL_INPUT, "encryptedPfxBlob is empty");
    if (record->sealed.len < 256) /* RSA-2048 is the smallest sealing key */
        return error_set(
            err, FAIL_INPUT,
            "encryptedPfxPassword is no RSA ciphertext: %zu bytes, at least 256 expected",
            record->sealed.len);
    return true;
}

bool record_read(const struct json_value *object, enum record_secrets secrets,
                 struct record *record, struct error *err)
{
    const char *text;
    if (json_type(object) != JSON_OBJECT)
        return error_set(err, FAIL_INPUT, "a record must be an object, not %s",
                         json_type_name(json_type(object)));
    if (!json_may_text(object, "", "id", RECORD_ID_MAX, &text, err) ||
        !text_field(record->id, sizeof record->id, 0, text != NULL ? text : "", "id", err))
        return false;
    if (!json_want_text(object, "", "thumbprint", 64, &text, err) ||
        !read_thumbprint(text, record->thumbprint, err))
        return false;
    if (!json_want_text(object, "", "intendedPurpose", 64, &text, err) ||
        !purpose_parse(text, &record->purpose, err))
        return false;
    if (!json_want_text(object, "", "paddingScheme", 64, &text, err) ||
        !padding_parse(text, &record->padding, err))
        return false;
    if (!read_text(object, "userPrincipalName", 1, record->user_principal_name,
                   sizeof record->user_principal_name, err) ||
        !read_text(object, "providerName", 0, record->provider_name, sizeof record->provider_name,
                   err) ||
        !read_text(object, "keyName", 1, record->key_name, sizeof record->key_name, err))
        return false;
    if (!read_time(object, "startDateTime", true, &record->not_before_ms, err) ||
        !read_time(object, "expirationDateTime", true, &record->not_after_ms, err) ||
        !read_time(object, "createdDateTime", false, &record->created_ms, err) ||
        !read_time(object, "lastModifiedDateTime", false, &record->modified_ms, err))
        return false;
    return secrets == RECORD_WITHOUT_SECRETS || read_secrets(object, record, err);
}

static void put_time(struct json_writer *json, const char *key, int64_t ms)
{
    char text[CLOCK_TEXT];
    clock_format(ms, text);
    json_put_text(json, key, text);
}

void record_write(struct json_writer *json, const struct record *record,
                  enum record_secrets secrets)
{
    bool with = secrets == RECORD_WITH_SECRETS;
    if (record->id[0] != '\0')
        json_put_text(json, "id", record->id);
    json_put_text(json, "thumbprint", record->thumbprint);
    json_put_text(json, "intendedPurpose", purpose_name(record->purpose));
    json_put_text(json, "userPrincipalName", record->user_principal_name);
    put_time(json, "startDateTime", record->not_before_ms);
    put_time(json, "expirationDateTime", record->not_after_ms);
    json_put_text(json, "providerName", record->provider_name);
    json_put_text(json, "keyName", record->key_name);
    json_put_text(json, "paddingScheme", padding_name(record->padding));
    /* One zero byte and nothing: what Graph answers for members that can only be written. */
    json_put_base64(json, "encryptedPfxBlob", with ? record->pfx.data : (const uint8_t *)"",
                    with ? record->pfx.len : 1);
    json_put_base64(json, "encryptedPfxPassword", record->sealed.data,
                    with ? record->sealed.len : 0);
    if (record->created_ms != 0)
        put_time(json, "createdDateTime", record->created_ms);
    if (record->modified_ms != 0)
        put_time(json, "lastModifiedDateTime", record->modified_ms);
}
