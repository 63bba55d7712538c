/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request message:
 *
 *   - what was read can be written, and is read back the same (its second writing is the first);
 *   - what was refused has an error that can be shown, and where the sender is known, a result can
 *     be made of it that the hub reads.
 */
#include "fuzz.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct request request;
    bool addressed = false;
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
