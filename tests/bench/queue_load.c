/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts load on one queue of one engine, over many connections at once.
 *
 *   queue_load sqs|azure URL QUEUE KEY_FILE SIZE BATCH CONNECTIONS SECONDS COUNT create|send|cycle
 *
 * create: makes the queue. send: sends messages of SIZE bytes of base64. cycle: receives up to
 * BATCH messages, extends each lease, deletes each; a cycle counts once its delete is acknowledged.
 * Both end after SECONDS, after COUNT messages (0: without bound), and a cycle when the queue is
 * empty. KEY_FILE holds access key id and secret (or account and key) in one line. Prints a line of
 * JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "devices.h"
#include "queue_engine.h"

#define CONNECTIONS_MAX 256
#define SIZE_MAX_BYTES  (250 * 1024)

enum step {
    STEP_SEND,
    STEP_RECEIVE,
    STEP_EXTEND,
    STEP_DELETE,
};

struct worker {
    struct http_connection connection;
    enum step step;
    struct held held[ENGINE_BATCH_MAX];
    size_t count; /* held, or being sent */
    size_t next;  /* the first that this step has not asked for yet */
    size_t asked; /* how many the request under way is for */
};

static struct engine engine;
static char *text;
static size_t batch, bound;
static size_t begun, completed, requests, running;
static bool cycling;
static double until;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Sends the request of the worker's step for what comes next. */
static void ask(struct worker *worker)
{
    struct buf *out = &worker->connection.out;
    worker->asked = smaller(worker->count - worker->next, engine.batch_max);
    switch (worker->step) {
    case STEP_SEND:
        engine.send(&engine, out, text, worker->asked);
        break;
    case STEP_RECEIVE:
        engine.receive(&engine, out, batch);
        break;
    case STEP_EXTEND:
        engine.extend(&engine, out, worker->held + worker->next, worker->asked);
        break;
    case STEP_DELETE:
        engine.delete(&engine, out, worker->held + worker->next, worker->asked);
        break;
    }
    requests++;
    http_begin(&worker->connection);
}

/* The next batch for this worker, if there is time. */
static void begin(struct worker *worker)
{
    size_t left = bound == 0 ? batch : smaller(batch, bound - begun);
    worker->next = 0;
    worker->count = left;
    worker->step = cycling ? STEP_RECEIVE : STEP_SEND;
    if (left == 0 || now() >= until) {
        running--;
        return;
    }
    if (!cycling)
        begun += left;
    ask(worker);
}

/* Goes on with what is held, with the next step, or with the next batch. */
static void proceed(struct worker *worker, size_t done)
{
    if (done != worker->asked)
        bench_give_up("the engine did only a part of a batch");
    worker->next += worker->asked;
    if (worker->step != STEP_EXTEND)
        completed += done;
    if (worker->next < worker->count) {
        ask(worker);
    } else if (worker->step == STEP_EXTEND) {
        worker->step = STEP_DELETE;
        worker->next = 0;
        ask(worker);
    } else {
        begin(worker);
    }
}

static void answered(struct http_connection *connection, const struct http_answer *answer)
{
    struct worker *worker = connection->owner;
    if (answer->status / 100 != 2) {
        fprintf(stderr, "benchmark: status %u: %s\n", answer->status, answer->body);
        bench_give_up("the engine refuses");
    }
    switch (worker->step) {
    case STEP_RECEIVE:
        worker->count = engine.received(answer->body, worker->held, batch);
        if (worker->count == 0) { /* empty */
            running--;
            return;
        }
        begun += worker->count;
        worker->next = 0;
        worker->step = STEP_EXTEND;
        ask(worker);
        return;
    case STEP_EXTEND:
        if (worker->asked == 1)
            engine.extended(answer->head, &worker->held[worker->next]);
        proceed(worker, engine.done(answer->body, worker->asked));
        return;
    case STEP_SEND:
    case STEP_DELETE:
        proceed(worker, engine.done(answer->body, worker->asked));
        return;
    }
}

static void on_created(struct http_connection *connection, const struct http_answer *answer)
{
    (void)connection;
    if (answer->status / 100 != 2)
        bench_give_up(answer->body);
    running--;
}

static void create_queue(void)
{
    struct http_connection connection;
    http_open(&connection, on_created, NULL);
    engine.create(&engine, &connection.out);
    running = 1;
    http_begin(&connection);
    while (running > 0)
        http_turn(1000);
    http_close(&connection);
}

static void run(size_t connections)
{
    struct worker *workers = calloc(connections, sizeof *workers);
    if (workers == NULL)
        bench_give_up("no memory");
    running = connections;
    for (size_t i = 0; i < connections; i++) {
        http_open(&workers[i].connection, answered, &workers[i]);
        begin(&workers[i]);
    }
    while (running > 0)
        http_turn(1000);
    for (size_t i = 0; i < connections; i++)
        http_close(&workers[i].connection);
    free(workers);
}

/* Base64 digits as base64 of random bytes would have them. */
static void make_text(size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t state = 2463534242u; /* xorshift: anything without a pattern will do */
    text = calloc(1, size + 1);
    for (size_t i = 0; text != NULL && i < size; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        text[i] = digits[state >> 26];
    }
}

static size_t number(const char *argument, size_t least, size_t most)
{
    char *end;
    size_t value = strtoul(argument, &end, 10);
    if (*end != '\0' || value < least || value > most)
        bench_give_up(argument);
    return value;
}

int main(int argc, char **argv)
{
    static char key[128], secret[256];
    if (argc != 11)
        bench_give_up("usage: queue_load sqs|azure URL QUEUE KEY_FILE SIZE BATCH CONNECTIONS "
                      "SECONDS COUNT create|send|cycle");
    engine = strcmp(argv[1], "azure") == 0 ? engine_azure : engine_sqs;
    FILE *file = fopen(argv[4], "r");
    if (file == NULL || fscanf(file, "%127s %255s", key, secret) != 2)
        bench_give_up("no key");
    fclose(file);
    engine.url = argv[2];
    engine.host = strlen(argv[2]) > 7 ? argv[2] + 7 : "";
    engine.queue = argv[3];
    engine.key = key;
    engine.secret = secret;
    make_text(number(argv[5], 1, SIZE_MAX_BYTES));
    batch = number(argv[6], 1, ENGINE_BATCH_MAX);
    size_t connections = number(argv[7], 1, CONNECTIONS_MAX);
    double started = now(), length = (double)number(argv[8], 1, 86400);
    bound = number(argv[9], 0, 100000000);
    cycling = strcmp(argv[10], "cycle") == 0;
    until = started + length;
    http_server(argv[2]);
    if (strcmp(argv[10], "create") == 0)
        create_queue();
    else
        run(connections);
    double seconds = now() - started;
    printf("{\"messages\":%zu,\"requests\":%zu,\"seconds\":%.3f,\"perSecond\":%.1f}\n", completed,
           requests, seconds, (double)completed / seconds);
    free(text);
    return 0;
}
