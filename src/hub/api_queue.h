/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue API: Amazon SQS in its JSON protocol (POST, X-Amz-Target: AmazonSQS.OPERATION), signed
 * with SigV4. Each operation parses its parameters in the server's thread and does its work as a
 * job of the store thread.
 */
#ifndef RESEAL_HUB_API_QUEUE_H
#define RESEAL_HUB_API_QUEUE_H

#include "message_attributes.h"
#include "reseal/access.h"
#include "reseal/credentials.h"
#include "sqs_error.h"
#include "store_moves.h"
#include "store_queue.h"
#include "store_queue_admin.h"

/* Ten messages of MESSAGE_SIZE_LIMIT together, with escapes and base64. */
#define QUEUE_BODY_MAX   (2 * 1024 * 1024)
#define BATCH_MAX        10
#define BATCH_ID_MAX     80
#define LEASE_MAX_S      43200
#define QUEUE_WAIT_MAX_S 20
#define DELAY_MAX_S      900
#define LIST_MAX         1000 /* queues in one answer */
#define TOKEN_TEXT       (QUEUE_NAME_MAX + 1)

/* One message or receipt of a call; a batch has up to ten. */
struct entry {
    const char *id; /* of the batch entry */
    struct outgoing message;
    struct buf attributes; /* packed, of the message */
    size_t size;           /* of the message with its attributes */
    const char *receipt_handle;
    int64_t lease_s;
    bool malformed; /* it failed before any run */
    /* what came of it */
    bool failed;
    enum sqs_error error;
    char why[256];
    char message_id[UUID_TEXT];
};

/* Which system attributes a receive asks for. */
enum message_attribute {
    WANT_SENT = 1,
    WANT_RECEIVE_COUNT = 2,
    WANT_FIRST_RECEIVED = 4,
    WANT_SENDER = 8,
    WANT_TRACE = 16,
    WANT_SOURCE = 32,
};

/* What RedriveAllowPolicy or RedrivePolicy say. */
struct redrive {
    char dead_letter[QUEUE_NAME_MAX + 1]; /* name in the RedrivePolicy, "": none */
    char allow[REDRIVE_ALLOW_MAX];        /* see store_queue_admin.h */
};

/* One call; texts point into `json`. */
struct queue_call {
    struct json *json;
    char queue[QUEUE_NAME_MAX + 1];     /* "": the operation names none */
    struct sigv4_signer signer;         /* its region is a part of ARNs */
    char access_key[SENDER_MAX + 1];    /* who calls */
    char rights[CREDENTIAL_RIGHTS_MAX]; /* his; see access.h */
    bool batch;
    size_t count;
    struct entry entries[BATCH_MAX];
    /* ReceiveMessage */
    int64_t max, lease_s, wait_s; /* -1: as the queue has it */
    unsigned want;
    const struct json_value *names; /* of the message attributes that are asked for, or NULL */
    /* CreateQueue, SetQueueAttributes: what is to be; GetQueueAttributes: what is asked for */
    struct queue_row settings;
    struct redrive redrive;
    unsigned attributes; /* bits by the order of the table of attributes */
    /* ListQueues, ListDeadLetterSourceQueues, ListMessageMoveTasks: `max` and */
    const char *prefix;     /* of the names that are wanted */
    char after[TOKEN_TEXT]; /* the name that ended the page before */
    bool paged;             /* MaxResults was given */
    /* StartMessageMoveTask, CancelMessageMoveTask */
    char destination[QUEUE_NAME_MAX + 1]; /* "": where each message came from */
    int64_t rate;
    const char *handle;
};

/* A parser fills the call, and answers the exchange itself where it returns false. */
typedef bool queue_parse(struct exchange *exchange, const struct json_value *root,
                         struct queue_call *call);

route_check queue_check;
route_handle queue_handle;
route_fail queue_fail;

/* sqs_fail for an error of the JSON schema. Returns false. */
bool queue_refuse(struct exchange *exchange, const struct error *err);
/* The queue of the call in the store; where there is none the exchange is answered. */
const struct queue_row *queue_of_call(struct exchange *exchange,
                                      const struct database *database) MUST_USE;
/* True if the caller has one of these rights on the queue; otherwise the exchange is answered. */
bool queue_permit(struct exchange *exchange, unsigned rights, const char *queue) MUST_USE;
/* Writes "BASE/000000000000/NAME" as the member or, with a NULL key, the element of an array. */
void queue_put_url(const struct exchange *exchange, struct json_writer *json, const char *key,
                   const char *name);
/* "arn:aws:sqs:REGION:000000000000:NAME" and back; false where it is no ARN of a queue. */
#define ARN_TEXT (SIGV4_REGION_MAX + QUEUE_NAME_MAX + 32)
void queue_arn(const struct queue_call *call, const char *name, char out[static ARN_TEXT]);
bool queue_of_arn(const char *arn, char out[static QUEUE_NAME_MAX + 1]) MUST_USE;
/* Answers with the writer's object. */
enum job_verdict queue_answer(struct exchange *exchange, struct json_writer **json,
                              struct error *err) MUST_USE;
/* Answers with "{}". */
enum job_verdict queue_answer_empty(struct exchange *exchange) MUST_USE;
/* Whether the hub itself works with this queue. */
bool queue_is_own(const struct hub *hub, int64_t queue) MUST_USE;

/* api_queue_messages.c */
queue_parse parse_send, parse_send_batch, parse_receive, parse_change, parse_change_batch,
    parse_delete, parse_delete_batch;
job_run run_send, run_receive, run_change, run_delete;
/* api_queue_attributes.c */
queue_parse parse_get_url, parse_create, parse_get_attributes, parse_set_attributes;
job_run run_get_url, run_create, run_get_attributes, run_set_attributes;
/* api_queue_admin.c */
queue_parse parse_list, parse_queue_alone, parse_list_sources;
job_run run_list, run_purge, run_delete_queue, run_list_sources;
/* api_queue_moves.c */
queue_parse parse_start_move, parse_list_moves, parse_cancel_move;
job_run run_start_move, run_list_moves, run_cancel_move;

/* api_queue_batch.c: calls with one entry and batches of them */
typedef void parse_entry(const struct json_value *object, const char *where, struct entry *entry);
/* Marks one entry as failed; the others of the batch go on. */
void entry_fail(struct entry *entry, enum sqs_error error, const char *why);
/* Forgets what came of the entries in a run before, whose transaction was lost. */
void entries_renew(struct queue_call *call);
bool parse_one(struct exchange *exchange, const struct json_value *root, struct queue_call *call,
               parse_entry *parse) MUST_USE;
bool parse_batch(struct exchange *exchange, const struct json_value *root, struct queue_call *call,
                 parse_entry *parse) MUST_USE;
/* Answers with `put` for each entry that was done, and for a batch with the lists of both kinds. */
typedef void put_entry(struct exchange *exchange, struct json_writer *json,
                       const struct entry *entry);
enum job_verdict answer_entries(struct exchange *exchange, put_entry *put,
                                struct error *err) MUST_USE;

/* api_queue_redrive.c: RedrivePolicy and RedriveAllowPolicy. False where the exchange was answered,
 * with the reason. */
bool redrive_policy_read(struct exchange *exchange, const char *text, struct queue_call *call);
bool redrive_allow_read(struct exchange *exchange, const char *text, struct queue_call *call);
/* Puts the dead-letter queue that the call names into `queue`. JOB_DONE where it may not be. */
enum job_verdict redrive_policy_apply(struct exchange *exchange, struct database *database,
                                      struct queue_row *queue, bool *applied,
                                      struct error *err) MUST_USE;
void redrive_policy_put(struct json_writer *json, const struct queue_call *call,
                        const struct database *database, const struct queue_row *queue);
bool redrive_allow_put(struct json_writer *json, const struct queue_call *call,
                       struct database *database, const struct queue_row *queue,
                       struct error *err) MUST_USE;

#endif
