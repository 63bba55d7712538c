/* SPDX-License-Identifier: Apache-2.0 */
/* The process of a token helper: how it becomes one after the fork (nursery.h), and its end. */
#ifndef RESEAL_CONNECTOR_HELPER_PROCESS_H
#define RESEAL_CONNECTOR_HELPER_PROCESS_H

#include <sys/types.h>
#include "reseal/error.h"

struct helper_command {
    const char *program;     /* path of reseal-hsm */
    const char *config_path; /* passed on */
    const char *token;       /* name of its token, passed on */
    int pin_fd;              /* stays open in it; -1: none */
};

/* In the child, between fork and exec: waits until a byte comes from `gate` (its end is the end of
 * the child, too) and the connector has adopted it, and becomes the program, with `fd` as its end
 * of the socket. System calls only. */
_Noreturn void helper_process_become(const struct helper_command *command, int fd, int gate,
                                     pid_t connector);
/* After SIGKILL: waits a while for its end, and leaves it to init where it does not come. */
void helper_process_collect(pid_t pid);
/* What the status of waitpid says. */
void helper_process_describe_end(int status, struct error *err);

#endif
