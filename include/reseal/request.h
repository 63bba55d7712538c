/* SPDX-License-Identifier: Apache-2.0 */
/* The request message, "reseal.request.v1": CloudEvents 1.0 JSON (structured mode). */
#ifndef RESEAL_REQUEST_H
#define RESEAL_REQUEST_H

#include "reseal/record.h"

#define MESSAGE_MAX            (256 * 1024) /* bytes of one queue message */
#define MESSAGE_ID_MAX         64
#define MESSAGE_SOURCE_MAX     256
#define DEVICE_ID_MAX          128
#define DEVICE_CERTIFICATE_MAX 8192 /* bytes of DER */

enum format {
    FORMAT_CMS,
    FORMAT_WINDOWS_CSP,
    FORMAT_APPLE_PROFILE,
};
#define FORMAT_COUNT 3
bool format_parse(const char *name, enum format *out, struct error *err) MUST_USE;
const char *format_name(enum format format) MUST_USE;

enum platform {
    PLATFORM_OTHER,
    PLATFORM_WINDOWS,
    PLATFORM_IOS,
    PLATFORM_MACOS,
    PLATFORM_ANDROID,
};
bool platform_parse(const char *name, enum platform *out, struct error *err) MUST_USE;
const char *platform_name(enum platform platform) MUST_USE;

struct request {
    char id[MESSAGE_ID_MAX + 1];
    char source[MESSAGE_SOURCE_MAX + 1]; /* source + id is the idempotency key */
    int64_t time_ms;
    char key_name[RECORD_NAME_MAX + 1];
    char provider_name[RECORD_NAME_MAX + 1];
    enum padding padding;
    struct buf sealed; /* encryptedPfxPassword, decoded; owned */
    struct buf pfx;    /* encryptedPfxBlob, decoded; owned */
    char thumbprint[RECORD_THUMBPRINT];
    char user_principal_name[RECORD_UPN_MAX + 1];
    enum purpose purpose;
    char device_id[DEVICE_ID_MAX + 1];
    enum platform platform;
    struct buf device_certificate; /* DER; owned */
    enum format format;
    int64_t expires_ms;
};

void request_init(struct request *request);
void request_free(struct request *request);

/*
 * Reads a message. FAIL_INPUT or FAIL_TOO_LARGE: not JSON or not the schema (result 4001 or 4002);
 * FAIL_POLICY: a padding scheme that is refused. *addressed is set as soon as source and id are
 * known, also when the rest fails, so that a refusal can be answered to its sender.
 */
bool request_read(const void *text, size_t len, struct request *request, bool *addressed,
                  struct error *err) MUST_USE;
bool request_write(const struct request *request, struct buf *out, struct error *err) MUST_USE;

#endif
