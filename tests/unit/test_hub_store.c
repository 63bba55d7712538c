/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's database: leases, dead letters, records, and one effective result per delivery. */
#include "hub_database.h"
#include <sqlite3.h>
#include "reseal/clock.h"
#include "reseal/json.h"
#include "src/hub/store_deliveries.h"
#include "src/hub/store_queue.h"
#include "src/hub/store_records.h"
#include "src/hub/store_retention.h"
#include "src/hub/store_sql.h"

static int begin(void **state)
{
    struct setup *setup = setup_begin();
    setup_queues(setup, 3);
    *state = setup;
    return 0;
}

static void send(struct setup *setup, const char *text)
{
    struct error err = ERROR_INIT;
    char id[UUID_TEXT];
    const struct outgoing message = {.body = {(const uint8_t *)text, strlen(text)}};
    assert_ok(stored_queue_send(setup->database, setup->queue, &message, id, &err), &err);
}

/* What a receive has shown. */
struct seen {
    size_t count;
    char bodies[RECEIVE_MAX][32];
    char receipts[RECEIVE_MAX][RECEIPT_HANDLE_TEXT];
    int64_t receive_counts[RECEIVE_MAX];
};

static bool see(void *context, const struct leased *message)
{
    struct seen *seen = context;
    assert_true(message->body.len < sizeof seen->bodies[0]);
    memcpy(seen->bodies[seen->count], message->body.data, message->body.len);
    seen->bodies[seen->count][message->body.len] = '\0';
    strcpy(seen->receipts[seen->count], message->receipt_handle);
    seen->receive_counts[seen->count++] = message->receive_count;
    return true;
}

static size_t receive_from(struct setup *setup, int64_t queue, unsigned max, int64_t lease_s,
                           struct seen *seen)
{
    struct error err = ERROR_INIT;
    size_t count;
    *seen = (struct seen){.count = 0};
    assert_ok(stored_queue_receive(setup->database, queue, max, lease_s, see, seen, &count, &err),
              &err);
    assert_int_equal(count, seen->count);
    return count;
}

static size_t receive(struct setup *setup, unsigned max, int64_t lease_s, struct seen *seen)
{
    return receive_from(setup, setup->queue, max, lease_s, seen);
}

static enum receipt_state extend(struct setup *setup, const char *receipt, int64_t lease_s)
{
    struct error err = ERROR_INIT;
    enum receipt_state state;
    assert_ok(stored_queue_extend(setup->database, setup->queue, receipt, lease_s, &state, &err),
              &err);
    return state;
}

static enum receipt_state delete (struct setup *setup, const char *receipt) {
    struct error err = ERROR_INIT; enum receipt_state state;
        assert_ok(stored_queue_delete(setup->database, setup->queue, receipt, &state, &err), &err);
        return state;
}

static void a_leased_message_is_hidden_until_it_is_given_back(void **state)
{
    struct setup *setup = *state;
    struct seen first, second;
    send(setup, "one");
    assert_int_equal(receive(setup, 10, 60, &first), 1);
    assert_string_equal(first.bodies[0], "one");
    assert_int_equal(receive(setup, 10, 60, &second), 0);
    assert_int_equal(extend(setup, first.receipts[0], 120), RECEIPT_GOOD);
    assert_int_equal(receive(setup, 10, 60, &second), 0);
    assert_int_equal(extend(setup, first.receipts[0], 0), RECEIPT_GOOD);
    assert_int_equal(receive(setup, 10, 60, &second), 1);
    assert_int_equal(second.receive_counts[0], 2);
}

static void messages_come_in_the_order_in_which_they_were_sent(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    const char *const texts[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++)
        send(setup, texts[i]);
    assert_int_equal(receive(setup, 3, 60, &seen), 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(seen.bodies[i], texts[i]);
    assert_int_equal(receive(setup, 3, 60, &seen), 1);
    assert_string_equal(seen.bodies[0], "d");
}

static void a_delayed_message_is_not_shown_before_its_time(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct queue_counts counts;
    struct seen seen;
    char id[UUID_TEXT];
    int64_t visible_ms;
    const struct outgoing message = {.body = {(const uint8_t *)"x", 1}, .delay_s = 900};
    assert_ok(stored_queue_next_visible(setup->database, setup->queue, &visible_ms, &err), &err);
    assert_true(visible_ms == INT64_MAX);
    assert_ok(stored_queue_send(setup->database, setup->queue, &message, id, &err), &err);
    assert_int_equal(receive(setup, 1, 60, &seen), 0);
    assert_ok(stored_queue_count(setup->database, setup->queue, &counts, &err), &err);
    assert_int_equal(counts.delayed, 1);
    assert_int_equal(counts.visible + counts.in_flight, 0);
    assert_ok(stored_queue_next_visible(setup->database, setup->queue, &visible_ms, &err), &err);
    assert_in_range(visible_ms - clock_real_ms(), 890000, 900000);
}

static void only_the_newest_receipt_holds(void **state)
{
    struct setup *setup = *state;
    struct seen old, new;
    send(setup, "one");
    assert_int_equal(receive(setup, 1, 0, &old), 1); /* back at once */
    assert_int_equal(receive(setup, 1, 60, &new), 1);
    assert_string_not_equal(old.receipts[0], new.receipts[0]);
    assert_int_equal(extend(setup, old.receipts[0], 60), RECEIPT_OTHER);
    assert_int_equal(delete (setup, old.receipts[0]), RECEIPT_OTHER);
    assert_int_equal(delete (setup, new.receipts[0]), RECEIPT_GOOD);
    assert_int_equal(delete (setup, new.receipts[0]), RECEIPT_GONE);
    assert_int_equal(extend(setup, new.receipts[0], 60), RECEIPT_GONE);
}

static void an_ended_lease_cannot_be_extended_but_still_deletes(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    send(setup, "one");
    assert_int_equal(receive(setup, 1, 0, &seen), 1);
    assert_int_equal(extend(setup, seen.receipts[0], 60), RECEIPT_EXPIRED);
    assert_int_equal(delete (setup, seen.receipts[0]), RECEIPT_GOOD);
    assert_int_equal(receive(setup, 1, 60, &seen), 0);
}

static void receipts_that_are_none_are_told(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    enum receipt_state found;
    struct seen seen;
    static const char *const bad[] = {"",
                                      "x",
                                      "0000000000000001",
                                      "000000000000000100000000000000000000000000000000",
                                      "ffffffffffffffff00000000000000000000000000000000",
                                      "0000000000000001 0000000000000000000000000000000",
                                      "00000000000000010000000000000000000000000000000000"};
    send(setup, "one");
    assert_int_equal(receive(setup, 1, 60, &seen), 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(delete (setup, bad[i]) == RECEIPT_MALFORMED ||
                    delete (setup, bad[i]) == RECEIPT_OTHER);
    assert_ok(stored_queue_delete(setup->database, setup->dead, seen.receipts[0], &found, &err),
              &err);
    assert_int_equal(found, RECEIPT_OTHER); /* of another queue */
    assert_int_equal(delete (setup, seen.receipts[0]), RECEIPT_GOOD);
}

static void a_message_received_too_often_goes_to_the_dead_letters(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    send(setup, "poison");
    for (int64_t i = 1; i <= 3; i++) {
        assert_int_equal(receive(setup, 1, 0, &seen), 1);
        assert_int_equal(seen.receive_counts[0], i);
    }
    send(setup, "good");
    assert_int_equal(receive(setup, 1, 60, &seen), 1); /* the good one takes its place */
    assert_string_equal(seen.bodies[0], "good");
    assert_int_equal(receive_from(setup, setup->dead, 10, 60, &seen), 1);
    assert_string_equal(seen.bodies[0], "poison");
    assert_int_equal(receive(setup, 10, 60, &seen), 0);
}

static void what_was_committed_is_there_after_a_restart_and_nothing_else(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct seen seen;
    assert_ok(database_begin(setup->database, &err), &err);
    send(setup, "kept");
    assert_ok(database_commit(setup->database, &err), &err);
    assert_ok(database_begin(setup->database, &err), &err);
    send(setup, "rolled back");
    database_rollback(setup->database);
    reopen(setup);
    assert_int_equal(receive(setup, 10, 60, &seen), 1);
    assert_string_equal(seen.bodies[0], "kept");
}

static void a_transaction_tells_whether_anything_was_written(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct seen seen;
    assert_ok(database_begin(setup->database, &err), &err);
    const struct database_mark start = database_mark(setup->database);
    assert_int_equal(receive(setup, 1, 60, &seen), 0);
    assert_true(database_unchanged(setup->database, start));
    send(setup, "one");
    assert_false(database_unchanged(setup->database, start));
    const struct database_mark later = database_mark(setup->database);
    assert_true(database_unchanged(setup->database, later));
    database_rollback(setup->database);
    assert_false(database_unchanged(setup->database, later));
}

static void queues_made_in_a_lost_transaction_are_forgotten(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct queue_row queue;
    assert_ok(database_begin(setup->database, &err), &err);
    stored_queue_defaults(&queue, "brief");
    assert_ok(stored_queue_create(setup->database, &queue, &err), &err);
    assert_non_null(stored_queue_find(setup->database, "brief"));
    database_rollback(setup->database);
    assert_null(stored_queue_find(setup->database, "brief"));
}

static void one_database_is_held_by_one_process_only(void **state)
{
    struct setup *setup = *state;
    sqlite3 *other = NULL;
    send(setup, "one");
    assert_int_equal(sqlite3_open(setup->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "SELECT * FROM queues", NULL, NULL, NULL), SQLITE_BUSY);
    sqlite3_close(other);
}

static void a_file_that_is_no_hub_database_is_refused_and_left_alone(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct database *database = NULL;
    sqlite3 *other = NULL;
    char path[64];
    snprintf(path, sizeof path, "%s/other", setup->folder);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "PRAGMA user_version = 77", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_refused(database_open(path, &database, &err), &err, FAIL_USAGE);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("this is a text and no database at all, long enough to have a header", file);
    fclose(file);
    assert_refused(database_open(path, &database, &err), &err, FAIL_IO);
    assert_null(database);
    unlink(path);
}

static void one_receive_hands_out_no_message_twice(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    send(setup, "tired");
    for (int i = 0; i < 3; i++)
        assert_int_equal(receive(setup, 1, 0, &seen), 1);
    send(setup, "fresh");
    assert_int_equal(receive(setup, 10, 0, &seen), 1);
    assert_string_equal(seen.bodies[0], "fresh");
    assert_int_equal(seen.receive_counts[0], 1);
    assert_int_equal(receive_from(setup, setup->dead, 10, 60, &seen), 1);
    assert_string_equal(seen.bodies[0], "tired");
}

/* ---- records ---- */

static void fill(struct buf *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_put_u8(buf, (uint8_t)i);
}

static void make_record(struct record *out, const char *upn, const char *thumbprint)
{
    record_init(out);
    strcpy(out->user_principal_name, upn);
    strcpy(out->thumbprint, thumbprint);
    strcpy(out->key_name, "sealing");
    strcpy(out->provider_name, "reseal");
    out->not_before_ms = 1000;
    out->not_after_ms = 2000;
    out->purpose = PURPOSE_SMIME_ENCRYPTION;
    out->padding = OAEP_SHA384;
    fill(&out->pfx, 3000);
    fill(&out->sealed, 384);
}

static void add_record(struct setup *setup, const char *upn, const char *thumbprint,
                       char id[static RECORD_ID_MAX + 1])
{
    struct error err = ERROR_INIT;
    struct record record;
    make_record(&record, upn, thumbprint);
    assert_ok(record_insert(setup->database, &record, &err), &err);
    strcpy(id, record.id);
    record_free(&record);
}

#define PRINT_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PRINT_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void a_record_comes_back_as_it_was_stored(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct record record;
    char id[RECORD_ID_MAX + 1];
    add_record(setup, "Ann@Example.org", PRINT_A, id);
    /* the first 16 bytes of SHA-256("ann@example.org") */
    assert_string_equal(id, "438c4c7afe600cdf1e455c369bec76dc-" PRINT_A);
    reopen(setup);
    record_init(&record);
    assert_ok(record_select(setup->database, id, &record, &err), &err);
    assert_string_equal(record.user_principal_name, "Ann@Example.org");
    assert_int_equal(record.purpose, PURPOSE_SMIME_ENCRYPTION);
    assert_int_equal(record.padding, OAEP_SHA384);
    assert_int_equal(record.pfx.len, 3000);
    assert_int_equal(record.sealed.len, 384);
    assert_int_equal(record.not_after_ms, 2000);
    assert_true(record.created_ms > 0);
    record_free(&record);
}

static void one_user_has_one_certificate_once_whatever_the_case(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct record record;
    char id[RECORD_ID_MAX + 1];
    add_record(setup, "ann@example.org", PRINT_A, id);
    add_record(setup, "ben@example.org", PRINT_A, id);
    add_record(setup, "ann@example.org", PRINT_B, id);
    record_init(&record);
    strcpy(record.user_principal_name, "ANN@example.org");
    strcpy(record.thumbprint, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    fill(&record.pfx, 1);
    fill(&record.sealed, 256);
    assert_refused(record_insert(setup->database, &record, &err), &err, FAIL_EXISTS);
    record_free(&record);
}

static void a_deleted_record_is_gone(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct record record;
    char id[RECORD_ID_MAX + 1];
    add_record(setup, "ann@example.org", PRINT_A, id);
    assert_ok(record_delete(setup->database, id, &err), &err);
    assert_refused(record_delete(setup->database, id, &err), &err, FAIL_NOT_FOUND);
    record_init(&record);
    assert_refused(record_select(setup->database, id, &record, &err), &err, FAIL_NOT_FOUND);
    record_free(&record);
}

struct page {
    size_t count;
    int64_t last;
};

static bool count_record(void *context, int64_t sequence, const struct record *record,
                         struct error *err)
{
    struct page *page = context;
    (void)err;
    assert_true(sequence > page->last);
    assert_int_equal(record->pfx.len + record->sealed.len, 0);
    page->last = sequence;
    page->count++;
    return true;
}

static size_t list(struct setup *setup, struct record_query query)
{
    struct error err = ERROR_INIT;
    struct page page = {0, query.after};
    assert_ok(record_list(setup->database, &query, count_record, &page, &err), &err);
    return page.count;
}

static void a_list_is_narrowed_and_paged(void **state)
{
    struct setup *setup = *state;
    char id[RECORD_ID_MAX + 1];
    add_record(setup, "Ann@example.org", PRINT_A, id);
    add_record(setup, "ann@example.org", PRINT_B, id);
    add_record(setup, "ben@example.org", PRINT_B, id);
    assert_int_equal(list(setup, (struct record_query){.limit = 100}), 3);
    assert_int_equal(list(setup, (struct record_query){.limit = 2}), 2);
    assert_int_equal(list(setup, (struct record_query){.limit = 100, .after = 2}), 1);
    assert_int_equal(list(setup, (struct record_query){.limit = 9, .upn = "ann@example.org"}), 2);
    assert_int_equal(list(setup, (struct record_query){.limit = 9, .thumbprint = PRINT_B}), 2);
    assert_int_equal(
        list(setup,
             (struct record_query){.limit = 9, .upn = "ann@example.org", .thumbprint = PRINT_B}),
        1);
    assert_int_equal(list(setup, (struct record_query){.limit = 9, .upn = "cy@example.org"}), 0);
}

/* ---- deliveries ---- */

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

static int64_t count_of(struct setup *setup, const char *table)
{
    sqlite3_stmt *statement = NULL;
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    assert_int_equal(sqlite3_prepare_v2(setup->database->handle, sql, -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t count = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return count;
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
    send(setup, "no request"); /* a dead letter like any other */
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

#define DAY_MS (INT64_C(24) * 3600 * 1000)

/* What one sweep at that time, counted from now, deletes. */
static struct retention_counts sweep(struct setup *setup, int64_t ahead_ms)
{
    struct error err = ERROR_INIT;
    struct retention_counts counts;
    assert_ok(retention_sweep(setup->database, clock_real_ms() + ahead_ms, &counts, &err), &err);
    return counts;
}

static void messages_go_when_their_retention_is_over(void **state)
{
    struct setup *setup = *state;
    struct seen seen;
    for (int i = 0; i < 120; i++)
        send(setup, "old");
    assert_int_equal(receive(setup, 10, 3600, &seen), 10); /* leased ones go as well */
    assert_int_equal(sweep(setup, 4 * DAY_MS - 60000).messages, 0);
    struct retention_counts first = sweep(setup, 4 * DAY_MS + 1);
    assert_int_equal(first.messages, 100); /* a batch is small */
    assert_true(first.more);
    struct retention_counts rest = sweep(setup, 4 * DAY_MS + 1);
    assert_int_equal(rest.messages, 20);
    assert_false(rest.more);
    assert_int_equal(count_of(setup, "messages") + count_of(setup, "bodies"), 0);
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

static void the_status_is_counted_from_indices_alone(void **state)
{
    static const enum statement counted[] = {SQL_QUEUE_HIDDEN, SQL_QUEUE_OLDEST, SQL_RECORD_COUNT};
    struct setup *setup = *state;
    for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
        sqlite3_stmt *statement = NULL;
        char sql[1024];
        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", statement_sql[counted[i]]);
        assert_int_equal(sqlite3_prepare_v2(setup->database->handle, sql, -1, &statement, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        assert_non_null(strstr(column_text(statement, 3), "COVERING INDEX"));
        sqlite3_finalize(statement);
    }
}

#define HUB_TEST(name) cmocka_unit_test_setup_teardown(name, begin, setup_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(a_leased_message_is_hidden_until_it_is_given_back),
        HUB_TEST(messages_come_in_the_order_in_which_they_were_sent),
        HUB_TEST(a_delayed_message_is_not_shown_before_its_time),
        HUB_TEST(only_the_newest_receipt_holds),
        HUB_TEST(an_ended_lease_cannot_be_extended_but_still_deletes),
        HUB_TEST(receipts_that_are_none_are_told),
        HUB_TEST(a_message_received_too_often_goes_to_the_dead_letters),
        HUB_TEST(one_receive_hands_out_no_message_twice),
        HUB_TEST(what_was_committed_is_there_after_a_restart_and_nothing_else),
        HUB_TEST(a_transaction_tells_whether_anything_was_written),
        HUB_TEST(queues_made_in_a_lost_transaction_are_forgotten),
        HUB_TEST(one_database_is_held_by_one_process_only),
        HUB_TEST(a_file_that_is_no_hub_database_is_refused_and_left_alone),
        HUB_TEST(a_record_comes_back_as_it_was_stored),
        HUB_TEST(one_user_has_one_certificate_once_whatever_the_case),
        HUB_TEST(a_deleted_record_is_gone),
        HUB_TEST(a_list_is_narrowed_and_paged),
        HUB_TEST(a_delivery_puts_its_request_on_the_queue),
        HUB_TEST(exactly_one_result_is_effective),
        HUB_TEST(a_failed_result_is_final_and_carries_its_error),
        HUB_TEST(stray_and_unreadable_results_change_nothing),
        HUB_TEST(a_delivery_that_nobody_answers_fails_in_time),
        HUB_TEST(a_delivery_keeps_the_pfx_that_its_payload_belongs_to),
        HUB_TEST(a_request_that_is_given_up_ends_its_delivery),
        HUB_TEST(messages_go_when_their_retention_is_over),
        HUB_TEST(finished_deliveries_go_with_what_only_they_need),
        HUB_TEST(a_pfx_stays_with_its_record_when_a_delivery_goes),
        HUB_TEST(deliveries_are_counted_by_state),
        HUB_TEST(the_status_is_counted_from_indices_alone),
        HUB_TEST(an_order_for_no_record_makes_no_delivery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
