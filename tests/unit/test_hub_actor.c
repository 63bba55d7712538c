/* SPDX-License-Identifier: Apache-2.0 */
/* The store thread: group commit, waiting jobs, deadlines, faults and the end. */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "src/hub/store.h"
#include "src/hub/store_queue.h"

/* One job of a test and how it ended. */
struct probe {
    struct job job;
    pthread_mutex_t *lock;
    pthread_cond_t *changed;
    int64_t queue;
    const char *text; /* to be sent */
    size_t runs, received;
    int finished; /* times */
    bool failed;
    _Atomic bool client_gone;
    enum failure kind;
    int64_t finished_ms;
};

struct setup {
    char folder[32];
    char path[64];
    struct store *store;
    int64_t queue;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static int begin(void **state)
{
    struct error err = ERROR_INIT;
    struct queue_row queue;
    struct setup *setup = calloc(1, sizeof *setup);
    assert_non_null(setup);
    strcpy(setup->folder, "/tmp/hub-actor-XXXXXX");
    assert_non_null(mkdtemp(setup->folder));
    snprintf(setup->path, sizeof setup->path, "%s/hub.db", setup->folder);
    pthread_mutex_init(&setup->lock, NULL);
    pthread_cond_init(&setup->changed, NULL);
    assert_ok(store_open(setup->path, &setup->store, &err), &err);
    struct database *database = store_database(setup->store);
    stored_queue_defaults(&queue, "work");
    assert_ok(stored_queue_create(database, &queue, &err), &err);
    setup->queue = stored_queue_find(database, "work")->id;
    *state = setup;
    return 0;
}

static int end(void **state)
{
    static const char *const files[] = {"hub.db", "hub.db-wal"};
    struct setup *setup = *state;
    char path[128];
    store_close(&setup->store);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(path, sizeof path, "%s/%s", setup->folder, files[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(setup->folder), 0);
    pthread_cond_destroy(&setup->changed);
    pthread_mutex_destroy(&setup->lock);
    free(setup);
    return 0;
}

static void start(struct setup *setup)
{
    struct error err = ERROR_INIT;
    assert_ok(store_start(setup->store, &err), &err);
}

static void on_finish(struct job *job, const struct error *err)
{
    struct probe *probe = job->context;
    pthread_mutex_lock(probe->lock);
    probe->finished++;
    probe->failed = err != NULL;
    probe->kind = err != NULL ? err->kind : FAIL_NONE;
    probe->finished_ms = clock_monotonic_ms();
    pthread_cond_broadcast(probe->changed);
    pthread_mutex_unlock(probe->lock);
}

static bool is_there(const struct job *job)
{
    const struct probe *probe = job->context;
    return !probe->client_gone;
}

static enum job_verdict send_text(struct job *job, struct database *database, struct error *err)
{
    struct probe *probe = job->context;
    char id[UUID_TEXT];
    const struct outgoing message = {.body = {(const uint8_t *)probe->text, strlen(probe->text)}};
    probe->runs++;
    return stored_queue_send(database, probe->queue, &message, id, err) ? JOB_DONE : JOB_FAILED;
}

static enum job_verdict send_and_fail(struct job *job, struct database *database, struct error *err)
{
    if (send_text(job, database, err) == JOB_DONE)
        (void)error_set(err, FAIL_INPUT, "on purpose");
    return JOB_FAILED;
}

static bool see(void *context, const struct leased *message)
{
    struct probe *probe = context;
    (void)message;
    probe->received++;
    return true;
}

static enum job_verdict receive_for(struct job *job, struct database *database, int64_t lease_s,
                                    struct error *err)
{
    struct probe *probe = job->context;
    size_t count;
    probe->runs++;
    if (!stored_queue_receive(database, probe->queue, 1, lease_s, see, probe, &count, err))
        return JOB_FAILED;
    if (count > 0 || job->last)
        return JOB_DONE;
    job->wait_queue = probe->queue;
    return JOB_WAIT;
}

static enum job_verdict receive_one(struct job *job, struct database *database, struct error *err)
{
    return receive_for(job, database, 1, err);
}

static enum job_verdict receive_and_keep(struct job *job, struct database *database,
                                         struct error *err)
{
    return receive_for(job, database, 600, err);
}

static void submit(struct setup *setup, struct probe *probe, job_run *run, int64_t wait_ms)
{
    *probe = (struct probe){.lock = &setup->lock,
                            .changed = &setup->changed,
                            .queue = setup->queue,
                            .text = probe->text != NULL ? probe->text : "x",
                            .client_gone = probe->client_gone};
    probe->job = (struct job){.run = run, .finish = on_finish, .alive = is_there, .context = probe};
    if (wait_ms > 0)
        probe->job.deadline_ms = clock_monotonic_ms() + wait_ms;
    store_submit(setup->store, &probe->job);
}

static void wait_for(struct setup *setup, struct probe *probe)
{
    pthread_mutex_lock(&setup->lock);
    while (probe->finished == 0)
        pthread_cond_wait(&setup->changed, &setup->lock);
    pthread_mutex_unlock(&setup->lock);
    assert_int_equal(probe->finished, 1);
}

static int count_commit(void *context)
{
    ++*(int *)context;
    return 0; /* go on */
}

static void jobs_that_wait_together_are_committed_together(void **state)
{
    struct setup *setup = *state;
    int commits = 0;
    sqlite3_commit_hook(store_database(setup->store)->handle, count_commit, &commits);
    struct probe probes[50] = {0};
    struct probe receiver = {.text = NULL};
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        submit(setup, &probes[i], send_text, 0);
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        assert_int_equal(probes[i].finished, 0);
    start(setup);
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        wait_for(setup, &probes[i]);
        assert_false(probes[i].failed);
        assert_int_equal(probes[i].runs, 1);
    }
    assert_int_equal(commits, 1);
    submit(setup, &receiver, receive_one, 0);
    wait_for(setup, &receiver);
    assert_int_equal(receiver.received, 1);
}

static void a_failing_job_does_not_spoil_the_others(void **state)
{
    struct setup *setup = *state;
    struct error err = ERROR_INIT;
    struct queue_counts counts;
    struct probe good = {0}, bad = {0}, also_good = {0};
    submit(setup, &good, send_text, 0);
    submit(setup, &bad, send_and_fail, 0);
    submit(setup, &also_good, send_text, 0);
    start(setup);
    wait_for(setup, &good);
    wait_for(setup, &bad);
    wait_for(setup, &also_good);
    assert_false(good.failed || also_good.failed);
    assert_true(bad.failed);
    assert_int_equal(bad.kind, FAIL_INPUT);
    store_stop(setup->store);
    assert_ok(stored_queue_count(store_database(setup->store), setup->queue, &counts, &err), &err);
    assert_int_equal(counts.visible, 2);
}

static void a_waiting_job_gets_what_is_sent_later(void **state)
{
    struct setup *setup = *state;
    struct probe receiver = {0}, other = {0}, sender = {0};
    start(setup);
    submit(setup, &receiver, receive_one, 60000);
    submit(setup, &other, receive_one, 60000);
    submit(setup, &sender, send_text, 0);
    wait_for(setup, &sender);
    wait_for(setup, &receiver);
    assert_int_equal(receiver.received, 1);
    store_drain(setup->store);
    wait_for(setup, &other);
    assert_int_equal(other.received, 0);
}

static void a_waiting_job_gets_a_message_whose_lease_ends(void **state)
{
    struct setup *setup = *state;
    struct probe sender = {0}, first = {0}, second = {0};
    start(setup);
    submit(setup, &sender, send_text, 0);
    submit(setup, &first, receive_one, 0); /* for one second */
    submit(setup, &second, receive_one, 60000);
    wait_for(setup, &first);
    assert_int_equal(first.received, 1);
    wait_for(setup, &second);
    assert_int_equal(second.received, 1);
    assert_in_range(second.finished_ms - first.finished_ms, 900, 20000);
    assert_true(second.runs <= 4); /* it was woken, it did not poll */
}

static void a_deadline_ends_the_waiting(void **state)
{
    struct setup *setup = *state;
    struct probe probe = {0};
    int64_t begun = clock_monotonic_ms();
    start(setup);
    submit(setup, &probe, receive_one, 300);
    wait_for(setup, &probe);
    assert_false(probe.failed);
    assert_int_equal(probe.received, 0);
    assert_in_range(probe.finished_ms - begun, 299, 20000);
    assert_int_equal(probe.runs, 2);
}

static void a_client_that_has_gone_is_given_nothing(void **state)
{
    struct setup *setup = *state;
    struct probe gone = {.client_gone = true}, waiting = {0}, sender = {0};
    start(setup);
    submit(setup, &gone, receive_one, 60000);
    submit(setup, &waiting, receive_one, 60000);
    submit(setup, &sender, send_text, 0);
    wait_for(setup, &gone);
    assert_true(gone.failed);
    assert_int_equal(gone.runs, 0);
    wait_for(setup, &waiting);
    assert_int_equal(waiting.received, 1);
}

static bool has_finished(struct setup *setup, const struct probe *probe)
{
    pthread_mutex_lock(&setup->lock);
    bool finished = probe->finished > 0;
    pthread_mutex_unlock(&setup->lock);
    return finished;
}

static void a_client_that_goes_while_it_waits_is_let_go(void **state)
{
    struct setup *setup = *state;
    struct probe waiting = {0};
    start(setup);
    submit(setup, &waiting, receive_one, 60000);
    while (!has_finished(setup, &waiting)) { /* others come and go meanwhile */
        struct probe other = {0};
        submit(setup, &other, receive_one, 0);
        wait_for(setup, &other);
        waiting.client_gone = true; /* after its first run, which came before that of the other */
    }
    assert_true(waiting.failed);
    assert_int_equal(waiting.runs, 1);
}

static void the_end_finishes_every_job_once(void **state)
{
    struct setup *setup = *state;
    struct probe waiting[3] = {0}, late = {0};
    start(setup);
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        submit(setup, &waiting[i], receive_one, 60000);
    store_stop(setup->store);
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        assert_int_equal(waiting[i].finished, 1);
    submit(setup, &late, send_text, 0);
    assert_int_equal(late.finished, 1);
    assert_true(late.failed);
    assert_int_equal(late.kind, FAIL_IO);
}

/* Makes every write fail as a full disk does, without one. */
static enum job_verdict fill_disk(struct job *job, struct database *database, struct error *err)
{
    (void)job;
    (void)err;
    sqlite3_exec(database->handle, "PRAGMA max_page_count = 1", NULL, NULL, NULL);
    return JOB_DONE;
}

static enum job_verdict heal_disk(struct job *job, struct database *database, struct error *err)
{
    (void)job;
    (void)err;
    sqlite3_exec(database->handle, "PRAGMA max_page_count = 1073741823", NULL, NULL, NULL);
    return JOB_DONE;
}

static void a_full_disk_fails_the_write_and_nothing_else(void **state)
{
    struct setup *setup = *state;
    char large[20000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    struct probe full = {0}, kept = {.text = "kept"}, heal = {0}, again = {.text = large};
    struct probe refused = {.text = large}, receiver = {0};
    start(setup);
    submit(setup, &kept, send_text, 0);
    wait_for(setup, &kept);
    submit(setup, &full, fill_disk, 0);
    wait_for(setup, &full);
    submit(setup, &refused, send_text, 0);
    wait_for(setup, &refused);
    assert_true(refused.failed);
    assert_int_equal(refused.kind, FAIL_IO);
    submit(setup, &heal, heal_disk, 0);
    wait_for(setup, &heal);
    submit(setup, &again, send_text, 0);
    wait_for(setup, &again);
    assert_false(again.failed);
    submit(setup, &receiver, receive_one, 0);
    wait_for(setup, &receiver);
    assert_int_equal(receiver.received, 1);
}

static void what_a_full_disk_refuses_does_not_spoil_what_it_allows(void **state)
{
    struct setup *setup = *state;
    char large[20000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    struct probe kept = {.text = "kept"}, full = {0}, refused = {.text = large};
    struct probe receiver = {0}, waiting = {0};
    submit(setup, &kept, send_text, 0);
    submit(setup, &full, fill_disk, 0);
    submit(setup, &refused, send_text, 0);
    submit(setup, &receiver, receive_one, 0);
    submit(setup, &waiting, receive_one, 60000);
    start(setup);
    wait_for(setup, &refused);
    assert_true(refused.failed);
    assert_int_equal(refused.kind, FAIL_IO);
    wait_for(setup, &kept);
    assert_false(kept.failed);
    wait_for(setup, &receiver);
    assert_false(receiver.failed);
    assert_true(receiver.received >= 1); /* once in the lost transaction, once for good */
    wait_for(setup, &waiting);           /* when the lease of a second has ended */
    assert_false(waiting.failed);
}

static void what_is_too_old_is_deleted_without_being_asked_for(void **state)
{
    struct setup *setup = *state;
    struct probe sender = {0}, receiver = {0};
    assert_int_equal(
        sqlite3_exec(store_database(setup->store)->handle,
                     "INSERT INTO messages(id, queue, visible_ms, sent_ms, message_id, md5)"
                     " SELECT 1000 + id, id, 1, 1, 'old', x'00' FROM queues;"
                     "INSERT INTO bodies(id, body) SELECT id, x'41' FROM messages",
                     NULL, NULL, NULL),
        SQLITE_OK);
    submit(setup, &receiver, receive_one, 60000);
    submit(setup, &sender, send_text, 0);
    start(setup);
    wait_for(setup, &receiver);
    assert_int_equal(receiver.received, 1);
    assert_int_equal(receiver.runs, 2); /* the old one was not there, the new one was waited for */
}

#define DELIVERY "11111111-2222-4333-8444-555555555555"

static enum job_verdict await_delivery(struct job *job, struct database *database,
                                       struct error *err)
{
    struct probe *probe = job->context;
    (void)database;
    (void)err;
    if (++probe->runs > 1 || job->last)
        return JOB_DONE;
    strcpy(job->wait_delivery, DELIVERY);
    return JOB_WAIT;
}

static enum job_verdict lose_the_transaction_once(struct job *job, struct database *database,
                                                  struct error *err)
{
    struct probe *probe = job->context;
    if (++probe->runs > 1)
        return JOB_DONE;
    sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
    (void)error_set(err, FAIL_IO, "on purpose");
    return JOB_FAILED;
}

static enum job_verdict complete_delivery(struct job *job, struct database *database,
                                          struct error *err)
{
    (void)job;
    (void)err;
    database->events.delivery_completed(database->events.context, DELIVERY);
    return JOB_DONE;
}

static enum job_verdict receive_and_complete(struct job *job, struct database *database,
                                             struct error *err)
{
    struct probe *probe = job->context;
    enum job_verdict verdict = receive_one(job, database, err);
    return probe->received > 0 ? complete_delivery(job, database, err) : verdict;
}

static sem_t busy, go;

/* Keeps the store thread busy, so that what is submitted meanwhile becomes one batch. */
static enum job_verdict keep_busy(struct job *job, struct database *database, struct error *err)
{
    (void)job;
    (void)database;
    (void)err;
    sem_post(&busy);
    sem_wait(&go);
    return JOB_DONE;
}

static void a_job_woken_after_a_lost_transaction_does_not_sleep_on(void **state)
{
    struct setup *setup = *state;
    struct probe first = {0}, waiting = {0}, lost = {0}, completing = {0};
    int64_t begun = clock_monotonic_ms();
    sem_init(&busy, 0, 0);
    sem_init(&go, 0, 0);
    start(setup);
    submit(setup, &first, keep_busy, 0);
    sem_wait(&busy);
    submit(setup, &waiting, await_delivery, 60000);
    submit(setup, &lost, lose_the_transaction_once, 0);
    submit(setup, &completing, complete_delivery, 0);
    sem_post(&go);
    wait_for(setup, &waiting);
    assert_int_equal(lost.runs, 2);
    assert_in_range(waiting.finished_ms - begun, 0, 20000);
}

static void a_woken_job_wakes_one_that_waits_behind_it(void **state)
{
    struct setup *setup = *state;
    struct probe receiver = {0}, waiting = {0}, sender = {0};
    int64_t begun = clock_monotonic_ms();
    submit(setup, &receiver, receive_and_complete, 60000);
    submit(setup, &waiting, await_delivery, 60000);
    submit(setup, &sender, send_text, 0);
    start(setup);
    wait_for(setup, &waiting);
    assert_in_range(waiting.finished_ms - begun, 0, 20000);
    wait_for(setup, &receiver);
    assert_int_equal(receiver.received, 1);
}

static void messages_go_to_those_who_have_waited_longest(void **state)
{
    struct setup *setup = *state;
    struct probe receivers[5] = {0}, senders[5] = {0};
    start(setup);
    for (size_t i = 0; i < ARRAY_LEN(receivers); i++)
        submit(setup, &receivers[i], receive_and_keep, 60000);
    for (size_t i = 0; i < ARRAY_LEN(senders); i++) {
        submit(setup, &senders[i], send_text, 0);
        wait_for(setup, &receivers[i]);
        assert_int_equal(receivers[i].received, 1);
        for (size_t k = i + 1; k < ARRAY_LEN(receivers); k++)
            assert_false(has_finished(setup, &receivers[k]));
    }
}

#define ACTOR_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ACTOR_TEST(jobs_that_wait_together_are_committed_together),
        ACTOR_TEST(a_failing_job_does_not_spoil_the_others),
        ACTOR_TEST(a_waiting_job_gets_what_is_sent_later),
        ACTOR_TEST(a_waiting_job_gets_a_message_whose_lease_ends),
        ACTOR_TEST(a_deadline_ends_the_waiting),
        ACTOR_TEST(a_client_that_has_gone_is_given_nothing),
        ACTOR_TEST(a_client_that_goes_while_it_waits_is_let_go),
        ACTOR_TEST(the_end_finishes_every_job_once),
        ACTOR_TEST(a_full_disk_fails_the_write_and_nothing_else),
        ACTOR_TEST(what_a_full_disk_refuses_does_not_spoil_what_it_allows),
        ACTOR_TEST(what_is_too_old_is_deleted_without_being_asked_for),
        ACTOR_TEST(a_job_woken_after_a_lost_transaction_does_not_sleep_on),
        ACTOR_TEST(messages_go_to_those_who_have_waited_longest),
        ACTOR_TEST(a_woken_job_wakes_one_that_waits_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
