/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* close_range */
#include "helper_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/helper_message.h"

#define COLLECT_MS  2000
#define ADOPTION_MS 5000

/* Only what the helper needs stays open: it must not hold our connections. */
static void close_others_on_exec(int keep_fd)
{
    if (close_range(HELPER_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0) { /* before Linux 5.11 */
        long most = sysconf(_SC_OPEN_MAX);
        for (int fd = HELPER_FD + 1; fd < most && fd < 65536; fd++)
            fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    if (keep_fd > HELPER_FD)
        fcntl(keep_fd, F_SETFD, 0);
}

/* Its parent ends at once; then it is the connector's, which alone reaps it and sees its end. */
static void await_adoption(pid_t connector)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int tries = 0; getppid() != connector; tries++) {
        if (tries == ADOPTION_MS)
            _exit(126);
        nanosleep(&pause, NULL);
    }
}

/* Its starter passes over some signals; what is passed over stays so after exec, and the helper
 * must go when reseald does. */
static void restore_signals(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD, SIGPIPE};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        signal(numbers[i], SIG_DFL);
}

_Noreturn void helper_process_become(const struct helper_command *command, int fd, int gate,
                                     pid_t connector)
{
    char name[] = "reseal-hsm", config[] = "--config", token[] = "--token";
    char *const argv[] = {name,
                          config,
                          (char *)(uintptr_t)command->config_path,
                          token,
                          (char *)(uintptr_t)command->token,
                          NULL};
    sigset_t none;
    char go;
    restore_signals();
    if (read(gate, &go, 1) != 1) /* nobody knows of this process */
        _exit(126);
    /* The connector's end may be anywhere, this one must be HELPER_FD and survive exec. */
    if (fd == HELPER_FD ? fcntl(fd, F_SETFD, 0) != 0 : dup2(fd, HELPER_FD) < 0)
        _exit(126);
    close_others_on_exec(command->pin_fd);
    setpgid(0, 0); /* ^C at the terminal is for the connector: it finishes what is in hand */
    await_adoption(connector);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != connector)
        _exit(126);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(command->program, argv);
    _exit(127);
}

/* A process that is stuck in the kernel, in a token's driver say, outlives SIGKILL for as long as
 * it is stuck. */
void helper_process_collect(pid_t pid)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    int64_t end_ms = clock_monotonic_ms() + COLLECT_MS;
    while (waitpid(pid, NULL, WNOHANG) == 0 && clock_monotonic_ms() < end_ms)
        nanosleep(&pause, NULL);
}

void helper_process_describe_end(int status, struct error *err)
{
    if (WIFSIGNALED(status))
        error_set(err, FAIL_TOKEN, "the token helper was ended by signal %d (%s)", WTERMSIG(status),
                  strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == 127)
        error_set(err, FAIL_TOKEN, "the token helper could not be executed");
    else
        error_set(err, FAIL_TOKEN, "the token helper ended with status %d", WEXITSTATUS(status));
}
