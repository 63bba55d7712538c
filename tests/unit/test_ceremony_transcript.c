/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a ceremony: chained, never overwritten, and any change shows. */
#include "tests/unit/check.h"
#include <sys/stat.h>
#include <unistd.h>
#include "reseal/file.h"
#include "reseal/transcript_read.h"

static char folder[] = "/tmp/reseal-transcript-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/transcript", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

struct number {
    int value;
};

static void put_number(const void *context, struct json_writer *line)
{
    json_put_integer(line, "number", ((const struct number *)context)->value);
    json_put_text(line, "words", "\xc3\xa9\n\"");
}

/* Writes `count` lines, the last one a closing line where `closed`. */
static void write_lines(int count, bool closed, enum line_outcome outcome,
                        char head[static DIGEST_TEXT])
{
    struct error err = ERROR_INIT;
    struct transcript *transcript = NULL;
    unlink(path);
    assert_ok(transcript_create(path, &transcript, &err), &err);
    for (int i = 0; i < count; i++) {
        bool last = closed && i + 1 == count;
        assert_ok(transcript_add(transcript, last ? "close" : "step", last ? outcome : LINE_DONE,
                                 put_number, &(struct number){i}, NULL, &err),
                  &err);
    }
    assert_int_equal(transcript_lines(transcript), count);
    assert_string_equal(transcript_path(transcript), path);
    memcpy(head, transcript_head(transcript), DIGEST_TEXT);
    transcript_close(&transcript);
    assert_null(transcript);
}

static void read_back(struct buf *out)
{
    struct error err = ERROR_INIT;
    assert_ok(file_read(path, out, &err), &err);
}

static void assert_broken(struct bytes content, const char *named)
{
    struct error err = ERROR_INIT;
    struct transcript_record *record = NULL;
    assert_refused(transcript_parse(content, &record, NULL, &err), &err, FAIL_INPUT);
    assert_null(record);
    if (named != NULL && strstr(err.text, named) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", named, err.text);
}

static void a_whole_transcript_reads_back_and_tells_its_head(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript_record *record = NULL;
    char head[DIGEST_TEXT];
    write_lines(5, true, LINE_DONE, head);
    assert_ok(transcript_read(path, &record, NULL, &err), &err);
    assert_int_equal(transcript_record_count(record), 5);
    assert_string_equal(transcript_record_last(record)->sha256, head);
    assert_int_equal(transcript_record_state(record), CEREMONY_ACCEPTED);
    for (size_t i = 0; i < 5; i++) {
        const struct transcript_line *line = transcript_record_at(record, i);
        assert_int_equal(line->number, i + 1);
        assert_int_equal(line->outcome, LINE_DONE);
        assert_string_equal(transcript_text(line, NULL, "words"), "\xc3\xa9\n\"");
        assert_null(transcript_text(line, NULL, "number")); /* no text */
        assert_null(transcript_text(line, "words", "words"));
    }
    transcript_record_free(&record);
    assert_null(record);
    write_lines(3, true, LINE_FAILED, head);
    assert_ok(transcript_read(path, &record, NULL, &err), &err);
    assert_int_equal(transcript_record_state(record), CEREMONY_FAILED);
    transcript_record_free(&record);
    assert_refused(transcript_read("/nonexistent/file", &record, NULL, &err), &err, FAIL_NOT_FOUND);
}

static void the_head_is_the_sha256_of_the_last_line(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf content = BUF_INIT(65536);
    char head[DIGEST_TEXT], wanted[DIGEST_TEXT];
    write_lines(3, true, LINE_DONE, head);
    read_back(&content);
    size_t end = content.len - 1, start = end;
    while (start > 0 && content.data[start - 1] != '\n')
        start--;
    struct bytes line = {content.data + start, end - start};
    assert_ok(digest_of(line, wanted, &err), &err);
    assert_string_equal(head, wanted);
    buf_free(&content);
}

static void every_changed_byte_is_found(void **state)
{
    (void)state;
    static const uint8_t masks[] = {0x01, 0x20, 0x80, 0x07};
    struct buf content = BUF_INIT(65536);
    char head[DIGEST_TEXT];
    write_lines(4, true, LINE_DONE, head);
    read_back(&content);
    for (size_t i = 0; i < content.len; i++) {
        for (size_t j = 0; j < sizeof masks; j++) {
            content.data[i] ^= masks[j];
            assert_broken(buf_bytes(&content), NULL);
            content.data[i] ^= masks[j];
        }
    }
    buf_free(&content);
}

static size_t line_end(const struct buf *content, int lines)
{
    size_t at = 0;
    for (; lines > 0; at++)
        lines -= content->data[at] == '\n';
    return at;
}

static void a_line_taken_out_or_moved_is_found(void **state)
{
    (void)state;
    struct buf content = BUF_INIT(65536), changed = BUF_INIT(65536);
    char head[DIGEST_TEXT];
    write_lines(4, true, LINE_DONE, head);
    read_back(&content);
    size_t first = line_end(&content, 1), second = line_end(&content, 2);
    buf_put(&changed, content.data, first);
    buf_put(&changed, content.data + second, content.len - second);
    assert_broken(buf_bytes(&changed), "line 2");
    buf_reset(&changed);
    buf_put(&changed, content.data + first, content.len - first);
    assert_broken(buf_bytes(&changed), "line 1");
    buf_reset(&changed);
    buf_put(&changed, content.data, content.len);
    buf_put(&changed, content.data + first, second - first);
    assert_broken(buf_bytes(&changed), "line 5");
    assert_broken((struct bytes){content.data, 0}, "empty");
    buf_free(&changed);
    buf_free(&content);
}

/* A crash while writing leaves a line without an end: refused, unless the caller takes it off. */
static void a_broken_last_line_is_taken_off_and_the_chain_goes_on(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript *transcript = NULL;
    struct transcript_record *record = NULL;
    struct buf content = BUF_INIT(65536);
    char head[DIGEST_TEXT];
    size_t cut_off = 0;
    write_lines(4, false, LINE_DONE, head);
    read_back(&content);
    size_t whole = line_end(&content, 3);
    for (size_t len = whole + 1; len < content.len; len++)
        assert_broken((struct bytes){content.data, len}, "line 4 has no end");
    for (size_t len = whole; len < content.len; len += 7) {
        struct bytes cut = {content.data, len};
        assert_ok(file_write(path, 0644, FILE_REPLACE, cut, &err), &err);
        assert_ok(transcript_open(path, &transcript, &cut_off, &err), &err);
        assert_int_equal(cut_off, len - whole);
        assert_int_equal(transcript_lines(transcript), 3);
        assert_ok(transcript_add(transcript, "resume", LINE_NOTED, NULL, NULL, NULL, &err), &err);
        transcript_close(&transcript);
        assert_ok(transcript_read(path, &record, NULL, &err), &err);
        assert_int_equal(transcript_record_count(record), 4);
        assert_string_equal(transcript_record_last(record)->step, "resume");
        transcript_record_free(&record);
    }
    struct bytes torn = {content.data, line_end(&content, 1) - 1}; /* nothing whole is left */
    assert_ok(file_write(path, 0644, FILE_REPLACE, torn, &err), &err);
    assert_refused(transcript_open(path, &transcript, &cut_off, &err), &err, FAIL_INPUT);
    buf_free(&content);
}

static void two_writers_do_not_meet(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript *first = NULL, *second = NULL;
    size_t cut_off;
    char head[DIGEST_TEXT];
    write_lines(2, false, LINE_DONE, head);
    assert_ok(transcript_open(path, &first, &cut_off, &err), &err);
    assert_refused(transcript_open(path, &second, &cut_off, &err), &err, FAIL_EXISTS);
    assert_null(second);
    transcript_close(&first);
    assert_ok(transcript_open(path, &second, &cut_off, &err), &err);
    transcript_close(&second);
}

static void only_an_empty_file_is_discarded_and_none_that_is_being_written(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript *transcript = NULL;
    struct stat st;
    bool was_empty = true;
    char head[DIGEST_TEXT];
    write_lines(1, false, LINE_DONE, head);
    assert_ok(transcript_discard_empty(path, &was_empty, &err), &err);
    assert_false(was_empty);
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    assert_ok(transcript_discard_empty(path, &was_empty, &err), &err); /* there is none */
    assert_false(was_empty);
    assert_ok(transcript_create(path, &transcript, &err), &err);
    assert_refused(transcript_discard_empty(path, &was_empty, &err), &err, FAIL_EXISTS);
    transcript_close(&transcript);
    assert_ok(transcript_discard_empty(path, &was_empty, &err), &err);
    assert_true(was_empty);
    assert_int_equal(stat(path, &st), -1);
}

/* What was announced and not ended is found; a note in between changes nothing. */
static void an_act_without_an_end_is_pending(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript *transcript = NULL;
    struct transcript_record *record = NULL;
    static const struct {
        const char *step;
        enum line_outcome outcome;
        size_t pending; /* number of the pending line afterwards; 0: none */
    } rows[] = {{"open", LINE_DONE, 0},
                {"generate", LINE_ANNOUNCED, 2},
                {"note", LINE_NOTED, 2},
                {"generate", LINE_DONE, 0},
                {"public-key", LINE_ANNOUNCED, 5},
                {"public-key", LINE_FAILED, 0},
                {"destroy", LINE_ANNOUNCED, 7}};
    unlink(path);
    assert_ok(transcript_create(path, &transcript, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct error why = {FAIL_TOKEN, "it broke", ""};
        assert_ok(transcript_add(transcript, rows[i].step, rows[i].outcome, NULL, NULL,
                                 rows[i].outcome == LINE_FAILED ? &why : NULL, &err),
                  &err);
        assert_ok(transcript_read(path, &record, NULL, &err), &err);
        const struct transcript_line *pending = transcript_record_pending(record);
        assert_int_equal(pending != NULL ? pending->number : 0, rows[i].pending);
        assert_int_equal(transcript_record_state(record), CEREMONY_UNFINISHED);
        transcript_record_free(&record);
    }
    transcript_close(&transcript);
    assert_ok(transcript_read(path, &record, NULL, &err), &err);
    const struct transcript_line *failed =
        transcript_record_find(record, "public-key", LINE_FAILED);
    assert_string_equal(transcript_text(failed, "error", "kind"), "token");
    assert_string_equal(transcript_text(failed, "error", "text"), "it broke");
    assert_null(transcript_record_find(record, "close", LINE_DONE));
    transcript_record_free(&record);
}

static void the_life_of_a_key_is_told_by_its_lines(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript *transcript = NULL;
    struct transcript_record *record = NULL;
    static const struct {
        const char *step;
        enum line_outcome outcome;
        enum ceremony_state after;
        const char *name;
    } rows[] = {
        {"open", LINE_DONE, CEREMONY_UNFINISHED, "unfinished"},
        {"destroy", LINE_DONE, CEREMONY_UNFINISHED, "unfinished"}, /* an attempt that was undone */
        {"commit", LINE_DONE, CEREMONY_UNFINISHED, "unfinished"},
        {"close", LINE_DONE, CEREMONY_ACCEPTED, "accepted"},
        {"commit", LINE_ANNOUNCED, CEREMONY_ACCEPTED, "accepted"},
        {"commit", LINE_DONE, CEREMONY_COMMITTED, "committed"},
        {"retire", LINE_DONE, CEREMONY_RETIRED, "retired"},
        {"destroy", LINE_ANNOUNCED, CEREMONY_RETIRED, "retired"},
        {"destroy", LINE_DONE, CEREMONY_DESTROYED, "destroyed"},
    };
    unlink(path);
    assert_ok(transcript_create(path, &transcript, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_ok(transcript_add(transcript, rows[i].step, rows[i].outcome, NULL, NULL, NULL, &err),
                  &err);
        assert_ok(transcript_read(path, &record, NULL, &err), &err);
        assert_int_equal(transcript_record_state(record), rows[i].after);
        assert_string_equal(ceremony_state_name(transcript_record_state(record)), rows[i].name);
        transcript_record_free(&record);
    }
    transcript_close(&transcript);
}

static void put_tokens(const void *context, struct json_writer *line)
{
    const struct token_identity *token = context;
    static const char *const groups[] = {"token", "to"};
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        json_object(line, groups[i]);
        json_put_text(line, "label", token->label);
        json_put_text(line, "serial", token->serial);
        if (token->model != NULL)
            json_put_text(line, "model", token->model);
        json_object_end(line);
    }
}

/* As NSS softokn does, which gives all its tokens one serial number. */
static void tokens_that_share_a_serial_number_are_told_apart(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript *transcript = NULL;
    struct transcript_record *record = NULL;
    static const struct token_identity told = {.label = "east", .serial = "0", .model = "m1"};
    static const struct token_identity older = {.label = "west", .serial = "0"};
    unlink(path);
    assert_ok(transcript_create(path, &transcript, &err), &err);
    assert_ok(transcript_add(transcript, "replicate", LINE_DONE, put_tokens, &told, NULL, &err),
              &err);
    assert_ok(transcript_add(transcript, "destroy", LINE_DONE, put_tokens, &told, NULL, &err),
              &err);
    assert_ok(transcript_add(transcript, "destroy", LINE_DONE, put_tokens, &older, NULL, &err),
              &err);
    transcript_close(&transcript);
    assert_ok(transcript_read(path, &record, NULL, &err), &err);
    struct token_facts here = {.label = "east", .serial = "0", .model = "m1", .manufacturer = "x"};
    struct token_identity token = token_identity_of(&here);
    assert_int_equal(transcript_record_arrival(record, &token)->number, 1);
    assert_true(transcript_record_destroyed(record, &token));
    here.model[1] = '2';
    assert_null(transcript_record_arrival(record, &token));
    assert_false(transcript_record_destroyed(record, &token));
    memcpy(here.label, "west", 5);
    assert_null(transcript_record_arrival(record, &token));
    assert_true(transcript_record_destroyed(record, &token)); /* that line tells of no model */
    here.serial[0] = '1';
    assert_false(transcript_record_destroyed(record, &token));
    transcript_record_free(&record);
}

static void a_transcript_is_never_overwritten_and_readable_by_witnesses(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript *transcript = NULL;
    struct buf before = BUF_INIT(65536), after = BUF_INIT(65536);
    struct stat st;
    char head[DIGEST_TEXT];
    mode_t old = umask(077);
    write_lines(2, false, LINE_DONE, head);
    umask(old);
    read_back(&before);
    assert_refused(transcript_create(path, &transcript, &err), &err, FAIL_EXISTS);
    assert_null(transcript);
    read_back(&after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    buf_free(&before);
    buf_free(&after);
}

static void digests_are_spelled_for_reading_aloud(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf words = BUF_INIT(1024);
    digest_spell(&words, "09af", 4);
    assert_ok(buf_check(&words, "words", &err), &err);
    assert_string_equal(buf_text(&words), "zero nine alfa foxtrot");
    assert_null(digest_word('g'));
    assert_null(digest_word('\0'));
    for (const char *a = "0123456789abcdef"; *a != '\0'; a++) {
        for (const char *b = a + 1; *b != '\0'; b++)
            assert_string_not_equal(digest_word(*a), digest_word(*b));
    }
    buf_free(&words);
}

static void a_file_and_its_bytes_have_one_digest(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char of_bytes[DIGEST_TEXT], of_file[DIGEST_TEXT];
    struct bytes content = {(const uint8_t *)"abc", 3};
    assert_ok(file_write(path, 0600, FILE_REPLACE, content, &err), &err);
    assert_ok(digest_of(content, of_bytes, &err), &err);
    assert_ok(digest_of_file(path, of_file, &err), &err);
    assert_string_equal(of_bytes, of_file);
    /* FIPS 180-2, appendix B.1 */
    assert_string_equal(of_file,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_refused(digest_of_file("/nonexistent/file", of_file, &err), &err, FAIL_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_transcript_reads_back_and_tells_its_head),
        cmocka_unit_test(the_head_is_the_sha256_of_the_last_line),
        cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(a_line_taken_out_or_moved_is_found),
        cmocka_unit_test(a_broken_last_line_is_taken_off_and_the_chain_goes_on),
        cmocka_unit_test(two_writers_do_not_meet),
        cmocka_unit_test(only_an_empty_file_is_discarded_and_none_that_is_being_written),
        cmocka_unit_test(an_act_without_an_end_is_pending),
        cmocka_unit_test(the_life_of_a_key_is_told_by_its_lines),
        cmocka_unit_test(tokens_that_share_a_serial_number_are_told_apart),
        cmocka_unit_test(a_transcript_is_never_overwritten_and_readable_by_witnesses),
        cmocka_unit_test(digests_are_spelled_for_reading_aloud),
        cmocka_unit_test(a_file_and_its_bytes_have_one_digest),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
