/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the queue client. What is said here holds for every engine; what tells them apart is in
 * dialect.h.
 *
 * A *call* is one operation of the service's protocol. What the caller asks for becomes an
 * *operation* (send, delete, extend) that waits in its queue's *lane* until it is due; up to ten of
 * one lane travel together in one *exchange*, which is one HTTP request with its answer.
 *
 *   operation:  waiting in a lane -> in an exchange -> done (callback), or back in its lane
 *   exchange:   idle -> running (libcurl has it) -> answered -> idle
 *               refused with 401, 403 or 407, a newer key is in its file -> running, once
 *   receive:    asked for -> in an exchange -> done (callback)
 *               empty, of an engine without long poll -> asked for, after a pause
 *   URL:        unknown -> asked -> known
 */
#ifndef RESEAL_QUEUE_CLIENT_H
#define RESEAL_QUEUE_CLIENT_H

#include <curl/curl.h>
#include <sys/stat.h>
#include "reseal/queue.h"

#define GATHER_SEND_MS     3
#define GATHER_DELETE_MS   20           /* nobody waits for it */
#define QUEUE_URL_MAX      1024         /* bytes of a QueueUrl */
#define BATCH_BYTES        (256 * 1024) /* message bodies of one SendMessageBatch */
#define ANSWER_BYTES       (64 * 1024)  /* of every answer but that of a receive */
#define HEADER_BYTES       (64 * 1024)  /* of an answer's header lines, trailers among them */
#define RETRY_AFTER_MAX_MS (60 * 1000)  /* longest Retry-After that is obeyed */
#define TRIES_WHILE_LEASED 8            /* of a delete or an extension */
#define KEY_LOOK_MS        1000         /* between looks at the files that keys come from */
#define POISON_SUFFIX      "-poison"    /* of the queue for what was received too often */

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
    bool bounded;       /* given up after TRIES_WHILE_LEASED */
    unsigned lease_s;   /* CALL_EXTEND */
    queue_done *done;
    void *context;
    unsigned tries;          /* that have failed */
    struct renewed *renewed; /* the receipt that stands for the one in `content` now, or NULL */
    int64_t due_ms;          /* not before (monotonic) */
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
    struct exchange *exchange; /* NULL while it waits for the URL, quiet_until_ms or poll_due_ms */
    unsigned max, lease_s, wait_s;
    int64_t until_ms; /* without long poll: asks again until then (monotonic) */
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
    unsigned empty;      /* polls in a row that brought nothing, of an engine without long poll */
    int64_t poll_due_ms; /* its next poll not before */
    struct renewed *renewals;
};

/*
 * Where an extension gives a new receipt, the caller goes on with the one that he has, and it
 * stands for the newest. Nothing else is asked of that message while an extension is under way.
 */
struct renewed {
    struct renewed *next;
    char receipt[QUEUE_RECEIPT_MAX + 1]; /* as the caller has it */
    char now[QUEUE_RECEIPT_MAX + 1];     /* as the engine wants it */
    bool busy;                           /* an extension is under way */
    int64_t until_ms;                    /* the end of its lease */
};

/* What requests are signed with. */
struct access_key {
    char id[129];          /* access key id or storage account: no secret */
    struct secret *secret; /* SQS: with an end mark, for libcurl; Azure: the account key's bytes */
    struct secret *sas;    /* Azure: shared access signature with an end mark, instead of a key */
    char endpoint[513];    /* that the file names, or "" */
};

struct keys {
    char *path; /* of the credentials file, NULL: none */
    char *profile;
    const struct credential *fixed; /* while the client is made: instead of a file */
    struct access_key key;
    struct stat seen;    /* of the file when it was read */
    unsigned generation; /* of what is sent to prove who we are, proxy included; 0: nothing */
    unsigned refused;    /* generation that a person was told about */
    int64_t look_ms;     /* at the file, not before */
};

struct proxy {
    char *url;      /* NULL: none */
    char *none_for; /* hosts that are reached without */
    char *source;   /* of its credentials, NULL: none */
    char *ca_file;
    struct secret *user, *password; /* with end marks */
    struct stat seen;               /* of the file that they are in */
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
    unsigned signed_with;       /* generation that its handle has */
    bool once_more;             /* a newer key was tried */
    struct curl_slist *headers; /* of this request alone */
    struct buf body;            /* libcurl reads it while the exchange runs */
    struct buf answer;          /* its ceiling is set for each call */
    size_t header_bytes;        /* received; over HEADER_BYTES: given up for it */
    CURLcode code;              /* how libcurl ended */
    char reason[CURL_ERROR_SIZE];
};

struct dialect;

struct queue_client {
    const struct dialect *dialect;
    char endpoint[513]; /* without a '/' at its end */
    char region[65];
    CURLM *multi;
    struct curl_slist *headers[CALL_COUNT];
    char *ca_file;                         /* NULL: the system's */
    char *client_certificate, *client_key; /* NULL: none */
    char *provider;                        /* SQS: "aws:amz:REGION:sqs", NULL without a key */
    struct keys keys;
    struct proxy proxy;
    unsigned exchanges_max; /* under way at once, receives not counted */
    unsigned idle_poll_s, max_receives;
    bool look_only; /* nothing goes to the poison queue */
    size_t poisons; /* messages on their way there */
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

/* Where the engine's queues have URLs of their own, it is asked for again. */
void queue_forget_url(struct queue *queue);
const char *call_name(const struct queue_client *client, enum call call) MUST_USE;

/* -- key.c: what requests are signed with, and its renewal -- */
bool client_keys_open(struct queue_client *client, const struct queue_options *options,
                      struct error *err) MUST_USE;
void client_keys_close(struct queue_client *client);
/* Reads the file again where it has changed; looks at most once in KEY_LOOK_MS. */
void client_keys_look(struct queue_client *client, int64_t now_ms);
/* Those of this generation were refused: true where there are newer ones now. Tells a person. */
bool client_keys_renew(struct queue_client *client, unsigned generation) MUST_USE;
void access_key_free(struct access_key *key);
bool file_unchanged(const struct stat *a, const struct stat *b) MUST_USE;

/* -- proxy.c -- */
bool proxy_open(struct queue_client *client, const struct queue_options *options,
                struct error *err) MUST_USE;
void proxy_close(struct proxy *proxy);
/* For a new handle; its credentials by proxy_sign. */
bool proxy_set_up(const struct proxy *proxy, CURL *easy) MUST_USE;
bool proxy_sign(const struct proxy *proxy, CURL *easy) MUST_USE;
/* The file of its credentials has changed, and they are others than before. */
bool proxy_changed(struct proxy *proxy) MUST_USE;
/* The same, read whether it has changed or not. */
bool proxy_reload(struct proxy *proxy) MUST_USE;
/* The proxy did not let the request through; fills the error. */
bool proxy_refused(const struct exchange *exchange, struct error *err) MUST_USE;

/* -- exchange.c: one HTTP request with its answer -- */
/* An idle exchange for the call, with an empty body. */
bool exchange_take(struct queue *queue, enum call call, struct exchange **out,
                   struct error *err) MUST_USE;
/* Writes the request and hands the exchange to libcurl. */
bool exchange_start(struct exchange *exchange, struct error *err) MUST_USE;
/* The same, but waits for the answer. */
bool exchange_run(struct exchange *exchange, struct error *err) MUST_USE;
/* True where it was refused for its key and runs once more with a newer one. */
bool exchange_again(struct exchange *exchange, const struct error *failure) MUST_USE;
/* What the answer means: true for a 2xx whose body is to be read; otherwise the error. */
bool exchange_verdict(struct exchange *exchange, struct error *err) MUST_USE;
/* Takes it from libcurl if it runs, and makes it idle; its operations must be gone. */
void exchange_drop(struct exchange *exchange);
void exchange_free(struct exchange *exchange);

/* -- operation.c: what waits in lanes -- */
/* As queue_send, but given up after TRIES_WHILE_LEASED. */
bool queue_send_bounded(struct queue *queue, struct bytes body, queue_done *done, void *context,
                        struct error *err) MUST_USE;
/* Starts what is due; *next_ms becomes the time of the next thing that will be. */
void lane_start(struct queue *queue, enum call call, int64_t now_ms, int64_t *next_ms);
/* Runs callbacks of the exchange's operations, or puts them back. */
void batch_settle(struct exchange *exchange, const struct error *failure);
/* At the end of the client: every callback runs with the error. */
void lane_abandon(struct lane *lane, struct queue *queue, const struct error *err);
void batch_abandon(struct exchange *exchange, const struct error *err);
/* Logs the first failure that is tried again, and the first success after. */
void client_note(struct queue_client *client, enum call call, const struct error *failure);

/* -- renewed.c: receipts that an extension has replaced -- */
/* The receipt that the engine wants now. */
const char *receipt_now(const struct operation *operation) MUST_USE;
/* Whether the operation may start; an extension that does keeps others of its message waiting. */
bool receipt_take(struct queue *queue, struct operation *operation) MUST_USE;
/* The extension has given a new receipt. */
void receipt_replace(struct operation *operation, const char *receipt);
/* The operation is over: done, or failed for good. */
void receipt_settle(struct queue *queue, struct operation *operation, bool done);
void receipts_free(struct queue *queue);

/* -- poison.c: what was received too often, where the engine does nothing about it -- */
/* True where the message is not for the caller: it goes to the poison queue, or stays where it is
 * while there is no room. */
bool poison_take(struct queue *queue, const struct queue_message *message) MUST_USE;
/* Further ones may be on their way at once. */
bool poison_has_room(const struct queue_client *client) MUST_USE;

/* -- receive.c -- */
void receive_start(struct queue *queue, int64_t now_ms, int64_t *next_ms);
/* Runs the callback. */
void receive_settle(struct queue *queue, struct exchange *exchange, const struct error *failure);

#endif
