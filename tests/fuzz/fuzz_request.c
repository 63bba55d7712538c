/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request message:
 *
 *   - what was read can be written, and is read back the same (its second writing is the first);
 *   - what was refused has an error that can be shown, and where the sender is known, a result can
 *     be made of it that the hub reads;
 *   - the facts that are shown of it to people can be shown, whatever it is, and survive the way
 * from the hub to a person.
 */
#include "fuzz.h"
#include "reseal/json.h"
#include "reseal/message_facts.h"
#include "reseal/request.h"
#include "reseal/result.h"

static void check_again(const struct request *request)
{
    struct error err = ERROR_INIT;
    struct request again;
    struct buf first = BUF_INIT(MESSAGE_MAX), second = BUF_INIT(MESSAGE_MAX);
    bool addressed;
    request_init(&again);
    FUZZ_OK(request_write(request, &first, &err), &err);
    FUZZ_OK(request_read(first.data, first.len, &again, &addressed, &err), &err);
    FUZZ_OK(request_write(&again, &second, &err), &err);
    FUZZ_CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    request_free(&again);
    buf_free(&first);
    buf_free(&second);
}

static void check_answer(const struct request *request, const struct error *failure)
{
    struct error err = ERROR_INIT;
    struct result result, read;
    struct buf text = BUF_INIT(MESSAGE_MAX);
    result_init(&result);
    result_init(&read);
    FUZZ_OK(result_address(&result, request, "fuzz", &err), &err);
    result_from_error(&result, failure);
    FUZZ_OK(result_write(&result, &text, &err), &err);
    FUZZ_OK(result_read(text.data, text.len, &read, &err), &err);
    FUZZ_CHECK(strcmp(read.subject, request->id) == 0 && read.code == result.code &&
               strcmp(read.message, result.message) == 0);
    result_free(&result);
    result_free(&read);
    buf_free(&text);
}

static void check_shown(const char *text)
{
    FUZZ_CHECK(utf8_is_strict(text, strlen(text)));
    for (; *text != '\0'; text++)
        FUZZ_CHECK(text_control_len(text) == 0);
}

static void check_facts(struct bytes body)
{
    static const struct json_limits limits = {.bytes = 8192, .string = 1024, .values = 64};
    struct message_facts facts, again;
    struct error err = ERROR_INIT;
    struct json_writer *writer = NULL;
    struct json *json = NULL;
    struct buf text = BUF_INIT(8192);
    message_facts_read(body, &facts);
    FUZZ_CHECK(facts.readable == (facts.trouble[0] == '\0'));
    const char *const texts[] = {facts.trouble, facts.type,    facts.id,     facts.source,
                                 facts.subject, facts.expires, facts.outcome};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        check_shown(texts[i]);
    FUZZ_OK(json_writer_new(false, &writer, &err), &err);
    json_object(writer, NULL);
    message_facts_write(writer, &facts);
    json_object_end(writer);
    FUZZ_OK(json_finish(writer, &text, &err), &err);
    FUZZ_OK(json_parse(text.data, text.len, &limits, "the facts", &json, &err), &err);
    message_facts_take(json_root(json), &again);
    FUZZ_CHECK(strcmp(facts.id, again.id) == 0 && strcmp(facts.trouble, again.trouble) == 0 &&
               facts.pfx == again.pfx && facts.readable == again.readable);
    json_free(&json);
    json_writer_free(&writer);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct request request;
    bool addressed = false;
    check_facts((struct bytes){data, size});
    request_init(&request);
    bool ok = request_read(data, size, &request, &addressed, &err);
    if (addressed)
        FUZZ_CHECK(request.id[0] != '\0' && request.source[0] != '\0');
    if (ok) {
        FUZZ_CHECK(addressed);
        check_again(&request);
    } else {
        fuzz_check_error(&err);
        if (addressed)
            check_answer(&request, &err);
    }
    request_free(&request);
    return 0;
}
