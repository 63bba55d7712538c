/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/seals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/log.h"

#define COLLECTION "/deviceManagement/userPfxCertificates"
#define URL_MAX    8192
#define BODY_MAX   (8 * 1024)
#define PAGE_MAX   1000

struct seals {
    struct web *web; /* not ours */
    struct buf list; /* URL of the list of seals, up to its query */
    struct buf records;
};

static void put_url(struct buf *out, const char *base, const char *path)
{
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        len--;
    buf_put(out, base, len);
    buf_put_text(out, path);
}

bool seals_open(struct web *web, const char *hub, const char *records, struct seals **out,
                struct error *err)
{
    *out = NULL;
    if (!web_check_base(hub, "the URL of the hub", err) ||
        !web_check_base(records, "the URL of the record store", err))
        return false;
    struct seals *seals = calloc(1, sizeof *seals);
    if (seals == NULL)
        return error_memory(err);
    seals->web = web;
    seals->list = (struct buf)BUF_INIT(URL_MAX);
    seals->records = (struct buf)BUF_INIT(URL_MAX);
    put_url(&seals->list, hub, "/v1/seals?keyName=");
    put_url(&seals->records, records, COLLECTION "/");
    if (!buf_check(&seals->list, "the URL of the hub", err) ||
        !buf_check(&seals->records, "the URL of the record store", err)) {
        seals_close(&seals);
        return false;
    }
    *out = seals;
    return true;
}

void seals_close(struct seals **seals)
{
    if (seals == NULL || *seals == NULL)
        return;
    buf_free(&(*seals)->list);
    buf_free(&(*seals)->records);
    free(*seals);
    *seals = NULL;
}

void seal_page_free(struct seal_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        buf_free(&page->seals[i].sealed);
    free(page->seals);
    *page = (struct seal_page){.records = -1, .requests = -1};
}

static bool read_seal(const struct json_value *value, struct seal *out, struct error *err)
{
    const char *id, *etag, *provider, *padding;
    out->sealed = (struct buf)BUF_INIT(RECORD_SEALED_MAX + 3);
    if (!json_want_text(value, "", "id", RECORD_ID_MAX, &id, err))
        return false;
    memcpy(out->id, id, strlen(id) + 1);
    if (!json_want_text(value, "", "@odata.etag", SEAL_ETAG_MAX, &etag, err) ||
        !json_want_text(value, "", "providerName", RECORD_NAME_MAX, &provider, err) ||
        !json_want_text(value, "", "paddingScheme", 64, &padding, err) ||
        !padding_parse(padding, &out->padding, err) ||
        !json_want_base64(value, "", "encryptedPfxPassword", RECORD_SEALED_MAX, &out->sealed, err))
        return false;
    memcpy(out->etag, etag, strlen(etag) + 1);
    memcpy(out->provider_name, provider, strlen(provider) + 1);
    return strpbrk(etag, "\r\n") == NULL ||
           error_set(err, FAIL_REMOTE, "an entity tag of two lines");
}

static bool read_page(const struct json_value *root, struct seal_page *out, struct error *err)
{
    const struct json_value *values;
    if (!json_may_integer(root, "", "records", 0, INT64_MAX, -1, &out->records, err) ||
        !json_may_integer(root, "", "requests", 0, INT64_MAX, -1, &out->requests, err) ||
        !json_may_integer(root, "", "skipToken", 1, INT64_MAX, 0, &out->next, err) ||
        !json_want_array(root, "", "value", &values, err))
        return false;
    size_t count = json_count(values);
    out->seals = count > 0 ? calloc(count, sizeof *out->seals) : NULL;
    if (count > 0 && out->seals == NULL)
        return error_memory(err);
    for (size_t i = 0; i < count; i++) {
        struct error reason = ERROR_INIT;
        struct seal *seal = &out->seals[out->count];
        if (read_seal(json_at(values, i), seal, &reason)) {
            out->count++;
            continue;
        }
        /* One that another program has written is said, and left for the count at the end. */
        log_event(LEVEL_WARNING, EVENT_NOTE, "a seal of the list cannot be read",
                  LOG_TEXT("id", seal->id), LOG_TEXT("reason", reason.text));
        buf_free(&seal->sealed);
        memset(seal, 0, sizeof *seal);
        out->unreadable++;
    }
    return true;
}

bool seals_read(struct seals *seals, const char *key_name, int64_t after, int most,
                struct seal_page *out, struct error *err)
{
    struct buf url = BUF_INIT(URL_MAX);
    struct web_answer answer = {0};
    bool ok = false;
    *out = (struct seal_page){.records = -1, .requests = -1};
    buf_put(&url, seals->list.data, seals->list.len);
    if (!web_encode(seals->web, key_name, &url, err))
        goto done;
    buf_printf(&url, "&$top=%d", most < PAGE_MAX ? most : PAGE_MAX);
    if (after > 0)
        buf_printf(&url, "&$skiptoken=%" PRId64, after);
    if (!buf_check(&url, "a URL", err))
        goto done;
    if (!web_call(seals->web, "GET", buf_text(&url), NULL, &answer, err)) {
        if (answer.status == 404)
            error_hint(err, "sealed passwords are given by a reseal-hub only: Graph has no way to "
                            "read them, and its records are sealed anew by importing them again");
        else if (answer.status == 401 || answer.status == 403)
            error_hint(err, "check [client] rotation_token against [hub] rotation_token");
        goto done;
    }
    const struct json_value *root = answer.json != NULL ? json_root(answer.json) : NULL;
    if (root == NULL || json_type(root) != JSON_OBJECT)
        error_set(err, FAIL_REMOTE, "the hub answered without a list of seals");
    else
        ok = read_page(root, out, err);
    if (!ok && err->kind == FAIL_INPUT)
        err->kind = FAIL_REMOTE;
    if (ok && out->next != 0 && out->next <= after)
        ok = error_set(err, FAIL_REMOTE, "the hub's list of seals continues with itself");
done:
    if (!ok)
        seal_page_free(out);
    web_answer_free(&answer);
    buf_free(&url);
    return ok;
}

static bool write_change(const struct new_seal *seal, struct buf *out, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(false, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "@odata.type", "#microsoft.graph.userPFXCertificate");
    json_put_text(json, "keyName", seal->key_name);
    if (seal->provider_name != NULL)
        json_put_text(json, "providerName", seal->provider_name);
    json_put_text(json, "paddingScheme", padding_name(seal->padding));
    json_put_base64(json, "encryptedPfxPassword", seal->sealed.data, seal->sealed.len);
    json_object_end(json);
    bool ok = json_finish(json, out, err);
    json_writer_free(&json);
    return ok;
}

bool seals_replace(struct seals *seals, const struct seal *old, const struct new_seal *seal,
                   struct error *err)
{
    struct buf url = BUF_INIT(URL_MAX), body = BUF_INIT(BODY_MAX);
    struct web_answer answer = {0};
    bool ok = false;
    buf_put(&url, seals->records.data, seals->records.len);
    if (web_encode(seals->web, old->id, &url, err) && write_change(seal, &body, err))
        ok = web_call_if(seals->web, "PATCH", buf_text(&url), old->etag, &body, &answer, err);
    if (!ok && answer.status == 412)
        error_set(err, FAIL_EXISTS, "the record \"%s\" has another seal by now", old->id);
    web_answer_free(&answer);
    buf_free(&url);
    buf_free(&body);
    return ok;
}
