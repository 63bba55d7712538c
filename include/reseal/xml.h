/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML 1.0: small documents of elements and text, read by expat, and the little that writing them
 * needs. Entities of its own, another encoding than UTF-8, or more depth than the documents of
 * Azure, Apple and Windows have is refused.
 */
#ifndef RESEAL_XML_H
#define RESEAL_XML_H

#include "reseal/buf.h"

/* True if XML 1.0 allows the text in a document (section 2.2): no control characters but tab, line
 * feed and carriage return, no U+FFFE or U+FFFF. That it is strict UTF-8 is known already. */
bool xml_legal(const char *text, size_t len) MUST_USE;
/* Appends legal text as the content of an element. */
void xml_put_text(struct buf *out, const char *text);

/* Whether the document may name a type (<!DOCTYPE plist PUBLIC ...>), which is never looked up. */
enum xml_doctype {
    XML_NO_DOCTYPE,
    XML_DOCTYPE,
};

/* An element has ended: its path from the root ("QueueMessagesList/QueueMessage/MessageId") and the
 * text in it, with an end mark. */
typedef void xml_element(void *context, const char *path, const char *text, size_t len);

/* FAIL_INPUT where `xml` is no such document; what was told before then does not count. */
bool xml_read(struct bytes xml, enum xml_doctype doctype, const char *what, xml_element *element,
              void *context, struct error *err) MUST_USE;

#endif
