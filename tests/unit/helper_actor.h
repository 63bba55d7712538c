/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token helper that misbehaves as told, for tests of its supervision: a test program starts
 * itself as the helper. What it is told stands in the file that the connector passes as the
 * configuration, in a comment "# actor: WORD" for every token, or "# actor NAME: WORD" for one; a
 * file
 * "<configuration>.starts" counts its starts, and "<configuration>.NAME.starts" those of [token
 * NAME]. "<configuration>.trace" has a line for each start ("start N") and each rule about logins
 * that it was told ("rule N R", of the N-th start). It has the key ACTOR_KEY, or what lines "# key
 * NAME: LABEL LETTER" say, where keys with one letter are one public key.
 */
#ifndef TEST_HELPER_ACTOR_H
#define TEST_HELPER_ACTOR_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/frame.h"
#include "reseal/helper_message.h"

#define ACTOR_KEY     "sealing-1"
#define ACTOR_KEYS    4
#define ACTOR_SLOW_MS 600 /* for one job of "slow"; it hears and answers all else meanwhile */

struct actor {
    struct frame_channel *channel;
    const char *token;
    char word[64];
    const char *config;
    char away[4300];   /* while this file exists, the token of "token-away" is away */
    unsigned start;    /* 1: the first */
    unsigned jobs;     /* taken by this process */
    unsigned asked;    /* for its status */
    uint32_t slow[64]; /* "slow": jobs that wait for their time, one after the other */
    size_t slow_count;
    int64_t slow_due_ms; /* of the first */
    struct {
        char label[64], letter;
    } keys[ACTOR_KEYS];
    size_t key_count;
};

static inline void actor_send(struct actor *actor, uint32_t number, uint16_t type,
                              const struct buf *body)
{
    struct error err = ERROR_INIT;
    if (!frame_queue(actor->channel, number, type, buf_bytes(body), &err) ||
        !frame_flush(actor->channel, &err))
        _exit(0);
}

static inline void actor_key(struct key_finding *key, const char *label, char letter,
                             enum custody custody)
{
    snprintf(key->name, sizeof key->name, "%s", label);
    key->bits = 2048;
    memset(key->fingerprint, letter, FINGERPRINT_TEXT - 1);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        key->paddings[i].padding = (enum padding)(PADDING_FIRST + i);
        key->paddings[i].custody = custody;
    }
}

static inline void actor_hello(struct actor *actor, enum failure refusal, enum custody custody)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct hello_message hello = {.ready = refusal == FAIL_NONE, .sessions = 2};
    if (refusal != FAIL_NONE)
        error_set(&hello.error, refusal, "the actor refuses");
    snprintf(hello.report.token.label, sizeof hello.report.token.label, "actor");
    hello.report.key_count = actor->key_count;
    for (size_t i = 0; i < actor->key_count; i++)
        actor_key(&hello.report.keys[i], actor->keys[i].label, actor->keys[i].letter, custody);
    if (!hello_encode(&hello, &body, &err))
        _exit(3);
    actor_send(actor, 0, HELPER_HELLO, &body);
    buf_free(&body);
}

static inline void actor_resealed(struct actor *actor, uint32_t number, enum custody custody)
{
    struct error err = ERROR_INIT;
    static uint8_t large[60000];
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct resealed_message message = {.custody = custody,
                                       .der = {(const uint8_t *)"0\3\2\1\0", 5}};
    if (strcmp(actor->word, "large") == 0) /* over what some queues take */
        message.der = (struct bytes){large, sizeof large};
    if (!resealed_encode(&message, &body, &err))
        _exit(3);
    actor_send(actor, number, HELPER_RESEALED, &body);
    buf_free(&body);
}

static inline void actor_failed(struct actor *actor, uint32_t number, enum failure kind)
{
    struct error err = ERROR_INIT, failure = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    error_set(&failure, kind, "the actor fails");
    if (!failed_encode(&failure, &body, &err))
        _exit(3);
    actor_send(actor, number, HELPER_FAILED, &body);
    buf_free(&body);
}

/* "<configuration>.what", or "<configuration>.NAME.what" for [token NAME]. */
static inline void actor_file(const char *path, const char *token, const char *what,
                              char out[static 4300])
{
    bool first = strcmp(token, "default") == 0;
    snprintf(out, 4300, "%s%s%s.%s", path, first ? "" : ".", first ? "" : token, what);
}

static inline void actor_trace(const struct actor *actor, const char *line)
{
    char name[4300];
    actor_file(actor->config, actor->token, "trace", name);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
        _exit(3);
    close(fd);
}

static inline bool actor_is(const struct actor *actor, const char *word)
{
    return strcmp(actor->word, word) == 0;
}

/* A job that the token fails on for ever. */
static inline bool actor_is_poison(const struct frame *frame)
{
    struct error err = ERROR_INIT;
    struct reseal_message message;
    return reseal_decode(frame->body, &message, &err) && message.sealed.len == 6 &&
           memcmp(message.sealed.data, "poison", 6) == 0;
}

/* As a real one, it knows the labels of its own token only. */
static inline bool actor_knows_key(const struct actor *actor, const struct frame *frame)
{
    struct error err = ERROR_INIT;
    struct reseal_message message;
    if (!reseal_decode(frame->body, &message, &err))
        return false;
    for (size_t i = 0; i < actor->key_count; i++) {
        if (strcmp(actor->keys[i].label, message.key_name) == 0)
            return true;
    }
    return false;
}

/* What it does with one job. */
static inline void actor_job(struct actor *actor, const struct frame *frame)
{
    bool first = actor->start == 1;
    actor->jobs++;
    if (!actor_knows_key(actor, frame)) {
        actor_failed(actor, frame->number, FAIL_NOT_FOUND);
        return;
    }
    if (actor_is(actor, "die-at-third") && first && actor->jobs == 3)
        raise(SIGKILL);
    if (actor_is(actor, "slow") && actor->slow_count < sizeof actor->slow / sizeof actor->slow[0]) {
        if (actor->slow_count == 0)
            actor->slow_due_ms = clock_monotonic_ms() + ACTOR_SLOW_MS;
        actor->slow[actor->slow_count++] = frame->number;
        return;
    }
    if (actor_is(actor, "hang") || (actor_is(actor, "hang-once") && first))
        return;
    if ((actor_is(actor, "first-dies") || actor_is(actor, "both-die")) && first && actor->jobs > 5)
        return; /* it dies with these in hand */
    if (actor_is(actor, "die") || (actor_is(actor, "die-once") && first))
        raise(SIGKILL);
    if (actor_is(actor, "wrong-number") && first)
        actor_resealed(actor, frame->number + 1000, CUSTODY_TOKEN);
    else if (actor_is(actor, "garbage") && first)
        actor_failed(actor, frame->number, (enum failure)77);
    else if (actor_is(actor, "hello-twice") && first)
        actor_hello(actor, FAIL_NONE, CUSTODY_TOKEN);
    else if (actor_is(actor, "weak-answer") && first)
        actor_resealed(actor, frame->number, CUSTODY_HOST);
    else if (actor_is(actor, "token-away") && access(actor->away, F_OK) == 0)
        actor_failed(actor, frame->number, FAIL_TOKEN);
    else if (actor_is(actor, "poison") && actor_is_poison(frame))
        actor_failed(actor, frame->number, FAIL_TOKEN);
    else if (actor_is(actor, "token-trouble-once") && first) {
        actor->start = 2;
        actor_failed(actor, frame->number, FAIL_TOKEN);
    } else if (actor_is(actor, "key-gone"))
        actor_failed(actor, frame->number, FAIL_NOT_FOUND);
    else if (actor_is(actor, "unsupported"))
        actor_failed(actor, frame->number, FAIL_UNSUPPORTED);
    else if (actor_is(actor, "neighbour") && first) /* the next number is another helper's */
        actor_resealed(actor, frame->number + 1, CUSTODY_TOKEN);
    else if (actor_is(actor, "pin-in-job"))
        actor_failed(actor, frame->number, FAIL_PIN);
    else if (actor_is(actor, "policy"))
        actor_failed(actor, frame->number, FAIL_POLICY);
    else if (actor_is(actor, "crypto"))
        actor_failed(actor, frame->number, FAIL_CRYPTO);
    else
        actor_resealed(actor, frame->number, CUSTODY_TOKEN);
}

/* "grow": a MiB at each question, the first process only. */
static inline void actor_status(struct actor *actor, uint32_t number)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    bool grows = actor_is(actor, "grow") && actor->start == 1;
    const struct status_message status = {.resident_kib =
                                              5000 + (grows ? 1024 * actor->asked++ : 0)};
    if (!status_encode(&status, &body, &err))
        _exit(3);
    actor_send(actor, number, HELPER_STATUS_IS, &body);
    buf_free(&body);
}

static inline void actor_login_rule(struct actor *actor, const struct frame *frame)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct login_message message;
    char line[32];
    if (!login_decode(frame->body, &message, &err))
        _exit(3);
    snprintf(line, sizeof line, "rule %u %u\n", actor->start, (unsigned)message.rule);
    actor_trace(actor, line);
    message.why.kind = FAIL_NONE;
    if (!login_encode(&message, &body, &err))
        _exit(3);
    actor_send(actor, frame->number, HELPER_LOGIN_IS, &body);
    buf_free(&body);
}

/* Waits for something to read, and does slow jobs whose time has come. */
static inline void actor_wait(struct actor *actor)
{
    struct pollfd fd = {.fd = frame_channel_fd(actor->channel), .events = POLLIN};
    for (;;) {
        int64_t wait_ms = actor->slow_due_ms - clock_monotonic_ms();
        if (actor->slow_count > 0 && wait_ms <= 0) {
            actor_resealed(actor, actor->slow[0], CUSTODY_TOKEN);
            memmove(actor->slow, actor->slow + 1, --actor->slow_count * sizeof actor->slow[0]);
            actor->slow_due_ms += ACTOR_SLOW_MS;
        } else if (poll(&fd, 1, actor->slow_count > 0 ? (int)wait_ms : -1) > 0) {
            return;
        }
    }
}

static inline void actor_serve(struct actor *actor)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    bool ended = false, found;
    for (;;) {
        actor_wait(actor);
        if (!frame_receive(actor->channel, &ended, &err) || ended)
            return;
        while (frame_next(actor->channel, &frame, &found, &err) && found) {
            if (frame.type == HELPER_STATUS)
                actor_status(actor, frame.number);
            else if (frame.type == HELPER_LOGIN)
                actor_login_rule(actor, &frame);
            else
                actor_job(actor, &frame);
        }
    }
}

/* Says that it logs in, and then comes to grief before its HELLO. */
static inline void actor_fail_in_login(struct actor *actor)
{
    const struct buf nothing = BUF_INIT(1);
    actor_send(actor, 0, HELPER_LOGGING_IN, &nothing);
    if (actor_is(actor, "exit-in-login"))
        _exit(0);
    if (actor_is(actor, "garbage-in-login"))
        actor_resealed(actor, 1, CUSTODY_TOKEN);
    raise(SIGKILL);
}

/* Deaths while the second helper starts beside the first one, in the middle of its login. */
static inline void actor_deaths(const struct actor *actor)
{
    char name[4300], text[32] = "";
    const struct timespec pause = {.tv_nsec = 5000000};
    bool both = actor_is(actor, "both-die");
    actor_file(actor->config, actor->token, "pid", name);
    if (actor->start == 1) {
        FILE *file = fopen(name, "w");
        if (file == NULL || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file) != 0)
            _exit(3);
    }
    if (actor->start != 2)
        return;
    if (both || actor_is(actor, "first-dies")) {
        FILE *file = fopen(name, "r");
        if (file == NULL || fgets(text, sizeof text, file) == NULL || fclose(file) != 0)
            _exit(3);
        while (kill((pid_t)atoi(text), SIGKILL) == 0) /* until it is collected */
            nanosleep(&pause, NULL);
    }
    if (both || actor_is(actor, "second-dies"))
        raise(SIGKILL);
}

static inline void actor_greet(struct actor *actor)
{
    const struct buf nothing = BUF_INIT(1);
    const struct timespec slow = {.tv_sec = 1};
    if (actor_is(actor, "die-at-third") && actor->start > 1)
        nanosleep(&slow, NULL);
    if (actor_is(actor, "die-in-login") || actor_is(actor, "exit-in-login") ||
        actor_is(actor, "garbage-in-login") ||
        (actor_is(actor, "die-in-login-later") && actor->start > 1))
        actor_fail_in_login(actor);
    actor_send(actor, 0, HELPER_LOGGING_IN, &nothing);
    actor_deaths(actor);
    if (actor_is(actor, "refuse-pin"))
        actor_hello(actor, FAIL_PIN, CUSTODY_TOKEN);
    else if (actor_is(actor, "refuse-token-once") && actor->start == 1)
        actor_hello(actor, FAIL_TOKEN, CUSTODY_TOKEN);
    else if ((actor_is(actor, "pin-later") || actor_is(actor, "pin-for-first-only")) &&
             actor->start > 1)
        actor_hello(actor, FAIL_PIN, CUSTODY_TOKEN);
    else if (actor_is(actor, "refuse-token") ||
             (actor_is(actor, "second-refuses") && actor->start == 2))
        actor_hello(actor, FAIL_TOKEN, CUSTODY_TOKEN);
    else if (actor_is(actor, "absent"))
        actor_hello(actor, FAIL_NOT_FOUND, CUSTODY_TOKEN);
    else if (actor_is(actor, "host"))
        actor_hello(actor, FAIL_NONE, CUSTODY_HOST);
    else if (actor_is(actor, "exit"))
        _exit(9);
    else
        actor_hello(actor, FAIL_NONE, CUSTODY_TOKEN);
    if (actor_is(actor, "refuse-pin"))
        _exit(4);
    if ((actor_is(actor, "pin-later") || actor_is(actor, "die-in-login-later")) &&
        actor->start == 1)
        raise(SIGKILL);
}

static inline unsigned actor_starts_of(const char *path, const char *token)
{
    char name[4300], text[64] = "";
    actor_file(path, token, "starts", name);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) < 0)
        text[0] = '\0';
    close(fd);
    return (unsigned)strlen(text);
}

static inline unsigned actor_starts(const char *path)
{
    return actor_starts_of(path, "default");
}

static inline void actor_count_start(const char *path, const char *token)
{
    char name[4300];
    actor_file(path, token, "starts", name);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1)
        _exit(3);
    close(fd);
}

static inline void actor_read_keys(struct actor *actor, const char *line)
{
    char name[64], label[64], letter;
    if (sscanf(line, "# key %63[^:]: %63s %c", name, label, &letter) != 3 ||
        strcmp(name, actor->token) != 0 || actor->key_count == ACTOR_KEYS)
        return;
    snprintf(actor->keys[actor->key_count].label, sizeof label, "%s", label);
    actor->keys[actor->key_count++].letter = letter;
}

static inline void actor_read_script(struct actor *actor, const char *path)
{
    char line[256], name[64], word[64];
    bool named = false;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        actor_read_keys(actor, line);
        if (sscanf(line, "# actor %63[^:]: %63s", name, word) == 2 &&
            strcmp(name, actor->token) == 0) {
            snprintf(actor->word, sizeof actor->word, "%s", word);
            named = true;
        } else if (!named) {
            (void)!sscanf(line, "# actor: %63s", actor->word);
        }
    }
    if (file != NULL)
        fclose(file);
    if (actor->key_count > 0)
        return;
    snprintf(actor->keys[0].label, sizeof actor->keys[0].label, ACTOR_KEY);
    actor->keys[0].letter = 'a';
    actor->key_count = 1;
}

/* To be called first in main; does not come back where this process is the helper. */
static inline void actor_main(int argc, char **argv)
{
    struct actor actor = {0};
    struct error err = ERROR_INIT;
    if (argc != 5 || strcmp(argv[1], "--config") != 0 || strcmp(argv[3], "--token") != 0)
        return;
    actor.token = argv[4];
    actor_count_start(argv[2], actor.token);
    actor.start = actor_starts_of(argv[2], actor.token);
    actor.config = argv[2];
    char line[32];
    snprintf(line, sizeof line, "start %u\n", actor.start);
    actor_trace(&actor, line);
    actor_file(argv[2], actor.token, "away", actor.away);
    actor_read_script(&actor, argv[2]);
    if (!frame_channel_new(HELPER_FD, HELPER_BODY_MAX, &actor.channel, &err))
        _exit(3);
    actor_greet(&actor);
    actor_serve(&actor);
    _exit(0);
}

#endif
