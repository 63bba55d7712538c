/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device is sent, and what is put around a password. The first byte chooses:
 *
 *   - a payload of any format, and the content of a profile's CMS: it comes apart, or the error can
 *     be shown; what came apart lies within what was read;
 *   - a password: where it is said to fit into a CDATA section, a reader of the profile finds
 *     exactly that password and the PFX, whatever it is.
 */
#include "fuzz.h"
#include "reseal/cms.h"
#include "reseal/helper_message.h"
#include "reseal/payload.h"
#include "reseal/xml_text.h"
#include "src/cli/payload_read.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err = ERROR_INIT;
    (void)argc;
    (void)argv;
    FUZZ_OK(secret_heap_open(1 << 20, &err), &err);
    return 0;
}

static void try_payload(enum format format, struct bytes payload)
{
    struct buf der = BUF_INIT(CMS_DER_MAX), pfx = BUF_INIT(RECORD_BLOB_MAX);
    struct error err = ERROR_INIT;
    (void)payload_guess_format(payload);
    if (!payload_take_apart(format, payload, &der, &pfx, &err))
        fuzz_check_error(&err);
    FUZZ_CHECK(der.len <= payload.len && pfx.len <= payload.len);
    buf_free(&der);
    buf_free(&pfx);
}

static void try_content(struct bytes content)
{
    struct buf pfx = BUF_INIT(RECORD_BLOB_MAX);
    struct secret *password = NULL;
    struct error err = ERROR_INIT;
    FUZZ_OK(secret_copy(content.data, content.len, &password, &err), &err);
    if (!payload_take_password(FORMAT_APPLE_PROFILE, &password, &pfx, &err))
        fuzz_check_error(&err);
    FUZZ_CHECK(secret_len(password) <= content.len && pfx.len <= content.len);
    secret_free(&password);
    buf_free(&pfx);
}

static void try_password(struct bytes password)
{
    static const char blob[] = "0 a PFX";
    const struct payload_options options = {.apple = {.identifier = "org.reseal.fuzz"}};
    struct buf prefix = BUF_INIT(HELPER_AFFIX_MAX), suffix = BUF_INIT(HELPER_AFFIX_MAX);
    struct buf pfx = BUF_INIT(RECORD_BLOB_MAX), whole = BUF_INIT(2 * HELPER_AFFIX_MAX);
    struct secret *content = NULL;
    struct request request;
    struct error err = ERROR_INIT;
    if (cdata_trouble(password) != NULL)
        return;
    request_init(&request);
    request.format = FORMAT_APPLE_PROFILE;
    memset(request.thumbprint, 'a', RECORD_THUMBPRINT - 1);
    buf_put(&request.pfx, blob, sizeof blob);
    FUZZ_OK(payload_around_password(&options, &request, &prefix, &suffix, &err), &err);
    buf_put(&whole, prefix.data, prefix.len);
    buf_put(&whole, password.data, password.len);
    buf_put(&whole, suffix.data, suffix.len);
    FUZZ_OK(secret_copy(whole.data, whole.len, &content, &err), &err);
    FUZZ_OK(payload_take_password(FORMAT_APPLE_PROFILE, &content, &pfx, &err), &err);
    FUZZ_CHECK(
        secret_len(content) == password.len &&
        (password.len == 0 || memcmp(secret_data(content), password.data, password.len) == 0));
    FUZZ_CHECK(pfx.len == sizeof blob && memcmp(pfx.data, blob, sizeof blob) == 0);
    secret_free(&content);
    request_free(&request);
    buf_free(&prefix);
    buf_free(&suffix);
    buf_free(&pfx);
    buf_free(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct bytes rest = {data + 1, size - 1};
    switch (data[0] % 4) {
    case 0:
        try_payload(FORMAT_APPLE_PROFILE, rest);
        break;
    case 1:
        try_payload(FORMAT_WINDOWS_CSP, rest);
        break;
    case 2:
        try_content(rest);
        break;
    default:
        try_password(rest);
    }
    return 0;
}
