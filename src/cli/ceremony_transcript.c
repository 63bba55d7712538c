/* SPDX-License-Identifier: Apache-2.0 */
#include "ceremony_transcript.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/file.h"

#define LINE_MAX_BYTES (256 * 1024)
#define NO_LINE_BEFORE "0000000000000000000000000000000000000000000000000000000000000000"

struct transcript {
    int fd;
    char *path;
    off_t len;              /* bytes of whole lines */
    int64_t lines;          /* that are written */
    char head[DIGEST_TEXT]; /* of the last line */
};

/* The name of a new file is only safe when its folder is. */
static bool sync_folder(const char *path, struct error *err)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok)
        error_errno(err, FAIL_IO, "cannot sync the folder of %s", path);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool create_file(struct transcript *transcript, struct error *err)
{
    transcript->fd =
        open(transcript->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0644);
    if (transcript->fd < 0 && errno == EEXIST) {
        error_set(err, FAIL_EXISTS, "the transcript %s exists already and is never overwritten",
                  transcript->path);
        return error_hint(err, "name another file in the plan, or keep the old record elsewhere");
    }
    if (transcript->fd < 0)
        return error_errno(err, FAIL_IO, "cannot make the transcript %s", transcript->path);
    if (fchmod(transcript->fd, 0644) != 0) /* witnesses read it, whatever the umask */
        return error_errno(err, FAIL_IO, "cannot set the mode of %s", transcript->path);
    return sync_folder(transcript->path, err);
}

bool transcript_create(const char *path, struct transcript **out, struct error *err)
{
    *out = NULL;
    struct transcript *transcript = calloc(1, sizeof *transcript);
    if (transcript == NULL)
        return error_memory(err);
    transcript->fd = -1;
    transcript->path = strdup(path);
    memcpy(transcript->head, NO_LINE_BEFORE, DIGEST_TEXT);
    if (transcript->path == NULL) {
        transcript_close(&transcript);
        return error_memory(err);
    }
    if (!create_file(transcript, err)) {
        transcript_close(&transcript);
        return false;
    }
    *out = transcript;
    return true;
}

void transcript_close(struct transcript **transcript)
{
    if (transcript == NULL || *transcript == NULL)
        return;
    if ((*transcript)->fd >= 0)
        close((*transcript)->fd);
    free((*transcript)->path);
    free(*transcript);
    *transcript = NULL;
}

bool transcript_begin(struct transcript *transcript, const char *step, int64_t time_ms,
                      struct json_writer **out, struct error *err)
{
    char time[CLOCK_TEXT];
    if (!json_writer_new(false, out, err))
        return false;
    clock_format(time_ms, time);
    json_object(*out, NULL);
    json_put_integer(*out, "seq", transcript->lines + 1);
    json_put_text(*out, "time", time);
    json_put_text(*out, "step", step);
    return true;
}

static bool append_line(struct transcript *transcript, const struct buf *line, struct error *err)
{
    if (!fd_write_all(transcript->fd, buf_bytes(line), err))
        return error_context(err, "transcript %s", transcript->path);
    if (fsync(transcript->fd) != 0)
        return error_errno(err, FAIL_IO, "cannot sync the transcript %s", transcript->path);
    return true;
}

bool transcript_commit(struct transcript *transcript, struct json_writer **line, struct error *err)
{
    struct buf text = BUF_INIT(LINE_MAX_BYTES);
    char head[DIGEST_TEXT];
    bool ok = false;
    json_put_text(*line, "previous", transcript->head);
    json_object_end(*line);
    if (!json_finish(*line, &text, err) || !digest_of(buf_bytes(&text), head, err))
        goto done;
    buf_put_u8(&text, '\n');
    if (!buf_check(&text, "a line of the transcript", err))
        goto done;
    if (!append_line(transcript, &text, err)) {
        if (ftruncate(transcript->fd, transcript->len) == 0)
            (void)lseek(transcript->fd, transcript->len, SEEK_SET);
        goto done;
    }
    transcript->len += (off_t)text.len;
    transcript->lines++;
    memcpy(transcript->head, head, sizeof head);
    ok = true;
done:
    json_writer_free(line);
    buf_free(&text);
    return ok;
}

const char *transcript_head(const struct transcript *transcript)
{
    return transcript->head;
}

/* One line without its line end: number, link to the line before, and what a closing line says. */
static bool verify_line(struct bytes line, struct transcript_facts *facts, struct error *err)
{
    static const struct json_limits limits = {
        .bytes = LINE_MAX_BYTES, .string = 16384, .values = 10000};
    struct json *json = NULL;
    const char *step, *time, *previous, *outcome;
    int64_t seq, ms;
    bool ok = false;
    if (!json_parse(line.data, line.len, &limits, "the line", &json, err))
        return false;
    const struct json_value *root = json_root(json);
    if (!json_want_integer(root, "", "seq", 1, INT64_MAX, &seq, err) ||
        !json_want_text(root, "", "time", 64, &time, err) ||
        !json_want_text(root, "", "step", 64, &step, err) ||
        !json_may_text(root, "", "outcome", 64, &outcome, err) ||
        !json_want_text(root, "", "previous", DIGEST_TEXT - 1, &previous, err))
        goto done;
    if (!clock_parse(time, &ms)) {
        error_set(err, FAIL_INPUT, "its time is no RFC 3339 time");
        goto done;
    }
    if (seq != (int64_t)facts->lines + 1) {
        error_set(err, FAIL_INPUT, "its number is %" PRId64 " and must be %zu", seq,
                  facts->lines + 1);
        goto done;
    }
    if (strcmp(previous, facts->head) != 0) {
        error_set(err, FAIL_INPUT,
                  "it is not bound to the line before it: one of them was changed");
        goto done;
    }
    facts->closed = strcmp(step, "close") == 0;
    facts->accepted = facts->closed && outcome != NULL && strcmp(outcome, "accepted") == 0;
    ok = digest_of(line, facts->head, err);
done:
    json_free(&json);
    return ok;
}

bool transcript_verify(struct bytes content, struct transcript_facts *out, struct error *err)
{
    struct transcript_facts facts = {0};
    memcpy(facts.head, NO_LINE_BEFORE, DIGEST_TEXT);
    while (content.len > 0) {
        const uint8_t *end = memchr(content.data, '\n', content.len);
        if (end == NULL) {
            error_set(err, FAIL_INPUT, "line %zu has no end", facts.lines + 1);
            return error_hint(err, "the transcript was cut off");
        }
        struct bytes line = {content.data, (size_t)(end - content.data)};
        if (facts.closed)
            return error_set(err, FAIL_INPUT, "line %zu: there is a line after the closing one",
                             facts.lines + 1);
        if (!verify_line(line, &facts, err))
            return error_context(err, "line %zu", facts.lines + 1);
        facts.lines++;
        content.data += line.len + 1;
        content.len -= line.len + 1;
    }
    if (facts.lines == 0)
        return error_set(err, FAIL_INPUT, "the transcript is empty");
    *out = facts;
    return true;
}
