/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request and its answer.
 *
 * A handler runs in the server's thread once the whole body is there. It either fills the answer at
 * once or sets up `job` for the store thread; the job's `run` then fills the answer, which is sent
 * when the job has been committed. With `next_run` the job is submitted a second time instead.
 */
#ifndef RESEAL_HUB_EXCHANGE_H
#define RESEAL_HUB_EXCHANGE_H

#include <microhttpd.h>
#include "hub.h"
#include "reseal/json.h"

#define ANSWER_MAX (8 * 1024 * 1024) /* bytes; the largest is a receive of ten big messages */
#define URI_MAX    4096

struct answer {
    unsigned status;          /* HTTP; 0: none yet */
    const char *content_type; /* of the body */
    const char *allow;        /* methods, for 405; or NULL */
    char query_error[96];     /* x-amzn-query-error, or "" */
    struct buf body;
};

enum exchange_stage {
    STAGE_HEADERS, /* the request line is there */
    STAGE_BODY,    /* the body is being taken */
    STAGE_REFUSED, /* answered already; the body is read and dropped */
    STAGE_STORE,   /* in the hands of the store thread */
    STAGE_ANSWER,  /* the answer is complete */
    STAGE_SENT,    /* the answer is on its way */
};

struct route;

struct exchange {
    struct hub *hub;
    struct MHD_Connection *connection;
    int socket;
    enum exchange_stage stage;
    bool counted;       /* as being in hand */
    bool authenticated; /* the client has proved who it is */
    bool close;         /* the connection, after the answer */
    const struct route *route;
    char request_id[UUID_TEXT];
    char method[8];
    const char *query;  /* as it came, "" where there is none */
    const char *suffix; /* of the path, after the route's own part */
    size_t body_max;
    size_t body_held;      /* bytes of it that count against those of all bodies */
    size_t body_seen;      /* bytes received, dropped ones included */
    int64_t body_until_ms; /* monotonic; when the whole body must be there */
    struct buf body;
    struct answer answer;
    struct job job;
    job_run *next_run; /* what the job does next, once its first run is on disk; NULL: answer */
    void *work;        /* the handler's own, freed by work_free with the exchange */
    void (*work_free)(void *work);
    char uri[URI_MAX]; /* as it came, cut at the '?'; the last member, as it is not cleared */
};

/* Called when the headers are there; an answer that it fills refuses the request. */
typedef void route_check(struct exchange *exchange);
/* Called when the body is there. */
typedef void route_handle(struct exchange *exchange);
/* Fills the answer from an error, in the words of the route's API. */
typedef void route_fail(struct exchange *exchange, const struct error *err);

struct route {
    const char *method;
    const char *path; /* a '*' at the end stands for any rest, which becomes `suffix` */
    size_t body_max;
    route_check *check; /* NULL: none */
    route_handle *handle;
    route_fail *fail;
    const char *id_header; /* how the API calls the id of a request */
};

/* The route of a method and path. NULL: *allow gets the methods of that path, or NULL where there
 * is no such path. */
const struct route *route_find(const char *method, const char *path, const char **suffix,
                               const char **allow) MUST_USE;

const char *exchange_header(const struct exchange *exchange, const char *name) MUST_USE;
#define BASE_URL 300
/* How URLs in answers begin: hub.public_url, or http and the host as the client named it
 * ("localhost" where that is no host). Without a '/' at the end. */
void exchange_base_url(const struct exchange *exchange, char out[static BASE_URL]);
/* True if Content-Type is this type, whatever its parameters. */
bool exchange_content_type(const struct exchange *exchange, const char *type) MUST_USE;

/* For jobs (job_alive): whether the client still holds its connection. */
bool exchange_client_is_there(const struct job *job) MUST_USE;

/* Empties the answer for another try. */
void answer_reset(struct answer *answer);
/* Ends the writer and makes its text the body of an answer of this status. */
bool answer_json(struct answer *answer, unsigned status, const char *content_type,
                 struct json_writer *json, struct error *err) MUST_USE;

#endif
