/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed passwords, good ones and all kinds of bad ones, and what must become of them. */
#ifndef RESEAL_TESTS_HSM_FIXTURE_MESSAGES_H
#define RESEAL_TESTS_HSM_FIXTURE_MESSAGES_H

#include <openssl/core_names.h>
#include <openssl/rand.h>
#include "hsm/object.h"
#include "hsm_fixture.h"
#include "reseal/helper_message.h"

/* The password of `len` bytes: every byte value comes up, NUL and markup among them. */
static inline void fixture_password(size_t len, uint8_t *out)
{
    static const char odd[] = "<&>]]\"'\\\0\r\n\t\xff\xfe\xf0\x9f\x94\x91%s";
    for (size_t i = 0; i < len; i++)
        out[i] = i < sizeof odd - 1 ? (uint8_t)odd[i] : (uint8_t)(i * 37 + len);
}

static inline void fixture_seal(EVP_PKEY *key, enum padding padding, const void *password,
                                size_t len, struct buf *out)
{
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    MUST(secret_copy(password, len, &secret, &err), err);
    buf_reset(out);
    MUST(password_seal(key, padding, secret, out, &err), err);
    secret_free(&secret);
}

/* RSA-OAEP as someone else may do it: any hash, any MGF1 hash, a label; or PKCS#1 v1.5. */
static inline void fixture_seal_otherwise(EVP_PKEY *key, int rsa_padding, const EVP_MD *hash,
                                          const EVP_MD *mgf1, const char *label, struct buf *out)
{
    static const uint8_t password[] = "Secret-4711";
    size_t len = (size_t)EVP_PKEY_get_size(key);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    buf_reset(out);
    uint8_t *place = buf_extend(out, len);
    assert_non_null(context);
    assert_non_null(place);
    assert_int_equal(EVP_PKEY_encrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, rsa_padding), 1);
    if (rsa_padding == RSA_PKCS1_OAEP_PADDING) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(context, hash), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(context, mgf1), 1);
        if (label != NULL) {
            char *copy = OPENSSL_strdup(label);
            assert_int_equal(EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy, (int)strlen(label)),
                             1);
        }
    }
    assert_int_equal(EVP_PKEY_encrypt(context, place, &len, password, sizeof password - 1), 1);
    EVP_PKEY_CTX_free(context);
}

#define BAD_MESSAGES 12

/* The bad message of that number for a key and oaepSha256; the name says what is wrong with it. */
static inline const char *fixture_bad_message(EVP_PKEY *key, int number, struct buf *out)
{
    const size_t len = (size_t)EVP_PKEY_get_size(key);
    struct buf whole = BUF_INIT(1024);
    fixture_seal(key, OAEP_SHA256, "Secret-4711", 11, &whole);
    buf_reset(out);
    const char *name = "";
    switch (number) {
    case 0:
        name = "random bytes";
        assert_int_equal(RAND_bytes(buf_extend(out, len), (int)len), 1);
        out->data[0] = 0;
        break;
    case 1:
        name = "over the modulus";
        memset(buf_extend(out, len), 0xff, len);
        break;
    case 2:
        name = "zero";
        memset(buf_extend(out, len), 0, len);
        break;
    case 3:
        name = "one byte short";
        buf_put(out, whole.data, len - 1);
        break;
    case 4:
        name = "one byte too long";
        buf_put(out, whole.data, len);
        buf_put_u8(out, 0);
        break;
    case 5:
        name = "empty";
        break;
    case 6:
        name = "one bit wrong";
        buf_put(out, whole.data, len);
        out->data[len / 2] ^= 4;
        break;
    case 7:
        name = "another hash";
        fixture_seal(key, OAEP_SHA512, "Secret-4711", 11, out);
        break;
    case 8:
        name = "OAEP-SHA1";
        fixture_seal_otherwise(key, RSA_PKCS1_OAEP_PADDING, EVP_sha1(), EVP_sha1(), NULL, out);
        break;
    case 9:
        name = "MGF1 with another hash";
        fixture_seal_otherwise(key, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha1(), NULL, out);
        break;
    case 10:
        name = "a label";
        fixture_seal_otherwise(key, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha256(), "label",
                               out);
        break;
    case 11:
        name = "PKCS#1 v1.5";
        fixture_seal_otherwise(key, RSA_PKCS1_PADDING, NULL, NULL, NULL, out);
        break;
    default:
        fail_msg("no bad message %d", number);
    }
    buf_free(&whole);
    return name;
}

/* Every bad message gives the same error, to the letter, and leaves the session fit for work. */
static inline void assert_bad_messages_look_alike(struct session *session, struct sealing_key *key,
                                                  enum custody custody, X509 *recipient)
{
    struct error err = ERROR_INIT, first = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    EVP_PKEY *pkey = NULL;
    MUST(sealing_key_public(session, key, &pkey, &err), err);
    for (int i = 0; i < BAD_MESSAGES; i++) {
        const char *name = fixture_bad_message(pkey, i, &sealed);
        struct reseal_job job = {.padding = OAEP_SHA256,
                                 .custody = custody,
                                 .sealed = buf_bytes(&sealed),
                                 .recipient = recipient};
        memset(&err, 0, sizeof err);
        if (token_reseal(session, key, &job, &der, &err))
            fail_msg("a message was accepted: %s", name);
        if (i == 0)
            first = err;
        if (err.kind != FAIL_CRYPTO || strcmp(err.text, first.text) != 0 ||
            strcmp(err.hint, first.hint) != 0)
            fail_msg("%s: %s: %s", name, failure_name(err.kind), err.text);
        assert_null(strstr(err.text, "CKR_"));
        assert_int_equal(der.len, 0);
        assert_false(session_lost(session));
    }
    buf_free(&sealed);
    buf_free(&der);
    EVP_PKEY_free(pkey);
}

struct fixture_case {
    enum padding padding;
    enum custody custody;
    enum key_transport transport;
    size_t len;
    const char *prefix, *suffix;
};

/* Seals, reseals, opens with the openssl command, compares. */
static inline void assert_reseals(const struct fixture *fixture,
                                  const struct fixture_device *device, struct session *session,
                                  struct sealing_key *key, const struct fixture_case *test)
{
    struct error err = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX),
               expected = BUF_INIT(CMS_DER_MAX);
    EVP_PKEY *pkey = NULL;
    const char *prefix = test->prefix != NULL ? test->prefix : "";
    const char *suffix = test->suffix != NULL ? test->suffix : "";
    buf_put_text(&expected, prefix);
    fixture_password(test->len, buf_extend(&expected, test->len));
    buf_put_text(&expected, suffix);
    MUST(sealing_key_public(session, key, &pkey, &err), err);
    fixture_seal(pkey, test->padding, expected.data + strlen(prefix), test->len, &sealed);
    const struct reseal_job job = {
        .padding = test->padding,
        .custody = test->custody,
        .sealed = buf_bytes(&sealed),
        .prefix = {(const uint8_t *)prefix, strlen(prefix)},
        .suffix = {(const uint8_t *)suffix, strlen(suffix)},
        .recipient = device->certificate,
        .transport = test->transport,
    };
    if (!token_reseal(session, key, &job, &der, &err))
        fail_msg("%s, %zu bytes: %s: %s", padding_name(test->padding), test->len,
                 failure_name(err.kind), err.text);
    assert_device_opens(fixture, device, buf_bytes(&der), buf_bytes(&expected));
    buf_free(&sealed);
    buf_free(&der);
    buf_free(&expected);
    EVP_PKEY_free(pkey);
}

/* All lengths at which something could go wrong, for each padding; the longest is what OAEP takes,
 * or `bound` where the module takes less. */
static inline void assert_reseals_all_lengths(const struct fixture *fixture,
                                              const struct fixture_device *device,
                                              struct session *session, struct sealing_key *key,
                                              enum custody custody, int bits, size_t bound)
{
    for (enum padding padding = PADDING_FIRST; padding <= PADDING_LAST; padding++) {
        const size_t room = padding_room(padding, bits);
        const size_t lengths[] = {0, 1, 15, 16, 17, 31, room < bound ? room : bound};
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            const struct fixture_case test = {
                .padding = padding,
                .custody = custody,
                .transport = i % 2 == 0 ? KEY_TRANSPORT_PKCS1 : KEY_TRANSPORT_OAEP_SHA256,
                .len = lengths[i],
            };
            assert_reseals(fixture, device, session, key, &test);
        }
    }
}

/* The certificate carries its point compressed (SEC 1, section 2.3.3), as some CAs write it. */
static inline void assert_reseals_to_a_compressed_point(const struct fixture *fixture,
                                                        struct session *session,
                                                        struct sealing_key *key,
                                                        enum custody custody, const char *curve,
                                                        int point_len)
{
    struct fixture_device compressed;
    EVP_PKEY *pkey = EVP_EC_gen(curve);
    assert_int_equal(EVP_PKEY_set_utf8_string_param(
                         pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"),
                     1);
    fixture_device_make(fixture, pkey, &compressed);
    assert_int_equal(X509_get0_pubkey_bitstr(compressed.certificate)->length, point_len);
    const struct fixture_case test = {
        .padding = OAEP_SHA256, .custody = custody, .len = 17, .prefix = "<", .suffix = ">"};
    assert_reseals(fixture, &compressed, session, key, &test);
    fixture_device_free(&compressed);
}

/* As much text as a job may have, for the longest device key, by both transports. */
static inline void assert_reseals_the_largest(const struct fixture *fixture,
                                              struct session *session, struct sealing_key *key,
                                              enum custody custody)
{
    enum {
        HALF = HELPER_AFFIX_MAX / 2
    };
    static char text[HALF + 1];
    struct fixture_device longest;
    fixture_device_make(fixture, EVP_RSA_gen(4096), &longest);
    for (size_t i = 0; i < HALF; i++)
        text[i] = "<![CDATA[ ]]> \r\n"[i % 16];
    const enum key_transport transports[] = {KEY_TRANSPORT_PKCS1, KEY_TRANSPORT_OAEP_SHA256};
    for (size_t i = 0; i < ARRAY_LEN(transports); i++) {
        const struct fixture_case test = {.padding = OAEP_SHA256,
                                          .custody = custody,
                                          .transport = transports[i],
                                          .len = padding_room(OAEP_SHA256, 2048),
                                          .prefix = text,
                                          .suffix = text};
        assert_reseals(fixture, &longest, session, key, &test);
    }
    fixture_device_free(&longest);
}

static inline struct sealing_key *fixture_key(struct session *session, const char *label, int bits,
                                              enum custody custody)
{
    struct error err = ERROR_INIT;
    struct key_plan plan = {.bits = bits, .custody = custody};
    struct key_birth birth;
    struct sealing_key *key = NULL;
    snprintf(plan.label, sizeof plan.label, "%s", label);
    MUST(key_generate(session, &plan, &birth, &key, &err), err);
    assert_true(birth.accepted);
    return key;
}

/* A key as another tool may make it, for one use or for both. */
static inline void fixture_foreign_key(struct session *session, const char *label, bool unwrap,
                                       bool decrypt)
{
    struct error err = ERROR_INIT;
    static const uint8_t exponent[] = {1, 0, 1};
    struct template public_half = {.count = 0}, private_half = {.count = 0};
    const struct bytes name = {(const uint8_t *)label, strlen(label)};
    CK_OBJECT_HANDLE made[2];
    template_number(&public_half, CKA_MODULUS_BITS, 2048);
    template_bytes(&public_half, CKA_PUBLIC_EXPONENT, (struct bytes){exponent, sizeof exponent});
    template_flag(&private_half, CKA_PRIVATE, true);
    template_flag(&private_half, CKA_SENSITIVE, true);
    template_flag(&private_half, CKA_EXTRACTABLE, false);
    template_flag(&private_half, CKA_UNWRAP, unwrap);
    template_flag(&private_half, CKA_DECRYPT, decrypt);
    template_flag(&private_half, CKA_SIGN, false);
    struct template *const halves[] = {&public_half, &private_half};
    for (size_t i = 0; i < 2; i++) {
        template_flag(halves[i], CKA_TOKEN, true);
        template_bytes(halves[i], CKA_LABEL, name);
        template_bytes(halves[i], CKA_ID, name);
    }
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_RV rv = session->f->C_GenerateKeyPair(session->handle, &mechanism, public_half.rows,
                                             public_half.count, private_half.rows,
                                             private_half.count, &made[0], &made[1]);
    if (rv != CKR_OK) {
        (void)session_fail(session, "C_GenerateKeyPair", NO_MECHANISM, rv, &err);
        fail_msg("%s", err.text);
    }
}

#endif
