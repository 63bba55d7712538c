/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signature Version 4 as the hub verifies it. The signatures were computed from the published
 * algorithm by another implementation (Python's hmac and hashlib).
 */
#include "check.h"
#include <unistd.h>
#include "src/hub/sigv4.h"

#define NOW_MS    1795471200000 /* 2026-11-23T22:00:00Z */
#define STAMP     "20261123T220000Z"
#define SCOPE     "/20261123/local/sqs/aws4_request"
#define NAMES     "content-type;host;x-amz-date;x-amz-target"
#define BODY      "{\"MessageBody\":\"x\"}"
#define SIGNATURE "84113050808b7b5e62dad5784681613afd21c8a0774a5812a83303e895998f81"

#define HEADER(scope, names, signature)                                                            \
    "AWS4-HMAC-SHA256 Credential=" scope ", SignedHeaders=" names ", Signature=" signature

struct header {
    const char *name, *value;
};

/* A request that is right; tests change one thing in it. */
struct setup {
    struct credentials *credentials;
    struct sigv4 *sigv4;
    struct header headers[8];
    struct sigv4_request request;
    struct sigv4_signer signer;
};

static const char *find_header(const void *context, const char *name)
{
    const struct header *headers = context;
    for (; headers->name != NULL; headers++) {
        if (strcmp(headers->name, name) == 0)
            return headers->value;
    }
    return NULL;
}

static void set_header(struct setup *setup, const char *name, const char *value)
{
    size_t i = 0;
    while (setup->headers[i].name != NULL && strcmp(setup->headers[i].name, name) != 0)
        i++;
    assert_true(i + 1 < ARRAY_LEN(setup->headers));
    setup->headers[i] = (struct header){name, value};
}

static void begin(struct setup *setup)
{
    static const char text[] = "[default]\naws_access_key_id = AKONE\n"
                               "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n"
                               "[second]\naws_access_key_id = AKTWO\n"
                               "aws_secret_access_key = another-secret\n";
    struct error err = ERROR_INIT;
    char path[] = "/tmp/hub-sigv4-XXXXXX";
    int fd = mkstemp(path); /* mode 0600 */
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    *setup = (struct setup){.credentials = NULL};
    assert_ok(secret_heap_open(1 << 16, &err), &err);
    bool loaded = credentials_load(path, &setup->credentials, &err);
    unlink(path);
    assert_ok(loaded, &err);
    assert_ok(sigv4_open(setup->credentials, &setup->sigv4, &err), &err);
    set_header(setup, "authorization", HEADER("AKONE" SCOPE, NAMES, SIGNATURE));
    set_header(setup, "content-type", "application/x-amz-json-1.0");
    set_header(setup, "host", "127.0.0.1:9324");
    set_header(setup, "x-amz-date", STAMP);
    set_header(setup, "x-amz-target", "AmazonSQS.SendMessage");
    setup->request = (struct sigv4_request){.method = "POST",
                                            .path = "/",
                                            .query = "",
                                            .header = find_header,
                                            .context = setup->headers,
                                            .body = {(const uint8_t *)BODY, sizeof BODY - 1},
                                            .now_ms = NOW_MS};
}

static void end(struct setup *setup)
{
    sigv4_close(&setup->sigv4);
    credentials_free(&setup->credentials);
}

static enum sigv4_verdict verify(struct setup *setup)
{
    struct error err = ERROR_INIT;
    enum sigv4_verdict verdict = sigv4_verify(setup->sigv4, &setup->request, &setup->signer, &err);
    assert_int_equal(verdict == SIGV4_GOOD, err.kind == FAIL_NONE);
    assert_null(strstr(err.text, SIGNATURE)); /* what would be right is never told */
    return verdict;
}

static void a_signed_request_is_accepted_again_and_again(void **state)
{
    (void)state;
    struct setup setup;
    struct error err = ERROR_INIT;
    begin(&setup);
    assert_int_equal(sigv4_check_headers(setup.sigv4, &setup.request, &setup.signer, &err),
                     SIGV4_GOOD);
    for (int i = 0; i < 3; i++)
        assert_int_equal(verify(&setup), SIGV4_GOOD);
    assert_string_equal(setup.signer.region, "local");
    assert_string_equal(setup.signer.credential->access_key_id, "AKONE");
    end(&setup);
}

static void keys_and_regions_may_alternate(void **state)
{
    (void)state;
    struct setup setup;
    begin(&setup);
    for (int i = 0; i < 2; i++) {
        set_header(&setup, "authorization", HEADER("AKONE" SCOPE, NAMES, SIGNATURE));
        setup.request.body = (struct bytes){(const uint8_t *)BODY, sizeof BODY - 1};
        assert_int_equal(verify(&setup), SIGV4_GOOD);
        set_header(&setup, "authorization",
                   HEADER("AKTWO" SCOPE, NAMES,
                          "8e4035cfe13f5b237ecea385450dadc9178fe8e93b67b8f0e20eba2df19b1e21"));
        assert_int_equal(verify(&setup), SIGV4_GOOD);
        set_header(&setup, "authorization",
                   HEADER("AKONE/20261123/eu-central-1/sqs/aws4_request", NAMES,
                          "39d5a2e65c07bcddf6975b12de51e84ecf8b1b8f414a1bfe511e954f930dc0b5"));
        setup.request.body = (struct bytes){NULL, 0};
        assert_int_equal(verify(&setup), SIGV4_GOOD);
        assert_string_equal(setup.signer.region, "eu-central-1");
    }
    end(&setup);
}

static void header_values_and_paths_are_canonical(void **state)
{
    (void)state;
    struct setup setup;
    begin(&setup);
    set_header(&setup, "x-note", "  a   b \t c ");
    set_header(&setup, "authorization",
               HEADER("AKONE" SCOPE, NAMES ";x-note",
                      "a629ccc458293d7d0956c0a36c925428535c56af63f4952b8a374b18b113c867"));
    assert_int_equal(verify(&setup), SIGV4_GOOD);
    set_header(&setup, "authorization",
               HEADER("AKONE" SCOPE, NAMES,
                      "189501701bcc585d12d7426e1950eb6d7613d5653c94fa5857c6235b6c1973f2"));
    setup.request.path = "/000000000000/a%2Fb";
    assert_int_equal(verify(&setup), SIGV4_GOOD);
    end(&setup);
}

static void any_change_of_what_was_signed_is_a_mismatch(void **state)
{
    (void)state;
    static const struct header changes[] = {
        {"content-type", "application/x-amz-json-1.1"},
        {"host", "127.0.0.1:9325"},
        {"x-amz-date", "20261123T220001Z"},
        {"x-amz-target", "AmazonSQS.DeleteMessage"},
        {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
        {"authorization",
         HEADER("AKTWO" SCOPE, NAMES, SIGNATURE)}, /* another key than the one that signed */
        {"authorization", HEADER("AKONE/20261123/other/sqs/aws4_request", NAMES, SIGNATURE)},
        {"authorization", HEADER("AKONE" SCOPE, NAMES, "8411305080")},
    };
    struct setup setup;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        begin(&setup);
        set_header(&setup, changes[i].name, changes[i].value);
        if (strcmp(changes[i].name, "x-amz-content-sha256") == 0)
            set_header(&setup, "authorization",
                       HEADER("AKONE" SCOPE,
                              "content-type;host;x-amz-content-sha256;x-amz-date;"
                              "x-amz-target",
                              SIGNATURE));
        assert_int_equal(verify(&setup), SIGV4_MISMATCH);
        end(&setup);
    }
    begin(&setup);
    setup.request.body.len--;
    assert_int_equal(verify(&setup), SIGV4_MISMATCH);
    setup.request.body.len++;
    setup.request.method = "GET";
    assert_int_equal(verify(&setup), SIGV4_MISMATCH);
    setup.request.method = "POST";
    setup.request.path = "/x";
    assert_int_equal(verify(&setup), SIGV4_MISMATCH);
    end(&setup);
}

static void a_clock_off_by_more_than_15_minutes_is_named(void **state)
{
    (void)state;
    struct setup setup;
    struct error err = ERROR_INIT;
    begin(&setup);
    setup.request.now_ms = NOW_MS + 900 * 1000;
    assert_int_equal(verify(&setup), SIGV4_GOOD);
    setup.request.now_ms = NOW_MS - 900 * 1000;
    assert_int_equal(verify(&setup), SIGV4_GOOD);
    setup.request.now_ms = NOW_MS + 901 * 1000;
    assert_int_equal(sigv4_verify(setup.sigv4, &setup.request, &setup.signer, &err), SIGV4_EXPIRED);
    assert_non_null(strstr(err.text, "901 seconds behind"));
    setup.request.now_ms = NOW_MS - 3600 * 1000;
    assert_int_equal(sigv4_verify(setup.sigv4, &setup.request, &setup.signer, &err), SIGV4_FUTURE);
    assert_non_null(strstr(err.text, "3600 seconds ahead"));
    end(&setup);
}

static void what_steers_the_operation_must_be_signed(void **state)
{
    (void)state;
    static const char *const names[] = {
        HEADER("AKONE" SCOPE, "content-type;host;x-amz-date", SIGNATURE),
        HEADER("AKONE" SCOPE, "content-type;host;x-amz-target", SIGNATURE),
        HEADER("AKONE" SCOPE, "content-type;x-amz-date;x-amz-target", SIGNATURE),
        HEADER("AKONE" SCOPE, "host;x-amz-date;x-amz-target", SIGNATURE),
        HEADER("AKONE" SCOPE, "content-type;hostx;x-amz-date;x-amz-target", SIGNATURE),
        HEADER("AKONE" SCOPE, "content-type;host;host;x-amz-date;x-amz-target", SIGNATURE),
        HEADER("AKONE" SCOPE, "host;content-type;x-amz-date;x-amz-target", SIGNATURE),
        HEADER("AKONE" SCOPE, "content-type;host;nothing;x-amz-date;x-amz-target", SIGNATURE),
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct setup setup;
        begin(&setup);
        set_header(&setup, "authorization", names[i]);
        assert_int_equal(verify(&setup), SIGV4_INCOMPLETE);
        end(&setup);
    }
}

static void the_header_that_is_not_signed_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *header, *missing;
    } cases[] = {
        {HEADER("AKONE" SCOPE, "content-type;host;x-amz-date", SIGNATURE), "name x-amz-target "},
        {HEADER("AKONE" SCOPE, "content-type;host;x-amz-target", SIGNATURE), "name x-amz-date "},
        {HEADER("AKONE" SCOPE, "content-type;x-amz-date;x-amz-target", SIGNATURE), "name host "},
        {HEADER("AKONE" SCOPE, "host;x-amz-date;x-amz-target", SIGNATURE), "name content-type "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct setup setup;
        struct error err = ERROR_INIT;
        begin(&setup);
        set_header(&setup, "authorization", cases[i].header);
        assert_int_equal(sigv4_verify(setup.sigv4, &setup.request, &setup.signer, &err),
                         SIGV4_INCOMPLETE);
        assert_non_null(strstr(err.text, cases[i].missing));
        end(&setup);
    }
}

static void a_header_that_is_not_sigv4_for_sqs_is_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "",
        "Bearer abc",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA512 Credential=a",
        HEADER("AKONE", NAMES, SIGNATURE),
        HEADER("AKONE/20261123/local/s3/aws4_request", NAMES, SIGNATURE),
        HEADER("AKONE/20261123/local/sqs/aws4_requestX", NAMES, SIGNATURE),
        HEADER("AKONE/2026112/local/sqs/aws4_request", NAMES, SIGNATURE),
        HEADER("AKONE/20261122/local/sqs/aws4_request", NAMES, SIGNATURE),
        HEADER("/20261123/local/sqs/aws4_request", NAMES, SIGNATURE),
        HEADER("AKONE/20261123/lo\"cal/sqs/aws4_request", NAMES, SIGNATURE),
        HEADER("AKONE" SCOPE, "", SIGNATURE),
        HEADER("AKONE" SCOPE, NAMES, SIGNATURE SIGNATURE),
        HEADER("AKONE" SCOPE, NAMES, SIGNATURE) ", Signature=" SIGNATURE,
        HEADER("AKONE" SCOPE, NAMES, SIGNATURE) ", Other=1",
    };
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct setup setup;
        begin(&setup);
        set_header(&setup, "authorization", headers[i]);
        assert_int_equal(verify(&setup), SIGV4_INCOMPLETE);
        end(&setup);
    }
}

static void missing_headers_unknown_keys_and_queries_are_told_apart(void **state)
{
    (void)state;
    struct setup setup;
    begin(&setup);
    set_header(&setup, "authorization", HEADER("AKTHREE" SCOPE, NAMES, SIGNATURE));
    assert_int_equal(verify(&setup), SIGV4_UNKNOWN_KEY);
    end(&setup);
    begin(&setup); /* a key of ours with somebody's session token is not ours */
    set_header(&setup, "x-amz-security-token", "token");
    set_header(&setup, "authorization",
               HEADER("AKONE" SCOPE, NAMES ";x-amz-security-token", SIGNATURE));
    assert_int_equal(verify(&setup), SIGV4_UNKNOWN_KEY);
    end(&setup);
    begin(&setup);
    set_header(&setup, "authorization", NULL);
    assert_int_equal(verify(&setup), SIGV4_MISSING);
    end(&setup);
    begin(&setup);
    set_header(&setup, "x-amz-date", NULL);
    assert_int_equal(verify(&setup), SIGV4_INCOMPLETE);
    end(&setup);
    begin(&setup);
    setup.request.query = "a=b";
    assert_int_equal(verify(&setup), SIGV4_INCOMPLETE);
    end(&setup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_request_is_accepted_again_and_again),
        cmocka_unit_test(keys_and_regions_may_alternate),
        cmocka_unit_test(header_values_and_paths_are_canonical),
        cmocka_unit_test(any_change_of_what_was_signed_is_a_mismatch),
        cmocka_unit_test(a_clock_off_by_more_than_15_minutes_is_named),
        cmocka_unit_test(what_steers_the_operation_must_be_signed),
        cmocka_unit_test(the_header_that_is_not_signed_is_named),
        cmocka_unit_test(a_header_that_is_not_sigv4_for_sqs_is_refused),
        cmocka_unit_test(missing_headers_unknown_keys_and_queries_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
