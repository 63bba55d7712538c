/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/xml.h"

#include <expat.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/secret.h"

#define DEPTH_MAX  6
#define PATH_BYTES 256

/* -- memory: what is read may be secret, and expat keeps copies of it -- */

#define HEAD sizeof(max_align_t) /* before each block: its length */

static size_t block_len(const unsigned char *data)
{
    size_t len;
    memcpy(&len, data - HEAD, sizeof len);
    return len;
}

static void *block_new(size_t len)
{
    unsigned char *block = len <= SIZE_MAX - HEAD ? malloc(HEAD + len) : NULL;
    if (block == NULL)
        return NULL;
    memcpy(block, &len, sizeof len);
    return block + HEAD;
}

static void block_free(void *data)
{
    if (data == NULL)
        return;
    unsigned char *block = (unsigned char *)data - HEAD;
    memory_wipe(data, block_len(data));
    free(block);
}

static void *block_resize(void *data, size_t len)
{
    void *moved = block_new(len);
    if (moved == NULL || data == NULL)
        return moved;
    size_t kept = block_len(data);
    memcpy(moved, data, kept < len ? kept : len);
    block_free(data);
    return moved;
}

static const XML_Memory_Handling_Suite wiping = {block_new, block_resize, block_free};

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

/* What a document type that is not looked up might have declared. */
static void on_skipped(void *user, const XML_Char *name, int is_parameter)
{
    (void)name, (void)is_parameter;
    refuse(user, "it has an entity that is not declared");
}

bool xml_read(struct bytes xml, enum xml_doctype doctype, const char *what, xml_element *element,
              void *context, struct error *err)
{
    struct reader reader = {
        .element = element, .context = context, .text = BUF_INIT(xml.len + 1), .doctype = doctype};
    if (xml.len > INT_MAX)
        return error_set(err, FAIL_INPUT, "%s is too long", what);
    /* UTF-8 whatever the document claims. */
    reader.parser = XML_ParserCreate_MM("UTF-8", &wiping, NULL);
    if (reader.parser == NULL)
        return error_memory(err);
    XML_SetUserData(reader.parser, &reader);
    XML_SetElementHandler(reader.parser, on_start, on_end);
    XML_SetCharacterDataHandler(reader.parser, on_text);
    XML_SetStartDoctypeDeclHandler(reader.parser, on_doctype);
    XML_SetSkippedEntityHandler(reader.parser, on_skipped);
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
