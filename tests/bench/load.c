/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays many devices at once: asks the hub for deliveries over keep-alive connections and fetches
 * each result.
 *
 *   load HUB_URL TOKEN_FILE RECORD_ID DEVICE_PEM CA_FOLDER DEVICES COUNT CONNECTIONS
 * post|fetch|both|poll IDS_FILE
 *
 * The deliveries go round over DEVICES certificates of the device's key, issued here by the CA of
 * CA_FOLDER. post: only asks, and writes the delivery ids to IDS_FILE; fetch: reads ids and waits
 * for each result; both: asks and waits in one request, one delivery after another on each
 * connection; poll: the same in two requests. Prints one line of JSON.
 *
 * It runs beside what it measures, on the same processors, so it does as little as it can: one
 * thread, epoll, and no more of HTTP/1.1 (RFC 9112) than the hub's answers have.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "devices.h"
#include "reseal/json.h"

#define ANSWER_MAX      (512 * 1024)
#define CONNECTIONS_MAX 256

enum step {
    STEP_POST,
    STEP_FETCH,
};

struct connection {
    int fd;
    enum step step;
    char answer[ANSWER_MAX]; /* headers and body */
    size_t len, head, whole; /* received; length of the headers; of all, 0 while not known */
    double started;
    char id[64];
};

static char host[64]; /* "127.0.0.1:9324" */
static struct sockaddr_in address;
static char bearer[600];
static char **post_bodies; /* one for each device */
static size_t devices;
static bool want_post, want_fetch;
static const char *wait_query = ""; /* of a POST */
static char (*ids)[64];
static size_t count, begun, ended, resealed;
static double *latencies;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static char *make_body(const char *record, X509 *certificate)
{
    struct error err = ERROR_INIT;
    struct json_writer *json = NULL;
    struct buf text = BUF_INIT(65536);
    unsigned char *der = NULL;
    int len = i2d_X509(certificate, &der);
    if (!json_writer_new(false, &json, &err))
        bench_give_up(err.text);
    json_object(json, NULL);
    json_put_text(json, "recordId", record);
    json_object(json, "device");
    json_put_text(json, "id", "load");
    json_put_text(json, "platform", "other");
    json_put_base64(json, "certificate", der, (size_t)len);
    json_object_end(json);
    json_put_text(json, "format", "cms");
    json_object_end(json);
    if (!json_finish(json, &text, &err))
        bench_give_up(err.text);
    char *body = strdup(buf_text(&text));
    json_writer_free(&json);
    buf_free(&text);
    OPENSSL_free(der);
    return body;
}

static void add_body(void *context, size_t index, X509 *certificate)
{
    post_bodies[index] = make_body(context, certificate);
}

/* A request fits into an empty socket buffer: it is written at once or not at all. */
static void begin(struct connection *connection)
{
    char request[65536];
    int len;
    if (connection->step == STEP_POST) {
        const char *body = post_bodies[begun % devices];
        len = snprintf(request, sizeof request,
                       "POST /v1/deliveries%s HTTP/1.1\r\nHost: %s\r\n%s\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       wait_query, host, bearer, strlen(body), body);
    } else {
        len = snprintf(request, sizeof request,
                       "GET /v1/deliveries/%s?wait=20 HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n",
                       connection->id, host, bearer);
    }
    connection->len = connection->head = connection->whole = 0;
    if (len <= 0 || (size_t)len >= sizeof request ||
        send(connection->fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        bench_give_up("a request could not be sent");
}

/* The next delivery for this connection, if one is left. */
static void next(struct connection *connection)
{
    if (begun == count)
        return;
    connection->started = now();
    connection->step = want_post ? STEP_POST : STEP_FETCH;
    if (!want_post)
        memcpy(connection->id, ids[begun], sizeof connection->id);
    begun++;
    begin(connection);
}

static void take_id(struct connection *connection)
{
    static const struct json_limits limits = {ANSWER_MAX, ANSWER_MAX, 256};
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    const char *text;
    if (!json_parse((const uint8_t *)connection->answer + connection->head,
                    connection->whole - connection->head, &limits, "answer", &json, &err) ||
        !json_want_text(json_root(json), "", "id", 63, &text, &err))
        bench_give_up(err.text);
    snprintf(connection->id, sizeof connection->id, "%s", text);
    json_free(&json);
}

/* A whole answer is there. */
static void answered(struct connection *connection)
{
    connection->answer[connection->whole] = '\0';
    const char *body = connection->answer + connection->head;
    if (strncmp(connection->answer, "HTTP/1.1 20", 11) != 0)
        bench_give_up(connection->answer);
    bool pending = strstr(body, "\"state\":\"pending\"") != NULL;
    if (connection->step == STEP_POST && pending)
        take_id(connection);
    if (pending && want_fetch) {
        connection->step = STEP_FETCH;
        begin(connection);
        return;
    }
    if (want_fetch)
        resealed += strstr(body, "\"state\":\"resealed\"") != NULL;
    else
        memcpy(ids[ended], connection->id, sizeof connection->id);
    latencies[ended++] = now() - connection->started;
    next(connection);
}

static void read_head(struct connection *connection)
{
    connection->answer[connection->len] = '\0';
    const char *end = strstr(connection->answer, "\r\n\r\n");
    if (end == NULL)
        return;
    const char *length = strcasestr(connection->answer, "\r\nContent-Length:");
    if (length == NULL || length > end)
        bench_give_up("an answer without Content-Length");
    connection->head = (size_t)(end - connection->answer) + 4;
    connection->whole = connection->head + strtoul(length + 17, NULL, 10);
    if (connection->whole >= ANSWER_MAX)
        bench_give_up("an answer is too long");
}

static void readable(struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->answer + connection->len,
                       ANSWER_MAX - 1 - connection->len, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        bench_give_up("the hub closed a connection");
    connection->len += (size_t)got;
    if (connection->whole == 0)
        read_head(connection);
    if (connection->whole != 0 && connection->len >= connection->whole)
        answered(connection);
}

static struct connection *open_connection(int epoll)
{
    const int yes = 1;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        bench_give_up("no memory");
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (connection->fd < 0 ||
        connect(connection->fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        bench_give_up("no connection to the hub");
    return connection;
}

static void run(size_t connections)
{
    struct connection *all[CONNECTIONS_MAX];
    struct epoll_event events[64];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < connections; i++)
        all[i] = open_connection(epoll);
    for (size_t i = 0; i < connections; i++)
        next(all[i]);
    while (ended < count) {
        int found = epoll_wait(epoll, events, ARRAY_LEN(events), 60000);
        if (found == 0 || (found < 0 && errno != EINTR))
            bench_give_up("nothing was answered for a minute");
        for (int i = 0; i < found; i++)
            readable(events[i].data.ptr);
    }
    for (size_t i = 0; i < connections; i++) {
        close(all[i]->fd);
        free(all[i]);
    }
    close(epoll);
}

/* "http://127.0.0.1:9324" */
static void read_url(const char *url)
{
    char name[32];
    unsigned port = 0;
    address.sin_family = AF_INET;
    if (sscanf(url, "http://%31[0-9.]:%u", name, &port) != 2 || port > 65535 ||
        inet_pton(AF_INET, name, &address.sin_addr) != 1)
        bench_give_up("the hub's URL is not http://ADDRESS:PORT");
    address.sin_port = htons((uint16_t)port);
    snprintf(host, sizeof host, "%s:%u", name, port);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void exchange_ids(const char *path, bool write)
{
    FILE *file = fopen(path, write ? "w" : "r");
    if (file == NULL)
        bench_give_up(path);
    for (size_t i = 0; i < count; i++) {
        if (write)
            fprintf(file, "%s\n", ids[i]);
        else if (fscanf(file, "%63s", ids[i]) != 1)
            bench_give_up("too few ids");
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    char token[512] = "";
    if (argc != 11)
        bench_give_up("usage: load HUB_URL TOKEN_FILE RECORD_ID DEVICE_PEM CA_FOLDER DEVICES COUNT "
                      "CONNECTIONS post|fetch|both|poll IDS_FILE");
    read_url(argv[1]);
    FILE *file = fopen(argv[2], "r");
    if (file == NULL || fscanf(file, "%511s", token) != 1)
        bench_give_up("no bearer token");
    fclose(file);
    snprintf(bearer, sizeof bearer, "Authorization: Bearer %s", token);
    devices = strtoul(argv[6], NULL, 10);
    count = strtoul(argv[7], NULL, 10);
    size_t connections = strtoul(argv[8], NULL, 10);
    if (count < 1 || count > 1000000 || connections < 1 || connections > CONNECTIONS_MAX ||
        devices < 1 || devices > 10000)
        bench_give_up("devices, count or connections out of range");
    want_post = strcmp(argv[9], "fetch") != 0;
    want_fetch = strcmp(argv[9], "post") != 0;
    if (strcmp(argv[9], "both") == 0)
        wait_query = "?wait=20";
    if (want_post)
        post_bodies = calloc(devices, sizeof *post_bodies);
    if (want_post)
        bench_devices(argv[4], argv[5], devices, add_body, argv[3]);
    ids = calloc(count, sizeof *ids);
    latencies = calloc(count, sizeof *latencies);
    if (!want_post)
        exchange_ids(argv[10], false);
    double started = now();
    run(connections);
    double seconds = now() - started;
    if (!want_fetch)
        exchange_ids(argv[10], true);
    qsort(latencies, count, sizeof *latencies, by_size);
    printf("{\"count\":%zu,\"resealed\":%zu,\"seconds\":%.3f,\"perSecond\":%.1f,\"medianMs\":%.2f,"
           "\"p99Ms\":%.2f}\n",
           count, resealed, seconds, (double)count / seconds, latencies[count / 2] * 1e3,
           latencies[count * 99 / 100] * 1e3);
    free(ids);
    free(latencies);
    for (size_t i = 0; want_post && i < devices; i++)
        free(post_bodies[i]);
    free(post_bodies);
    return 0;
}
