/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs on their way from the reader to the workers: first in, first out, bounded. */
#ifndef RESEAL_HSM_JOB_QUEUE_H
#define RESEAL_HSM_JOB_QUEUE_H

#include "reseal/helper_message.h"

struct job {
    uint32_t number; /* of the frame that asked */
    uint16_t type;   /* HELPER_RESEAL or HELPER_ROTATE */
    struct buf body; /* the frame's bytes; owned */
    union {          /* views into the body */
        struct reseal_message message;
        struct rotate_message rotation;
    };
};

struct job_queue;

bool job_queue_new(size_t max, struct job_queue **out, struct error *err) MUST_USE;
void job_queue_free(struct job_queue **queue);
/* Takes the job over; false where the queue is full, and the job stays the caller's. */
bool job_queue_put(struct job_queue *queue, struct job *job) MUST_USE;
/* Waits for a job, which is then the caller's; NULL once the queue is closed and empty. */
struct job *job_queue_take(struct job_queue *queue) MUST_USE;
/* No more jobs come. */
void job_queue_close(struct job_queue *queue);

struct frame;
struct job *job_new(const struct frame *frame, struct error *err) MUST_USE;
void job_free(struct job **job);

#endif
