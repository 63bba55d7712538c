/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_signature.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include "reseal/clock.h"
#include "reseal/public_key.h"
#include "witness_key.h"

#define STATEMENT_HEAD "Reseal ceremony signature 1"
#define SIGNATURE_FILE 16384 /* bytes */

bool witness_id_check(const char *id, struct error *err)
{
    size_t len = strlen(id);
    bool fits = len > 0 && len < WITNESS_ID_MAX;
    for (size_t i = 0; i < len && fits; i++)
        fits = isalnum((unsigned char)id[i]) || id[i] == '-';
    if (fits)
        return true;
    error_set(err, FAIL_USAGE, "a witness is called by letters, digits and dashes, at most %d",
              WITNESS_ID_MAX - 1);
    return error_hint(err, "as in the section [witness ID] of the plan");
}

bool ceremony_signature_path(const char *transcript, const char *id, char *out, size_t size,
                             struct error *err)
{
    int len = snprintf(out, size, "%s.%s.sig", transcript, id);
    if (len > 0 && (size_t)len < size)
        return true;
    return error_set(err, FAIL_USAGE, "the path of the signature is too long");
}

static void put_statement(const struct ceremony_signature *signature, struct buf *out)
{
    buf_printf(out, STATEMENT_HEAD "\nlines: %zu\nsha256: %s\nwitness: %s\nname: %s\ntime: %s\n",
               signature->lines, signature->sha256, signature->id, signature->name,
               signature->time);
}

/* One line "NAME: VALUE\n" of the statement. */
static bool take_line(const char **at, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    if (strncmp(*at, name, len) != 0 || strncmp(*at + len, ": ", 2) != 0)
        return false;
    const char *value = *at + len + 2, *end = strchr(value, '\n');
    if (end == NULL || (size_t)(end - value) >= size)
        return false;
    memcpy(out, value, (size_t)(end - value));
    out[end - value] = '\0';
    *at = end + 1;
    return true;
}

static bool read_statement(const char *text, struct ceremony_signature *out, struct error *err)
{
    char lines[24];
    const char *at = text;
    struct buf again = BUF_INIT(4096);
    bool ok = strncmp(at, STATEMENT_HEAD "\n", sizeof STATEMENT_HEAD) == 0;
    at += ok ? sizeof STATEMENT_HEAD : 0;
    ok = ok && take_line(&at, "lines", lines, sizeof lines) &&
         take_line(&at, "sha256", out->sha256, sizeof out->sha256) &&
         take_line(&at, "witness", out->id, sizeof out->id) &&
         take_line(&at, "name", out->name, sizeof out->name) &&
         take_line(&at, "time", out->time, sizeof out->time) &&
         sscanf(lines, "%zu", &out->lines) == 1;
    if (ok) {
        put_statement(out, &again);
        ok = strcmp(buf_text(&again), text) == 0;
    }
    buf_free(&again);
    return ok || error_set(err, FAIL_INPUT, "its statement is not one of this form");
}

static bool put_key(EVP_PKEY *key, struct buf *der, struct error *err)
{
    unsigned char *encoded = NULL;
    int len = i2d_PUBKEY(key, &encoded);
    if (len <= 0)
        return error_openssl(err, FAIL_CRYPTO, "the key gives no public half");
    buf_put(der, encoded, (size_t)len);
    OPENSSL_free(encoded);
    return buf_check(der, "the public key", err);
}

static bool put_file(const char *statement, const char *algorithm, struct bytes key,
                     struct bytes signature, struct buf *out, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "statement", statement);
    json_put_text(json, "algorithm", algorithm);
    json_put_base64(json, "publicKey", key.data, key.len);
    json_put_base64(json, "signature", signature.data, signature.len);
    json_object_end(json);
    bool ok = json_finish(json, out, err);
    json_writer_free(&json);
    if (ok && (out->len == 0 || out->data[out->len - 1] != '\n'))
        buf_put_u8(out, '\n');
    return ok && buf_check(out, "the signature", err);
}

bool ceremony_signature_make(const struct transcript_record *record, const struct signing_key *key,
                             struct ceremony_signature *signature, struct buf *out,
                             struct error *err)
{
    enum signature_kind kind;
    struct buf statement = BUF_INIT(4096), der = BUF_INIT(4096), made = BUF_INIT(SIGNATURE_MAX);
    const struct transcript_line *last = transcript_record_last(record);
    bool ok = false;
    signature->lines = last->number;
    memcpy(signature->sha256, last->sha256, DIGEST_TEXT);
    clock_format(clock_real_ms(), signature->time);
    put_statement(signature, &statement);
    if (!witness_id_check(signature->id, err) || !buf_check(&statement, "the statement", err) ||
        !signature_kind_of(key->key, &kind, err) ||
        !public_key_fingerprint(key->key, signature->key_fingerprint, err) ||
        !put_key(key->key, &der, err) || !signature_make(key, buf_bytes(&statement), &made, err))
        goto done;
    snprintf(signature->algorithm, sizeof signature->algorithm, "%s", signature_kind_name(kind));
    ok = put_file(buf_text(&statement), signature->algorithm, buf_bytes(&der), buf_bytes(&made),
                  out, err);
done:
    buf_free(&statement);
    buf_free(&der);
    buf_free(&made);
    return ok;
}

static bool covers(const struct transcript_record *record,
                   const struct ceremony_signature *signature, struct error *err)
{
    if (signature->lines == 0 || signature->lines > transcript_record_count(record))
        return error_set(err, FAIL_INPUT,
                         "it is under %zu lines, and the transcript has %zu: it was cut",
                         signature->lines, transcript_record_count(record));
    const struct transcript_line *line = transcript_record_at(record, signature->lines - 1);
    if (strcmp(line->sha256, signature->sha256) == 0)
        return true;
    return error_set(err, FAIL_INPUT,
                     "it is under another transcript: line %zu has not the SHA-256 that was signed",
                     signature->lines);
}

/* Parsed parts of the file. */
struct parts {
    const char *statement, *algorithm;
    struct buf key, signature;
};

static bool check_parts(const struct transcript_record *record, struct bytes content,
                        const struct parts *parts, struct ceremony_signature *out,
                        struct error *err)
{
    enum signature_kind kind;
    EVP_PKEY *key = NULL;
    struct buf again = BUF_INIT(SIGNATURE_FILE), der = BUF_INIT(4096);
    bool ok = false;
    const struct bytes statement = {(const uint8_t *)parts->statement, strlen(parts->statement)};
    if (!witness_key_parse(buf_bytes(&parts->key), &key, err) || !put_key(key, &der, err) ||
        !signature_kind_of(key, &kind, err) ||
        !put_file(parts->statement, signature_kind_name(kind), buf_bytes(&der),
                  buf_bytes(&parts->signature), &again, err))
        goto done;
    if (again.len != content.len || memcmp(again.data, content.data, content.len) != 0) {
        error_set(err, FAIL_INPUT, "it is not in the form in which signatures are written here");
        goto done;
    }
    if (!signature_check(key, statement, buf_bytes(&parts->signature), err) ||
        !read_statement(parts->statement, out, err) || !witness_id_check(out->id, err) ||
        !public_key_fingerprint(key, out->key_fingerprint, err) || !covers(record, out, err))
        goto done;
    snprintf(out->algorithm, sizeof out->algorithm, "%s", signature_kind_name(kind));
    ok = true;
done:
    EVP_PKEY_free(key);
    buf_free(&again);
    buf_free(&der);
    return ok;
}

bool ceremony_signature_check(const struct transcript_record *record, struct bytes content,
                              struct ceremony_signature *out, struct error *err)
{
    static const struct json_limits limits = {.bytes = SIGNATURE_FILE, .string = 8192, .values = 8};
    struct parts parts = {.key = BUF_INIT(4096), .signature = BUF_INIT(SIGNATURE_MAX)};
    struct json *json = NULL;
    memset(out, 0, sizeof *out);
    if (!json_parse(content.data, content.len, &limits, "the signature", &json, err))
        return false;
    const struct json_value *root = json_root(json);
    bool ok = json_want_text(root, "", "statement", 4096, &parts.statement, err) &&
              json_want_text(root, "", "algorithm", 32, &parts.algorithm, err) &&
              json_want_base64(root, "", "publicKey", 4096, &parts.key, err) &&
              json_want_base64(root, "", "signature", SIGNATURE_MAX, &parts.signature, err) &&
              check_parts(record, content, &parts, out, err);
    buf_free(&parts.key);
    buf_free(&parts.signature);
    json_free(&json);
    return ok;
}
