/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a queue service answers: SQS in JSON, Azure Storage Queue in XML. The first byte chooses the
 * call and the engine, the second the size of a batch or the status, the rest is the body of the
 * answer:
 *
 *   - every message has a receipt, an id and a body that lies within the answer, in strict UTF-8
 *     where the engine has only texts;
 *   - an entry that the answer does not name as successful is not done;
 *   - what cannot be read is the service's fault (another try), in words that can be shown.
 */
#include "fuzz.h"
#include "reseal/json.h"
#include "reseal/log.h"
#include "src/queue/client.h"
#include "src/queue/dialect.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_open("fuzz", LOG_AS_JSON, LEVEL_ERROR); /* messages that are left out are only a warning */
    return 0;
}

static void check_remote(const struct error *err)
{
    struct error shown = *err;
    FUZZ_CHECK(err->kind == FAIL_REMOTE);
    shown.kind = FAIL_INPUT;
    fuzz_check_error(&shown);
}

static void try_messages(const struct exchange *exchange, const struct dialect *dialect)
{
    struct message_set set = {.text = BUF_INIT(ANSWER_BYTES)};
    struct error err = ERROR_INIT;
    if (!dialect->read_messages(exchange, &set, &err)) {
        FUZZ_CHECK(set.count == 0);
        check_remote(&err);
    }
    FUZZ_CHECK(set.count <= QUEUE_BATCH_MAX);
    for (size_t i = 0; i < set.count; i++) {
        const struct queue_message *message = &set.messages[i];
        FUZZ_CHECK(message->receipt[0] != '\0' && message->message_id[0] != '\0');
        FUZZ_CHECK(message->body.len <= exchange->answer.len);
        bool strict = utf8_is_strict(message->body.data, message->body.len);
        FUZZ_CHECK(strict || dialect == &dialect_azure); /* which may carry base64 of any bytes */
    }
    json_free(&set.json);
    buf_free(&set.text);
}

static void try_batch(struct exchange *exchange)
{
    struct error errors[QUEUE_BATCH_MAX], err = ERROR_INIT;
    if (!dialect_sqs.read_batch(exchange, errors, &err)) {
        check_remote(&err);
        return;
    }
    for (size_t i = 0; i < exchange->count; i++) {
        if (errors[i].kind == FAIL_NONE)
            FUZZ_CHECK(memmem(exchange->answer.data, exchange->answer.len, "Successful", 10) !=
                           NULL ||
                       memchr(exchange->answer.data, '\\', exchange->answer.len) != NULL);
        else
            FUZZ_CHECK(errors[i].text[0] != '\0');
    }
}

static void try_failure(const struct exchange *exchange, const struct dialect *dialect, long status)
{
    struct error err = ERROR_INIT;
    dialect->read_failure(exchange, status, &err);
    FUZZ_CHECK(err.kind == FAIL_REMOTE || err.kind == FAIL_AUTH || err.kind == FAIL_INPUT ||
               err.kind == FAIL_NOT_FOUND);
    err.kind = FAIL_INPUT;
    fuzz_check_error(&err);
}

static void try_sqs(struct exchange *exchange, long status)
{
    struct error err = ERROR_INIT;
    struct queue_facts facts = {.oldest_age_s = -1};
    char url[QUEUE_URL_MAX + 1];
    switch (exchange->call) {
    case CALL_URL:
        if (dialect_sqs.read_url(exchange, url, &err))
            FUZZ_CHECK(strlen(url) <= QUEUE_URL_MAX);
        else
            check_remote(&err);
        return;
    case CALL_RECEIVE:
        try_messages(exchange, &dialect_sqs);
        return;
    case CALL_SEND:
    case CALL_DELETE:
        try_batch(exchange);
        return;
    case CALL_EXTEND:
        try_failure(exchange, &dialect_sqs, status);
        return;
    case CALL_ATTRIBUTES:
        if (dialect_sqs.read_attributes(exchange, &facts, &err))
            FUZZ_CHECK(facts.visible >= 0 && facts.in_flight >= 0 && facts.delayed >= 0 &&
                       strlen(facts.dead_letter) <= QUEUE_NAME_MAX);
        else
            check_remote(&err);
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct queue_client client = {.endpoint = "http://127.0.0.1:1"};
    static struct queue queue = {.client = &client, .name = "work"};
    static const long statuses[] = {400, 401, 403, 404, 429, 500, 503, 302};
    static CURL *easy; /* Azure's reader looks for headers, and finds none */
    if (easy == NULL)
        easy = curl_easy_init();
    if (size < 2)
        return 0;
    struct exchange exchange = {
        .client = &client, .queue = &queue, .easy = easy, .answer = BUF_INIT(ANSWER_BYTES)};
    bool azure = data[0] % (2 * CALL_COUNT) >= CALL_COUNT;
    long status = statuses[data[1] % ARRAY_LEN(statuses)];
    client.dialect = azure ? &dialect_azure : &dialect_sqs;
    exchange.call = (enum call)(data[0] % CALL_COUNT);
    exchange.count = 1 + data[1] % QUEUE_BATCH_MAX;
    buf_put(&exchange.answer, data + 2, size - 2);
    if (!azure)
        try_sqs(&exchange, status);
    else if (exchange.call == CALL_RECEIVE)
        try_messages(&exchange, &dialect_azure);
    else
        try_failure(&exchange, &dialect_azure, status);
    buf_free(&exchange.answer);
    return 0;
}
