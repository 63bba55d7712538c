/* SPDX-License-Identifier: Apache-2.0 */
/* Requests, results and records: written as read, and refused with the right kind. */
#include "tests/unit/check.h"
#include "reseal/json.h"
#include "reseal/request.h"
#include "reseal/result.h"

static void fill(struct request *request)
{
    request_init(request);
    strcpy(request->id, "5f0c6b0a-0000-4000-8000-000000000001");
    strcpy(request->source, "urn:reseal:hub");
    request->time_ms = 1795453233736;
    strcpy(request->key_name, "key-2026");
    strcpy(request->provider_name, "reseal");
    request->padding = OAEP_SHA384;
    for (size_t i = 0; i < 256; i++)
        buf_put_u8(&request->sealed, (uint8_t)i);
    buf_put(&request->pfx, "\x30\x82\x00", 3);
    strcpy(request->thumbprint, "0123456789abcdef0123456789abcdef01234567");
    strcpy(request->user_principal_name, "jos\xc3\xa9@example.org");
    request->purpose = PURPOSE_SMIME_ENCRYPTION;
    strcpy(request->device_id, "phone");
    request->platform = PLATFORM_IOS;
    buf_put(&request->device_certificate, "\x30\x03\x02\x01\x01", 5);
    request->format = FORMAT_CMS;
    request->expires_ms = 1795539633736;
}

static void a_request_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct request written, read;
    struct buf text = BUF_INIT(MESSAGE_MAX), again = BUF_INIT(MESSAGE_MAX);
    bool addressed;
    fill(&written);
    request_init(&read);
    assert_ok(request_write(&written, &text, &err), &err);
    assert_ok(request_read(text.data, text.len, &read, &addressed, &err), &err);
    assert_true(addressed);
    assert_int_equal(read.padding, OAEP_SHA384);
    assert_int_equal(read.expires_ms, written.expires_ms);
    assert_string_equal(read.user_principal_name, written.user_principal_name);
    assert_ok(request_write(&read, &again, &err), &err);
    assert_string_equal(buf_text(&again), buf_text(&text));
    buf_free(&text);
    buf_free(&again);
    request_free(&written);
    request_free(&read);
}

/* Replaces the first `from` in a good message and reads the outcome. */
static enum failure read_changed(const char *from, const char *to, bool *addressed,
                                 struct error *err)
{
    struct request good, read;
    struct buf text = BUF_INIT(MESSAGE_MAX), changed = BUF_INIT(2 * MESSAGE_MAX);
    *err = (struct error)ERROR_INIT;
    fill(&good);
    request_init(&read);
    assert_ok(request_write(&good, &text, err), err);
    const char *at = strstr(buf_text(&text), from);
    assert_non_null(at);
    buf_put(&changed, text.data, (size_t)(at - buf_text(&text)));
    buf_put_text(&changed, to);
    buf_put_text(&changed, at + strlen(from));
    bool ok = request_read(changed.data, changed.len, &read, addressed, err);
    buf_free(&text);
    buf_free(&changed);
    request_free(&good);
    request_free(&read);
    return ok ? FAIL_NONE : err->kind;
}

static void a_request_out_of_schema_is_refused_by_member(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        enum failure kind;
        const char *says;
    } cases[] = {
        {"\"1.0\"", "\"0.3\"", FAIL_INPUT, "specversion"},
        {"reseal.request.v1", "reseal.request.v2", FAIL_INPUT, "type"},
        {"\"oaepSha384\"", "\"pkcs1\"", FAIL_POLICY, "pkcs1"},
        {"\"oaepSha384\"", "\"oaepSha1\"", FAIL_POLICY, "oaepSha1"},
        {"\"oaepSha384\"", "\"oaepSha3\"", FAIL_INPUT, "oaepSha3"},
        {"\"oaepSha384\"", "384", FAIL_INPUT, "paddingScheme"},
        {"\"key-2026\"", "\"\"", FAIL_INPUT, "keyName"},
        {"\"key-2026\"", "\"a\\u0007\"", FAIL_INPUT, "keyName"},
        {"\"key-2026\"", "\"a\\u009b\"", FAIL_INPUT, "keyName"},
        {"\"key-2026\"", "\"a\\u202eb\"", FAIL_INPUT, "keyName"},
        {"\"keyName\"", "\"keyname\"", FAIL_INPUT, "data.keyName is missing"},
        {"\"0123456789abcdef", "\"x123456789abcdef", FAIL_INPUT, "thumbprint"},
        {"\"smimeEncryption\"", "\"mail\"", FAIL_INPUT, "intendedPurpose"},
        {"\"ios\"", "\"vms\"", FAIL_INPUT, "platform"},
        {"\"MAMCAQE=\"", "\"MAMCAQE\"", FAIL_INPUT, "data.device.certificate"},
        {"\"device\":{", "\"device\":[{},{", FAIL_INPUT, "JSON"},
        {"\"cms\"", "\"pgp\"", FAIL_INPUT, "format"},
        {"\"expires\":\"2026", "\"expires\":\"x026", FAIL_INPUT, "expires"},
        {"\"keyName\":", "\"keyName\":\"x\",\"keyName\":", FAIL_INPUT, "twice"},
        {"\"AAECAwQF", "\"AAECAw F", FAIL_INPUT, "encryptedPfxPassword"},
    };
    struct error err;
    bool addressed;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(read_changed(cases[i].from, cases[i].to, &addressed, &err), cases[i].kind);
        if (strstr(err.text, cases[i].says) == NULL)
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.text, cases[i].says);
    }
}

static void a_refusal_can_be_answered_once_source_and_id_are_known(void **state)
{
    (void)state;
    struct error err;
    bool addressed = false;
    assert_int_equal(read_changed("\"cms\"", "\"pgp\"", &addressed, &err), FAIL_INPUT);
    assert_true(addressed);
    assert_int_equal(read_changed("\"source\"", "\"sauce\"", &addressed, &err), FAIL_INPUT);
    assert_false(addressed);
    assert_int_equal(read_changed("\"specversion\"", "specversion", &addressed, &err), FAIL_INPUT);
    assert_false(addressed);
}

static void results_of_both_kinds_are_read_as_written(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct request request;
    fill(&request);
    for (int outcome = OUTCOME_RESEALED; outcome <= OUTCOME_FAILED; outcome++) {
        struct result written, read;
        struct buf text = BUF_INIT(MESSAGE_MAX);
        result_init(&written);
        result_init(&read);
        assert_ok(result_address(&written, &request, "connector-1", &err), &err);
        written.outcome = (enum outcome)outcome;
        written.custody = CUSTODY_TOKEN;
        written.code = RESULT_NOT_SUPPORTED;
        strcpy(written.message, "because");
        buf_put(&written.payload, "DER", 3);
        assert_ok(result_write(&written, &text, &err), &err);
        assert_ok(result_read(text.data, text.len, &read, &err), &err);
        assert_int_equal(read.outcome, written.outcome);
        assert_string_equal(read.subject, request.id);
        assert_string_equal(read.id, written.id);
        assert_string_equal(read.connector, "connector-1");
        if (outcome == OUTCOME_RESEALED) {
            assert_int_equal(read.custody, CUSTODY_TOKEN);
            assert_memory_equal(read.payload.data, "DER", 3);
        } else {
            assert_int_equal(read.code, RESULT_NOT_SUPPORTED);
            assert_string_equal(read.message, "because");
        }
        buf_free(&text);
        result_free(&written);
        result_free(&read);
    }
    request_free(&request);
}

static void every_answer_to_a_request_has_the_same_id(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct request request;
    struct result one, two;
    fill(&request);
    result_init(&one);
    result_init(&two);
    assert_ok(result_address(&one, &request, "a", &err), &err);
    assert_ok(result_address(&two, &request, "b", &err), &err);
    assert_string_equal(one.id, two.id);
    strcpy(request.source, "urn:other:hub");
    assert_ok(result_address(&two, &request, "b", &err), &err);
    assert_string_not_equal(one.id, two.id);
    request_free(&request);
    result_free(&one);
    result_free(&two);
}

static void failures_of_the_cryptography_look_alike(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct result one, two;
    result_init(&one);
    result_init(&two);
    error_set(&err, FAIL_CRYPTO, "CKR_WRAPPED_KEY_INVALID in C_UnwrapKey");
    result_from_error(&one, &err);
    error_set(&err, FAIL_CRYPTO, "wrong length");
    result_from_error(&two, &err);
    assert_int_equal(one.code, RESULT_CRYPTOGRAPHY);
    assert_int_equal(one.outcome, OUTCOME_FAILED);
    assert_memory_equal(&one, &two, sizeof one);
    error_set(&err, FAIL_TOKEN, "CKR_DEVICE_ERROR in slot 3");
    result_from_error(&one, &err);
    assert_int_equal(one.code, RESULT_UNAVAILABLE);
    assert_true(result_code_retryable(one.code));
    assert_null(strstr(one.message, "CKR")); /* what goes on inside stays inside */
    result_free(&one);
    result_free(&two);
}

static const char record_text[] =
    "{\"thumbprint\":\"0123456789ABCDEF0123456789abcdef01234567\","
    "\"intendedPurpose\":\"smimeEncryption\",\"userPrincipalName\":\"o'neil@example.org\","
    "\"startDateTime\":\"2026-01-01T00:00:00Z\",\"expirationDateTime\":\"2027-01-01T00:00:00+01:"
    "00\","
    "\"providerName\":\"reseal\",\"keyName\":\"k\",\"paddingScheme\":\"%s\","
    "\"encryptedPfxBlob\":\"%s\",\"encryptedPfxPassword\":\"%s\",\"unknown\":[1]}";

static enum failure read_record(const char *padding, const char *blob, size_t sealed_len,
                                enum record_secrets secrets, struct record *record,
                                struct error *err)
{
    static const struct json_limits limits = {
        .bytes = MESSAGE_MAX, .string = MESSAGE_MAX, .values = 128};
    struct buf sealed = BUF_INIT(2048), text = BUF_INIT(MESSAGE_MAX);
    uint8_t zeros[1024] = {0};
    struct json *json = NULL;
    *err = (struct error)ERROR_INIT;
    base64_encode(&sealed, zeros, sealed_len);
    buf_printf(&text, record_text, padding, blob, buf_text(&sealed));
    assert_ok(json_parse(text.data, text.len, &limits, "record", &json, err), err);
    record_init(record);
    bool ok = record_read(json_root(json), secrets, record, err);
    json_free(&json);
    buf_free(&sealed);
    buf_free(&text);
    return ok ? FAIL_NONE : err->kind;
}

static void a_record_has_the_shape_of_graph(void **state)
{
    (void)state;
    struct error err;
    struct record record;
    assert_int_equal(read_record("none", "MAA=", 256, RECORD_WITH_SECRETS, &record, &err),
                     FAIL_NONE);
    assert_int_equal(record.padding, OAEP_SHA512);
    assert_string_equal(record.thumbprint, "0123456789abcdef0123456789abcdef01234567");
    assert_string_equal(record.user_principal_name, "o'neil@example.org");
    assert_int_equal(record.pfx.len, 2);
    struct json_writer *json = NULL;
    struct buf text = BUF_INIT(MESSAGE_MAX);
    assert_ok(json_writer_new(false, &json, &err), &err);
    json_object(json, NULL);
    record_write(json, &record, RECORD_WITHOUT_SECRETS);
    json_object_end(json);
    assert_ok(json_finish(json, &text, &err), &err);
    assert_non_null(strstr(buf_text(&text), "\"encryptedPfxBlob\":\"AA==\""));
    assert_non_null(strstr(buf_text(&text), "\"encryptedPfxPassword\":\"\""));
    json_writer_free(&json);
    buf_free(&text);
    record_free(&record);
}

static void a_record_with_refused_padding_or_no_ciphertext_is_refused(void **state)
{
    (void)state;
    struct error err;
    struct record record;
    assert_int_equal(read_record("pkcs1", "MAA=", 256, RECORD_WITH_SECRETS, &record, &err),
                     FAIL_POLICY);
    record_free(&record);
    assert_int_equal(read_record("oaepSha256", "", 256, RECORD_WITH_SECRETS, &record, &err),
                     FAIL_INPUT);
    record_free(&record);
    assert_int_equal(read_record("oaepSha256", "MAA=", 20, RECORD_WITH_SECRETS, &record, &err),
                     FAIL_INPUT);
    record_free(&record);
    assert_int_equal(read_record("oaepSha256", "MAA=", 600, RECORD_WITH_SECRETS, &record, &err),
                     FAIL_TOO_LARGE);
    record_free(&record);
    assert_int_equal(read_record("oaepSha256", "", 0, RECORD_WITHOUT_SECRETS, &record, &err),
                     FAIL_NONE);
    record_free(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_as_it_was_written),
        cmocka_unit_test(a_request_out_of_schema_is_refused_by_member),
        cmocka_unit_test(a_refusal_can_be_answered_once_source_and_id_are_known),
        cmocka_unit_test(results_of_both_kinds_are_read_as_written),
        cmocka_unit_test(every_answer_to_a_request_has_the_same_id),
        cmocka_unit_test(failures_of_the_cryptography_look_alike),
        cmocka_unit_test(a_record_has_the_shape_of_graph),
        cmocka_unit_test(a_record_with_refused_padding_or_no_ciphertext_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
