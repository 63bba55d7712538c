/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole connector, in a process of its own, between a queue and token helpers that misbehave on
 * request: what its tests share.
 */
#ifndef TEST_CONNECTOR_SCENE_H
#define TEST_CONNECTOR_SCENE_H

#include "tests/unit/check.h"
#include "tests/unit/helper_actor.h"
#include "tests/unit/http_peer.h"
#include "tests/unit/pki.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/log.h"
#include "reseal/result.h"
#include "reseal/settings.h"
#include "src/connector/connector.h"

#define BOUND_MS 20000

struct scene {
    struct peer peer;
    char folder[64], config[128], log[128];
    pid_t pid;
    bool without_ca; /* in the configuration */
    const char *pin;
    const char *tokens; /* sections of the tokens, instead of [token] */
    const char *queue;  /* further lines of [queue] */
    EVP_PKEY *key;
    X509 *ca, *device;
};

static inline void write_text(const char *folder, const char *name, mode_t mode, const char *text)
{
    char path[256];
    struct error err = ERROR_INIT;
    struct bytes content = {(const uint8_t *)text, strlen(text)};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(file_write(path, mode, FILE_REPLACE, content, &err), &err);
}

static inline void write_certificates(struct scene *scene)
{
    struct buf pem = BUF_INIT(65536);
    scene->key = EVP_RSA_gen(2048);
    struct pki_wish ca = {.name = "device CA",
                          .key = scene->key,
                          .from_s = -60,
                          .until_s = 3600,
                          .serial = 1,
                          .ca = true};
    scene->ca = pki_certificate(&ca);
    struct pki_wish device = {.name = "device",
                              .key = scene->key,
                              .issuer = scene->ca,
                              .issuer_key = scene->key,
                              .from_s = -60,
                              .until_s = 3600,
                              .serial = 2};
    scene->device = pki_certificate(&device);
    pki_pem(&scene->ca, 1, &pem);
    write_text(scene->folder, "ca.pem", 0600, buf_text(&pem));
    buf_free(&pem);
}

static inline int open_scene(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    snprintf(scene->folder, sizeof scene->folder, "/tmp/reseal-loop-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    snprintf(scene->config, sizeof scene->config, "%s/reseal.conf", scene->folder);
    snprintf(scene->log, sizeof scene->log, "%s/log", scene->folder);
    assert_true(peer_start(&scene->peer));
    write_certificates(scene);
    write_text(scene->folder, "credentials", 0600,
               "[default]\naws_access_key_id = AKTEST\naws_secret_access_key = canary-secret\n");
    *state = scene;
    return 0;
}

/* Starts the connector in a process of its own; `actor` says how its helper behaves. */
static inline void start(struct scene *scene, const char *actor, const char *more)
{
    static char self[4096];
    struct buf text = BUF_INIT(16384);
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(len > 0);
    self[len] = '\0';
    buf_printf(&text, "# actor: %s\n", actor);
    if (scene->tokens != NULL)
        buf_put_text(&text, scene->tokens);
    else
        buf_printf(&text,
                   "[token]\nmodule = none.so\nlabel = actor\npin = %s\nkey = " ACTOR_KEY "\n",
                   scene->pin != NULL ? scene->pin : "file:none");
    buf_printf(&text,
               "[connector]\nname = c1\n%shelper = %s\nhelper_deadline = 1\n"
               "status_socket = status\nattempts = 3\n%s"
               "[queue]\nendpoint = %s\ncredentials = credentials\nlease = 2\nwait = 0\n%s",
               scene->without_ca ? "" : "device_ca = ca.pem\n", self, more, scene->peer.endpoint,
               scene->queue != NULL ? scene->queue : "");
    write_text(scene->folder, "reseal.conf", 0600, buf_text(&text));
    buf_free(&text);
    scene->pid = fork();
    assert_true(scene->pid >= 0);
    if (scene->pid > 0)
        return;
    int fd = open(scene->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    struct config *config = NULL;
    struct error err = ERROR_INIT;
    log_open("reseald", LOG_AS_JSON, LEVEL_DEBUG);
    bool ok = secret_heap_open(65536, &err) && settings_load(scene->config, &config, &err) &&
              connector_run(config, &err);
    config_free(&config);
    fprintf(stderr, "%s\n", err.text);
    exit(ok ? 0 : error_exit_status(err.kind)); /* not _exit: leaks are looked for */
}

/* The status of the connector's end, within the bound. */
static inline int wait_for_end(struct scene *scene)
{
    int status = 0;
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    const struct timespec pause = {.tv_nsec = 10000000};
    while (waitpid(scene->pid, &status, WNOHANG) == 0) {
        if (clock_monotonic_ms() > end)
            fail_msg("the connector does not end");
        nanosleep(&pause, NULL);
    }
    scene->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int stop(struct scene *scene)
{
    kill(scene->pid, SIGTERM);
    return wait_for_end(scene);
}

static inline int close_scene(void **state)
{
    struct scene *scene = *state;
    char command[128];
    if (scene->pid > 0) {
        kill(scene->pid, SIGKILL);
        waitpid(scene->pid, NULL, 0);
    }
    peer_stop(&scene->peer);
    X509_free(scene->ca);
    X509_free(scene->device);
    EVP_PKEY_free(scene->key);
    snprintf(command, sizeof command, "rm -rf '%s'", scene->folder);
    assert_int_equal(system(command), 0);
    free(scene);
    return 0;
}

/* -- requests and results -- */

/* The child of the connector that starts the helpers, or the first other one, which is a helper. */
static inline pid_t child_of(const struct scene *scene, bool starter)
{
    char path[64], name[32];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)scene->pid, (int)scene->pid);
    FILE *children = fopen(path, "r");
    assert_non_null(children);
    while (fscanf(children, "%d", &pid) == 1) {
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        FILE *comm = fopen(path, "r");
        bool found = comm != NULL && fgets(name, sizeof name, comm) != NULL &&
                     (strcmp(name, "reseald-starter\n") == 0) == starter;
        if (comm != NULL)
            fclose(comm);
        if (found) {
            fclose(children);
            return pid;
        }
    }
    fclose(children);
    fail_msg("there is no such child");
    return 0;
}

static inline pid_t starter_of(const struct scene *scene)
{
    return child_of(scene, true);
}

static inline pid_t helper_of(const struct scene *scene)
{
    return child_of(scene, false);
}

static inline void make_request(const struct scene *scene, const char *id, struct request *request)
{
    request_init(request);
    snprintf(request->id, sizeof request->id, "%s", id);
    snprintf(request->source, sizeof request->source, "urn:test:hub");
    request->time_ms = clock_real_ms();
    request->expires_ms = request->time_ms + 3600 * 1000;
    snprintf(request->key_name, sizeof request->key_name, ACTOR_KEY);
    memset(request->thumbprint, 'a', RECORD_THUMBPRINT - 1);
    request->purpose = PURPOSE_SMIME_ENCRYPTION;
    buf_put_text(&request->sealed, "sealed password");
    buf_put_text(&request->pfx, "pfx");
    pki_der(scene->device, &request->device_certificate);
}

static inline void put_message(struct json_writer *json, const char *message_id,
                               const char *receipt, unsigned receive_count, const char *body,
                               size_t len)
{
    char count[16];
    snprintf(count, sizeof count, "%u", receive_count);
    json_object(json, NULL);
    json_put_text(json, "MessageId", message_id);
    json_put_text(json, "ReceiptHandle", receipt);
    json_put_text_len(json, "Body", body, len);
    if (receive_count > 0) {
        json_object(json, "Attributes");
        json_put_text(json, "ApproximateReceiveCount", count);
        json_object_end(json);
    }
    json_object_end(json);
}

/* Puts `copies` messages with that body into the queue; more than one get ids of their own. */
static inline void offer_copies(struct scene *scene, const char *message_id, const char *receipt,
                                unsigned receive_count, const char *body, size_t len,
                                unsigned copies)
{
    struct error err = ERROR_INIT;
    struct json_writer *json = NULL;
    struct buf answer = BUF_INIT(1 << 20);
    char id[160], its_receipt[160];
    assert_ok(json_writer_new(false, &json, &err), &err);
    json_object(json, NULL);
    json_array(json, "Messages");
    for (unsigned i = 0; i < copies; i++) { /* no two messages have one receipt */
        snprintf(id, sizeof id, copies > 1 ? "%s-%u" : "%s", message_id, i);
        snprintf(its_receipt, sizeof its_receipt, copies > 1 ? "%s-%u" : "%s", receipt, i);
        put_message(json, id, its_receipt, receive_count, body, len);
    }
    json_array_end(json);
    json_object_end(json);
    assert_ok(json_finish(json, &answer, &err), &err);
    json_writer_free(&json);
    peer_offer(&scene->peer, buf_text(&answer));
    buf_free(&answer);
}

static inline void offer_body(struct scene *scene, const char *message_id, const char *receipt,
                              unsigned receive_count, const char *body, size_t len)
{
    offer_copies(scene, message_id, receipt, receive_count, body, len, 1);
}

static inline void offer(struct scene *scene, struct request *request, unsigned receive_count)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    assert_ok(request_write(request, &body, &err), &err);
    offer_body(scene, request->id, "receipt-1", receive_count, buf_text(&body), body.len);
    buf_free(&body);
    request_free(request);
}

static inline void offer_good(struct scene *scene, const char *id, unsigned receive_count)
{
    struct request request;
    make_request(scene, id, &request);
    offer(scene, &request, receive_count);
}

static inline void offer_poison(struct scene *scene, const char *id, unsigned receive_count)
{
    struct request request;
    make_request(scene, id, &request);
    buf_reset(&request.sealed);
    buf_put_text(&request.sealed, "poison");
    offer(scene, &request, receive_count);
}

/* A passing fault: the call is tried again for more than a second. */
static inline void refuse_for_a_while(struct scene *scene, const char *call)
{
    for (int i = 0; i < 4; i++)
        peer_fault(&scene->peer, (struct fault){.call = call, .status = 500, .body = "{}"});
}

static inline void refuse_for_good(struct scene *scene, const char *call)
{
    peer_fault(&scene->peer,
               (struct fault){.call = call,
                              .status = 400,
                              .body = "{\"__type\":\"com.amazonaws.sqs#InvalidMessageContents\"}"});
}

/* Waits for the n-th call of that name and gives its body. */
static inline const char *await(struct scene *scene, const char *call, size_t n)
{
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    const struct timespec pause = {.tv_nsec = 5000000};
    const char *body;
    while ((body = peer_body(&scene->peer, call, n)) == NULL) {
        if (clock_monotonic_ms() > end)
            fail_msg("%s number %zu does not come", call, n);
        nanosleep(&pause, NULL);
    }
    return body;
}

/* Waits for a call of that name whose body contains the text. */
static inline const char *await_containing(struct scene *scene, const char *call, const char *text)
{
    for (size_t i = 0;; i++) {
        const char *body = await(scene, call, i);
        if (strstr(body, text) != NULL)
            return body;
    }
}

static inline void read_result(const char *body, struct result *result)
{
    const struct json_limits limits = {.bytes = 1 << 20, .string = 1 << 20, .values = 1000};
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    size_t len = 0;
    assert_ok(json_parse(body, strlen(body), &limits, "send", &json, &err), &err);
    const struct json_value *entry = json_at(json_get(json_root(json), "Entries"), 0);
    const char *text = json_text(json_get(entry, "MessageBody"), &len);
    result_init(result);
    assert_non_null(text);
    assert_ok(result_read(text, len, result, &err), &err);
    json_free(&json);
}

/* The first result must be this refusal or failure, and then the request is deleted. */
static inline void expect_answer(struct scene *scene, enum outcome outcome, enum result_code code)
{
    struct result result;
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_int_equal(result.outcome, outcome);
    assert_int_equal(result.code, code);
    if (outcome == OUTCOME_RESEALED)
        assert_int_equal(result.custody, CUSTODY_TOKEN);
    else
        assert_true(result.message[0] != '\0');
    result_free(&result);
    assert_non_null(strstr(await(scene, "DeleteMessageBatch", 0), "receipt-1"));
}

/* Position of the first call of that name in what the peer has seen. */
static inline size_t position(struct scene *scene, const char *call)
{
    size_t at = SIZE_MAX;
    pthread_mutex_lock(&scene->peer.lock);
    for (size_t i = 0; i < scene->peer.seen_count && at == SIZE_MAX; i++) {
        if (strcmp(scene->peer.seen[i].call, call) == 0)
            at = i;
    }
    pthread_mutex_unlock(&scene->peer.lock);
    return at;
}

static inline size_t log_count(const struct scene *scene, const char *text)
{
    struct buf log = BUF_INIT(4 << 20);
    struct error err = ERROR_INIT;
    size_t count = 0;
    assert_ok(file_read(scene->log, &log, &err), &err);
    for (const char *at = buf_text(&log); (at = strstr(at, text)) != NULL; at++)
        count++;
    buf_free(&log);
    return count;
}

static inline bool log_contains(const struct scene *scene, const char *text)
{
    return log_count(scene, text) > 0;
}

static inline void wait_for_log_count(const struct scene *scene, const char *text, size_t count)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    while (access(scene->log, R_OK) != 0 || log_count(scene, text) < count) {
        if (clock_monotonic_ms() > end)
            fail_msg("\"%s\" is not logged %zu times", text, count);
        nanosleep(&pause, NULL);
    }
}

/* -- status -- */

static inline struct json *ask_status(struct scene *scene)
{
    const struct json_limits limits = {.bytes = 1 << 20, .string = 65536, .values = 10000};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    static char text[1 << 17];
    size_t len = 0;
    ssize_t got;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/status", scene->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const struct timespec pause = {.tv_nsec = 5000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    while (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        assert_true(clock_monotonic_ms() < end); /* it has not come so far yet */
        nanosleep(&pause, NULL);
    }
    while (len < sizeof text && (got = read(fd, text + len, sizeof text - len)) > 0)
        len += (size_t)got;
    close(fd);
    assert_ok(json_parse(text, len, &limits, "status", &json, &err), &err);
    return json;
}

static inline void wait_for_state(struct scene *scene, const char *wanted)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    for (bool reached = false; !reached; nanosleep(&pause, NULL)) {
        struct json *json = ask_status(scene);
        reached = strcmp(json_text(json_get(json_root(json), "state"), NULL), wanted) == 0;
        json_free(&json);
        assert_true(clock_monotonic_ms() < end);
    }
}

static inline void wait_until_in_hand(struct scene *scene, int64_t wanted)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS, number;
    for (bool reached = false; !reached; nanosleep(&pause, NULL)) {
        struct json *json = ask_status(scene);
        reached = json_integer(json_get(json_root(json), "inHand"), wanted, wanted, &number);
        json_free(&json);
        assert_true(clock_monotonic_ms() < end);
    }
}

/* -- a token that is away -- */

/* For an actor "token-away"; `token` as in the configuration. */
static inline void set_token_of(const struct scene *scene, const char *token, bool away)
{
    char path[4300];
    actor_file(scene->config, token, "away", path);
    write_text(scene->folder, strrchr(path, '/') + 1, 0600, "");
    if (!away)
        assert_int_equal(unlink(path), 0);
}

static inline void set_token(const struct scene *scene, bool away)
{
    set_token_of(scene, "default", away);
}

static inline void expect_helper_error(struct scene *scene, const char *text)
{
    struct json *json = ask_status(scene);
    const struct json_value *error = json_get(json_get(json_root(json), "helper"), "error");
    assert_string_equal(json_text(json_get(error, "kind"), NULL), "token");
    assert_non_null(strstr(json_text(json_get(error, "text"), NULL), text));
    json_free(&json);
}

/* -- several tokens -- */

/* `copies` requests for that key, as soon as the last ones were taken. */
static inline void offer_for(struct scene *scene, const char *key, const char *id,
                             unsigned receive_count, unsigned copies)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    for (bool taken = false; !taken; nanosleep(&pause, NULL)) {
        pthread_mutex_lock(&scene->peer.lock);
        taken = scene->peer.offer == NULL;
        pthread_mutex_unlock(&scene->peer.lock);
        assert_true(clock_monotonic_ms() < end);
    }
    make_request(scene, id, &request);
    snprintf(request.key_name, sizeof request.key_name, "%s", key);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_copies(scene, id, "receipt-1", receive_count, buf_text(&body), body.len, copies);
    buf_free(&body);
    request_free(&request);
}

static inline const struct json_value *status_token(const struct json *json, const char *name)
{
    const struct json_value *tokens = json_get(json_root(json), "tokens");
    for (size_t i = 0; i < json_count(tokens); i++) {
        if (strcmp(json_text(json_get(json_at(tokens, i), "name"), NULL), name) == 0)
            return json_at(tokens, i);
    }
    fail_msg("the status has no token %s", name);
    return NULL;
}

static inline int64_t status_number(const struct json_value *object, const char *name)
{
    int64_t number = -1;
    assert_true(json_integer(json_get(object, name), 0, INT64_MAX, &number));
    return number;
}

static inline int64_t count_of(struct scene *scene, const char *name)
{
    struct json *json = ask_status(scene);
    int64_t number = status_number(json_get(json_root(json), "counts"), name);
    json_free(&json);
    return number;
}

static inline void wait_for_counts(struct scene *scene, const char *name, int64_t wanted)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    while (count_of(scene, name) < wanted) {
        if (clock_monotonic_ms() > end)
            fail_msg("%s does not become %lld", name, (long long)wanted);
        nanosleep(&pause, NULL);
    }
}

static inline int64_t token_number(struct scene *scene, const char *token, const char *name)
{
    struct json *json = ask_status(scene);
    int64_t number = status_number(status_token(json, token), name);
    json_free(&json);
    return number;
}

static inline void wait_for_token_state(struct scene *scene, const char *token, const char *wanted)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    for (bool reached = false; !reached; nanosleep(&pause, NULL)) {
        struct json *json = ask_status(scene);
        const char *state = json_text(json_get(status_token(json, token), "state"), NULL);
        reached = strcmp(state, wanted) == 0;
        json_free(&json);
        assert_true(clock_monotonic_ms() < end);
    }
}

#define scene_test(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

#endif
