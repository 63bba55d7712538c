/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/records.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/log.h"

#define COLLECTION "/deviceManagement/userPfxCertificates"
#define URL_MAX    8192
#define BODY_MAX   (128 * 1024) /* a record with the largest PFX, in base64 */
#define PAGES_MAX  10000

struct records {
    struct web *web; /* not ours */
    char *url;       /* of the collection */
};

bool records_open(struct web *web, const char *url, struct records **out, struct error *err)
{
    struct buf collection = BUF_INIT(URL_MAX);
    bool ok = false;
    *out = NULL;
    if (!web_check_base(url, "the URL of the record store", err))
        return false;
    struct records *records = calloc(1, sizeof *records);
    if (records == NULL)
        return error_memory(err);
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/')
        len--;
    buf_put(&collection, url, len);
    buf_put_text(&collection, COLLECTION);
    if (!buf_check(&collection, "the URL of the record store", err))
        goto done;
    records->web = web;
    records->url = strdup(buf_text(&collection));
    if (records->url == NULL) {
        error_memory(err);
        goto done;
    }
    *out = records;
    records = NULL; /* transferred */
    ok = true;
done:
    buf_free(&collection);
    records_close(&records);
    return ok;
}

void records_close(struct records **records)
{
    if (records == NULL || *records == NULL)
        return;
    free((*records)->url);
    free(*records);
    *records = NULL;
}

static const struct json_value *answer_root(const struct web_answer *answer)
{
    return answer->json != NULL ? json_root(answer->json) : NULL;
}

/* An answer that does not keep to the schema is the service's fault, not the user's input. */
static bool read_record(const struct json_value *value, struct record *record, struct error *err)
{
    if (value == NULL)
        return error_set(err, FAIL_REMOTE, "the record store answered without a record");
    if (record_read(value, RECORD_WITHOUT_SECRETS, record, err))
        return true;
    if (err->kind == FAIL_INPUT || err->kind == FAIL_TOO_LARGE)
        err->kind = FAIL_REMOTE;
    return error_context(err, "the record store's answer");
}

static bool write_body(const struct record *record, struct buf *out, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "@odata.type", "#microsoft.graph.userPFXCertificate");
    record_write(json, record, RECORD_WITH_SECRETS);
    json_object_end(json);
    bool ok = json_finish(json, out, err);
    json_writer_free(&json);
    return ok;
}

/* Our own words for what a status means, instead of the service's, which say the same. */
PRINTF_LIKE(4, 5)
static bool plainly(const struct web_answer *answer, enum failure kind, struct error *err,
                    const char *format, ...)
{
    char words[512];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return error_set(err, kind, "%s (HTTP status %ld%s%s)", words, answer->status,
                     answer->request_id[0] != '\0' ? ", request-id " : "", answer->request_id);
}

bool records_post(struct records *records, struct record *record, struct error *err)
{
    struct buf body = BUF_INIT(BODY_MAX);
    struct web_answer answer = {0};
    struct record stored;
    bool ok = false;
    record_init(&stored);
    if (!write_body(record, &body, err) ||
        !web_call(records->web, "POST", records->url, &body, &answer, err)) {
        if (answer.status == 409)
            plainly(&answer, FAIL_EXISTS, err,
                    "the store has a record of %s for this certificate already",
                    record->user_principal_name);
        goto done;
    }
    if (!read_record(answer_root(&answer), &stored, err))
        goto done;
    if (stored.id[0] == '\0') {
        error_set(err, FAIL_REMOTE, "the record store answered without an id");
        goto done;
    }
    memcpy(record->id, stored.id, sizeof record->id);
    record->created_ms = stored.created_ms;
    record->modified_ms = stored.modified_ms;
    ok = true;
done:
    record_free(&stored);
    web_answer_free(&answer);
    buf_free(&body);
    return ok;
}

static bool record_url(struct records *records, const char *id, struct buf *out, struct error *err)
{
    if (id[0] == '\0' || strcmp(id, ".") == 0 || strcmp(id, "..") == 0 ||
        strlen(id) > RECORD_ID_MAX) {
        error_set(err, FAIL_USAGE, "\"%.64s\" is no record id", id);
        return error_hint(err, "see: reseal pfx list");
    }
    buf_put_text(out, records->url);
    buf_put_text(out, "/");
    return web_encode(records->web, id, out, err);
}

static bool call_record(struct records *records, const char *method, const char *id,
                        struct web_answer *answer, struct error *err)
{
    struct buf url = BUF_INIT(URL_MAX);
    bool ok = record_url(records, id, &url, err) &&
              web_call(records->web, method, buf_text(&url), NULL, answer, err);
    if (!ok && answer->status == 404) {
        plainly(answer, FAIL_NOT_FOUND, err, "there is no record \"%s\"", id);
        error_hint(err, "see: reseal pfx list");
    }
    buf_free(&url);
    return ok;
}

bool records_get(struct records *records, const char *id, struct record *out, struct error *err)
{
    struct web_answer answer = {0};
    bool ok = call_record(records, "GET", id, &answer, err) &&
              read_record(answer_root(&answer), out, err);
    web_answer_free(&answer);
    return ok;
}

bool records_delete(struct records *records, const char *id, struct error *err)
{
    struct web_answer answer = {0};
    bool ok = call_record(records, "DELETE", id, &answer, err);
    web_answer_free(&answer);
    return ok;
}

/* tolower(NAME) eq 'value', the value in lower case and its apostrophes doubled (OData 4.01 URL
 * conventions, section 5.1.1.14.1). */
static void put_condition(struct buf *filter, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(filter, "%stolower(%s) eq '", filter->len > 0 ? " and " : "", name);
    for (; *value != '\0'; value++) {
        if (*value == '\'')
            buf_put_u8(filter, '\'');
        buf_put_u8(filter, (uint8_t)(*value >= 'A' && *value <= 'Z' ? *value + 32 : *value));
    }
    buf_put_text(filter, "'");
}

static bool first_page(struct records *records, const char *upn, const char *thumbprint,
                       struct buf *url, struct error *err)
{
    struct buf filter = BUF_INIT(2048);
    bool ok = false;
    put_condition(&filter, "userPrincipalName", upn);
    put_condition(&filter, "thumbprint", thumbprint);
    if (!buf_check(&filter, "the filter", err))
        goto done;
    buf_put_text(url, records->url);
    if (filter.len > 0) {
        buf_put_text(url, "?$filter=");
        if (!web_encode(records->web, buf_text(&filter), url, err))
            goto done;
    }
    ok = buf_check(url, "a URL", err);
done:
    buf_free(&filter);
    return ok;
}

/* What another program put there may be more than we know (pkcs1 padding): said, and passed over,
 * so that one record does not hide the others. */
static bool take_page(const struct json_value *values, records_each *each, void *context,
                      struct error *err)
{
    for (size_t i = 0; i < json_count(values); i++) {
        struct record record;
        struct error reason = ERROR_INIT;
        bool ok = true;
        record_init(&record);
        if (read_record(json_at(values, i), &record, &reason))
            ok = each(context, &record, err);
        else
            log_event(LEVEL_WARNING, EVENT_NOTE, "a record of the list cannot be read",
                      LOG_TEXT("id", record.id), LOG_TEXT("reason", reason.text));
        record_free(&record);
        if (!ok)
            return false;
    }
    return true;
}

/* Puts the next page's URL into `url`, or leaves it empty at the end. The bearer token goes along
 * with the next call: another origin gets neither. */
static bool next_page(struct records *records, const struct json_value *root, struct buf *url,
                      struct error *err)
{
    const char *link = NULL;
    if (!json_may_text(root, "", "@odata.nextLink", URL_MAX - 1, &link, err)) {
        err->kind = FAIL_REMOTE;
        return error_context(err, "the record store's answer");
    }
    bool same = link != NULL && strcmp(link, buf_text(url)) == 0;
    buf_reset(url);
    if (link == NULL)
        return true;
    if (same)
        return error_set(err, FAIL_REMOTE, "the record store's list continues with itself");
    if (!web_same_origin(link, records->url)) {
        error_set(err, FAIL_POLICY, "the record store's list continues at another origin than %s",
                  records->url);
        return error_hint(err, "the API token is never sent elsewhere; check the service");
    }
    buf_put_text(url, link);
    return buf_check(url, "a URL", err);
}

static bool list_page(struct records *records, struct buf *url, records_each *each, void *context,
                      struct error *err)
{
    struct web_answer answer = {0};
    const struct json_value *values;
    bool ok = false;
    if (!web_call(records->web, "GET", buf_text(url), NULL, &answer, err))
        return false;
    const struct json_value *root = answer_root(&answer);
    if (root == NULL || json_type(root) != JSON_OBJECT) {
        error_set(err, FAIL_REMOTE, "the record store answered without a list");
        goto done;
    }
    if (!json_want_array(root, "", "value", &values, err)) {
        err->kind = FAIL_REMOTE;
        error_context(err, "the record store's answer");
        goto done;
    }
    ok = take_page(values, each, context, err) && next_page(records, root, url, err);
done:
    web_answer_free(&answer);
    return ok;
}

bool records_list(struct records *records, const char *upn, const char *thumbprint,
                  records_each *each, void *context, struct error *err)
{
    struct buf url = BUF_INIT(URL_MAX);
    bool ok = first_page(records, upn, thumbprint, &url, err);
    for (int page = 0; ok && url.len > 0; page++) {
        if (page == PAGES_MAX)
            ok = error_set(err, FAIL_REMOTE, "the record store's list has more than %d pages",
                           PAGES_MAX);
        else
            ok = list_page(records, &url, each, context, err);
    }
    buf_free(&url);
    return ok;
}
