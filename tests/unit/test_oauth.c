/* SPDX-License-Identifier: Apache-2.0 */
/* Logins by OAuth 2.0 before a server that answers as told; a real one is in
 * tests/e2e/test_login.py. */
#include "tests/unit/pki.h"
#include "tests/unit/records_peer.h"
#include "reseal/oauth.h"
#include "reseal/text.h"

#define GRANT "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"access_token\":\"an.access-token\"}"

struct login {
    struct peer *peer;
    struct web *web;
    struct oauth_client client;
};

static void open_login(struct login *login, const struct say *says, size_t count)
{
    struct error err = ERROR_INIT;
    login->peer = peer_open(says, count);
    assert_ok(web_open(NULL, NULL, &login->web, &err), &err);
    login->client = (struct oauth_client){.authority = login->peer->url,
                                          .tenant = "example.org",
                                          .client_id = "an id",
                                          .scope = "https://graph.example/.default"};
}

static void close_login(struct login *login)
{
    web_close(&login->web);
    peer_close(login->peer);
}

static bool by_secret(struct login *login, const char *text, struct oauth_grant *grant,
                      struct error *err)
{
    struct secret *secret = NULL;
    *err = (struct error)ERROR_INIT;
    assert_ok(secret_copy(text, strlen(text), &secret, err), err);
    bool ok = oauth_by_secret(login->web, &login->client, secret, grant, err);
    secret_free(&secret);
    return ok;
}

static void a_secret_is_sent_in_a_form_and_a_token_comes_back(void **state)
{
    (void)state;
    const struct say says[] = {{.status = 200, .body = GRANT}};
    struct login login;
    struct oauth_grant grant;
    struct error err;
    open_login(&login, says, 1);
    assert_ok(by_secret(&login, "s&=+ \u00fc", &grant, &err), &err);
    assert_int_equal(secret_len(grant.token), strlen("an.access-token"));
    assert_memory_equal(secret_data(grant.token), "an.access-token", secret_len(grant.token));
    assert_int_equal(grant.lifetime_s, 3599);
    const struct heard *heard = &login.peer->heard[0];
    assert_string_equal(heard->method, "POST");
    assert_string_equal(heard->target, "/example.org/oauth2/v2.0/token");
    assert_string_equal(heard->authorization, "");
    assert_string_equal(heard->body, "grant_type=client_credentials&client_id=an%20id"
                                     "&scope=https%3A%2F%2Fgraph.example%2F.default"
                                     "&client_secret=s%26%3D%2B%20%C3%BC");
    oauth_grant_free(&grant);
    close_login(&login);
}

static void an_answer_that_is_no_grant_gives_no_token(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "[]",
        "{}",
        "no json",
        "{\"token_type\":\"Bearer\"}",
        "{\"access_token\":\"x\"}",
        "{\"token_type\":\"mac\",\"access_token\":\"x\"}",
        "{\"token_type\":\"Bearer\",\"access_token\":7}",
        "{\"token_type\":\"Bearer\",\"access_token\":\"x\",\"expires_in\":-1}",
        "{\"token_type\":\"Bearer\",\"access_token\":\"x\",\"access_token\":\"y\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        const struct say says[] = {{.status = 200, .body = bodies[i]}};
        struct login login;
        struct oauth_grant grant;
        struct error err;
        open_login(&login, says, 1);
        assert_refused(by_secret(&login, "secret", &grant, &err), &err, FAIL_REMOTE);
        assert_null(grant.token);
        close_login(&login);
    }
}

static void a_refusal_is_one_of_who_asks_and_trouble_is_not(void **state)
{
    (void)state;
    static const struct {
        struct say say;
        enum failure kind;
        const char *words;
    } rows[] = {
        {{.status = 401,
          .body = "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: wrong\"}"},
         FAIL_AUTH,
         "invalid_client: AADSTS7000215: wrong"},
        {{.status = 400, .body = "{\"error\":\"invalid_scope\"}"}, FAIL_AUTH, "invalid_scope"},
        {{.status = 404, .body = "<html>"}, FAIL_NOT_FOUND, "404"},
        {{.status = 500, .body = "{\"error\":\"server_error\"}"}, FAIL_REMOTE, "server_error"},
        {{.status = 302, .header = "Location", .value = "http://127.0.0.1:1/"}, FAIL_REMOTE, "302"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct login login;
        struct oauth_grant grant;
        struct error err;
        open_login(&login, &rows[i].say, 1);
        assert_false(by_secret(&login, "a-secret", &grant, &err));
        assert_int_equal(err.kind, rows[i].kind);
        if (strstr(err.text, rows[i].words) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", rows[i].words, err.text);
        assert_null(strstr(err.text, "a-secret"));
        assert_int_equal(peer_count(login.peer), 1);
        close_login(&login);
    }
}

static void a_secret_that_is_none_is_not_sent(void **state)
{
    (void)state;
    const struct say says[] = {{.status = 200, .body = GRANT}};
    struct login login;
    struct oauth_grant grant;
    struct error err;
    open_login(&login, says, 1);
    assert_refused(by_secret(&login, "", &grant, &err), &err, FAIL_USAGE);
    login.client.authority = "http://user@127.0.0.1/";
    assert_refused(by_secret(&login, "secret", &grant, &err), &err, FAIL_USAGE);
    login.client.authority = "http://login.example"; /* in clear, over the network */
    assert_refused(by_secret(&login, "secret", &grant, &err), &err, FAIL_USAGE);
    assert_int_equal(peer_count(login.peer), 0);
    close_login(&login);
}

/* -- the assertion -- */

static void take_part(const char **at, struct buf *out)
{
    char text[4096];
    size_t len = strcspn(*at, ".&");
    struct error err = ERROR_INIT;
    assert_true(len > 0 && len + 4 < sizeof text);
    memcpy(text, *at, len);
    *at += len + ((*at)[len] == '.');
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
    while (len % 4 != 0)
        text[len++] = '=';
    assert_ok(base64_decode(out, text, len, "a part", &err), &err);
}

static void an_assertion_is_signed_for_this_server_and_a_short_time(void **state)
{
    (void)state;
    const struct say says[] = {{.status = 200, .body = GRANT}};
    static const struct json_limits limits = {.bytes = 4096, .string = 1024, .values = 32};
    struct login login;
    struct oauth_grant grant;
    struct error err = ERROR_INIT;
    struct buf der = BUF_INIT(8192), header = BUF_INIT(1024), claims = BUF_INIT(4096),
               signature = BUF_INIT(1024);
    struct json *json = NULL;
    const char *value = NULL;
    int64_t from = 0, until = 0;
    char audience[256];
    EVP_PKEY *key = EVP_RSA_gen(2048);
    const struct pki_wish wish = {.name = "importer", .key = key, .from_s = -60, .until_s = 86400};
    X509 *certificate = pki_certificate(&wish);
    pki_der(certificate, &der);
    open_login(&login, says, 1);
    const struct signing_key signing = {.key = key};
    assert_ok(
        oauth_by_certificate(login.web, &login.client, &signing, buf_bytes(&der), &grant, &err),
        &err);
    const char *jwt = strstr(login.peer->heard[0].body, "client_assertion=");
    assert_non_null(jwt);
    jwt += strlen("client_assertion=");
    const char *at = jwt;
    take_part(&at, &header);
    take_part(&at, &claims);
    const struct bytes signed_text = {(const uint8_t *)jwt, (size_t)(at - 1 - jwt)};
    take_part(&at, &signature);
    assert_ok(signature_check(key, signed_text, buf_bytes(&signature), &err), &err);
    assert_non_null(strstr(buf_text(&header), "\"alg\":\"PS256\""));
    assert_ok(json_parse(claims.data, claims.len, &limits, "claims", &json, &err), &err);
    const struct json_value *root = json_root(json);
    snprintf(audience, sizeof audience, "%s/example.org/oauth2/v2.0/token", login.peer->url);
    assert_ok(json_want_text(root, "", "aud", 256, &value, &err), &err);
    assert_string_equal(value, audience);
    assert_ok(json_want_text(root, "", "iss", 256, &value, &err), &err);
    assert_string_equal(value, "an id");
    assert_ok(json_want_text(root, "", "sub", 256, &value, &err), &err);
    assert_string_equal(value, "an id");
    assert_ok(json_want_integer(root, "", "nbf", 1, INT64_MAX, &from, &err), &err);
    assert_ok(json_want_integer(root, "", "exp", 1, INT64_MAX, &until, &err), &err);
    assert_in_range(until - from, 60, 600);
    json_free(&json);
    oauth_grant_free(&grant);
    close_login(&login);
    buf_free(&der);
    buf_free(&header);
    buf_free(&claims);
    buf_free(&signature);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* -- the device flow -- */

#define DEVICE(interval)                                                                           \
    "{\"user_code\":\"AB\\u001bCD\",\"verification_uri\":\"https://login.example/device\","        \
    "\"device_code\":\"the device code\",\"expires_in\":900" interval "}"

static void a_login_of_a_person_is_asked_for_until_it_is_decided(void **state)
{
    (void)state;
    const struct say says[] = {
        {.status = 200, .body = DEVICE(",\"interval\":7")},
        {.status = 400, .body = "{\"error\":\"authorization_pending\"}"},
        {.status = 400, .body = "{\"error\":\"slow_down\"}"},
        {.status = 500, .body = "{}"},
        {.status = 200, .body = GRANT},
        {.status = 400, .body = "{\"error\":\"expired_token\"}"},
    };
    struct login login;
    struct oauth_device device;
    struct oauth_grant grant;
    struct error err = ERROR_INIT;
    bool done = true;
    open_login(&login, says, ARRAY_LEN(says));
    assert_ok(oauth_device_begin(login.web, &login.client, &device, &err), &err);
    assert_string_equal(device.user_code, "AB?CD"); /* it goes to a terminal */
    assert_string_equal(device.url, "https://login.example/device");
    assert_int_equal(device.interval_s, 7);
    assert_int_equal(device.lifetime_s, 900);
    assert_string_equal(login.peer->heard[0].target, "/example.org/oauth2/v2.0/devicecode");
    for (int i = 0; i < 3; i++) {
        assert_ok(oauth_device_poll(login.web, &login.client, &device, &done, &grant, &err), &err);
        assert_false(done);
    }
    assert_int_equal(device.interval_s, 17);
    assert_ok(oauth_device_poll(login.web, &login.client, &device, &done, &grant, &err), &err);
    assert_true(done);
    assert_non_null(strstr(login.peer->heard[4].body, "device_code=the%20device%20code"));
    oauth_grant_free(&grant);
    assert_refused(oauth_device_poll(login.web, &login.client, &device, &done, &grant, &err), &err,
                   FAIL_AUTH);
    assert_false(done);
    oauth_device_free(&device);
    close_login(&login);
}

static void a_device_answer_that_lacks_something_begins_nothing(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{}", "{\"user_code\":\"A\",\"verification_uri\":\"u\",\"expires_in\":5}",
        "{\"user_code\":\"A\",\"device_code\":\"d\",\"expires_in\":5}",
        "{\"user_code\":\"A\",\"verification_uri\":\"u\",\"device_code\":\"d\",\"expires_in\":0}",
        "{\"user_code\":\"A\",\"verification_uri\":\"u\",\"device_code\":\"d\",\"expires_in\":5,"
        "\"interval\":100000}"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        const struct say says[] = {{.status = 200, .body = bodies[i]}};
        struct login login;
        struct oauth_device device;
        struct error err = ERROR_INIT;
        open_login(&login, says, 1);
        assert_refused(oauth_device_begin(login.web, &login.client, &device, &err), &err,
                       FAIL_REMOTE);
        oauth_device_free(&device);
        close_login(&login);
    }
}

static int open_heap(void **state)
{
    struct error err = ERROR_INIT;
    (void)state;
    return secret_heap_open(262144, &err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_sent_in_a_form_and_a_token_comes_back),
        cmocka_unit_test(an_answer_that_is_no_grant_gives_no_token),
        cmocka_unit_test(a_refusal_is_one_of_who_asks_and_trouble_is_not),
        cmocka_unit_test(a_secret_that_is_none_is_not_sent),
        cmocka_unit_test(an_assertion_is_signed_for_this_server_and_a_short_time),
        cmocka_unit_test(a_login_of_a_person_is_asked_for_until_it_is_decided),
        cmocka_unit_test(a_device_answer_that_lacks_something_begins_nothing),
    };
    return cmocka_run_group_tests(tests, open_heap, NULL);
}
