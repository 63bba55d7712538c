/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/deliveries: a device's wish for a record, and what became of it. */
#include <stdlib.h>
#include <string.h>
#include <openssl/asn1.h>
#include <openssl/err.h>
#include "api_graph.h"
#include "store_deliveries.h"
#include "uri.h"

#define WAIT_MAX_S 20

struct ordering {
    struct delivery_order order;
    struct buf certificate; /* what the order's certificate points into */
};

static void free_ordering(void *work)
{
    struct ordering *ordering = work;
    buf_free(&ordering->certificate);
    free(ordering);
}

static bool answer_delivery(struct exchange *exchange, struct database *database, unsigned status,
                            const char *id, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return false;
    bool ok = delivery_write(database, id, json, err) &&
              answer_json(&exchange->answer, status, JSON_TYPE, json, err);
    json_writer_free(&json);
    return ok;
}

static enum job_verdict run_post(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct ordering *ordering = exchange->work;
    char id[UUID_TEXT];
    if (!delivery_create(database, &ordering->order, id, err) ||
        !answer_delivery(exchange, database, MHD_HTTP_ACCEPTED, id, err))
        return JOB_FAILED;
    return JOB_DONE;
}

static bool want_field(const struct json_value *object, const char *where, const char *key,
                       char *out, size_t size, struct error *err)
{
    const char *text;
    if (!json_want_text(object, where, key, size - 1, &text, err))
        return false;
    if (text[0] == '\0')
        return error_set(err, FAIL_INPUT, "%s is empty", key);
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return error_set(err, FAIL_INPUT, "%s contains a control character", key);
    }
    memcpy(out, text, strlen(text) + 1);
    return true;
}

/* Only the outermost form: whether the certificate is to be trusted is the connector's judgement.
 */
static bool check_der(struct bytes der, struct error *err)
{
    const unsigned char *at = der.data;
    long len = 0;
    int tag = 0, class = 0;
    if (der.len > 0 && (ASN1_get_object(&at, &len, &tag, &class, (long)der.len) & 0x80) == 0 &&
        tag == V_ASN1_SEQUENCE && class == V_ASN1_UNIVERSAL &&
        (size_t)(at - der.data) + (size_t)len == der.len)
        return true;
    ERR_clear_error();
    return error_set(err, FAIL_INPUT, "device.certificate is not the DER of a certificate");
}

static bool read_order(const struct json_value *root, struct ordering *out, struct error *err)
{
    struct delivery_order *order = &out->order;
    const struct json_value *device;
    const char *text;
    if (!want_field(root, "", "recordId", order->record_id, sizeof order->record_id, err) ||
        !json_want_object(root, "", "device", &device, err) ||
        !want_field(device, "device", "id", order->device_id, sizeof order->device_id, err) ||
        !json_want_text(device, "device", "platform", 32, &text, err) ||
        !platform_parse(text, &order->platform, err) ||
        !json_want_base64(device, "device", "certificate", DEVICE_CERTIFICATE_MAX,
                          &out->certificate, err) ||
        !json_want_text(root, "", "format", 32, &text, err) ||
        !format_parse(text, &order->format, err))
        return false;
    order->certificate = buf_bytes(&out->certificate);
    return check_der(order->certificate, err);
}

void deliveries_post_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    struct ordering *ordering = calloc(1, sizeof *ordering);
    if (ordering == NULL) {
        error_memory(&err);
        graph_fail(exchange, &err);
        return;
    }
    ordering->certificate = (struct buf)BUF_INIT(DEVICE_CERTIFICATE_MAX + 3);
    exchange->work = ordering;
    exchange->work_free = free_ordering;
    if (!graph_body(exchange, "the delivery", &json))
        return;
    ordering->order.lifetime_ms = exchange->hub->request_lifetime_ms;
    ordering->order.queue = exchange->hub->requests_id;
    if (read_order(json_root(json), ordering, &err))
        exchange->job.run = run_post;
    else
        graph_fail(exchange, &err);
    json_free(&json);
}

static enum job_verdict run_get(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const char *id = exchange->work;
    enum delivery_state state;
    if (!delivery_state(database, id, &state, err))
        return JOB_FAILED;
    if (state == DELIVERY_PENDING && !job->last) {
        memcpy(job->wait_delivery, id, UUID_TEXT);
        return JOB_WAIT;
    }
    return answer_delivery(exchange, database, MHD_HTTP_OK, id, err) ? JOB_DONE : JOB_FAILED;
}

/* The only parameter is wait=SECONDS. */
static bool read_wait(const char *query, int64_t *wait_s, struct error *err)
{
    struct uri_parameter parameter;
    *wait_s = 0;
    while (uri_next_parameter(&query, &parameter)) {
        char value[8];
        bool wait = parameter.name.len == 4 && memcmp(parameter.name.data, "wait", 4) == 0;
        if (!wait)
            return error_set(err, FAIL_UNSUPPORTED, "the only query option here is wait");
        bool number = uri_decode(URI_QUERY, (const char *)parameter.value.data, parameter.value.len,
                                 value, sizeof value) &&
                      value[0] != '\0' && strspn(value, "0123456789") == strlen(value);
        if (!number || (*wait_s = strtol(value, NULL, 10)) > WAIT_MAX_S)
            return error_set(err, FAIL_INPUT, "wait must be a whole number of seconds from 0 to %d",
                             WAIT_MAX_S);
    }
    return true;
}

void deliveries_get_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    int64_t wait_s;
    char *id = malloc(UUID_TEXT);
    if (id == NULL) {
        error_memory(&err);
        graph_fail(exchange, &err);
        return;
    }
    exchange->work = id;
    exchange->work_free = free;
    if (!uri_decode(URI_PATH, exchange->suffix, strlen(exchange->suffix), id, UUID_TEXT)) {
        error_set(&err, FAIL_NOT_FOUND, "there is no delivery \"%.64s\"", exchange->suffix);
        graph_fail(exchange, &err);
        return;
    }
    if (!read_wait(exchange->query, &wait_s, &err)) {
        graph_fail(exchange, &err);
        return;
    }
    if (wait_s > 0) {
        exchange->job.deadline_ms = job_deadline_ms(wait_s);
        exchange->job.alive = exchange_client_is_there;
    }
    exchange->job.run = run_get;
}
