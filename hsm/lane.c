/* SPDX-License-Identifier: Apache-2.0 */
#include "lane.h"

#include <pthread.h>
#include <stdlib.h>
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
    pthread_mutex_init(&lanes->lock, NULL);
    pthread_cond_init(&lanes->freed, NULL);
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

/* NULL: one has to be waited for. */
static struct lane *choose(struct lanes *lanes)
{
    struct lane *rested = NULL, *any = NULL;
    bool some_open = false;
    int64_t now_ms = clock_monotonic_ms();
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
    }
    if (rested != NULL)
        return rested;
    return some_open ? NULL : any;
}

struct lane *lanes_take(struct lanes *lanes)
{
    struct lane *lane;
    pthread_mutex_lock(&lanes->lock);
    while ((lane = choose(lanes)) == NULL)
        pthread_cond_wait(&lanes->freed, &lanes->lock);
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

static bool find_keys(struct token_service *service, struct lane *lane, struct error *err)
{
    const struct probe_report *report = &service->hello.report;
    for (size_t i = 0; i < report->key_count; i++) {
        if (!sealing_key_find(lane->session, report->keys[i].name, &lane->keys[i], err))
            return false;
        sealing_key_adopt_ways(lane->keys[i], service->keys[i]);
    }
    return true;
}

bool lane_open(struct token_service *service, struct lane *lane, struct error *err)
{
    CK_RV answer;
    if (lane->session != NULL)
        return true;
    bool opened = session_try_open(service->token, SESSION_READ_ONLY, &lane->session, &answer, err);
    if (opened && token_service_login_again(service, lane->session, err) &&
        find_keys(service, lane, err)) {
        lane->rest_until_ms = 0;
        return true;
    }
    if (!opened && ck_rv_class(answer) == CK_CLASS_FEWER_SESSIONS)
        lane->rest_until_ms = clock_monotonic_ms() + REST_MS;
    lane_drop(lane);
    /* All of it was there at the start: what is missing now says nothing about the job in hand. */
    if (err->kind != FAIL_PIN)
        err->kind = FAIL_TOKEN;
    return false;
}
