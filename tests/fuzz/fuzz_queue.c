/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a queue service answers. The first byte chooses the call, the second the size of its batch,
 * the rest is the body of the answer:
 *
 *   - every message has a receipt, an id and a strict UTF-8 body within the answer;
 *   - an entry that the answer does not name as successful is not done;
 *   - what cannot be read is the service's fault (another try), in words that can be shown.
 */
#include "fuzz.h"
#include "reseal/json.h"
#include "reseal/log.h"
#include "src/queue/client.h"

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

static void try_messages(const struct exchange *exchange)
{
    struct queue_message messages[QUEUE_BATCH_MAX];
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    size_t count = 0;
    if (!read_messages(exchange, &json, messages, &count, &err)) {
        FUZZ_CHECK(count == 0);
        check_remote(&err);
    }
    FUZZ_CHECK(count <= QUEUE_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(messages[i].receipt[0] != '\0' && messages[i].message_id[0] != '\0');
        FUZZ_CHECK(messages[i].body.len <= exchange->answer.len);
        FUZZ_CHECK(utf8_is_strict(messages[i].body.data, messages[i].body.len));
    }
    json_free(&json);
}

static void try_batch(const struct exchange *exchange)
{
    struct error errors[QUEUE_BATCH_MAX], err = ERROR_INIT;
    if (!read_batch(exchange, errors, &err)) {
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

static void try_failure(const struct exchange *exchange, long status)
{
    struct error err = ERROR_INIT;
    read_failure(exchange, status, &err);
    FUZZ_CHECK(err.kind == FAIL_REMOTE || err.kind == FAIL_AUTH || err.kind == FAIL_INPUT ||
               err.kind == FAIL_NOT_FOUND);
    err.kind = FAIL_INPUT;
    fuzz_check_error(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct queue_client client = {.endpoint = "http://127.0.0.1:1"};
    static struct queue queue = {.client = &client, .name = "work"};
    static const long statuses[] = {400, 401, 403, 404, 429, 500, 503, 302};
    struct error err = ERROR_INIT;
    struct queue_facts facts = {0};
    char url[QUEUE_URL_MAX + 1];
    if (size < 2)
        return 0;
    struct exchange exchange = {
        .client = &client, .queue = &queue, .answer = BUF_INIT(ANSWER_BYTES)};
    exchange.call = (enum call)(data[0] % CALL_COUNT);
    exchange.count = 1 + data[1] % QUEUE_BATCH_MAX;
    buf_put(&exchange.answer, data + 2, size - 2);
    switch (exchange.call) {
    case CALL_URL:
        if (read_url(&exchange, url, &err))
            FUZZ_CHECK(strlen(url) <= QUEUE_URL_MAX);
        else
            check_remote(&err);
        break;
    case CALL_RECEIVE:
        try_messages(&exchange);
        break;
    case CALL_SEND:
    case CALL_DELETE:
        try_batch(&exchange);
        break;
    case CALL_EXTEND:
        try_failure(&exchange, statuses[data[1] % ARRAY_LEN(statuses)]);
        break;
    case CALL_ATTRIBUTES:
        if (read_attributes(&exchange, &facts, &err))
            FUZZ_CHECK(facts.visible >= 0 && facts.in_flight >= 0 && facts.delayed >= 0);
        else
            check_remote(&err);
        break;
    }
    buf_free(&exchange.answer);
    return 0;
}
