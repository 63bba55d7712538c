/* SPDX-License-Identifier: Apache-2.0 */
#include "message_attributes.h"

#include <string.h>
#include <strings.h>
#include <openssl/evp.h>
#include "reseal/text.h"
#include "reseal/xml_text.h"

#define TRACE_HEADER     "AWSTraceHeader"
#define DIGITS_MAX       38 /* of a Number */
#define TRANSPORT_TEXT   1
#define TRANSPORT_BINARY 2

/* -- reading -- */

/* One attribute of the JSON, or of the packed form. */
struct item {
    const char *name;
    const char *type;
    uint8_t transport;
    const char *text; /* of the value, base64 where it is binary */
    size_t text_len;
};

static bool name_valid(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len <= ATTRIBUTE_NAME_LEN_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") ==
               len &&
           name[0] != '.' && name[len - 1] != '.' && strstr(name, "..") == NULL &&
           strncasecmp(name, "AWS.", 4) != 0 && strncasecmp(name, "Amazon.", 7) != 0;
}

/* "String", "Number" or "Binary", perhaps with ".anything" behind it; 0 where it is none. */
static uint8_t transport_of(const char *type)
{
    static const struct {
        const char *name;
        uint8_t transport;
    } rows[] = {
        {"String", TRANSPORT_TEXT}, {"Number", TRANSPORT_TEXT}, {"Binary", TRANSPORT_BINARY}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t len = strlen(rows[i].name);
        if (strncmp(type, rows[i].name, len) == 0 && (type[len] == '\0' || type[len] == '.'))
            return rows[i].transport;
    }
    return 0;
}

static size_t digits_at(const char **at)
{
    size_t count = strspn(*at, "0123456789");
    *at += count;
    return count;
}

/* A decimal number of up to 38 digits, perhaps with an exponent. */
static bool number_valid(const char *text)
{
    const char *at = text;
    if (*at == '-' || *at == '+')
        at++;
    size_t digits = digits_at(&at);
    if (*at == '.') {
        at++;
        digits += digits_at(&at);
    }
    if (digits == 0 || digits > DIGITS_MAX)
        return false;
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '-' || *at == '+')
            at++;
        size_t exponent = digits_at(&at);
        if (exponent == 0 || exponent > 3)
            return false;
    }
    return *at == '\0';
}

static bool refuse(struct error *err, const char *name, const char *why)
{
    return error_set(err, FAIL_INPUT, "the message attribute \"%.256s\" %s", name, why);
}

static bool read_item(const char *name, const struct json_value *value, struct item *out,
                      struct error *err)
{
    size_t type_len = 0;
    const char *type = json_text(json_get(value, "DataType"), &type_len);
    *out = (struct item){.name = name, .type = type};
    if (!name_valid(name))
        return refuse(err, name,
                      "has no valid name: up to 256 letters, digits, '-', '_' and single '.', not "
                      "beginning with AWS. or Amazon.");
    out->transport = type != NULL ? transport_of(type) : 0;
    if (out->transport == 0 || type_len > ATTRIBUTE_NAME_LEN_MAX || !xml_legal(type, type_len))
        return refuse(err, name, "must have a DataType of String, Number or Binary");
    bool binary = out->transport == TRANSPORT_BINARY;
    const struct json_value *text = json_get(value, binary ? "BinaryValue" : "StringValue");
    out->text =
        text != NULL && json_type(text) == JSON_STRING ? json_text(text, &out->text_len) : NULL;
    if (out->text == NULL || out->text_len == 0)
        return refuse(err, name, binary ? "needs a BinaryValue" : "needs a StringValue");
    if (!binary && !xml_legal(out->text, out->text_len))
        return refuse(err, name, "has characters that XML 1.0 does not allow");
    if (strncmp(type, "Number", 6) == 0 && !number_valid(out->text))
        return refuse(err, name, "is no decimal number of up to 38 digits");
    return true;
}

/* Puts the items in the order of their names. */
static void sort(struct item *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct item item = items[i];
        size_t place = i;
        for (; place > 0 && strcmp(items[place - 1].name, item.name) > 0; place--)
            items[place] = items[place - 1];
        items[place] = item;
    }
}

static bool pack(const struct item *item, struct buf *packed, size_t *size, struct error *err)
{
    struct buf binary = BUF_INIT(MESSAGE_SIZE_LIMIT);
    struct bytes value = {(const uint8_t *)item->text, item->text_len};
    if (item->transport == TRANSPORT_BINARY) {
        if (!base64_decode(&binary, item->text, item->text_len, "BinaryValue", err)) {
            buf_free(&binary);
            return refuse(err, item->name, "has a BinaryValue that is no base64");
        }
        value = buf_bytes(&binary);
    }
    buf_put_text_block(packed, item->name);
    buf_put_text_block(packed, item->type);
    buf_put_u8(packed, item->transport);
    buf_put_block(packed, value.data, value.len);
    *size += strlen(item->name) + strlen(item->type) + value.len;
    buf_free(&binary);
    return true;
}

/* The trace header, or "". Other system attributes there are none that a sender may give. */
static bool read_system(const struct json_value *message, const char **trace, struct error *err)
{
    const struct json_value *object = json_get(message, "MessageSystemAttributes");
    struct item item;
    *trace = "";
    if (object == NULL || json_type(object) == JSON_NULL)
        return true;
    if (json_type(object) != JSON_OBJECT)
        return error_set(err, FAIL_INPUT, "MessageSystemAttributes must be an object");
    for (size_t i = 0; i < json_count(object); i++) {
        const char *name = json_key_at(object, i);
        if (strcmp(name, TRACE_HEADER) != 0)
            return refuse(err, name, "is no system attribute: " TRACE_HEADER " is the only one");
        if (!read_item(name, json_at(object, i), &item, err))
            return false;
        if (strcmp(item.type, "String") != 0)
            return refuse(err, name, "must be of type String");
        *trace = item.text;
    }
    return true;
}

bool message_attributes_read(const struct json_value *message, struct buf *packed, size_t *size,
                             struct error *err)
{
    const struct json_value *object = json_get(message, "MessageAttributes");
    struct item items[MESSAGE_ATTRIBUTES_MAX];
    const char *trace;
    size_t count = json_count(object);
    *size = 0;
    *packed = (struct buf)BUF_INIT(2 * MESSAGE_SIZE_LIMIT);
    if (object != NULL && json_type(object) != JSON_NULL && json_type(object) != JSON_OBJECT)
        return error_set(err, FAIL_INPUT, "MessageAttributes must be an object");
    if (count > MESSAGE_ATTRIBUTES_MAX)
        return error_set(err, FAIL_INPUT, "the message has %zu attributes, the bound is %d", count,
                         MESSAGE_ATTRIBUTES_MAX);
    if (!read_system(message, &trace, err))
        return false;
    if (count == 0 && trace[0] == '\0')
        return true;
    for (size_t i = 0; i < count; i++) {
        if (!read_item(json_key_at(object, i), json_at(object, i), &items[i], err))
            return false;
    }
    sort(items, count);
    buf_put_text_block(packed, trace);
    for (size_t i = 0; i < count; i++) {
        if (!pack(&items[i], packed, size, err))
            return false;
    }
    return buf_check(packed, "the message's attributes", err);
}

/* -- what was packed -- */

struct attribute {
    struct bytes name, type, value, whole; /* whole: all of it, as it is digested */
    uint8_t transport;
};

static bool next_attribute(struct cursor *cursor, struct attribute *out)
{
    const uint8_t *begin = cursor->at;
    if (!cursor_block(cursor, ATTRIBUTE_NAME_LEN_MAX, &out->name) ||
        !cursor_block(cursor, ATTRIBUTE_NAME_LEN_MAX, &out->type) ||
        !cursor_u8(cursor, &out->transport) ||
        !cursor_block(cursor, MESSAGE_SIZE_LIMIT, &out->value))
        return false;
    out->whole = (struct bytes){begin, (size_t)(cursor->at - begin)};
    return true;
}

struct bytes message_trace_header(struct bytes packed)
{
    struct cursor cursor = cursor_over(packed);
    struct bytes trace;
    return cursor_block(&cursor, MESSAGE_SIZE_LIMIT, &trace) ? trace : (struct bytes){NULL, 0};
}

/* What the digest of the trace header is made over. */
static bool digest_trace(struct bytes trace, const EVP_MD *md5, uint8_t out[static MD5_BYTES])
{
    struct buf text = BUF_INIT(trace.len + 64);
    buf_put_text_block(&text, TRACE_HEADER);
    buf_put_text_block(&text, "String");
    buf_put_u8(&text, TRANSPORT_TEXT);
    buf_put_block(&text, trace.data, trace.len);
    bool ok = !text.failed && EVP_Digest(text.data, text.len, out, NULL, md5, NULL) == 1;
    buf_free(&text);
    return ok;
}

bool message_attributes_digest(struct bytes packed, const EVP_MD *md5,
                               struct attribute_digests *out)
{
    struct cursor cursor = cursor_over(packed);
    struct bytes trace;
    *out = (struct attribute_digests){.has_attributes = false};
    if (packed.len == 0)
        return true;
    if (!cursor_block(&cursor, MESSAGE_SIZE_LIMIT, &trace))
        return false;
    out->has_system = trace.len > 0;
    out->has_attributes = cursor.left > 0;
    return (!out->has_system || digest_trace(trace, md5, out->system)) &&
           (!out->has_attributes ||
            EVP_Digest(cursor.at, cursor.left, out->attributes, NULL, md5, NULL) == 1);
}

static bool begins_with(struct bytes name, const char *text, size_t len)
{
    return name.len >= len && memcmp(name.data, text, len) == 0;
}

static bool is_wanted(struct bytes name, const struct json_value *names)
{
    for (size_t i = 0; i < json_count(names); i++) {
        size_t len = 0;
        const char *wanted = json_text(json_at(names, i), &len);
        if (wanted == NULL)
            continue;
        if (strcmp(wanted, "All") == 0)
            return true;
        if (len >= 2 && strcmp(wanted + len - 2, ".*") == 0 && begins_with(name, wanted, len - 2))
            return true;
        if (name.len == len && begins_with(name, wanted, len))
            return true;
    }
    return false;
}

static void put_attribute(struct json_writer *json, const struct attribute *attribute)
{
    char name[ATTRIBUTE_NAME_LEN_MAX + 1];
    memcpy(name, attribute->name.data, attribute->name.len);
    name[attribute->name.len] = '\0';
    json_object(json, name);
    json_put_text_len(json, "DataType", (const char *)attribute->type.data, attribute->type.len);
    if (attribute->transport == TRANSPORT_BINARY)
        json_put_base64(json, "BinaryValue", attribute->value.data, attribute->value.len);
    else
        json_put_text_len(json, "StringValue", (const char *)attribute->value.data,
                          attribute->value.len);
    json_object_end(json);
}

bool message_attributes_write(struct bytes packed, const struct json_value *names,
                              const EVP_MD *md5, struct json_writer *json)
{
    struct cursor cursor = cursor_over(packed);
    struct attribute attribute;
    struct bytes trace;
    uint8_t digest[MD5_BYTES];
    char hex[2 * MD5_BYTES + 1];
    size_t count = 0;
    if (packed.len == 0 || json_count(names) == 0 ||
        !cursor_block(&cursor, MESSAGE_SIZE_LIMIT, &trace))
        return true;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context != NULL && EVP_DigestInit_ex2(context, md5, NULL) == 1;
    while (ok && next_attribute(&cursor, &attribute)) {
        if (!is_wanted(attribute.name, names))
            continue;
        if (count++ == 0)
            json_object(json, "MessageAttributes");
        put_attribute(json, &attribute);
        ok = EVP_DigestUpdate(context, attribute.whole.data, attribute.whole.len) == 1;
    }
    if (count > 0) {
        json_object_end(json);
        ok = ok && EVP_DigestFinal_ex(context, digest, NULL) == 1;
        hex_encode(hex, digest, sizeof digest);
        json_put_text(json, "MD5OfMessageAttributes", hex);
    }
    EVP_MD_CTX_free(context);
    return ok;
}
