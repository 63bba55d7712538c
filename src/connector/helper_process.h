/* SPDX-License-Identifier: Apache-2.0 */
/* The process of a token helper: fork and exec with one end of a socket pair, and its end. */
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

/* *pid becomes the process, *fd our end of its socket, close-on-exec and not blocking; the caller
 * owns both. Where it fails, nothing runs. */
bool helper_process_start(const struct helper_command *command, pid_t *pid, int *fd,
                          struct error *err) MUST_USE;
/* After SIGKILL: waits a while for its end, and leaves it to init where it does not come. */
void helper_process_collect(pid_t pid);
/* What the status of waitpid says. */
void helper_process_describe_end(int status, struct error *err);

#endif
