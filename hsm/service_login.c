/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/log.h"
#include "service.h"

/* A network HSM that was away wants some time before it takes logins again. */
static const struct backoff login_backoff = {.first_ms = 1000, .most_ms = 60000};

static bool login_locked(struct token_service *service, struct session *session, struct error *err)
{
    bool logged_in = false;
    if (!session_logged_in(session, &logged_in, err))
        return false;
    if (logged_in)
        return true;                          /* another thread was faster, or it was never lost */
    if (service->refusal.kind != FAIL_NONE) { /* whoever hears of it first hears the reason */
        *err = service->refusal;
        return false;
    }
    if (clock_monotonic_ms() < service->login_not_before)
        return error_set(err, FAIL_TOKEN, "the login was lost, and the next try is not due yet");
    if (token_login(service->token, service->pin, err)) {
        service->login_failures = 0;
        struct token_facts facts;
        token_facts_get(service->token, &facts);
        const char *label = facts.label;
        log_event(LEVEL_WARNING, EVENT_TOKEN_TROUBLE, "logged in again after the login was lost",
                  LOG_TEXT("token", label));
        return true;
    }
    if (err->kind == FAIL_PIN)
        service->refusal = *err;
    service->login_not_before =
        clock_monotonic_ms() + backoff_ms(&login_backoff, ++service->login_failures);
    return false;
}

bool token_service_login_again(struct token_service *service, struct session *session,
                               struct error *err)
{
    pthread_mutex_lock(&service->login);
    bool ok = login_locked(service, session, err);
    pthread_mutex_unlock(&service->login);
    return ok;
}
