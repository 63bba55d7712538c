/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token helper that misbehaves as told, for tests of its supervision: a test program starts
 * itself as the helper. What it is told stands in the file that the connector passes as the
 * configuration, in a comment "# actor: WORD"; a file "<configuration>.starts" counts its starts.
 */
#ifndef TEST_HELPER_ACTOR_H
#define TEST_HELPER_ACTOR_H

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "reseal/frame.h"
#include "reseal/helper_message.h"

#define ACTOR_KEY "sealing-1"

struct actor {
    struct frame_channel *channel;
    char word[64];
    char away[4200]; /* while this file exists, the token of "token-away" is away */
    unsigned start;  /* 1: the first */
};

static inline void actor_send(struct actor *actor, uint32_t number, uint16_t type,
                              const struct buf *body)
{
    struct error err = ERROR_INIT;
    if (!frame_queue(actor->channel, number, type, buf_bytes(body), &err) ||
        !frame_flush(actor->channel, &err))
        _exit(0);
}

static inline void actor_hello(struct actor *actor, enum failure refusal, enum custody custody)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct hello_message hello = {.ready = refusal == FAIL_NONE, .sessions = 2};
    if (refusal != FAIL_NONE)
        error_set(&hello.error, refusal, "the actor refuses");
    snprintf(hello.report.token.label, sizeof hello.report.token.label, "actor");
    hello.report.key_count = 1;
    snprintf(hello.report.keys[0].name, sizeof hello.report.keys[0].name, ACTOR_KEY);
    hello.report.keys[0].bits = 2048;
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        hello.report.keys[0].paddings[i].padding = (enum padding)(PADDING_FIRST + i);
        hello.report.keys[0].paddings[i].custody = custody;
    }
    if (!hello_encode(&hello, &body, &err))
        _exit(3);
    actor_send(actor, 0, HELPER_HELLO, &body);
    buf_free(&body);
}

static inline void actor_resealed(struct actor *actor, uint32_t number, enum custody custody)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct resealed_message message = {.custody = custody,
                                       .der = {(const uint8_t *)"0\3\2\1\0", 5}};
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

/* What it does with one job. */
static inline void actor_job(struct actor *actor, const struct frame *frame)
{
    bool first = actor->start == 1;
    const struct timespec slow = {.tv_nsec = 600000000};
    if (actor_is(actor, "slow"))
        nanosleep(&slow, NULL);
    if (actor_is(actor, "hang") || (actor_is(actor, "hang-once") && first))
        return;
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
    } else if (actor_is(actor, "pin-in-job"))
        actor_failed(actor, frame->number, FAIL_PIN);
    else if (actor_is(actor, "policy"))
        actor_failed(actor, frame->number, FAIL_POLICY);
    else if (actor_is(actor, "crypto"))
        actor_failed(actor, frame->number, FAIL_CRYPTO);
    else
        actor_resealed(actor, frame->number, CUSTODY_TOKEN);
}

static inline void actor_serve(struct actor *actor)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    bool ended = false, found;
    while (frame_receive(actor->channel, &ended, &err) && !ended) {
        while (frame_next(actor->channel, &frame, &found, &err) && found)
            actor_job(actor, &frame);
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

static inline void actor_greet(struct actor *actor)
{
    const struct buf nothing = BUF_INIT(1);
    if (actor_is(actor, "die-in-login") || actor_is(actor, "exit-in-login") ||
        actor_is(actor, "garbage-in-login") ||
        (actor_is(actor, "die-in-login-later") && actor->start > 1))
        actor_fail_in_login(actor);
    actor_send(actor, 0, HELPER_LOGGING_IN, &nothing);
    if (actor_is(actor, "refuse-pin"))
        actor_hello(actor, FAIL_PIN, CUSTODY_TOKEN);
    else if (actor_is(actor, "refuse-token-once") && actor->start == 1)
        actor_hello(actor, FAIL_TOKEN, CUSTODY_TOKEN);
    else if (actor_is(actor, "pin-later") && actor->start > 1)
        actor_hello(actor, FAIL_PIN, CUSTODY_TOKEN);
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

static inline unsigned actor_starts(const char *path)
{
    char name[4200], text[16] = "";
    snprintf(name, sizeof name, "%s.starts", path);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) < 0)
        text[0] = '\0';
    close(fd);
    return (unsigned)strlen(text);
}

static inline void actor_count_start(const char *path)
{
    char name[4200];
    snprintf(name, sizeof name, "%s.starts", path);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1)
        _exit(3);
    close(fd);
}

/* To be called first in main; does not come back where this process is the helper. */
static inline void actor_main(int argc, char **argv)
{
    struct actor actor = {0};
    struct error err = ERROR_INIT;
    char line[256];
    if (argc != 3 || strcmp(argv[1], "--config") != 0)
        return;
    actor_count_start(argv[2]);
    actor.start = actor_starts(argv[2]);
    snprintf(actor.away, sizeof actor.away, "%s.away", argv[2]);
    FILE *file = fopen(argv[2], "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        (void)!sscanf(line, "# actor: %63s", actor.word);
    if (file != NULL)
        fclose(file);
    if (!frame_channel_new(HELPER_FD, HELPER_BODY_MAX, &actor.channel, &err))
        _exit(3);
    actor_greet(&actor);
    actor_serve(&actor);
    _exit(0);
}

#endif
