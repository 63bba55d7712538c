/* SPDX-License-Identifier: Apache-2.0 */
/* The result message: what was read can be written, and is read back the same; what was refused has
 * an error that can be shown. */
#include "fuzz.h"
#include "reseal/result.h"

static void check_again(const struct result *result)
{
    struct error err = ERROR_INIT;
    struct result again;
    struct buf first = BUF_INIT(MESSAGE_MAX), second = BUF_INIT(MESSAGE_MAX);
    result_init(&again);
    FUZZ_OK(result_write(result, &first, &err), &err);
    FUZZ_OK(result_read(first.data, first.len, &again, &err), &err);
    FUZZ_OK(result_write(&again, &second, &err), &err);
    FUZZ_CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    FUZZ_CHECK(again.outcome == result->outcome && again.code == result->code);
    result_free(&again);
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct result result;
    result_init(&result);
    if (result_read(data, size, &result, &err)) {
        FUZZ_CHECK(result.subject[0] != '\0' && result.source[0] != '\0' && result.id[0] != '\0');
        FUZZ_CHECK(result.outcome == OUTCOME_RESEALED
                       ? result.code == RESULT_NONE && result.custody != CUSTODY_UNUSABLE
                       : result.code >= 4000 && result.payload.len == 0);
        check_again(&result);
    } else {
        fuzz_check_error(&err);
    }
    result_free(&result);
    return 0;
}
