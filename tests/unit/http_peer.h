/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real HTTP server on loopback that speaks the queue's protocol and misbehaves on request. What
 * comes without X-Amz-Target is taken for Azure Storage Queue, and its calls are "GET messages",
 * "POST messages", "PUT message", "DELETE message" and "GET queue".
 *
 * Each call of the protocol has its own list of faults, taken from the front; a call without one is
 * answered as a good service would: the URL is told, every entry of a batch succeeds, a receive
 * gives what peer_offer has put there.
 */
#ifndef TEST_HTTP_PEER_H
#define TEST_HTTP_PEER_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/json.h"

#define PEER_LOG_MAX 256

enum fault_kind {
    FAULT_ANSWER, /* status and body as given */
    FAULT_DROP,   /* the connection is closed without an answer */
    FAULT_CUT,    /* the answer ends in the middle */
    FAULT_HANG,   /* no answer until the peer stops */
    FAULT_STREAM, /* a body that has no stated length and does not end */
};

struct fault {
    const char *call; /* "SendMessageBatch"; NULL: taken already */
    enum fault_kind kind;
    unsigned status;
    const char *body;        /* may be NULL */
    const char *retry_after; /* header, or NULL */
    size_t filler;           /* bytes of padding that follow the body */
    void (*taken)(void *);   /* called before it is answered, with `context`; may be NULL */
    void *context;
};

struct seen_call {
    char call[48];
    char *body;
    char authorization[512];
    char url[256];    /* its path */
    char receipt[64]; /* popreceipt of its query */
    size_t entries;
};

struct peer {
    struct MHD_Daemon *daemon;
    char endpoint[64];
    pthread_mutex_t lock;
    struct fault faults[64];
    struct seen_call seen[PEER_LOG_MAX];
    size_t seen_count;
    char *offer; /* answer to the next receive */
    struct MHD_Connection *hanging[8];
    size_t hanging_count;
    const char *accept; /* the one access key that is not refused with 403; NULL: all are good */
    unsigned connections, open, most_open; /* made in all; now; at most at once */
    unsigned receipts;                     /* that extensions have given (Azure) */
    size_t streamed;                       /* bytes of endless bodies that went out */
};

struct peer_upload {
    char method[16];
    char url[256];
    char *data;
    size_t len;
};

static inline void peer_fault(struct peer *peer, struct fault fault)
{
    pthread_mutex_lock(&peer->lock);
    for (size_t i = 0; i < ARRAY_LEN(peer->faults); i++) {
        if (peer->faults[i].call == NULL) {
            peer->faults[i] = fault;
            break;
        }
    }
    pthread_mutex_unlock(&peer->lock);
}

static inline void peer_offer(struct peer *peer, const char *body)
{
    pthread_mutex_lock(&peer->lock);
    free(peer->offer);
    peer->offer = strdup(body);
    pthread_mutex_unlock(&peer->lock);
}

static inline bool peer_take_fault(struct peer *peer, const char *call, struct fault *out)
{
    for (size_t i = 0; i < ARRAY_LEN(peer->faults); i++) {
        if (peer->faults[i].call == NULL || strcmp(peer->faults[i].call, call) != 0)
            continue;
        *out = peer->faults[i];
        size_t after = ARRAY_LEN(peer->faults) - i - 1;
        memmove(&peer->faults[i], &peer->faults[i + 1], after * sizeof peer->faults[0]);
        peer->faults[ARRAY_LEN(peer->faults) - 1].call = NULL;
        return true;
    }
    return false;
}

static inline size_t peer_count(struct peer *peer, const char *call)
{
    size_t count = 0;
    pthread_mutex_lock(&peer->lock);
    for (size_t i = 0; i < peer->seen_count; i++)
        count += strcmp(peer->seen[i].call, call) == 0;
    pthread_mutex_unlock(&peer->lock);
    return count;
}

/* Entries of all requests of a call that have `text` in their body. */
static inline size_t peer_entries(struct peer *peer, const char *call, const char *text)
{
    size_t count = 0;
    pthread_mutex_lock(&peer->lock);
    for (size_t i = 0; i < peer->seen_count; i++) {
        const struct seen_call *seen = &peer->seen[i];
        if (strcmp(seen->call, call) == 0 && strstr(seen->body, text) != NULL)
            count += seen->entries;
    }
    pthread_mutex_unlock(&peer->lock);
    return count;
}

/* Body of the n-th request of a call; valid until the peer stops. */
static inline const char *peer_body(struct peer *peer, const char *call, size_t n)
{
    const char *found = NULL;
    pthread_mutex_lock(&peer->lock);
    for (size_t i = 0; i < peer->seen_count && found == NULL; i++) {
        if (strcmp(peer->seen[i].call, call) == 0 && n-- == 0)
            found = peer->seen[i].body;
    }
    pthread_mutex_unlock(&peer->lock);
    return found;
}

/* What a good service answers; the caller frees it. */
static inline char *peer_good_answer(struct peer *peer, const char *call, const char *body,
                                     size_t *entries)
{
    const struct json_limits limits = {.bytes = 16 << 20, .string = 16 << 20, .values = 4096};
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    char *answer = NULL;
    *entries = 0;
    if (strcmp(call, "GetQueueUrl") == 0)
        return strdup("{\"QueueUrl\":\"http://q.example/1/work\"}");
    if (strcmp(call, "ReceiveMessage") == 0) {
        answer = peer->offer != NULL ? peer->offer : strdup("{}");
        peer->offer = NULL;
        return answer;
    }
    if (strcmp(call, "GetQueueAttributes") == 0)
        return strdup("{\"Attributes\":{\"ApproximateNumberOfMessages\":\"7\","
                      "\"ApproximateNumberOfMessagesNotVisible\":\"2\","
                      "\"ApproximateNumberOfMessagesDelayed\":\"1\"}}");
    if (!json_parse(body, strlen(body), &limits, "request", &json, &err))
        return strdup("{}");
    const struct json_value *list = json_get(json_root(json), "Entries");
    *entries = json_count(list);
    size_t size = 64 + *entries * 64, used;
    answer = malloc(size);
    used = (size_t)snprintf(answer, size, "{\"Successful\":[");
    for (size_t i = 0; i < *entries; i++)
        used += (size_t)snprintf(answer + used, size - used, "%s{\"Id\":\"%s\"}", i > 0 ? "," : "",
                                 json_text(json_get(json_at(list, i), "Id"), NULL));
    snprintf(answer + used, size - used, "]}");
    json_free(&json);
    return answer;
}

static inline ssize_t peer_cut_reader(void *context, uint64_t position, char *out, size_t max)
{
    (void)context;
    if (position > 0 || max < 1)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    out[0] = '{';
    return 1;
}

/* An endless body, counted. */
static inline ssize_t peer_stream_reader(void *context, uint64_t position, char *out, size_t max)
{
    struct peer *peer = context;
    (void)position;
    memset(out, ' ', max);
    __atomic_add_fetch(&peer->streamed, max, __ATOMIC_RELAXED);
    return (ssize_t)max;
}

static inline void peer_on_connection(void *context, struct MHD_Connection *connection, void **own,
                                      enum MHD_ConnectionNotificationCode code)
{
    struct peer *peer = context;
    (void)connection, (void)own;
    pthread_mutex_lock(&peer->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        peer->connections++;
        if (++peer->open > peer->most_open)
            peer->most_open = peer->open;
    } else {
        peer->open--;
    }
    pthread_mutex_unlock(&peer->lock);
}

static inline enum MHD_Result peer_send(struct MHD_Connection *connection, unsigned status,
                                        struct MHD_Response *response, const char *retry_after)
{
    MHD_add_response_header(response, "Content-Type", "application/x-amz-json-1.0");
    if (retry_after != NULL)
        MHD_add_response_header(response, "Retry-After", retry_after);
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static inline enum MHD_Result peer_do_fault(struct peer *peer, struct MHD_Connection *connection,
                                            const struct fault *fault)
{
    size_t len = fault->body != NULL ? strlen(fault->body) : 0;
    char *body;
    switch (fault->kind) {
    case FAULT_DROP:
        return MHD_NO;
    case FAULT_HANG:
        peer->hanging[peer->hanging_count++] = connection;
        MHD_suspend_connection(connection);
        return MHD_YES;
    case FAULT_CUT:
        return peer_send(connection, 200,
                         MHD_create_response_from_callback(1000, 1000, peer_cut_reader, NULL, NULL),
                         NULL);
    case FAULT_STREAM:
        return peer_send(connection, 200,
                         MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 65536,
                                                           peer_stream_reader, peer, NULL),
                         NULL);
    case FAULT_ANSWER:
        break;
    }
    body = malloc(len + fault->filler + 1);
    memset(body, ' ', len + fault->filler);
    if (len > 0)
        memcpy(body, fault->body, len);
    return peer_send(
        connection, fault->status,
        MHD_create_response_from_buffer(len + fault->filler, body, MHD_RESPMEM_MUST_FREE),
        fault->retry_after);
}

static inline bool peer_accepts(const struct peer *peer, const char *signature)
{
    char wanted[160];
    snprintf(wanted, sizeof wanted, "Credential=%s/", peer->accept);
    return signature != NULL && strstr(signature, wanted) != NULL;
}

static inline const char *peer_call(struct MHD_Connection *connection,
                                    const struct peer_upload *upload, char own[static 48])
{
    const char *target = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Amz-Target");
    const char *dot = target != NULL ? strchr(target, '.') : NULL;
    const char *messages = strstr(upload->url, "/messages");
    if (dot != NULL)
        return dot + 1;
    snprintf(own, 48, "%s %s", upload->method,
             messages == NULL      ? "queue"
             : messages[9] == '\0' ? "messages"
                                   : "message");
    return own;
}

/* What a good service does with a call of Azure; each extension gives a receipt of its own. */
static inline enum MHD_Result peer_answer_azure(struct peer *peer,
                                                struct MHD_Connection *connection, const char *call)
{
    const char *body = peer->offer != NULL ? peer->offer : "<QueueMessagesList/>";
    bool receives = strcmp(call, "GET messages") == 0;
    char receipt[32];
    snprintf(receipt, sizeof receipt, "new-%u", ++peer->receipts);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        receives ? strlen(body) : 0, (void *)(uintptr_t)(receives ? body : ""),
        MHD_RESPMEM_MUST_COPY);
    if (strcmp(call, "PUT message") == 0)
        MHD_add_response_header(response, "x-ms-popreceipt", receipt);
    else
        peer->receipts--;
    MHD_add_response_header(response, "x-ms-approximate-messages-count", "7");
    if (receives) {
        free(peer->offer);
        peer->offer = NULL;
    }
    unsigned status = call[0] == 'G' ? 200 : strcmp(call, "POST messages") == 0 ? 201 : 204;
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static inline void peer_note(struct peer *peer, struct MHD_Connection *connection, const char *call,
                             const struct peer_upload *upload, size_t entries)
{
    const char *signature =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    const char *receipt =
        MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "popreceipt");
    if (peer->seen_count == PEER_LOG_MAX)
        return;
    struct seen_call *seen = &peer->seen[peer->seen_count++];
    snprintf(seen->call, sizeof seen->call, "%s", call);
    snprintf(seen->authorization, sizeof seen->authorization, "%s",
             signature != NULL ? signature : "");
    snprintf(seen->url, sizeof seen->url, "%s", upload->url);
    snprintf(seen->receipt, sizeof seen->receipt, "%s", receipt != NULL ? receipt : "");
    seen->body = strdup(upload->data);
    seen->entries = entries;
}

static inline enum MHD_Result peer_respond(struct peer *peer, struct MHD_Connection *connection,
                                           const struct peer_upload *upload)
{
    char own[48];
    const char *call = peer_call(connection, upload, own);
    const char *signature =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    char *answer = NULL;
    enum MHD_Result result;
    struct fault fault;
    size_t entries = 0;
    pthread_mutex_lock(&peer->lock);
    if (call != own)
        answer = peer_good_answer(peer, call, upload->data, &entries);
    peer_note(peer, connection, call, upload, entries);
    if (peer_take_fault(peer, call, &fault)) {
        if (fault.taken != NULL)
            fault.taken(fault.context);
        result = peer_do_fault(peer, connection, &fault);
    } else if (peer->accept != NULL && !peer_accepts(peer, signature)) {
        result = peer_send(connection, 403,
                           MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT), NULL);
    } else if (call == own) {
        result = peer_answer_azure(peer, connection, call);
    } else {
        result = peer_send(
            connection, 200,
            MHD_create_response_from_buffer(strlen(answer), answer, MHD_RESPMEM_MUST_COPY), NULL);
    }
    free(answer);
    pthread_mutex_unlock(&peer->lock);
    return result;
}

static inline enum MHD_Result peer_on_request(void *context, struct MHD_Connection *connection,
                                              const char *url, const char *method,
                                              const char *version, const char *data, size_t *len,
                                              void **state)
{
    (void)version;
    struct peer_upload *upload = *state;
    if (upload == NULL) {
        *state = upload = calloc(1, sizeof *upload);
        if (upload == NULL)
            return MHD_NO;
        snprintf(upload->method, sizeof upload->method, "%s", method);
        snprintf(upload->url, sizeof upload->url, "%s", url);
        return MHD_YES;
    }
    char *longer = realloc(upload->data, upload->len + *len + 1);
    if (longer == NULL)
        return MHD_NO;
    upload->data = longer;
    memcpy(upload->data + upload->len, data != NULL ? data : "", *len);
    upload->len += *len;
    upload->data[upload->len] = '\0';
    if (*len > 0) {
        *len = 0;
        return MHD_YES;
    }
    return peer_respond(context, connection, upload);
}

static inline void peer_on_end(void *context, struct MHD_Connection *connection, void **state,
                               enum MHD_RequestTerminationCode code)
{
    (void)context, (void)connection, (void)code;
    struct peer_upload *upload = *state;
    if (upload != NULL)
        free(upload->data);
    free(upload);
    *state = NULL;
}

static inline bool peer_start(struct peer *peer)
{
    *peer = (struct peer){0};
    pthread_mutex_init(&peer->lock, NULL);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    peer->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, peer_on_request,
        peer, MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)&address, MHD_OPTION_NOTIFY_COMPLETED,
        peer_on_end, NULL, MHD_OPTION_NOTIFY_CONNECTION, peer_on_connection, peer, MHD_OPTION_END);
    if (peer->daemon == NULL)
        return false;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(peer->daemon, MHD_DAEMON_INFO_BIND_PORT);
    snprintf(peer->endpoint, sizeof peer->endpoint, "http://127.0.0.1:%u", info->port);
    return true;
}

static inline void peer_stop(struct peer *peer)
{
    for (size_t i = 0; i < peer->hanging_count; i++)
        MHD_resume_connection(peer->hanging[i]);
    MHD_stop_daemon(peer->daemon);
    for (size_t i = 0; i < peer->seen_count; i++)
        free(peer->seen[i].body);
    free(peer->offer);
    pthread_mutex_destroy(&peer->lock);
}

#endif
