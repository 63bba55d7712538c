/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "reseal/log.h"

void token_service_answer(struct token_service *service, uint32_t number, uint16_t type,
                          const struct buf *body)
{
    struct error err = ERROR_INIT;
    pthread_mutex_lock(&service->output);
    bool ok = !atomic_load(&service->unheard) &&
              frame_queue(service->channel, number, type, buf_bytes(body), &err) &&
              frame_flush(service->channel, &err);
    /* Half a frame must not be followed by another one. */
    if (!ok)
        atomic_store(&service->unheard, true);
    pthread_mutex_unlock(&service->output);
}

void token_service_refuse(struct token_service *service, uint32_t number,
                          const struct error *failure)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    if (failed_encode(failure, &body, &err))
        token_service_answer(service, number, HELPER_FAILED, &body);
    else
        log_error(LEVEL_ERROR, EVENT_TOKEN_TROUBLE, "an answer could not be made", &err);
    buf_free(&body);
}

void token_service_give_up(struct token_service *service, const char *why)
{
    if (atomic_exchange(&service->hopeless, true))
        return;
    log_event(LEVEL_ERROR, EVENT_TOKEN_TROUBLE, "the module is of no more use; ending",
              LOG_TEXT("reason", why));
    /* The reader sees the end of its input; answers still go out. */
    shutdown(frame_channel_fd(service->channel), SHUT_RD);
}

static bool say_hello(struct token_service *service, struct error *err)
{
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    bool ok = hello_encode(&service->hello, &body, err);
    if (ok)
        token_service_answer(service, 0, HELPER_HELLO, &body);
    buf_free(&body);
    return ok;
}

/* proc(5), /proc/PID/statm: the second figure is the resident pages. The connector asks for it
 * here, as a helper that is not dumpable is hidden from it by ProtectProc=invisible. */
static uint64_t resident_kib(void)
{
    unsigned long pages = 0;
    long page = sysconf(_SC_PAGESIZE);
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL)
        return 0;
    if (fscanf(statm, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(statm);
    return page > 0 ? pages * ((uint64_t)page / 1024) : 0;
}

static bool answer_status(struct token_service *service, uint32_t number, struct error *err)
{
    const struct status_message message = {
        .done = atomic_load(&service->done),
        .failed = atomic_load(&service->failed),
        .busy = atomic_load(&service->busy),
        .resident_kib = resident_kib(),
    };
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    bool ok = status_encode(&message, &body, err);
    if (ok)
        token_service_answer(service, number, HELPER_STATUS_IS, &body);
    buf_free(&body);
    return ok;
}

static bool rule_login(struct token_service *service, const struct frame *frame, struct error *err)
{
    struct login_message message, answer = {0};
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    if (!login_decode(frame->body, &message, err))
        return false;
    if ((message.rule == LOGIN_NEVER) != (message.why.kind != FAIL_NONE))
        return error_set(err, FAIL_INPUT, "a LOGIN message says no reason, or one for nothing");
    answer.rule = token_service_rule_login(service, &message);
    bool ok = login_encode(&answer, &body, err);
    if (ok)
        token_service_answer(service, frame->number, HELPER_LOGIN_IS, &body);
    buf_free(&body);
    return ok;
}

static bool take_job(struct token_service *service, const struct frame *frame, struct error *err)
{
    struct job *job = job_new(frame, err);
    if (job == NULL)
        return false;
    if (job_queue_put(service->jobs, job))
        return true;
    struct error busy = ERROR_INIT;
    error_set(&busy, FAIL_TOKEN, "the token helper has %u jobs in hand and takes no more",
              service->threads + WAITING_MAX);
    token_service_refuse(service, frame->number, &busy);
    job_free(&job);
    return true;
}

static bool take_frame(struct token_service *service, const struct frame *frame, struct error *err)
{
    switch (frame->type) {
    case HELPER_RESEAL:
    case HELPER_ROTATE:
        return take_job(service, frame, err);
    case HELPER_STATUS:
        return answer_status(service, frame->number, err);
    case HELPER_LOGIN:
        return rule_login(service, frame, err);
    default:
        return error_set(err, FAIL_INPUT, "a message of type %u has no meaning here", frame->type);
    }
}

/* Until the end of the socket. False: the other side broke the protocol. */
static bool read_jobs(struct token_service *service, struct error *err)
{
    bool ended = false;
    while (!ended) {
        if (!frame_receive(service->channel, &ended, err))
            return false;
        bool found = true;
        while (found) {
            struct frame frame;
            if (!frame_next(service->channel, &frame, &found, err) ||
                (found && !take_frame(service, &frame, err)))
                return false;
        }
    }
    return true;
}

static int serve(struct token_service *service, struct error *err)
{
    bool ok = say_hello(service, err) && read_jobs(service, err);
    if (!ok) {
        log_error(LEVEL_ERROR, EVENT_NOTE, "the token helper ends", err);
        return 1;
    }
    return atomic_load(&service->hopeless) ? 4 : 0;
}

static int refuse(struct token_service *service, struct error *err)
{
    log_error(LEVEL_ERROR, EVENT_NOTE, "the token helper cannot serve", &service->hello.error);
    if (!say_hello(service, err))
        log_error(LEVEL_ERROR, EVENT_NOTE, "the reason could not be told", err);
    return 4;
}

int token_service_run(struct token_service *service)
{
    struct error err = ERROR_INIT;
    int status = service->hello.ready ? serve(service, &err) : refuse(service, &err);
    token_service_end_hold(service);
    if (service->jobs != NULL)
        job_queue_close(service->jobs);
    /* A module that hangs must not keep a process alive that nobody waits for: SIGALRM ends it. */
    alarm(service->deadline);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        worker_join(&service->workers[i]);
    lanes_free(&service->lanes);
    return status;
}
