/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What reaches the hub before it knows who speaks, and what it reads beyond JSON. The first byte
 * chooses:
 *
 *   - a request whose headers are the lines of the input, its body what follows the empty line: no
 *     signature is accepted that was not made with the key, and what the headers alone refuse stays
 *     refused;
 *   - a query: what is decoded is strict UTF-8 without control characters, and its filters are
 * read;
 *   - message attributes: what was taken is digested and written as JSON.
 */
#include <openssl/evp.h>
#include <unistd.h>
#include "fuzz.h"
#include "reseal/json.h"
#include "reseal/secret.h"
#include "src/hub/message_attributes.h"
#include "src/hub/odata_filter.h"
#include "src/hub/sigv4.h"
#include "src/hub/uri.h"

#define NOW_MS     1795453233000 /* 2026-11-23T17:00:33Z */
#define INPUT_MAX  8192
#define HEADER_MAX 32

static struct credentials *credentials;
static struct sigv4 *verifier;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char keys[] =
        "[default]\naws_access_key_id = AKFUZZ\naws_secret_access_key = as secret as can be\n";
    char path[] = "/tmp/reseal-fuzz-XXXXXX";
    struct error err = ERROR_INIT;
    (void)argc;
    (void)argv;
    int fd = mkstemp(path);
    FUZZ_CHECK(fd >= 0 && write(fd, keys, sizeof keys - 1) == (ssize_t)sizeof keys - 1);
    close(fd);
    FUZZ_OK(secret_heap_open(1 << 20, &err) && credentials_load(path, &credentials, &err) &&
                sigv4_open(credentials, &verifier, &err),
            &err);
    unlink(path);
    return 0;
}

/* -- signatures -- */

struct headers {
    const char *names[HEADER_MAX], *values[HEADER_MAX];
    size_t count;
};

static const char *find_header(const void *context, const char *name)
{
    const struct headers *headers = context;
    for (size_t i = 0; i < headers->count; i++) {
        if (strcmp(headers->names[i], name) == 0)
            return headers->values[i];
    }
    return NULL;
}

/* Takes "name:value" lines up to an empty one; *text is then what follows. */
static void take_headers(char **text, struct headers *out)
{
    out->count = 0;
    while (**text != '\0' && **text != '\n' && out->count < HEADER_MAX) {
        char *line = *text, *end = strchr(line, '\n');
        *text = end != NULL ? end + 1 : line + strlen(line);
        if (end != NULL)
            *end = '\0';
        char *colon = strchr(line, ':');
        if (colon == NULL)
            continue;
        *colon = '\0';
        out->names[out->count] = line;
        out->values[out->count++] = colon + 1;
    }
    if (**text == '\n')
        ++*text;
}

static void try_signature(char *text)
{
    struct headers headers;
    struct error err = ERROR_INIT, second = ERROR_INIT;
    struct sigv4_signer signer, again;
    take_headers(&text, &headers);
    const struct sigv4_request request = {.method = "POST",
                                          .path = "/",
                                          .query = "",
                                          .header = find_header,
                                          .context = &headers,
                                          .body = {(const uint8_t *)text, strlen(text)},
                                          .now_ms = NOW_MS};
    enum sigv4_verdict verdict = sigv4_check_headers(verifier, &request, &signer, &err);
    enum sigv4_verdict whole = sigv4_verify(verifier, &request, &again, &second);
    FUZZ_CHECK(whole != SIGV4_GOOD && whole != SIGV4_FAULT);
    FUZZ_CHECK(verdict == SIGV4_GOOD ? whole == SIGV4_MISMATCH || whole == SIGV4_INCOMPLETE
                                     : whole == verdict);
    FUZZ_CHECK(second.text[0] != '\0' && utf8_is_strict(second.text, strlen(second.text)));
}

/* -- queries -- */

static void try_query(const char *query)
{
    struct uri_parameter parameter;
    struct record_filter filter;
    struct error err = ERROR_INIT;
    const char *end = query + strlen(query);
    while (uri_next_parameter(&query, &parameter)) {
        char value[512];
        FUZZ_CHECK((const char *)parameter.whole.data + parameter.whole.len <= end);
        if (!uri_decode(URI_QUERY, (const char *)parameter.value.data, parameter.value.len, value,
                        sizeof value))
            continue;
        FUZZ_CHECK(utf8_is_strict(value, strlen(value)));
        for (const char *at = value; *at != '\0'; at++)
            FUZZ_CHECK((unsigned char)*at >= 0x20 && *at != 0x7f);
        if (record_filter_parse(value, &filter, &err))
            FUZZ_CHECK(filter.has_upn || filter.has_thumbprint);
        else
            FUZZ_CHECK(err.kind == FAIL_INPUT && err.text[0] != '\0');
    }
}

/* -- message attributes -- */

static void check_written(struct bytes packed)
{
    static const struct json_limits limits = {.bytes = 1 << 20, .string = 1 << 18, .values = 500};
    static const char all[] = "[\"All\"]";
    struct attribute_digests digests;
    struct error err = ERROR_INIT;
    struct json_writer *writer = NULL;
    struct json *names = NULL, *again = NULL;
    struct buf text = BUF_INIT(1 << 20);
    FUZZ_CHECK(message_attributes_digest(packed, EVP_md5(), &digests));
    FUZZ_OK(json_parse(all, sizeof all - 1, &limits, "names", &names, &err) &&
                json_writer_new(false, &writer, &err),
            &err);
    json_object(writer, NULL);
    FUZZ_CHECK(message_attributes_write(packed, json_root(names), EVP_md5(), writer));
    json_object_end(writer);
    FUZZ_OK(json_finish(writer, &text, &err), &err);
    FUZZ_OK(json_parse(text.data, text.len, &limits, "attributes", &again, &err), &err);
    json_free(&names);
    json_free(&again);
    json_writer_free(&writer);
    buf_free(&text);
}

static void try_attributes(const char *text)
{
    static const struct json_limits limits = {.bytes = INPUT_MAX, .string = 4096, .values = 200};
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    struct buf packed = BUF_INIT(1 << 18);
    size_t size = 0;
    if (json_parse(text, strlen(text), &limits, "a message", &json, &err)) {
        if (json_type(json_root(json)) != JSON_OBJECT)
            ; /* refused before it comes to attributes */
        else if (message_attributes_read(json_root(json), &packed, &size, &err))
            check_written(buf_bytes(&packed));
        else
            FUZZ_CHECK(err.kind == FAIL_INPUT && err.text[0] != '\0');
    }
    json_free(&json);
    buf_free(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[INPUT_MAX];
    if (size < 1 || size >= sizeof text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 3) {
    case 0:
        try_signature(text);
        break;
    case 1:
        try_query(text);
        break;
    default:
        try_attributes(text);
        break;
    }
    return 0;
}
