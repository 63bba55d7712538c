/* SPDX-License-Identifier: Apache-2.0 */
/* Both queues, asked with the credentials that the connector uses. */
#include <inttypes.h>
#include <stdlib.h>
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
    doctor_say(doctor, DOCTOR_QUEUE, MARK_OK, NULL,
               "%s at %s: %" PRId64 " waiting, %" PRId64 " in hand", name,
               config_text(doctor->config, "queue", "endpoint"), facts->visible, facts->in_flight);
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

void doctor_queue(struct doctor *doctor)
{
    const char *path = config_text(doctor->config, "queue", "credentials");
    const char *profile = config_text(doctor->config, "queue", "profile");
    struct credentials *credentials = NULL;
    struct queue_client *client = NULL;
    struct error err = ERROR_INIT;
    if (path == NULL)
        return;
    if (!credentials_load(path, &credentials, &err)) {
        doctor_error(doctor, DOCTOR_QUEUE, MARK_FAILURE, &err, "correct [queue] credentials");
        return;
    }
    struct queue_options options = {
        .endpoint = config_text(doctor->config, "queue", "endpoint"),
        .region = config_text(doctor->config, "queue", "region"),
        .ca_file = config_text(doctor->config, "queue", "ca_file"),
        .credential = credentials_by_profile(credentials, profile),
    };
    if (options.credential == NULL)
        doctor_say(doctor, DOCTOR_QUEUE, MARK_FAILURE, "correct [queue] profile, or that file",
                   "%s has no section [%s]", path, profile);
    else if (!queue_client_new(&options, &client, &err))
        doctor_error(doctor, DOCTOR_QUEUE, MARK_FAILURE, &err,
                     "correct [queue] endpoint, region and ca_file");
    else
        examine_both(doctor, client);
    queue_client_free(&client);
    credentials_free(&credentials);
}
