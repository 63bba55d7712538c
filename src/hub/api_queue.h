/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue API: Amazon SQS in its JSON protocol (POST, X-Amz-Target: AmazonSQS.OPERATION), signed
 * with SigV4. Each operation parses its parameters in the server's thread and does its work as a
 * job of the store thread.
 */
#ifndef RESEAL_HUB_API_QUEUE_H
#define RESEAL_HUB_API_QUEUE_H

#include "sqs_error.h"
#include "store_queue.h"

#define QUEUE_BODY_MAX   (1024 * 1024) /* bytes; ten messages of 256 KiB together, and escapes */
#define BATCH_MAX        10
#define BATCH_ID_MAX     80
#define LEASE_MAX_S      43200
#define QUEUE_WAIT_MAX_S 20
#define DELAY_MAX_S      900

/* One message or receipt of a call; a batch has up to ten. */
struct entry {
    const char *id; /* of the batch entry */
    struct outgoing message;
    const char *receipt_handle;
    int64_t lease_s;
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
};

/* One call; texts point into `json`. */
struct queue_call {
    struct json *json;
    char queue[QUEUE_NAME_MAX + 1];
    char region[SIGV4_REGION_MAX + 1]; /* signed for; a part of ARNs */
    bool batch;
    size_t count;
    struct entry entries[BATCH_MAX];
    /* ReceiveMessage */
    int64_t max, lease_s, wait_s; /* -1: as the queue has it */
    unsigned want;
    /* CreateQueue, SetQueueAttributes: what is to be; GetQueueAttributes: what is asked for */
    struct queue_row settings;
    char dead_letter[QUEUE_NAME_MAX + 1]; /* name in the RedrivePolicy, "": none */
    unsigned attributes;                  /* bits by the order of the table of attributes */
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
/* Writes "BASE/000000000000/NAME". */
void queue_put_url(const struct exchange *exchange, struct json_writer *json, const char *name);

/* api_queue_messages.c */
queue_parse parse_send, parse_send_batch, parse_receive, parse_change, parse_change_batch,
    parse_delete, parse_delete_batch;
job_run run_send, run_receive, run_change, run_delete;
/* api_queue_attributes.c */
queue_parse parse_get_url, parse_create, parse_get_attributes, parse_set_attributes;
job_run run_get_url, run_create, run_get_attributes, run_set_attributes;

#endif
