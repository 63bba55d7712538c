/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/padding.h"

#include <string.h>

static const struct {
    enum padding padding;
    const char *name;
    const char *hash;
    size_t hash_len;
} schemes[] = {
    {OAEP_SHA256, "oaepSha256", "SHA256", 32},
    {OAEP_SHA384, "oaepSha384", "SHA384", 48},
    {OAEP_SHA512, "oaepSha512", "SHA512", 64},
};

bool padding_parse(const char *name, enum padding *out, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (strcmp(name, schemes[i].name) == 0) {
            *out = schemes[i].padding;
            return true;
        }
    }
    if (strcmp(name, "none") == 0) {
        *out = OAEP_SHA512;
        return true;
    }
    if (strcmp(name, "pkcs1") == 0 || strcmp(name, "oaepSha1") == 0) {
        error_set(err, FAIL_POLICY, "the padding scheme %s is refused", name);
        return error_hint(err, "seal with oaepSha256, oaepSha384 or oaepSha512");
    }
    return error_set(err, FAIL_INPUT, "\"%.32s\" is no padding scheme", name);
}

bool padding_valid(int number)
{
    return number >= PADDING_FIRST && number <= PADDING_LAST;
}

const char *padding_name(enum padding padding)
{
    return schemes[padding - PADDING_FIRST].name;
}

const char *padding_hash(enum padding padding)
{
    return schemes[padding - PADDING_FIRST].hash;
}

size_t padding_hash_len(enum padding padding)
{
    return schemes[padding - PADDING_FIRST].hash_len;
}

size_t padding_room(enum padding padding, int bits)
{
    size_t modulus = (size_t)(bits > 0 ? bits : 0) / 8;
    size_t overhead = 2 * padding_hash_len(padding) + 2;
    return modulus > overhead ? modulus - overhead : 0;
}
