/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wycheproof's RSA-OAEP decryption vectors (github.com/C2SP/wycheproof) by the way that a job
 * takes: the private key is an object of the session, token_reseal makes a CMS message of the
 * ciphertext, a device opens it.
 *
 *     rsa_oaep TOKEN [FOLDER]      TOKEN: softhsm, nss or opencryptoki
 *
 * FOLDER (or else $RESEAL_VECTORS) is searched with all below it for *oaep*.json; the vectors are
 * no part of this project. Ends with 77 where there are none. What cannot be run is counted, by its
 * reason.
 */
#include "tests/unit/hsm_fixture_opencryptoki.h"

#include <fnmatch.h>
#include <fts.h>
#include <openssl/bn.h>
#include <openssl/cms.h>
#include <openssl/core_names.h>
#include "hsm/custody.h"
#include "reseal/json.h"
#include "reseal/text.h"

#define SKIPPED        77
#define FILES_MAX      64
#define CUSTODIES_MAX  2
#define VECTOR_MAX     4096 /* bytes of a message or a ciphertext */
#define REASON_TEXT    96
#define REASONS_MAX    16
#define FAILURES_SHOWN 10

static void start_nss(struct fixture *out)
{
    fixture_nss(out, TEST_PIN);
}

/* What is known of each token: what it must be able to do, and the longest password that the module
 * itself takes. */
static const struct token_kind {
    const char *name;
    void (*start)(struct fixture *fixture);
    enum custody custodies[CUSTODIES_MAX];
    size_t longest;
} kinds[] = {
    {"softhsm", fixture_softhsm, {CUSTODY_HOST}, SIZE_MAX},
    {"nss", start_nss, {CUSTODY_TOKEN, CUSTODY_HOST}, 256},
    {"opencryptoki", fixture_opencryptoki, {CUSTODY_HOST}, SIZE_MAX},
};

static const struct token_kind *kind;
static struct fixture fixture;
static struct token *token;
static struct session *session;
static struct fixture_device device;

/* One file in one custody. */
struct run {
    const char *path;
    enum custody custody;
    size_t opened, refused; /* as they should be */
};

/* What became of the vectors of one file. */
struct tally {
    struct run *run;
    struct {
        char reason[REASON_TEXT];
        size_t count;
    } others[REASONS_MAX];
    size_t failed;
    struct buf failures;
};

static struct error uniform; /* the first refusal: all others must read like it */

static void count_other(struct tally *tally, const char *reason, size_t count)
{
    for (size_t i = 0; i < REASONS_MAX; i++) {
        if (tally->others[i].count == 0)
            snprintf(tally->others[i].reason, REASON_TEXT, "%s", reason);
        if (strcmp(tally->others[i].reason, reason) == 0) {
            tally->others[i].count += count;
            return;
        }
    }
    fail_msg("too many reasons");
}

static void count_failure(struct tally *tally, int64_t number, const char *why)
{
    if (tally->failed++ < FAILURES_SHOWN)
        buf_printf(&tally->failures, "\n  tcId %lld: %s", (long long)number, why);
}

static void read_hex(const struct json_value *object, const char *name, struct buf *out)
{
    struct error err = ERROR_INIT;
    const char *text;
    buf_reset(out);
    MUST(json_want_text(object, "", name, 2 * out->max, &text, &err), err);
    MUST(hex_decode(out, text, strlen(text), name, &err), err);
}

static const char *read_text(const struct json_value *object, const char *name)
{
    struct error err = ERROR_INIT;
    const char *text;
    MUST(json_want_text(object, "", name, 2 * VECTOR_MAX, &text, &err), err);
    return text;
}

static EVP_PKEY *read_key(const struct json_value *group)
{
    struct buf der = BUF_INIT(16384);
    read_hex(group, "privateKeyPkcs8", &der);
    const unsigned char *at = der.data;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)der.len);
    assert_non_null(key);
    buf_free(&der);
    return key;
}

static void put_number(EVP_PKEY *key, const char *name, CK_ATTRIBUTE_TYPE type, struct buf *place,
                       struct template *out)
{
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key, name, &number), 1);
    assert_true(BN_bn2bin(number, buf_extend(place, (size_t)BN_num_bytes(number))) > 0);
    BN_clear_free(number);
    template_bytes(out, type, buf_bytes(place));
}

/* An object of the session, with the attributes of a sealing key as far as an imported one can have
 * them. */
static struct sealing_key *import_key(EVP_PKEY *pkey)
{
    static const struct {
        const char *name;
        CK_ATTRIBUTE_TYPE type;
    } numbers[] = {
        {OSSL_PKEY_PARAM_RSA_N, CKA_MODULUS},
        {OSSL_PKEY_PARAM_RSA_E, CKA_PUBLIC_EXPONENT},
        {OSSL_PKEY_PARAM_RSA_D, CKA_PRIVATE_EXPONENT},
        {OSSL_PKEY_PARAM_RSA_FACTOR1, CKA_PRIME_1},
        {OSSL_PKEY_PARAM_RSA_FACTOR2, CKA_PRIME_2},
        {OSSL_PKEY_PARAM_RSA_EXPONENT1, CKA_EXPONENT_1},
        {OSSL_PKEY_PARAM_RSA_EXPONENT2, CKA_EXPONENT_2},
        {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, CKA_COEFFICIENT},
    };
    static const struct bytes label = {(const uint8_t *)"vector", 6};
    struct error err = ERROR_INIT;
    struct buf places[ARRAY_LEN(numbers)];
    struct template template = {.count = 0};
    CK_OBJECT_HANDLE handle;
    struct sealing_key *key = NULL;
    template_number(&template, CKA_CLASS, CKO_PRIVATE_KEY);
    template_number(&template, CKA_KEY_TYPE, CKK_RSA);
    template_flag(&template, CKA_TOKEN, false);
    template_flag(&template, CKA_PRIVATE, true);
    template_flag(&template, CKA_SENSITIVE, true);
    template_flag(&template, CKA_EXTRACTABLE, false);
    template_flag(&template, CKA_UNWRAP, true);
    template_flag(&template, CKA_DECRYPT, true);
    template_bytes(&template, CKA_LABEL, label);
    template_bytes(&template, CKA_ID, label);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        places[i] = (struct buf)BUF_INIT(1024);
        put_number(pkey, numbers[i].name, numbers[i].type, &places[i], &template);
    }
    assert_int_equal(
        session->f->C_CreateObject(session->handle, template.rows, template.count, &handle),
        CKR_OK);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        buf_free(&places[i]);
    MUST(sealing_key_from_handles(session, handle, CK_INVALID_HANDLE, &key, &err), err);
    return key;
}

/* Opened by OpenSSL, not by code of ours. */
static bool device_opens(struct bytes der, struct bytes expected)
{
    bool same = false;
    char *opened = NULL;
    BIO *in = BIO_new_mem_buf(der.data, (int)der.len), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *message = d2i_CMS_bio(in, NULL);
    if (message != NULL &&
        CMS_decrypt(message, device.key, device.certificate, NULL, out, CMS_BINARY) == 1) {
        long len = BIO_get_mem_data(out, &opened);
        same = (size_t)len == expected.len &&
               (expected.len == 0 || memcmp(opened, expected.data, expected.len) == 0);
    }
    CMS_ContentInfo_free(message);
    BIO_free(in);
    BIO_free(out);
    return same;
}

static bool is_uniform(const struct error *err)
{
    if (uniform.kind == FAIL_NONE && err->kind == FAIL_CRYPTO)
        uniform = *err;
    return err->kind == FAIL_CRYPTO && strcmp(err->text, uniform.text) == 0 &&
           strcmp(err->hint, uniform.hint) == 0;
}

static void judge(struct tally *tally, int64_t number, const char *result, struct bytes message,
                  bool resealed, struct bytes der, const struct error *err)
{
    char why[REASON_TEXT];
    bool acceptable = strcmp(result, "acceptable") == 0;
    bool valid = strcmp(result, "valid") == 0;
    if (!resealed && (der.len != 0 || session_lost(session) || !is_uniform(err))) {
        snprintf(why, sizeof why, "%s: %.70s", failure_name(err->kind), err->text);
        count_failure(tally, number, why);
    } else if (resealed && !device_opens(der, message)) {
        count_failure(tally, number, "the device finds something else");
    } else if (acceptable) {
        count_other(tally, resealed ? "acceptable and opened" : "acceptable and refused", 1);
    } else if (!resealed && valid && message.len > kind->longest) {
        snprintf(why, sizeof why, "over the %zu bytes that the module takes: refused",
                 kind->longest);
        count_other(tally, why, 1);
    } else if (resealed != valid) {
        count_failure(tally, number, valid ? "valid, and refused" : "invalid, and taken");
    } else {
        *(valid ? &tally->run->opened : &tally->run->refused) += 1;
    }
}

static void run_vector(const struct json_value *test, enum padding padding, struct sealing_key *key,
                       struct tally *tally)
{
    struct error err = ERROR_INIT;
    int64_t number;
    struct buf message = BUF_INIT(VECTOR_MAX), sealed = BUF_INIT(VECTOR_MAX);
    struct buf der = BUF_INIT(CMS_DER_MAX);
    MUST(json_want_integer(test, "", "tcId", 0, INT32_MAX, &number, &err), err);
    const char *result = read_text(test, "result");
    read_hex(test, "msg", &message);
    read_hex(test, "ct", &sealed);
    const struct reseal_job job = {
        .padding = padding,
        .custody = tally->run->custody,
        .sealed = buf_bytes(&sealed),
        .recipient = device.certificate,
        .transport = number % 2 == 0 ? KEY_TRANSPORT_PKCS1 : KEY_TRANSPORT_OAEP_SHA256,
    };
    bool resealed = token_reseal(session, key, &job, &der, &err);
    judge(tally, number, result, buf_bytes(&message), resealed, buf_bytes(&der), &err);
    buf_free(&message);
    buf_free(&sealed);
    buf_free(&der);
}

/* Why no vector of this group can be run; empty where they can. */
static void group_reason(const struct json_value *group, enum padding *padding,
                         char out[static REASON_TEXT])
{
    struct error err = ERROR_INIT;
    int64_t bits;
    const char *hash = read_text(group, "sha"), *mask_hash = read_text(group, "mgfSha");
    MUST(json_want_integer(group, "", "keySize", 0, INT32_MAX, &bits, &err), err);
    out[0] = '\0';
    if (strcmp(hash, mask_hash) != 0)
        snprintf(out, REASON_TEXT, "MGF1 with another hash");
    else if (strcmp(hash, "SHA-256") == 0)
        *padding = OAEP_SHA256;
    else if (strcmp(hash, "SHA-384") == 0)
        *padding = OAEP_SHA384;
    else if (strcmp(hash, "SHA-512") == 0)
        *padding = OAEP_SHA512;
    else
        snprintf(out, REASON_TEXT, "OAEP with %.20s", hash);
    if (bits < 2048 || bits > 4096 || bits % 8 != 0)
        snprintf(out, REASON_TEXT, "a key of %lld bits", (long long)bits);
}

static void run_group(const struct json_value *group, struct tally *tally)
{
    struct error err = ERROR_INIT;
    const struct json_value *tests;
    enum padding padding = OAEP_SHA256;
    char reason[REASON_TEXT];
    MUST(json_want_array(group, "", "tests", &tests, &err), err);
    group_reason(group, &padding, reason);
    if (reason[0] != '\0') {
        count_other(tally, reason, json_count(tests));
        return;
    }
    EVP_PKEY *pkey = read_key(group);
    struct sealing_key *key = import_key(pkey);
    for (size_t i = 0; i < json_count(tests); i++) {
        const struct json_value *test = json_at(tests, i);
        if (read_text(test, "label")[0] != '\0')
            count_other(tally, "with a label", 1);
        else
            run_vector(test, padding, key, tally);
    }
    object_drop(session, &key->private_half);
    sealing_key_free(&key);
    EVP_PKEY_free(pkey);
}

static struct json *parse_file(const char *path)
{
    static const struct json_limits limits = {64 << 20, 1 << 20, 1 << 20};
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(64 << 20);
    struct json *json = NULL;
    MUST(file_read(path, &text, &err), err);
    MUST(json_parse(text.data, text.len, &limits, path, &json, &err), err);
    buf_free(&text);
    return json;
}

static bool is_rsa_oaep(const struct json *json)
{
    const char *algorithm = json_text(json_get(json_root(json), "algorithm"), &(size_t){0});
    return algorithm != NULL && strcmp(algorithm, "RSAES-OAEP") == 0;
}

static void print_tally(const struct tally *tally)
{
    const struct run *run = tally->run;
    const char *slash = strrchr(run->path, '/');
    printf("%s, custody %s, %s: %zu valid opened, %zu invalid refused alike", kind->name,
           custody_name(run->custody), slash != NULL ? slash + 1 : run->path, run->opened,
           run->refused);
    for (size_t i = 0; i < REASONS_MAX && tally->others[i].count > 0; i++)
        printf("%s%zu %s", i == 0 ? "; not judged: " : ", ", tally->others[i].count,
               tally->others[i].reason);
    if (tally->failed > 0)
        printf("; %zu FAILED:%s", tally->failed, buf_text(&tally->failures));
    printf("\n");
    fflush(stdout);
}

static void valid_vectors_give_the_message_and_invalid_ones_the_uniform_error(void **state)
{
    struct error err = ERROR_INIT;
    struct tally tally = {.run = *state, .failures = BUF_INIT(16384)};
    const struct json_value *groups;
    struct json *json = parse_file(tally.run->path);
    MUST(json_want_array(json_root(json), "", "testGroups", &groups, &err), err);
    for (size_t i = 0; i < json_count(groups); i++)
        run_group(json_at(groups, i), &tally);
    json_free(&json);
    print_tally(&tally);
    buf_free(&tally.failures);
    assert_int_equal(tally.failed, 0);
}

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    kind->start(&fixture);
    fixture_device_make(&fixture, EVP_RSA_gen(2048), &device);
    MUST(token_open(&fixture.address, &token, &err), err);
    MUST(token_login(token, fixture.pin, &err), err);
    MUST(session_open(token, SESSION_READ_WRITE, &session, &err), err);
    return 0;
}

static int end(void **state)
{
    (void)state;
    session_close(&session);
    token_close(&token);
    fixture_device_free(&device);
    fixture_end(&fixture);
    return 0;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* The files of RSA-OAEP vectors in the folder and below, in the order of their names. */
static size_t find_files(const char *folder, char *found[static FILES_MAX])
{
    size_t count = 0;
    char *name = strdup(folder), *roots[] = {name, NULL};
    FTS *walk = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    assert_non_null(walk);
    for (FTSENT *entry = fts_read(walk); entry != NULL; entry = fts_read(walk)) {
        if (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR)
            fail_msg("cannot read %s", entry->fts_path);
        if (entry->fts_info != FTS_F || fnmatch("*oaep*.json", entry->fts_name, 0) != 0)
            continue;
        struct json *json = parse_file(entry->fts_path);
        if (is_rsa_oaep(json)) {
            assert_true(count < FILES_MAX);
            found[count++] = strdup(entry->fts_path);
        }
        json_free(&json);
    }
    fts_close(walk);
    free(name);
    return count;
}

/* Every file in every custody of the token; how many of them have failed. */
static int run_files(char *const *files, size_t count)
{
    struct run runs[FILES_MAX * CUSTODIES_MAX];
    struct CMUnitTest tests[ARRAY_LEN(runs)];
    size_t planned = 0;
    for (size_t i = 0; i < CUSTODIES_MAX && kind->custodies[i] != CUSTODY_UNUSABLE; i++) {
        for (size_t j = 0; j < count; j++) {
            runs[planned] = (struct run){files[j], kind->custodies[i], 0, 0};
            tests[planned] = (struct CMUnitTest)cmocka_unit_test_prestate(
                valid_vectors_give_the_message_and_invalid_ones_the_uniform_error, &runs[planned]);
            planned++;
        }
    }
    int failed = _cmocka_run_group_tests(kind->name, tests, planned, start, end);
    for (size_t i = 0; i < planned; i += count) {
        size_t opened = 0, refused = 0;
        for (size_t j = i; j < i + count; j++) {
            opened += runs[j].opened;
            refused += runs[j].refused;
        }
        printf("%s, custody %s, all files: %zu valid opened, %zu invalid refused alike%s\n",
               kind->name, custody_name(runs[i].custody), opened, refused,
               opened == 0 || refused == 0 ? "; FAILED: that proves nothing" : "");
        if (opened == 0 || refused == 0)
            failed++;
    }
    return failed;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 2 ? argv[2] : getenv("RESEAL_VECTORS");
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(kinds); i++) {
        if (strcmp(argv[1], kinds[i].name) == 0)
            kind = &kinds[i];
    }
    if (kind == NULL) {
        fprintf(stderr, "usage: rsa_oaep softhsm|nss|opencryptoki [FOLDER]\n");
        return 2;
    }
    if (folder == NULL || folder[0] == '\0') {
        printf("skipped: no folder of vectors is named (RESEAL_VECTORS)\n");
        return SKIPPED;
    }
    char *files[FILES_MAX];
    size_t count = find_files(folder, files);
    if (count == 0) {
        printf("skipped: %s has no file of RSA-OAEP vectors\n", folder);
        return SKIPPED;
    }
    int failed = run_files(files, count);
    for (size_t i = 0; i < count; i++)
        free(files[i]);
    return failed == 0 ? 0 : 1;
}
