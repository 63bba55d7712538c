/* SPDX-License-Identifier: Apache-2.0 */
/* The real reseal-hsm moves seals between keys that its configuration names, and no others. */
#include <dlfcn.h>
#include <link.h>
#include "hsm_fixture_run.h"

static EVP_PKEY *pkeys[3];
static const char *const names[] = {"old", "new", "unnamed"};

/* The configuration wants a path; the loader knows it. */
static void resolve_module(struct token_address *address)
{
    struct link_map *map = NULL;
    void *library = dlopen(address->module, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    *(void **)&map = library; /* glibc: the handle is the link map */
    snprintf(address->module, sizeof address->module, "%s", map->l_name);
}

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token *token = NULL;
    struct session *session = NULL;
    char path[96];
    fixture_nss(&fixture, "");
    resolve_module(&fixture.address);
    setting_make(&fixture, &setting);
    setting.log_level = "debug";
    fixture_path(&fixture, "pin", path);
    fixture_write(path, "");
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct sealing_key *key = fixture_key(session, names[i], 2048, CUSTODY_TOKEN);
        MUST(sealing_key_public(session, key, &pkeys[i], &err), err);
        sealing_key_free(&key);
    }
    session_close(&session);
    token_close(&token);
    setting_config(&setting, "pin = file:pin\nkey = old, new", "");
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pkeys); i++)
        EVP_PKEY_free(pkeys[i]);
    setting_free(&setting);
    fixture_end(&fixture);
    return 0;
}

static void ask_rotation(struct run *run, uint32_t number, const char *key, const char *new_key,
                         const struct buf *sealed)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    struct rotate_message message = {
        .padding = OAEP_SHA256, .new_padding = OAEP_SHA512, .sealed = buf_bytes(sealed)};
    snprintf(message.key_name, sizeof message.key_name, "%s", key);
    snprintf(message.new_key_name, sizeof message.new_key_name, "%s", new_key);
    MUST(rotate_encode(&message, &body, &err), err);
    peer_send(run->channel, number, HELPER_ROTATE, buf_bytes(&body));
    buf_free(&body);
}

static void seal(EVP_PKEY *pkey, size_t len, struct buf *sealed)
{
    uint8_t password[64];
    fixture_password(len, password);
    fixture_seal(pkey, OAEP_SHA256, password, len, sealed);
}

/* Rotates, then asks the same helper to reseal the outcome for the device, which opens it. */
static void seals_are_moved_and_open_with_the_new_key(void **state)
{
    (void)state;
    enum {
        JOBS = 24
    };
    struct error err = ERROR_INIT;
    struct run run;
    struct frame frame;
    struct buf sealed = BUF_INIT(1024), moved[JOBS];
    run_ready(&run);
    for (uint32_t i = 0; i < JOBS; i++) {
        moved[i] = (struct buf)BUF_INIT(1024);
        seal(pkeys[0], i, &sealed);
        ask_rotation(&run, i, "old", "new", &sealed);
    }
    for (uint32_t i = 0; i < JOBS; i++) {
        struct rotated_message answer;
        assert_true(peer_next(run.channel, &frame));
        assert_int_equal(frame.type, HELPER_ROTATED);
        assert_true(frame.number < JOBS);
        MUST(rotated_decode(frame.body, &answer, &err), err);
        assert_int_equal(answer.custody, CUSTODY_TOKEN);
        assert_int_equal(answer.sealed.len, 256);
        buf_put(&moved[frame.number], answer.sealed.data, answer.sealed.len);
    }
    for (uint32_t i = 0; i < JOBS; i++) {
        struct resealed_message answer;
        uint8_t expected[64];
        struct reseal_message message = peer_job(&setting, pkeys[1], "new", i, &sealed);
        message.padding = OAEP_SHA512;
        message.sealed = buf_bytes(&moved[i]);
        peer_ask(run.channel, i, &message);
        assert_true(peer_next(run.channel, &frame));
        assert_int_equal(frame.type, HELPER_RESEALED);
        MUST(resealed_decode(frame.body, &answer, &err), err);
        fixture_password(i, expected);
        assert_device_opens(&fixture, &setting.device, answer.der, (struct bytes){expected, i});
        buf_free(&moved[i]);
    }
    assert_int_equal(run_end(&run), 0);
    log_holds_no_secret(&run);
    buf_free(&sealed);
}

static void assert_refused_with(struct run *run, enum failure kind, const char *words)
{
    struct error err = ERROR_INIT, failure;
    struct frame frame;
    assert_true(peer_next(run->channel, &frame));
    assert_int_equal(frame.type, HELPER_FAILED);
    MUST(failed_decode(frame.body, &failure, &err), err);
    if (failure.kind != kind || strstr(failure.text, words) == NULL)
        fail_msg("%s: %s", failure_name(failure.kind), failure.text);
}

/* Whoever holds the socket cannot have a password sealed for a key of his own, nor for one on the
 * token that is not meant to be used. */
static void only_keys_of_the_configuration_take_part(void **state)
{
    (void)state;
    struct run run;
    struct buf sealed = BUF_INIT(1024);
    run_ready(&run);
    seal(pkeys[0], 11, &sealed);
    ask_rotation(&run, 1, "old", "unnamed", &sealed);
    assert_refused_with(&run, FAIL_NOT_FOUND, "\"unnamed\"");
    seal(pkeys[2], 11, &sealed);
    ask_rotation(&run, 2, "unnamed", "new", &sealed);
    assert_refused_with(&run, FAIL_NOT_FOUND, "\"unnamed\"");
    seal(pkeys[0], 11, &sealed);
    ask_rotation(&run, 3, "old", "old", &sealed);
    assert_refused_with(&run, FAIL_POLICY, "one sealing key");
    assert_int_equal(run_end(&run), 0);
    buf_free(&sealed);
}

static void bad_seals_get_the_uniform_error_and_harm_no_other(void **state)
{
    (void)state;
    struct run run;
    struct frame frame;
    struct buf sealed = BUF_INIT(1024);
    run_ready(&run);
    for (int i = 0; i < BAD_MESSAGES; i++) {
        (void)fixture_bad_message(pkeys[0], i, &sealed);
        ask_rotation(&run, (uint32_t)i, "old", "new", &sealed);
        assert_refused_with(&run, FAIL_CRYPTO, "cannot be opened");
    }
    seal(pkeys[0], 11, &sealed);
    ask_rotation(&run, 100, "old", "new", &sealed);
    assert_true(peer_next(run.channel, &frame));
    assert_int_equal(frame.type, HELPER_ROTATED);
    assert_int_equal(run_end(&run), 0);
    buf_free(&sealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seals_are_moved_and_open_with_the_new_key),
        cmocka_unit_test(only_keys_of_the_configuration_take_part),
        cmocka_unit_test(bad_seals_get_the_uniform_error_and_harm_no_other),
    };
    return cmocka_run_group_tests(tests, start, end);
}
