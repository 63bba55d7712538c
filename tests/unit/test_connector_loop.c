/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* O_TMPFILE */
/*
 * The whole connector between a queue and a token helper that misbehave on request: what it
 * answers, in which order, and that nothing is lost.
 */
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
    EVP_PKEY *key;
    X509 *ca, *device;
};

static void write_text(const char *folder, const char *name, mode_t mode, const char *text)
{
    char path[256];
    struct error err = ERROR_INIT;
    struct bytes content = {(const uint8_t *)text, strlen(text)};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(file_write(path, mode, FILE_REPLACE, content, &err), &err);
}

static void write_certificates(struct scene *scene)
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

static int open_scene(void **state)
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
static void start(struct scene *scene, const char *actor, const char *more)
{
    static char self[4096];
    struct buf text = BUF_INIT(16384);
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(len > 0);
    self[len] = '\0';
    buf_printf(&text,
               "# actor: %s\n[token]\nmodule = none.so\nlabel = actor\npin = %s\n"
               "key = " ACTOR_KEY "\n"
               "[connector]\nname = c1\n%shelper = %s\nhelper_deadline = 1\n"
               "status_socket = status\nattempts = 3\n%s"
               "[queue]\nendpoint = %s\ncredentials = credentials\nlease = 2\nwait = 0\n",
               actor, scene->pin != NULL ? scene->pin : "file:none",
               scene->without_ca ? "" : "device_ca = ca.pem\n", self, more, scene->peer.endpoint);
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
static int wait_for_end(struct scene *scene)
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

static int stop(struct scene *scene)
{
    kill(scene->pid, SIGTERM);
    return wait_for_end(scene);
}

static int close_scene(void **state)
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

static void make_request(const struct scene *scene, const char *id, struct request *request)
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

static void put_message(struct json_writer *json, const char *message_id, const char *receipt,
                        unsigned receive_count, const char *body, size_t len)
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
static void offer_copies(struct scene *scene, const char *message_id, const char *receipt,
                         unsigned receive_count, const char *body, size_t len, unsigned copies)
{
    struct error err = ERROR_INIT;
    struct json_writer *json = NULL;
    struct buf answer = BUF_INIT(1 << 20);
    char id[160];
    assert_ok(json_writer_new(false, &json, &err), &err);
    json_object(json, NULL);
    json_array(json, "Messages");
    for (unsigned i = 0; i < copies; i++) {
        snprintf(id, sizeof id, copies > 1 ? "%s-%u" : "%s", message_id, i);
        put_message(json, id, receipt, receive_count, body, len);
    }
    json_array_end(json);
    json_object_end(json);
    assert_ok(json_finish(json, &answer, &err), &err);
    json_writer_free(&json);
    peer_offer(&scene->peer, buf_text(&answer));
    buf_free(&answer);
}

static void offer_body(struct scene *scene, const char *message_id, const char *receipt,
                       unsigned receive_count, const char *body, size_t len)
{
    offer_copies(scene, message_id, receipt, receive_count, body, len, 1);
}

static void offer(struct scene *scene, struct request *request, unsigned receive_count)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    assert_ok(request_write(request, &body, &err), &err);
    offer_body(scene, request->id, "receipt-1", receive_count, buf_text(&body), body.len);
    buf_free(&body);
    request_free(request);
}

static void offer_good(struct scene *scene, const char *id, unsigned receive_count)
{
    struct request request;
    make_request(scene, id, &request);
    offer(scene, &request, receive_count);
}

static void offer_poison(struct scene *scene, const char *id, unsigned receive_count)
{
    struct request request;
    make_request(scene, id, &request);
    buf_reset(&request.sealed);
    buf_put_text(&request.sealed, "poison");
    offer(scene, &request, receive_count);
}

/* A passing fault: the call is tried again for more than a second. */
static void refuse_for_a_while(struct scene *scene, const char *call)
{
    for (int i = 0; i < 4; i++)
        peer_fault(&scene->peer, (struct fault){.call = call, .status = 500, .body = "{}"});
}

static void refuse_for_good(struct scene *scene, const char *call)
{
    peer_fault(&scene->peer,
               (struct fault){.call = call,
                              .status = 400,
                              .body = "{\"__type\":\"com.amazonaws.sqs#InvalidMessageContents\"}"});
}

/* Waits for the n-th call of that name and gives its body. */
static const char *await(struct scene *scene, const char *call, size_t n)
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
static const char *await_containing(struct scene *scene, const char *call, const char *text)
{
    for (size_t i = 0;; i++) {
        const char *body = await(scene, call, i);
        if (strstr(body, text) != NULL)
            return body;
    }
}

static void read_result(const char *body, struct result *result)
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
static void expect_answer(struct scene *scene, enum outcome outcome, enum result_code code)
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
static size_t position(struct scene *scene, const char *call)
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

static size_t log_count(const struct scene *scene, const char *text)
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

static bool log_contains(const struct scene *scene, const char *text)
{
    return log_count(scene, text) > 0;
}

static void wait_for_log_count(const struct scene *scene, const char *text, size_t count)
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

static struct json *ask_status(struct scene *scene)
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

static void wait_for_state(struct scene *scene, const char *wanted)
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

/* -- the way of a request -- */

static void a_request_is_answered_and_then_deleted(void **state)
{
    struct scene *scene = *state;
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    assert_true(position(scene, "SendMessageBatch") < position(scene, "DeleteMessageBatch"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 1);
    assert_true(log_contains(scene, "\"event\":2000"));
    assert_false(log_contains(scene, "canary-secret"));
}

static void nothing_is_deleted_before_the_result_is_taken(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 3; i++)
        peer_fault(&scene->peer,
                   (struct fault){.call = "SendMessageBatch", .status = 500, .body = "{}"});
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "SendMessageBatch", 2);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
    await(scene, "DeleteMessageBatch", 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 4);
    assert_int_equal(stop(scene), 0);
}

static void results_of_two_tries_have_one_id(void **state)
{
    struct scene *scene = *state;
    struct result first, second;
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "DeleteMessageBatch", 0);
    offer_good(scene, "request-1", 2);
    read_result(await(scene, "SendMessageBatch", 0), &first);
    read_result(await(scene, "SendMessageBatch", 1), &second);
    assert_string_equal(first.id, second.id);
    assert_string_equal(first.subject, "request-1");
    result_free(&first);
    result_free(&second);
}

static void a_lease_is_extended_while_the_work_goes_on(void **state)
{
    struct scene *scene = *state;
    start(scene, "hang-once", "");
    offer_good(scene, "request-1", 1);
    const char *extension = await(scene, "ChangeMessageVisibilityBatch", 0);
    assert_non_null(strstr(extension, "\"VisibilityTimeout\":2"));
    assert_non_null(strstr(extension, "receipt-1"));
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
}

static void a_message_handed_out_twice_is_done_once_and_the_newest_receipt_counts(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    start(scene, "hang-once", "");
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_body(scene, "m1", "receipt-old", 1, buf_text(&body), body.len);
    await(scene, "ChangeMessageVisibilityBatch", 0); /* it is in hand */
    offer_body(scene, "m1", "receipt-new", 2, buf_text(&body), body.len);
    assert_non_null(strstr(await(scene, "DeleteMessageBatch", 0), "receipt-new"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 1);
    buf_free(&body);
    request_free(&request);
}

/* The queue calls a deletion by the old receipt done, and keeps the message. */
static void a_message_handed_out_anew_is_deleted_by_the_newest_receipt(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    refuse_for_a_while(scene, "DeleteMessageBatch");
    start(scene, "good", "");
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_body(scene, "m1", "receipt-old", 1, buf_text(&body), body.len);
    await(scene, "DeleteMessageBatch", 0);
    offer_body(scene, "m1", "receipt-new", 2, buf_text(&body), body.len);
    await_containing(scene, "DeleteMessageBatch", "receipt-new");
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 1);
    buf_free(&body);
    request_free(&request);
}

static void a_message_handed_out_anew_is_given_back_by_the_newest_receipt(void **state)
{
    struct scene *scene = *state;
    refuse_for_a_while(scene, "ChangeMessageVisibilityBatch");
    start(scene, "good", "");
    offer_body(scene, "m1", "receipt-old", 1, "no request", 10);
    await(scene, "ChangeMessageVisibilityBatch", 0);
    offer_body(scene, "m1", "receipt-new", 2, "no request", 10);
    await_containing(scene, "ChangeMessageVisibilityBatch", "receipt-new");
    assert_int_equal(stop(scene), 0);
}

static void a_result_that_the_queue_refuses_for_good_is_replaced_by_a_small_one(void **state)
{
    struct scene *scene = *state;
    struct result refused, told;
    refuse_for_good(scene, "SendMessageBatch");
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    read_result(await(scene, "SendMessageBatch", 0), &refused);
    read_result(await(scene, "SendMessageBatch", 1), &told);
    assert_int_equal(refused.outcome, OUTCOME_RESEALED);
    assert_int_equal(told.outcome, OUTCOME_FAILED);
    assert_int_equal(told.code, RESULT_SERVICE);
    assert_string_equal(told.id, refused.id);
    assert_string_equal(told.subject, "request-1");
    assert_non_null(strstr(await(scene, "DeleteMessageBatch", 0), "receipt-1"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 2);
    result_free(&refused);
    result_free(&told);
}

static void a_queue_that_takes_no_result_at_all_gets_the_request_back(void **state)
{
    struct scene *scene = *state;
    refuse_for_good(scene, "SendMessageBatch");
    refuse_for_good(scene, "SendMessageBatch");
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":5");
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 2);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

/* -- what is refused -- */

static void requests_against_the_rules_are_refused_with_their_code(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    make_request(scene, "expired", &request);
    request.expires_ms = clock_real_ms() - 1000;
    offer(scene, &request, 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_PARAMETER_INVALID);
}

/* A device certificate that does not belong here, above all. */
static void what_the_helper_refuses_is_refused_with_its_reason(void **state)
{
    struct scene *scene = *state;
    struct result result;
    start(scene, "policy", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_PARAMETER_INVALID);
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_non_null(strstr(result.message, "the actor fails"));
    result_free(&result);
}

static void a_format_that_is_not_made_is_refused(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    make_request(scene, "format", &request);
    request.format = FORMAT_APPLE_PROFILE;
    offer(scene, &request, 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_NOT_SUPPORTED);
}

static void a_value_that_cannot_be_is_refused_where_the_sender_is_known(void **state)
{
    struct scene *scene = *state;
    static const char body[] = "{\"source\":\"urn:test:hub\",\"id\":\"r1\",\"specversion\":\"1.0\","
                               "\"type\":\"reseal.request.v1\"}";
    start(scene, "good", "");
    offer_body(scene, "m1", "receipt-1", 1, body, sizeof body - 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_PARAMETER_INVALID);
}

static void what_is_no_request_is_left_to_its_queue(void **state)
{
    struct scene *scene = *state;
    start(scene, "good", "");
    offer_body(scene, "m1", "receipt-1", 2, "{\"a\":1,\"a\":2}", 13);
    const char *back = await(scene, "ChangeMessageVisibilityBatch", 0);
    assert_non_null(strstr(back, "\"VisibilityTimeout\":4"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

static void a_key_of_another_connector_is_passed_on_then_answered(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    make_request(scene, "other", &request);
    snprintf(request.key_name, sizeof request.key_name, "elsewhere");
    offer(scene, &request, 1);
    await(scene, "ChangeMessageVisibilityBatch", 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    make_request(scene, "other", &request);
    snprintf(request.key_name, sizeof request.key_name, "elsewhere");
    offer(scene, &request, 3);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_NOT_SUPPORTED);
}

static void wait_until_nothing_is_in_hand(struct scene *scene)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS, number;
    for (bool reached = false; !reached; nanosleep(&pause, NULL)) {
        struct json *json = ask_status(scene);
        reached = json_integer(json_get(json_root(json), "inHand"), 0, 0, &number);
        json_free(&json);
        assert_true(clock_monotonic_ms() < end);
    }
}

static void attempts_are_counted_where_the_queue_does_not(void **state)
{
    struct scene *scene = *state;
    struct request request;
    start(scene, "good", "");
    for (size_t i = 0; i < 3; i++) {
        make_request(scene, "other", &request);
        snprintf(request.key_name, sizeof request.key_name, "elsewhere");
        offer(scene, &request, 0);
        if (i < 2)
            await(scene, "ChangeMessageVisibilityBatch", i);
        wait_until_nothing_is_in_hand(scene);
    }
    expect_answer(scene, OUTCOME_REFUSED, RESULT_NOT_SUPPORTED);
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "ChangeMessageVisibilityBatch"), 2);
}

static void failures_of_the_cryptography_look_alike(void **state)
{
    struct scene *scene = *state;
    struct result result;
    start(scene, "crypto", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_FAILED, RESULT_CRYPTOGRAPHY);
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_null(strstr(result.message, "actor"));
    result_free(&result);
}

/* -- token and helper -- */

static void a_token_failure_is_tried_again(void **state)
{
    struct scene *scene = *state;
    start(scene, "token-trouble-once", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
}

/* -- a token that is away -- */

static void set_token(const struct scene *scene, bool away)
{
    char name[192];
    write_text(scene->folder, "reseal.conf.away", 0600, "");
    snprintf(name, sizeof name, "%s.away", scene->config);
    if (!away)
        assert_int_equal(unlink(name), 0);
}

static void expect_helper_error(struct scene *scene, const char *text)
{
    struct json *json = ask_status(scene);
    const struct json_value *error = json_get(json_get(json_root(json), "helper"), "error");
    assert_string_equal(json_text(json_get(error, "kind"), NULL), "token");
    assert_non_null(strstr(json_text(json_get(error, "text"), NULL), text));
    json_free(&json);
}

static void a_token_that_is_away_spends_no_attempts(void **state)
{
    struct scene *scene = *state;
    set_token(scene, true);
    start(scene, "token-away", "");
    offer_good(scene, "request-1", 3); /* the last of its attempts */
    await(scene, "ReceiveMessage", 0);
    wait_for_log_count(scene, "the token is away", 1);
    wait_for_state(scene, "waiting");
    expect_helper_error(scene, "the actor fails");
    /* Kept: its lease is extended over several tries in vain. */
    for (size_t i = 0; i < 5; i++)
        assert_non_null(
            strstr(await(scene, "ChangeMessageVisibilityBatch", i), "\"VisibilityTimeout\":2"));
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    set_token(scene, false);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    wait_for_state(scene, "serving");
    assert_int_equal(log_count(scene, "the token is away"), 1);
    assert_int_equal(log_count(scene, "the token answers again"), 1);
    assert_int_equal(stop(scene), 0);
}

static void while_the_token_is_away_little_is_received_and_tried_rarely(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    set_token(scene, true);
    start(scene, "token-away", "");
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_copies(scene, "m", "receipt-1", 1, buf_text(&body), body.len, 3);
    wait_for_log_count(scene, "the token is away", 1);
    size_t polls = peer_count(&scene->peer, "ReceiveMessage");
    for (size_t i = 0; i < 4; i++)
        await(scene, "ChangeMessageVisibilityBatch", i);
    /* Three in hand: at 1, 3 and 7 seconds each has been tried, and not before is more received. */
    assert_true(peer_count(&scene->peer, "ReceiveMessage") <= polls + 1);
    assert_true(log_count(scene, "the request waits until the token is back") < 8);
    set_token(scene, false);
    await(scene, "DeleteMessageBatch", 0);
    wait_for_state(scene, "serving");
    assert_int_equal(stop(scene), 0);
    buf_free(&body);
    request_free(&request);
}

static void a_request_that_expires_while_the_token_is_away_is_answered(void **state)
{
    struct scene *scene = *state;
    struct request request;
    set_token(scene, true);
    start(scene, "token-away", "");
    make_request(scene, "request-1", &request);
    request.expires_ms = clock_real_ms() + 3000;
    offer(scene, &request, 1);
    expect_answer(scene, OUTCOME_FAILED, RESULT_UNAVAILABLE);
    assert_int_equal(stop(scene), 0);
}

/* Alone it looks like a token that is away, until another request is served. */
static void a_request_that_the_token_fails_on_ends_while_others_are_served(void **state)
{
    struct scene *scene = *state;
    struct result result;
    start(scene, "poison", "");
    offer_poison(scene, "poison-1", 1);
    wait_for_log_count(scene, "the token is away", 1);
    offer_good(scene, "request-2", 1);
    read_result(await(scene, "SendMessageBatch", 0), &result);
    assert_int_equal(result.outcome, OUTCOME_RESEALED);
    result_free(&result);
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":5");
    offer_poison(scene, "poison-1", 3);
    wait_for_log_count(scene, "the token is away", 2);
    offer_good(scene, "request-3", 1);
    read_result(await(scene, "SendMessageBatch", 2), &result);
    assert_string_equal(result.subject, "poison-1");
    assert_int_equal(result.code, RESULT_UNAVAILABLE);
    assert_true(result_code_retryable(result.code));
    result_free(&result);
    assert_int_equal(stop(scene), 0);
}

/* The last of four waits for two seconds, with a deadline of one. */
static void a_helper_that_makes_progress_is_not_replaced(void **state)
{
    struct scene *scene = *state;
    struct request request;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(MESSAGE_MAX);
    start(scene, "slow", "");
    make_request(scene, "request-1", &request);
    assert_ok(request_write(&request, &body, &err), &err);
    offer_copies(scene, "m", "receipt-1", 1, buf_text(&body), body.len, 4);
    wait_for_log_count(scene, "\"request done\"", 4);
    assert_int_equal(actor_starts(scene->config), 1);
    assert_int_equal(stop(scene), 0);
    buf_free(&body);
    request_free(&request);
}

static void the_job_of_a_bad_helper_is_done_by_the_next(void **state)
{
    static const char *const actors[] = {"die-once", "hang-once",   "wrong-number",
                                         "garbage",  "hello-twice", "weak-answer"};
    for (size_t i = 0; i < ARRAY_LEN(actors); i++) {
        void *each = NULL;
        open_scene(&each);
        struct scene *scene = each;
        start(scene, actors[i], "");
        offer_good(scene, "request-1", 1);
        expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
        assert_int_equal(stop(scene), 0);
        assert_true(log_contains(scene, "\"event\":1002"));
        assert_int_equal(actor_starts(scene->config), 2);
        close_scene(&each);
    }
    (void)state;
}

static void a_job_that_kills_every_helper_is_given_back(void **state)
{
    struct scene *scene = *state;
    start(scene, "die", "");
    offer_good(scene, "request-1", 1);
    /* extensions of the lease may come first */
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":5");
    assert_int_equal(actor_starts(scene->config), 3);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

static void a_refused_pin_is_tried_once_and_ends_the_start(void **state)
{
    struct scene *scene = *state;
    start(scene, "refuse-pin", "");
    assert_int_equal(wait_for_end(scene), 4);
    assert_int_equal(actor_starts(scene->config), 1);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
}

/* A crash in C_Login may have spent a try: each restart would spend another. */
static void a_helper_lost_in_its_login_has_tried_the_pin(void **state)
{
    static const char *const actors[] = {"die-in-login", "exit-in-login", "garbage-in-login"};
    for (size_t i = 0; i < ARRAY_LEN(actors); i++) {
        void *each = NULL;
        open_scene(&each);
        struct scene *scene = each;
        start(scene, actors[i], "");
        assert_int_equal(wait_for_end(scene), 4);
        assert_int_equal(actor_starts(scene->config), 1);
        assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
        assert_true(log_contains(scene, "the PIN is not tried again by itself"));
        close_scene(&each);
    }
    (void)state;
}

static void a_token_that_is_away_at_the_start_is_waited_for(void **state)
{
    struct scene *scene = *state;
    start(scene, "refuse-token-once", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    assert_int_equal(actor_starts(scene->config), 2);
}

static void less_custody_than_required_is_no_start(void **state)
{
    struct scene *scene = *state;
    start(scene, "host", "");
    assert_int_equal(wait_for_end(scene), 3);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
    assert_true(log_contains(scene, "custody host at best"));
}

static void without_device_ca_it_does_not_start(void **state)
{
    struct scene *scene = *state;
    scene->without_ca = true;
    start(scene, "good", "");
    assert_int_equal(wait_for_end(scene), 2);
    assert_true(log_contains(scene, "device_ca"));
    scene->without_ca = false;
    write_text(scene->folder, "ca.pem", 0600, "nothing");
    start(scene, "good", "");
    assert_int_not_equal(wait_for_end(scene), 0);
    assert_int_equal(actor_starts(scene->config), 0);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
}

/* -- status and the end -- */

static void a_pin_refused_later_leaves_it_up_to_tell(void **state)
{
    struct scene *scene = *state;
    start(scene, "pin-later", "");
    wait_for_state(scene, "halted");
    struct json *json = ask_status(scene);
    const struct json_value *error = json_get(json_get(json_root(json), "helper"), "error");
    assert_string_equal(json_text(json_get(error, "kind"), NULL), "pin");
    json_free(&json);
    assert_int_equal(actor_starts(scene->config), 2);
    assert_int_equal(stop(scene), 0);
}

static void two_helpers_in_a_row_lost_in_their_login_halt(void **state)
{
    struct scene *scene = *state;
    start(scene, "die-in-login-later", "");
    wait_for_state(scene, "halted");
    struct json *json = ask_status(scene);
    const struct json_value *error = json_get(json_get(json_root(json), "helper"), "error");
    assert_string_equal(json_text(json_get(error, "kind"), NULL), "pin");
    assert_non_null(strstr(json_text(json_get(error, "text"), NULL), "while it logged in"));
    json_free(&json);
    assert_int_equal(actor_starts(scene->config), 3);
    assert_int_equal(stop(scene), 0);
}

static void a_pin_refused_in_a_job_halts_and_gives_the_job_back(void **state)
{
    struct scene *scene = *state;
    start(scene, "pin-in-job", "");
    offer_good(scene, "request-1", 3); /* the last of its attempts: a counted try would answer it */
    wait_for_state(scene, "halted");
    const char *back = await(scene, "ChangeMessageVisibilityBatch", 0);
    assert_non_null(strstr(back, "receipt-1"));
    assert_non_null(strstr(back, "\"VisibilityTimeout\":5"));
    struct json *json = ask_status(scene);
    const struct json_value *error = json_get(json_get(json_root(json), "helper"), "error");
    assert_string_equal(json_text(json_get(error, "kind"), NULL), "pin");
    json_free(&json);
    assert_int_equal(stop(scene), 0);
    assert_int_equal(actor_starts(scene->config), 1);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 0);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

static bool has_descriptor(const struct scene *scene, int fd)
{
    struct stat info;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)scene->pid, fd);
    return lstat(path, &info) == 0;
}

static void a_pin_from_a_pipe_is_not_replaced_by_nothing(void **state)
{
    struct scene *scene = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], 20), 20);
    scene->pin = "fd:20";
    start(scene, "die-once", "");
    wait_for_state(scene, "serving");
    assert_false(has_descriptor(scene, 20)); /* it has served, and goes */
    offer_good(scene, "request-1", 1);
    wait_for_state(scene, "halted");
    assert_int_equal(actor_starts(scene->config), 1);
    assert_non_null(strstr(await(scene, "ChangeMessageVisibilityBatch", 0), "receipt-1"));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
    close(ends[0]);
    close(ends[1]);
    close(20);
}

static void a_pin_from_a_file_descriptor_serves_every_start(void **state)
{
    struct scene *scene = *state;
    char byte;
    int fd = open(scene->folder, O_TMPFILE | O_RDWR, 0600);
    assert_true(fd >= 0);
    assert_int_equal(dup2(fd, 20), 20);
    assert_int_equal(write(20, "x", 1), 1); /* as if read to its end */
    scene->pin = "fd:20";
    start(scene, "die-once", "");
    offer_good(scene, "request-1", 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    assert_true(has_descriptor(scene, 20));
    assert_int_equal(stop(scene), 0);
    assert_int_equal(read(20, &byte, 1), 1); /* at its beginning again */
    close(fd);
    close(20);
}

static void the_status_tells_who_serves_what(void **state)
{
    struct scene *scene = *state;
    struct stat info;
    char path[128];
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "DeleteMessageBatch", 0);
    struct json *json = ask_status(scene);
    const struct json_value *root = json_root(json);
    int64_t number;
    assert_string_equal(json_text(json_get(root, "program"), NULL), "reseald");
    assert_string_equal(json_text(json_get(root, "connector"), NULL), "c1");
    assert_string_equal(json_text(json_get(root, "state"), NULL), "serving");
    assert_true(json_integer(json_get(root, "pid"), scene->pid, scene->pid, &number));
    assert_true(json_true(json_get(json_get(root, "helper"), "ready")));
    assert_true(json_true(json_get(json_get(root, "queue"), "lastPollOk")));
    assert_true(json_integer(json_get(json_get(root, "counts"), "resealed"), 1, 1, &number));
    assert_int_equal(json_count(json_get(root, "keys")), 1);
    json_free(&json);
    snprintf(path, sizeof path, "%s/status", scene->folder);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stop(scene), 0);
    assert_int_not_equal(stat(path, &info), 0);
}

static void a_second_connector_at_the_same_socket_does_not_start(void **state)
{
    struct scene *scene = *state;
    start(scene, "good", "");
    await(scene, "ReceiveMessage", 0);
    pid_t first = scene->pid;
    start(scene, "good", "");
    assert_int_equal(wait_for_end(scene), 1);
    scene->pid = first;
    assert_int_equal(stop(scene), 0);
}

static void what_has_begun_is_finished_after_sigterm(void **state)
{
    struct scene *scene = *state;
    peer_fault(&scene->peer,
               (struct fault){.call = "SendMessageBatch", .status = 500, .body = "{}"});
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "SendMessageBatch", 0); /* refused once: the result is still with us */
    assert_int_equal(stop(scene), 0);
    assert_int_equal(peer_count(&scene->peer, "SendMessageBatch"), 2);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 1);
    size_t polls = peer_count(&scene->peer, "ReceiveMessage");
    assert_true(polls >= 1);
}

static void a_long_poll_does_not_hold_up_the_end(void **state)
{
    struct scene *scene = *state;
    peer_fault(&scene->peer, (struct fault){.call = "ReceiveMessage", .kind = FAULT_HANG});
    start(scene, "good", "");
    await(scene, "ReceiveMessage", 0);
    int64_t begun = clock_monotonic_ms();
    assert_int_equal(stop(scene), 0);
    assert_true(clock_monotonic_ms() - begun < 10000);
}

static void a_second_sigterm_ends_at_once(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 20; i++)
        peer_fault(&scene->peer,
                   (struct fault){.call = "SendMessageBatch", .status = 500, .body = "{}"});
    start(scene, "good", "");
    offer_good(scene, "request-1", 1);
    await(scene, "SendMessageBatch", 0);
    kill(scene->pid, SIGTERM);
    await(scene, "SendMessageBatch", 1);
    assert_int_equal(stop(scene), 1);
    assert_int_equal(peer_count(&scene->peer, "DeleteMessageBatch"), 0);
}

#define scene_test(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

int main(int argc, char **argv)
{
    actor_main(argc, argv);
    const struct CMUnitTest tests[] = {
        scene_test(a_request_is_answered_and_then_deleted),
        scene_test(nothing_is_deleted_before_the_result_is_taken),
        scene_test(results_of_two_tries_have_one_id),
        scene_test(a_lease_is_extended_while_the_work_goes_on),
        scene_test(a_message_handed_out_twice_is_done_once_and_the_newest_receipt_counts),
        scene_test(requests_against_the_rules_are_refused_with_their_code),
        scene_test(what_the_helper_refuses_is_refused_with_its_reason),
        scene_test(a_format_that_is_not_made_is_refused),
        scene_test(a_value_that_cannot_be_is_refused_where_the_sender_is_known),
        scene_test(what_is_no_request_is_left_to_its_queue),
        scene_test(a_key_of_another_connector_is_passed_on_then_answered),
        scene_test(a_message_handed_out_anew_is_deleted_by_the_newest_receipt),
        scene_test(a_message_handed_out_anew_is_given_back_by_the_newest_receipt),
        scene_test(a_result_that_the_queue_refuses_for_good_is_replaced_by_a_small_one),
        scene_test(a_queue_that_takes_no_result_at_all_gets_the_request_back),
        scene_test(attempts_are_counted_where_the_queue_does_not),
        scene_test(failures_of_the_cryptography_look_alike),
        scene_test(a_token_failure_is_tried_again),
        scene_test(a_token_that_is_away_spends_no_attempts),
        scene_test(while_the_token_is_away_little_is_received_and_tried_rarely),
        scene_test(a_request_that_expires_while_the_token_is_away_is_answered),
        scene_test(a_request_that_the_token_fails_on_ends_while_others_are_served),
        scene_test(a_helper_that_makes_progress_is_not_replaced),
        scene_test(the_job_of_a_bad_helper_is_done_by_the_next),
        scene_test(a_job_that_kills_every_helper_is_given_back),
        scene_test(a_refused_pin_is_tried_once_and_ends_the_start),
        scene_test(a_helper_lost_in_its_login_has_tried_the_pin),
        scene_test(two_helpers_in_a_row_lost_in_their_login_halt),
        scene_test(a_token_that_is_away_at_the_start_is_waited_for),
        scene_test(less_custody_than_required_is_no_start),
        scene_test(without_device_ca_it_does_not_start),
        scene_test(a_pin_refused_later_leaves_it_up_to_tell),
        scene_test(a_pin_refused_in_a_job_halts_and_gives_the_job_back),
        scene_test(a_pin_from_a_pipe_is_not_replaced_by_nothing),
        scene_test(a_pin_from_a_file_descriptor_serves_every_start),
        scene_test(the_status_tells_who_serves_what),
        scene_test(a_second_connector_at_the_same_socket_does_not_start),
        scene_test(what_has_begun_is_finished_after_sigterm),
        scene_test(a_long_poll_does_not_hold_up_the_end),
        scene_test(a_second_sigterm_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
