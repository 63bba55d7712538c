/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are, to Azure Storage: a connection string, and what is made of it for one request.
 *
 * "Authorize with Shared Key" of the REST reference: HMAC-SHA256 by the account key over method,
 * headers and resource. A shared access signature is made by whoever has the key; it is part of the
 * URL, and nothing is signed.
 */
#ifndef RESEAL_QUEUE_AZURE_SIGN_H
#define RESEAL_QUEUE_AZURE_SIGN_H

#include "client.h"

/*
 * Reads a file with a connection string:
 *   DefaultEndpointsProtocol=https;AccountName=NAME;AccountKey=BASE64;EndpointSuffix=core.windows.net
 *   QueueEndpoint=https://NAME.queue.core.windows.net;SharedAccessSignature=sv=...&sig=...
 */
bool azure_key_load(const char *path, struct access_key *out, struct error *err) MUST_USE;

/* What is signed of one request; texts without line ends. */
struct azure_request {
    const char *method;
    const char *path;         /* of the URL, with the account where that is part of it */
    const char *content_type; /* "" without a body */
    size_t content_length;
    const char *date;    /* x-ms-date */
    const char *version; /* x-ms-version */
    /* Parameters of the query in the order of their names, not escaped; ends with a NULL name. */
    const struct azure_parameter {
        const char *name;
        const char *value;
    } * parameters;
};

/* Appends "SharedKey ACCOUNT:SIGNATURE". */
bool azure_authorization(const struct access_key *key, const struct azure_request *request,
                         struct buf *out, struct error *err) MUST_USE;

#endif
