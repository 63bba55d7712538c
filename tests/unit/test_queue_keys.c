/* SPDX-License-Identifier: Apache-2.0 */
/* Access keys that are rotated while the queue client runs. */
#include "tests/unit/queue_scene.h"
#include <sys/stat.h>
#include "reseal/file.h"

#define OLD_SECRET "canary-old-secret-key"
#define NEW_SECRET "canary-new-secret-key"

/* The scene's client with a key from a file, and what it says kept in another. */
struct rotation {
    struct scene *scene;
    char folder[64], path[128], log[128];
    int stderr_before;
};

static void write_key(const struct rotation *rotation, const char *id, const char *secret)
{
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(1024);
    buf_printf(&text, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id,
               secret);
    assert_ok(file_write(rotation->path, 0600, FILE_REPLACE, buf_bytes(&text), &err), &err);
    buf_free(&text);
}

static void write_new_key(void *context)
{
    write_key(context, "AKNEW", NEW_SECRET);
}

static int open_rotation(void **state)
{
    struct rotation *rotation = calloc(1, sizeof *rotation);
    void *scene = NULL;
    assert_int_equal(open_scene(&scene), 0);
    rotation->scene = scene;
    snprintf(rotation->folder, sizeof rotation->folder, "/tmp/reseal-keys-XXXXXX");
    assert_non_null(mkdtemp(rotation->folder));
    snprintf(rotation->path, sizeof rotation->path, "%s/keys", rotation->folder);
    snprintf(rotation->log, sizeof rotation->log, "%s/log", rotation->folder);
    write_key(rotation, "AKOLD", OLD_SECRET);
    connect_client(rotation->scene, (struct queue_options){.credentials = rotation->path});
    rotation->stderr_before = dup(STDERR_FILENO);
    int fd = open(rotation->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    assert_true(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    close(fd);
    log_open("test", LOG_AS_JSON, LEVEL_DEBUG);
    *state = rotation;
    return 0;
}

/* How often the log has that text. */
static size_t said(const struct rotation *rotation, const char *text)
{
    struct buf log = BUF_INIT(1 << 20);
    struct error err = ERROR_INIT;
    size_t count = 0;
    assert_ok(file_read(rotation->log, &log, &err), &err);
    for (const char *at = strstr(buf_text(&log), text); at != NULL; at = strstr(at + 1, text))
        count++;
    buf_free(&log);
    return count;
}

static int close_rotation(void **state)
{
    struct rotation *rotation = *state;
    void *scene = rotation->scene;
    char command[128];
    dup2(rotation->stderr_before, STDERR_FILENO);
    close(rotation->stderr_before);
    bool silent = said(rotation, OLD_SECRET) == 0 && said(rotation, NEW_SECRET) == 0;
    close_scene(&scene);
    snprintf(command, sizeof command, "rm -rf '%s'", rotation->folder);
    assert_int_equal(system(command), 0);
    free(rotation);
    assert_true(silent); /* no secret in any log */
    return 0;
}

/* The access key id of the newest request. */
static bool newest_is(struct rotation *rotation, const char *id)
{
    struct peer *peer = &rotation->scene->peer;
    char wanted[160];
    snprintf(wanted, sizeof wanted, "Credential=%s/", id);
    return strstr(peer->seen[peer->seen_count - 1].authorization, wanted) != NULL;
}

static void send_and_wait(struct rotation *rotation)
{
    struct ending ending = {0};
    send_text(rotation->scene, "body", &ending);
    turn_until(rotation->scene, &ending.over, 10000);
    assert_int_equal(ending.err.kind, FAIL_NONE);
}

static void a_changed_file_is_read_again_while_the_client_runs(void **state)
{
    struct rotation *rotation = *state;
    const struct timespec pause = {.tv_nsec = 50000000};
    send_and_wait(rotation);
    assert_true(newest_is(rotation, "AKOLD"));
    write_new_key(rotation);
    for (int i = 0; i < 200 && !newest_is(rotation, "AKNEW"); i++) {
        nanosleep(&pause, NULL);
        send_and_wait(rotation);
    }
    assert_true(newest_is(rotation, "AKNEW"));
    assert_int_equal(said(rotation, "the access key was read anew"), 1);
}

static void a_refused_key_makes_room_for_the_newer_one_in_its_file_at_once(void **state)
{
    static const char *const calls[] = {"ReceiveMessage", "SendMessageBatch"};
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        struct rotation *rotation = *state;
        struct scene *scene = rotation->scene;
        struct received received;
        struct ending ending = {0};
        write_key(rotation, "AKOLD", OLD_SECRET);
        connect_client(scene, (struct queue_options){.credentials = rotation->path});
        size_t before = peer_count(&scene->peer, calls[i]);
        /* The file changes while the request is away. */
        peer_fault(&scene->peer, (struct fault){.call = calls[i],
                                                .status = 403,
                                                .body = "{}",
                                                .taken = write_new_key,
                                                .context = rotation});
        if (i == 0) {
            receive(scene, &received);
            turn_until(scene, &received.over, 10000);
            assert_int_equal(received.err.kind, FAIL_NONE);
        } else {
            send_text(scene, "body", &ending);
            turn_until(scene, &ending.over, 10000);
            assert_int_equal(ending.err.kind, FAIL_NONE);
            assert_int_equal(ending.times, 1);
        }
        assert_int_equal(peer_count(&scene->peer, calls[i]), before + 2);
        assert_true(newest_is(rotation, "AKNEW"));
    }
    assert_true(said(*(struct rotation **)state, "a newer one was found, and is tried") >= 1);
}

static void a_newer_key_is_tried_once_and_then_the_refusal_counts(void **state)
{
    struct rotation *rotation = *state;
    struct scene *scene = rotation->scene;
    struct received received;
    scene->peer.accept = "AKNEITHER";
    peer_fault(&scene->peer, (struct fault){.call = "GetQueueUrl",
                                            .status = 200,
                                            .body = "{\"QueueUrl\":\"http://q/1\"}"});
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage",
                                            .status = 401,
                                            .taken = write_new_key,
                                            .context = rotation});
    receive(scene, &received);
    turn_until(scene, &received.over, 10000);
    assert_int_equal(received.err.kind, FAIL_AUTH);
    assert_true(received.err.hint[0] != '\0');
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 2);
}

static void a_person_is_told_once_when_there_is_nothing_newer(void **state)
{
    struct rotation *rotation = *state;
    struct scene *scene = rotation->scene;
    struct received received;
    send_and_wait(rotation);
    scene->peer.accept = "AKNEW";
    for (size_t i = 1; i <= 3; i++) {
        receive(scene, &received);
        turn_until(scene, &received.over, 10000);
        assert_int_equal(received.err.kind, FAIL_AUTH);
        assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), i);
    }
    assert_int_equal(said(rotation, "a person has to act"), 1);
    write_new_key(rotation); /* he acts */
    receive(scene, &received);
    turn_until(scene, &received.over, 10000);
    assert_int_equal(received.err.kind, FAIL_NONE);
}

static void a_file_that_cannot_be_read_leaves_the_key_in_use(void **state)
{
    static const char *const broken[] = {"", "[default]\naws_access_key_id = AKHALF\n",
                                         "garbage\n"};
    struct rotation *rotation = *state;
    struct error err = ERROR_INIT;
    const struct timespec pause = {.tv_nsec = 50000000};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct bytes text = {(const uint8_t *)broken[i], strlen(broken[i])};
        assert_ok(file_write(rotation->path, 0600, FILE_REPLACE, text, &err), &err);
        for (int j = 0; j < 200 && said(rotation, "the one in use stays") <= i; j++) {
            nanosleep(&pause, NULL);
            send_and_wait(rotation);
        }
        assert_int_equal(said(rotation, "the one in use stays"), i + 1);
        assert_true(newest_is(rotation, "AKOLD"));
    }
    assert_int_equal(unlink(rotation->path), 0);
    send_and_wait(rotation);
    assert_true(newest_is(rotation, "AKOLD"));
}

static void an_examination_tries_the_newer_key_too(void **state)
{
    struct rotation *rotation = *state;
    struct queue_facts facts;
    struct error err = ERROR_INIT;
    rotation->scene->peer.accept = "AKNEW";
    write_new_key(rotation);
    assert_ok(queue_examine(rotation->scene->queue, &facts, &err), &err);
    assert_int_equal(facts.visible, 7);
}

#define rotation_test(name) cmocka_unit_test_setup_teardown(name, open_rotation, close_rotation)

int main(void)
{
    const struct CMUnitTest tests[] = {
        rotation_test(a_changed_file_is_read_again_while_the_client_runs),
        rotation_test(a_refused_key_makes_room_for_the_newer_one_in_its_file_at_once),
        rotation_test(a_newer_key_is_tried_once_and_then_the_refusal_counts),
        rotation_test(a_person_is_told_once_when_there_is_nothing_newer),
        rotation_test(a_file_that_cannot_be_read_leaves_the_key_in_use),
        rotation_test(an_examination_tries_the_newer_key_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
