/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that wait: found by what they wait for, and run in the order in which they came. */
#include "check.h"
#include "src/hub/store_waits.h"

#define JOBS 3000

struct setup {
    struct waits waits;
    struct job jobs[JOBS];
};

static int begin(void **state)
{
    *state = calloc(1, sizeof(struct setup));
    assert_non_null(*state);
    return 0;
}

static int end(void **state)
{
    free(*state);
    return 0;
}

static void name(size_t i, char out[static UUID_TEXT])
{
    snprintf(out, UUID_TEXT, "%08zx-0000-4000-8000-000000000000", i);
}

/* Every third waits for queue 7, the others each for a delivery of its own. */
static void add_all(struct setup *setup, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i % 3 == 0)
            setup->jobs[i].wait_queue = 7;
        else
            name(i, setup->jobs[i].wait_delivery);
        waits_add(&setup->waits, &setup->jobs[i]);
    }
}

static void expect_next(struct setup *setup, size_t i)
{
    assert_ptr_equal(waits_next(&setup->waits), &setup->jobs[i]);
}

static void a_completed_delivery_wakes_who_waits_for_it_and_nobody_else(void **state)
{
    struct setup *setup = *state;
    char id[UUID_TEXT];
    add_all(setup, JOBS);
    assert_null(waits_next(&setup->waits));
    for (size_t i = 1; i < JOBS; i += 3) {
        name(i, id);
        waits_wake_delivery(&setup->waits, id);
        expect_next(setup, i);
        assert_null(waits_next(&setup->waits));
        waits_remove(&setup->waits, &setup->jobs[i]);
        waits_wake_delivery(&setup->waits, id);
        assert_null(waits_next(&setup->waits));
    }
    waits_wake_queue(&setup->waits, 8);
    assert_null(waits_next(&setup->waits));
}

static void who_came_first_is_run_first_whoever_was_woken_first(void **state)
{
    struct setup *setup = *state;
    char id[UUID_TEXT];
    add_all(setup, 10);
    for (size_t i = 9; i-- > 0;) { /* backwards, and some of them twice */
        if (i % 3 == 0)
            waits_wake(&setup->waits, &setup->jobs[i]);
        name(i, id);
        waits_wake_delivery(&setup->waits, id);
    }
    waits_wake_queue(&setup->waits, 7);
    for (size_t i = 0; i < 10; i++)
        expect_next(setup, i);
    assert_null(waits_next(&setup->waits));
}

static void who_waits_on_keeps_his_turn(void **state)
{
    struct setup *setup = *state;
    add_all(setup, 4); /* 0 and 3 wait for the queue */
    waits_wake_queue(&setup->waits, 7);
    expect_next(setup, 0);
    expect_next(setup, 3);
    waits_resume(&setup->waits, &setup->jobs[3]);
    waits_resume(&setup->waits, &setup->jobs[0]);
    assert_null(waits_next(&setup->waits));
    waits_wake_queue(&setup->waits, 7);
    expect_next(setup, 0);
    expect_next(setup, 3);
}

static void the_list_of_all_loses_none_and_keeps_none(void **state)
{
    struct setup *setup = *state;
    size_t count = 0;
    add_all(setup, 30);
    for (size_t i = 0; i < 30; i += 2)
        waits_remove(&setup->waits, &setup->jobs[i]);
    for (const struct job *job = setup->waits.first; job != NULL; job = job->next)
        assert_ptr_equal(job, &setup->jobs[2 * count++ + 1]);
    assert_int_equal(count, 15);
    while (setup->waits.last != NULL)
        waits_remove(&setup->waits, setup->waits.last);
    assert_null(setup->waits.first);
    waits_wake_queue(&setup->waits, 7);
    assert_null(waits_next(&setup->waits));
}

#define WAITS_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WAITS_TEST(a_completed_delivery_wakes_who_waits_for_it_and_nobody_else),
        WAITS_TEST(who_came_first_is_run_first_whoever_was_woken_first),
        WAITS_TEST(who_waits_on_keeps_his_turn),
        WAITS_TEST(the_list_of_all_loses_none_and_keeps_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
