/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the queue protocol, as the store runs them: again where their transaction was lost. */
#include "hub_store_scene.h"
#include "src/hub/api_queue.h"

struct scene {
    struct hub hub;
    struct exchange exchange;
    struct queue_call call;
};

/* One call about the queue "work". */
static struct scene *scene_begin(const struct setup *setup)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->hub.md5 = setup->database->md5;
    scene->exchange.hub = &scene->hub;
    scene->exchange.work = &scene->call;
    scene->exchange.job.context = &scene->exchange;
    scene->exchange.answer.body = (struct buf)BUF_INIT(ANSWER_MAX);
    strcpy(scene->call.queue, "work");
    return scene;
}

static void scene_end(struct scene *scene)
{
    buf_free(&scene->exchange.answer.body);
    free(scene);
}

/* Runs the call; the status that it answers. */
static unsigned run(struct setup *setup, struct scene *scene, job_run *call)
{
    struct error err = ERROR_INIT;
    assert_int_equal(call(&scene->exchange.job, setup->database, &err), JOB_DONE);
    return scene->exchange.answer.status;
}

static void begin_transaction(struct setup *setup)
{
    struct error err = ERROR_INIT;
    assert_ok(database_begin(setup->database, &err), &err);
}

static void a_delete_that_was_refused_in_a_lost_transaction_is_done_in_the_next(void **state)
{
    struct setup *setup = *state;
    struct scene *scene = scene_begin(setup);
    struct seen held, newer;
    send_text(setup, "one");
    assert_int_equal(receive(setup, 1, 0, &held), 1);
    scene->call.count = 1;
    scene->call.entries[0].receipt_handle = held.receipts[0];
    begin_transaction(setup);
    assert_int_equal(receive(setup, 1, 60, &newer), 1);
    assert_int_equal(run(setup, scene, run_delete), 404);
    assert_string_not_equal(scene->exchange.answer.query_error, "");
    database_rollback(setup->database);
    assert_int_equal(run(setup, scene, run_delete), 200);
    assert_string_equal(scene->exchange.answer.query_error, "");
    assert_int_equal(count_of(setup, "messages"), 0);
    scene_end(scene);
}

static void an_extension_is_judged_anew_and_a_malformed_entry_is_not(void **state)
{
    struct setup *setup = *state;
    struct scene *scene = scene_begin(setup);
    struct seen held;
    send_text(setup, "one");
    assert_int_equal(receive(setup, 1, 60, &held), 1);
    scene->call.batch = true;
    scene->call.count = 2;
    scene->call.entries[0] =
        (struct entry){.id = "good", .receipt_handle = held.receipts[0], .lease_s = 60};
    scene->call.entries[1] = (struct entry){.id = "bad", .failed = true, .malformed = true};
    begin_transaction(setup);
    assert_int_equal(extend(setup, held.receipts[0], 0), RECEIPT_GOOD); /* given back */
    assert_int_equal(run(setup, scene, run_change), 200);
    assert_true(scene->call.entries[0].failed);
    database_rollback(setup->database);
    assert_int_equal(run(setup, scene, run_change), 200);
    assert_false(scene->call.entries[0].failed);
    assert_true(scene->call.entries[1].failed);
    scene_end(scene);
}

static void a_message_takes_the_delay_that_its_queue_has_at_last(void **state)
{
    struct setup *setup = *state;
    struct scene *scene = scene_begin(setup);
    struct error err = ERROR_INIT;
    struct queue_counts counts;
    strcpy(scene->call.access_key, "AKONE");
    scene->call.count = 1;
    scene->call.entries[0].message =
        (struct outgoing){.body = {(const uint8_t *)"one", 3}, .delay_s = -1};
    begin_transaction(setup);
    struct queue_row slow = *stored_queue_find(setup->database, "work");
    slow.delay_s = 900;
    assert_ok(stored_queue_update(setup->database, &slow, &err), &err);
    assert_int_equal(run(setup, scene, run_send), 200);
    database_rollback(setup->database);
    assert_int_equal(run(setup, scene, run_send), 200);
    assert_ok(stored_queue_count(setup->database, setup->queue, &counts, &err), &err);
    assert_int_equal(counts.visible, 1);
    scene_end(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(a_delete_that_was_refused_in_a_lost_transaction_is_done_in_the_next),
        HUB_TEST(an_extension_is_judged_anew_and_a_malformed_entry_is_not),
        HUB_TEST(a_message_takes_the_delay_that_its_queue_has_at_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
