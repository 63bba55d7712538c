/* SPDX-License-Identifier: Apache-2.0 */
/*
 * helper_job: one job for reseal-hsm, with text around the password, given as a connector would.
 *
 * Says "ready PID" when the helper serves; sends the job when a line comes; says "resealed CUSTODY"
 * with the CMS message in --out, or "failed WHY"; ends the helper when its own input ends.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "reseal/file.h"
#include "reseal/frame.h"
#include "reseal/helper_message.h"

struct options {
    const char *helper, *config, *key, *padding, *sealed, *certificate, *prefix, *suffix, *out;
};

static bool parse(int argc, char **argv, struct options *out)
{
    static const char *const names[] = {"helper",      "config", "key",    "padding", "sealed",
                                        "certificate", "prefix", "suffix", "out"};
    const char **const places[] = {&out->helper,  &out->config, &out->key,
                                   &out->padding, &out->sealed, &out->certificate,
                                   &out->prefix,  &out->suffix, &out->out};
    struct option options[ARRAY_LEN(names) + 1] = {{NULL, 0, NULL, 0}};
    int option, index = 0;
    *out = (struct options){NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        options[i] = (struct option){names[i], required_argument, NULL, 'x'};
    while ((option = getopt_long(argc, argv, "", options, &index)) == 'x')
        *places[index] = optarg;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (*places[i] == NULL)
            return false;
    }
    return option == -1 && optind == argc;
}

static bool start_helper(const struct options *options, pid_t *pid, struct frame_channel **channel,
                         struct error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 || (*pid = fork()) < 0)
        return error_errno(err, FAIL_IO, "cannot start the helper");
    if (*pid == 0) {
        /* By way of another number: dup2 onto itself would leave close-on-exec set. */
        int spare = dup(ends[1]);
        if (spare >= 0 && dup2(spare, HELPER_FD) == HELPER_FD)
            execl(options->helper, "reseal-hsm", "--config", options->config, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    return frame_channel_new(ends[0], HELPER_BODY_MAX, channel, err);
}

static bool next_frame(struct frame_channel *channel, struct frame *out, struct error *err)
{
    bool ended = false, found = false;
    for (;;) {
        if (!frame_next(channel, out, &found, err))
            return false;
        if (found)
            return true;
        if (ended)
            return error_set(err, FAIL_REMOTE, "the helper is gone");
        if (!frame_receive(channel, &ended, err))
            return false;
    }
}

static bool wait_ready(struct frame_channel *channel, struct error *err)
{
    static struct hello_message hello; /* large */
    struct frame frame;
    do {
        if (!next_frame(channel, &frame, err))
            return false;
    } while (frame.type == HELPER_LOGGING_IN);
    if (frame.type != HELPER_HELLO || !hello_decode(frame.body, &hello, err))
        return error_set(err, FAIL_INPUT, "no HELLO came");
    if (!hello.ready)
        *err = hello.error;
    return hello.ready;
}

static bool send_job(const struct options *options, struct frame_channel *channel,
                     struct error *err)
{
    bool ok = false;
    struct buf sealed = BUF_INIT(RECORD_SEALED_MAX), certificate = BUF_INIT(DEVICE_CERTIFICATE_MAX),
               prefix = BUF_INIT(HELPER_AFFIX_MAX), suffix = BUF_INIT(HELPER_AFFIX_MAX),
               body = BUF_INIT(HELPER_BODY_MAX);
    struct reseal_message message = {.transport = KEY_TRANSPORT_PKCS1};
    if (!padding_parse(options->padding, &message.padding, err) ||
        !file_read(options->sealed, &sealed, err) ||
        !file_read(options->certificate, &certificate, err) ||
        !file_read(options->prefix, &prefix, err) || !file_read(options->suffix, &suffix, err))
        goto done;
    snprintf(message.key_name, sizeof message.key_name, "%s", options->key);
    message.sealed = buf_bytes(&sealed);
    message.device_certificate = buf_bytes(&certificate);
    message.prefix = buf_bytes(&prefix);
    message.suffix = buf_bytes(&suffix);
    ok = reseal_encode(&message, &body, err) &&
         frame_queue(channel, 1, HELPER_RESEAL, buf_bytes(&body), err) && frame_flush(channel, err);
done:
    buf_free(&sealed);
    buf_free(&certificate);
    buf_free(&prefix);
    buf_free(&suffix);
    buf_free(&body);
    return ok;
}

static bool take_answer(const struct options *options, struct frame_channel *channel,
                        struct error *err)
{
    struct frame frame;
    struct resealed_message message = {0};
    struct error failure = ERROR_INIT;
    if (!next_frame(channel, &frame, err))
        return false;
    if (frame.type == HELPER_FAILED && failed_decode(frame.body, &failure, err)) {
        *err = failure;
        return false;
    }
    if (frame.type != HELPER_RESEALED || !resealed_decode(frame.body, &message, err) ||
        !file_write(options->out, 0600, FILE_REPLACE, message.der, err))
        return false;
    printf("resealed %s\n", custody_name(message.custody));
    return true;
}

static void wait_line(void)
{
    int c;
    fflush(stdout);
    while ((c = getchar()) != '\n' && c != EOF)
        ;
}

int main(int argc, char **argv)
{
    struct options options;
    struct error err = ERROR_INIT;
    struct frame_channel *channel = NULL;
    pid_t pid = -1;
    int status = 0;
    if (!parse(argc, argv, &options)) {
        fputs("helper_job wants all of its options\n", stderr);
        return 2;
    }
    bool ok = start_helper(&options, &pid, &channel, &err) && wait_ready(channel, &err);
    if (ok) {
        printf("ready %ld\n", (long)pid);
        wait_line();
        ok = send_job(&options, channel, &err) && take_answer(&options, channel, &err);
    }
    if (!ok)
        printf("failed %s\n", err.text);
    wait_line();
    frame_channel_free(&channel);
    if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 0))
        ok = false;
    return ok ? 0 : 1;
}
