/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/transcript.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/transcript_read.h"
#include "transcript_form.h"

struct transcript {
    int fd;
    char *path;
    off_t len;              /* bytes of whole lines */
    int64_t lines;          /* that are written */
    char head[DIGEST_TEXT]; /* of the last line */
};

static const char *const line_outcome_names[] = {
    [LINE_ANNOUNCED] = "announced",
    [LINE_DONE] = "done",
    [LINE_FAILED] = "failed",
    [LINE_NOTED] = "noted",
};

const char *line_outcome_name(enum line_outcome outcome)
{
    return line_outcome_names[outcome];
}

bool line_outcome_parse(const char *name, enum line_outcome *out)
{
    for (size_t i = 0; i < ARRAY_LEN(line_outcome_names); i++) {
        if (strcmp(name, line_outcome_names[i]) == 0) {
            *out = (enum line_outcome)i;
            return true;
        }
    }
    return false;
}

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

/* Two writers would break the chain. */
static bool lock_file(const struct transcript *transcript, struct error *err)
{
    if (flock(transcript->fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno != EWOULDBLOCK)
        return error_errno(err, FAIL_IO, "cannot lock the transcript %s", transcript->path);
    error_set(err, FAIL_EXISTS, "another process is writing to the transcript %s",
              transcript->path);
    return error_hint(err,
                      "wait until that ceremony has ended; at its questions a line that begins "
                      "with ! goes into the record");
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
    return lock_file(transcript, err) && sync_folder(transcript->path, err);
}

static struct transcript *transcript_new(const char *path, struct error *err)
{
    struct transcript *transcript = calloc(1, sizeof *transcript);
    if (transcript == NULL) {
        error_memory(err);
        return NULL;
    }
    transcript->fd = -1;
    transcript->path = strdup(path);
    memcpy(transcript->head, TRANSCRIPT_NO_LINE, DIGEST_TEXT);
    if (transcript->path == NULL) {
        transcript_close(&transcript);
        error_memory(err);
    }
    return transcript;
}

bool transcript_create(const char *path, struct transcript **out, struct error *err)
{
    *out = NULL;
    struct transcript *transcript = transcript_new(path, err);
    if (transcript == NULL)
        return false;
    if (!create_file(transcript, err)) {
        transcript_close(&transcript);
        return false;
    }
    *out = transcript;
    return true;
}

static bool open_file(struct transcript *transcript, struct error *err)
{
    transcript->fd = open(transcript->path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
    if (transcript->fd < 0) {
        error_errno(err, errno == ENOENT ? FAIL_NOT_FOUND : FAIL_IO,
                    "cannot open the transcript %s", transcript->path);
        return error_hint(err, TRANSCRIPT_HINT);
    }
    return lock_file(transcript, err);
}

/* Where the next line goes, and what it is bound to. */
static bool find_end(struct transcript *transcript, size_t *cut_off, struct error *err)
{
    struct buf content = BUF_INIT(TRANSCRIPT_MAX);
    struct transcript_record *record = NULL;
    bool ok = false;
    if (!fd_read_all(transcript->fd, transcript->path, &content, err))
        goto done;
    if (!transcript_parse(buf_bytes(&content), &record, cut_off, err)) {
        error_context(err, "transcript %s", transcript->path);
        goto done;
    }
    transcript->lines = (int64_t)transcript_record_count(record);
    transcript->len = (off_t)(content.len - *cut_off);
    memcpy(transcript->head, transcript_record_last(record)->sha256, DIGEST_TEXT);
    if (*cut_off > 0 && ftruncate(transcript->fd, transcript->len) != 0) {
        error_errno(err, FAIL_IO, "cannot take the broken line off %s", transcript->path);
        goto done;
    }
    if (lseek(transcript->fd, transcript->len, SEEK_SET) != transcript->len) {
        error_errno(err, FAIL_IO, "cannot find the end of %s", transcript->path);
        goto done;
    }
    ok = true;
done:
    transcript_record_free(&record);
    buf_free(&content);
    return ok;
}

bool transcript_open(const char *path, struct transcript **out, size_t *cut_off, struct error *err)
{
    *out = NULL;
    *cut_off = 0;
    struct transcript *transcript = transcript_new(path, err);
    if (transcript == NULL)
        return false;
    if (!open_file(transcript, err) || !find_end(transcript, cut_off, err)) {
        transcript_close(&transcript);
        return false;
    }
    *out = transcript;
    return true;
}

bool transcript_discard_empty(const char *path, bool *was_empty, struct error *err)
{
    struct stat st;
    *was_empty = false;
    if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != 0)
        return true;
    struct transcript *transcript = transcript_new(path, err);
    if (transcript == NULL)
        return false;
    /* Looked at again under the lock: another process may be about to write. */
    bool ok = open_file(transcript, err);
    if (ok && fstat(transcript->fd, &st) == 0 && st.st_size == 0) {
        *was_empty = unlink(path) == 0;
        ok = *was_empty || error_errno(err, FAIL_IO, "cannot take the empty %s away", path);
    }
    transcript_close(&transcript);
    return ok;
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

bool transcript_begin(struct transcript *transcript, const char *step, enum line_outcome outcome,
                      struct json_writer **out, struct error *err)
{
    char time[CLOCK_TEXT];
    if (!json_writer_new(false, out, err))
        return false;
    clock_format(clock_real_ms(), time);
    json_object(*out, NULL);
    json_put_integer(*out, "seq", transcript->lines + 1);
    json_put_text(*out, "time", time);
    json_put_text(*out, "step", step);
    json_put_text(*out, "outcome", line_outcome_name(outcome));
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

/* Puts `,"hash":"..."}` in place of the closing brace. */
static bool seal_line(struct buf *text, struct error *err)
{
    char own[DIGEST_TEXT];
    if (!buf_check(text, "a line of the transcript", err))
        return false;
    struct bytes bare = {text->data, text->len - 1};
    if (!digest_of(bare, own, err))
        return false;
    text->len--; /* the brace */
    buf_printf(text, TRANSCRIPT_SEAL, own);
    return buf_check(text, "a line of the transcript", err);
}

bool transcript_commit(struct transcript *transcript, struct json_writer **line, struct error *err)
{
    struct buf text = BUF_INIT(TRANSCRIPT_LINE_MAX);
    char head[DIGEST_TEXT];
    bool ok = false;
    json_put_text(*line, "previous", transcript->head);
    json_object_end(*line);
    if (!json_finish(*line, &text, err) || !seal_line(&text, err) ||
        !digest_of(buf_bytes(&text), head, err))
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

void transcript_put_failure(struct json_writer *line, const struct error *failure)
{
    json_object(line, "error");
    json_put_text(line, "kind", failure_name(failure->kind));
    json_put_text(line, "text", failure->text);
    json_object_end(line);
}

bool transcript_add(struct transcript *transcript, const char *step, enum line_outcome outcome,
                    void (*facts)(const void *context, struct json_writer *line),
                    const void *context, const struct error *failure, struct error *err)
{
    struct json_writer *line = NULL;
    if (!transcript_begin(transcript, step, outcome, &line, err))
        return false;
    if (facts != NULL)
        facts(context, line);
    if (failure != NULL)
        transcript_put_failure(line, failure);
    return transcript_commit(transcript, &line, err);
}

const char *transcript_head(const struct transcript *transcript)
{
    return transcript->head;
}

size_t transcript_lines(const struct transcript *transcript)
{
    return (size_t)transcript->lines;
}

const char *transcript_path(const struct transcript *transcript)
{
    return transcript->path;
}
