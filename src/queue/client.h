/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the queue client.
 *
 * A *call* is one operation of the service's protocol. What the caller asks for becomes an
 * *operation* (send, delete, extend) that waits in its queue's *lane* until it is due; up to ten of
 * one lane travel together in one *exchange*, which is one HTTP request with its answer.
 *
 *   operation:  waiting in a lane -> in an exchange -> done (callback), or back in its lane
 *   exchange:   idle -> running (libcurl has it) -> answered -> idle
 *   URL:        unknown -> asked -> known
 */
#ifndef RESEAL_QUEUE_CLIENT_H
#define RESEAL_QUEUE_CLIENT_H

#include <curl/curl.h>
#include "reseal/queue.h"

#define GATHER_SEND_MS     3
#define GATHER_DELETE_MS   20           /* nobody waits for it */
#define EXCHANGES_MAX      8            /* under way at once, receives not counted */
#define QUEUE_URL_MAX      1024         /* bytes of a QueueUrl */
#define BATCH_BYTES        (256 * 1024) /* message bodies of one SendMessageBatch */
#define ANSWER_BYTES       (64 * 1024)  /* of every answer but that of a receive */
#define RETRY_AFTER_MAX_MS (60 * 1000)  /* longest Retry-After that is obeyed */
#define TRIES_WHILE_LEASED 8            /* of a delete or an extension */

enum call {
    CALL_URL,
    CALL_RECEIVE,
    CALL_SEND,
    CALL_DELETE,
    CALL_EXTEND,
    CALL_ATTRIBUTES,
};
#define CALL_COUNT 6
#define LANE_COUNT 3 /* CALL_SEND, CALL_DELETE, CALL_EXTEND */

struct operation {
    struct operation *next;
    enum call call;
    struct buf content; /* message body, or receipt handle */
    unsigned lease_s;   /* CALL_EXTEND */
    queue_done *done;
    void *context;
    unsigned tries; /* that have failed */
    int64_t due_ms; /* not before (monotonic) */
    int64_t asked_ms;
    bool alone; /* its batch was refused as a whole: it travels by itself to show who is bad */
};

struct lane {
    struct operation *first, *last; /* in the order asked for */
    size_t count;
    unsigned running; /* exchanges under way */
};

struct receive {
    bool open;                 /* asked for and not answered */
    struct exchange *exchange; /* NULL while it waits for the URL or for quiet_until_ms */
    unsigned max, lease_s, wait_s;
    queue_received *done;
    void *context;
};

enum url_state {
    URL_UNKNOWN,
    URL_ASKED,
    URL_KNOWN,
};

struct queue {
    struct queue_client *client;
    struct queue *next;
    char name[QUEUE_NAME_MAX + 1];
    enum url_state url_state;
    char url[QUEUE_URL_MAX + 1];
    unsigned url_failures;
    int64_t url_due_ms;
    struct lane lanes[LANE_COUNT];
    struct receive receive;
};

enum exchange_state {
    EXCHANGE_IDLE,
    EXCHANGE_RUNNING,
    EXCHANGE_ANSWERED,
};

struct exchange {
    struct exchange *next; /* all of the client's */
    struct queue_client *client;
    enum exchange_state state;
    CURL *easy;
    enum call call;
    struct queue *queue;
    struct operation *operations[QUEUE_BATCH_MAX]; /* owned while it is under way */
    size_t count;
    struct buf body;   /* libcurl reads it while the exchange runs */
    struct buf answer; /* its ceiling is set for each call */
    CURLcode code;     /* how libcurl ended */
    char reason[CURL_ERROR_SIZE];
};

struct queue_client {
    char endpoint[513];
    CURLM *multi;
    struct curl_slist *headers[CALL_COUNT];
    char *ca_file;           /* NULL: the system's */
    char *provider;          /* "aws:amz:REGION:sqs", NULL without a credential */
    char access_key_id[129]; /* not a secret */
    struct secret *secret_access_key;
    struct queue *queues;
    struct exchange *exchanges;
    size_t running;         /* exchanges under way, receives not counted */
    size_t in_flight;       /* operations and receives that wait for their callback */
    int64_t quiet_until_ms; /* the service asked for a pause (Retry-After) */
    bool started;           /* exchanges were handed to libcurl in this turn */
    bool gather;            /* the caller expects more: batches may wait for company */
    bool troubled;          /* a failure was logged and no success since */
    bool closing;
};

/* -- protocol.c: the JSON of each call -- */
const char *call_name(enum call call) MUST_USE;
bool write_body(struct exchange *exchange, struct error *err) MUST_USE;
/* What the service says in an answer of 4xx or 5xx; `kind` is FAIL_REMOTE where another try may
 * help. */
void read_failure(const struct exchange *exchange, long status, struct error *err);
bool read_url(const struct exchange *exchange, char url[static QUEUE_URL_MAX + 1],
              struct error *err) MUST_USE;
bool read_attributes(const struct exchange *exchange, struct queue_facts *out,
                     struct error *err) MUST_USE;
/* errors[i] tells about operations[i]: FAIL_NONE done. One that the answer does not name is
 * FAIL_REMOTE. */
bool read_batch(const struct exchange *exchange, struct error errors[static QUEUE_BATCH_MAX],
                struct error *err) MUST_USE;
/* Messages whose body does not have its MD5OfBody, or without a receipt, are left out. */
struct json;
bool read_messages(const struct exchange *exchange, struct json **out,
                   struct queue_message messages[static QUEUE_BATCH_MAX], size_t *count,
                   struct error *err) MUST_USE;

/* -- exchange.c: one HTTP request with its answer -- */
/* An idle exchange for the call, with an empty body. */
bool exchange_take(struct queue *queue, enum call call, struct exchange **out,
                   struct error *err) MUST_USE;
/* Writes the body and hands the exchange to libcurl. */
bool exchange_start(struct exchange *exchange, struct error *err) MUST_USE;
/* The same, but waits for the answer. */
bool exchange_run(struct exchange *exchange, struct error *err) MUST_USE;
/* What the answer means: true for a 200 whose body is to be read; otherwise the error. */
bool exchange_verdict(struct exchange *exchange, struct error *err) MUST_USE;
/* Takes it from libcurl if it runs, and makes it idle; its operations must be gone. */
void exchange_drop(struct exchange *exchange);
void exchange_free(struct exchange *exchange);

/* -- operation.c: what waits in lanes -- */
/* Starts what is due; *next_ms becomes the time of the next thing that will be. */
void lane_start(struct queue *queue, enum call call, int64_t now_ms, int64_t *next_ms);
/* Runs callbacks of the exchange's operations, or puts them back. */
void batch_settle(struct exchange *exchange, const struct error *failure);
/* At the end of the client: every callback runs with the error. */
void lane_abandon(struct lane *lane, struct queue *queue, const struct error *err);
void batch_abandon(struct exchange *exchange, const struct error *err);
/* Logs the first failure that is tried again, and the first success after. */
void client_note(struct queue_client *client, enum call call, const struct error *failure);

/* -- receive.c -- */
void receive_start(struct queue *queue, int64_t now_ms, int64_t *next_ms);
/* Runs the callback. */
void receive_settle(struct queue *queue, struct exchange *exchange, const struct error *failure);

#endif
