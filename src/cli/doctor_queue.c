/* SPDX-License-Identifier: Apache-2.0 */
/* Both queues, asked with the credentials that the connector uses. */
#include <inttypes.h>
#include "doctor.h"
#include "reseal/queue.h"

#define SKEW_WARNING_MS 60000  /* results and records bear our time */
#define SKEW_FAILURE_MS 300000 /* SigV4 signatures are refused beyond five minutes */

static void judge_clock(struct doctor *doctor, int64_t skew_ms)
{
    int64_t apart = skew_ms < 0 ? -skew_ms : skew_ms;
    const char *hint = "synchronise the clock of this machine (timedatectl, chrony)";
    if (apart > SKEW_WARNING_MS)
        doctor_say(doctor, DOCTOR_QUEUE, apart > SKEW_FAILURE_MS ? MARK_FAILURE : MARK_WARNING,
                   hint, "this machine's clock is %" PRId64 " seconds %s that of the queue",
                   apart / 1000, skew_ms < 0 ? "ahead of" : "behind");
    else
        doctor_say(doctor, DOCTOR_QUEUE, MARK_OK, NULL,
                   "the clocks of queue and machine are within %d s of each other",
                   (int)(apart / 1000) + 1);
}

static bool examine_queue(struct doctor *doctor, struct queue_client *client, const char *key,
                          struct queue_facts *facts)
{
    const char *name = config_text(doctor->config, "queue", key);
    struct queue *queue = NULL;
    struct error err = ERROR_INIT;
    if (!queue_named(client, name, &queue, &err) || !queue_examine(queue, facts, &err)) {
        doctor_error(doctor, DOCTOR_QUEUE, MARK_FAILURE, &err,
                     err.kind == FAIL_AUTH
                         ? "check [queue] credentials and profile, and the clock of this machine"
                         : "check [queue] endpoint, and that the queue service runs");
        return false;
    }
    if (facts->in_flight < 0)
        doctor_say(doctor, DOCTOR_QUEUE, MARK_OK, NULL, "%s at %s: %" PRId64 " waiting or in hand",
                   name, queue_endpoint(client), facts->visible);
    else
        doctor_say(doctor, DOCTOR_QUEUE, MARK_OK, NULL,
                   "%s at %s: %" PRId64 " waiting, %" PRId64 " in hand", name,
                   queue_endpoint(client), facts->visible, facts->in_flight);
    return true;
}

static void examine_both(struct doctor *doctor, struct queue_client *client)
{
    struct queue_facts facts = {0};
    bool known = examine_queue(doctor, client, "requests", &facts);
    known = examine_queue(doctor, client, "results", &facts) || known;
    if (known)
        judge_clock(doctor, facts.clock_skew_ms);
}

/* Where the engine does not move what is received too often, a queue must be there for it. */
static void examine_poison(struct doctor *doctor, struct queue_client *client)
{
    char name[QUEUE_NAME_MAX + 1];
    struct queue *queue = NULL;
    struct queue_facts facts;
    struct error err = ERROR_INIT;
    if (!queue_poison_name(client, config_text(doctor->config, "queue", "requests"), name))
        return;
    if (!queue_named(client, name, &queue, &err) || !queue_examine(queue, &facts, &err))
        doctor_error(doctor, DOCTOR_QUEUE, MARK_WARNING, &err,
                     "create this queue, for requests that are received too often");
    else if (facts.visible > 0)
        doctor_say(doctor, DOCTOR_QUEUE, MARK_WARNING, "look at them, then delete them",
                   "%s: %" PRId64 " messages were received too often", name, facts.visible);
}

void doctor_queue(struct doctor *doctor)
{
    struct queue_client *client = NULL;
    struct error err = ERROR_INIT;
    if (config_text(doctor->config, "queue", "credentials") == NULL)
        return;
    if (!queue_client_open(doctor->config, &client, &err)) {
        doctor_error(doctor, DOCTOR_QUEUE, MARK_FAILURE, &err,
                     "correct [queue]: engine, endpoint, region, credentials, ca_file, proxy");
        return;
    }
    examine_both(doctor, client);
    examine_poison(doctor, client);
    queue_client_free(&client);
}
