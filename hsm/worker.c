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
};

/* Which key: as the probe found it, and the configuration accepts it. */
static bool choose_key(const struct token_service *service, const struct reseal_message *message,
                       size_t *index, struct error *err)
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
    return true;
}

/* The strongest custody that the token reaches for this device and this text. `require` decides
 * whether that is enough; where it is host, the result says which it was. */
static bool choose_custody(const struct token_service *service, const struct sealing_key *key,
                           const struct reseal_message *message, X509 *device,
                           enum custody *custody, struct error *err)
{
    const struct way *way = &key->ways[message->padding - PADDING_FIRST];
    enum cms_form form;
    const char *call = "the form", *rv = "not one that a token makes", *name = "this device";
    *custody = way->host == LEARNED_YES ? CUSTODY_HOST : CUSTODY_UNUSABLE;
    if (cms_form_for(device, message->transport, &form)) {
        const struct form_way *found = &way->forms[form];
        bool room = message->prefix.len + message->suffix.len <= way->affixes;
        if (found->token == LEARNED_YES && room)
            *custody = CUSTODY_TOKEN;
        name = cms_form_name(form);
        call = found->token == LEARNED_YES ? "text around the password" : found->call;
        rv = found->token == LEARNED_YES ? "more than the token takes" : found->rv;
    }
    if (*custody != CUSTODY_UNUSABLE && *custody >= service->require)
        return true;
    error_set(err, FAIL_UNSUPPORTED,
              "with sealing key \"%s\" the token reaches custody %s for %s, and custody %s is "
              "required: %s: %s",
              key->label, custody_name(*custody), name, custody_name(service->require), call, rv);
    return error_hint(err,
                      "`reseal token probe` shows for which device keys the token reaches what");
}

/* The token's part of one job, done on one lane. */
struct task {
    bool (*run)(const struct task *task, struct lane *lane, struct error *err);
    /* Whether a secret of our own goes the same way; false: that was not to be found out. */
    bool (*trial)(const struct task *task, struct lane *lane, bool *works, struct error *err);
    size_t index, new_index; /* of the keys; one and the same for a reseal */
    const struct reseal_job *job;
    struct harvest *harvest; /* to be filled */
    struct rotation *rotation;
};

static bool run_reseal(const struct task *task, struct lane *lane, struct error *err)
{
    return token_reseal_begin(lane->session, lane->keys[task->index], task->job, task->harvest,
                              err);
}

static bool try_reseal(const struct task *task, struct lane *lane, bool *works, struct error *err)
{
    const struct reseal_job *job = task->job;
    enum cms_form form;
    if (!cms_form_for(job->recipient, job->transport, &form))
        form = CMS_RSA_PKCS1; /* custody host: any will do */
    return way_still_works(lane->session, lane->keys[task->index], job, form, works, err);
}

/*
 * A token in trouble may answer a good message as if it were bad, and that answer would be final.
 * So a message is only called bad by a token that opens a secret of our own right afterwards. This
 * is done for every bad message alike, whatever the token said about it.
 */
static bool token_works(struct lane *lane, const struct task *task, bool *mistrusted,
                        struct error *err)
{
    struct error trouble = ERROR_INIT;
    bool works = false;
    bool tried = task->trial(task, lane, &works, &trouble);
    if (tried && works)
        return true;
    *mistrusted = tried; /* it was not in trouble, and yet did not open it */
    if (!tried && trouble.kind == FAIL_TOKEN)
        *err = trouble;
    else
        error_set(err, FAIL_TOKEN, "the token does not open what was sealed a moment ago");
    return false;
}

/* What became of the token's part of a job on one lane. */
enum attempt {
    ATTEMPT_DONE,
    ATTEMPT_FAILED,     /* and another would fail as well */
    ATTEMPT_LOST,       /* the session was lost: another one may do */
    ATTEMPT_MISTRUSTED, /* the same; the token opens nothing, without being in trouble */
    ATTEMPT_NO_SESSION, /* the token has none for this lane, and others have one */
};

static enum attempt attempt_on(struct token_service *service, struct lane *lane,
                               const struct task *task, struct error *err)
{
    bool mistrusted = false, denied;
    struct sealing_key *key;
    if (!lane_open(service, lane, &denied, err)) {
        bool spare = denied && lanes_have_another(service->lanes, lane);
        return spare ? ATTEMPT_NO_SESSION : ATTEMPT_FAILED;
    }
    if (!lane_key(service, lane, task->index, &key, err) ||
        !lane_key(service, lane, task->new_index, &key, err)) {
        lane_drop(lane); /* begins anew with the next job: the key may have come back */
        return ATTEMPT_FAILED;
    }
    if (task->run(task, lane, err)) {
        /* What could not be destroyed goes with the session. */
        if (session_lost(lane->session))
            lane_drop(lane);
        return ATTEMPT_DONE;
    }
    if (err->kind == FAIL_CRYPTO ? token_works(lane, task, &mistrusted, err)
                                 : !session_lost(lane->session))
        return ATTEMPT_FAILED;
    if (token_module_lost(service->token))
        return ATTEMPT_FAILED;
    log_error(LEVEL_WARNING, EVENT_TOKEN_TROUBLE, "a session was lost and is opened anew", err);
    lane_drop(lane);
    return mistrusted ? ATTEMPT_MISTRUSTED : ATTEMPT_LOST;
}

/* The token's part, and once more on a new session where the old one was lost. A module that is
 * lost, or a token that opens nothing on a new session either, is left to a new process. */
static bool use_token(struct token_service *service, const struct task *task, struct error *err)
{
    enum attempt outcome = ATTEMPT_LOST;
    struct lane *lane = lanes_take(service->lanes);
    for (int attempt = 0; attempt < 2; attempt++) {
        outcome = attempt_on(service, lane, task, err);
        while (outcome ==
               ATTEMPT_NO_SESSION) { /* fewer sessions, then: wait for one of the others */
            lanes_give(service->lanes, lane);
            lane = lanes_take(service->lanes);
            outcome = attempt_on(service, lane, task, err);
        }
        if (outcome == ATTEMPT_DONE || outcome == ATTEMPT_FAILED)
            break;
    }
    lanes_give(service->lanes, lane);
    if (outcome == ATTEMPT_MISTRUSTED || token_module_lost(service->token))
        token_service_give_up(service, err->text);
    return outcome == ATTEMPT_DONE;
}

static bool reseal(struct token_service *service, size_t index, const struct reseal_job *job,
                   struct buf *der, struct error *err)
{
    struct harvest harvest = HARVEST_INIT;
    const struct task task = {.run = run_reseal,
                              .trial = try_reseal,
                              .index = index,
                              .new_index = index,
                              .job = job,
                              .harvest = &harvest};
    bool ok = use_token(service, &task, err) && harvest_finish(&harvest, job, der, err);
    harvest_free(&harvest);
    return ok;
}

static bool work_on(struct token_service *service, const struct job *job,
                    struct resealed_message *answer, struct buf *der, struct error *err)
{
    const struct reseal_message *message = &job->message;
    size_t index = 0;
    enum custody custody = CUSTODY_UNUSABLE;
    X509 *device = NULL;
    if (!choose_key(service, message, &index, err) ||
        !device_certificate_check(service->trust, message->device_certificate, clock_real_ms(),
                                  &device, err))
        return false;
    if (!choose_custody(service, service->keys[index], message, device, &custody, err)) {
        X509_free(device);
        return false;
    }
    const struct reseal_job todo = {
        .padding = message->padding,
        .custody = custody,
        .sealed = message->sealed,
        .prefix = message->prefix,
        .suffix = message->suffix,
        .in_cdata = message->in_cdata,
        .recipient = device,
        .transport = message->transport,
    };
    bool ok = reseal(service, index, &todo, der, err);
    X509_free(device);
    *answer = (struct resealed_message){.custody = custody, .der = buf_bytes(der)};
    return ok;
}

/* What a rotation asks for, and what became of it. */
struct rotation {
    const struct rotate_message *message;
    enum custody require, custody;
    struct buf sealed;
};

/* Custody as the probe of these two keys finds it, and as the configuration accepts it. */
static bool run_rotation(const struct task *task, struct lane *lane, struct error *err)
{
    struct rotation *rotation = task->rotation;
    const struct rotate_message *message = rotation->message;
    struct sealing_key *key = lane->keys[task->index];
    struct sealing_key *new_key = lane->keys[task->new_index];
    struct rotate_finding finding;
    buf_reset(&rotation->sealed);
    if (!token_rotate_probe(lane->session, key, new_key, message->padding, message->new_padding,
                            &finding, err))
        return false;
    if (finding.custody == CUSTODY_UNUSABLE || finding.custody < rotation->require)
        return error_set(err, FAIL_POLICY,
                         "from sealing key \"%s\" to \"%s\" passwords go with custody %s, and "
                         "custody %s is required: %s: %s",
                         key->label, new_key->label, custody_name(finding.custody),
                         custody_name(rotation->require), finding.call, finding.ck_rv);
    const struct rotate_job job = {
        .padding = message->padding,
        .new_padding = message->new_padding,
        .custody = rotation->custody = finding.custody,
        .sealed = message->sealed,
    };
    return token_rotate(lane->session, key, new_key, &job, &rotation->sealed, err);
}

static bool try_rotation(const struct task *task, struct lane *lane, bool *works, struct error *err)
{
    const struct rotation *rotation = task->rotation;
    return rotation_still_works(lane->session, lane->keys[task->index], lane->keys[task->new_index],
                                rotation->message->padding, rotation->message->new_padding,
                                rotation->custody, works, err);
}

static bool find_key(const struct token_service *service, const char *name, size_t *index,
                     struct error *err)
{
    const struct probe_report *report = &service->hello.report;
    const struct key_finding *key = probe_key(report, name);
    if (key == NULL) {
        error_set(err, FAIL_NOT_FOUND, "no sealing key \"%s\" is served here", name);
        return error_hint(err, "both keys of a rotation are named by `key` of the token's section");
    }
    *index = (size_t)(key - report->keys);
    return true;
}

static void do_rotation(struct token_service *service, const struct job *job, struct buf *body)
{
    struct error err = ERROR_INIT;
    struct rotation rotation = {.message = &job->rotation,
                                .require = service->require,
                                .sealed = BUF_INIT(RECORD_SEALED_MAX)};
    struct task task = {.run = run_rotation, .trial = try_rotation, .rotation = &rotation};
    buf_reset(body);
    bool ok = find_key(service, job->rotation.key_name, &task.index, &err) &&
              find_key(service, job->rotation.new_key_name, &task.new_index, &err) &&
              use_token(service, &task, &err);
    const struct rotated_message answer = {rotation.custody, buf_bytes(&rotation.sealed)};
    if (ok && rotated_encode(&answer, body, &err)) {
        atomic_fetch_add(&service->done, 1);
        token_service_answer(service, job->number, HELPER_ROTATED, body);
    } else {
        atomic_fetch_add(&service->failed, 1);
        token_service_refuse(service, job->number, &err);
    }
    buf_free(&rotation.sealed);
}

static void do_reseal(struct token_service *service, const struct job *job, struct buf *der,
                      struct buf *body)
{
    struct error err = ERROR_INIT;
    struct resealed_message answer = {.custody = CUSTODY_UNUSABLE};
    buf_reset(der);
    buf_reset(body);
    if (work_on(service, job, &answer, der, &err) && resealed_encode(&answer, body, &err)) {
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
            if (job->type == HELPER_ROTATE)
                do_rotation(service, job, &body);
            else
                do_reseal(service, job, &der, &body);
            atomic_fetch_sub(&service->busy, 1);
        }
        job_free(&job);
    }
    buf_free(&der);
    buf_free(&body);
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
    if (!start_thread(worker, err)) {
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
