/* SPDX-License-Identifier: Apache-2.0 */
#include "result_intake.h"

#include <openssl/evp.h>
#include "reseal/log.h"
#include "reseal/queue.h"
#include "reseal/text.h"
#include "reseal/xml_text.h"
#include "store_deliveries.h"

#define KEPT_MAX (QUEUE_MESSAGE_MAX / 3 * 4 + 4) /* bytes of base64 */

static const char *const fates[] = {
    [RESULT_EFFECTIVE] = "result taken",
    [RESULT_REPEATED] = "result for a delivery that is complete",
    [RESULT_UNREADABLE] = "unreadable result kept in the dead-letter queue",
    [RESULT_STRAY] = "result for no delivery of this hub kept in the dead-letter queue",
};

/* Whether it may be the body of a message here. Another engine may carry any bytes. */
static bool is_text(struct bytes body)
{
    return utf8_is_strict(body.data, body.len) && xml_legal((const char *)body.data, body.len);
}

/* What is no text is kept as base64 of its bytes: who receives it would get no answer otherwise,
 * nor any of the dead letters beside it. */
static bool keep(const struct hub *hub, struct database *database, const struct outgoing *message,
                 char id[static UUID_TEXT], struct error *err)
{
    struct outgoing kept = *message;
    struct buf text = BUF_INIT(KEPT_MAX);
    unsigned len = 0;
    bool ok = false;
    kept.delay_s = 0;
    if (!is_text(kept.body)) {
        base64_encode(&text, kept.body.data, kept.body.len);
        kept.body = buf_bytes(&text);
    }
    if (!buf_check(&text, "a result in base64", err))
        goto done;
    if (EVP_Digest(kept.body.data, kept.body.len, kept.md5, &len, hub->md5, NULL) != 1) {
        error_openssl(err, FAIL_INTERNAL, "cannot digest a result");
        goto done;
    }
    ok = stored_queue_send(database, hub->results_dead_id, &kept, id, err);
done:
    buf_free(&text);
    return ok;
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
              LOG_TEXT("keptAs", is_text(message->body) ? "text" : "base64"),
              LOG_TEXT("text", why));
    return true;
}
