/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal device open`: what a device does with a delivery, and proof that the password fits. */
#include "device_open.h"

#include <limits.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "delivery.h"
#include "demo_ca.h"
#include "payload_read.h"
#include "reseal/clock.h"
#include "reseal/cms.h"
#include "reseal/file.h"
#include "reseal/pfx.h"
#include "reseal/request.h"
#include "reseal/result.h"

static const struct json_limits delivery_limits = {
    .bytes = DELIVERY_TEXT_MAX, .string = 512 * 1024, .values = 256};

#define DELIVERY_HINT "a delivery is written by: reseal deliver RECORD-ID --device DIR --out FILE"

/* What the device was sent. */
struct parcel {
    enum format format;
    struct buf payload;
    struct buf der; /* the CMS in it */
    struct buf pfx; /* empty: not known yet */
    char id[DELIVERY_ID_MAX + 1];
};

static bool parcel_from_json(const struct buf *text, struct parcel *parcel, struct error *err)
{
    struct json *json = NULL;
    struct delivery delivery;
    bool ok = false;
    if (!json_parse(text->data, text->len, &delivery_limits, "the delivery", &json, err))
        return false;
    const struct json_value *root = json_root(json);
    if (!delivery_read(root, &delivery, err) || !delivery_check(&delivery, err))
        goto done;
    snprintf(parcel->id, sizeof parcel->id, "%s", delivery.id);
    if (delivery.format != NULL && !format_parse(delivery.format, &parcel->format, err))
        goto done;
    if (!json_want_base64(root, "", "payload", RESULT_PAYLOAD_MAX, &parcel->payload, err))
        goto done;
    /* Only the device's own format is looked at: others bring the PFX with them. */
    if (parcel->format == FORMAT_CMS && json_get(root, "encryptedPfxBlob") != NULL &&
        !json_want_base64(root, "", "encryptedPfxBlob", RECORD_BLOB_MAX, &parcel->pfx, err))
        goto done;
    ok = true;
done:
    json_free(&json);
    return ok;
}

/* JSON begins with a brace, DER with the tag of a SEQUENCE, the other formats with '<'. */
static bool read_parcel(const char *path, struct parcel *parcel, struct error *err)
{
    struct buf content = BUF_INIT(DELIVERY_TEXT_MAX);
    bool ok = false;
    if (!file_read(path, &content, err)) {
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, DELIVERY_HINT);
        goto done;
    }
    if (content.len == 0) {
        error_set(err, FAIL_INPUT, "%s: the delivery file is empty", path);
        error_hint(err, DELIVERY_HINT);
        goto done;
    }
    size_t blank = strspn(buf_text(&content), " \t\r\n");
    if (blank < content.len && content.data[blank] == '{') {
        if (!parcel_from_json(&content, parcel, err)) {
            error_context(err, "%s", path);
            goto done;
        }
    } else {
        buf_put(&parcel->payload, content.data, content.len);
        parcel->format = payload_guess_format(buf_bytes(&content));
    }
    if (!buf_check(&parcel->payload, path, err))
        goto done;
    ok = payload_take_apart(parcel->format, buf_bytes(&parcel->payload), &parcel->der, &parcel->pfx,
                            err);
    if (!ok) {
        error_context(err, "%s", path);
        error_hint(err, "is it whole, and what was delivered? a profile that was signed since is "
                        "not opened here");
    }
done:
    buf_free(&content);
    return ok;
}

/* The PFX that the password is to open, if it is not the one that came with it. */
static bool choose_pfx(const char *path, const char *pfx_path, struct parcel *parcel,
                       struct error *err)
{
    if (pfx_path != NULL) {
        buf_reset(&parcel->pfx);
        if (file_read(pfx_path, &parcel->pfx, err))
            return true;
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "leave out --pfx where the delivery has the PFX in it");
        return false;
    }
    if (parcel->pfx.len > 0)
        return true;
    error_set(err, FAIL_USAGE, "%s has no PFX to open", path);
    return error_hint(err, "name it with --pfx FILE");
}

static bool open_password(const char *folder, struct parcel *parcel, struct secret **out,
                          struct error *err)
{
    char path[PATH_MAX];
    EVP_PKEY *key = NULL;
    X509 *certificate = NULL;
    bool ok = false;
    *out = NULL;
    if (snprintf(path, sizeof path, "%s/device.key", folder) >= (int)sizeof path)
        return error_set(err, FAIL_USAGE, "the path %.64s... is too long", folder);
    if (!read_private_key(path, &key, err)) {
        error_hint(err, DEVICE_HINT);
        goto done;
    }
    snprintf(path, sizeof path, "%s/device.pem", folder);
    if (!read_certificate(path, &certificate, err)) {
        error_hint(err, DEVICE_HINT);
        goto done;
    }
    ok = cms_decrypt(buf_bytes(&parcel->der), key, certificate, out, err);
    if (!ok && err->kind == FAIL_CRYPTO)
        error_hint(err, "a delivery opens on the device that it was asked for, and on no other: "
                        "name that device's folder with --device, or ask for a new delivery");
    if (ok && !payload_take_password(parcel->format, out, &parcel->pfx, err)) {
        secret_free(out);
        ok = false;
    }
done:
    EVP_PKEY_free(key);
    X509_free(certificate);
    return ok;
}

static bool print_opened(const struct parcel *parcel, const struct pfx_facts *facts, bool as_json,
                         struct error *err)
{
    struct json_writer *json = NULL;
    char until[CLOCK_TEXT], from[CLOCK_TEXT];
    clock_format(facts->not_before_ms, from);
    clock_format(facts->not_after_ms, until);
    if (!as_json) {
        printf("opened: %s, thumbprint %s, valid until %s\n", facts->subject, facts->thumbprint,
               until);
        return true;
    }
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_bool(json, "opened", true);
    json_put_text(json, "delivery", parcel->id[0] != '\0' ? parcel->id : NULL);
    json_put_text(json, "format", format_name(parcel->format));
    json_put_text(json, "subject", facts->subject);
    json_put_text(json, "thumbprint", facts->thumbprint);
    json_put_text(json, "startDateTime", from);
    json_put_text(json, "expirationDateTime", until);
    json_put_text(json, "keyType", facts->key_type);
    json_put_integer(json, "keyBits", facts->key_bits);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

bool device_open_run(const struct invocation *invocation, struct error *err)
{
    struct parcel parcel = {.payload = BUF_INIT(RESULT_PAYLOAD_MAX),
                            .der = BUF_INIT(CMS_DER_MAX),
                            .pfx = BUF_INIT(RECORD_BLOB_MAX)};
    struct secret *password = NULL;
    struct pfx_facts facts;
    bool ok = false;
    const char *folder = invocation_option(invocation, "device");
    const char *path = invocation_option(invocation, "delivery");
    const char *out = invocation_option(invocation, "out-password");
    const char *pfx_path = invocation_option(invocation, "pfx");
    if (folder == NULL || path == NULL) {
        error_set(err, FAIL_USAGE, "--%s is missing", folder == NULL ? "device" : "delivery");
        return error_hint(err, "see: reseal device open --help");
    }
    if (!read_parcel(path, &parcel, err))
        goto done;
    bool inside = parcel.format != FORMAT_CMS; /* the PFX comes out of the payload */
    if ((!inside && !choose_pfx(path, pfx_path, &parcel, err)) ||
        !open_password(folder, &parcel, &password, err) ||
        (inside && !choose_pfx(path, pfx_path, &parcel, err)))
        goto done;
    if (out != NULL && !file_write(out, 0600, FILE_NEW, secret_bytes(password), err))
        goto done;
    if (!pfx_open(buf_bytes(&parcel.pfx), password, &facts, err)) {
        error_context(err, "the CMS message opens, but what is in it does not fit");
        goto done;
    }
    ok = print_opened(&parcel, &facts, invocation_json(invocation), err);
done:
    secret_free(&password);
    buf_free(&parcel.payload);
    buf_free(&parcel.der);
    buf_free(&parcel.pfx);
    return ok;
}
