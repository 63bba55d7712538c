/* SPDX-License-Identifier: Apache-2.0 */
/* The record: what was read can be written, and is read back the same; written without its secrets
 * it holds neither of them; what was refused has an error that can be shown. */
#include "fuzz.h"
#include "reseal/json.h"
#include "reseal/record.h"

static const struct json_limits limits = {.bytes = 1 << 18, .string = 1 << 17, .values = 64};

static void write_record(const struct record *record, enum record_secrets secrets, struct buf *out)
{
    struct error err = ERROR_INIT;
    struct json_writer *json = NULL;
    FUZZ_OK(json_writer_new(false, &json, &err), &err);
    json_object(json, NULL);
    record_write(json, record, secrets);
    json_object_end(json);
    FUZZ_OK(json_finish(json, out, &err), &err);
    json_writer_free(&json);
}

static void check_again(const struct record *record)
{
    struct error err = ERROR_INIT;
    struct record again;
    struct json *json = NULL;
    struct buf first = BUF_INIT(1 << 18), second = BUF_INIT(1 << 18), plain = BUF_INIT(1 << 18);
    record_init(&again);
    write_record(record, RECORD_WITH_SECRETS, &first);
    FUZZ_OK(json_parse(first.data, first.len, &limits, "what we wrote", &json, &err), &err);
    FUZZ_OK(record_read(json_root(json), RECORD_WITH_SECRETS, &again, &err), &err);
    write_record(&again, RECORD_WITH_SECRETS, &second);
    FUZZ_CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    write_record(record, RECORD_WITHOUT_SECRETS, &plain);
    FUZZ_CHECK(strstr(buf_text(&plain), "\"encryptedPfxBlob\":\"AA==\"") != NULL);
    FUZZ_CHECK(strstr(buf_text(&plain), "\"encryptedPfxPassword\":\"\"") != NULL);
    json_free(&json);
    record_free(&again);
    buf_free(&first);
    buf_free(&second);
    buf_free(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    struct record record;
    record_init(&record);
    bool ok = json_parse(data, size, &limits, "the record", &json, &err) &&
              record_read(json_root(json), RECORD_WITH_SECRETS, &record, &err);
    if (ok)
        check_again(&record);
    else
        fuzz_check_error(&err);
    record_free(&record);
    json_free(&json);
    return 0;
}
