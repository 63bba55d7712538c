/* SPDX-License-Identifier: Apache-2.0 */
/* What reseald and reseal-hsm say to each other: read as written, and hostile bytes refused. */
#include "tests/unit/check.h"
#include "reseal/helper_message.h"

static void fill_hello(struct hello_message *hello)
{
    memset(hello, 0, sizeof *hello);
    hello->ready = true;
    hello->sessions = 4;
    strcpy(hello->report.token.label, "prod");
    strcpy(hello->report.token.serial, "0123456789abcdef");
    hello->report.token.slot = 1234567;
    hello->report.key_count = 2;
    for (size_t i = 0; i < 2; i++) {
        struct key_finding *key = &hello->report.keys[i];
        snprintf(key->name, sizeof key->name, "key-%zu", i);
        key->bits = 3072;
        key->attributes.sensitive = 1;
        key->attributes.local = -1;
        for (size_t j = 0; j < PADDING_COUNT; j++) {
            key->paddings[j].padding = (enum padding)(PADDING_FIRST + (int)j);
            key->paddings[j].custody = CUSTODY_HOST;
            strcpy(key->paddings[j].call, "C_UnwrapKey(CKM_RSA_PKCS_OAEP)");
            strcpy(key->paddings[j].ck_rv, "CKR_ARGUMENTS_BAD");
            key->paddings[j].others.custody = CUSTODY_HOST;
            strcpy(key->paddings[j].others.call, "C_DecryptInit");
        }
    }
}

static void a_hello_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct hello_message written, read;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    fill_hello(&written);
    assert_ok(hello_encode(&written, &body, &err), &err);
    assert_ok(hello_decode(buf_bytes(&body), &read, &err), &err);
    assert_memory_equal(&read, &written, sizeof read);
    const struct key_finding *key = probe_key(&read.report, "key-1");
    assert_non_null(key);
    assert_string_equal(probe_padding(key, OAEP_SHA512)->ck_rv, "CKR_ARGUMENTS_BAD");
    assert_null(probe_key(&read.report, "key-2"));
    buf_free(&body);
}

static void jobs_answers_and_counters_are_read_as_written(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct reseal_message job = {.key_name = "k",
                                 .padding = OAEP_SHA256,
                                 .sealed = {(const uint8_t *)"sealed", 6},
                                 .suffix = {(const uint8_t *)"]]>", 3},
                                 .in_cdata = true,
                                 .device_certificate = {(const uint8_t *)"der", 3},
                                 .transport = KEY_TRANSPORT_OAEP_SHA256};
    struct reseal_message job_read;
    assert_ok(reseal_encode(&job, &body, &err), &err);
    assert_ok(reseal_decode(buf_bytes(&body), &job_read, &err), &err);
    assert_string_equal(job_read.key_name, "k");
    assert_int_equal(job_read.prefix.len, 0);
    assert_memory_equal(job_read.suffix.data, "]]>", 3);
    assert_int_equal(job_read.transport, KEY_TRANSPORT_OAEP_SHA256);
    assert_true(job_read.in_cdata);

    struct resealed_message done = {CUSTODY_TOKEN, {(const uint8_t *)"cms", 3}}, done_read;
    buf_reset(&body);
    assert_ok(resealed_encode(&done, &body, &err), &err);
    assert_ok(resealed_decode(buf_bytes(&body), &done_read, &err), &err);
    assert_int_equal(done_read.custody, CUSTODY_TOKEN);

    struct error failure = {FAIL_TOKEN, "away", "wait"}, failure_read;
    buf_reset(&body);
    assert_ok(failed_encode(&failure, &body, &err), &err);
    assert_ok(failed_decode(buf_bytes(&body), &failure_read, &err), &err);
    assert_int_equal(failure_read.kind, FAIL_TOKEN);
    assert_string_equal(failure_read.hint, "wait");

    struct status_message status = {1, 2, 3, UINT64_MAX, 5}, status_read;
    buf_reset(&body);
    assert_ok(status_encode(&status, &body, &err), &err);
    assert_ok(status_decode(buf_bytes(&body), &status_read, &err), &err);
    assert_memory_equal(&status, &status_read, sizeof status);
    buf_free(&body);
}

static void a_rule_about_logins_is_read_as_written(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct login_message written = {LOGIN_NEVER, {FAIL_PIN, "refused", "look"}}, read;
    assert_ok(login_encode(&written, &body, &err), &err);
    assert_ok(login_decode(buf_bytes(&body), &read, &err), &err);
    assert_int_equal(read.rule, LOGIN_NEVER);
    assert_int_equal(read.why.kind, FAIL_PIN);
    assert_string_equal(read.why.text, "refused");
    assert_string_equal(read.why.hint, "look");
    body.data[0] = LOGIN_NEVER + 1;
    assert_refused(login_decode(buf_bytes(&body), &read, &err), &err, FAIL_INPUT);
    buf_free(&body);
}

typedef bool decode_any(struct bytes body, struct error *err);

static bool any_hello(struct bytes body, struct error *err)
{
    struct hello_message out;
    return hello_decode(body, &out, err);
}

static bool any_reseal(struct bytes body, struct error *err)
{
    struct reseal_message out;
    return reseal_decode(body, &out, err);
}

static bool any_resealed(struct bytes body, struct error *err)
{
    struct resealed_message out;
    return resealed_decode(body, &out, err);
}

static bool any_rotate(struct bytes body, struct error *err)
{
    struct rotate_message out;
    return rotate_decode(body, &out, err);
}

static bool any_rotated(struct bytes body, struct error *err)
{
    struct rotated_message out;
    return rotated_decode(body, &out, err);
}

static bool any_login(struct bytes body, struct error *err)
{
    struct login_message out;
    return login_decode(body, &out, err);
}

static bool any_failed(struct bytes body, struct error *err)
{
    struct error out;
    return failed_decode(body, &out, err);
}

/* Every cut and every single changed byte: refused or read, never out of bounds (the sanitizers
 * watch). */
static void attack(const struct buf *body, decode_any *decode)
{
    struct error err = ERROR_INIT;
    assert_true(decode(buf_bytes(body), &err));
    for (size_t len = 0; len < body->len; len++) {
        uint8_t *cut =
            malloc(len > 0 ? len : 1); /* exactly as long, so that a read beyond is seen */
        memcpy(cut, body->data, len);
        assert_refused(decode((struct bytes){cut, len}, &err), &err, FAIL_INPUT);
        free(cut);
    }
    uint8_t *changed = malloc(body->len);
    for (size_t i = 0; i < body->len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(changed, body->data, body->len);
            changed[i] ^= (uint8_t)(1u << bit);
            (void)!decode((struct bytes){changed, body->len}, &err);
        }
    }
    free(changed);
    struct buf longer = BUF_INIT(HELPER_BODY_MAX);
    buf_put(&longer, body->data, body->len);
    buf_put_u8(&longer, 0);
    assert_refused(decode(buf_bytes(&longer), &err), &err, FAIL_INPUT);
    buf_free(&longer);
}

static void a_rotation_survives_encoding(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct rotate_message in = {.key_name = "old",
                                .new_key_name = "new",
                                .padding = OAEP_SHA384,
                                .new_padding = OAEP_SHA512,
                                .sealed = {(const uint8_t *)"sealed", 6}};
    struct rotate_message out;
    assert_ok(rotate_encode(&in, &body, &err), &err);
    assert_ok(rotate_decode(buf_bytes(&body), &out, &err), &err);
    assert_string_equal(out.key_name, "old");
    assert_string_equal(out.new_key_name, "new");
    assert_int_equal(out.padding, OAEP_SHA384);
    assert_int_equal(out.new_padding, OAEP_SHA512);
    assert_int_equal(out.sealed.len, 6);
    assert_memory_equal(out.sealed.data, "sealed", 6);
    buf_reset(&body);
    struct rotated_message answer = {CUSTODY_UNUSABLE, {(const uint8_t *)"sealed", 6}}, read;
    assert_ok(rotated_encode(&answer, &body, &err), &err);
    assert_refused(rotated_decode(buf_bytes(&body), &read, &err), &err, FAIL_INPUT);
    buf_reset(&body);
    answer = (struct rotated_message){CUSTODY_HOST, {NULL, 0}};
    assert_ok(rotated_encode(&answer, &body, &err), &err);
    assert_refused(rotated_decode(buf_bytes(&body), &read, &err), &err, FAIL_INPUT);
    buf_free(&body);
}

static void no_cut_or_changed_byte_is_read_out_of_bounds(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct hello_message hello;
    fill_hello(&hello);
    assert_ok(hello_encode(&hello, &body, &err), &err);
    attack(&body, any_hello);
    buf_reset(&body);
    struct reseal_message job = {.key_name = "k",
                                 .padding = OAEP_SHA256,
                                 .sealed = {(const uint8_t *)"sealed", 6},
                                 .device_certificate = {(const uint8_t *)"der", 3}};
    assert_ok(reseal_encode(&job, &body, &err), &err);
    attack(&body, any_reseal);
    buf_reset(&body);
    struct resealed_message done = {CUSTODY_HOST, {(const uint8_t *)"cms", 3}};
    assert_ok(resealed_encode(&done, &body, &err), &err);
    attack(&body, any_resealed);
    buf_reset(&body);
    struct rotate_message rotate = {.key_name = "old",
                                    .new_key_name = "new",
                                    .padding = OAEP_SHA256,
                                    .new_padding = OAEP_SHA512,
                                    .sealed = {(const uint8_t *)"sealed", 6}};
    assert_ok(rotate_encode(&rotate, &body, &err), &err);
    attack(&body, any_rotate);
    buf_reset(&body);
    struct rotated_message rotated = {CUSTODY_TOKEN, {(const uint8_t *)"sealed", 6}};
    assert_ok(rotated_encode(&rotated, &body, &err), &err);
    attack(&body, any_rotated);
    buf_reset(&body);
    struct error failure = {FAIL_CRYPTO, "text", "hint"};
    assert_ok(failed_encode(&failure, &body, &err), &err);
    attack(&body, any_failed);
    buf_reset(&body);
    struct login_message login = {LOGIN_NEVER, {FAIL_PIN, "text", "hint"}};
    assert_ok(login_encode(&login, &body, &err), &err);
    attack(&body, any_login);
    buf_free(&body);
}

static void an_unusable_or_empty_success_is_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(100);
    struct resealed_message out;
    struct resealed_message unusable = {CUSTODY_UNUSABLE, {(const uint8_t *)"x", 1}};
    struct resealed_message empty = {CUSTODY_TOKEN, {NULL, 0}};
    assert_ok(resealed_encode(&unusable, &body, &err), &err);
    assert_refused(resealed_decode(buf_bytes(&body), &out, &err), &err, FAIL_INPUT);
    buf_reset(&body);
    assert_ok(resealed_encode(&empty, &body, &err), &err);
    assert_refused(resealed_decode(buf_bytes(&body), &out, &err), &err, FAIL_INPUT);
    buf_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_is_read_as_it_was_written),
        cmocka_unit_test(jobs_answers_and_counters_are_read_as_written),
        cmocka_unit_test(a_rotation_survives_encoding),
        cmocka_unit_test(a_rule_about_logins_is_read_as_written),
        cmocka_unit_test(no_cut_or_changed_byte_is_read_out_of_bounds),
        cmocka_unit_test(an_unusable_or_empty_success_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
