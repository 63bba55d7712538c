/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/xml_text.h"

#include <string.h>
#include "reseal/text.h"

#define CDATA_END "]]>"

/* Bytes. A count that the compiler knows, and no way out in between: so it looks at many at a time
 * at -O2, too. */
#define CONTROL_BLOCK 64

static bool has_control(const unsigned char at[static CONTROL_BLOCK])
{
    unsigned char found = 0;
    for (size_t i = 0; i < CONTROL_BLOCK; i++)
        found |=
            (unsigned char)((at[i] < 0x20) & (at[i] != '\t') & (at[i] != '\n') & (at[i] != '\r'));
    return found != 0;
}

/* No control characters but tab, line feed and carriage return, no U+FFFE or U+FFFF. */
bool xml_legal(const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t whole = len - len % CONTROL_BLOCK;
    for (size_t i = 0; i < whole; i += CONTROL_BLOCK) {
        if (has_control(at + i))
            return false;
    }
    unsigned char rest[CONTROL_BLOCK];
    memset(rest, ' ', sizeof(rest));
    memcpy(rest, at + whole, len - whole);
    if (has_control(rest))
        return false;
    const char *sequence = text; /* U+FFFE and U+FFFF are EF BF BE and EF BF BF */
    while ((sequence = memchr(sequence, 0xef, len - (size_t)(sequence - text))) != NULL) {
        at = (const unsigned char *)sequence;
        if (at[1] == 0xbf && at[2] >= 0xbe) /* whole sequences only, so these two are there */
            return false;
        sequence++;
    }
    return true;
}

void xml_put_text(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '&')
            buf_put_text(out, "&amp;");
        else if (*text == '<')
            buf_put_text(out, "&lt;");
        else if (*text == '>')
            buf_put_text(out, "&gt;");
        else
            buf_put_u8(out, (uint8_t)*text);
    }
}

const char *cdata_trouble(struct bytes text)
{
    const char *at = text.len > 0 ? (const char *)text.data : "";
    if (!utf8_is_strict(at, text.len))
        return "is not UTF-8";
    if (!xml_legal(at, text.len) || memchr(at, '\r', text.len) != NULL)
        return "has a character that XML does not have, or changes";
    for (size_t i = 0; i + strlen(CDATA_END) <= text.len; i++) {
        if (memcmp(at + i, CDATA_END, strlen(CDATA_END)) == 0)
            return "has " CDATA_END " in it";
    }
    return NULL;
}
