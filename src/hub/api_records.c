/* SPDX-License-Identifier: Apache-2.0 */
/* /beta/deviceManagement/userPfxCertificates: Graph's record resource. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api_graph.h"
#include "odata_filter.h"
#include "reseal/request.h"
#include "store_records.h"
#include "store_seals.h"
#include "uri.h"

#define PAGE_MAX       100
#define COLLECTION_URL "/beta/deviceManagement/userPfxCertificates"

bool answer_record(struct exchange *exchange, unsigned status, const struct record *record,
                   struct error *err)
{
    struct json_writer *json = NULL;
    char base[BASE_URL], context[512];
    if (!json_writer_new(false, &json, err))
        return false;
    exchange_base_url(exchange, base);
    snprintf(context, sizeof context,
             "%s/beta/$metadata#deviceManagement/userPfxCertificates/$entity", base);
    json_object(json, NULL);
    json_put_text(json, "@odata.context", context);
    bool ok = seal_put_etag(json, buf_bytes(&record->sealed), err);
    record_write(json, record, RECORD_WITHOUT_SECRETS);
    json_object_end(json);
    ok = ok && answer_json(&exchange->answer, status, JSON_TYPE, json, err);
    json_writer_free(&json);
    return ok;
}

static void free_record(void *work)
{
    record_free(work);
    free(work);
}

static enum job_verdict run_post(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct record *record = exchange->work;
    if (!record_insert(database, record, err) ||
        !answer_record(exchange, MHD_HTTP_CREATED, record, err))
        return JOB_FAILED;
    return JOB_DONE;
}

/* What the record itself allows, but a request message could not carry to the connector. */
static bool check_new(const struct record *record, struct error *err)
{
    if (record->not_after_ms < record->not_before_ms)
        return error_set(err, FAIL_INPUT, "expirationDateTime is before startDateTime");
    return true;
}

void records_post_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    struct record *record = malloc(sizeof *record);
    if (record == NULL) {
        error_memory(&err);
        graph_fail(exchange, &err);
        return;
    }
    record_init(record);
    exchange->work = record;
    exchange->work_free = free_record;
    if (!graph_body(exchange, "the record", &json))
        return;
    if (record_read(json_root(json), RECORD_WITH_SECRETS, record, &err) && check_new(record, &err))
        exchange->job.run = run_post;
    else
        graph_fail(exchange, &err);
    json_free(&json);
}

bool record_id_of(struct exchange *exchange, char *id, size_t size)
{
    struct error err = ERROR_INIT;
    char text[RECORD_ID_MAX + 8];
    if (uri_decode(URI_PATH, exchange->suffix, strlen(exchange->suffix), text, sizeof text)) {
        size_t len = strlen(text);
        const char *from = text;
        if (text[0] == '/') {
            from++;
            len--;
        } else if (len > 4 && strncmp(text, "('", 2) == 0 && strcmp(text + len - 2, "')") == 0) {
            from += 2;
            len -= 4;
        } else {
            len = 0;
        }
        if (len > 0 && len < size && memchr(from, '/', len) == NULL) {
            memcpy(id, from, len);
            id[len] = '\0';
            return true;
        }
    }
    error_set(&err, FAIL_NOT_FOUND, "the path names no record: %.200s", exchange->uri);
    graph_fail(exchange, &err);
    return false;
}

static bool set_id_job(struct exchange *exchange, job_run *run)
{
    char *id = malloc(RECORD_ID_MAX + 1);
    struct error err = ERROR_INIT;
    if (id == NULL) {
        error_memory(&err);
        graph_fail(exchange, &err);
        return false;
    }
    exchange->work = id;
    exchange->work_free = free;
    if (!record_id_of(exchange, id, RECORD_ID_MAX + 1))
        return false;
    exchange->job.run = run;
    return true;
}

static enum job_verdict run_get(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct record record;
    record_init(&record);
    bool ok = record_select(database, exchange->work, &record, err) &&
              answer_record(exchange, MHD_HTTP_OK, &record, err);
    record_free(&record);
    return ok ? JOB_DONE : JOB_FAILED;
}

void records_get_handle(struct exchange *exchange)
{
    (void)set_id_job(exchange, run_get);
}

static enum job_verdict run_delete(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    if (!record_delete(database, exchange->work, err))
        return JOB_FAILED;
    exchange->answer.status = MHD_HTTP_NO_CONTENT;
    return JOB_DONE;
}

void records_delete_handle(struct exchange *exchange)
{
    (void)set_id_job(exchange, run_delete);
}

/* A list that was asked for, and the page while it is written. */
struct listing {
    struct record_filter filter;
    int64_t page;  /* records on a page */
    int64_t after; /* the skip token */
    struct json_writer *json;
    int64_t written, last;
    bool more;
};

static bool write_item(void *context, int64_t sequence, const struct record *record,
                       struct error *err)
{
    struct listing *listing = context;
    (void)err;
    if (listing->written == listing->page) { /* asked for one more than fits */
        listing->more = true;
        return true;
    }
    json_object(listing->json, NULL);
    record_write(listing->json, record, RECORD_WITHOUT_SECRETS);
    json_object_end(listing->json);
    listing->written++;
    listing->last = sequence;
    return true;
}

/* The address of the next page: the same query with a new skip token. */
static bool put_next_link(struct exchange *exchange, const struct listing *listing,
                          struct error *err)
{
    struct buf link = BUF_INIT(URI_MAX + 512);
    struct uri_parameter parameter;
    const char *query = exchange->query;
    char base[BASE_URL], name[32];
    exchange_base_url(exchange, base);
    buf_printf(&link, "%s" COLLECTION_URL "?", base);
    while (uri_next_parameter(&query, &parameter)) {
        if (uri_decode(URI_QUERY, (const char *)parameter.name.data, parameter.name.len, name,
                       sizeof name) &&
            strcmp(name, "$skiptoken") == 0)
            continue;
        buf_put(&link, parameter.whole.data, parameter.whole.len);
        buf_put_u8(&link, '&');
    }
    buf_printf(&link, "$skiptoken=%" PRId64, listing->last);
    bool ok = buf_check(&link, "@odata.nextLink", err);
    if (ok)
        json_put_text(listing->json, "@odata.nextLink", buf_text(&link));
    buf_free(&link);
    return ok;
}

static bool write_page(struct exchange *exchange, struct database *database,
                       struct listing *listing, struct error *err)
{
    char base[BASE_URL], context[512];
    const struct record_query query = {
        .upn = listing->filter.has_upn ? listing->filter.upn : NULL,
        .thumbprint = listing->filter.has_thumbprint ? listing->filter.thumbprint : NULL,
        .after = listing->after,
        .limit = listing->page + 1,
    };
    exchange_base_url(exchange, base);
    snprintf(context, sizeof context, "%s/beta/$metadata#deviceManagement/userPfxCertificates",
             base);
    json_object(listing->json, NULL);
    json_put_text(listing->json, "@odata.context", context);
    json_array(listing->json, "value");
    if (!listing->filter.empty && !record_list(database, &query, write_item, listing, err))
        return false;
    json_array_end(listing->json);
    if (listing->more && !put_next_link(exchange, listing, err))
        return false;
    json_object_end(listing->json);
    return answer_json(&exchange->answer, MHD_HTTP_OK, JSON_TYPE, listing->json, err);
}

static enum job_verdict run_list(struct job *job, struct database *database, struct error *err)
{
    struct exchange *exchange = job->context;
    struct listing *listing = exchange->work;
    listing->written = listing->last = 0;
    listing->more = false;
    if (!json_writer_new(false, &listing->json, err))
        return JOB_FAILED;
    bool ok = write_page(exchange, database, listing, err);
    json_writer_free(&listing->json);
    return ok ? JOB_DONE : JOB_FAILED;
}

static bool read_number(const char *text, const char *name, int64_t min, int64_t *out,
                        struct error *err)
{
    size_t len = strlen(text);
    if (len == 0 || len > 18 || strspn(text, "0123456789") != len ||
        (*out = strtoll(text, NULL, 10)) < min)
        return error_set(err, FAIL_INPUT, "%s must be a whole number from %" PRId64 " on", name,
                         min);
    return true;
}

static bool read_query(const char *query, struct listing *listing, struct error *err)
{
    struct uri_parameter parameter;
    while (uri_next_parameter(&query, &parameter)) {
        char name[64], value[URI_MAX];
        if (!uri_decode(URI_QUERY, (const char *)parameter.name.data, parameter.name.len, name,
                        sizeof name) ||
            !uri_decode(URI_QUERY, (const char *)parameter.value.data, parameter.value.len, value,
                        sizeof value))
            return error_set(err, FAIL_INPUT, "the query is not percent-encoded UTF-8");
        bool ok = false;
        if (strcmp(name, "$filter") == 0)
            ok = record_filter_parse(value, &listing->filter, err);
        else if (strcmp(name, "$top") == 0)
            ok = read_number(value, "$top", 1, &listing->page, err);
        else if (strcmp(name, "$skiptoken") == 0)
            ok = read_number(value, "$skiptoken", 0, &listing->after, err);
        else
            error_set(err, FAIL_UNSUPPORTED, "the query option \"%s\" is not supported", name);
        if (!ok)
            return false;
    }
    if (listing->page > PAGE_MAX)
        listing->page = PAGE_MAX;
    return true;
}

void records_list_handle(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct listing *listing = calloc(1, sizeof *listing);
    if (listing == NULL) {
        error_memory(&err);
        graph_fail(exchange, &err);
        return;
    }
    exchange->work = listing;
    exchange->work_free = free;
    listing->page = PAGE_MAX;
    if (read_query(exchange->query, listing, &err))
        exchange->job.run = run_list;
    else
        graph_fail(exchange, &err);
}
