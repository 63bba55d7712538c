/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP queue client: Amazon SQS (AWS JSON 1.0 protocol, SigV4) and what is compatible with it,
 * or Azure Storage Queue (account key or SAS).
 *
 * Asynchronous: an operation is begun, and its callback runs from queue_turn when the answer is
 * there, the operation has failed for good, or the client is freed (FAIL_REMOTE). A fault that
 * another try may mend (no connection, 429, 5xx, a cut answer) is tried again inside with back-off
 * and jitter, except for receives, whose failure goes to the callback (FAIL_REMOTE, FAIL_AUTH,
 * FAIL_NOT_FOUND, or FAIL_TOO_LARGE for an answer over the bound); the caller decides. One client
 * serves one thread.
 *
 * Requests go over few kept connections. What they are signed with is read again when its file
 * changes, and when it was refused: then the request is tried once with the newer key.
 *
 * The client knows nothing of PKCS#11, of the hub or of what messages say.
 */
#ifndef RESEAL_QUEUE_H
#define RESEAL_QUEUE_H

#include <poll.h>
#include "reseal/buf.h"
#include "reseal/credentials.h"

#define QUEUE_BATCH_MAX      10
#define QUEUE_MESSAGE_MAX    (1024 * 1024) /* bytes of one body that is received */
#define QUEUE_RECEIPT_MAX    1024
#define QUEUE_MESSAGE_ID_MAX 128
#define QUEUE_NAME_MAX       80
#define QUEUE_CONNECTIONS    10 /* where options name none */

enum queue_engine {
    QUEUE_SQS,
    QUEUE_AZURE,
};

struct queue_options {
    enum queue_engine engine;
    const char *endpoint; /* "http://127.0.0.1:9324"; Azure: NULL: as the credentials name it */
    const char *region;   /* SQS */
    const char *ca_file;  /* of endpoint and proxy; NULL: the system's */
    /* PEM files of a client certificate and its key, read for each new connection; NULL: none */
    const char *client_certificate, *client_key;
    /* File with the access key (SQS: shared credentials; Azure: connection string), read again when
     * it changes; or, where it is NULL, a fixed key of SQS; neither: nothing is signed. */
    const char *credentials;
    const char *profile;                 /* section of that file, NULL: "default" */
    const struct credential *credential; /* copied */
    const char *proxy;                   /* "http://HOST:PORT" or https; NULL: none */
    const char *proxy_credentials;       /* secret source (reseal/secret.h) of USER:PASSWORD */
    const char *no_proxy;  /* hosts and domains, separated by commas, that are reached without */
    unsigned connections;  /* at most, at once; 0: QUEUE_CONNECTIONS */
    unsigned idle_poll_s;  /* engines without long poll: longest pause between polls; 0: 5 */
    unsigned max_receives; /* engines without redrive: what is received more often goes to the queue
                              NAME-poison; 0: nothing does */
};

struct queue_message {
    char message_id[QUEUE_MESSAGE_ID_MAX + 1];
    char receipt[QUEUE_RECEIPT_MAX + 1];
    struct bytes body;      /* valid during the callback */
    unsigned receive_count; /* ApproximateReceiveCount; 1 the first time, 0 where not told */
};

struct queue_client;
struct queue; /* one queue by its name; belongs to the client */

/* Endpoints and proxies that carry a password, or cannot be signed for, are FAIL_USAGE. */
bool queue_client_new(const struct queue_options *options, struct queue_client **out,
                      struct error *err) MUST_USE;
/* The client that section [queue] of the configuration describes. */
struct config;
bool queue_client_open(const struct config *config, struct queue_client **out,
                       struct error *err) MUST_USE;
/* The same with another section of the credentials file. */
bool queue_client_open_as(const struct config *config, const char *profile,
                          struct queue_client **out, struct error *err) MUST_USE;
/* Calls every callback that is due, with FAIL_REMOTE. */
void queue_client_free(struct queue_client **client);

/* Without anything secret. */
const char *queue_endpoint(const struct queue_client *client) MUST_USE;
/* The queue for what is received too often from queue `name`; false where the client sends nothing
 * there. */
bool queue_poison_name(const struct queue_client *client, const char *name,
                       char out[static QUEUE_NAME_MAX + 1]) MUST_USE;

/* For a person who looks: what was received too often is shown like all else, and stays. */
void queue_look_only(struct queue_client *client);

/* Names a queue; its URL is asked for (GetQueueUrl) at the first use. */
bool queue_named(struct queue_client *client, const char *name, struct queue **out,
                 struct error *err) MUST_USE;

/*
 * Waits for up to `timeout_ms` until HTTP or one of the caller's descriptors is ready (their
 * revents are set), does what can be done, and runs callbacks.
 */
bool queue_turn(struct queue_client *client, struct pollfd *fds, size_t count, int timeout_ms,
                struct error *err) MUST_USE;

/* `err` is NULL on success. */
typedef void queue_done(void *context, const struct error *err);
typedef void queue_received(void *context, const struct error *err,
                            const struct queue_message *messages, size_t count);

/* One receive: at most `max` (1..10) messages, hidden for `lease_s`, waiting up to `wait_s`
 * seconds. */
bool queue_receive(struct queue *queue, unsigned max, unsigned lease_s, unsigned wait_s,
                   queue_received *done, void *context, struct error *err) MUST_USE;
/* Ends the receive that is under way, if any: its callback runs with no messages. A message that
 * the service hands out at this very moment comes back when its lease ends. */
void queue_receive_cancel(struct queue *queue);

/*
 * The following gather what is asked for in one turn into batches of up to ten (SendMessageBatch
 * and so on); each has its own answer. Everything passed is copied. A fault that passes is tried
 * again: a send for ever, a delete or an extension a bounded number of times. A refusal of this
 * very entry is final (FAIL_INPUT). A body that the engine cannot take is FAIL_TOO_LARGE at once.
 * A receipt counts until the message is deleted, given back or its lease ends, however often it was
 * extended.
 */
bool queue_send(struct queue *queue, struct bytes body, queue_done *done, void *context,
                struct error *err) MUST_USE;
bool queue_delete(struct queue *queue, const char *receipt, queue_done *done, void *context,
                  struct error *err) MUST_USE;
/* Sets the lease to `lease_s` from now; 0 gives the message back at once. */
bool queue_extend(struct queue *queue, const char *receipt, unsigned lease_s, queue_done *done,
                  void *context, struct error *err) MUST_USE;

/* While the caller expects more of the same soon, sends wait a few milliseconds, and deletes some
 * more, for company in their batch. Off at the beginning. */
void queue_gather(struct queue_client *client, bool more_expected);

/* Operations that have been begun and not answered. */
size_t queue_in_flight(const struct queue_client *client) MUST_USE;

/* For doctor: one look at the queue's attributes, blocking, no second try. Fills counts and the
 * clock difference (service minus ours, from the Date header). */
struct queue_facts {
    int64_t visible, in_flight, delayed; /* -1: the engine does not tell */
    int64_t clock_skew_ms;
    int64_t oldest_age_s;                 /* -1: the engine does not tell */
    char dead_letter[QUEUE_NAME_MAX + 1]; /* queue for what is received too often; "": none told */
    unsigned max_receives;                /* before that; 0: not told */
};
/* Bytes of the largest body that the engine takes. */
size_t queue_message_max(const struct queue_client *client) MUST_USE;
bool queue_examine(struct queue *queue, struct queue_facts *out, struct error *err) MUST_USE;

#endif
