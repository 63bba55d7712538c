/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays many devices at once: asks the hub for deliveries over keep-alive connections and fetches
 * each result.
 *
 *   load HUB_URL TOKEN_FILE RECORD_ID DEVICE_PEM CA_FOLDER DEVICES COUNT CONNECTIONS
 * post|fetch|both IDS_FILE
 *
 * The deliveries go round over DEVICES certificates of the device's key, issued here by the CA of
 * CA_FOLDER. post: only asks, and writes the delivery ids to IDS_FILE; fetch: reads ids and waits
 * for each result; both: asks and waits, one delivery after another on each connection. Prints one
 * line of JSON.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <curl/curl.h>
#include "devices.h"
#include "reseal/json.h"

#define ANSWER_MAX (512 * 1024)

enum step {
    STEP_POST,
    STEP_FETCH,
};

struct connection {
    CURL *easy;
    enum step step;
    struct buf answer;
    double started;
    char id[64];
};

static const char *hub;
static struct curl_slist *headers;
static char **post_bodies; /* one for each device */
static size_t devices;
static bool want_post, want_fetch;
static char (*ids)[64];
static size_t count, begun, ended, resealed;
static double *latencies;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t on_data(char *data, size_t size, size_t items, void *context)
{
    struct connection *connection = context;
    buf_put(&connection->answer, data, size * items);
    return size * items;
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

static void begin(CURLM *multi, struct connection *connection)
{
    char url[512];
    buf_reset(&connection->answer);
    if (connection->step == STEP_POST) {
        snprintf(url, sizeof url, "%s/v1/deliveries", hub);
        curl_easy_setopt(connection->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(connection->easy, CURLOPT_POSTFIELDS, post_bodies[begun % devices]);
    } else {
        snprintf(url, sizeof url, "%s/v1/deliveries/%s?wait=20", hub, connection->id);
        curl_easy_setopt(connection->easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(connection->easy, CURLOPT_URL, url);
    curl_multi_add_handle(multi, connection->easy);
}

/* The next delivery for this connection; false where none is left. */
static bool next(CURLM *multi, struct connection *connection)
{
    if (begun == count)
        return false;
    connection->started = now();
    connection->step = want_post ? STEP_POST : STEP_FETCH;
    if (!want_post)
        memcpy(connection->id, ids[begun], sizeof connection->id);
    begun++;
    begin(multi, connection);
    return true;
}

static void answered(CURLM *multi, struct connection *connection)
{
    static const struct json_limits limits = {ANSWER_MAX, ANSWER_MAX, 256};
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    long status = 0;
    const char *text;
    curl_easy_getinfo(connection->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 && status != 202)
        bench_give_up(buf_text(&connection->answer));
    if (!json_parse(connection->answer.data, connection->answer.len, &limits, "answer", &json,
                    &err))
        bench_give_up(err.text);
    if (connection->step == STEP_POST) {
        if (!json_want_text(json_root(json), "", "id", 63, &text, &err))
            bench_give_up(err.text);
        snprintf(connection->id, sizeof connection->id, "%s", text);
        if (want_fetch) {
            connection->step = STEP_FETCH;
            begin(multi, connection);
            json_free(&json);
            return;
        }
        memcpy(ids[ended], connection->id, sizeof connection->id);
    } else {
        if (!json_want_text(json_root(json), "", "state", 63, &text, &err))
            bench_give_up(err.text);
        if (strcmp(text, "pending") == 0) {
            begin(multi, connection);
            json_free(&json);
            return;
        }
        resealed += strcmp(text, "resealed") == 0;
    }
    json_free(&json);
    latencies[ended++] = now() - connection->started;
    (void)next(multi, connection);
}

static void run(size_t connections)
{
    CURLM *multi = curl_multi_init();
    struct connection *all = calloc(connections, sizeof *all);
    for (size_t i = 0; i < connections; i++) {
        all[i].easy = curl_easy_init();
        all[i].answer = (struct buf)BUF_INIT(ANSWER_MAX);
        curl_easy_setopt(all[i].easy, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(all[i].easy, CURLOPT_WRITEFUNCTION, on_data);
        curl_easy_setopt(all[i].easy, CURLOPT_WRITEDATA, &all[i]);
        curl_easy_setopt(all[i].easy, CURLOPT_PRIVATE, &all[i]);
        curl_easy_setopt(all[i].easy, CURLOPT_TIMEOUT, 60L);
        (void)next(multi, &all[i]);
    }
    while (ended < count) {
        int running = 0, left = 0;
        CURLMsg *message;
        curl_multi_perform(multi, &running);
        while ((message = curl_multi_info_read(multi, &left)) != NULL) {
            struct connection *connection = NULL;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&connection);
            if (message->data.result != CURLE_OK)
                bench_give_up(curl_easy_strerror(message->data.result));
            curl_multi_remove_handle(multi, connection->easy);
            answered(multi, connection);
        }
        if (ended < count)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    for (size_t i = 0; i < connections; i++) {
        curl_easy_cleanup(all[i].easy);
        buf_free(&all[i].answer);
    }
    free(all);
    curl_multi_cleanup(multi);
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
    char token[512] = "", header[600];
    if (argc != 11)
        bench_give_up("usage: load HUB_URL TOKEN_FILE RECORD_ID DEVICE_PEM CA_FOLDER DEVICES COUNT "
                      "CONNECTIONS post|fetch|both IDS_FILE");
    hub = argv[1];
    FILE *file = fopen(argv[2], "r");
    if (file == NULL || fscanf(file, "%511s", token) != 1)
        bench_give_up("no bearer token");
    fclose(file);
    snprintf(header, sizeof header, "Authorization: Bearer %s", token);
    headers = curl_slist_append(curl_slist_append(NULL, header), "Content-Type: application/json");
    devices = strtoul(argv[6], NULL, 10);
    count = strtoul(argv[7], NULL, 10);
    size_t connections = strtoul(argv[8], NULL, 10);
    if (count < 1 || count > 1000000 || connections < 1 || connections > 256 || devices < 1 ||
        devices > 10000)
        bench_give_up("devices, count or connections out of range");
    want_post = strcmp(argv[9], "fetch") != 0;
    want_fetch = strcmp(argv[9], "post") != 0;
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
    curl_slist_free_all(headers);
    return 0;
}
