/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/xml.h"

#include <expat.h>
#include <limits.h>
#include <string.h>

#define DEPTH_MAX  6
#define PATH_BYTES 256

/* Bytes. A count that the compiler knows, and no way out in between: so it looks at many at a time
 * at -O2, too. */
#define CONTROL_BLOCK 64

/* -- writing -- */

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

/* -- reading -- */

struct reader {
    XML_Parser parser;
    xml_element *element;
    void *context;
    char path[PATH_BYTES];
    size_t ends[DEPTH_MAX]; /* of the path before each open element */
    size_t depth;
    struct buf text;
    enum xml_doctype doctype;
    const char *refused; /* why it was given up, or NULL */
};

static void refuse(struct reader *reader, const char *why)
{
    if (reader->refused == NULL)
        reader->refused = why;
    XML_StopParser(reader->parser, XML_FALSE);
}

static void on_start(void *user, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *reader = user;
    size_t len = strlen(reader->path), more = strlen(name);
    (void)attributes;
    if (reader->depth >= DEPTH_MAX || len + more + 2 > PATH_BYTES) {
        refuse(reader, "it is too deep");
        return;
    }
    reader->ends[reader->depth++] = len;
    if (len > 0)
        reader->path[len++] = '/';
    memcpy(reader->path + len, name, more + 1);
    buf_reset(&reader->text);
}

static void on_end(void *user, const XML_Char *name)
{
    struct reader *reader = user;
    (void)name;
    if (reader->depth == 0 || reader->refused != NULL)
        return;
    if (reader->text.failed) {
        refuse(reader, "a text in it is too long");
        return;
    }
    reader->element(reader->context, reader->path, buf_text(&reader->text), reader->text.len);
    reader->path[reader->ends[--reader->depth]] = '\0';
    buf_reset(&reader->text);
}

static void on_text(void *user, const XML_Char *text, int len)
{
    struct reader *reader = user;
    buf_put(&reader->text, text, (size_t)len);
}

static void on_doctype(void *user, const XML_Char *name, const XML_Char *system_id,
                       const XML_Char *public_id, int internal)
{
    struct reader *reader = user;
    (void)name, (void)system_id, (void)public_id;
    if (internal != 0 || reader->doctype == XML_NO_DOCTYPE)
        refuse(reader, internal != 0 ? "it declares entities or elements of its own"
                                     : "it has a document type");
}

bool xml_read(struct bytes xml, enum xml_doctype doctype, const char *what, xml_element *element,
              void *context, struct error *err)
{
    struct reader reader = {
        .element = element, .context = context, .text = BUF_INIT(xml.len + 1), .doctype = doctype};
    if (xml.len > INT_MAX)
        return error_set(err, FAIL_INPUT, "%s is too long", what);
    reader.parser = XML_ParserCreate("UTF-8"); /* whatever the document claims */
    if (reader.parser == NULL)
        return error_memory(err);
    XML_SetUserData(reader.parser, &reader);
    XML_SetElementHandler(reader.parser, on_start, on_end);
    XML_SetCharacterDataHandler(reader.parser, on_text);
    XML_SetStartDoctypeDeclHandler(reader.parser, on_doctype);
    bool ok =
        XML_Parse(reader.parser, (const char *)xml.data, (int)xml.len, XML_TRUE) == XML_STATUS_OK &&
        reader.refused == NULL;
    if (!ok)
        error_set(err, FAIL_INPUT, "%s cannot be read: %s", what,
                  reader.refused != NULL ? reader.refused
                                         : XML_ErrorString(XML_GetErrorCode(reader.parser)));
    XML_ParserFree(reader.parser);
    buf_free(&reader.text);
    return ok;
}
