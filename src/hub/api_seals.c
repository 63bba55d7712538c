/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seals, for the rotation of sealing keys.
 *
 *   GET /v1/seals?keyName=NAME[&$top=N][&$skiptoken=N]
 *       the sealed passwords under that key. Graph never gives one back, so this is our own, and
 *       wants a token of its own.
 *   PATCH /beta/deviceManagement/userPfxCertificates/{id}
 *       a new seal: encryptedPfxPassword, keyName, paddingScheme and, where wanted, providerName,
 *       together or not at all. If-Match is not optional (428; RFC 6585, section 3): a seal that
 *       somebody has replaced meanwhile is not written over by one made of the seal before (412).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api_graph.h"
#include "reseal/text.h"
#include "store_records.h"
#include "store_seals.h"
#include "uri.h"

#define PAGE_MAX 100

/* -- reading -- */

struct page {
    char key_name[RECORD_NAME_MAX + 1];
    int64_t top, after;
    struct json_writer *json;
    int64_t written, last;
    bool more;
};

static bool write_seal(void *context, int64_t sequence, const struct seal_row *row,
                       struct error *err)
{
    struct page *page = context;
    if (page->written == page->top) { /* asked for one more than fits */
        page->more = true;
        return true;
    }
    json_object(page->json, NULL);
    bool ok = seal_put_etag(page->json, row->sealed, err);
    json_put_text(page->json, "id", row->id);
    json_put_text(page->json, "providerName", row->provider_name);
    json_put_text(page->json, "paddingScheme", padding_name(row->padding));
    json_put_base64(page->json, "encryptedPfxPassword", row->sealed.data, row->sealed.len);
    json_object_end(page->json);
    page->written++;
    page->last = sequence;
    return ok;
}

static bool write_page(struct exchange *exchange, struct database *database, struct page *page,
                       struct error *err)
{
    int64_t records, requests;
    json_object(page->json, NULL);
    json_put_text(page->json, "keyName", page->key_name);
    if (page->after == 0) { /* what is told once */
        if (!seal_counts(database, page->key_name, &records, &requests, err))
            return false;
        json_put_integer(page->json, "records", records);
        json_put_integer(page->json, "requests", requests);
    }
    json_array(page->json, "value");
    if (page->top > 0 &&
        !seal_list(database, page->key_name, page->after, page->top + 1, write_seal, page, err))
        return false;
    json_array_end(page->json);
    if (page->more)
        json_put_integer(page->json, "skipToken", page->last);
    json_object_end(page->json);
    return answer_json(&exchange->answer, MHD_HTTP_OK, JSON_TYPE, page->json, err);
}

static enum job_verdict run_list(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct page *page = exchange->work;
    page->written = page->last = 0;
    page->more = false;
    if (!json_writer_new(false, &page->json, err))
        return JOB_FAILED;
    bool ok = write_page(exchange, database, page, err);
    json_writer_free(&page->json);
    return ok ? JOB_DONE : JOB_FAILED;
}

static bool read_number(const char *text, int64_t *out)
{
    size_t len = strlen(text);
    if (len == 0 || len > 18 || strspn(text, "0123456789") != len)
        return false;
    *out = strtoll(text, NULL, 10);
    return true;
}

static bool read_query(const char *query, struct page *page, struct error *err)
{
    struct uri_parameter parameter;
    while (uri_next_parameter(&query, &parameter)) {
        char name[32], value[RECORD_NAME_MAX + 1];
        if (!uri_decode(URI_QUERY, (const char *)parameter.name.data, parameter.name.len, name,
                        sizeof name) ||
            !uri_decode(URI_QUERY, (const char *)parameter.value.data, parameter.value.len, value,
                        sizeof value))
            return error_set(err, FAIL_INPUT,
                             "the query is not percent-encoded UTF-8, or too long");
        bool ok = false;
        if (strcmp(name, "keyName") == 0)
            ok = snprintf(page->key_name, sizeof page->key_name, "%s", value) > 0;
        else if (strcmp(name, "$top") == 0)
            ok = read_number(value, &page->top);
        else if (strcmp(name, "$skiptoken") == 0)
            ok = read_number(value, &page->after);
        if (!ok)
            return error_set(err, FAIL_INPUT, "the query option \"%s\" is not known or not valid",
                             name);
    }
    if (page->key_name[0] == '\0')
        return error_set(err, FAIL_INPUT, "keyName is missing");
    if (page->top > PAGE_MAX)
        page->top = PAGE_MAX;
    return true;
}

void seals_list_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct page *page = calloc(1, sizeof *page);
    if (page == NULL) {
        error_memory(&err);
        graph_fail(exchange, &err);
        return;
    }
    exchange->work = page;
    exchange->work_free = free;
    page->top = PAGE_MAX;
    if (read_query(exchange->query, page, &err))
        exchange->job.run = run_list;
    else
        graph_fail(exchange, &err);
}

/* -- replacing -- */

static void free_change(void *work)
{
    struct seal_change *change = work;
    buf_free(&change->sealed);
    free(change);
}

static enum job_verdict run_patch(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    const struct seal_change *change = exchange->work;
    struct record record;
    bool matched = false;
    if (!seal_replace(database, change, &matched, err))
        return JOB_FAILED;
    if (!matched) {
        struct error reason = ERROR_INIT;
        error_set(&reason, FAIL_EXISTS, "the record \"%s\" has another seal by now", change->id);
        error_hint(&reason, "read it again");
        graph_fail_with(exchange, MHD_HTTP_PRECONDITION_FAILED, RESULT_CONFLICT, &reason);
        return JOB_DONE;
    }
    record_init(&record);
    bool ok = record_select(database, change->id, &record, err) &&
              answer_record(exchange, MHD_HTTP_OK, &record, err);
    record_free(&record);
    return ok ? JOB_DONE : JOB_FAILED;
}

/* One strong entity tag, or '*'. */
static bool read_condition(struct exchange *exchange, struct seal_change *change)
{
    struct error err = ERROR_INIT;
    const char *header = exchange_header(exchange, "If-Match");
    if (header == NULL) {
        error_set(&err, FAIL_INPUT, "the request has no If-Match header");
        error_hint(&err, "send the record's @odata.etag, or * for whatever is there");
        graph_fail_with(exchange, MHD_HTTP_PRECONDITION_REQUIRED, RESULT_PARAMETER_INVALID, &err);
        return false;
    }
    size_t len = strlen(header);
    if (strcmp(header, "*") == 0)
        return true;
    if (len == SEAL_TAG + 1 && header[0] == '"' && header[len - 1] == '"' &&
        strspn(header + 1, "0123456789abcdef") == SEAL_TAG - 1) {
        memcpy(change->expected, header + 1, SEAL_TAG - 1);
        return true;
    }
    error_set(&err, FAIL_EXISTS, "If-Match is no entity tag of a record here");
    graph_fail_with(exchange, MHD_HTTP_PRECONDITION_FAILED, RESULT_CONFLICT, &err);
    return false;
}

static bool check_name(const char *key, const char *text, struct error *err)
{
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return error_set(err, FAIL_INPUT, "%s contains a control character", key);
    }
    return true;
}

/* A member that is passed over would leave its sender in the belief that it was changed. */
static bool check_members(const struct json_value *root, struct error *err)
{
    static const char *const known[] = {"@odata.type", "encryptedPfxPassword", "keyName",
                                        "providerName", "paddingScheme"};
    for (size_t i = 0; i < json_count(root); i++) {
        bool found = false;
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            found = found || strcmp(json_key_at(root, i), known[k]) == 0;
        if (!found) {
            error_set(err, FAIL_UNSUPPORTED, "%.64s of a record cannot be changed",
                      json_key_at(root, i));
            return error_hint(err, "only its seal can; otherwise remove the record and post it");
        }
    }
    return true;
}

static bool read_change(const struct json_value *root, struct seal_change *change,
                        struct error *err)
{
    const char *key_name, *provider_name, *padding;
    if (!check_members(root, err) ||
        !json_want_text(root, "", "keyName", RECORD_NAME_MAX, &key_name, err) ||
        !json_may_text(root, "", "providerName", RECORD_NAME_MAX, &provider_name, err) ||
        !json_want_text(root, "", "paddingScheme", 64, &padding, err) ||
        !padding_parse(padding, &change->padding, err) || !check_name("keyName", key_name, err) ||
        !json_want_base64(root, "", "encryptedPfxPassword", RECORD_SEALED_MAX, &change->sealed,
                          err))
        return false;
    if (key_name[0] == '\0')
        return error_set(err, FAIL_INPUT, "keyName is empty");
    if (change->sealed.len < 256) /* RSA-2048 is the smallest sealing key */
        return error_set(err, FAIL_INPUT,
                         "encryptedPfxPassword is no RSA ciphertext: %zu bytes, at least 256 "
                         "expected",
                         change->sealed.len);
    memcpy(change->key_name, key_name, strlen(key_name) + 1);
    change->has_provider = provider_name != NULL;
    if (provider_name == NULL)
        return true;
    memcpy(change->provider_name, provider_name, strlen(provider_name) + 1);
    return check_name("providerName", provider_name, err);
}

void records_patch_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    struct seal_change *change = calloc(1, sizeof *change);
    if (change == NULL) {
        error_memory(&err);
        graph_fail(exchange, &err);
        return;
    }
    change->sealed = (struct buf)BUF_INIT(RECORD_SEALED_MAX + 3);
    exchange->work = change;
    exchange->work_free = free_change;
    if (!record_id_of(exchange, change->id, sizeof change->id) ||
        !read_condition(exchange, change) || !graph_body(exchange, "the change", &json))
        return;
    if (read_change(json_root(json), change, &err))
        exchange->job.run = run_patch;
    else
        graph_fail(exchange, &err);
    json_free(&json);
}
