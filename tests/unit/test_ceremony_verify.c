/* SPDX-License-Identifier: Apache-2.0 */
/* A real ceremony on SoftHSM, signed and committed: what verifies, and that any flipped byte shows.
 */
#include "tests/unit/check.h"
#include "hsm_fixture.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include "reseal/ceremony_commit.h"
#include "reseal/ceremony_run.h"
#include "reseal/ceremony_show.h"
#include "reseal/json.h"
#include "reseal/key_descriptor.h"

static struct fixture fixture;
static EVP_PKEY *ann, *bob;
static char plan_path[96], transcript_path_of[96];

static void write_public(const char *name, EVP_PKEY *key)
{
    char path[96];
    fixture_path(&fixture, name, path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PUBKEY(file, key), 1);
    assert_int_equal(fclose(file), 0);
}

static void write_plan(void)
{
    char text[2048];
    snprintf(text, sizeof text,
             "[ceremony]\nname = flips\nallow_yes = yes\nsignatures = 2\n"
             "[witness ann]\nname = Ann\nkey = ann.pub\n[witness bob]\nname = Bob\n"
             "[token]\nmodule = %s\nlabel = %s\npin = file:pin\n"
             "[key]\nlabel = sealing\nbits = 2048\ncustody = host\npadding = oaepSha512\n"
             "[output]\npublic_key = key.pem\npublic_key_cng = key.cng\ntranscript = record\n",
             fixture.address.module, fixture.address.label);
    fixture_write(plan_path, text);
}

static void hold(void)
{
    struct error err = ERROR_INIT;
    const struct ceremony_options options = {.plan = plan_path, .confirmed = true};
    struct ceremony *ceremony = NULL;
    MUST(ceremony_run(&options, &ceremony, &err), err);
    ceremony_end(&ceremony);
}

static void sign(const char *id, const char *name, EVP_PKEY *key)
{
    struct error err = ERROR_INIT;
    struct transcript_record *record = NULL;
    struct ceremony_signature signature = {.lines = 0};
    struct buf content = BUF_INIT(16384);
    char path[128];
    snprintf(signature.id, sizeof signature.id, "%s", id);
    snprintf(signature.name, sizeof signature.name, "%s", name);
    MUST(transcript_read(transcript_path_of, &record, NULL, &err), err);
    const struct signing_key signing = {.key = key};
    MUST(ceremony_signature_make(record, &signing, &signature, &content, &err), err);
    MUST(ceremony_signature_path(transcript_path_of, id, path, sizeof path, &err), err);
    MUST(file_write(path, 0644, FILE_NEW, buf_bytes(&content), &err), err);
    transcript_record_free(&record);
    buf_free(&content);
}

static int start(void **state)
{
    (void)state;
    char path[96];
    struct error err = ERROR_INIT;
    struct commit_result result;
    fixture_softhsm(&fixture);
    fixture_path(&fixture, "plan.ini", plan_path);
    fixture_path(&fixture, "record", transcript_path_of);
    fixture_path(&fixture, "pin", path);
    fixture_write(path, TEST_PIN);
    assert_int_equal(chmod(path, 0600), 0);
    ann = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    bob = EVP_EC_gen("P-256");
    write_public("ann.pub", ann);
    write_plan();
    hold();
    sign("ann", "Ann", ann);
    const struct commit_options early = {.transcript = transcript_path_of, .confirmed = true};
    assert_refused(ceremony_commit(&early, &result, &err), &err, FAIL_POLICY);
    sign("bob", "Bob", bob);
    const struct commit_options more = {
        .transcript = transcript_path_of, .confirmed = true, .witnesses = 3};
    assert_refused(ceremony_commit(&more, &result, &err), &err, FAIL_POLICY);
    err = (struct error)ERROR_INIT;
    MUST(ceremony_commit(&early, &result, &err), err);
    assert_int_equal(result.signatures, 2);
    return 0;
}

static int end(void **state)
{
    (void)state;
    EVP_PKEY_free(ann);
    EVP_PKEY_free(bob);
    fixture_end(&fixture);
    return 0;
}

static size_t count_wrong(void)
{
    struct error err = ERROR_INIT;
    struct verification *verification = NULL;
    const struct verify_options options = {.transcript = transcript_path_of};
    MUST(ceremony_verify(&options, &verification, &err), err);
    size_t wrong = verification->wrong;
    verification_free(&verification);
    return wrong;
}

static bool says(const struct verification *verification, enum verdict verdict, const char *text)
{
    for (size_t i = 0; i < verification->count; i++) {
        if (verification->findings[i].verdict == verdict &&
            strstr(verification->findings[i].text, text) != NULL)
            return true;
    }
    return false;
}

/* -- promises -- */

static void a_committed_ceremony_verifies_and_says_what_is_not_proven(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct verification *verification = NULL;
    const struct verify_options options = {.transcript = transcript_path_of};
    MUST(ceremony_verify(&options, &verification, &err), err);
    assert_int_equal(verification->wrong, 0);
    assert_int_equal(verification->state, CEREMONY_COMMITTED);
    assert_int_equal(verification->counted, 2);
    assert_true(says(verification, VERIFIED_PROVEN, "Ann has signed"));
    assert_true(says(verification, VERIFIED_PROVEN, "oaepSha512: a random secret"));
    assert_true(says(verification, VERIFIED_NOT_PROVEN, "is that of Bob: the plan does not name"));
    assert_false(says(verification, VERIFIED_NOT_PROVEN, "is that of Ann"));
    assert_true(says(verification, VERIFIED_NOT_PROVEN, "came after every signature"));
    assert_true(says(verification, VERIFIED_NOT_PROVEN, "that the token told the truth"));
    verification_free(&verification);
}

static void a_head_that_was_written_down_is_found_or_missed(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct verification *verification = NULL;
    struct key_descriptor descriptor;
    char path[96];
    fixture_path(&fixture, "key.pem.descriptor", path);
    MUST(key_descriptor_load(path, &descriptor, &err), err);
    struct verify_options options = {.transcript = transcript_path_of,
                                     .head = descriptor.transcript_sha256};
    MUST(ceremony_verify(&options, &verification, &err), err);
    assert_int_equal(verification->wrong, 0);
    verification_free(&verification);
    options.head = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    MUST(ceremony_verify(&options, &verification, &err), err);
    assert_int_equal(verification->wrong, 1);
    verification_free(&verification);
}

/* Every `step`-th byte of the file, with one bit or another, and with a byte taken off the end. */
static void flip(const char *name, size_t step)
{
    struct error err = ERROR_INIT;
    struct buf content = BUF_INIT(1024 * 1024);
    static const uint8_t masks[] = {0x01, 0x20, 0x02, 0x80};
    char path[96];
    fixture_path(&fixture, name, path);
    MUST(file_read(path, &content, &err), err);
    int fd = open(path, O_RDWR | O_CLOEXEC); /* in place: no waiting for the disk */
    assert_true(fd >= 0);
    for (size_t i = 0, round = 0; i < content.len; i += step, round++) {
        const uint8_t good = content.data[i], bad = good ^ masks[round % sizeof masks];
        assert_int_equal(pwrite(fd, &bad, 1, (off_t)i), 1);
        if (count_wrong() == 0)
            fail_msg("byte %zu of %s, flipped to 0x%02x, does not show", i, name, bad);
        assert_int_equal(pwrite(fd, &good, 1, (off_t)i), 1);
    }
    const off_t last = (off_t)content.len - 1;
    assert_int_equal(ftruncate(fd, last), 0);
    if (count_wrong() == 0)
        fail_msg("that %s is one byte short does not show", name);
    assert_int_equal(pwrite(fd, &content.data[last], 1, last), 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(count_wrong(), 0);
    buf_free(&content);
}

/* test_ceremony_transcript.c flips every byte of a shorter one. */
static void a_flipped_byte_of_the_transcript_is_found(void **state)
{
    (void)state;
    flip("record", getenv("RESEAL_LONG") != NULL ? 1 : 7);
}

static void a_flipped_byte_of_plan_outputs_or_signatures_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"plan.ini",       "key.pem",        "key.cng",
                                        "record.ann.sig", "record.bob.sig", "key.pem.descriptor"};
    const size_t step = getenv("RESEAL_LONG") != NULL ? 1 : 17;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        flip(names[i], step);
}

/* The keeper of the file writes a record of his own, and chains it anew: only who has signed, or
 * has written a hash down, can tell. */
static void a_record_that_was_written_anew_loses_its_signatures(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript_record *record = NULL;
    struct transcript *forged = NULL;
    struct verification *verification = NULL;
    char path[96], signature[128], original[128];
    struct buf content = BUF_INIT(16384);
    fixture_path(&fixture, "forged", path);
    MUST(transcript_read(transcript_path_of, &record, NULL, &err), err);
    MUST(transcript_create(path, &forged, &err), err);
    for (size_t i = 0; i < transcript_record_count(record); i++) {
        const struct transcript_line *line = transcript_record_at(record, i);
        struct json_writer *json = NULL;
        MUST(transcript_begin(forged, line->step, line->outcome, &json, &err), err);
        for (size_t j = 0; j < json_count(line->facts); j++) {
            const char *key = json_key_at(line->facts, j);
            static const char *const frame[] = {"seq",     "time",     "step",
                                                "outcome", "previous", "hash"};
            bool framed = false;
            for (size_t k = 0; k < ARRAY_LEN(frame); k++)
                framed = framed || strcmp(frame[k], key) == 0;
            if (!framed)
                json_put_value(json, key, json_at(line->facts, j));
        }
        MUST(transcript_commit(forged, &json, &err), err);
    }
    transcript_close(&forged);
    transcript_record_free(&record);
    const struct verify_options options = {.transcript = path};
    MUST(ceremony_verify(&options, &verification, &err), err);
    assert_true(says(verification, VERIFIED_NOT_PROVEN, "nobody has signed"));
    assert_true(says(verification, VERIFIED_WRONG, "0 of the 2 signatures"));
    verification_free(&verification);
    MUST(ceremony_signature_path(transcript_path_of, "ann", original, sizeof original, &err), err);
    MUST(ceremony_signature_path(path, "ann", signature, sizeof signature, &err), err);
    MUST(file_read(original, &content, &err), err);
    MUST(file_write(signature, 0644, FILE_NEW, buf_bytes(&content), &err), err);
    MUST(ceremony_verify(&options, &verification, &err), err);
    assert_true(says(verification, VERIFIED_WRONG, "under another transcript"));
    verification_free(&verification);
    buf_free(&content);
}

/* -- a record with something else than it should have, chained anew by whoever wrote it -- */

static void put_other(struct json_writer *json, const char *key, size_t kind)
{
    switch (kind % 5) {
    case 0:
        json_put_null(json, key);
        break;
    case 1:
        json_put_integer(json, key, -7);
        break;
    case 2:
        json_array(json, key);
        json_put_null(json, NULL);
        json_put_integer(json, NULL, 1);
        json_array_end(json);
        break;
    case 3:
        json_object(json, key);
        json_put_bool(json, "name", true);
        json_object_end(json);
        break;
    default:
        json_put_text(json, key, "\x1b[2J%s");
        break;
    }
}

/* Copies the value, with the `*at`-th member of it and below changed; *at counts down. */
static void put_changed(struct json_writer *json, const char *key, const struct json_value *value,
                        int *at, size_t kind)
{
    bool object = json_type(value) == JSON_OBJECT, array = json_type(value) == JSON_ARRAY;
    if ((*at)-- == 0) {
        put_other(json, key, kind);
    } else if (object || array) {
        if (object)
            json_object(json, key);
        else
            json_array(json, key);
        for (size_t i = 0; i < json_count(value); i++)
            put_changed(json, object ? json_key_at(value, i) : NULL, json_at(value, i), at, kind);
        if (object)
            json_object_end(json);
        else
            json_array_end(json);
    } else {
        json_put_value(json, key, value);
    }
}

/* One line of the forged record, bound to the one before; false where there is no such member. */
static bool forge_line(const struct transcript_line *line, int change, size_t kind,
                       char previous[static DIGEST_TEXT], struct buf *out)
{
    struct error err = ERROR_INIT;
    struct json_writer *json = NULL;
    struct buf text = BUF_INIT(TRANSCRIPT_LINE_MAX);
    char own[DIGEST_TEXT];
    MUST(json_writer_new(false, &json, &err), err);
    json_object(json, NULL);
    for (size_t i = 0; i < json_count(line->facts); i++) {
        const char *key = json_key_at(line->facts, i);
        if (strcmp(key, "previous") == 0 || strcmp(key, "hash") == 0)
            continue;
        put_changed(json, key, json_at(line->facts, i), &change, kind);
    }
    json_put_text(json, "previous", previous);
    json_object_end(json);
    MUST(json_finish(json, &text, &err), err);
    json_writer_free(&json);
    text.data[--text.len] = '\0'; /* the brace */
    MUST(digest_of(buf_bytes(&text), own, &err), err);
    buf_printf(&text, ",\"hash\":\"%s\"}", own);
    MUST(digest_of(buf_bytes(&text), previous, &err), err);
    buf_put(out, text.data, text.len);
    buf_put_u8(out, '\n');
    buf_free(&text);
    return change < 0;
}

static void look_at(const char *path)
{
    struct error err = ERROR_INIT;
    struct verification *verification = NULL;
    const struct verify_options options = {.transcript = path};
    MUST(ceremony_verify(&options, &verification, &err), err);
    if (verification->record != NULL) {
        FILE *nowhere = fopen("/dev/null", "w");
        assert_non_null(nowhere);
        ceremony_show(verification->record, nowhere);
        assert_int_equal(fclose(nowhere), 0);
    }
    verification_free(&verification);
}

static void a_record_of_anybodys_making_is_looked_at_without_harm(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct transcript_record *record = NULL;
    const int stride = getenv("RESEAL_LONG") != NULL ? 1 : 7;
    char path[96];
    fixture_path(&fixture, "anybody", path);
    MUST(transcript_read(transcript_path_of, &record, NULL, &err), err);
    for (size_t target = 0, kind = 0; target < transcript_record_count(record); target++) {
        bool changed = true;
        for (int change = (int)target % stride; changed; change += stride, kind++) {
            struct buf forged = BUF_INIT(TRANSCRIPT_MAX);
            char previous[DIGEST_TEXT];
            memset(previous, '0', DIGEST_TEXT - 1);
            previous[DIGEST_TEXT - 1] = '\0';
            for (size_t i = 0; i < transcript_record_count(record); i++) {
                bool hit = forge_line(transcript_record_at(record, i), i == target ? change : 10000,
                                      kind, previous, &forged);
                if (i == target)
                    changed = hit;
            }
            (void)unlink(path); /* a new file is not waited for as a replaced one is */
            FILE *file = fopen(path, "w");
            assert_non_null(file);
            assert_int_equal(fwrite(forged.data, 1, forged.len, file), forged.len);
            assert_int_equal(fclose(file), 0);
            look_at(path);
            buf_free(&forged);
        }
    }
    transcript_record_free(&record);
}

static void the_descriptor_says_what_was_committed(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct key_descriptor descriptor, again;
    struct buf text = BUF_INIT(DESCRIPTOR_MAX);
    char path[96], copy[96];
    fixture_path(&fixture, "key.pem.descriptor", path);
    fixture_path(&fixture, "copy", copy);
    MUST(key_descriptor_load(path, &descriptor, &err), err);
    assert_string_equal(descriptor.label, "sealing");
    assert_int_equal(descriptor.bits, 2048);
    assert_int_equal(descriptor.custody, CUSTODY_HOST);
    assert_int_equal(descriptor.signatures, 2);
    assert_string_equal(descriptor.transcript, transcript_path_of);
    key_descriptor_format(&descriptor, &text);
    fixture_write(copy, buf_text(&text));
    MUST(key_descriptor_load(copy, &again, &err), err);
    assert_memory_equal(&descriptor, &again, sizeof again);
    assert_ptr_equal(key_descriptor_of(&descriptor, 1, descriptor.fingerprint), &descriptor);
    assert_null(key_descriptor_of(&descriptor, 1, descriptor.id));
    buf_free(&text);
}

static void a_key_is_committed_once(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct commit_result result;
    const struct commit_options options = {.transcript = transcript_path_of, .confirmed = true};
    assert_refused(ceremony_commit(&options, &result, &err), &err, FAIL_EXISTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_committed_ceremony_verifies_and_says_what_is_not_proven),
        cmocka_unit_test(a_head_that_was_written_down_is_found_or_missed),
        cmocka_unit_test(a_flipped_byte_of_the_transcript_is_found),
        cmocka_unit_test(a_flipped_byte_of_plan_outputs_or_signatures_is_found),
        cmocka_unit_test(a_record_that_was_written_anew_loses_its_signatures),
        cmocka_unit_test(a_record_of_anybodys_making_is_looked_at_without_harm),
        cmocka_unit_test(the_descriptor_says_what_was_committed),
        cmocka_unit_test(a_key_is_committed_once),
    };
    return cmocka_run_group_tests(tests, start, end);
}
