/* SPDX-License-Identifier: Apache-2.0 */
/* /healthz for probes, /v1/status for people. */
#include "api_graph.h"
#include "engine.h"
#include "reseal/clock.h"
#include "store_deliveries.h"
#include "store_queue.h"
#include "store_records.h"

static enum job_verdict run_health(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    /* That the store thread answers and, after a fault, commits is the proof. */
    if (!database_probe(database, err))
        return JOB_FAILED;
    buf_reset(&exchange->answer.body);
    buf_put_text(&exchange->answer.body, "{\"status\":\"ok\"}");
    exchange->answer.content_type = JSON_TYPE;
    exchange->answer.status = MHD_HTTP_OK;
    return buf_check(&exchange->answer.body, "the answer", err) ? JOB_DONE : JOB_FAILED;
}

void health_handle(struct exchange *exchange)
{
    exchange->job.run = run_health;
}

static bool put_queue(struct json_writer *json, struct database *database,
                      const struct queue_row *queue, struct error *err)
{
    struct queue_counts counts, dead = {0, 0, 0};
    int64_t oldest_ms;
    if (!stored_queue_count(database, queue->id, &counts, err) ||
        !stored_queue_oldest(database, queue->id, &oldest_ms, err))
        return false;
    if (queue->dead_letter != 0 && !stored_queue_count(database, queue->dead_letter, &dead, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "name", queue->name);
    json_put_integer(json, "visible", counts.visible);
    json_put_integer(json, "inFlight", counts.in_flight);
    json_put_integer(json, "delayed", counts.delayed);
    const struct queue_row *dead_letter =
        queue->dead_letter != 0 ? stored_queue_by_id(database, queue->dead_letter) : NULL;
    json_put_text(json, "deadLetterQueue", dead_letter != NULL ? dead_letter->name : NULL);
    json_put_integer(json, "dead", dead.visible + dead.in_flight + dead.delayed);
    int64_t age_ms = oldest_ms != 0 ? clock_real_ms() - oldest_ms : 0;
    json_put_integer(json, "oldestAgeSeconds", age_ms > 0 ? age_ms / 1000 : 0);
    json_object_end(json);
    return true;
}

static bool write_status(const struct hub *hub, struct json_writer *json, struct database *database,
                         struct error *err)
{
    int64_t deliveries[DELIVERY_STATES], records;
    json_object(json, NULL);
    json_put_text(json, "status", "ok");
    json_put_text(json, "version", RESEAL_VERSION);
    json_array(json, "queues");
    for (size_t i = 0; i < database->queue_count; i++) {
        if (!put_queue(json, database, &database->queues[i], err))
            return false;
    }
    json_array_end(json);
    delivery_counts(database, deliveries);
    if (!record_count(database, &records, err))
        return false;
    json_object(json, "deliveries");
    for (size_t i = 0; i < DELIVERY_STATES; i++)
        json_put_integer(json, delivery_state_name((enum delivery_state)i), deliveries[i]);
    json_object_end(json);
    json_put_integer(json, "records", records);
    if (hub->engine != NULL)
        engine_write_status(hub->engine, "engine", json);
    else
        json_put_null(json, "engine");
    json_object_end(json);
    return true;
}

static enum job_verdict run_status(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return JOB_FAILED;
    bool ok = write_status(exchange->hub, json, database, err) &&
              answer_json(&exchange->answer, MHD_HTTP_OK, JSON_TYPE, json, err);
    json_writer_free(&json);
    return ok ? JOB_DONE : JOB_FAILED;
}

void status_handle(struct exchange *exchange)
{
    exchange->job.run = run_status;
}
