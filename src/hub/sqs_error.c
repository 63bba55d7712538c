/* SPDX-License-Identifier: Apache-2.0 */
#include "sqs_error.h"

#include <stdarg.h>
#include <stdio.h>

#define SQS     "com.amazonaws.sqs#"
#define SERVICE "com.amazon.coral.service#"
#define OLD     "AWS.SimpleQueueService."

static const struct {
    unsigned status;
    const char *type;
    const char *query_code; /* the name in the older query protocol; SDKs look for it */
} rows[] = {
    [SQS_QUEUE_DOES_NOT_EXIST] = {400, SQS "QueueDoesNotExist", OLD "NonExistentQueue"},
    [SQS_QUEUE_NAME_EXISTS] = {400, SQS "QueueNameExists", "QueueAlreadyExists"},
    [SQS_RECEIPT_HANDLE_IS_INVALID] = {404, SQS "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"},
    [SQS_MESSAGE_NOT_INFLIGHT] = {400, SQS "MessageNotInflight", OLD "MessageNotInflight"},
    [SQS_INVALID_MESSAGE_CONTENTS] = {400, SQS "InvalidMessageContents", "InvalidMessageContents"},
    [SQS_INVALID_PARAMETER_VALUE] = {400, SERVICE "InvalidParameterValue", "InvalidParameterValue"},
    [SQS_MISSING_PARAMETER] = {400, SERVICE "MissingParameter", "MissingParameter"},
    [SQS_INVALID_ATTRIBUTE_NAME] = {400, SQS "InvalidAttributeName", "InvalidAttributeName"},
    [SQS_INVALID_ATTRIBUTE_VALUE] = {400, SQS "InvalidAttributeValue", "InvalidAttributeValue"},
    [SQS_BATCH_REQUEST_TOO_LONG] = {400, SQS "BatchRequestTooLong", OLD "BatchRequestTooLong"},
    [SQS_EMPTY_BATCH_REQUEST] = {400, SQS "EmptyBatchRequest", OLD "EmptyBatchRequest"},
    [SQS_TOO_MANY_ENTRIES] = {400, SQS "TooManyEntriesInBatchRequest",
                              OLD "TooManyEntriesInBatchRequest"},
    [SQS_BATCH_ENTRY_IDS_NOT_DISTINCT] = {400, SQS "BatchEntryIdsNotDistinct",
                                          OLD "BatchEntryIdsNotDistinct"},
    [SQS_INVALID_BATCH_ENTRY_ID] = {400, SQS "InvalidBatchEntryId", OLD "InvalidBatchEntryId"},
    [SQS_UNSUPPORTED_OPERATION] = {400, SQS "UnsupportedOperation", OLD "UnsupportedOperation"},
    [SQS_UNKNOWN_OPERATION] = {400, SERVICE "UnknownOperation", "UnknownOperation"},
    [SQS_PURGE_IN_PROGRESS] = {403, SQS "PurgeQueueInProgress", OLD "PurgeQueueInProgress"},
    [SQS_RESOURCE_NOT_FOUND] = {404, SQS "ResourceNotFoundException", "ResourceNotFoundException"},
    [SQS_ACCESS_DENIED] = {403, SERVICE "AccessDeniedException", "AccessDenied"},
    [SQS_SERIALIZATION] = {400, SERVICE "SerializationException", "SerializationException"},
    [SQS_MISSING_AUTHENTICATION_TOKEN] = {403, SERVICE "MissingAuthenticationToken",
                                          "MissingAuthenticationToken"},
    [SQS_INCOMPLETE_SIGNATURE] = {400, SERVICE "IncompleteSignature", "IncompleteSignature"},
    [SQS_INVALID_CLIENT_TOKEN_ID] = {403, SERVICE "InvalidClientTokenId", "InvalidClientTokenId"},
    [SQS_SIGNATURE_DOES_NOT_MATCH] = {403, SERVICE "SignatureDoesNotMatch",
                                      "SignatureDoesNotMatch"},
    [SQS_REQUEST_EXPIRED] = {400, SERVICE "RequestExpired", "RequestExpired"},
    [SQS_REQUEST_IN_THE_FUTURE] = {400, SERVICE "RequestInTheFuture", "RequestInTheFuture"},
    [SQS_REQUEST_TOO_LARGE] = {413, SERVICE "RequestTooLarge", "RequestTooLarge"},
    [SQS_SERVICE_UNAVAILABLE] = {503, SERVICE "ServiceUnavailable", "ServiceUnavailable"},
};

const char *sqs_error_code(enum sqs_error error)
{
    return rows[error].query_code;
}

void sqs_fail(struct exchange *exchange, enum sqs_error error, const char *format, ...)
{
    struct error ignored = ERROR_INIT;
    struct answer *answer = &exchange->answer;
    struct json_writer *json = NULL;
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    answer_reset(answer);
    answer->status = rows[error].status; /* stands even where the text does not fit into memory */
    if (json_writer_new(false, &json, &ignored)) {
        json_object(json, NULL);
        json_put_text(json, "__type", rows[error].type);
        json_put_text(json, "message", message);
        json_object_end(json);
        (void)!answer_json(answer, rows[error].status, SQS_JSON_TYPE, json, &ignored);
        json_writer_free(&json);
    }
    snprintf(answer->query_error, sizeof answer->query_error, "%s;%s", rows[error].query_code,
             rows[error].status < 500 ? "Sender" : "Receiver");
}
