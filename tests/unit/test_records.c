/* SPDX-License-Identifier: Apache-2.0 */
/* The record store's client against a small HTTP server that answers as told. */
#include "tests/unit/endless_peer.h"
#include "tests/unit/records_peer.h"
#include "reseal/clock.h"

#define COLLECTION "/beta/deviceManagement/userPfxCertificates"
#define THUMB      "00112233445566778899aabbccddeeff00112233"
#define RECORD(id)                                                                                 \
    "{\"id\":\"" id "\",\"thumbprint\":\"" THUMB "\",\"intendedPurpose\":\"smimeEncryption\","     \
    "\"userPrincipalName\":\"u@example.org\",\"startDateTime\":\"2026-01-01T00:00:00Z\","          \
    "\"expirationDateTime\":\"2027-01-01T00:00:00Z\",\"providerName\":\"p\",\"keyName\":\"k\","    \
    "\"paddingScheme\":\"oaepSha512\",\"encryptedPfxBlob\":\"AA==\","                              \
    "\"encryptedPfxPassword\":\"\",\"createdDateTime\":\"2026-02-03T04:05:06Z\"}"

/* The ids that a list gave, one after the other. */
static bool note_id(void *context, const struct record *record, struct error *err)
{
    (void)err;
    char *ids = context;
    snprintf(ids + strlen(ids), 256 - strlen(ids), "%s ", record->id);
    return true;
}

static void a_list_is_followed_page_by_page(void **state)
{
    (void)state;
    char third[256], ids[256] = "";
    struct say says[3] = {{.status = 200}, {.status = 200}, {.status = 200}};
    struct peer *peer = peer_open(says, 3);
    struct client client = client_of(peer);
    struct error err = ERROR_INIT;
    char *page = malloc(4096);
    assert_non_null(page);
    snprintf(page, 4096,
             "{\"value\":[" RECORD("a") "," RECORD("b") "],\"@odata.nextLink\":\"%s" COLLECTION
                                                        "?$skiptoken=x%%20y\"}",
             peer->url);
    snprintf(third, sizeof third, "{\"value\":[],\"@odata.nextLink\":\"%s/beta/last\"}", peer->url);
    says[0].body = page;
    says[1].body = third;
    says[2].body = "{\"value\":[" RECORD("c") "]}";
    assert_ok(records_list(client.records, NULL, NULL, note_id, ids, &err), &err);
    assert_string_equal(ids, "a b c ");
    assert_int_equal(peer_count(peer), 3);
    assert_string_equal(peer->heard[0].target, COLLECTION);
    assert_string_equal(peer->heard[1].target, COLLECTION "?$skiptoken=x%20y");
    assert_string_equal(peer->heard[2].target, "/beta/last");
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(peer->heard[i].authorization, "Bearer " TOKEN);
    client_end(&client);
    peer_close(peer);
    free(page);
}

static void a_list_never_continues_at_another_origin(void **state)
{
    (void)state;
    const struct say other_says[] = {{.status = 200, .body = "{\"value\":[]}"}};
    struct peer *other = peer_open(other_says, 1);
    const char *port = strrchr(other->url, ':');
    char links[5][128];
    snprintf(links[0], sizeof links[0], "%s/beta/x", other->url);
    snprintf(links[1], sizeof links[1], "http://localhost%s/beta/x", port);
    snprintf(links[2], sizeof links[2], "//127.0.0.1%s/beta/x", port);
    snprintf(links[3], sizeof links[3], "https://127.0.0.1%s/beta/x", port);
    snprintf(links[4], sizeof links[4], "file:///etc/passwd");
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        char body[1024], ids[256] = "";
        struct error err = ERROR_INIT;
        struct say says[] = {{.status = 200, .body = body}};
        snprintf(body, sizeof body, "{\"value\":[],\"@odata.nextLink\":\"%s\"}", links[i]);
        struct peer *peer = peer_open(says, 1);
        struct client client = client_of(peer);
        assert_refused(records_list(client.records, NULL, NULL, note_id, ids, &err), &err,
                       FAIL_POLICY);
        assert_int_equal(peer_count(peer), 1);
        client_end(&client);
        peer_close(peer);
    }
    assert_int_equal(peer_count(other), 0);
    peer_close(other);
}

static void a_link_with_a_user_part_is_another_origin(void **state)
{
    (void)state;
    assert_true(web_same_origin("http://h/a", "http://H:80/b?c#d"));
    assert_true(web_same_origin("https://h", "https://h:443/"));
    assert_false(web_same_origin("http://h/a", "http://u@h/a"));
    assert_false(web_same_origin("http://h/a", "http://h:81/a"));
    assert_false(web_same_origin("http://h/a", "https://h/a"));
    assert_false(web_same_origin("http://h/a", "http://h.evil/a"));
    assert_false(web_same_origin("ftp://h/a", "ftp://h/a"));
    assert_false(web_same_origin("http://h/a", "/a"));
}

static void a_list_that_continues_with_itself_ends(void **state)
{
    (void)state;
    char body[256], ids[256] = "";
    struct error err = ERROR_INIT;
    struct say says[] = {{.status = 200, .body = body}};
    struct peer *peer = peer_open(says, 1);
    snprintf(body, sizeof body, "{\"value\":[],\"@odata.nextLink\":\"%s/beta/again\"}", peer->url);
    struct client client = client_of(peer);
    assert_refused(records_list(client.records, NULL, NULL, note_id, ids, &err), &err, FAIL_REMOTE);
    assert_int_equal(peer_count(peer), 2);
    client_end(&client);
    peer_close(peer);
}

static void a_filter_doubles_apostrophes_and_is_encoded(void **state)
{
    (void)state;
    char ids[256] = "";
    struct error err = ERROR_INIT;
    const struct say says[] = {{.status = 200, .body = "{\"value\":[]}"}};
    struct peer *peer = peer_open(says, 1);
    struct client client = client_of(peer);
    assert_ok(records_list(client.records, "O'Neil&x@Example.org", THUMB, note_id, ids, &err),
              &err);
    assert_string_equal(peer->heard[0].target, COLLECTION
                        "?$filter=tolower%28userPrincipalName%29%20eq%20%27o%27%27neil%26x%40"
                        "example.org%27%20and%20tolower%28thumbprint%29%20eq%20%27" THUMB "%27");
    client_end(&client);
    peer_close(peer);
}

static void a_record_that_cannot_be_read_does_not_hide_the_others(void **state)
{
    (void)state;
    char ids[256] = "";
    struct error err = ERROR_INIT;
    const struct say says[] = {
        {.status = 200,
         .body = "{\"value\":[" RECORD(
             "a") ",{\"id\":\"odd\",\"paddingScheme\":\"pkcs1\"},7," RECORD("b") "]}"}};
    struct peer *peer = peer_open(says, 1);
    struct client client = client_of(peer);
    assert_ok(records_list(client.records, NULL, NULL, note_id, ids, &err), &err);
    assert_string_equal(ids, "a b ");
    client_end(&client);
    peer_close(peer);
}

static void ids_are_encoded_into_the_path(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct record record;
    const struct say says[] = {{.status = 200, .body = RECORD("a/../b?c#d %")}, {.status = 204}};
    struct peer *peer = peer_open(says, 2);
    struct client client = client_of(peer);
    record_init(&record);
    assert_ok(records_get(client.records, "a/../b?c#d %", &record, &err), &err);
    assert_string_equal(record.id, "a/../b?c#d %");
    record_free(&record);
    assert_ok(records_delete(client.records, "o'x", &err), &err);
    assert_string_equal(peer->heard[0].target, COLLECTION "/a%2F..%2Fb%3Fc%23d%20%25");
    assert_string_equal(peer->heard[1].target, COLLECTION "/o%27x");
    assert_string_equal(peer->heard[1].method, "DELETE");
    assert_refused(records_delete(client.records, "", &err), &err, FAIL_USAGE);
    assert_refused(records_delete(client.records, "..", &err), &err, FAIL_USAGE);
    assert_int_equal(peer_count(peer), 2);
    client_end(&client);
    peer_close(peer);
}

static void fill_record(struct record *record)
{
    record_init(record);
    memcpy(record->thumbprint, THUMB, sizeof THUMB);
    memcpy(record->user_principal_name, "u@example.org", sizeof "u@example.org");
    memcpy(record->key_name, "k", 2);
    buf_put(&record->pfx, "PFX", 3);
    uint8_t *sealed = buf_extend(&record->sealed, 256);
    assert_non_null(sealed);
    memset(sealed, 7, 256);
}

static void a_posted_record_gets_its_id_and_keeps_its_secrets(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct record record;
    int64_t created;
    const struct say says[] = {{.status = 201, .body = RECORD("new-id")}};
    struct peer *peer = peer_open(says, 1);
    struct client client = client_of(peer);
    fill_record(&record);
    assert_ok(records_post(client.records, &record, &err), &err);
    assert_string_equal(record.id, "new-id");
    assert_true(clock_parse("2026-02-03T04:05:06Z", &created));
    assert_int_equal(record.created_ms, created);
    assert_int_equal(record.pfx.len, 3);
    assert_int_equal(record.sealed.len, 256);
    assert_string_equal(peer->heard[0].method, "POST");
    assert_string_equal(peer->heard[0].target, COLLECTION);
    assert_non_null(strstr(peer->heard[0].body, "\"encryptedPfxBlob\":\"UEZY\""));
    assert_non_null(strstr(peer->heard[0].body, "\"encryptedPfxPassword\":\"BwcHBw"));
    record_free(&record);
    client_end(&client);
    peer_close(peer);
}

static void each_status_has_its_kind_and_the_words_of_the_service(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        enum failure kind;
    } cases[] = {
        {301, FAIL_REMOTE},    {400, FAIL_INPUT},  {401, FAIL_AUTH},   {403, FAIL_AUTH},
        {404, FAIL_NOT_FOUND}, {408, FAIL_REMOTE}, {409, FAIL_EXISTS}, {413, FAIL_TOO_LARGE},
        {422, FAIL_INPUT},     {500, FAIL_REMOTE}, {502, FAIL_REMOTE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = ERROR_INIT;
        struct record record;
        char status[8];
        const struct say says[] = {
            {.status = cases[i].status,
             .body = "{\"error\":{\"code\":\"OddCode\",\"message\":\"odd \\u001b[31m words\"}}"}};
        struct peer *peer = peer_open(says, 1);
        struct client client = client_of(peer);
        record_init(&record);
        assert_refused(records_get(client.records, "x", &record, &err), &err, cases[i].kind);
        snprintf(status, sizeof status, "%u", cases[i].status);
        assert_non_null(strstr(err.text, status));
        /* That there is no such record is said once, in our own words. */
        assert_non_null(strstr(err.text, cases[i].status == 404 ? "there is no record \"x\""
                                                                : "OddCode: odd "));
        assert_null(strchr(err.text, 0x1b));
        assert_non_null(strstr(err.text, "request-id req-4711"));
        assert_null(strstr(err.text, TOKEN));
        assert_int_equal(peer_count(peer), 1);
        record_free(&record);
        client_end(&client);
        peer_close(peer);
    }
}

static void a_busy_service_is_asked_again_when_it_says(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    const struct say says[] = {
        {.status = 429, .header = "x-ms-retry-after-ms", .value = "20"},
        {.status = 503, .header = "Retry-After", .value = "1"},
        {.status = 204},
    };
    struct peer *peer = peer_open(says, 3);
    struct client client = client_of(peer);
    int64_t begin = clock_monotonic_ms();
    assert_ok(records_delete(client.records, "x", &err), &err);
    int64_t took = clock_monotonic_ms() - begin;
    assert_true(took >= 1000);
    assert_int_equal(peer_count(peer), 3);
    client_end(&client);
    peer_close(peer);
}

static void a_busy_service_is_not_asked_for_ever(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    const struct say always[] = {{.status = 429, .header = "x-ms-retry-after-ms", .value = "1"}};
    struct peer *peer = peer_open(always, 1);
    struct client client = client_of(peer);
    assert_refused(records_delete(client.records, "x", &err), &err, FAIL_REMOTE);
    assert_int_equal(peer_count(peer), 5);
    client_end(&client);
    peer_close(peer);
    const struct say tomorrow[] = {{.status = 503, .header = "Retry-After", .value = "86400"}};
    peer = peer_open(tomorrow, 1);
    client = client_of(peer);
    int64_t begin = clock_monotonic_ms();
    assert_refused(records_delete(client.records, "x", &err), &err, FAIL_REMOTE);
    assert_true(clock_monotonic_ms() - begin < 5000);
    assert_int_equal(peer_count(peer), 1);
    client_end(&client);
    peer_close(peer);
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    const struct say other_says[] = {{.status = 204}};
    struct peer *other = peer_open(other_says, 1);
    const struct say says[] = {{.status = 307, .header = "Location", .value = other->url}};
    struct peer *peer = peer_open(says, 1);
    struct client client = client_of(peer);
    assert_refused(records_delete(client.records, "x", &err), &err, FAIL_REMOTE);
    assert_int_equal(peer_count(other), 0);
    client_end(&client);
    peer_close(peer);
    peer_close(other);
}

static void answers_that_are_no_records_are_the_services_fault(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "<html>hello</html>",
        "[]",
        "7",
        "{}",
        "{\"value\":{}}",
        "{\"value\":",
        "{\"id\":1}",
        "\"text\"",
        "{\"value\":[],\"@odata.nextLink\":7}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct error err = ERROR_INIT;
        struct record record;
        char ids[256] = "";
        const struct say says[] = {{.status = 200, .body = bodies[i]}};
        struct peer *peer = peer_open(says, 1);
        struct client client = client_of(peer);
        fill_record(&record);
        assert_refused(records_post(client.records, &record, &err), &err, FAIL_REMOTE);
        assert_string_equal(record.id, "");
        assert_refused(records_list(client.records, NULL, NULL, note_id, ids, &err), &err,
                       FAIL_REMOTE);
        record_free(&record);
        record_init(&record);
        assert_refused(records_get(client.records, "x", &record, &err), &err, FAIL_REMOTE);
        record_free(&record);
        client_end(&client);
        peer_close(peer);
    }
}

static void a_huge_answer_is_cut_off(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char ids[256] = "";
    char *huge = malloc(WEB_BODY_MAX + 2);
    assert_non_null(huge);
    memset(huge, ' ', WEB_BODY_MAX + 1);
    huge[WEB_BODY_MAX + 1] = '\0';
    const struct say says[] = {{.status = 200, .body = huge}};
    struct peer *peer = peer_open(says, 1);
    struct client client = client_of(peer);
    assert_refused(records_list(client.records, NULL, NULL, note_id, ids, &err), &err, FAIL_REMOTE);
    assert_non_null(strstr(err.text, "longer than"));
    client_end(&client);
    peer_close(peer);
    free(huge);
}

static void header_lines_without_an_end_are_cut_off(void **state)
{
    (void)state;
    struct endless_peer endless;
    struct web_answer answer = {0};
    struct web *web = NULL;
    struct error err = ERROR_INIT;
    assert_true(endless_start(&endless));
    assert_ok(web_open(NULL, NULL, &web, &err), &err);
    assert_refused(web_call(web, "GET", endless.endpoint, NULL, &answer, &err), &err, FAIL_REMOTE);
    assert_non_null(strstr(err.text, "header lines"));
    web_close(&web);
    endless_stop(&endless);
    assert_true(endless.sent < 32u << 20); /* what lies in buffers between the two */
}

static void a_service_that_is_away_is_a_remote_failure(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    const struct say says[] = {{.status = 204}};
    struct peer *peer = peer_open(says, 1);
    struct client client = client_of(peer);
    peer_close(peer);
    assert_refused(records_delete(client.records, "x", &err), &err, FAIL_REMOTE);
    assert_true(err.hint[0] != '\0');
    client_end(&client);
}

static void only_clean_http_urls_are_taken(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "hub",
        "/beta",
        "file:///etc/passwd",
        "ftp://h/",
        "gopher://h/",
        "http://user@h/",
        "http://user:hunter2@h/",
        "http://h/?x",
        "http://h/#x",
    };
    struct error err = ERROR_INIT;
    struct web *web = NULL;
    struct records *records = NULL;
    assert_ok(web_open(NULL, NULL, &web, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_refused(records_open(web, bad[i], &records, &err), &err, FAIL_USAGE);
        assert_null(records);
        assert_null(strstr(err.text, "hunter2"));
    }
    struct web_answer answer;
    assert_refused(web_call(web, "GET", "file:///etc/passwd", NULL, &answer, &err), &err,
                   FAIL_USAGE);
    web_close(&web);
}

static void a_token_that_would_break_the_header_is_refused_unseen(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "abc\r\nX: y", "a b",
                                      ("\x7f"
                                       "abc"),
                                      "t\xc3\xb6ken"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = ERROR_INIT;
        struct secret *token = NULL;
        struct web *web = NULL;
        assert_ok(secret_copy(bad[i], strlen(bad[i]), &token, &err), &err);
        assert_refused(web_open(token, NULL, &web, &err), &err, FAIL_USAGE);
        assert_null(web);
        assert_null(strstr(err.text, "abc"));
        secret_free(&token);
    }
}

static int open_heap(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    return secret_heap_open(64 * 1024, &err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_followed_page_by_page),
        cmocka_unit_test(a_list_never_continues_at_another_origin),
        cmocka_unit_test(a_link_with_a_user_part_is_another_origin),
        cmocka_unit_test(a_list_that_continues_with_itself_ends),
        cmocka_unit_test(a_filter_doubles_apostrophes_and_is_encoded),
        cmocka_unit_test(a_record_that_cannot_be_read_does_not_hide_the_others),
        cmocka_unit_test(ids_are_encoded_into_the_path),
        cmocka_unit_test(a_posted_record_gets_its_id_and_keeps_its_secrets),
        cmocka_unit_test(each_status_has_its_kind_and_the_words_of_the_service),
        cmocka_unit_test(a_busy_service_is_asked_again_when_it_says),
        cmocka_unit_test(a_busy_service_is_not_asked_for_ever),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(answers_that_are_no_records_are_the_services_fault),
        cmocka_unit_test(a_huge_answer_is_cut_off),
        cmocka_unit_test(header_lines_without_an_end_are_cut_off),
        cmocka_unit_test(a_service_that_is_away_is_a_remote_failure),
        cmocka_unit_test(only_clean_http_urls_are_taken),
        cmocka_unit_test(a_token_that_would_break_the_header_is_refused_unseen),
    };
    return cmocka_run_group_tests(tests, open_heap, NULL);
}
