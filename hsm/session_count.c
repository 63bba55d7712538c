/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many sessions to work with, where the configuration leaves it to us: as many as the token has
 * and as pay off. A software token gains nothing beyond the processor's cores, a network HSM wants
 * a few dozen, for each waits for the network. So the number is doubled as long as the whole of
 * them does clearly more jobs in the same time, with secrets of our own. Then come a few more: a
 * thread that has a session may be without the processor, or wait for another in the module.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include "reseal/clock.h"
#include "reseal/log.h"
#include "service.h"
#include "trial.h"

#define SPARE         2    /* beyond those that pay off: one may have to wait for the processor */
#define FEWEST        2    /* even a busy machine measures no less than it has use for */
#define GAIN_PERCENT  115  /* the doubled number must do so much of the single one */
#define SPAN_LEAST_MS 60   /* of one measurement */
#define SPAN_MOST_MS  1500 /* with a token that takes long for one job */
#define SPAN_JOBS     4    /* that one session does in it */
#define TRIAL_SECRET  24

/* One session with a thread, for the time of the measurements. */
struct runner {
    struct session *session;
    struct sealing_key *key;
    struct trial trial;
    bool ready;
    pthread_t thread;
    atomic_bool *stop;
    unsigned long done;
    bool failed;
};

struct measurement {
    struct token_service *service;
    const struct sealing_key *key;
    enum padding padding;
    enum custody custody;
    enum cms_form form;
    struct runner runners[LANES_MAX];
    unsigned open;
};

static void *run(void *argument)
{
    struct runner *runner = argument;
    struct buf der = BUF_INIT(CMS_DER_MAX);
    struct error err = ERROR_INIT;
    do {
        buf_reset(&der);
        runner->failed =
            !token_reseal(runner->session, runner->key, &runner->trial.job, &der, &err);
        runner->done++;
    } while (!runner->failed && !atomic_load(runner->stop));
    buf_free(&der);
    OPENSSL_thread_stop();
    return NULL;
}

static void close_runner(struct runner *runner)
{
    if (runner->ready)
        trial_free(&runner->trial);
    runner->ready = false;
    sealing_key_free(&runner->key);
    session_close(&runner->session);
}

static bool open_runner(struct measurement *measurement, struct runner *runner, struct error *err)
{
    const struct trial_wish wish = {
        .padding = measurement->padding, .form = measurement->form, .password = TRIAL_SECRET};
    if (!session_open(measurement->service->token, SESSION_READ_ONLY, &runner->session, err) ||
        !sealing_key_find(runner->session, measurement->key->label, &runner->key, err) ||
        !trial_make(runner->key, &wish, &runner->trial, err)) {
        close_runner(runner);
        return false;
    }
    runner->ready = true;
    runner->trial.job.custody = measurement->custody;
    sealing_key_adopt_ways(runner->key, measurement->key);
    return true;
}

/* Jobs per second with the first `count` runners, over `span_ms`; false where one of them fails. */
static bool measure(struct measurement *measurement, unsigned count, int64_t span_ms, double *rate)
{
    atomic_bool stop = false;
    pthread_attr_t attributes;
    unsigned started = 0;
    unsigned long done = 0;
    bool ok = true;
    pthread_attr_init(&attributes);
    ok = pthread_attr_setstacksize(&attributes, WORKER_STACK) == 0;
    int64_t begun_us = clock_monotonic_us();
    for (; ok && started < count; started++) {
        struct runner *runner = &measurement->runners[started];
        runner->stop = &stop;
        runner->done = 0;
        ok = pthread_create(&runner->thread, &attributes, run, runner) == 0;
        if (!ok)
            break;
    }
    if (ok)
        clock_sleep_ms(span_ms);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(measurement->runners[i].thread, NULL);
        ok = ok && !measurement->runners[i].failed;
        done += measurement->runners[i].done;
    }
    pthread_attr_destroy(&attributes);
    int64_t took_us = clock_monotonic_us() - begun_us;
    *rate = took_us > 0 ? (double)done * 1e6 / (double)took_us : 0;
    return ok;
}

/* As many as asked for, or as the token has. */
static void open_up_to(struct measurement *measurement, unsigned count)
{
    struct error err = ERROR_INIT;
    while (measurement->open < count &&
           open_runner(measurement, &measurement->runners[measurement->open], &err))
        measurement->open++;
    if (measurement->open < count)
        log_error(LEVEL_DEBUG, EVENT_NOTE, "the token has no more sessions", &err);
}

/* The best padding of the first key: what is measured is the token, not a key. */
static bool choose_job(struct measurement *measurement)
{
    const struct token_service *service = measurement->service;
    const struct key_finding *finding = &service->hello.report.keys[0];
    bool found = false;
    measurement->key = service->keys[0];
    measurement->custody = CUSTODY_UNUSABLE;
    for (int i = 0; i < PADDING_COUNT; i++) {
        const struct way *way = &measurement->key->ways[i];
        enum cms_form form = CMS_RSA_PKCS1;
        if (finding->paddings[i].custody <= measurement->custody)
            continue;
        measurement->custody = finding->paddings[i].custody;
        measurement->padding = finding->paddings[i].padding;
        found = way_any_form(way, &form) || way->host == LEARNED_YES;
        measurement->form = form;
    }
    return found;
}

static unsigned double_while_it_pays(struct measurement *measurement, unsigned most,
                                     int64_t span_ms, double rate)
{
    unsigned count = 1;
    while (count < most) {
        unsigned next = 2 * count < most ? 2 * count : most;
        double faster = 0;
        open_up_to(measurement, next);
        if (measurement->open < next)
            next = measurement->open;
        if (next <= count || !measure(measurement, next, span_ms, &faster))
            break;
        if (next > FEWEST && faster * 100 < rate * GAIN_PERCENT)
            break;
        if (faster > rate)
            rate = faster;
        count = next;
    }
    return count;
}

unsigned session_count_choose(struct token_service *service)
{
    struct measurement *measurement = calloc(1, sizeof *measurement);
    unsigned most = token_session_room(service->token, LANES_MAX), count = FEWEST;
    double rate = 0;
    if (measurement == NULL)
        return count;
    measurement->service = service;
    if (choose_job(measurement)) {
        open_up_to(measurement, 1);
        int64_t begun_ms = clock_monotonic_ms();
        if (measurement->open == 1 && measure(measurement, 1, 0, &rate)) {
            int64_t span_ms = (clock_monotonic_ms() - begun_ms) * SPAN_JOBS;
            span_ms = span_ms < SPAN_LEAST_MS  ? SPAN_LEAST_MS
                      : span_ms > SPAN_MOST_MS ? SPAN_MOST_MS
                                               : span_ms;
            if (measure(measurement, 1, span_ms, &rate))
                count = double_while_it_pays(measurement, most, span_ms, rate);
        }
    }
    for (unsigned i = 0; i < measurement->open; i++)
        close_runner(&measurement->runners[i]);
    free(measurement);
    count = count + SPARE < most ? count + SPARE : most;
    log_event(LEVEL_INFO, EVENT_NOTE, "sessions were chosen by what they gain",
              LOG_NUMBER("sessions", count), LOG_NUMBER("most", most));
    return count;
}
