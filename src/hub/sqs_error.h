/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as Amazon SQS answers them in its JSON protocol:
 *
 *     400  x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender
 *     {"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"..."}
 */
#ifndef RESEAL_HUB_SQS_ERROR_H
#define RESEAL_HUB_SQS_ERROR_H

#include "exchange.h"

#define SQS_JSON_TYPE "application/x-amz-json-1.0"

enum sqs_error {
    SQS_QUEUE_DOES_NOT_EXIST,
    SQS_QUEUE_NAME_EXISTS,
    SQS_RECEIPT_HANDLE_IS_INVALID,
    SQS_MESSAGE_NOT_INFLIGHT,
    SQS_INVALID_MESSAGE_CONTENTS,
    SQS_INVALID_PARAMETER_VALUE,
    SQS_MISSING_PARAMETER,
    SQS_INVALID_ATTRIBUTE_NAME,
    SQS_INVALID_ATTRIBUTE_VALUE,
    SQS_BATCH_REQUEST_TOO_LONG,
    SQS_EMPTY_BATCH_REQUEST,
    SQS_TOO_MANY_ENTRIES,
    SQS_BATCH_ENTRY_IDS_NOT_DISTINCT,
    SQS_INVALID_BATCH_ENTRY_ID,
    SQS_UNSUPPORTED_OPERATION,
    SQS_UNKNOWN_OPERATION,
    SQS_PURGE_IN_PROGRESS,
    SQS_RESOURCE_NOT_FOUND,
    SQS_ACCESS_DENIED,
    SQS_SERIALIZATION,
    SQS_MISSING_AUTHENTICATION_TOKEN,
    SQS_INCOMPLETE_SIGNATURE,
    SQS_INVALID_CLIENT_TOKEN_ID,
    SQS_SIGNATURE_DOES_NOT_MATCH,
    SQS_REQUEST_EXPIRED,
    SQS_REQUEST_IN_THE_FUTURE,
    SQS_REQUEST_TOO_LARGE,
    SQS_SERVICE_UNAVAILABLE,
};

/* Fills the answer. */
void sqs_fail(struct exchange *exchange, enum sqs_error error, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* The code that a failed entry of a batch carries. */
const char *sqs_error_code(enum sqs_error error) MUST_USE;

#endif
