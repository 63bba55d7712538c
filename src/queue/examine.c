/* SPDX-License-Identifier: Apache-2.0 */
/* One look at a queue, blocking: for doctor, and for people who wait. */
#include "dialect.h"
#include "reseal/clock.h"

/* What the service's clock says, from the Date header; 0: nothing. The header has whole seconds:
 * their middle is the best guess. */
static int64_t service_time_ms(const struct exchange *exchange)
{
    struct curl_header *date = NULL;
    if (curl_easy_header(exchange->easy, "Date", 0, CURLH_HEADER, -1, &date) != CURLHE_OK)
        return 0;
    time_t when = curl_getdate(date->value, NULL);
    return when != (time_t)-1 ? (int64_t)when * 1000 + 500 : 0;
}

/* A key that was renewed meanwhile is tried, too. */
static bool run(struct exchange *exchange, struct error *err)
{
    struct queue_client *client = exchange->client;
    if (!exchange_run(exchange, err))
        return false;
    if (exchange_verdict(exchange, err))
        return true;
    if (err->kind != FAIL_AUTH || !client_keys_renew(client, exchange->signed_with))
        return false;
    buf_reset(&exchange->body);
    buf_reset(&exchange->answer);
    return exchange_run(exchange, err) && exchange_verdict(exchange, err);
}

static bool examine(struct queue *queue, enum call call, struct queue_facts *out, struct error *err)
{
    const struct dialect *dialect = queue->client->dialect;
    struct exchange *exchange;
    if (!exchange_take(queue, call, &exchange, err))
        return false;
    int64_t begun_ms = clock_real_ms();
    bool ok = run(exchange, err);
    int64_t service_ms = service_time_ms(exchange);
    if (service_ms != 0) /* told with a refusal, too: a wrong clock is a reason for one */
        out->clock_skew_ms = service_ms - (begun_ms + (clock_real_ms() - begun_ms) / 2);
    if (ok && call == CALL_URL) {
        ok = dialect->read_url(exchange, queue->url, err);
        if (ok)
            queue->url_state = URL_KNOWN;
    } else if (ok) {
        ok = dialect->read_attributes(exchange, out, err);
    }
    exchange_drop(exchange);
    return ok;
}

bool queue_examine(struct queue *queue, struct queue_facts *out, struct error *err)
{
    *out = (struct queue_facts){.oldest_age_s = -1};
    if (queue->url_state != URL_KNOWN && !examine(queue, CALL_URL, out, err))
        return false;
    if (!examine(queue, CALL_ATTRIBUTES, out, err))
        return false;
    if (out->dead_letter[0] == '\0' &&
        queue_poison_name(queue->client, queue->name, out->dead_letter))
        out->max_receives = queue->client->max_receives;
    return true;
}
