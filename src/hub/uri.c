/* SPDX-License-Identifier: Apache-2.0 */
#include "uri.h"

#include <string.h>
#include "reseal/text.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool uri_decode(enum uri_part part, const char *text, size_t len, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (unsigned char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && part == URI_QUERY) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f || used + 1 >= size)
            return false;
        out[used++] = (char)c;
    }
    if (used >= size)
        return false;
    out[used] = '\0';
    return utf8_is_strict(out, used);
}

bool uri_next_parameter(const char **query, struct uri_parameter *out)
{
    const char *at = *query;
    while (*at == '&')
        at++;
    if (*at == '\0') {
        *query = at;
        return false;
    }
    size_t len = strcspn(at, "&");
    const char *equals = memchr(at, '=', len);
    size_t name = equals != NULL ? (size_t)(equals - at) : len;
    size_t skip = equals != NULL ? name + 1 : len;
    out->whole = (struct bytes){(const uint8_t *)at, len};
    out->name = (struct bytes){(const uint8_t *)at, name};
    out->value = (struct bytes){(const uint8_t *)at + skip, len - skip};
    *query = at + len;
    return true;
}
