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

/* What one exchange is about. */
struct subject {
    char id[UUID_TEXT]; /* of the delivery; of a new one, once it is stored */
    bool ordered;       /* here and now */
    struct delivery_order order;
    struct buf certificate; /* what the order's certificate points into */
};

static void free_subject(void *work)
{
    struct subject *subject = work;
    buf_free(&subject->certificate);
    free(subject);
}

/* NULL: refused for lack of memory. */
static struct subject *subject_new(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct subject *subject = calloc(1, sizeof *subject);
    if (subject == NULL) {
        error_memory(&err);
        graph_fail(exchange, &err);
        return NULL;
    }
    subject->certificate = (struct buf)BUF_INIT(DEVICE_CERTIFICATE_MAX + 3);
    exchange->work = subject;
    exchange->work_free = free_subject;
    return subject;
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

/* Answers with the delivery, once it has ended or the time to wait is over. */
static enum job_verdict run_show(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct subject *subject = exchange->work;
    enum delivery_state state;
    if (!delivery_state(database, subject->id, &state, err))
        return JOB_FAILED;
    if (state == DELIVERY_PENDING && !job->last) {
        memcpy(job->wait_delivery, subject->id, UUID_TEXT);
        return JOB_WAIT;
    }
    unsigned status =
        subject->ordered && state == DELIVERY_PENDING ? MHD_HTTP_ACCEPTED : MHD_HTTP_OK;
    return answer_delivery(exchange, database, status, subject->id, err) ? JOB_DONE : JOB_FAILED;
}

static enum job_verdict run_order(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct subject *subject = exchange->work;
    if (!delivery_create(database, &subject->order, subject->id, err))
        return JOB_FAILED;
    if (exchange->next_run != NULL)
        return JOB_DONE;
    return answer_delivery(exchange, database, MHD_HTTP_ACCEPTED, subject->id, err) ? JOB_DONE
                                                                                    : JOB_FAILED;
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

static bool read_order(const struct json_value *root, struct subject *out, struct error *err)
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

/* A job that may wait does so for as long as its client is there. */
static void let_wait(struct exchange *exchange, int64_t wait_s)
{
    if (wait_s == 0)
        return;
    exchange->job.deadline_ms = job_deadline_ms(wait_s);
    exchange->job.alive = exchange_client_is_there;
}

void deliveries_post_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    int64_t wait_s;
    struct subject *subject = subject_new(exchange);
    if (subject == NULL)
        return;
    if (!read_wait(exchange->query, &wait_s, &err)) {
        graph_fail(exchange, &err);
        return;
    }
    if (!graph_body(exchange, "the delivery", &json))
        return;
    subject->ordered = true;
    subject->order.lifetime_ms = exchange->hub->request_lifetime_ms;
    subject->order.queue = exchange->hub->requests_id;
    if (read_order(json_root(json), subject, &err)) {
        exchange->job.run = run_order;
        exchange->next_run = wait_s > 0 ? run_show : NULL;
        let_wait(exchange, wait_s);
    } else {
        graph_fail(exchange, &err);
    }
    json_free(&json);
}

void deliveries_get_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    int64_t wait_s;
    struct subject *subject = subject_new(exchange);
    if (subject == NULL)
        return;
    if (!uri_decode(URI_PATH, exchange->suffix, strlen(exchange->suffix), subject->id,
                    sizeof subject->id)) {
        error_set(&err, FAIL_NOT_FOUND, "there is no delivery \"%.64s\"", exchange->suffix);
        graph_fail(exchange, &err);
        return;
    }
    if (!read_wait(exchange->query, &wait_s, &err)) {
        graph_fail(exchange, &err);
        return;
    }
    let_wait(exchange, wait_s);
    exchange->job.run = run_show;
}
