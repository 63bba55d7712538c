/* SPDX-License-Identifier: Apache-2.0 */
#include "lane.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <openssl/evp.h>
#include "reseal/clock.h"
#include "service.h"

#define REST_MS 10000 /* before a token that had no session for a lane is asked again */

struct lanes {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    size_t count;
    struct lane all[];
};

bool lanes_new(size_t count, struct lanes **out, struct error *err)
{
    *out = NULL;
    struct lanes *lanes = calloc(1, sizeof *lanes + count * sizeof lanes->all[0]);
    if (lanes == NULL)
        return error_memory(err);
    pthread_condattr_t by_clock;
    pthread_condattr_init(&by_clock);
    pthread_condattr_setclock(&by_clock, CLOCK_MONOTONIC); /* that of clock_monotonic_ms */
    pthread_mutex_init(&lanes->lock, NULL);
    pthread_cond_init(&lanes->freed, &by_clock);
    pthread_condattr_destroy(&by_clock);
    lanes->count = count;
    *out = lanes;
    return true;
}

void lanes_free(struct lanes **lanes)
{
    if (lanes == NULL || *lanes == NULL)
        return;
    for (size_t i = 0; i < (*lanes)->count; i++)
        lane_drop(&(*lanes)->all[i]);
    pthread_cond_destroy(&(*lanes)->freed);
    pthread_mutex_destroy(&(*lanes)->lock);
    free(*lanes);
    *lanes = NULL;
}

/* NULL: one has to be waited for, but not longer than until *until_ms. */
static struct lane *choose(struct lanes *lanes, int64_t *until_ms)
{
    struct lane *rested = NULL, *any = NULL;
    bool some_open = false;
    int64_t now_ms = clock_monotonic_ms();
    *until_ms = INT64_MAX;
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->all[i];
        some_open = some_open || lane->open;
        if (lane->taken)
            continue;
        if (lane->open)
            return lane;
        any = lane;
        if (lane->rest_until_ms <= now_ms)
            rested = lane;
        else if (lane->rest_until_ms < *until_ms)
            *until_ms = lane->rest_until_ms;
    }
    if (rested != NULL)
        return rested;
    return some_open ? NULL : any;
}

struct lane *lanes_take(struct lanes *lanes)
{
    struct lane *lane;
    int64_t until_ms;
    pthread_mutex_lock(&lanes->lock);
    while ((lane = choose(lanes, &until_ms)) == NULL) {
        const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                                       .tv_nsec = (long)(until_ms % 1000) * 1000000};
        if (until_ms == INT64_MAX)
            pthread_cond_wait(&lanes->freed, &lanes->lock);
        else
            pthread_cond_timedwait(&lanes->freed, &lanes->lock, &until);
    }
    lane->taken = true;
    pthread_mutex_unlock(&lanes->lock);
    return lane;
}

void lanes_give(struct lanes *lanes, struct lane *lane)
{
    pthread_mutex_lock(&lanes->lock);
    lane->taken = false;
    lane->open = lane->session != NULL;
    pthread_mutex_unlock(&lanes->lock);
    pthread_cond_signal(&lanes->freed); /* who wakes finds the lock free */
}

bool lanes_have_another(struct lanes *lanes, const struct lane *lane)
{
    bool found = false;
    pthread_mutex_lock(&lanes->lock);
    for (size_t i = 0; i < lanes->count && !found; i++)
        found = &lanes->all[i] != lane && lanes->all[i].open;
    pthread_mutex_unlock(&lanes->lock);
    return found;
}

void lane_drop(struct lane *lane)
{
    for (size_t i = 0; i < PROBE_KEYS_MAX; i++)
        sealing_key_free(&lane->keys[i]);
    session_close(&lane->session);
}

/*
 * A label is not a key: one that was destroyed and made anew under its label would be served as
 * what it was. Then this process is of no more use; the next one probes the new key and tells its
 * identity.
 */
static bool check_identity(struct token_service *service, const struct sealing_key *found,
                           const struct sealing_key *known, struct error *err)
{
    if (EVP_PKEY_eq(found->pkey, known->pkey) == 1)
        return true;
    error_set(err, FAIL_TOKEN,
              "the sealing key \"%s\" on token \"%s\" is another one than when the token helper "
              "started: it was destroyed and made anew under its label",
              known->label, service->hello.report.token.label);
    error_hint(err, "what was sealed for the old key opens no more; give a new key a label of its "
                    "own, and seal for it");
    token_service_give_up(service, err->text);
    return false;
}

/* Only a user who is logged in sees that a key is not there; all else is trouble of the token. */
static bool fail_key(struct session *session, struct error *err)
{
    struct error ignored = ERROR_INIT;
    bool logged_in = false;
    bool gone = err->kind == FAIL_NOT_FOUND && session_logged_in(session, &logged_in, &ignored) &&
                logged_in;
    if (!gone && err->kind != FAIL_PIN)
        err->kind = FAIL_TOKEN;
    return false;
}

bool lane_key(struct token_service *service, struct lane *lane, size_t index,
              struct sealing_key **out, struct error *err)
{
    const struct sealing_key *known = service->keys[index];
    struct sealing_key **place = &lane->keys[index];
    *out = NULL;
    if (*place == NULL) {
        if (!sealing_key_find(lane->session, known->label, place, err))
            return fail_key(lane->session, err);
        if (!check_identity(service, *place, known, err)) {
            sealing_key_free(place);
            return false;
        }
        sealing_key_adopt_ways(*place, known);
    }
    *out = *place;
    return true;
}

/* One that is gone does not keep the others from being served. */
static bool find_keys(struct token_service *service, struct lane *lane, struct error *err)
{
    for (size_t i = 0; i < service->hello.report.key_count; i++) {
        struct sealing_key *key;
        if (!lane_key(service, lane, i, &key, err) && err->kind != FAIL_NOT_FOUND)
            return false;
    }
    return true;
}

bool lane_open(struct token_service *service, struct lane *lane, bool *denied, struct error *err)
{
    CK_RV answer;
    *denied = false;
    if (lane->session != NULL)
        return true;
    lane->rest_until_ms = 0;
    if (!session_try_open(service->token, SESSION_READ_ONLY, &lane->session, &answer, err)) {
        *denied = ck_rv_class(answer) == CK_CLASS_FEWER_SESSIONS;
        if (*denied)
            lane->rest_until_ms = clock_monotonic_ms() + REST_MS;
    } else if (token_service_login_again(service, lane->session, err) &&
               find_keys(service, lane, err)) {
        return true;
    }
    lane_drop(lane);
    /* All of it was there at the start: what is missing now says nothing about the job in hand. */
    if (err->kind != FAIL_PIN)
        err->kind = FAIL_TOKEN;
    return false;
}
