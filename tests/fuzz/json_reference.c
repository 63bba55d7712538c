/* SPDX-License-Identifier: Apache-2.0 */
#include "json_reference.h"
#include "fuzz.h"

#define TEXT_MAX 65536

struct reference {
    const uint8_t *at, *end;
    const struct json_limits *limits;
    size_t depth, values;
    bool compare; /* the tree of the other reader is at hand */
};

static bool read_value(struct reference *in, const struct json_value *value);

static bool next_is(const struct reference *in, char c)
{
    return in->at < in->end && *in->at == (uint8_t)c;
}

static bool take(struct reference *in, char c)
{
    if (!next_is(in, c))
        return false;
    in->at++;
    return true;
}

/* RFC 8259, section 2: these four, and no others. */
static void skip_space(struct reference *in)
{
    while (next_is(in, ' ') || next_is(in, '\t') || next_is(in, '\n') || next_is(in, '\r'))
        in->at++;
}

static bool take_word(struct reference *in, const char *word)
{
    for (; *word != '\0'; word++) {
        if (!take(in, *word))
            return false;
    }
    return true;
}

/* -- strings: section 7 -- */

static bool take_unit(struct reference *in, uint32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        if (in->at == in->end)
            return false;
        uint8_t c = *in->at++;
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = c - (uint32_t)'0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (c | 0x20u) - 'a' + 10;
        else
            return false;
        *unit = *unit << 4 | digit;
    }
    return true;
}

static void put_code_point(struct buf *out, uint32_t point)
{
    if (point < 0x80) {
        buf_put_u8(out, (uint8_t)point);
        return;
    }
    int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    uint32_t lead = more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0;
    buf_put_u8(out, (uint8_t)(lead | point >> (6 * more)));
    while (more-- > 0)
        buf_put_u8(out, (uint8_t)(0x80 | (point >> (6 * more) & 0x3f)));
}

static bool read_escape(struct reference *in, struct buf *out)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    uint32_t unit, low;
    if (in->at == in->end)
        return false;
    uint8_t c = *in->at++;
    if (c != 'u') {
        const char *name = c != '\0' ? strchr(names, c) : NULL;
        if (name == NULL)
            return false;
        buf_put_u8(out, (uint8_t)meanings[name - names]);
        return true;
    }
    if (!take_unit(in, &unit) || unit == 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return false;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        if (!take_word(in, "\\u") || !take_unit(in, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    put_code_point(out, unit);
    return true;
}

/* RFC 3629, section 4, by decoding and looking whether the shortest form is the same. */
static bool read_character(struct reference *in, struct buf *out)
{
    uint8_t first = *in->at;
    int more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    static const uint8_t lead[] = {0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = first & lead[more];
    if (first < 0x20 || (first >= 0x80 && first < 0xc0) || first >= 0xf8 ||
        in->end - in->at <= more)
        return false;
    for (int i = 1; i <= more; i++) {
        if ((in->at[i] & 0xc0) != 0x80)
            return false;
        point = point << 6 | (in->at[i] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return false;
    in->at += more + 1;
    put_code_point(out, point);
    return true;
}

static bool read_string(struct reference *in, size_t max, struct buf *out)
{
    if (!take(in, '"'))
        return false;
    while (!next_is(in, '"')) {
        if (in->at == in->end)
            return false;
        if (take(in, '\\') ? !read_escape(in, out) : !read_character(in, out))
            return false;
    }
    in->at++;
    return out->len <= max;
}

/* -- numbers: section 6 -- */

static bool take_digits(struct reference *in)
{
    const uint8_t *from = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9')
        in->at++;
    return in->at > from;
}

static bool read_number(struct reference *in, const struct json_value *value)
{
    const uint8_t *from = in->at;
    (void)!take(in, '-');
    if (!take(in, '0') && !take_digits(in))
        return false;
    if (take(in, '.') && !take_digits(in))
        return false;
    if (take(in, 'e') || take(in, 'E')) {
        if (!take(in, '+'))
            (void)!take(in, '-');
        if (!take_digits(in))
            return false;
    }
    size_t size = (size_t)(in->at - from), len = 0;
    if (size > in->limits->string)
        return false;
    if (in->compare) {
        const char *text = json_text(value, &len);
        FUZZ_CHECK(json_type(value) == JSON_NUMBER && len == size && memcmp(text, from, len) == 0);
    }
    return true;
}

/* -- values: sections 3 to 5 -- */

static bool read_text(struct reference *in, const struct json_value *value)
{
    struct buf text = BUF_INIT(TEXT_MAX);
    size_t len = 0;
    bool ok = read_string(in, in->limits->string, &text);
    if (ok && in->compare) {
        const char *other = json_text(value, &len);
        FUZZ_CHECK(json_type(value) == JSON_STRING && len == text.len && other[len] == '\0');
        FUZZ_CHECK(len == 0 || memcmp(other, text.data, len) == 0);
    }
    buf_free(&text);
    return ok;
}

static bool read_array(struct reference *in, const struct json_value *value)
{
    size_t count = 0;
    skip_space(in);
    if (!next_is(in, ']')) {
        do {
            skip_space(in);
            if (!read_value(in, in->compare ? json_at(value, count) : NULL))
                return false;
            count++;
            skip_space(in);
        } while (take(in, ','));
    }
    if (in->compare)
        FUZZ_CHECK(json_type(value) == JSON_ARRAY && json_count(value) == count);
    return take(in, ']');
}

/* One member; its key is appended to `keys` as a block, and must not be there already. */
static bool read_member(struct reference *in, const struct json_value *object, size_t index,
                        struct buf *keys)
{
    struct buf key = BUF_INIT(TEXT_MAX);
    struct cursor before = cursor_over(buf_bytes(keys));
    struct bytes other;
    bool ok = read_string(in, JSON_KEY_MAX, &key);
    while (ok && cursor_block(&before, TEXT_MAX, &other))
        ok = other.len != key.len || memcmp(other.data, buf_text(&key), key.len) != 0;
    buf_put_block(keys, buf_text(&key), key.len);
    const struct json_value *value = NULL;
    if (ok && in->compare) {
        FUZZ_CHECK(strcmp(json_key_at(object, index), buf_text(&key)) == 0);
        value = json_get(object, buf_text(&key));
        FUZZ_CHECK(value != NULL && value == json_at(object, index));
    }
    buf_free(&key);
    skip_space(in);
    ok = ok && take(in, ':');
    skip_space(in);
    return ok && read_value(in, value);
}

static bool read_object(struct reference *in, const struct json_value *value)
{
    struct buf keys = BUF_INIT(4 * TEXT_MAX);
    size_t count = 0;
    bool ok = true;
    skip_space(in);
    if (!next_is(in, '}')) {
        do {
            skip_space(in);
            ok = read_member(in, value, count, &keys);
            count++;
            skip_space(in);
        } while (ok && take(in, ','));
    }
    FUZZ_CHECK(!keys.failed);
    buf_free(&keys);
    ok = ok && take(in, '}');
    if (ok && in->compare)
        FUZZ_CHECK(json_type(value) == JSON_OBJECT && json_count(value) == count);
    return ok;
}

static bool read_container(struct reference *in, const struct json_value *value)
{
    if (++in->depth > JSON_DEPTH_MAX)
        return false;
    bool ok = take(in, '[') ? read_array(in, value) : take(in, '{') && read_object(in, value);
    in->depth--;
    return ok;
}

static bool read_value(struct reference *in, const struct json_value *value)
{
    if (++in->values > in->limits->values || in->at == in->end)
        return false;
    FUZZ_CHECK(!in->compare || value != NULL);
    bool yes = *in->at == 't';
    switch (*in->at) {
    case '{':
    case '[':
        return read_container(in, value);
    case '"':
        return read_text(in, value);
    case 't':
    case 'f':
        if (in->compare)
            FUZZ_CHECK(json_type(value) == JSON_BOOL && json_true(value) == yes);
        return take_word(in, yes ? "true" : "false");
    case 'n':
        if (in->compare)
            FUZZ_CHECK(json_type(value) == JSON_NULL);
        return take_word(in, "null");
    default:
        return read_number(in, value);
    }
}

static bool read_document(const uint8_t *text, size_t len, const struct json_limits *limits,
                          const struct json_value *root)
{
    struct reference in = {
        .at = text, .end = text + len, .limits = limits, .compare = root != NULL};
    if (len > limits->bytes)
        return false;
    skip_space(&in);
    if (!read_value(&in, root))
        return false;
    skip_space(&in);
    return in.at == in.end;
}

bool reference_accepts(const uint8_t *text, size_t len, const struct json_limits *limits)
{
    return read_document(text, len, limits, NULL);
}

bool reference_agrees(const uint8_t *text, size_t len, const struct json_limits *limits,
                      const struct json_value *root)
{
    FUZZ_CHECK(root != NULL);
    return read_document(text, len, limits, root);
}
