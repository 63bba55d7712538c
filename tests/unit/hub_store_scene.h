/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the hub's database share: a database with three queues, and small words for
 * what is done with messages and records. */
#ifndef RESEAL_TESTS_HUB_STORE_SCENE_H
#define RESEAL_TESTS_HUB_STORE_SCENE_H

#include "hub_database.h"
#include <sqlite3.h>
#include "reseal/clock.h"
#include "src/hub/store_queue.h"
#include "src/hub/store_records.h"
#include "src/hub/store_retention.h"

static inline int begin(void **state)
{
    struct setup *setup = setup_begin();
    setup_queues(setup, 3);
    *state = setup;
    return 0;
}

static inline void send_text(struct setup *setup, const char *text)
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

static inline bool see(void *context, const struct leased *message)
{
    struct seen *seen = context;
    assert_true(message->body.len < sizeof seen->bodies[0]);
    memcpy(seen->bodies[seen->count], message->body.data, message->body.len);
    seen->bodies[seen->count][message->body.len] = '\0';
    strcpy(seen->receipts[seen->count], message->receipt_handle);
    seen->receive_counts[seen->count++] = message->receive_count;
    return true;
}

static inline size_t receive_from(struct setup *setup, int64_t queue, unsigned max, int64_t lease_s,
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

static inline size_t receive(struct setup *setup, unsigned max, int64_t lease_s, struct seen *seen)
{
    return receive_from(setup, setup->queue, max, lease_s, seen);
}

static inline enum receipt_state extend(struct setup *setup, const char *receipt, int64_t lease_s)
{
    struct error err = ERROR_INIT;
    enum receipt_state state;
    assert_ok(stored_queue_extend(setup->database, setup->queue, receipt, lease_s, &state, &err),
              &err);
    return state;
}

static inline enum receipt_state remove_by(struct setup *setup, const char *receipt)
{
    struct error err = ERROR_INIT;
    enum receipt_state state;
    assert_ok(stored_queue_delete(setup->database, setup->queue, receipt, &state, &err), &err);
    return state;
}

/* -- records -- */

static inline void fill(struct buf *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_put_u8(buf, (uint8_t)i);
}

static inline void make_record(struct record *out, const char *upn, const char *thumbprint)
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

static inline void add_record(struct setup *setup, const char *upn, const char *thumbprint,
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

/* -- what is there -- */

static inline int64_t count_of(struct setup *setup, const char *table)
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

#define DAY_MS (INT64_C(24) * 3600 * 1000)

/* What one sweep at that time, counted from now, deletes. */
static inline struct retention_counts sweep(struct setup *setup, int64_t ahead_ms)
{
    struct error err = ERROR_INIT;
    struct retention_counts counts;
    assert_ok(retention_sweep(setup->database, clock_real_ms() + ahead_ms, &counts, &err), &err);
    return counts;
}

#define HUB_TEST(name) cmocka_unit_test_setup_teardown(name, begin, setup_end)

#endif
