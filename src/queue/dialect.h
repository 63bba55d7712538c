/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine speaks: all that tells one queue protocol from another, as a table of functions.
 * The rest of the client (lanes, batches, back-off, leases, keys, proxies) is the same for all.
 *
 *   sqs.c            Amazon SQS, AWS JSON 1.0 protocol, signed with SigV4 by libcurl
 *   azure.c          Azure Storage Queue, XML, by account key (azure_sign.c) or SAS
 */
#ifndef RESEAL_QUEUE_DIALECT_H
#define RESEAL_QUEUE_DIALECT_H

#include "client.h"

/* Messages of one answer, and what their bodies are views into. */
struct message_set {
    struct queue_message messages[QUEUE_BATCH_MAX];
    size_t count;
    struct json *json;
    struct buf text;
};

/* The functions that return bool are to be heeded as with MUST_USE, which cppcheck 2.10 does not
 * read behind a pointer to a function. */
struct dialect {
    const char *name;
    const char *const *calls; /* CALL_COUNT names, for logs and errors */
    unsigned batch_max;       /* sends, deletes or extensions of one request */
    size_t message_max;       /* bytes of one body that the engine takes */
    bool long_poll;           /* the engine lets a receive wait; otherwise the client asks again */
    bool asks_url;            /* a queue's URL must be asked for; otherwise its name makes it */
    bool new_receipts;        /* an extension gives a new receipt, and the old one is void */
    bool redrives; /* the engine itself moves messages that are received too often elsewhere */

    /* Whether a queue can have that name; NULL: the engine will say. */
    bool (*check_name)(const char *name, struct error *err);
    /* Reads the access key from the client's credentials file; *out is empty. */
    bool (*load_key)(const struct queue_client *client, struct access_key *out, struct error *err);
    /* What is the same for every request; the first key has been loaded. */
    bool (*open)(struct queue_client *client, struct error *err);
    /* Gives libcurl method, URL, headers, body and signature of the call. */
    bool (*write_request)(struct exchange *exchange, struct error *err);
    /* What the engine says in an answer that is no 2xx; `kind` is FAIL_REMOTE where another try may
     * help. */
    void (*read_failure)(const struct exchange *exchange, long status, struct error *err);
    bool (*read_url)(const struct exchange *exchange, char url[static QUEUE_URL_MAX + 1],
                     struct error *err);
    bool (*read_attributes)(const struct exchange *exchange, struct queue_facts *out,
                            struct error *err);
    /* errors[i] tells about operations[i]: FAIL_NONE done. One that the answer does not name is
     * FAIL_REMOTE. */
    bool (*read_batch)(struct exchange *exchange, struct error errors[static QUEUE_BATCH_MAX],
                       struct error *err);
    /* Messages whose body is not what was sent, or without a receipt, are left out. */
    bool (*read_messages)(const struct exchange *exchange, struct message_set *out,
                          struct error *err);
};

extern const struct dialect dialect_sqs;
extern const struct dialect dialect_azure;

/* The kind of failure by HTTP status alone. */
enum failure failure_by_status(long status) MUST_USE;

#endif
