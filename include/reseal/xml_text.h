/* SPDX-License-Identifier: Apache-2.0 */
/* Text that goes into XML 1.0. No parser is behind it: the token helper has it, too. */
#ifndef RESEAL_XML_TEXT_H
#define RESEAL_XML_TEXT_H

#include "reseal/buf.h"

/* True if XML 1.0 allows the text in a document (section 2.2): no control characters but tab, line
 * feed and carriage return, no U+FFFE or U+FFFF. That it is strict UTF-8 is known already. */
bool xml_legal(const char *text, size_t len) MUST_USE;
/* Appends legal text as the content of an element. */
void xml_put_text(struct buf *out, const char *text);
/* Why the text cannot stand in a CDATA section (section 2.7) and be read as it is, as the end of
 * "the password ...", or NULL where it can: it is not UTF-8, has a character that XML does not have
 * or that readers change (a carriage return), or ends the section. */
const char *cdata_trouble(struct bytes text) MUST_USE;

#endif
