/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "reseal/backoff.h"
#include "reseal/clock.h"
#include "reseal/log.h"
#include "service.h"

/* A network HSM that was away wants some time before it takes logins again. */
static const struct backoff login_backoff = {.first_ms = 1000, .most_ms = 60000};

/* Waits while another helper tries the PIN. *needed is false where the user is logged in: another
 * thread was faster, or it was never lost. */
static bool may_log_in(struct token_service *service, struct session *session, bool *needed,
                       struct error *err)
{
    bool logged_in = false;
    for (;;) {
        if (!session_logged_in(session, &logged_in, err))
            return false;
        *needed = !logged_in;
        if (logged_in)
            return true;
        if (service->refusal.kind != FAIL_NONE) { /* whoever hears of it first hears the reason */
            *err = service->refusal;
            return false;
        }
        if (service->login_rule != LOGIN_HELD)
            return true;
        pthread_cond_wait(&service->ruled, &service->login);
    }
}

/* The PIN is of no use any more. */
static void refuse_for_good(struct token_service *service, const struct error *why)
{
    if (service->refusal.kind != FAIL_PIN) /* the graver reason stays */
        service->refusal = *why;
    secret_free(&service->pin);
}

/* Unlike a command, this service does not read the PIN again by itself. */
bool token_service_login(struct token_service *service, struct error *err)
{
    char hint[sizeof err->hint];
    if (token_login(service->token, service->pin, err))
        return true;
    if (err->kind == FAIL_PIN) {
        memcpy(hint, err->hint, sizeof hint);
        error_hint(err, "%.300s; then start reseald anew", hint);
    }
    return false;
}

static bool login_locked(struct token_service *service, struct session *session, struct error *err)
{
    bool needed = false;
    if (!may_log_in(service, session, &needed, err))
        return false;
    if (!needed)
        return true;
    if (clock_monotonic_ms() < service->login_not_before)
        return error_set(err, FAIL_TOKEN, "the login was lost, and the next try is not due yet");
    if (token_service_login(service, err)) {
        service->login_failures = 0;
        struct token_facts facts;
        token_facts_get(service->token, &facts);
        const char *label = facts.label;
        log_event(LEVEL_WARNING, EVENT_TOKEN_TROUBLE, "logged in again after the login was lost",
                  LOG_TEXT("token", label));
        return true;
    }
    if (err->kind == FAIL_PIN)
        refuse_for_good(service, err);
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

enum login_rule token_service_rule_login(struct token_service *service,
                                         const struct login_message *message)
{
    pthread_mutex_lock(&service->login);
    if (message->rule == LOGIN_NEVER)
        refuse_for_good(service, &message->why);
    service->login_rule = service->refusal.kind != FAIL_NONE ? LOGIN_NEVER : message->rule;
    enum login_rule rule = service->login_rule;
    pthread_cond_broadcast(&service->ruled);
    pthread_mutex_unlock(&service->login);
    return rule;
}

void token_service_end_hold(struct token_service *service)
{
    struct error why = ERROR_INIT;
    error_set(
        &why, FAIL_TOKEN,
        "the login was lost, and not made again: another token helper was trying the PIN when "
        "the connector went");
    pthread_mutex_lock(&service->login);
    if (service->login_rule == LOGIN_HELD) {
        refuse_for_good(service, &why);
        service->login_rule = LOGIN_NEVER;
    }
    pthread_cond_broadcast(&service->ruled);
    pthread_mutex_unlock(&service->login);
}
