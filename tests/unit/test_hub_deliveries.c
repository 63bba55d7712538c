/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's database: deliveries, one effective result for each, and how long they are kept. */
#include "hub_store_scene.h"
#include <openssl/evp.h>
#include "reseal/json.h"
#include "reseal/text.h"
#include "src/hub/result_intake.h"
#include "src/hub/store_deliveries.h"

static void order_by(struct setup *setup, const char *upn, int64_t lifetime_ms,
                     char id[static UUID_TEXT])
{
    struct error err = ERROR_INIT;
    struct delivery_order order = {.platform = PLATFORM_IOS,
                                   .format = FORMAT_CMS,
                                   .certificate = {(const uint8_t *)"\x30\x01x", 3},
                                   .lifetime_ms = lifetime_ms,
                                   .queue = setup->queue};
    char record_id[RECORD_ID_MAX + 1];
    add_record(setup, upn, PRINT_A, record_id);
    strcpy(order.record_id, record_id);
    strcpy(order.device_id, "phone");
    assert_ok(delivery_create(setup->database, &order, id, &err), &err);
}

static void order(struct setup *setup, int64_t lifetime_ms, char id[static UUID_TEXT])
{
    order_by(setup, "ann@example.org", lifetime_ms, id);
}

static enum delivery_state state_of(struct setup *setup, const char *id)
{
    struct error err = ERROR_INIT;
    enum delivery_state state;
    assert_ok(delivery_state(setup->database, id, &state, &err), &err);
    return state;
}

/* Lets the hub take a result for the request of that id. */
static enum result_fate take(struct setup *setup, const char *subject, enum outcome outcome,
                             const char *payload)
{
    struct error err = ERROR_INIT;
    struct request request;
    struct result result;
    struct buf text = BUF_INIT(MESSAGE_MAX);
    enum result_fate fate;
    request_init(&request);
    result_init(&result);
    strcpy(request.id, subject);
    strcpy(request.source, HUB_SOURCE);
    assert_ok(result_address(&result, &request, "one", &err), &err);
    result.outcome = outcome;
    result.custody = CUSTODY_TOKEN;
    result.code = outcome == OUTCOME_RESEALED ? RESULT_NONE : RESULT_CRYPTOGRAPHY;
    strcpy(result.message, "no");
    buf_put_text(&result.payload, payload);
    assert_ok(result_write(&result, &text, &err), &err);
    assert_ok(delivery_take_result(setup->database, buf_bytes(&text), &fate, &err), &err);
    buf_free(&text);
    result_free(&result);
    request_free(&request);
    return fate;
}

/* The delivery as the API shows it, parsed. The caller frees it. */
static struct json *show(struct setup *setup, const char *id)
{
    static const struct json_limits limits = {1 << 20, 1 << 20, 100};
    struct error err = ERROR_INIT;
    struct json_writer *writer = NULL;
    struct json *json = NULL;
    struct buf text = BUF_INIT(1 << 20);
    assert_ok(json_writer_new(false, &writer, &err), &err);
    assert_ok(delivery_write(setup->database, id, writer, &err), &err);
    assert_ok(json_finish(writer, &text, &err), &err);
    assert_ok(json_parse(text.data, text.len, &limits, "delivery", &json, &err), &err);
    json_writer_free(&writer);
    buf_free(&text);
    return json;
}

static const char *member(const struct json *json, const char *name)
{
    return json_text(json_get(json_root(json), name), NULL);
}

static bool read_request(void *context, const struct leased *message)
{
    struct error err = ERROR_INIT;
    bool addressed;
    assert_ok(request_read(message->body.data, message->body.len, context, &addressed, &err), &err);
    return true;
}

static void a_delivery_puts_its_request_on_the_queue(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct request request;
    char id[UUID_TEXT];
    size_t count;
    order(setup, 60000, id);
    request_init(&request);
    assert_ok(stored_queue_receive(setup->database, setup->queue, 1, 60, read_request, &request,
                                   &count, &err),
              &err);
    assert_int_equal(count, 1);
    assert_string_equal(request.id, id);
    assert_string_equal(request.source, "urn:reseal:hub");
    assert_string_equal(request.user_principal_name, "ann@example.org");
    assert_string_equal(request.thumbprint, PRINT_A);
    assert_string_equal(request.device_id, "phone");
    assert_int_equal(request.padding, OAEP_SHA384);
    assert_int_equal(request.pfx.len, 3000);
    assert_int_equal(request.sealed.len, 384);
    assert_int_equal(request.expires_ms - request.time_ms, 60000);
    request_free(&request);
}

static void exactly_one_result_is_effective(void **state)
{
    struct setup *setup = *state;
    char id[UUID_TEXT];
    order(setup, 60000, id);
    assert_int_equal(state_of(setup, id), DELIVERY_PENDING);
    assert_int_equal(take(setup, id, OUTCOME_RESEALED, "first"), RESULT_EFFECTIVE);
    assert_int_equal(take(setup, id, OUTCOME_RESEALED, "second"), RESULT_REPEATED);
    assert_int_equal(take(setup, id, OUTCOME_FAILED, ""), RESULT_REPEATED);
    struct json *json = show(setup, id);
    assert_string_equal(member(json, "state"), "resealed");
    assert_string_equal(member(json, "payload"), "Zmlyc3Q="); /* "first" */
    assert_string_equal(member(json, "custody"), "token");
    assert_string_equal(member(json, "connector"), "one");
    assert_string_equal(member(json, "resultsReceived"), "3");
    assert_string_equal(member(json, "resultsEffective"), "1");
    assert_int_equal(strlen(member(json, "encryptedPfxBlob")), 4000);
    assert_int_equal(json_type(json_get(json_root(json), "error")), JSON_NULL);
    json_free(&json);
}

static void a_failed_result_is_final_and_carries_its_error(void **state)
{
    struct setup *setup = *state;
    char id[UUID_TEXT];
    order(setup, 60000, id);
    assert_int_equal(take(setup, id, OUTCOME_REFUSED, ""), RESULT_EFFECTIVE);
    assert_int_equal(take(setup, id, OUTCOME_RESEALED, "late"), RESULT_REPEATED);
    struct json *json = show(setup, id);
    const struct json_value *error = json_get(json_root(json), "error");
    assert_string_equal(member(json, "state"), "refused");
    assert_string_equal(json_text(json_get(error, "code"), NULL), "4003");
    assert_string_equal(json_text(json_get(error, "name"), NULL), "Cryptography");
    assert_false(json_true(json_get(error, "retryable")));
    assert_int_equal(json_type(json_get(json_root(json), "payload")), JSON_NULL);
    assert_int_equal(json_type(json_get(json_root(json), "encryptedPfxBlob")), JSON_NULL);
    json_free(&json);
}

static void stray_and_unreadable_results_change_nothing(void **state)
{
    static const char *const bad[] = {"",    "{}", "null", "[]", "{\"type\":\"reseal.result.v1\"}",
                                      "\xff"};
    struct setup *setup = *state;
    char id[UUID_TEXT];
    order(setup, 60000, id);
    assert_int_equal(take(setup, "11111111-2222-4333-8444-555555555555", OUTCOME_RESEALED, "x"),
                     RESULT_STRAY);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = ERROR_INIT;
        enum result_fate fate = RESULT_EFFECTIVE;
        const struct bytes body = {(const uint8_t *)bad[i], strlen(bad[i])};
        assert_ok(delivery_take_result(setup->database, body, &fate, &err), &err);
        assert_int_equal(fate, RESULT_UNREADABLE);
    }
    assert_int_equal(state_of(setup, id), DELIVERY_PENDING);
}

static void a_delivery_that_nobody_answers_fails_in_time(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    char id[UUID_TEXT], sooner[UUID_TEXT];
    int64_t next_ms;
    size_t count;
    order(setup, 60000, id);
    assert_ok(delivery_next_expiry(setup->database, 0, &next_ms, &err), &err);
    assert_ok(delivery_expire(setup->database, next_ms - 1, &count, &err), &err);
    assert_int_equal(count, 0);
    assert_ok(delivery_expire(setup->database, next_ms, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_ok(delivery_next_expiry(setup->database, next_ms, &next_ms, &err), &err);
    assert_true(next_ms == INT64_MAX);
    order_by(setup, "bob@example.org", 30000, sooner);
    assert_ok(delivery_next_expiry(setup->database, 0, &next_ms, &err), &err);
    assert_true(next_ms <= clock_real_ms() + 30000);
    assert_int_equal(take(setup, id, OUTCOME_RESEALED, "late"), RESULT_REPEATED);
    struct json *json = show(setup, id);
    const struct json_value *error = json_get(json_root(json), "error");
    assert_string_equal(member(json, "state"), "failed");
    assert_string_equal(json_text(json_get(error, "code"), NULL), "4101");
    assert_true(json_true(json_get(error, "retryable")));
    assert_string_equal(member(json, "resultsReceived"), "1");
    assert_string_equal(member(json, "resultsEffective"), "0");
    json_free(&json);
}

/* What the delivery shows as the PFX that its payload belongs to, in base64. */
static void assert_pfx_begins(struct setup *setup, const char *delivery, const char *base64)
{
    struct json *json = show(setup, delivery);
    const char *pfx = member(json, "encryptedPfxBlob");
    assert_non_null(pfx);
    assert_memory_equal(pfx, base64, strlen(base64));
    json_free(&json);
}

static void a_delivery_keeps_the_pfx_that_its_payload_belongs_to(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct record record;
    char id[UUID_TEXT], record_id[RECORD_ID_MAX + 1];
    order(setup, 60000, id);
    assert_int_equal(take(setup, id, OUTCOME_RESEALED, "first"), RESULT_EFFECTIVE);
    make_record(&record, "ann@example.org", PRINT_A);
    assert_ok(record_identify(&record, &err), &err);
    strcpy(record_id, record.id);
    assert_ok(record_delete(setup->database, record_id, &err), &err);
    assert_pfx_begins(setup, id, "AAECAwQF");
    memset(record.pfx.data, 'n', record.pfx.len);
    assert_ok(record_insert(setup->database, &record, &err), &err);
    assert_string_equal(record.id, record_id);
    record_free(&record);
    assert_pfx_begins(setup, id, "AAECAwQF");
    /* A PFX goes with its record where no delivery needs it. */
    assert_int_equal(count_of(setup, "blobs"), 2);
    assert_ok(record_delete(setup->database, record_id, &err), &err);
    assert_int_equal(count_of(setup, "blobs"), 1);
}

static bool pass_by(void *context, const struct leased *message)
{
    (void)context;
    (void)message;
    return true;
}

static void a_request_that_is_given_up_ends_its_delivery(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    char id[UUID_TEXT];
    size_t count;
    setup->database->requests_queue = setup->queue;
    setup->database->events.message_given_up = delivery_give_up;
    send_text(setup, "no request"); /* a dead letter like any other */
    order(setup, 60000, id);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(state_of(setup, id), DELIVERY_PENDING);
        assert_ok(
            stored_queue_receive(setup->database, setup->queue, 10, 0, pass_by, NULL, &count, &err),
            &err);
    }
    assert_int_equal(count, 0);
    struct json *json = show(setup, id);
    const struct json_value *error = json_get(json_root(json), "error");
    assert_string_equal(member(json, "state"), "failed");
    assert_string_equal(json_text(json_get(error, "code"), NULL), "4101");
    assert_string_equal(json_text(json_get(error, "message"), NULL), "given up after 3 tries");
    json_free(&json);
}

static void finished_deliveries_go_with_what_only_they_need(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    char id[UUID_TEXT], record_id[RECORD_ID_MAX + 1];
    order(setup, 60000, id);
    assert_int_equal(sweep(setup, 1000 * DAY_MS).deliveries, 0); /* kept for ever */
    setup->database->delivery_retention_ms = 30 * DAY_MS;
    assert_int_equal(sweep(setup, 1000 * DAY_MS).deliveries, 0); /* pending */
    assert_int_equal(take(setup, id, OUTCOME_RESEALED, "payload"), RESULT_EFFECTIVE);
    struct json *json = show(setup, id);
    strcpy(record_id, member(json, "recordId"));
    json_free(&json);
    assert_ok(record_delete(setup->database, record_id, &err), &err);
    assert_int_equal(sweep(setup, 30 * DAY_MS).deliveries, 0);
    assert_int_equal(count_of(setup, "payloads") + count_of(setup, "blobs"), 2);
    assert_int_equal(sweep(setup, 30 * DAY_MS + 120000).deliveries, 1);
    assert_int_equal(count_of(setup, "deliveries"), 0);
    assert_int_equal(count_of(setup, "payloads") + count_of(setup, "blobs"), 0);
}

static void a_pfx_stays_with_its_record_when_a_delivery_goes(void **state)
{
    struct setup *setup = *state;
    char id[UUID_TEXT];
    setup->database->delivery_retention_ms = DAY_MS;
    order(setup, 60000, id);
    assert_int_equal(take(setup, id, OUTCOME_FAILED, ""), RESULT_EFFECTIVE);
    assert_int_equal(sweep(setup, 2 * DAY_MS).deliveries, 1);
    assert_int_equal(count_of(setup, "blobs"), 1);
}

static void deliveries_are_counted_by_state(void **state)
{
    struct setup *setup = *state;
    int64_t counts[DELIVERY_STATES];
    char id[UUID_TEXT];
    order(setup, 60000, id);
    delivery_counts(setup->database, counts);
    assert_int_equal(counts[DELIVERY_PENDING], 1);
    assert_int_equal(take(setup, id, OUTCOME_FAILED, ""), RESULT_EFFECTIVE);
    delivery_counts(setup->database, counts);
    assert_int_equal(counts[DELIVERY_PENDING], 0);
    assert_int_equal(counts[DELIVERY_FAILED], 1);
}

static void an_order_for_no_record_makes_no_delivery(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct seen seen;
    char id[UUID_TEXT];
    const struct delivery_order order = {.record_id = "nobody", .queue = setup->queue};
    assert_refused(delivery_create(setup->database, &order, id, &err), &err, FAIL_NOT_FOUND);
    assert_int_equal(receive(setup, 1, 60, &seen), 0);
}

/* Its digest is that of the body that is shown. */
static bool copy_body(void *context, const struct leased *message)
{
    struct buf *out = context;
    uint8_t md5[MD5_BYTES];
    buf_put(out, message->body.data, message->body.len);
    assert_int_equal(EVP_Digest(message->body.data, message->body.len, md5, NULL, EVP_md5(), NULL),
                     1);
    assert_memory_equal(md5, message->md5, MD5_BYTES);
    return true;
}

static void a_result_that_is_no_text_is_kept_as_base64(void **state)
{
    static const struct {
        struct bytes body;
        const char *kept;
    } rows[] = {
        {{(const uint8_t *)"plain text", 10}, "plain text"},
        {{(const uint8_t *)"\xff\xfe\x00", 3}, "//4A"},
        {{(const uint8_t *)"nul \0 inside", 12}, "bnVsIAAgaW5zaWRl"},
        {{(const uint8_t *)"\x01", 1}, "AQ=="}, /* the protocol allows none of these */
        {{(const uint8_t *)"\xef", 1}, "7w=="}, /* cut inside a character */
    };
    struct setup *setup = *state;
    const struct hub hub = {.md5 = setup->database->md5, .results_dead_id = setup->dead};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = ERROR_INIT;
        const struct outgoing message = {.body = rows[i].body};
        struct buf kept = BUF_INIT(1024);
        char id[UUID_TEXT];
        size_t count;
        assert_ok(result_intake(&hub, setup->database, &message, id, &err), &err);
        assert_ok(stored_queue_receive(setup->database, setup->dead, 1, 60, copy_body, &kept,
                                       &count, &err),
                  &err);
        assert_int_equal(count, 1);
        assert_string_equal(buf_text(&kept), rows[i].kept);
        buf_free(&kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(a_delivery_puts_its_request_on_the_queue),
        HUB_TEST(exactly_one_result_is_effective),
        HUB_TEST(a_failed_result_is_final_and_carries_its_error),
        HUB_TEST(stray_and_unreadable_results_change_nothing),
        HUB_TEST(a_result_that_is_no_text_is_kept_as_base64),
        HUB_TEST(a_delivery_that_nobody_answers_fails_in_time),
        HUB_TEST(a_delivery_keeps_the_pfx_that_its_payload_belongs_to),
        HUB_TEST(a_request_that_is_given_up_ends_its_delivery),
        HUB_TEST(finished_deliveries_go_with_what_only_they_need),
        HUB_TEST(a_pfx_stays_with_its_record_when_a_delivery_goes),
        HUB_TEST(deliveries_are_counted_by_state),
        HUB_TEST(an_order_for_no_record_makes_no_delivery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
