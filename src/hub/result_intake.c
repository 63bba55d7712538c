/* SPDX-License-Identifier: Apache-2.0 */
#include "result_intake.h"

#include <openssl/evp.h>
#include "reseal/log.h"
#include "store_deliveries.h"

static const char *const fates[] = {
    [RESULT_EFFECTIVE] = "result taken",
    [RESULT_REPEATED] = "result for a delivery that is complete",
    [RESULT_UNREADABLE] = "unreadable result kept in the dead-letter queue",
    [RESULT_STRAY] = "result for no delivery of this hub kept in the dead-letter queue",
};

static bool keep(const struct hub *hub, struct database *database, const struct outgoing *message,
                 char id[static UUID_TEXT], struct error *err)
{
    struct outgoing kept = *message;
    unsigned len = 0;
    kept.delay_s = 0;
    if (EVP_Digest(kept.body.data, kept.body.len, kept.md5, &len, hub->md5, NULL) != 1)
        return error_openssl(err, FAIL_INTERNAL, "cannot digest a result");
    return stored_queue_send(database, hub->results_dead_id, &kept, id, err);
}

bool result_intake(const struct hub *hub, struct database *database, const struct outgoing *message,
                   char id[static UUID_TEXT], struct error *err)
{
    enum result_fate fate;
    err->text[0] = '\0';
    if (!delivery_take_result(database, message->body, &fate, err))
        return false;
    if (fate == RESULT_EFFECTIVE || fate == RESULT_REPEATED) {
        if (!uuid_random(id, err))
            return false;
        log_event(LEVEL_DEBUG, EVENT_NOTE, fates[fate], LOG_TEXT("message", id));
        return true;
    }
    const struct error reason = *err; /* keeping it may write over that */
    if (!keep(hub, database, message, id, err))
        return false;
    const char *why = reason.text;
    log_event(LEVEL_WARNING, EVENT_NOTE, fates[fate], LOG_TEXT("message", id),
              LOG_TEXT("text", why));
    return true;
}
