/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XML that Azure Storage Queue answers with, read by expat: small documents of elements and
 * text. A document type, entities of its own, another encoding than UTF-8 or more depth than such
 * an answer has is refused.
 */
#ifndef RESEAL_QUEUE_AZURE_XML_H
#define RESEAL_QUEUE_AZURE_XML_H

#include "reseal/buf.h"

/* An element has ended: its path from the root ("QueueMessagesList/QueueMessage/MessageId") and the
 * text in it, with an end mark. */
typedef void xml_element(void *context, const char *path, const char *text, size_t len);

/* FAIL_REMOTE where `xml` is no such document; what was told before then does not count. */
bool azure_xml_read(struct bytes xml, const char *what, xml_element *element, void *context,
                    struct error *err) MUST_USE;

#endif
