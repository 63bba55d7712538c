/* SPDX-License-Identifier: Apache-2.0 */
/* Root reads everything, and so would not see what the service cannot read. */
#define _GNU_SOURCE /* setresuid */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "doctor.h"
#include "reseal/key_descriptor.h"

#define SERVICE_USER "reseal" /* User= of reseald.service */
#define ENTRY_MAX    4096     /* bytes of his line in the list of users */
#define GROUPS_MAX   64

struct reader {
    struct doctor *doctor;
    uid_t user;
    gid_t group, groups[GROUPS_MAX];
    int group_count;
    bool all_read; /* so far */
};

static bool find_user(struct reader *reader)
{
    struct passwd entry, *user = NULL;
    char text[ENTRY_MAX];
    if (getpwnam_r(SERVICE_USER, &entry, text, sizeof text, &user) != 0 || user == NULL)
        return false;
    reader->user = entry.pw_uid;
    reader->group = entry.pw_gid;
    reader->group_count = GROUPS_MAX;
    if (getgrouplist(SERVICE_USER, entry.pw_gid, reader->groups, &reader->group_count) < 0)
        reader->group_count = GROUPS_MAX;
    return true;
}

enum answer {
    ANSWER_READS, /* or is missing, which is told where it is examined */
    ANSWER_REFUSED,
    ANSWER_NONE,
};

/* Asked of the kernel, by a process that is that user: folders on the way and access lists count.
 */
static enum answer ask(const struct reader *reader, const char *path)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        if (setgroups((size_t)reader->group_count, reader->groups) != 0 ||
            setresgid(reader->group, reader->group, reader->group) != 0 ||
            setresuid(reader->user, reader->user, reader->user) != 0)
            _exit(ANSWER_NONE);
        _exit(access(path, R_OK) != 0 && errno == EACCES ? ANSWER_REFUSED : ANSWER_READS);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return ANSWER_NONE;
    return (enum answer)WEXITSTATUS(status);
}

/* `section` NULL: the configuration itself. */
static void judge(struct reader *reader, const char *section, const char *name, const char *path)
{
    enum answer answer = ask(reader, path);
    reader->all_read = reader->all_read && answer == ANSWER_READS;
    if (answer != ANSWER_REFUSED)
        return;
    char what[128] = "the configuration";
    if (section != NULL)
        snprintf(what, sizeof what, "[%s] %s", section, name);
    doctor_say(reader->doctor, DOCTOR_CONFIG, MARK_WARNING,
               "give it to that user, or to a group of his, and let him into the folders on the "
               "way; a group can also be given to the unit (SupplementaryGroups=)",
               "the user " SERVICE_USER ", as whom reseald.service runs, cannot read %s (%s)", path,
               what);
}

static void judge_listed(struct reader *reader, const char *section, const char *name)
{
    const struct config *config = reader->doctor->config;
    for (size_t i = 0; i < config_list_count(config, section, name); i++) {
        struct error ignored = ERROR_INIT; /* told where the descriptors are examined */
        char path[PATH_MAX];
        if (key_descriptor_path(config, config_list_at(config, section, name, i), path, sizeof path,
                                &ignored))
            judge(reader, section, name, path);
    }
}

static void judge_section(struct reader *reader, const char *section)
{
    static const char file[] = "file:";
    size_t count = 0;
    const struct config_key *rows = config_section_rows(reader->doctor->config, section, &count);
    for (size_t i = 0; i < count; i++) {
        const char *name = rows[i].name;
        /* One is executed, the other is made by the service. */
        if (strcmp(name, "helper") == 0 || strcmp(name, "status_socket") == 0)
            continue;
        if (strcmp(name, "descriptor") == 0) {
            judge_listed(reader, section, name);
            continue;
        }
        if (rows[i].type != CONFIG_PATH && rows[i].type != CONFIG_SECRET)
            continue;
        const char *value = config_text(reader->doctor->config, section, name);
        if (value != NULL && rows[i].type == CONFIG_PATH)
            judge(reader, section, name, value);
        else if (value != NULL && strncmp(value, file, sizeof file - 1) == 0)
            judge(reader, section, name, value + sizeof file - 1);
    }
}

void doctor_access(struct doctor *doctor)
{
    struct reader reader = {.doctor = doctor, .all_read = true};
    const char *section;
    if (geteuid() != 0 || !config_given(doctor->config, "connector", "device_ca") ||
        !find_user(&reader))
        return;
    judge(&reader, NULL, NULL, config_path(doctor->config));
    for (size_t i = 0; (section = settings_token_section(doctor->config, i)) != NULL; i++)
        judge_section(&reader, section);
    judge_section(&reader, "connector");
    judge_section(&reader, "queue");
    if (reader.all_read)
        doctor_say(doctor, DOCTOR_CONFIG, MARK_OK, NULL,
                   "the user " SERVICE_USER " can read what the connector reads");
}
