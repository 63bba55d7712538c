/* SPDX-License-Identifier: Apache-2.0 */
/* The second dialect: Azure Storage Queue. Azurite with the real client is in tests/e2e; here is
 * what azurite does not do: misbehave. */
#include "tests/unit/azure_scene.h"
#include "src/queue/azure_sign.h"

/* -- who we are -- */

/* Signatures made by another program, by the letter of "Authorize with Shared Key". */
static void requests_are_signed_by_the_account_key(void **state)
{
    static const struct azure_parameter two[] = {
        {"popreceipt", "AgAAAA=="}, {"visibilitytimeout", "60"}, {NULL, NULL}};
    static const struct azure_parameter none[] = {{NULL, NULL}};
    static const struct {
        struct azure_request request;
        const char *wanted;
    } cases[] = {
        {{"PUT", "/account/orders/messages/id", "", 0, "Mon, 05 Jan 2026 10:00:00 GMT",
          "2021-12-02", two},
         "SharedKey account:JodhIIj+5vylung3aWNF87IvydCp5dZzso8cnBEnSI8="},
        {{"POST", "/orders/messages", "application/xml", 105, "Mon, 05 Jan 2026 10:00:00 GMT",
          "2021-12-02", none},
         "SharedKey account:iknH9WyJKgdDuYHMOd9+Mq2lCDuPmCJkxBdU3t3P5NA="},
    };
    struct account *account = *state;
    struct access_key key = {0};
    struct error err = ERROR_INIT;
    write_connection(account, "AccountName=account;AccountKey=" KEY_TEXT "\n");
    assert_ok(azure_key_load(account->path, &key, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT(512);
        assert_ok(azure_authorization(&key, &cases[i].request, &out, &err), &err);
        assert_string_equal(buf_text(&out), cases[i].wanted);
        buf_free(&out);
    }
    secret_free(&key.secret);
}

static void connection_strings_are_read(void **state)
{
    static const struct {
        const char *text, *id, *endpoint;
        bool sas;
    } good[] = {
        {"DefaultEndpointsProtocol=https;AccountName=a1;AccountKey=" KEY_TEXT
         ";EndpointSuffix=core.windows.net\n",
         "a1", "https://a1.queue.core.windows.net", false},
        {"AccountName=a1;AccountKey=" KEY_TEXT, "a1", "https://a1.queue.core.windows.net", false},
        {"accountname=a1;ACCOUNTKEY=" KEY_TEXT ";EndpointSuffix=example.org;", "a1",
         "https://a1.queue.example.org", false},
        {"BlobEndpoint=https://b/;QueueEndpoint=https://"
         "q.example;SharedAccessSignature=sv=2021&sig="
         "x%3D",
         "", "https://q.example", true},
        {"SharedAccessSignature=?sv=2021&sig=x;AccountName=a2", "a2",
         "https://a2.queue.core.windows.net", true},
    };
    static const char *const bad[] = {
        "",
        "garbage",
        "AccountName=a1",
        "AccountKey=" KEY_TEXT,
        "AccountName=a1;AccountKey=",
        "AccountName=a1;AccountKey=%%%%",
        "AccountName=a1;AccountKey=AAAA",
        "AccountName=a1;AccountKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "QueueEndpoint=https://q;SharedAccessSignature=sv=2021",
        "QueueEndpoint=https://q;SharedAccessSignature=sv=1&sig=x\r\nX-Injected: 1",
        "QueueEndpoint=https://q;SharedAccessSignature=sig=x y",
    };
    struct account *account = *state;
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct access_key key = {0};
        write_connection(account, good[i].text);
        assert_ok(azure_key_load(account->path, &key, &err), &err);
        assert_string_equal(key.id, good[i].id);
        assert_string_equal(key.endpoint, good[i].endpoint);
        assert_true((key.sas != NULL) == good[i].sas);
        assert_true((key.secret != NULL) != good[i].sas);
        secret_free(&key.secret);
        secret_free(&key.sas);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct access_key key = {0};
        write_connection(account, bad[i]);
        assert_refused(azure_key_load(account->path, &key, &err), &err, FAIL_USAGE);
        assert_null(strstr(err.text, KEY_TEXT));
        secret_free(&key.secret);
        secret_free(&key.sas);
    }
}

/* -- messages -- */

static void a_message_comes_decoded_or_as_it_is(void **state)
{
    static const char *const texts[][2] = {
        {"aGVsbG8=", "hello"}, {"{&quot;a&quot;:1}", "{\"a\":1}"}, {"not base64", "not base64"}};
    struct scene *scene = connect_azure(*state, 0);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct received received;
        offer_one(scene, texts[i][0], 3);
        receive(scene, &received);
        turn_until(scene, &received.over, 5000);
        assert_int_equal(received.count, 1);
        assert_string_equal(received.bodies[0], texts[i][1]);
        assert_string_equal(received.receipts[0], "m-1 r+1=");
        assert_int_equal(received.receive_count, 3);
    }
    assert_string_equal(seen(scene, "GET messages", 0)->url, "/account/orders/messages");
}

static void what_is_sent_is_base64_and_one_by_one(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct ending endings[3] = {0};
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        send_text(scene, "hello", &endings[i]);
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        turn_until(scene, &endings[i].over, 5000);
        assert_int_equal(endings[i].err.kind, FAIL_NONE);
    }
    assert_int_equal(peer_count(&scene->peer, "POST messages"), 3);
    assert_non_null(
        strstr(peer_body(&scene->peer, "POST messages", 0), "<MessageText>aGVsbG8=</MessageText>"));
    assert_non_null(strstr(seen(scene, "POST messages", 0)->authorization, "SharedKey account:"));
}

static void what_does_not_fit_into_a_message_is_refused_at_once(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    size_t most = queue_message_max(scene->client);
    uint8_t *body = calloc(1, most + 1);
    struct ending ending = {0};
    struct error err = ERROR_INIT;
    memset(body, 'x', most + 1);
    assert_int_equal(most, 48 * 1024); /* 64 KiB of base64 */
    assert_refused(queue_send(scene->queue, (struct bytes){body, most + 1}, on_done, &ending, &err),
                   &err, FAIL_TOO_LARGE);
    assert_ok(queue_send(scene->queue, (struct bytes){body, most}, on_done, &ending, &err), &err);
    turn_until(scene, &ending.over, 5000);
    assert_int_equal(ending.err.kind, FAIL_NONE);
    const char *sent = peer_body(&scene->peer, "POST messages", 0);
    assert_int_equal(strstr(sent, "</MessageText>") - strstr(sent, "<MessageText>") - 13, 65536);
    free(body);
}

/* -- receipts -- */

static void each_extension_gives_the_receipt_of_the_next_call(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < 2; i++) {
        struct ending ending = {0};
        assert_ok(queue_extend(scene->queue, "m-1 r+1=", 60, on_done, &ending, &err), &err);
        turn_until(scene, &ending.over, 5000);
        assert_int_equal(ending.err.kind, FAIL_NONE);
    }
    struct ending other = {0}, deleted = {0};
    assert_ok(queue_delete(scene->queue, "m-2 r2", on_done, &other, &err), &err);
    assert_ok(queue_delete(scene->queue, "m-1 r+1=", on_done, &deleted, &err), &err);
    turn_until(scene, &other.over, 5000);
    turn_until(scene, &deleted.over, 5000);
    assert_string_equal(seen(scene, "PUT message", 0)->receipt, "r+1=");
    assert_string_equal(seen(scene, "PUT message", 1)->receipt, "new-1");
    bool found = false;
    for (size_t i = 0; i < 2; i++) {
        const struct seen_call *call = seen(scene, "DELETE message", i);
        bool ours = strcmp(call->url, "/account/orders/messages/m-1") == 0;
        assert_string_equal(call->receipt, ours ? "new-2" : "r2");
        found = found || ours;
    }
    assert_true(found);
}

static void nothing_is_asked_of_a_message_while_its_extension_is_under_way(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct error err = ERROR_INIT;
    struct ending extended = {0}, deleted = {0}, other = {0};
    peer_fault(&scene->peer, (struct fault){.call = "PUT message", .kind = FAULT_HANG});
    assert_ok(queue_extend(scene->queue, "m-1 r1", 60, on_done, &extended, &err), &err);
    while (peer_count(&scene->peer, "PUT message") == 0)
        assert_ok(queue_turn(scene->client, NULL, 0, 50, &err), &err);
    assert_ok(queue_delete(scene->queue, "m-1 r1", on_done, &deleted, &err), &err);
    assert_ok(queue_delete(scene->queue, "m-2 r2", on_done, &other, &err), &err);
    turn_until(scene, &other.over, 5000);
    assert_int_equal(peer_count(&scene->peer, "DELETE message"), 1);
    assert_false(deleted.over);
    queue_client_free(&scene->client);
    assert_int_equal(deleted.times, 1);
    assert_int_equal(extended.times, 1);
}

static void an_extension_that_failed_is_tried_with_the_same_receipt(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct error err = ERROR_INIT;
    struct ending extended = {0}, deleted = {0};
    peer_fault(&scene->peer, (struct fault){.call = "PUT message", .status = 500, .body = ""});
    assert_ok(queue_extend(scene->queue, "m-1 r1", 60, on_done, &extended, &err), &err);
    turn_until(scene, &extended.over, 5000);
    assert_string_equal(seen(scene, "PUT message", 1)->receipt, "r1");
    assert_ok(queue_delete(scene->queue, "m-1 r1", on_done, &deleted, &err), &err);
    turn_until(scene, &deleted.over, 5000);
    assert_string_equal(seen(scene, "DELETE message", 0)->receipt, "new-1");
}

/* -- receives -- */

/* A wait of three seconds: some polls, ever further apart, and not one after the other. */
/* -- a connection string that changes while the client runs -- */

struct renewal {
    const struct account *account;
    const char *connection;
};

static void renew(void *context)
{
    const struct renewal *renewal = context;
    write_connection(renewal->account, renewal->connection);
}

/* The file is renewed while the request is under way, which is answered 403. */
static unsigned tries_with(struct account *account, const char *connection)
{
    struct scene *scene = account->scene;
    struct received received;
    size_t before = peer_count(&scene->peer, "GET messages");
    struct renewal renewal = {account, connection};
    peer_fault(
        &scene->peer,
        (struct fault){.call = "GET messages", .status = 403, .taken = renew, .context = &renewal});
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    return (unsigned)(peer_count(&scene->peer, "GET messages") - before);
}

static void a_signature_for_another_endpoint_is_not_shown_to_this_one(void **state)
{
    struct account *account = *state;
    const char *endpoint = account->scene->peer.endpoint;
    char same[256], other[256];
    snprintf(same, sizeof same, "QueueEndpoint=%s/account/;SharedAccessSignature=sv=1&sig=first",
             endpoint);
    write_connection(account, same);
    connect_azure(account, 0);
    snprintf(other, sizeof other,
             "QueueEndpoint=https://other.example/;SharedAccessSignature=sv=1&sig=others");
    assert_int_equal(tries_with(account, other), 1);
    snprintf(same, sizeof same, "QueueEndpoint=%s/account/;SharedAccessSignature=sv=1&sig=newer",
             endpoint);
    assert_int_equal(tries_with(account, same), 2);
}

/* -- failures -- */

static void failures_are_told_apart(void **state)
{
    static const struct {
        unsigned status;
        const char *body;
        enum failure kind;
    } cases[] = {
        {404,
         "<?xml "
         "version=\"1.0\"?><Error><Code>QueueNotFound</Code><Message>gone\nx</Message></Error>",
         FAIL_NOT_FOUND},
        {403, "<Error><Code>AuthenticationFailed</Code></Error>", FAIL_AUTH},
        {403, "", FAIL_AUTH},
        {503, "<Error><Code>ServerBusy</Code></Error>", FAIL_REMOTE},
        {500, "oops", FAIL_REMOTE},
        {429, "", FAIL_REMOTE},
        {409, "<Error><Code>QueueDisabled</Code></Error>", FAIL_REMOTE},
        {400, "<Error><Code>OutOfRangeQueryParameterValue</Code></Error>", FAIL_INPUT},
        {200, "<QueueMessagesList><QueueMessage>", FAIL_REMOTE},
        {200, "", FAIL_REMOTE},
        {200, "<!DOCTYPE x [<!ENTITY a \"b\">]><QueueMessagesList/>", FAIL_REMOTE},
    };
    struct scene *scene = connect_azure(*state, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct received received;
        fault(scene, "GET messages", cases[i].status, cases[i].body);
        receive(scene, &received);
        turn_until(scene, &received.over, 5000);
        assert_int_equal(received.err.kind, cases[i].kind);
        assert_null(strstr(received.err.text, KEY_TEXT));
    }
}

static void a_message_that_lacks_a_part_is_left_out(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct received received;
    peer_offer(&scene->peer,
               "<QueueMessagesList>"
               "<QueueMessage><MessageId>m-1</MessageId><MessageText>x</MessageText></QueueMessage>"
               "<QueueMessage><PopReceipt>r</PopReceipt><MessageText>x</MessageText></QueueMessage>"
               "<QueueMessage><MessageId>m-3</MessageId><PopReceipt>r</PopReceipt></QueueMessage>"
               "<QueueMessage><MessageId>m 4</MessageId><PopReceipt>r</PopReceipt>"
               "<MessageText>x</MessageText></QueueMessage>"
               "<QueueMessage><MessageId>m-5</MessageId><PopReceipt>r</PopReceipt>"
               "<MessageText>whole one</MessageText></QueueMessage>"
               "</QueueMessagesList>");
    receive(scene, &received);
    turn_until(scene, &received.over, 5000);
    assert_int_equal(received.count, 1);
    assert_string_equal(received.bodies[0], "whole one");
}

static void an_examination_counts_all_messages(void **state)
{
    struct scene *scene = connect_azure(*state, 0);
    struct queue_facts facts;
    struct error err = ERROR_INIT;
    assert_ok(queue_examine(scene->queue, &facts, &err), &err);
    assert_int_equal(facts.visible, 7);
    assert_int_equal(facts.in_flight, -1);
    assert_true(llabs((long long)facts.clock_skew_ms) < 3000);
    assert_string_equal(seen(scene, "GET queue", 0)->url, "/account/orders");
}

static void names_that_no_queue_there_can_have_are_refused(void **state)
{
    static const char *const bad[] = {"ab", "Work", "work_1", "-work", "work-", "wo--rk", "wo/rk"};
    struct scene *scene = connect_azure(*state, 0);
    struct queue *queue;
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(queue_named(scene->client, bad[i], &queue, &err), &err, FAIL_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        account_test(requests_are_signed_by_the_account_key),
        account_test(connection_strings_are_read),
        account_test(a_message_comes_decoded_or_as_it_is),
        account_test(what_is_sent_is_base64_and_one_by_one),
        account_test(what_does_not_fit_into_a_message_is_refused_at_once),
        account_test(each_extension_gives_the_receipt_of_the_next_call),
        account_test(nothing_is_asked_of_a_message_while_its_extension_is_under_way),
        account_test(an_extension_that_failed_is_tried_with_the_same_receipt),
        account_test(a_signature_for_another_endpoint_is_not_shown_to_this_one),
        account_test(failures_are_told_apart),
        account_test(a_message_that_lacks_a_part_is_left_out),
        account_test(an_examination_counts_all_messages),
        account_test(names_that_no_queue_there_can_have_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
