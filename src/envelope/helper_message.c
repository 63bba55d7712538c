/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/helper_message.h"

#include <string.h>
#include "reseal/text.h"

#define PROTOCOL_VERSION 4

static bool malformed(const char *what, struct error *err)
{
    return error_set(err, FAIL_INPUT, "the other process sent a malformed %s message", what);
}

static bool cursor_bool(struct cursor *cursor, bool *out)
{
    uint8_t raw;
    if (!cursor_u8(cursor, &raw) || raw > 1)
        return false;
    *out = raw == 1;
    return true;
}

/* Attributes travel as 0, 1 and 2 for "not told". */
static bool cursor_attribute(struct cursor *cursor, signed char *out)
{
    uint8_t raw;
    if (!cursor_u8(cursor, &raw) || raw > 2)
        return false;
    *out = raw == 2 ? -1 : (signed char)raw;
    return true;
}

static bool cursor_padding(struct cursor *cursor, enum padding *out)
{
    uint8_t raw;
    if (!cursor_u8(cursor, &raw) || !padding_valid(raw))
        return false;
    *out = (enum padding)raw;
    return true;
}

static bool cursor_custody(struct cursor *cursor, enum custody *out)
{
    uint8_t raw;
    if (!cursor_u8(cursor, &raw) || raw > CUSTODY_TOKEN)
        return false;
    *out = (enum custody)raw;
    return true;
}

/* Text for people: must be UTF-8, or it could not be shown. */
static bool cursor_words(struct cursor *cursor, char *out, size_t size)
{
    return cursor_text(cursor, out, size) && utf8_is_strict(out, strlen(out));
}

static void put_error(struct buf *out, const struct error *error)
{
    buf_put_u8(out, (uint8_t)error->kind);
    buf_put_text_block(out, error->text);
    buf_put_text_block(out, error->hint);
}

static bool take_error(struct cursor *cursor, struct error *out)
{
    uint8_t kind;
    if (!cursor_u8(cursor, &kind) || kind > FAIL_REMOTE ||
        !cursor_words(cursor, out->text, sizeof out->text) ||
        !cursor_words(cursor, out->hint, sizeof out->hint))
        return false;
    out->kind = (enum failure)kind;
    return true;
}

static void put_token(struct buf *out, const struct token_facts *token)
{
    buf_put_text_block(out, token->label);
    buf_put_text_block(out, token->serial);
    buf_put_text_block(out, token->manufacturer);
    buf_put_text_block(out, token->model);
    buf_put_text_block(out, token->firmware);
    buf_put_text_block(out, token->library);
    buf_put_u64(out, token->slot);
}

static bool take_token(struct cursor *cursor, struct token_facts *out)
{
    uint64_t slot;
    if (!cursor_words(cursor, out->label, sizeof out->label) ||
        !cursor_words(cursor, out->serial, sizeof out->serial) ||
        !cursor_words(cursor, out->manufacturer, sizeof out->manufacturer) ||
        !cursor_words(cursor, out->model, sizeof out->model) ||
        !cursor_words(cursor, out->firmware, sizeof out->firmware) ||
        !cursor_words(cursor, out->library, sizeof out->library) || !cursor_u64(cursor, &slot))
        return false;
    out->slot = (unsigned long)slot;
    return true;
}

static void put_attribute(struct buf *out, signed char value)
{
    buf_put_u8(out, value < 0 ? 2 : (uint8_t)value);
}

static void put_form(struct buf *out, const struct form_finding *form)
{
    buf_put_u8(out, (uint8_t)form->custody);
    buf_put_text_block(out, form->call);
    buf_put_text_block(out, form->ck_rv);
}

static bool take_form(struct cursor *cursor, struct form_finding *out)
{
    return cursor_custody(cursor, &out->custody) &&
           cursor_words(cursor, out->call, sizeof out->call) &&
           cursor_words(cursor, out->ck_rv, sizeof out->ck_rv);
}

static void put_key(struct buf *out, const struct key_finding *key)
{
    const struct key_attributes *a = &key->attributes;
    const signed char attributes[] = {
        a->sensitive, a->always_sensitive, a->extractable, a->never_extractable,
        a->local,     a->unwrap,           a->decrypt,     a->sign};
    buf_put_text_block(out, key->name);
    buf_put_text_block(out, key->id);
    buf_put_u32(out, (uint32_t)key->bits);
    buf_put_text_block(out, key->fingerprint);
    for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
        put_attribute(out, attributes[i]);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        const struct padding_finding *finding = &key->paddings[i];
        buf_put_u8(out, (uint8_t)finding->padding);
        buf_put_u8(out, (uint8_t)finding->custody);
        buf_put_text_block(out, finding->call);
        buf_put_text_block(out, finding->ck_rv);
        buf_put_text_block(out, finding->quirk);
        buf_put_text_block(out, finding->advice);
        buf_put_u32(out, finding->affixes);
        for (size_t j = 0; j < CMS_FORM_COUNT; j++)
            put_form(out, &finding->forms[j]);
        put_form(out, &finding->others);
    }
}

static bool take_padding(struct cursor *cursor, struct padding_finding *out)
{
    if (!cursor_padding(cursor, &out->padding) || !cursor_custody(cursor, &out->custody) ||
        !cursor_words(cursor, out->call, sizeof out->call) ||
        !cursor_words(cursor, out->ck_rv, sizeof out->ck_rv) ||
        !cursor_words(cursor, out->quirk, sizeof out->quirk) ||
        !cursor_words(cursor, out->advice, sizeof out->advice) ||
        !cursor_u32(cursor, &out->affixes))
        return false;
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        if (!take_form(cursor, &out->forms[i]))
            return false;
    }
    return take_form(cursor, &out->others);
}

static bool take_key(struct cursor *cursor, struct key_finding *out)
{
    struct key_attributes *a = &out->attributes;
    signed char *const attributes[] = {
        &a->sensitive, &a->always_sensitive, &a->extractable, &a->never_extractable,
        &a->local,     &a->unwrap,           &a->decrypt,     &a->sign};
    uint32_t bits;
    if (!cursor_words(cursor, out->name, sizeof out->name) ||
        !cursor_words(cursor, out->id, sizeof out->id) || !cursor_u32(cursor, &bits) ||
        bits > 65536 || !cursor_words(cursor, out->fingerprint, sizeof out->fingerprint))
        return false;
    out->bits = (int)bits;
    for (size_t i = 0; i < ARRAY_LEN(attributes); i++) {
        if (!cursor_attribute(cursor, attributes[i]))
            return false;
    }
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        if (!take_padding(cursor, &out->paddings[i]))
            return false;
    }
    return true;
}

bool hello_encode(const struct hello_message *message, struct buf *out, struct error *err)
{
    buf_put_u8(out, PROTOCOL_VERSION);
    buf_put_u8(out, message->ready);
    put_error(out, &message->error);
    buf_put_u16(out, (uint16_t)message->sessions);
    put_token(out, &message->report.token);
    buf_put_u8(out, (uint8_t)message->report.key_count);
    for (size_t i = 0; i < message->report.key_count; i++)
        put_key(out, &message->report.keys[i]);
    return buf_check(out, "a HELLO message", err);
}

bool hello_decode(struct bytes body, struct hello_message *out, struct error *err)
{
    struct cursor cursor = cursor_over(body);
    uint8_t version, count;
    uint16_t sessions;
    memset(out, 0, sizeof *out);
    if (!cursor_u8(&cursor, &version))
        return malformed("HELLO", err);
    if (version != PROTOCOL_VERSION) {
        error_set(err, FAIL_INPUT, "the token helper speaks protocol %u, this program %u", version,
                  PROTOCOL_VERSION);
        return error_hint(err, "reseald and reseal-hsm must be of one version");
    }
    if (!cursor_bool(&cursor, &out->ready) || !take_error(&cursor, &out->error) ||
        !cursor_u16(&cursor, &sessions) || !take_token(&cursor, &out->report.token) ||
        !cursor_u8(&cursor, &count) || count > PROBE_KEYS_MAX)
        return malformed("HELLO", err);
    out->sessions = sessions;
    out->report.key_count = count;
    for (size_t i = 0; i < count; i++) {
        if (!take_key(&cursor, &out->report.keys[i]))
            return malformed("HELLO", err);
    }
    if (cursor.left != 0 || (out->ready && (sessions == 0 || sessions > 1024)))
        return malformed("HELLO", err);
    return true;
}

bool reseal_encode(const struct reseal_message *message, struct buf *out, struct error *err)
{
    buf_put_text_block(out, message->key_name);
    buf_put_u8(out, (uint8_t)message->padding);
    buf_put_u8(out, (uint8_t)message->transport);
    buf_put_block(out, message->sealed.data, message->sealed.len);
    buf_put_block(out, message->prefix.data, message->prefix.len);
    buf_put_block(out, message->suffix.data, message->suffix.len);
    buf_put_u8(out, message->in_cdata);
    buf_put_block(out, message->device_certificate.data, message->device_certificate.len);
    return buf_check(out, "a RESEAL message", err);
}

bool reseal_decode(struct bytes body, struct reseal_message *out, struct error *err)
{
    struct cursor cursor = cursor_over(body);
    uint8_t transport, in_cdata;
    memset(out, 0, sizeof *out);
    if (!cursor_words(&cursor, out->key_name, sizeof out->key_name) ||
        !cursor_padding(&cursor, &out->padding) || !cursor_u8(&cursor, &transport) ||
        transport > KEY_TRANSPORT_OAEP_SHA256 ||
        !cursor_block(&cursor, RECORD_SEALED_MAX, &out->sealed) ||
        !cursor_block(&cursor, HELPER_AFFIX_MAX, &out->prefix) ||
        !cursor_block(&cursor, HELPER_AFFIX_MAX, &out->suffix) || !cursor_u8(&cursor, &in_cdata) ||
        in_cdata > 1 || !cursor_block(&cursor, DEVICE_CERTIFICATE_MAX, &out->device_certificate) ||
        cursor.left != 0)
        return malformed("RESEAL", err);
    out->transport = (enum key_transport)transport;
    out->in_cdata = in_cdata == 1;
    return true;
}

bool resealed_encode(const struct resealed_message *message, struct buf *out, struct error *err)
{
    buf_put_u8(out, (uint8_t)message->custody);
    buf_put_block(out, message->der.data, message->der.len);
    return buf_check(out, "a RESEALED message", err);
}

bool resealed_decode(struct bytes body, struct resealed_message *out, struct error *err)
{
    struct cursor cursor = cursor_over(body);
    memset(out, 0, sizeof *out);
    if (!cursor_custody(&cursor, &out->custody) || out->custody == CUSTODY_UNUSABLE ||
        !cursor_block(&cursor, CMS_DER_MAX, &out->der) || out->der.len == 0 || cursor.left != 0)
        return malformed("RESEALED", err);
    return true;
}

bool rotate_encode(const struct rotate_message *message, struct buf *out, struct error *err)
{
    buf_put_text_block(out, message->key_name);
    buf_put_text_block(out, message->new_key_name);
    buf_put_u8(out, (uint8_t)message->padding);
    buf_put_u8(out, (uint8_t)message->new_padding);
    buf_put_block(out, message->sealed.data, message->sealed.len);
    return buf_check(out, "a ROTATE message", err);
}

bool rotate_decode(struct bytes body, struct rotate_message *out, struct error *err)
{
    struct cursor cursor = cursor_over(body);
    memset(out, 0, sizeof *out);
    if (!cursor_words(&cursor, out->key_name, sizeof out->key_name) ||
        !cursor_words(&cursor, out->new_key_name, sizeof out->new_key_name) ||
        !cursor_padding(&cursor, &out->padding) || !cursor_padding(&cursor, &out->new_padding) ||
        !cursor_block(&cursor, RECORD_SEALED_MAX, &out->sealed) || cursor.left != 0)
        return malformed("ROTATE", err);
    return true;
}

bool rotated_encode(const struct rotated_message *message, struct buf *out, struct error *err)
{
    buf_put_u8(out, (uint8_t)message->custody);
    buf_put_block(out, message->sealed.data, message->sealed.len);
    return buf_check(out, "a ROTATED message", err);
}

bool rotated_decode(struct bytes body, struct rotated_message *out, struct error *err)
{
    struct cursor cursor = cursor_over(body);
    memset(out, 0, sizeof *out);
    if (!cursor_custody(&cursor, &out->custody) || out->custody == CUSTODY_UNUSABLE ||
        !cursor_block(&cursor, RECORD_SEALED_MAX, &out->sealed) || out->sealed.len == 0 ||
        cursor.left != 0)
        return malformed("ROTATED", err);
    return true;
}

bool failed_encode(const struct error *failure, struct buf *out, struct error *err)
{
    put_error(out, failure);
    return buf_check(out, "a FAILED message", err);
}

bool failed_decode(struct bytes body, struct error *out, struct error *err)
{
    struct cursor cursor = cursor_over(body);
    memset(out, 0, sizeof *out);
    if (!take_error(&cursor, out) || out->kind == FAIL_NONE || cursor.left != 0)
        return malformed("FAILED", err);
    return true;
}

bool status_encode(const struct status_message *message, struct buf *out, struct error *err)
{
    buf_put_u64(out, message->done);
    buf_put_u64(out, message->failed);
    buf_put_u64(out, message->busy);
    buf_put_u64(out, message->token_cpu_us);
    buf_put_u64(out, message->resident_kib);
    return buf_check(out, "a STATUS message", err);
}

bool status_decode(struct bytes body, struct status_message *out, struct error *err)
{
    struct cursor cursor = cursor_over(body);
    memset(out, 0, sizeof *out);
    if (!cursor_u64(&cursor, &out->done) || !cursor_u64(&cursor, &out->failed) ||
        !cursor_u64(&cursor, &out->busy) || !cursor_u64(&cursor, &out->token_cpu_us) ||
        !cursor_u64(&cursor, &out->resident_kib) || cursor.left != 0)
        return malformed("STATUS", err);
    return true;
}

bool login_encode(const struct login_message *message, struct buf *out, struct error *err)
{
    buf_put_u8(out, (uint8_t)message->rule);
    put_error(out, &message->why);
    return buf_check(out, "a LOGIN message", err);
}

bool login_decode(struct bytes body, struct login_message *out, struct error *err)
{
    struct cursor cursor = cursor_over(body);
    uint8_t rule;
    memset(out, 0, sizeof *out);
    if (!cursor_u8(&cursor, &rule) || rule > LOGIN_NEVER || !take_error(&cursor, &out->why) ||
        cursor.left != 0)
        return malformed("LOGIN", err);
    out->rule = (enum login_rule)rule;
    return true;
}
