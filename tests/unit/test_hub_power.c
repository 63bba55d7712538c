/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power goes at any write or sync: what was acknowledged is there, what was deleted stays so.
 *
 * RESEAL_SEED repeats a run; RESEAL_LONG=1 has 5,000 cuts.
 */
#include "check.h"
#include <inttypes.h>
#include <unistd.h>
#include "power_cut.h"
#include "src/hub/store_queue.h"

#define MESSAGES_MAX 1000 /* then a new start, with an empty database */
#define BODY_MAX     24000

/* One message as its sender and receivers know it. */
struct known {
    char receipt[RECEIPT_HANDLE_TEXT]; /* of the newest acknowledged receive, or "" */
    int64_t receives;
    bool stored, deleted; /* acknowledged */
    bool doubtful;        /* the transaction in which the power went has touched it */
    bool found;
};

struct scene {
    char folder[32];
    char path[80];
    unsigned generation;
    struct database *database;
    int64_t queue;
    struct known *known;
    size_t count;
    bool sloppy; /* nothing is ever synced: the control */
    uint8_t body[BODY_MAX];
};

/* What one transaction has done, for when it is acknowledged. */
struct deed {
    size_t message;
    enum {
        SENT,
        RECEIVED,
        DELETED
    } kind;
    char receipt[RECEIPT_HANDLE_TEXT];
    int64_t receives;
};
static struct deed deeds[64];
static size_t deed_count;

static void note(size_t message, int kind, const char *receipt, int64_t receives)
{
    assert_true(deed_count < ARRAY_LEN(deeds));
    struct deed *deed = &deeds[deed_count++];
    deed->message = message;
    deed->kind = kind;
    deed->receives = receives;
    snprintf(deed->receipt, sizeof deed->receipt, "%s", receipt);
}

/* False where the file is no database. */
static bool open_scene(struct scene *scene)
{
    struct error err = ERROR_INIT;
    struct queue_row queue;
    if (!database_open(scene->path, &scene->database, &err))
        return false;
    /* So that cuts come into checkpoints and new beginnings of the log, too. */
    sqlite3 *handle = scene->database->handle;
    assert_int_equal(sqlite3_exec(handle, "PRAGMA wal_autocheckpoint = 40", NULL, NULL, NULL), 0);
    if (scene->sloppy)
        assert_int_equal(sqlite3_exec(handle, "PRAGMA synchronous = OFF", NULL, NULL, NULL), 0);
    if (stored_queue_find(scene->database, "work") == NULL) {
        stored_queue_defaults(&queue, "work");
        assert_ok(stored_queue_create(scene->database, &queue, &err), &err);
    }
    scene->queue = stored_queue_find(scene->database, "work")->id;
    return true;
}

static void remove_files(const struct scene *scene)
{
    char name[96];
    unlink(scene->path);
    snprintf(name, sizeof name, "%s-wal", scene->path);
    unlink(name);
}

/* The body says which message it is, at its begin and its end. */
static struct bytes body_of(struct scene *scene, size_t message)
{
    size_t len = 40 + message * 7919 % (BODY_MAX - 40);
    memset(scene->body, 'a' + (int)(message % 26), len);
    snprintf((char *)scene->body, 24, "%020zu", message);
    scene->body[20] = '.';
    memcpy(scene->body + len - 20, scene->body, 20);
    return (struct bytes){scene->body, len};
}

static bool on_received(void *context, const struct leased *message)
{
    struct scene *scene = context;
    size_t number = strtoul((const char *)message->body.data, NULL, 10);
    assert_true(number < scene->count);
    struct bytes wanted = body_of(scene, number);
    assert_int_equal(message->body.len, wanted.len);
    assert_memory_equal(message->body.data, wanted.data, wanted.len);
    assert_false(scene->known[number].deleted && !scene->known[number].doubtful);
    note(number, RECEIVED, message->receipt_handle, message->receive_count);
    return true;
}

static void act(struct scene *scene)
{
    struct error err = ERROR_INIT;
    struct outgoing message = {.delay_s = 0};
    char id[UUID_TEXT];
    enum receipt_state state;
    size_t count, chosen;
    switch (cut_random(4)) {
    case 0:
    case 1:
        if (scene->count == MESSAGES_MAX)
            return;
        message.body = body_of(scene, scene->count);
        note(scene->count++, SENT, "", 0);
        assert_ok(stored_queue_send(scene->database, scene->queue, &message, id, &err), &err);
        return;
    case 2:
        assert_ok(stored_queue_receive(scene->database, scene->queue, 1 + cut_random(3),
                                       cut_random(2) * 3600, on_received, scene, &count, &err),
                  &err);
        return;
    default:
        if (scene->count == 0)
            return;
        chosen = cut_random((uint32_t)scene->count);
        if (scene->known[chosen].receipt[0] == '\0' || scene->known[chosen].doubtful)
            return;
        assert_ok(stored_queue_delete(scene->database, scene->queue, scene->known[chosen].receipt,
                                      &state, &err),
                  &err);
        if (state == RECEIPT_GOOD)
            note(chosen, DELETED, "", 0);
    }
}

/* One transaction of some operations. Where the power goes in it, nobody is told how it ended. */
static void act_in_transaction(struct scene *scene)
{
    struct error err = ERROR_INIT;
    deed_count = 0;
    assert_ok(database_begin(scene->database, &err), &err);
    for (uint32_t left = 1 + cut_random(5); left > 0; left--)
        act(scene);
    assert_ok(database_commit(scene->database, &err), &err);
    for (size_t i = 0; i < deed_count; i++) {
        const struct deed *deed = &deeds[i];
        struct known *known = &scene->known[deed->message];
        known->doubtful = known->doubtful || cut_happened;
        if (cut_happened)
            continue;
        known->stored = known->stored || deed->kind == SENT;
        known->deleted = known->deleted || deed->kind == DELETED;
        if (deed->kind == RECEIVED) {
            known->receives = deed->receives;
            memcpy(known->receipt, deed->receipt, sizeof known->receipt);
        }
    }
}

static size_t count_lost(struct scene *scene)
{
    sqlite3_stmt *statement = NULL;
    size_t lost = 0;
    for (size_t i = 0; i < scene->count; i++)
        scene->known[i].found = false;
    assert_int_equal(
        sqlite3_prepare_v2(scene->database->handle,
                           "SELECT body, receive_count FROM messages JOIN bodies USING(id)", -1,
                           &statement, NULL),
        SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        struct bytes body = column_bytes(statement, 0);
        size_t number = strtoul((const char *)body.data, NULL, 10);
        assert_true(number < scene->count);
        struct bytes wanted = body_of(scene, number);
        struct known *known = &scene->known[number];
        known->found = true;
        if (body.len != wanted.len || memcmp(body.data, wanted.data, wanted.len) != 0)
            lost++;
        if (sqlite3_column_int64(statement, 1) < known->receives) /* a receive is forgotten */
            lost++;
    }
    sqlite3_finalize(statement);
    for (size_t i = 0; i < scene->count; i++) {
        const struct known *known = &scene->known[i];
        if (!known->doubtful && known->found != (known->stored && !known->deleted))
            lost++;
    }
    return lost;
}

/* What was in doubt is what was found, for the next time. */
static void believe(struct scene *scene)
{
    for (size_t i = 0; i < scene->count; i++) {
        struct known *known = &scene->known[i];
        if (!known->doubtful)
            continue;
        *known = (struct known){.stored = true, .deleted = !known->found};
    }
}

/* Works until the power goes, and looks at what is left. False where that is no database. */
static bool cut_once(struct scene *scene, size_t *lost)
{
    struct scene before = *scene;
    cut_after(1 + (long)cut_random(400));
    while (!cut_happened)
        act_in_transaction(scene);
    database_close(&scene->database);
    remove_files(&before);
    snprintf(scene->path, sizeof scene->path, "%s/%u.db", scene->folder, ++scene->generation);
    assert_true(cut_write_pictures(scene->path));
    if (!open_scene(scene))
        return false;
    *lost += count_lost(scene);
    believe(scene);
    return true;
}

static struct scene *begin_scene(bool sloppy)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->known = calloc(MESSAGES_MAX, sizeof *scene->known);
    assert_non_null(scene->known);
    scene->sloppy = sloppy;
    strcpy(scene->folder, "/tmp/hub-power-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    snprintf(scene->path, sizeof scene->path, "%s/0.db", scene->folder);
    assert_true(open_scene(scene));
    return scene;
}

static void end_scene(struct scene *scene)
{
    database_close(&scene->database);
    remove_files(scene);
    assert_int_equal(rmdir(scene->folder), 0);
    free(scene->known);
    free(scene);
}

static void nothing_acknowledged_is_lost_when_the_power_goes(void **state)
{
    struct scene *scene = begin_scene(false);
    size_t lost = 0, cuts = getenv("RESEAL_LONG") != NULL ? 5000 : 40;
    (void)state;
    for (size_t i = 0; i < cuts; i++) {
        if (scene->count > MESSAGES_MAX / 2) {
            end_scene(scene);
            scene = begin_scene(false);
        }
        if (!cut_once(scene, &lost))
            fail_msg("after cut %zu the database does not open", i);
        if (lost > 0)
            fail_msg("cut %zu has cost %zu acknowledged things", i, lost);
    }
    fprintf(stderr, "%zu cuts\n", cuts);
    end_scene(scene);
}

/* Otherwise the disk of this test might lose nothing, and the test above prove nothing. */
static void without_syncs_the_same_cuts_do_lose_something(void **state)
{
    struct scene *scene = begin_scene(true);
    size_t lost = 0;
    (void)state;
    for (size_t i = 0; i < 200 && lost == 0; i++) {
        if (!cut_once(scene, &lost))
            lost++;
    }
    assert_true(lost > 0);
    end_scene(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_acknowledged_is_lost_when_the_power_goes),
        cmocka_unit_test(without_syncs_the_same_cuts_do_lose_something),
    };
    const char *seed = getenv("RESEAL_SEED");
    if (seed != NULL)
        cut_seed = strtoull(seed, NULL, 10);
    else
        sqlite3_randomness(4, &cut_seed);
    fprintf(stderr, "RESEAL_SEED=%" PRIu64 "\n", cut_seed);
    cut_install();
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    cut_remove();
    return status;
}
