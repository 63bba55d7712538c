/* SPDX-License-Identifier: Apache-2.0 */
/* Headers that a proxy and the hub could understand in different ways are refused. */
#ifndef RESEAL_HUB_HEADER_CHECK_H
#define RESEAL_HUB_HEADER_CHECK_H

#include "exchange.h"

/* True, with the answer filled, where the end of the body is not clear. Where two headers say it,
 * or one in a way that is not known here, a proxy and the hub may see different requests in the
 * same bytes (RFC 9112, sections 6.1 and 11.2), so the connection is of no use any more. */
bool refuse_framing(struct exchange *exchange) MUST_USE;

/* Fills the answer where a header that says who asks for what comes twice: only the first of two
 * would be under the signature, and a proxy may go by the second. */
void refuse_repeated(struct exchange *exchange);

#endif
