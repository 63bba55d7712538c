/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's database: records. */
#include "hub_store_scene.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(a_record_comes_back_as_it_was_stored),
        HUB_TEST(one_user_has_one_certificate_once_whatever_the_case),
        HUB_TEST(a_deleted_record_is_gone),
        HUB_TEST(a_list_is_narrowed_and_paged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
