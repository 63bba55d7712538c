/* SPDX-License-Identifier: Apache-2.0 */
#include "job_queue.h"

#include <pthread.h>
#include <stdlib.h>
#include "reseal/frame.h"

struct job_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;
    size_t first, count, max;
    struct job *slots[];
};

bool job_queue_new(size_t max, struct job_queue **out, struct error *err)
{
    *out = NULL;
    struct job_queue *queue = calloc(1, sizeof *queue + max * sizeof queue->slots[0]);
    if (queue == NULL)
        return error_memory(err);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    queue->max = max;
    *out = queue;
    return true;
}

void job_queue_free(struct job_queue **queue)
{
    if (queue == NULL || *queue == NULL)
        return;
    job_queue_close(*queue);
    struct job *job;
    while ((job = job_queue_take(*queue)) != NULL)
        job_free(&job);
    pthread_cond_destroy(&(*queue)->changed);
    pthread_mutex_destroy(&(*queue)->lock);
    free(*queue);
    *queue = NULL;
}

bool job_queue_put(struct job_queue *queue, struct job *job)
{
    pthread_mutex_lock(&queue->lock);
    bool fits = !queue->closed && queue->count < queue->max;
    if (fits)
        queue->slots[(queue->first + queue->count++) % queue->max] = job;
    pthread_mutex_unlock(&queue->lock);
    if (fits)
        pthread_cond_signal(&queue->changed); /* who wakes finds the lock free */
    return fits;
}

struct job *job_queue_take(struct job_queue *queue)
{
    struct job *job = NULL;
    pthread_mutex_lock(&queue->lock);
    while (queue->count == 0 && !queue->closed)
        pthread_cond_wait(&queue->changed, &queue->lock);
    if (queue->count > 0) {
        job = queue->slots[queue->first];
        queue->first = (queue->first + 1) % queue->max;
        queue->count--;
    }
    pthread_mutex_unlock(&queue->lock);
    return job;
}

void job_queue_close(struct job_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

static bool decode(struct job *job, struct error *err)
{
    return job->type == HELPER_ROTATE ? rotate_decode(buf_bytes(&job->body), &job->rotation, err)
                                      : reseal_decode(buf_bytes(&job->body), &job->message, err);
}

struct job *job_new(const struct frame *frame, struct error *err)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        error_memory(err);
        return NULL;
    }
    job->number = frame->number;
    job->type = frame->type;
    job->body = (struct buf)BUF_INIT(HELPER_BODY_MAX);
    buf_put(&job->body, frame->body.data, frame->body.len);
    if (!buf_check(&job->body, "a job", err) || !decode(job, err))
        job_free(&job);
    return job;
}

void job_free(struct job **job)
{
    if (job == NULL || *job == NULL)
        return;
    buf_free(&(*job)->body);
    free(*job);
    *job = NULL;
}
