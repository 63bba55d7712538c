/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads XML 1.0 by expat: small documents of elements and text. Entities beside those of XML,
 * another encoding than UTF-8, or more depth than the documents of Azure, Apple and Windows have is
 * refused. What memory it took is wiped.
 */
#ifndef RESEAL_XML_H
#define RESEAL_XML_H

#include "reseal/buf.h"

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
