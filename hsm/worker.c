/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include "reseal/clock.h"
#include "reseal/log.h"
#include "service.h"

struct worker {
    struct token_service *service;
    pthread_t thread;
    struct session *session; /* NULL after it was lost */
    struct sealing_key *keys[PROBE_KEYS_MAX];
};

static void drop_session(struct worker *worker)
{
    for (size_t i = 0; i < PROBE_KEYS_MAX; i++)
        sealing_key_free(&worker->keys[i]);
    session_close(&worker->session);
}

/* A session with the user logged in, and a handle of every key. */
static bool have_session(struct worker *worker, struct error *err)
{
    struct token_service *service = worker->service;
    if (worker->session != NULL)
        return true;
    if (!session_open(service->token, SESSION_READ_ONLY, &worker->session, err))
        goto fail;
    if (!token_service_login_again(service, worker->session, err))
        goto fail;
    for (size_t i = 0; i < service->hello.report.key_count; i++) {
        if (!sealing_key_find(worker->session, service->hello.report.keys[i].name, &worker->keys[i],
                              err))
            goto fail;
        sealing_key_adopt_ways(worker->keys[i], service->keys[i]);
    }
    return true;
fail:
    drop_session(worker);
    /* All of it was there at the start: what is missing now says nothing about the job in hand. */
    if (err->kind != FAIL_PIN)
        err->kind = FAIL_TOKEN;
    return false;
}

/* Which key, and with which custody: as the probe found it, and the configuration accepts it. */
static bool choose_key(const struct token_service *service, const struct reseal_message *message,
                       size_t *index, enum custody *custody, struct error *err)
{
    const struct probe_report *report = &service->hello.report;
    const struct key_finding *key = probe_key(report, message->key_name);
    if (key == NULL)
        return error_set(err, FAIL_NOT_FOUND, "no sealing key \"%s\" is served here",
                         message->key_name);
    const struct padding_finding *finding = probe_padding(key, message->padding);
    if (finding == NULL || finding->custody == CUSTODY_UNUSABLE)
        return error_set(
            err, FAIL_UNSUPPORTED, "the token cannot open %s with sealing key \"%s\": %s: %s; %s",
            padding_name(message->padding), key->name, finding != NULL ? finding->call : "",
            finding != NULL ? finding->ck_rv : "", finding != NULL ? finding->quirk : "");
    if (finding->custody < service->require)
        return error_set(err, FAIL_POLICY,
                         "%s with sealing key \"%s\" would have custody %s, and %s is required",
                         padding_name(message->padding), key->name, custody_name(finding->custody),
                         custody_name(service->require));
    if (message->transport != service->transport)
        return error_set(err, FAIL_POLICY, "key transport %s is not the one that is configured",
                         key_transport_name(message->transport));
    *index = (size_t)(key - report->keys);
    *custody = finding->custody;
    return true;
}

/*
 * A token in trouble may answer a good message as if it were bad, and that answer would be final.
 * So a message is only called bad by a token that opens a secret of our own right afterwards. This
 * is done for every bad message alike, whatever the token said about it.
 */
static bool token_works(struct worker *worker, size_t index, const struct reseal_job *job,
                        bool *mistrusted, struct error *err)
{
    struct error trouble = ERROR_INIT;
    bool works = false;
    bool tried = way_still_works(worker->session, worker->keys[index], job->padding, job->custody,
                                 &works, &trouble);
    if (tried && works)
        return true;
    *mistrusted = tried; /* it was not in trouble, and yet did not open it */
    if (!tried && trouble.kind == FAIL_TOKEN)
        *err = trouble;
    else
        error_set(err, FAIL_TOKEN, "the token does not open what was sealed a moment ago");
    return false;
}

/* The job, and once more on a new session where the old one was lost. A module that is lost, or a
 * token that opens nothing on a new session either, is left to a new process. */
static bool reseal(struct worker *worker, size_t index, const struct reseal_job *job,
                   struct buf *der, struct error *err)
{
    bool mistrusted = false;
    for (int attempt = 0; attempt < 2; attempt++) {
        mistrusted = false;
        if (!have_session(worker, err))
            break;
        buf_reset(der);
        if (token_reseal(worker->session, worker->keys[index], job, der, err)) {
            /* What could not be destroyed goes with the session. */
            if (session_lost(worker->session))
                drop_session(worker);
            return true;
        }
        if (err->kind == FAIL_CRYPTO ? token_works(worker, index, job, &mistrusted, err)
                                     : !session_lost(worker->session))
            return false;
        if (token_module_lost(worker->service->token))
            break;
        log_error(LEVEL_WARNING, EVENT_TOKEN_TROUBLE, "a session was lost and is opened anew", err);
        drop_session(worker);
    }
    if (mistrusted || token_module_lost(worker->service->token))
        token_service_give_up(worker->service, err->text);
    return false;
}

static bool work_on(struct worker *worker, const struct job *job, struct resealed_message *answer,
                    struct buf *der, struct error *err)
{
    struct token_service *service = worker->service;
    const struct reseal_message *message = &job->message;
    size_t index = 0;
    enum custody custody = CUSTODY_UNUSABLE;
    X509 *device = NULL;
    if (!choose_key(service, message, &index, &custody, err) ||
        !device_certificate_check(service->trust, message->device_certificate, clock_real_ms(),
                                  &device, err))
        return false;
    const struct reseal_job todo = {
        .padding = message->padding,
        .custody = custody,
        .sealed = message->sealed,
        .prefix = message->prefix,
        .suffix = message->suffix,
        .recipient = device,
        .transport = message->transport,
    };
    bool ok = reseal(worker, index, &todo, der, err);
    X509_free(device);
    *answer = (struct resealed_message){.custody = custody, .der = buf_bytes(der)};
    return ok;
}

static void do_job(struct worker *worker, const struct job *job, struct buf *der, struct buf *body)
{
    struct token_service *service = worker->service;
    struct error err = ERROR_INIT;
    struct resealed_message answer = {.custody = CUSTODY_UNUSABLE};
    buf_reset(der);
    buf_reset(body);
    if (work_on(worker, job, &answer, der, &err) && resealed_encode(&answer, body, &err)) {
        atomic_fetch_add(&service->done, 1);
        token_service_answer(service, job->number, HELPER_RESEALED, body);
    } else {
        atomic_fetch_add(&service->failed, 1);
        token_service_refuse(service, job->number, &err);
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct token_service *service = worker->service;
    struct buf der = BUF_INIT(CMS_DER_MAX), body = BUF_INIT(HELPER_BODY_MAX);
    struct job *job;
    while ((job = job_queue_take(service->jobs)) != NULL) {
        if (!atomic_load(&service->unheard)) {
            atomic_fetch_add(&service->busy, 1);
            do_job(worker, job, &der, &body);
            atomic_fetch_sub(&service->busy, 1);
        }
        job_free(&job);
    }
    buf_free(&der);
    buf_free(&body);
    drop_session(worker);
    OPENSSL_thread_stop();
    return NULL;
}

static bool start_thread(struct worker *worker, struct error *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    bool ok = pthread_attr_setstacksize(&attributes, WORKER_STACK) == 0 &&
              pthread_create(&worker->thread, &attributes, worker_main, worker) == 0;
    pthread_attr_destroy(&attributes);
    return ok ? true : error_set(err, FAIL_INTERNAL, "cannot start a worker thread");
}

bool worker_start(struct token_service *service, struct worker **out, struct error *err)
{
    *out = NULL;
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return error_memory(err);
    worker->service = service;
    if (!have_session(worker, err) || !start_thread(worker, err)) {
        drop_session(worker);
        free(worker);
        return false;
    }
    *out = worker;
    return true;
}

void worker_join(struct worker **worker)
{
    if (worker == NULL || *worker == NULL)
        return;
    pthread_join((*worker)->thread, NULL);
    free(*worker);
    *worker = NULL;
}
