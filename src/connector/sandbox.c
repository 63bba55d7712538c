/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* O_PATH */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "reseal/key_descriptor.h"
#include "reseal/secret.h"
#include "reseal/settings.h"

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE /* Linux 6.2 */
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define READ       (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define OF_FILES   (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define FIRST_ABI  ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* all rights of its first version */
#define PATH_BYTES PATH_MAX

/* Resolving names, TLS, and libraries that the C library loads when it first needs them. */
static const struct {
    const char *path;
    uint64_t rights;
} of_system[] = {
    {"/etc", READ},
    {"/usr/lib", READ},
    {"/usr/lib64", READ},
    {"/usr/share", READ},
    {"/usr/local/share/ca-certificates", READ},
    {"/var/lib/ca-certificates", READ},
    {"/lib", READ},
    {"/lib64", READ},
    {"/run/systemd/resolve", READ},
    {"/run/NetworkManager", READ},
    {"/run/resolvconf", READ},
    {"/run/connman", READ},
    {"/run/netconfig", READ},
    {"/dev/null", OF_FILES},
    {"/dev/urandom", READ},
#ifdef RESEAL_SANITIZED
    {"/proc", READ}, /* the sanitizers look there at the end */
#endif
};

/* Files that are read again when they are replaced: so the folder is opened, not the file. */
static const char *const of_queue[] = {"credentials", "ca_file", "client_certificate", "client_key",
                                       "proxy_credentials"};

static const char *const no_calls[] = {
    /* programs */
    "execve", "execveat",
    /* other processes */
    "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "perf_event_open",
#ifndef RESEAL_SANITIZED
    "ptrace",
#endif
    /* files, which Landlock does not look after, or not in its first versions */
    "truncate", "truncate64", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "chown32",
    "fchown", "fchown32", "lchown", "lchown32", "fchownat", "setxattr", "lsetxattr", "fsetxattr",
    "removexattr", "lremovexattr", "fremovexattr", "utime", "utimes", "utimensat", "futimesat",
    "utimensat_time64", "mknod", "mknodat",
    /* memory and queues that tokens' daemons share */
    "shmget", "shmat", "semget", "msgget", "mq_open",
    /* the kernel's rarer parts */
    "bpf", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl",
    "add_key", "request_key", "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount",
    "fspick", "mount_setattr", "pivot_root", "chroot", "unshare", "setns", "open_by_handle_at",
    "name_to_handle_at", "fanotify_init", "init_module", "finit_module", "delete_module",
    "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "quotactl", "acct",
    "lookup_dcookie", "vmsplice"};

/* Daemons of tokens and buses listen on UNIX sockets; our own was made before, and pairs are made
 * by another call. Name services that are asked that way are passed over: /etc/nsswitch.conf has
 * others. */
static const int no_families[] = {AF_UNIX, AF_PACKET, AF_ALG,  AF_VSOCK, AF_BLUETOOTH,
                                  AF_CAN,  AF_TIPC,   AF_KEY,  AF_RDS,   AF_NFC,
                                  AF_AX25, AF_X25,    AF_CAIF, AF_IB,    AF_XDP};

/* Characters that a terminal takes for typed ones. */
static const unsigned long no_ioctls[] = {TIOCSTI, TIOCLINUX};

enum sandbox_rule sandbox_rule_of(const char *name)
{
    if (strcmp(name, "require") == 0)
        return SANDBOX_REQUIRE;
    return strcmp(name, "off") == 0 ? SANDBOX_OFF : SANDBOX_AUTO;
}

const char *sandbox_text(const struct sandbox_report *report)
{
    if (report->landlock > 0)
        return report->seccomp ? "landlock and seccomp" : "landlock alone";
    return report->seccomp ? "seccomp alone" : "none";
}

/* -- Landlock (landlock(7)) -- */

static bool allow(int rules, const char *path, uint64_t rights, struct error *err)
{
    struct stat st;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
        return true; /* nothing there that we read */
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_errno(err, FAIL_IO, "cannot look at %s", path);
        if (fd >= 0)
            close(fd);
        return false;
    }
    const struct landlock_path_beneath_attr rule = {
        .allowed_access = S_ISDIR(st.st_mode) ? rights : rights & OF_FILES, .parent_fd = fd};
    long added = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    if (added != 0)
        error_errno(err, FAIL_IO, "Landlock does not take a rule for %s", path);
    close(fd);
    return added == 0;
}

static bool allow_folder(int rules, const char *path, struct error *err)
{
    char folder[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return true;
    if (slash == path) {
        error_set(err, FAIL_USAGE, "%s lies in the root folder, and all below it could be read",
                  path);
        return error_hint(err,
                          "keep it in a folder of its own, or set sandbox = off in [connector]");
    }
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    return allow(rules, folder, READ, err);
}

/* The folder that it is named in, and the one that it is in, where links lead there. What systemd
 * hands over stays as it is: of that the one file, for the PIN may be beside it. */
static bool allow_file(int rules, const char *path, struct error *err)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    size_t len = credentials != NULL ? strlen(credentials) : 0;
    if (len > 0 && strncmp(path, credentials, len) == 0 && path[len] == '/')
        return allow(rules, path, READ, err);
    char *real = realpath(path, NULL);
    bool ok = allow_folder(rules, path, err) && (real == NULL || allow_folder(rules, real, err));
    free(real);
    return ok;
}

static bool allow_configured(int rules, const struct config *config, struct error *err)
{
    for (size_t i = 0; i < sizeof of_queue / sizeof of_queue[0]; i++) {
        const char *value = config_text(config, "queue", of_queue[i]);
        const char *folder = getenv("CREDENTIALS_DIRECTORY");
        char path[PATH_BYTES] = "";
        if (value != NULL && strncmp(value, "file:", 5) == 0)
            snprintf(path, sizeof path, "%s", value + 5);
        else if (value != NULL && strncmp(value, "credential:", 11) == 0 && folder != NULL)
            snprintf(path, sizeof path, "%s/%s", folder, value + 11);
        else if (value != NULL && value[0] == '/')
            snprintf(path, sizeof path, "%s", value);
        if (path[0] != '\0' && !allow_file(rules, path, err))
            return false;
    }
    return true;
}

/* Looked at again when a helper serves a key no more: these files, not their folders, which may be
 * the token's. */
static bool allow_key_descriptors(int rules, const struct config *config, struct error *err)
{
    for (size_t i = 0; i < settings_token_count(config); i++) {
        const char *section = settings_token_section(config, i);
        for (size_t j = 0; j < config_list_count(config, section, "descriptor"); j++) {
            char path[PATH_BYTES];
            if (!key_descriptor_path(config, config_list_at(config, section, "descriptor", j), path,
                                     sizeof path, err) ||
                !allow(rules, path, READ, err))
                return false;
        }
    }
    return true;
}

static bool allow_all(int rules, const struct config *config, struct error *err)
{
    /* These two are links on some systems. */
    if (!allow_file(rules, "/etc/resolv.conf", err) ||
        !allow_file(rules, "/etc/ssl/certs/ca-certificates.crt", err))
        return false;
    for (size_t i = 0; i < sizeof of_system / sizeof of_system[0]; i++) {
        if (!allow(rules, of_system[i].path, of_system[i].rights, err))
            return false;
    }
    return allow_configured(rules, config, err) && allow_key_descriptors(rules, config, err);
}

static bool enter_landlock(const struct config *config, struct sandbox_report *report,
                           struct error *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return error_set(err, FAIL_UNSUPPORTED,
                         "this kernel has no Landlock, or it is switched off");
    struct landlock_ruleset_attr handled = {.handled_access_fs = FIRST_ABI};
    if (version >= 2)
        handled.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        handled.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
    int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    if (rules < 0)
        return error_errno(err, FAIL_UNSUPPORTED, "Landlock gives no set of rules");
    bool ok = allow_all(rules, config, err);
    if (ok && syscall(SYS_landlock_restrict_self, rules, 0) != 0)
        ok = error_errno(err, FAIL_UNSUPPORTED, "Landlock does not begin");
    close(rules);
    if (ok)
        report->landlock = (int)version;
    return ok;
}

/* -- seccomp (seccomp(2)) -- */

static bool enter_seccomp(struct sandbox_report *report, struct error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int status = filter != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; status == 0 && i < sizeof no_calls / sizeof no_calls[0]; i++) {
        int number = seccomp_syscall_resolve_name(no_calls[i]);
        if (number != __NR_SCMP_ERROR) /* known to this libseccomp */
            status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
    }
    for (size_t i = 0; status == 0 && i < sizeof no_families / sizeof no_families[0]; i++)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)no_families[i]));
    for (size_t i = 0; status == 0 && i < sizeof no_ioctls / sizeof no_ioctls[0]; i++)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffU, no_ioctls[i]));
    if (status == 0)
        status = seccomp_load(filter);
    if (filter != NULL)
        seccomp_release(filter);
    if (status != 0) {
        errno = -status;
        return error_errno(err, FAIL_UNSUPPORTED, "seccomp does not begin");
    }
    report->seccomp = true;
    return true;
}

bool sandbox_enter(const struct config *config, enum sandbox_rule rule,
                   struct sandbox_report *report, struct error *err)
{
    *report = (struct sandbox_report){.landlock = 0};
    if (rule == SANDBOX_OFF)
        return true;
    struct error files = ERROR_INIT, calls = ERROR_INIT;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return error_errno(err, FAIL_IO, "cannot give up new privileges");
    bool ok = enter_landlock(config, report, &files);
    ok = enter_seccomp(report, &calls) && ok;
    if (ok)
        return true;
    const struct error *why = report->landlock == 0 ? &files : &calls;
    snprintf(report->trouble, sizeof report->trouble, "%.110s", why->text);
    if (rule == SANDBOX_AUTO && why->kind == FAIL_UNSUPPORTED)
        return true;
    *err = *why;
    return error_hint(err,
                      "with sandbox = auto in [connector] reseald does without what the kernel "
                      "does not do");
}

bool sandbox_leaves(const char *source)
{
    char path[PATH_BYTES];
    struct stat st;
    int fd = secret_source_path(source, path, sizeof path)
                 ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
                 : -1;
    bool left = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (fd >= 0)
        close(fd);
    return left;
}
