/* SPDX-License-Identifier: Apache-2.0 */
#include "payload_read.h"

#include <string.h>
#include "reseal/text.h"
#include "reseal/xml.h"

/* A name and the value that follows it, as in property lists and in SyncML. */
struct wanted {
    const char *name;
    struct buf *value;
    bool found;
};
#define WANTED 2

struct pair_reader {
    const char *name_path;  /* of the element with a name */
    char before_name;       /* the name is what comes behind the last one of these; 0: all of it */
    const char *value_path; /* what the path of the element with its value begins with */
    struct wanted wanted[WANTED];
    struct wanted *next; /* its name was read last; or NULL */
    bool twice;
};

static struct wanted *wanted_by_name(struct pair_reader *reader, const char *text)
{
    const char *before = reader->before_name != '\0' ? strrchr(text, reader->before_name) : NULL;
    const char *name = before != NULL ? before + 1 : text;
    for (size_t i = 0; i < WANTED; i++) {
        if (reader->wanted[i].name != NULL && strcmp(reader->wanted[i].name, name) == 0)
            return &reader->wanted[i];
    }
    return NULL;
}

static void on_element(void *context, const char *path, const char *text, size_t len)
{
    struct pair_reader *reader = context;
    if (strcmp(path, reader->name_path) == 0) {
        reader->next = wanted_by_name(reader, text);
    } else if (reader->next != NULL &&
               strncmp(path, reader->value_path, strlen(reader->value_path)) == 0) {
        reader->twice = reader->twice || reader->next->found;
        reader->next->found = true;
        buf_put(reader->next->value, text, len);
        reader->next = NULL;
    }
}

static bool read_pairs(struct pair_reader *reader, struct bytes xml, enum xml_doctype doctype,
                       const char *what, struct error *err)
{
    if (!xml_read(xml, doctype, what, on_element, reader, err))
        return false;
    for (size_t i = 0; i < WANTED; i++) {
        const struct wanted *wanted = &reader->wanted[i];
        if (wanted->name != NULL && !wanted->found)
            return error_set(err, FAIL_INPUT, "%s has no %s", what, wanted->name);
        if (wanted->name != NULL && !buf_check(wanted->value, wanted->name, err))
            return false;
    }
    if (reader->twice)
        return error_set(err, FAIL_INPUT, "%s says something twice", what);
    return true;
}

/* Property lists may have their base64 in lines. */
static bool decode(struct buf *out, const struct buf *text, const char *what, struct error *err)
{
    struct buf plain = BUF_INIT(text->len + 1);
    for (size_t i = 0; i < text->len; i++) {
        if (strchr(" \t\r\n", text->data[i]) == NULL)
            buf_put_u8(&plain, text->data[i]);
    }
    bool ok = buf_check(&plain, what, err) &&
              base64_decode(out, buf_text(&plain), plain.len, what, err) &&
              buf_check(out, what, err);
    buf_free(&plain);
    return ok;
}

static bool take_profile(struct bytes payload, struct buf *der, struct error *err)
{
    struct buf text = BUF_INIT(payload.len + 1);
    struct pair_reader reader = {
        .name_path = "plist/dict/key",
        .value_path = "plist/dict/data",
        .wanted = {{"EncryptedPayloadContent", &text, false}, {NULL, NULL, false}},
    };
    bool ok = read_pairs(&reader, payload, XML_DOCTYPE, "the profile", err) &&
              decode(der, &text, "EncryptedPayloadContent", err);
    buf_free(&text);
    return ok;
}

static bool take_syncml(struct bytes payload, struct buf *der, struct buf *pfx, struct error *err)
{
    struct buf password = BUF_INIT(payload.len + 1), blob = BUF_INIT(payload.len + 1);
    struct pair_reader reader = {
        .name_path = "Atomic/Add/Item/Target/LocURI",
        .before_name = '/',
        .value_path = "Atomic/Add/Item/Data",
        .wanted = {{"PFXCertPassword", &password, false}, {"PFXCertBlob", &blob, false}},
    };
    bool ok = read_pairs(&reader, payload, XML_NO_DOCTYPE, "the SyncML", err) &&
              decode(der, &password, "PFXCertPassword", err) &&
              decode(pfx, &blob, "PFXCertBlob", err);
    buf_free(&password);
    buf_free(&blob);
    return ok;
}

enum format payload_guess_format(struct bytes payload)
{
    static const char mark[] = "\xef\xbb\xbf", atomic[] = "<Atomic>";
    if (payload.len >= strlen(mark) && memcmp(payload.data, mark, strlen(mark)) == 0)
        payload = (struct bytes){payload.data + strlen(mark), payload.len - strlen(mark)};
    while (payload.len > 0 && memchr(" \t\r\n", payload.data[0], 4) != NULL)
        payload = (struct bytes){payload.data + 1, payload.len - 1};
    if (payload.len >= strlen(atomic) && memcmp(payload.data, atomic, strlen(atomic)) == 0)
        return FORMAT_WINDOWS_CSP;
    return payload.len > 0 && payload.data[0] == '<' ? FORMAT_APPLE_PROFILE : FORMAT_CMS;
}

bool payload_take_apart(enum format format, struct bytes payload, struct buf *der, struct buf *pfx,
                        struct error *err)
{
    switch (format) {
    case FORMAT_CMS:
        buf_put(der, payload.data, payload.len);
        break;
    case FORMAT_APPLE_PROFILE:
        return take_profile(payload, der, err);
    case FORMAT_WINDOWS_CSP:
        return take_syncml(payload, der, pfx, err);
    }
    return buf_check(der, "the payload", err);
}

bool payload_take_password(enum format format, struct secret **content, struct buf *pfx,
                           struct error *err)
{
    if (format != FORMAT_APPLE_PROFILE)
        return true;
    struct bytes list = secret_bytes(*content);
    struct buf blob = BUF_INIT(list.len + 1), text = BUF_INIT(list.len + 1);
    struct secret *password = NULL;
    struct pair_reader reader = {
        .name_path = "plist/array/dict/key",
        .value_path = "plist/array/dict/",
        .wanted = {{"PayloadContent", &blob, false}, {"Password", &text, false}},
    };
    bool ok = read_pairs(&reader, list, XML_DOCTYPE, "the content of the profile", err) &&
              decode(pfx, &blob, "PayloadContent", err) &&
              secret_copy(text.data, text.len, &password, err);
    buf_free(&blob);
    buf_free(&text);
    if (ok) {
        secret_free(content);
        *content = password; /* transferred */
    }
    return ok;
}
