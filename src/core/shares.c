/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/shares.h"

#include <libgfshare.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include "reseal/text.h"

/* A share as bytes: version, needed, count, number, set (4), body, checksum (4). */
#define VERSION      1
#define SET_LEN      4
#define HEADER_LEN   (4 + SET_LEN)
#define CHECKSUM_LEN 4
/* What is shared: its length, itself, zeros, digest (4); in steps of 16, which hide its length. */
#define DIGEST_LEN 4
#define STEP       16
#define BODY_MAX   (((1 + SHARE_SECRET_MAX + DIGEST_LEN + STEP - 1) / STEP) * STEP)
#define SHARE_MAX  (HEADER_LEN + BODY_MAX + CHECKSUM_LEN)
#define GROUP      4

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* The first bytes of the SHA-256 of a text that says what for, and the data. */
static bool digest(const char *purpose, const void *data, size_t len, uint8_t out[static 4],
                   struct error *err)
{
    uint8_t whole[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(context, purpose, strlen(purpose) + 1) == 1 &&
              EVP_DigestUpdate(context, data, len) == 1 &&
              EVP_DigestFinal_ex(context, whole, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (ok)
        memcpy(out, whole, 4);
    OPENSSL_cleanse(whole, sizeof whole);
    return ok || error_openssl(err, FAIL_INTERNAL, "SHA-256 failed");
}

static void exclusive_or(uint8_t *data, const uint8_t *pad, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] ^= pad[i];
}

static bool pad_new(size_t len, struct secret **out, struct error *err)
{
    if (!secret_new(len, out, err))
        return false;
    if (RAND_priv_bytes(secret_data(*out), (int)len) == 1)
        return true;
    secret_free(out);
    return error_openssl(err, FAIL_INTERNAL, "no random numbers");
}

/* -- text -- */

static bool put_base32(const uint8_t *data, size_t len, struct secret **out, struct error *err)
{
    size_t digits = (len * 8 + 4) / 5, place = 0, made = 0;
    unsigned bits = 0, held = 0;
    if (!secret_new(digits + (digits - 1) / GROUP, out, err))
        return false;
    uint8_t *text = secret_data(*out);
    for (size_t i = 0; made < digits; i++) {
        held = (held << 8) | (i < len ? data[i] : 0u);
        bits += 8;
        while (bits >= 5 && made < digits) {
            if (made > 0 && made % GROUP == 0)
                text[place++] = '-';
            text[place++] = (uint8_t)alphabet[(held >> (bits - 5)) & 31u];
            bits -= 5;
            made++;
        }
    }
    OPENSSL_cleanse(&held, sizeof held);
    return true;
}

/* The value of a digit; -1: it does not count; -2: it is none. What is often taken for another on
 * paper is taken for it here. */
static int digit_value(uint8_t byte)
{
    if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n' || byte == '-')
        return -1;
    if (byte >= 'a' && byte <= 'z')
        byte = (uint8_t)(byte - 'a' + 'A');
    if (byte == '0')
        byte = 'O';
    if (byte == '1')
        byte = 'I';
    const char *found = byte != '\0' ? strchr(alphabet, byte) : NULL;
    return found != NULL ? (int)(found - alphabet) : -2;
}

/* *len is how many bytes came out of it; the bits that are over are zero. */
static bool take_base32(struct bytes text, struct secret *out, size_t *len, struct error *err)
{
    unsigned bits = 0, held = 0;
    *len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit_value(text.data[i]);
        if (value == -1)
            continue;
        if (value == -2)
            return error_set(err, FAIL_INPUT, "character %zu belongs to no share", i + 1);
        held = ((held << 5) | (unsigned)value) & 0xfffu;
        bits += 5;
        if (bits < 8)
            continue;
        bits -= 8;
        if (*len == secret_len(out))
            return error_set(err, FAIL_INPUT, "it is longer than any share");
        secret_data(out)[(*len)++] = (uint8_t)(held >> bits);
    }
    if (bits >= 5 || (held & ((1u << bits) - 1)) != 0)
        return error_set(err, FAIL_INPUT, "its end is missing, or something is behind it");
    return true;
}

/* -- making -- */

static int random_failed; /* libgfshare cannot be told */

static void fill_random(unsigned char *out, unsigned int len)
{
    if (RAND_priv_bytes(out, (int)len) != 1)
        random_failed = 1;
}

static bool make_body(const struct secret *secret, struct secret **out, struct error *err)
{
    size_t len = secret_len(secret);
    size_t whole = ((1 + len + DIGEST_LEN + STEP - 1) / STEP) * STEP;
    if (!secret_new(whole, out, err))
        return false;
    uint8_t *body = secret_data(*out);
    body[0] = (uint8_t)len;
    if (len > 0)
        memcpy(body + 1, secret_bytes(secret).data, len);
    if (digest("reseal shared secret", body, whole - DIGEST_LEN, body + whole - DIGEST_LEN, err))
        return true;
    secret_free(out);
    return false;
}

/* One line: header, the body that belongs to that number, checksum. */
static bool make_line(const uint8_t *body, size_t len, const struct share_facts *facts,
                      const uint8_t *set, struct secret **out, struct error *err)
{
    struct secret *share = NULL;
    size_t whole = HEADER_LEN + len + CHECKSUM_LEN;
    if (!secret_new(whole, &share, err))
        return false;
    uint8_t *at = secret_data(share);
    at[0] = VERSION;
    at[1] = (uint8_t)facts->needed;
    at[2] = (uint8_t)facts->count;
    at[3] = (uint8_t)facts->number;
    memcpy(at + 4, set, SET_LEN);
    memcpy(at + HEADER_LEN, body, len);
    bool ok = digest("reseal share", at, whole - CHECKSUM_LEN, at + whole - CHECKSUM_LEN, err) &&
              put_base32(at, whole, out, err);
    secret_free(&share);
    return ok;
}

/* libgfshare's part: it sees the body under the pad, and so are the shares that it makes. */
static bool split(struct secret *body, struct share_facts *facts, const uint8_t *set,
                  struct secret **out, struct error *err)
{
    unsigned char numbers[SHARES_MAX];
    const size_t len = secret_len(body);
    struct secret *pad = NULL, *part = NULL;
    gfshare_ctx *context = NULL;
    bool ok = false;
    for (unsigned i = 0; i < facts->count; i++)
        numbers[i] = (unsigned char)(i + 1); /* at 0 stands the secret itself */
    if (!pad_new(len, &pad, err) || !secret_new(len, &part, err))
        goto done;
    gfshare_fill_rand = fill_random;
    random_failed = 0;
    context =
        gfshare_ctx_init_enc(numbers, facts->count, (unsigned char)facts->needed, (unsigned)len);
    if (context == NULL) {
        error_memory(err);
        goto done;
    }
    exclusive_or(secret_data(body), secret_data(pad), len);
    gfshare_ctx_enc_setsecret(context, secret_data(body));
    ok = random_failed == 0 || error_set(err, FAIL_INTERNAL, "no random numbers for shares");
    for (unsigned i = 0; ok && i < facts->count; i++) {
        gfshare_ctx_enc_getshare(context, (unsigned char)i, secret_data(part));
        exclusive_or(secret_data(part), secret_data(pad), len);
        facts->number = i + 1;
        ok = make_line(secret_data(part), len, facts, set, &out[i], err);
    }
done:
    if (context != NULL)
        gfshare_ctx_free(context);
    secret_free(&pad);
    secret_free(&part);
    return ok;
}

bool shares_make(const struct secret *secret, unsigned needed, unsigned count, struct secret **out,
                 struct share_facts *facts, struct error *err)
{
    uint8_t set[SET_LEN];
    struct secret *body = NULL;
    if (needed < 2 || needed > count || count > SHARES_MAX)
        return error_set(err, FAIL_USAGE,
                         "%u of %u shares: at least 2 must be needed, and at most %d be made",
                         needed, count, SHARES_MAX);
    if (secret_len(secret) == 0 || secret_len(secret) > SHARE_SECRET_MAX)
        return error_set(err, FAIL_USAGE, "1 to %d bytes can be shared", SHARE_SECRET_MAX);
    memset(out, 0, count * sizeof *out);
    if (RAND_bytes(set, sizeof set) != 1)
        return error_openssl(err, FAIL_INTERNAL, "no random numbers");
    *facts = (struct share_facts){.needed = needed, .count = count};
    hex_encode(facts->set, set, SET_LEN);
    if (!make_body(secret, &body, err))
        return false;
    bool ok = split(body, facts, set, out, err);
    secret_free(&body);
    for (unsigned i = 0; !ok && i < count; i++)
        secret_free(&out[i]);
    return ok;
}

/* -- joining -- */

struct share_joining {
    struct share_facts facts; /* of the first; its number is 0 */
    size_t len;               /* of each body */
    unsigned held;
    unsigned char numbers[SHARES_MAX];
    struct secret *bodies[SHARES_MAX];
};

bool share_joining_new(struct share_joining **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL || error_memory(err);
}

void share_joining_free(struct share_joining **joining)
{
    if (joining == NULL || *joining == NULL)
        return;
    for (unsigned i = 0; i < SHARES_MAX; i++)
        secret_free(&(*joining)->bodies[i]);
    free(*joining);
    *joining = NULL;
}

/* Reads one line into locked memory: its bytes, up to the checksum, and what it says of itself. */
static bool read_line(struct bytes line, struct secret **out, struct share_facts *facts,
                      struct error *err)
{
    uint8_t checksum[CHECKSUM_LEN];
    size_t len = 0;
    memset(facts, 0, sizeof *facts);
    if (!secret_new(SHARE_MAX, out, err) || !take_base32(line, *out, &len, err))
        return false;
    const uint8_t *at = secret_data(*out);
    if (len >= HEADER_LEN && at[0] == VERSION) {
        facts->needed = at[1];
        facts->count = at[2];
        facts->number = at[3];
        hex_encode(facts->set, at + 4, SET_LEN);
    }
    if (len < HEADER_LEN + STEP + CHECKSUM_LEN)
        return error_set(err, FAIL_INPUT, "it is too short for a share");
    if (!digest("reseal share", at, len - CHECKSUM_LEN, checksum, err))
        return false;
    if (CRYPTO_memcmp(checksum, at + len - CHECKSUM_LEN, CHECKSUM_LEN) != 0)
        return error_set(err, FAIL_INPUT, "its checksum is wrong");
    if (at[0] != VERSION || facts->needed < 2 || facts->needed > facts->count ||
        facts->count > SHARES_MAX || facts->number < 1 || facts->number > facts->count ||
        (len - HEADER_LEN - CHECKSUM_LEN) % STEP != 0)
        return error_set(err, FAIL_INPUT, "it is of no kind that is known here");
    secret_truncate(*out, len - CHECKSUM_LEN);
    return true;
}

static bool fits(const struct share_joining *joining, const struct share_facts *facts, size_t len,
                 struct error *err)
{
    if (joining->held == 0)
        return true;
    if (strcmp(facts->set, joining->facts.set) != 0)
        return error_set(err, FAIL_POLICY, "it is of the set %s, and the others are of %s",
                         facts->set, joining->facts.set);
    if (facts->needed != joining->facts.needed || facts->count != joining->facts.count ||
        len != joining->len)
        return error_set(err, FAIL_POLICY, "it says something else of its set than the others");
    for (unsigned i = 0; i < joining->held; i++) {
        if (joining->numbers[i] == facts->number)
            return error_set(err, FAIL_EXISTS, "share %u is here already", facts->number);
    }
    return true;
}

bool share_joining_add(struct share_joining *joining, struct bytes line, struct share_facts *facts,
                       struct error *err)
{
    struct secret *share = NULL, *body = NULL;
    bool ok = false;
    if (!read_line(line, &share, facts, err))
        goto done;
    struct bytes bytes = secret_bytes(share);
    size_t len = bytes.len - HEADER_LEN;
    if (!fits(joining, facts, len, err))
        goto done;
    if (joining->held == SHARES_MAX) {
        error_set(err, FAIL_EXISTS, "all shares are here already");
        goto done;
    }
    if (!secret_copy(bytes.data + HEADER_LEN, len, &body, err))
        goto done;
    if (joining->held == 0) {
        joining->facts = *facts;
        joining->len = len;
    }
    joining->numbers[joining->held] = (unsigned char)facts->number;
    joining->bodies[joining->held++] = body;
    ok = true;
done:
    secret_free(&share);
    if (!ok && facts->number > 0 && err->kind == FAIL_INPUT)
        error_context(err, "share %u of set %s", facts->number, facts->set);
    return ok;
}

bool share_joining_take(struct share_joining *joining, struct bytes text, struct error *err)
{
    size_t number = 0;
    while (text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        struct bytes line = {text.data, end != NULL ? (size_t)(end - text.data) : text.len};
        size_t taken = line.len + (end != NULL ? 1 : 0);
        struct share_facts facts;
        number++;
        text.data += taken;
        text.len -= taken;
        if (line.len == 0 || line.data[0] == '#' || line.data[0] == '\r')
            continue;
        if (!share_joining_add(joining, line, &facts, err))
            return error_context(err, "line %zu", number);
    }
    return true;
}

unsigned share_joining_missing(const struct share_joining *joining)
{
    if (joining->held == 0)
        return 1;
    return joining->held >= joining->facts.needed ? 0 : joining->facts.needed - joining->held;
}

/* What the digest that was shared with it says. */
static bool open_body(const struct secret *body, struct secret **out, struct error *err)
{
    struct bytes bytes = secret_bytes(body);
    uint8_t found[DIGEST_LEN];
    if (!digest("reseal shared secret", bytes.data, bytes.len - DIGEST_LEN, found, err))
        return false;
    size_t len = bytes.data[0];
    if (CRYPTO_memcmp(found, bytes.data + bytes.len - DIGEST_LEN, DIGEST_LEN) != 0 || len == 0 ||
        len > bytes.len - 1 - DIGEST_LEN) {
        error_set(err, FAIL_POLICY, "the shares do not give what was shared");
        return error_hint(err, "each is whole, but one of them is not what it was; join others");
    }
    return secret_copy(bytes.data + 1, len, out, err);
}

bool share_joining_finish(struct share_joining *joining, struct secret **out, struct error *err)
{
    const unsigned needed = joining->facts.needed;
    struct secret *pad = NULL, *part = NULL, *body = NULL;
    gfshare_ctx *context = NULL;
    bool ok = false;
    *out = NULL;
    if (share_joining_missing(joining) > 0)
        return error_set(err, FAIL_USAGE, "%u more shares are needed",
                         share_joining_missing(joining));
    if (!pad_new(joining->len, &pad, err) || !secret_new(joining->len, &part, err) ||
        !secret_new(joining->len, &body, err))
        goto done;
    gfshare_fill_rand = fill_random; /* it overwrites what it frees */
    context = gfshare_ctx_init_dec(joining->numbers, needed, (unsigned)joining->len);
    if (context == NULL) {
        error_memory(err);
        goto done;
    }
    for (unsigned i = 0; i < needed; i++) {
        memcpy(secret_data(part), secret_bytes(joining->bodies[i]).data, joining->len);
        exclusive_or(secret_data(part), secret_data(pad), joining->len);
        gfshare_ctx_dec_giveshare(context, (unsigned char)i, secret_data(part));
    }
    gfshare_ctx_dec_extract(context, secret_data(body));
    exclusive_or(secret_data(body), secret_data(pad), joining->len);
    ok = open_body(body, out, err);
done:
    if (context != NULL)
        gfshare_ctx_free(context);
    secret_free(&pad);
    secret_free(&part);
    secret_free(&body);
    return ok;
}
