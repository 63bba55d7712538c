/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message attributes: MessageAttributes (String, Number and Binary, each with a type of the user's
 * behind a dot) and the one system attribute that a sender may give, AWSTraceHeader.
 *
 * They are kept packed: the trace header as a block (a 32-bit length and the bytes), then for each
 * attribute in the order of the names what Amazon SQS defines MD5OfMessageAttributes over: name and
 * type as blocks, a byte 1 for text or 2 for binary, and the value as a block. Nothing at all where
 * there is neither.
 */
#ifndef RESEAL_HUB_MESSAGE_ATTRIBUTES_H
#define RESEAL_HUB_MESSAGE_ATTRIBUTES_H

#include <openssl/types.h>
#include "reseal/json.h"
#include "store_queue.h"

#define MESSAGE_ATTRIBUTES_MAX 10
#define ATTRIBUTE_NAME_LEN_MAX 256

/*
 * Reads the attributes of a message from its JSON object into `packed`, which stays empty where
 * there are none. *size is what they count to the message's size. FAIL_INPUT with the reason where
 * SQS would refuse them.
 */
bool message_attributes_read(const struct json_value *message, struct buf *packed, size_t *size,
                             struct error *err) MUST_USE;

/* The digests of packed attributes; has_* tell whether there is anything to digest. */
struct attribute_digests {
    bool has_attributes, has_system;
    uint8_t attributes[MD5_BYTES], system[MD5_BYTES];
};
bool message_attributes_digest(struct bytes packed, const EVP_MD *md5,
                               struct attribute_digests *out) MUST_USE;

/* Writes "MessageAttributes" and "MD5OfMessageAttributes" with what the array `names` asks for
 * (NULL: nothing): a name, a beginning with ".*", or "All". */
bool message_attributes_write(struct bytes packed, const struct json_value *names,
                              const EVP_MD *md5, struct json_writer *json) MUST_USE;
/* The trace header, empty where there is none. */
struct bytes message_trace_header(struct bytes packed) MUST_USE;

#endif
