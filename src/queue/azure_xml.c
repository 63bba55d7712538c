/* SPDX-License-Identifier: Apache-2.0 */
#include "azure_xml.h"

#include <expat.h>
#include <limits.h>
#include <string.h>

#define DEPTH_MAX  6
#define PATH_BYTES 256

struct reader {
    XML_Parser parser;
    xml_element *element;
    void *context;
    char path[PATH_BYTES];
    size_t ends[DEPTH_MAX]; /* of the path before each open element */
    size_t depth;
    struct buf text;
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
    (void)name, (void)system_id, (void)public_id, (void)internal;
    refuse(user, "it has a document type");
}

bool azure_xml_read(struct bytes xml, const char *what, xml_element *element, void *context,
                    struct error *err)
{
    struct reader reader = {.element = element, .context = context, .text = BUF_INIT(xml.len + 1)};
    if (xml.len > INT_MAX)
        return error_set(err, FAIL_REMOTE, "%s is too long", what);
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
        error_set(err, FAIL_REMOTE, "%s cannot be read: %s", what,
                  reader.refused != NULL ? reader.refused
                                         : XML_ErrorString(XML_GetErrorCode(reader.parser)));
    XML_ParserFree(reader.parser);
    buf_free(&reader.text);
    return ok;
}
