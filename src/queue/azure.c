/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Azure Storage Queue, by its REST reference.
 *
 *   receive   GET    /QUEUE/messages?numofmessages&visibilitytimeout   no long poll
 *   send      POST   /QUEUE/messages                                   one message
 *   extend    PUT    /QUEUE/messages/ID?popreceipt&visibilitytimeout   gives a new pop receipt
 *   delete    DELETE /QUEUE/messages/ID?popreceipt
 *   examine   GET    /QUEUE?comp=metadata
 *
 * A receipt of ours is "ID RECEIPT". A message text has up to 64 KiB; ours is base64, as the
 * service's own tools write it, so a body has up to 48 KiB. What is received may be base64 or the
 * body itself: one of ours begins with '{', which no base64 does.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "azure_sign.h"
#include "dialect.h"
#include "reseal/log.h"
#include "reseal/text.h"
#include "reseal/xml.h"

#define VERSION      "2021-12-02" /* x-ms-version */
#define TEXT_MAX     (64 * 1024)  /* bytes of a message's text */
#define BODY_MAX     (TEXT_MAX / 4 * 3)
#define CONTENT_TYPE "application/xml"
#define PATH_MAX_    1280
#define ID_MAX       QUEUE_MESSAGE_ID_MAX

static const char *const names[CALL_COUNT] = {
    [CALL_URL] = "Get Queue Metadata", [CALL_RECEIVE] = "Get Messages",
    [CALL_SEND] = "Put Message",       [CALL_DELETE] = "Delete Message",
    [CALL_EXTEND] = "Update Message",  [CALL_ATTRIBUTES] = "Get Queue Metadata",
};

/* -- the account -- */

static bool azure_check_name(const char *name, struct error *err)
{
    size_t len = strlen(name);
    if (len >= 3 && len <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len &&
        name[0] != '-' && name[len - 1] != '-' && strstr(name, "--") == NULL)
        return true;
    error_set(err, FAIL_USAGE, "\"%.80s\" can be no queue of Azure Storage", name);
    return error_hint(err, "use 3 to 63 small letters, digits and single dashes");
}

static bool azure_load_key(const struct queue_client *client, struct access_key *out,
                           struct error *err)
{
    if (client->keys.path == NULL)
        return error_set(err, FAIL_USAGE, "Azure Storage wants a file with a connection string");
    if (!azure_key_load(client->keys.path, out, err))
        return false;
    const struct access_key *first = &client->keys.key;
    if (client->endpoint[0] == '\0' ||
        (strcmp(out->id, first->id) == 0 && strcmp(out->endpoint, first->endpoint) == 0))
        return true;
    /* What is good for one account is not shown to another. A SAS may come without a name. */
    error_set(err, FAIL_USAGE,
              "%s names another storage account or endpoint than at the start, \"%.64s\" at "
              "\"%.200s\"",
              client->keys.path, out->id, out->endpoint);
    return error_hint(err, "restart, so that endpoint and queues are looked at anew");
}

static bool azure_open(struct queue_client *client, struct error *err)
{
    if (client->keys.generation != 0)
        return true;
    error_set(err, FAIL_USAGE, "Azure Storage takes no request without a key");
    return error_hint(err, "set credentials of [queue] to a file with a connection string");
}

/* -- what we ask -- */

#define PARAMETERS_MAX 3

struct wish {
    const char *method;
    char path[PATH_MAX_]; /* after the endpoint, escaped */
    struct azure_parameter parameters[PARAMETERS_MAX + 1];
    char numbers[2][16];
    char receipt[QUEUE_RECEIPT_MAX + 1];
    bool has_body;
};

/* Sets path and pop receipt of a message from "ID RECEIPT". */
static bool name_message(const struct exchange *exchange, struct wish *wish)
{
    const char *receipt = receipt_now(exchange->operations[0]);
    const char *blank = strchr(receipt, ' ');
    if (blank == NULL)
        return false;
    char *id = curl_easy_escape(exchange->easy, receipt, (int)(blank - receipt));
    if (id == NULL)
        return false;
    snprintf(wish->path, sizeof wish->path, "/%s/messages/%s", exchange->queue->name, id);
    curl_free(id);
    snprintf(wish->receipt, sizeof wish->receipt, "%s", blank + 1);
    wish->parameters[0] = (struct azure_parameter){"popreceipt", wish->receipt};
    return true;
}

static void put_number(struct wish *wish, size_t at, const char *name, unsigned value)
{
    snprintf(wish->numbers[at], sizeof wish->numbers[at], "%u", value);
    wish->parameters[at] = (struct azure_parameter){name, wish->numbers[at]};
}

static bool make_wish(const struct exchange *exchange, struct wish *wish)
{
    const struct queue *queue = exchange->queue;
    *wish = (struct wish){.method = "GET"};
    snprintf(wish->path, sizeof wish->path, "/%s/messages", queue->name);
    switch (exchange->call) {
    case CALL_URL:
    case CALL_ATTRIBUTES:
        snprintf(wish->path, sizeof wish->path, "/%s", queue->name);
        wish->parameters[0] = (struct azure_parameter){"comp", "metadata"};
        return true;
    case CALL_RECEIVE:
        put_number(wish, 0, "numofmessages", queue->receive.max);
        put_number(wish, 1, "visibilitytimeout", queue->receive.lease_s);
        return true;
    case CALL_SEND:
        wish->method = "POST";
        wish->has_body = true;
        return true;
    case CALL_EXTEND:
        wish->method = "PUT";
        if (!name_message(exchange, wish))
            return false;
        put_number(wish, 1, "visibilitytimeout", exchange->operations[0]->lease_s);
        return true;
    case CALL_DELETE:
        wish->method = "DELETE";
        return name_message(exchange, wish);
    }
    return false;
}

static bool put_body(struct exchange *exchange, struct error *err)
{
    struct buf *body = &exchange->body;
    const struct buf *content = &exchange->operations[0]->content;
    buf_put_text(body, "<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessage><MessageText>");
    base64_encode(body, content->data, content->len);
    buf_put_text(body, "</MessageText></QueueMessage>");
    return buf_check(body, "a message", err);
}

/* The path of the endpoint, "" for an account with a host of its own. */
static const char *endpoint_path(const struct queue_client *client)
{
    const char *host = strstr(client->endpoint, "://");
    const char *slash = host != NULL ? strchr(host + 3, '/') : NULL;
    return slash != NULL ? slash : "";
}

static bool put_url(const struct exchange *exchange, const struct wish *wish, struct buf *url)
{
    const struct queue_client *client = exchange->client;
    const struct access_key *key = &client->keys.key;
    char joint = '?';
    buf_printf(url, "%s%s", client->endpoint, wish->path);
    for (const struct azure_parameter *at = wish->parameters; at->name != NULL; at++) {
        char *value = curl_easy_escape(exchange->easy, at->value, 0);
        if (value == NULL)
            return false;
        buf_printf(url, "%c%s=%s", joint, at->name, value);
        curl_free(value);
        joint = '&';
    }
    if (key->sas != NULL) {
        struct bytes sas = secret_bytes(key->sas);
        buf_put_u8(url, (uint8_t)joint);
        buf_put(url, sas.data, strlen((const char *)sas.data));
    }
    return !url->failed;
}

/* Without a value, libcurl leaves out the header that it would send by itself. */
static bool add_line(struct exchange *exchange, const char *name, const char *value)
{
    struct buf line = BUF_INIT(1024);
    buf_printf(&line, "%s:%s%s", name, value[0] != '\0' ? " " : "", value);
    struct curl_slist *longer =
        line.failed ? NULL : curl_slist_append(exchange->headers, buf_text(&line));
    buf_free(&line);
    if (longer != NULL)
        exchange->headers = longer;
    return longer != NULL;
}

static bool put_headers(struct exchange *exchange, const struct wish *wish, struct error *err)
{
    const struct queue_client *client = exchange->client;
    struct buf authorization = BUF_INIT(512);
    char path[PATH_MAX_ + 512], date[64];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts); /* the C locale is ours */
    snprintf(path, sizeof path, "%s%s", endpoint_path(client), wish->path);
    const struct azure_request request = {.method = wish->method,
                                          .path = path,
                                          .content_type = wish->has_body ? CONTENT_TYPE : "",
                                          .content_length = exchange->body.len,
                                          .date = date,
                                          .version = VERSION,
                                          .parameters = wish->parameters};
    curl_slist_free_all(exchange->headers);
    exchange->headers = NULL;
    if (client->keys.key.sas == NULL &&
        !azure_authorization(&client->keys.key, &request, &authorization, err)) {
        buf_free(&authorization);
        return false;
    }
    bool ok =
        add_line(exchange, "x-ms-version", VERSION) && add_line(exchange, "x-ms-date", date) &&
        add_line(exchange, "Content-Type", wish->has_body ? CONTENT_TYPE : "") &&
        add_line(exchange, "Expect", "") &&
        (authorization.len == 0 || add_line(exchange, "Authorization", buf_text(&authorization)));
    buf_free(&authorization);
    return ok || error_memory(err);
}

static bool set_method(const struct exchange *exchange, const struct wish *wish)
{
    CURL *easy = exchange->easy;
    bool sends = wish->method[0] == 'P'; /* POST, PUT; a PUT of ours has an empty body */
    if (!sends)
        return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, wish->method) == CURLE_OK;
    return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, wish->method) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDS, buf_text(&exchange->body)) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body.len) ==
               CURLE_OK;
}

static bool azure_write_request(struct exchange *exchange, struct error *err)
{
    struct buf url = BUF_INIT(8192);
    struct wish wish;
    if (!make_wish(exchange, &wish))
        return error_set(err, FAIL_INPUT, "%s: that is no receipt of ours", names[exchange->call]);
    bool ok = (!wish.has_body || put_body(exchange, err)) && put_headers(exchange, &wish, err);
    if (ok &&
        !(put_url(exchange, &wish, &url) && set_method(exchange, &wish) &&
          curl_easy_setopt(exchange->easy, CURLOPT_URL, buf_text(&url)) == CURLE_OK &&
          curl_easy_setopt(exchange->easy, CURLOPT_HTTPHEADER, exchange->headers) == CURLE_OK))
        ok = error_set(err, FAIL_INTERNAL, "libcurl cannot prepare %s", names[exchange->call]);
    buf_free(&url); /* a SAS is wiped with it */
    return ok;
}

/* -- what the service answers -- */

struct fault {
    char code[64];
    char message[256];
};

static void on_fault(void *context, const char *path, const char *text, size_t len)
{
    struct fault *fault = context;
    (void)len;
    if (strcmp(path, "Error/Code") == 0)
        snprintf(fault->code, sizeof fault->code, "%s", text);
    else if (strcmp(path, "Error/Message") == 0)
        snprintf(fault->message, sizeof fault->message, "%.*s", (int)strcspn(text, "\r\n"), text);
}

static const struct {
    const char *name;
    enum failure kind;
} error_codes[] = {
    {"QueueNotFound", FAIL_NOT_FOUND},
    {"QueueBeingDeleted", FAIL_NOT_FOUND},
    {"ResourceNotFound", FAIL_NOT_FOUND},
    {"MessageNotFound", FAIL_INPUT}, /* deleted, or somebody else has it: the receipt is old */
    {"PopReceiptMismatch", FAIL_INPUT},
    {"AuthenticationFailed", FAIL_AUTH},
    {"InsufficientAccountPermissions", FAIL_AUTH},
    {"InvalidAuthenticationInfo", FAIL_AUTH},
    {"AccountIsDisabled", FAIL_AUTH},
    {"QueueDisabled", FAIL_REMOTE},
    {"ServerBusy", FAIL_REMOTE},
    {"OperationTimedOut", FAIL_REMOTE},
    {"InternalError", FAIL_REMOTE},
};

static void read_fault(const struct exchange *exchange, struct fault *out)
{
    struct curl_header *code = NULL;
    struct error ignored = ERROR_INIT;
    *out = (struct fault){0};
    if (exchange->answer.len > 0)
        (void)!xml_read(buf_bytes(&exchange->answer), XML_NO_DOCTYPE, "an error", on_fault, out,
                        &ignored);
    if (out->code[0] == '\0' && curl_easy_header(exchange->easy, "x-ms-error-code", 0, CURLH_HEADER,
                                                 -1, &code) == CURLHE_OK)
        snprintf(out->code, sizeof out->code, "%s", code->value);
}

static void azure_read_failure(const struct exchange *exchange, long status, struct error *err)
{
    const char *queue = exchange->queue->name;
    enum failure kind = failure_by_status(status);
    struct fault fault;
    read_fault(exchange, &fault);
    for (size_t i = 0; i < ARRAY_LEN(error_codes); i++) {
        if (strcmp(error_codes[i].name, fault.code) == 0)
            kind = error_codes[i].kind;
    }
    error_set(err, kind, "%s on queue \"%s\" at %s: HTTP status %ld%s%.64s%s%.200s",
              names[exchange->call], queue, exchange->client->endpoint, status,
              fault.code[0] != '\0' ? ", " : "", fault.code, fault.message[0] != '\0' ? ": " : "",
              fault.message);
    if (kind == FAIL_AUTH)
        error_hint(err, "check the connection string that credentials of [queue] names, what its "
                        "key or signature is allowed to do and until when, and this machine's "
                        "clock");
    else if (kind == FAIL_NOT_FOUND)
        error_hint(err, "create the queue \"%s\", or correct its name in [queue]", queue);
}

static bool azure_read_url(const struct exchange *exchange, char url[static QUEUE_URL_MAX + 1],
                           struct error *err)
{
    (void)err;
    snprintf(url, QUEUE_URL_MAX + 1, "%s/%s", exchange->client->endpoint, exchange->queue->name);
    return true;
}

static bool read_number(const char *text, int64_t *out)
{
    char *end = NULL;
    *out = 0;
    if (text[0] < '0' || text[0] > '9')
        return false;
    *out = strtoll(text, &end, 10);
    return *end == '\0';
}

static bool azure_read_attributes(const struct exchange *exchange, struct queue_facts *out,
                                  struct error *err)
{
    struct curl_header *header = NULL;
    if (curl_easy_header(exchange->easy, "x-ms-approximate-messages-count", 0, CURLH_HEADER, -1,
                         &header) != CURLHE_OK ||
        !read_number(header->value, &out->visible))
        return error_set(err, FAIL_REMOTE, "the answer to %s does not tell the number of messages",
                         names[exchange->call]);
    out->in_flight = -1; /* the count is of all messages, hidden ones among them */
    out->delayed = -1;
    return true;
}

static bool azure_read_batch(struct exchange *exchange, struct error errors[static QUEUE_BATCH_MAX],
                             struct error *err)
{
    struct operation *operation = exchange->operations[0];
    struct curl_header *header = NULL;
    char receipt[QUEUE_RECEIPT_MAX + 1];
    errors[0].kind = FAIL_NONE;
    if (exchange->call != CALL_EXTEND)
        return true;
    const char *id = buf_text(&operation->content);
    if (curl_easy_header(exchange->easy, "x-ms-popreceipt", 0, CURLH_HEADER, -1, &header) !=
            CURLHE_OK ||
        (size_t)snprintf(receipt, sizeof receipt, "%.*s %s", (int)strcspn(id, " "), id,
                         header->value) >= sizeof receipt)
        return error_set(err, FAIL_REMOTE, "the answer to %s has no pop receipt",
                         names[exchange->call]);
    receipt_replace(operation, receipt);
    return true;
}

/* -- messages -- */

struct entry {
    char id[ID_MAX + 1];
    char receipt[QUEUE_RECEIPT_MAX + 1];
    unsigned count;
    bool has_text;
    size_t at, len; /* of the body in the set's text */
};

struct entries {
    struct entry items[QUEUE_BATCH_MAX];
    size_t count; /* ended */
    struct buf *text;
};

/* Base64, or what the sender has put there as it is. */
static void take_text(struct entry *entry, struct buf *out, const char *text, size_t len)
{
    struct error ignored = ERROR_INIT;
    struct buf decoded = BUF_INIT(len + 3);
    entry->at = out->len;
    if (base64_decode(&decoded, text, len, "a message", &ignored))
        buf_put(out, decoded.data, decoded.len);
    else
        buf_put(out, text, len);
    entry->len = out->len - entry->at;
    entry->has_text = true;
    buf_free(&decoded);
}

static void on_message(void *context, const char *path, const char *text, size_t len)
{
    static const char prefix[] = "QueueMessagesList/QueueMessage";
    struct entries *entries = context;
    int64_t number;
    if (entries->count == QUEUE_BATCH_MAX || strncmp(path, prefix, sizeof prefix - 1) != 0)
        return;
    struct entry *entry = &entries->items[entries->count];
    const char *name = path + sizeof prefix - 1;
    if (name[0] == '\0')
        entries->count++;
    else if (strcmp(name, "/MessageId") == 0 && len <= ID_MAX && strchr(text, ' ') == NULL)
        snprintf(entry->id, sizeof entry->id, "%s", text);
    else if (strcmp(name, "/PopReceipt") == 0 && len < sizeof entry->receipt)
        snprintf(entry->receipt, sizeof entry->receipt, "%s", text);
    else if (strcmp(name, "/DequeueCount") == 0 && read_number(text, &number))
        entry->count = number > INT32_MAX ? INT32_MAX : (unsigned)number;
    else if (strcmp(name, "/MessageText") == 0)
        take_text(entry, entries->text, text, len);
}

static bool azure_read_messages(const struct exchange *exchange, struct message_set *out,
                                struct error *err)
{
    struct entries *entries = calloc(1, sizeof *entries);
    if (entries == NULL)
        return error_memory(err);
    entries->text = &out->text;
    bool ok = xml_read(buf_bytes(&exchange->answer), XML_NO_DOCTYPE, "the answer to Get Messages",
                       on_message, entries, err);
    if (!ok && err->kind == FAIL_INPUT)
        err->kind = FAIL_REMOTE;
    ok = ok && buf_check(&out->text, "the messages of one answer", err);
    for (size_t i = 0; ok && i < entries->count; i++) {
        const struct entry *entry = &entries->items[i];
        struct queue_message *message = &out->messages[out->count];
        *message = (struct queue_message){.receive_count = entry->count};
        size_t len = (size_t)snprintf(message->receipt, sizeof message->receipt, "%s %s", entry->id,
                                      entry->receipt);
        if (entry->id[0] == '\0' || entry->receipt[0] == '\0' || !entry->has_text ||
            len >= sizeof message->receipt) {
            log_event(LEVEL_WARNING, EVENT_POLL_FAILED, "a message is left where it is",
                      LOG_TEXT("message", entry->id), LOG_TEXT("text", "a part of it is missing"));
            continue;
        }
        snprintf(message->message_id, sizeof message->message_id, "%s", entry->id);
        message->body.data = (const uint8_t *)buf_text(&out->text) + entry->at;
        message->body.len = entry->len;
        out->count++;
    }
    free(entries);
    return ok;
}

const struct dialect dialect_azure = {
    .name = "azure",
    .calls = names,
    .batch_max = 1,
    .message_max = BODY_MAX,
    .new_receipts = true,
    .check_name = azure_check_name,
    .load_key = azure_load_key,
    .open = azure_open,
    .write_request = azure_write_request,
    .read_failure = azure_read_failure,
    .read_url = azure_read_url,
    .read_attributes = azure_read_attributes,
    .read_batch = azure_read_batch,
    .read_messages = azure_read_messages,
};
