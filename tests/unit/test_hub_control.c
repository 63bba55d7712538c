/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's control socket where no descriptor is free. */
#include "check.h"
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "src/hub/control.h"

#define WATCHED_MS  500
#define ANSWER_S    10
#define DESCRIPTORS 3 /* all in use; poll wants as many as it watches */

/* Connects to the socket beside that database while no descriptor is free. */
static void connect_without_descriptors(int fd, const char *database)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct rlimit limit;
    snprintf(address.sun_path, sizeof address.sun_path, "%.90s.control", database);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = DESCRIPTORS;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
}

static int64_t processor_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

static void without_descriptors_it_waits_and_then_answers(void **state)
{
    struct error err = ERROR_INIT;
    const struct timeval patience = {.tv_sec = ANSWER_S};
    struct control *control = NULL;
    struct rlimit before;
    char folder[] = "/tmp/hub-control-XXXXXX", database[64], answer[128];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(database, sizeof database, "%s/hub.db", folder);
    assert_ok(control_start(NULL, database, &control, &err), &err);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    connect_without_descriptors(fd, database);
    int64_t used_ms = processor_ms();
    clock_sleep_ms(WATCHED_MS); /* what it does in that time is the question */
    used_ms = processor_ms() - used_ms;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(used_ms < WATCHED_MS / 4);
    assert_int_equal(send(fd, "what?", 5, MSG_NOSIGNAL), 5);
    assert_true(recv(fd, answer, sizeof answer, 0) > 0);
    close(fd);
    control_stop(&control);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_descriptors_it_waits_and_then_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
