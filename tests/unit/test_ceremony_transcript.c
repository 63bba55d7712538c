/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a ceremony: chained, never overwritten, and any change shows. */
#include "tests/unit/check.h"
#include <sys/stat.h>
#include <unistd.h>
#include "reseal/file.h"
#include "src/cli/ceremony_transcript.h"

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

/* Writes `count` lines, the last one a closing line with that outcome unless it is NULL. */
static void write_lines(int count, const char *outcome, char head[static DIGEST_TEXT])
{
    struct error err = ERROR_INIT;
    struct transcript *transcript = NULL;
    unlink(path);
    assert_ok(transcript_create(path, &transcript, &err), &err);
    for (int i = 0; i < count; i++) {
        struct json_writer *line = NULL;
        bool last = outcome != NULL && i + 1 == count;
        assert_ok(
            transcript_begin(transcript, last ? "close" : "step", 1795471287123 + i, &line, &err),
            &err);
        json_put_integer(line, "number", i);
        json_put_text(line, "words", "\xc3\xa9\n\"");
        json_put_text(line, "outcome", last ? outcome : "done");
        assert_ok(transcript_commit(transcript, &line, &err), &err);
        assert_null(line);
    }
    memcpy(head, transcript_head(transcript), DIGEST_TEXT);
    transcript_close(&transcript);
    assert_null(transcript);
}

static void read_back(struct buf *out)
{
    struct error err = ERROR_INIT;
    assert_ok(file_read(path, out, &err), &err);
}

static void a_whole_transcript_verifies_and_tells_its_head(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript_facts facts;
    struct buf content = BUF_INIT(65536);
    char head[DIGEST_TEXT];
    write_lines(5, "accepted", head);
    read_back(&content);
    assert_ok(transcript_verify(buf_bytes(&content), &facts, &err), &err);
    assert_int_equal(facts.lines, 5);
    assert_string_equal(facts.head, head);
    assert_true(facts.closed && facts.accepted);
    buf_reset(&content);
    write_lines(3, "failed", head);
    read_back(&content);
    assert_ok(transcript_verify(buf_bytes(&content), &facts, &err), &err);
    assert_true(facts.closed && !facts.accepted);
    buf_free(&content);
}

static void the_head_is_the_sha256_of_the_last_line(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf content = BUF_INIT(65536);
    char head[DIGEST_TEXT], wanted[DIGEST_TEXT];
    write_lines(3, "accepted", head);
    read_back(&content);
    size_t end = content.len - 1, start = end;
    while (start > 0 && content.data[start - 1] != '\n')
        start--;
    struct bytes line = {content.data + start, end - start};
    assert_ok(digest_of(line, wanted, &err), &err);
    assert_string_equal(head, wanted);
    buf_free(&content);
}

/* The last line is bound by the head alone: a change there must change the head. */
static void every_changed_byte_breaks_the_chain_or_the_head(void **state)
{
    (void)state;
    struct transcript_facts facts;
    struct buf content = BUF_INIT(65536);
    char head[DIGEST_TEXT];
    write_lines(4, "accepted", head);
    read_back(&content);
    for (size_t i = 0; i < content.len; i++) {
        struct error err = ERROR_INIT;
        content.data[i] ^= 0x01;
        if (transcript_verify(buf_bytes(&content), &facts, &err) && strcmp(facts.head, head) == 0)
            fail_msg("the change of byte %zu does not show", i);
        content.data[i] ^= 0x01;
    }
    struct error err = ERROR_INIT;
    assert_ok(transcript_verify(buf_bytes(&content), &facts, &err), &err);
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
    struct error err = ERROR_INIT;
    struct transcript_facts facts;
    struct buf content = BUF_INIT(65536), changed = BUF_INIT(65536);
    char head[DIGEST_TEXT];
    write_lines(4, "accepted", head);
    read_back(&content);
    size_t first = line_end(&content, 1), second = line_end(&content, 2);
    buf_put(&changed, content.data, first);
    buf_put(&changed, content.data + second, content.len - second);
    assert_refused(transcript_verify(buf_bytes(&changed), &facts, &err), &err, FAIL_INPUT);
    assert_non_null(strstr(err.text, "line 2"));
    buf_reset(&changed);
    buf_put(&changed, content.data + first, content.len - first);
    assert_refused(transcript_verify(buf_bytes(&changed), &facts, &err), &err, FAIL_INPUT);
    assert_non_null(strstr(err.text, "line 1"));
    buf_reset(&changed);
    buf_put(&changed, content.data, content.len);
    buf_put(&changed, content.data + first, second - first); /* behind the closing line */
    assert_refused(transcript_verify(buf_bytes(&changed), &facts, &err), &err, FAIL_INPUT);
    buf_free(&changed);
    buf_free(&content);
}

static void a_cut_transcript_is_not_closed(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript_facts facts;
    struct buf content = BUF_INIT(65536);
    char head[DIGEST_TEXT];
    write_lines(4, "accepted", head);
    read_back(&content);
    struct bytes whole_lines = {content.data, line_end(&content, 3)};
    assert_ok(transcript_verify(whole_lines, &facts, &err), &err);
    assert_false(facts.closed || facts.accepted);
    assert_string_not_equal(facts.head, head);
    for (size_t len = 0; len < content.len; len++) {
        struct bytes cut = {content.data, len};
        if (len > 0 && content.data[len - 1] == '\n')
            continue;
        assert_refused(transcript_verify(cut, &facts, &err), &err, FAIL_INPUT);
    }
    buf_free(&content);
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
    write_lines(2, NULL, head);
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
        cmocka_unit_test(a_whole_transcript_verifies_and_tells_its_head),
        cmocka_unit_test(the_head_is_the_sha256_of_the_last_line),
        cmocka_unit_test(every_changed_byte_breaks_the_chain_or_the_head),
        cmocka_unit_test(a_line_taken_out_or_moved_is_found),
        cmocka_unit_test(a_cut_transcript_is_not_closed),
        cmocka_unit_test(a_transcript_is_never_overwritten_and_readable_by_witnesses),
        cmocka_unit_test(digests_are_spelled_for_reading_aloud),
        cmocka_unit_test(a_file_and_its_bytes_have_one_digest),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
