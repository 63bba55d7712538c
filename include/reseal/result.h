/* SPDX-License-Identifier: Apache-2.0 */
/* The result message, "reseal.result.v1", and the codes of refusals and failures. */
#ifndef RESEAL_RESULT_H
#define RESEAL_RESULT_H

#include "reseal/custody.h"
#include "reseal/request.h"
#include "reseal/text.h"

#define RESULT_PAYLOAD_MAX (128 * 1024) /* bytes, decoded */

enum outcome {
    OUTCOME_RESEALED, /* payload holds what the device opens */
    OUTCOME_REFUSED,  /* against the rules: asking again is no use */
    OUTCOME_FAILED,   /* could not be done */
};
const char *outcome_name(enum outcome outcome) MUST_USE;

/* The numbers of Microsoft's public revocation API: 40xx is final, 41xx worth a retry. */
enum result_code {
    RESULT_NONE = 0,
    RESULT_SERVICE = 4000,
    RESULT_DATA_SERIALIZATION = 4001, /* the bytes are not a message */
    RESULT_PARAMETER_INVALID = 4002,  /* a message with a value that cannot be */
    RESULT_CRYPTOGRAPHY = 4003,       /* uniform: never says why */
    RESULT_CERTIFICATE_NOT_FOUND = 4004,
    RESULT_CONFLICT = 4005,
    RESULT_NOT_SUPPORTED = 4006,
    RESULT_TOO_LARGE = 4007,
    RESULT_QUEUE_NOT_FOUND = 4008, /* ours, of the hub's answers; no result has it */
    RESULT_SERVICE_RETRY = 4100,
    RESULT_UNAVAILABLE = 4101,
    RESULT_TOO_BUSY = 4102,
    RESULT_AUTHENTICATION = 4103,
};
/* "Cryptography" and so on. */
const char *result_code_name(enum result_code code) MUST_USE;
bool result_code_retryable(enum result_code code) MUST_USE;

struct result {
    char id[UUID_TEXT];                  /* the same for each retry: made from source and subject */
    char source[MESSAGE_SOURCE_MAX + 1]; /* the connector, as "urn:reseal:connector:NAME" */
    char subject[MESSAGE_ID_MAX + 1];    /* id of the request */
    int64_t time_ms;
    enum outcome outcome;
    /* resealed */
    enum custody custody;
    enum format format;
    struct buf payload; /* owned */
    char key_name[RECORD_NAME_MAX + 1];
    char connector[RECORD_NAME_MAX + 1];
    /* refused, failed */
    enum result_code code;
    char message[256];
};

void result_init(struct result *result);
void result_free(struct result *result);

/* Sets id, subject, source, connector and time for an answer to the request. */
bool result_address(struct result *result, const struct request *request, const char *connector,
                    struct error *err) MUST_USE;
/* Outcome, code and message from an error. Every FAIL_CRYPTO gives the same code and text. */
void result_from_error(struct result *result, const struct error *err);

bool result_read(const void *text, size_t len, struct result *result, struct error *err) MUST_USE;
bool result_write(const struct result *result, struct buf *out, struct error *err) MUST_USE;

#endif
