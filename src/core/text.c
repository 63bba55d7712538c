/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/text.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

/* Length of the well-formed sequence at `at` (RFC 3629, section 4), or 0. */
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    if (first == 0)
        return 0;
    if (first < 0x80)
        return 1;
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || len > left)
        return 0;
    uint8_t low = 0x80, high = 0xbf; /* bounds of the second byte */
    if (first == 0xe0)
        low = 0xa0; /* shorter forms exist */
    else if (first == 0xed)
        high = 0x9f; /* surrogates */
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    }
    return len;
}

/* How much at the beginning is ASCII without a NUL, found in steps of `PLAIN_STEP` bytes: most of
 * what we read is base64. */
#define PLAIN_STEP 32
static size_t plain_span(const uint8_t *at, size_t len)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t span = 0;
    while (len - span >= PLAIN_STEP) {
        uint64_t words[PLAIN_STEP / 8], found = 0;
        memcpy(words, at + span, sizeof words);
        for (size_t i = 0; i < PLAIN_STEP / 8; i++)
            found |= words[i] | (words[i] - ones);
        if ((found & highs) != 0)
            break;
        span += PLAIN_STEP;
    }
    return span;
}

bool utf8_is_strict(const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len > 0) {
        size_t step = plain_span(at, len);
        for (size_t steps = 0; steps < PLAIN_STEP && step < len; steps++) {
            size_t sequence = utf8_sequence(at + step, len - step);
            if (sequence == 0)
                return false;
            step += sequence;
        }
        at += step;
        len -= step;
    }
    return true;
}

size_t text_control_len(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    if ((at[0] < 0x20 && at[0] != '\0') || at[0] == 0x7f)
        return 1;
    if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f) /* C1 */
        return 2;
    if (at[0] == 0xe2 && at[1] == 0x80 && at[2] >= 0xa8 && at[2] <= 0xae) /* U+2028 to U+202E */
        return 3;
    if (at[0] == 0xe2 && at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9) /* U+2066 to U+2069 */
        return 3;
    return 0;
}

void text_make_printable(char *text)
{
    bool strict = utf8_is_strict(text, strlen(text));
    for (char *at = text; *at != '\0'; at++) {
        size_t len = text_control_len(at);
        if (len == 0 && !strict && (unsigned char)*at >= 0x80)
            len = 1;
        if (len == 0)
            continue;
        memset(at, '?', len);
        at += len - 1;
    }
}

void base64_encode(struct buf *out, const void *data, size_t len)
{
    if (len > INT_MAX / 2) {
        uint8_t *too_long = buf_extend(out, SIZE_MAX - out->len); /* makes the failure stick */
        (void)too_long;
        return;
    }
    /* EVP_EncodeBlock writes an end mark where buf_extend keeps one anyway. */
    uint8_t *place = buf_extend(out, (len + 2) / 3 * 4);
    if (place != NULL && len > 0)
        EVP_EncodeBlock(place, data, (int)len);
}

void base64url_encode(struct buf *out, const void *data, size_t len)
{
    size_t before = out->len;
    base64_encode(out, data, len);
    while (out->len > before && out->data[out->len - 1] == '=')
        out->data[--out->len] = '\0';
    for (size_t i = before; i < out->len; i++) {
        if (out->data[i] == '+')
            out->data[i] = '-';
        else if (out->data[i] == '/')
            out->data[i] = '_';
    }
}

/* Value of each ASCII character as a base64 digit (RFC 4648, table 1); -1: none. */
static const signed char base64_values[128] = {
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 62,
    -1, -1, -1, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, -1, -1, -1, -1, -1, -1, -1, 0,
    1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
    23, 24, 25, -1, -1, -1, -1, -1, -1, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38,
    39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, -1, -1, -1, -1, -1,
};

static int base64_value(char c)
{
    return (unsigned char)c < sizeof base64_values ? base64_values[(unsigned char)c] : -1;
}

/* EVP_DecodeBlock forgives white space and stray bits, so the form is checked here. */
static bool base64_is_strict(const char *text, size_t len, size_t *padding)
{
    *padding = 0;
    if (len % 4 != 0)
        return false;
    if (len == 0)
        return true;
    if (text[len - 1] == '=')
        *padding = text[len - 2] == '=' ? 2 : 1;
    int seen = 0; /* negative once any value was */
    for (size_t i = 0; i < len - *padding; i++)
        seen |= base64_value(text[i]);
    if (seen < 0)
        return false;
    int stray = *padding == 2 ? 0x0f : *padding == 1 ? 0x03 : 0;
    return (base64_value(text[len - 1 - *padding]) & stray) == 0;
}

bool base64_decode(struct buf *out, const char *text, size_t len, const char *what,
                   struct error *err)
{
    size_t padding;
    if (len > INT_MAX / 2 || !base64_is_strict(text, len, &padding))
        return error_set(err, FAIL_INPUT, "%s is not base64 (RFC 4648, section 4, with padding)",
                         what);
    if (len == 0)
        return true;
    size_t decoded = len / 4 * 3;
    size_t before = out->len;
    uint8_t *place = buf_extend(out, decoded);
    if (place == NULL)
        return buf_check(out, what, err);
    if (EVP_DecodeBlock(place, (const unsigned char *)text, (int)len) != (int)decoded)
        return error_set(err, FAIL_INPUT, "%s is not base64", what);
    out->len = before + decoded - padding;
    out->data[out->len] = '\0';
    return true;
}

void hex_encode(char *out, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[at[i] >> 4];
        out[2 * i + 1] = digits[at[i] & 15];
    }
    out[2 * len] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_decode(struct buf *out, const char *text, size_t len, const char *what, struct error *err)
{
    if (len % 2 != 0)
        return error_set(err, FAIL_INPUT, "%s is not hexadecimal: an odd number of digits", what);
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_value(text[i]), low = hex_value(text[i + 1]);
        if (high < 0 || low < 0)
            return error_set(err, FAIL_INPUT, "%s is not hexadecimal", what);
        buf_put_u8(out, (uint8_t)(high << 4 | low));
    }
    return buf_check(out, what, err);
}

static void uuid_format(uint8_t raw[static 16], uint8_t version, char out[static UUID_TEXT])
{
    raw[6] = (uint8_t)((raw[6] & 0x0f) | version << 4);
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
    char hex[33];
    hex_encode(hex, raw, 16);
    size_t at = 0;
    for (size_t i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            out[at++] = '-';
        out[at++] = hex[i];
    }
    out[at] = '\0';
}

bool uuid_random(char out[static UUID_TEXT], struct error *err)
{
    uint8_t raw[16];
    if (RAND_bytes(raw, sizeof raw) != 1)
        return error_openssl(err, FAIL_INTERNAL, "no random numbers");
    uuid_format(raw, 4, out);
    return true;
}

bool uuid_ordered(char out[static UUID_TEXT], struct error *err)
{
    uint8_t raw[16];
    struct timespec now;
    if (RAND_bytes(raw, sizeof raw) != 1)
        return error_openssl(err, FAIL_INTERNAL, "no random numbers");
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    for (size_t i = 0; i < 6; i++)
        raw[i] = (uint8_t)(ms >> (40 - 8 * i));
    unsigned rest = (unsigned)((uint64_t)(now.tv_nsec % 1000000) * 4096 / 1000000);
    raw[6] = (uint8_t)(rest >> 8);
    raw[7] = (uint8_t)rest;
    uuid_format(raw, 7, out);
    return true;
}

bool uuid_from(const void *data, size_t len, char out[static UUID_TEXT], struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL) != 1)
        return error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
    uuid_format(digest, 8, out);
    return true;
}

bool text_equal_nocase(const char *a, const char *b)
{
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a;
        char y = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;
        if (x != y)
            return false;
    }
    return *a == *b;
}

bool text_equal_constant_time(const char *a, const char *b)
{
    size_t len = strlen(a);
    return len == strlen(b) && CRYPTO_memcmp(a, b, len) == 0;
}

/* Levenshtein distance, with words cut at 63 characters. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t la = strnlen(a, 63), lb = strnlen(b, 63);
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t above = row[j];
            size_t best = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[lb];
}

const char *text_nearest(const char *word, const char *const *names)
{
    const char *nearest = NULL;
    size_t best = strlen(word) / 3 + 2; /* further away is no misspelling */
    for (; *names != NULL; names++) {
        size_t distance = edit_distance(word, *names);
        if (distance < best) {
            best = distance;
            nearest = *names;
        }
    }
    return nearest;
}
