/* SPDX-License-Identifier: Apache-2.0 */
/* One look at a queue, blocking: for doctor, and for people who wait. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "client.h"
#include "reseal/clock.h"

/* The Date header has whole seconds: its middle is the best guess. */
static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    int64_t *service_ms = context;
    size_t len = size * count;
    char date[64];
    if (len > 5 && len - 5 < sizeof date && strncasecmp(data, "Date:", 5) == 0) {
        memcpy(date, data + 5, len - 5);
        date[len - 5] = '\0';
        time_t when = curl_getdate(date, NULL);
        if (when != (time_t)-1)
            *service_ms = (int64_t)when * 1000 + 500;
    }
    return len;
}

static bool examine(struct queue *queue, enum call call, struct queue_facts *out, struct error *err)
{
    struct exchange *exchange;
    bool ok = false;
    if (!exchange_take(queue, call, &exchange, err))
        return false;
    int64_t service_ms = 0, begun_ms = clock_real_ms();
    curl_easy_setopt(exchange->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(exchange->easy, CURLOPT_HEADERDATA, &service_ms);
    if (!exchange_run(exchange, err))
        goto done;
    if (service_ms != 0) /* told with a refusal, too: a wrong clock is a reason for one */
        out->clock_skew_ms = service_ms - (begun_ms + (clock_real_ms() - begun_ms) / 2);
    if (!exchange_verdict(exchange, err))
        goto done;
    if (call == CALL_URL) {
        ok = read_url(exchange, queue->url, err);
        if (ok)
            queue->url_state = URL_KNOWN;
    } else {
        ok = read_attributes(exchange, out, err);
    }
done:
    curl_easy_setopt(exchange->easy, CURLOPT_HEADERFUNCTION, NULL);
    curl_easy_setopt(exchange->easy, CURLOPT_HEADERDATA, NULL);
    exchange_drop(exchange);
    return ok;
}

bool queue_examine(struct queue *queue, struct queue_facts *out, struct error *err)
{
    *out = (struct queue_facts){0};
    if (queue->url_state != URL_KNOWN && !examine(queue, CALL_URL, out, err))
        return false;
    return examine(queue, CALL_ATTRIBUTES, out, err);
}
