/* SPDX-License-Identifier: Apache-2.0 */
/* What a process can still do after it has shut itself in: each test tries it, in a child. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "tests/unit/check.h"
#include "reseal/settings.h"
#include "src/connector/sandbox.h"

/* A folder for the queue's files, and one for what belongs to the token. */
static char root[64], queue_file[128], pin_file[128], key_file[128], socket_path[128];

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_folders(void **state)
{
    char path[128];
    (void)state;
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1U) < 1) { /* asks for its version */
        print_message("this kernel has no Landlock\n");
        return -1;
    }
    snprintf(root, sizeof root, "/tmp/reseal-sandbox-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/queue", root);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/token", root);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/run", root);
    mkdir(path, 0700);
    snprintf(queue_file, sizeof queue_file, "%s/queue/credentials", root);
    snprintf(pin_file, sizeof pin_file, "%s/token/pin", root);
    snprintf(socket_path, sizeof socket_path, "%s/run/status.sock", root);
    snprintf(key_file, sizeof key_file, "%s/token/key.descriptor", root);
    write_text(queue_file, "access key");
    write_text(pin_file, "1234");
    write_text(key_file, "[key]");
    write_text(socket_path, "");
    return 0;
}

static int drop_folders(void **state)
{
    static const char *const names[] = {"queue/credentials",
                                        "queue/new",
                                        "token/pin",
                                        "token/key.descriptor",
                                        "run/status.sock",
                                        "queue",
                                        "token",
                                        "run",
                                        ""};
    char path[160];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", root, names[i]);
        (void)!remove(path);
    }
    return 0;
}

static bool enter(enum sandbox_rule rule, struct sandbox_report *report, struct error *err)
{
    static struct config *config; /* owns what the rules are made of */
    char text[1024];
    snprintf(text, sizeof text,
             "[queue]\ncredentials = %s\n[connector]\nstatus_socket = %s\n[token]\npin = file:%s\n"
             "descriptor = %s\n",
             queue_file, socket_path, pin_file, key_file);
    struct bytes content = {(const uint8_t *)text, strlen(text)};
    bool ok = config_parse("/etc/reseal/reseal.conf", content, reseal_settings, &config, err) &&
              sandbox_enter(config, rule, report, err);
    config_free(&config);
    return ok;
}

/* Runs the test in a child that has shut itself in; it gives the number of what was wrong, or 0. */
static void shut_in(int (*test)(void))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sandbox_report report;
        struct error err = ERROR_INIT;
        if (!enter(SANDBOX_REQUIRE, &report, &err)) {
            fprintf(stderr, "%s\n", err.text);
            _exit(120);
        }
        _exit(test());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool can_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int try_files(void)
{
    char path[160];
    if (can_open(pin_file, O_RDONLY) || errno != EACCES)
        return 1;
    if (!can_open(queue_file, O_RDONLY) || !can_open(key_file, O_RDONLY) ||
        can_open(key_file, O_WRONLY))
        return 2;
    if (can_open(queue_file, O_WRONLY))
        return 3;
    snprintf(path, sizeof path, "%s/queue/new", root);
    if (can_open(path, O_WRONLY | O_CREAT) || truncate(queue_file, 0) == 0)
        return 4;
    snprintf(path, sizeof path, "%s/token", root);
    if (can_open(path, O_RDONLY | O_DIRECTORY))
        return 5;
    snprintf(path, sizeof path, "%s/queue/../token/pin", root);
    if (can_open(path, O_RDONLY))
        return 6;
    snprintf(path, sizeof path, "%s/queue/link", root);
    if (link(pin_file, path) == 0 || rename(pin_file, path) == 0 || symlink(pin_file, path) == 0 ||
        unlink(queue_file) == 0 || unlink(socket_path) == 0)
        return 7;
    if (!can_open("/etc/passwd", O_RDONLY) || !can_open("/dev/null", O_RDWR))
        return 8;
    snprintf(path, sizeof path, "file:%s", pin_file);
    if (sandbox_leaves(path) || sandbox_leaves("fd:0") || sandbox_leaves("file:/dev/null"))
        return 10;
    snprintf(path, sizeof path, "file:%s", queue_file);
    if (!sandbox_leaves(path))
        return 11;
    if (can_open("/etc/reseal-sandbox", O_WRONLY | O_CREAT) || can_open("/root", O_RDONLY) ||
        can_open("/var/lib", O_RDONLY) || can_open("/home", O_RDONLY) ||
        can_open("/usr/bin", O_RDONLY))
        return 9;
    return 0;
}

/* What Landlock leaves out, by seccomp: each must be refused as such. */
static int try_calls(void)
{
    const struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    char byte;
    struct iovec here = {&byte, 1}, there = {&byte, 1};
    struct {
        long done;
        int number;
    } calls[] = {
#define CALL(call) {(call), errno}
        CALL(chmod(pin_file, 0644)),
        CALL(chown(pin_file, 1, 1)),
        CALL(truncate(queue_file, 0)),
        CALL(truncate(pin_file, 0)),
        CALL(utimensat(AT_FDCWD, pin_file, now, 0)),
        CALL(setxattr(pin_file, "user.x", "y", 1, 0)),
        CALL(mknod(socket_path, S_IFIFO, 0)),
        CALL(syscall(SYS_execveat, -1, "", NULL, NULL, 0)),
        CALL(syscall(SYS_execve, "/usr/bin/true", NULL, NULL)),
        CALL(process_vm_readv(getppid(), &here, 1, &there, 1, 0)),
        CALL(syscall(SYS_shmget, 0x1234, 4096, 0600)),
        CALL(syscall(SYS_unshare, 0)),
        CALL(syscall(SYS_mount, "", "", "", 0, NULL)),
        CALL(syscall(SYS_keyctl, 0, 0, 0, 0, 0)),
        CALL(syscall(SYS_bpf, 0, NULL, 0)),
        CALL(syscall(SYS_io_uring_setup, 1, NULL)),
        CALL(ioctl(STDIN_FILENO, TIOCSTI, "x")),
    };
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        if (calls[i].done != -1 || calls[i].number != EPERM)
            return (int)i + 1;
    }
    int caller = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (caller >= 0)
        close(caller);
    return caller < 0 && errno == EAFNOSUPPORT ? 0 : 100;
}

static void calls_that_go_past_landlock_fail(void **state)
{
    (void)state;
    shut_in(try_calls);
}

/* Access keys that are handed over by a link, as secrets are by some managers. */
static int try_link(void)
{
    return can_open(queue_file, O_RDONLY) ? 0 : 1;
}

static void what_a_link_leads_to_can_be_read(void **state)
{
    char elsewhere[160], folder[128];
    (void)state;
    snprintf(folder, sizeof folder, "%s/vault", root);
    snprintf(elsewhere, sizeof elsewhere, "%s/vault/real", root);
    assert_int_equal(mkdir(folder, 0700), 0);
    write_text(elsewhere, "access key");
    assert_int_equal(unlink(queue_file), 0);
    assert_int_equal(symlink(elsewhere, queue_file), 0);
    shut_in(try_link);
    unlink(elsewhere);
    rmdir(folder);
}

static void a_file_in_the_root_folder_is_refused(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sandbox_report report;
        struct error err = ERROR_INIT;
        snprintf(queue_file, sizeof queue_file, "/access-keys");
        _exit(!enter(SANDBOX_AUTO, &report, &err) && err.kind == FAIL_USAGE ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void of_files_only_those_of_queue_and_system_can_be_read(void **state)
{
    (void)state;
    shut_in(try_files);
}

/* A file that is put in the place of the old one, as access keys are rotated. */
static int try_rotation(void)
{
    for (int tries = 0; tries < 2000; tries++) {
        char text[32] = "";
        int fd = open(queue_file, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
            return 1;
        close(fd);
        if (strcmp(text, "rotated") == 0)
            return 0;
        usleep(5000);
    }
    return 2;
}

static void a_file_that_is_replaced_can_be_read_again(void **state)
{
    char fresh[160];
    (void)state;
    snprintf(fresh, sizeof fresh, "%s/queue/new", root);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        usleep(300000);
        FILE *file = fopen(fresh, "w");
        bool ok = file != NULL && fputs("rotated", file) >= 0;
        ok = file != NULL && fclose(file) == 0 && ok && rename(fresh, queue_file) == 0;
        _exit(ok ? 0 : 1);
    }
    shut_in(try_rotation);
    waitpid(pid, NULL, 0);
}

static int try_programs(void)
{
    char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    execv("/bin/true", argv);
    int plain = errno;
    execv("/usr/bin/true", argv);
    return plain == EPERM ? 0 : 1; /* by seccomp, which is asked first */
}

static void no_program_can_be_started(void **state)
{
    (void)state;
    shut_in(try_programs);
}

static int try_processes(void)
{
    char byte, path[64];
    struct iovec here = {&byte, 1}, there = {&byte, 1};
    if (process_vm_readv(getppid(), &here, 1, &there, 1, 0) >= 0)
        return 1;
    if (ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) == 0)
        return 2;
    snprintf(path, sizeof path, "/proc/%d/mem", (int)getppid());
#ifndef RESEAL_SANITIZED /* which look into /proc themselves */
    if (can_open(path, O_RDONLY))
        return 3;
    snprintf(path, sizeof path, "/proc/%d/environ", (int)getppid());
    if (can_open(path, O_RDONLY))
        return 4;
#endif
    return 0;
}

static void no_other_process_can_be_looked_into(void **state)
{
    (void)state;
    shut_in(try_processes);
}

static int try_work(void)
{
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", "80", NULL, &found) != 0)
        return 1;
    freeaddrinfo(found);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 2;
    close(fd);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return 3;
    pid_t pid = fork();
    if (pid < 0)
        return 4;
    if (pid == 0)
        _exit(0);
    return waitpid(pid, NULL, 0) == pid ? 0 : 5;
}

static void what_the_connector_does_all_day_works(void **state)
{
    (void)state;
    shut_in(try_work);
}

static void the_report_says_what_is_in_force(void **state)
{
    (void)state;
    struct sandbox_report report;
    struct error err = ERROR_INIT;
    assert_ok(enter(SANDBOX_OFF, &report, &err), &err);
    assert_string_equal(sandbox_text(&report), "none");
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool ok = enter(SANDBOX_AUTO, &report, &err);
        _exit(ok && strcmp(sandbox_text(&report), "landlock and seccomp") == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(of_files_only_those_of_queue_and_system_can_be_read,
                                        make_folders, drop_folders),
        cmocka_unit_test_setup_teardown(a_file_that_is_replaced_can_be_read_again, make_folders,
                                        drop_folders),
        cmocka_unit_test_setup_teardown(calls_that_go_past_landlock_fail, make_folders,
                                        drop_folders),
        cmocka_unit_test_setup_teardown(what_a_link_leads_to_can_be_read, make_folders,
                                        drop_folders),
        cmocka_unit_test_setup_teardown(a_file_in_the_root_folder_is_refused, make_folders,
                                        drop_folders),
        cmocka_unit_test_setup_teardown(no_program_can_be_started, make_folders, drop_folders),
        cmocka_unit_test_setup_teardown(no_other_process_can_be_looked_into, make_folders,
                                        drop_folders),
        cmocka_unit_test_setup_teardown(what_the_connector_does_all_day_works, make_folders,
                                        drop_folders),
        cmocka_unit_test_setup_teardown(the_report_says_what_is_in_force, make_folders,
                                        drop_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
