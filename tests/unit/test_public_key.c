/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include "tests/unit/check.h"
#include "reseal/padding.h"
#include "reseal/public_key.h"

static EVP_PKEY *key;

static int set_up(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    key = EVP_RSA_gen(2048);
    return key != NULL && secret_heap_open(65536, &err) ? 0 : -1;
}

static int clean_up(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

static void both_forms_hold_the_same_key(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf pem = BUF_INIT(8192), cng = BUF_INIT(8192);
    EVP_PKEY *from_pem = NULL, *from_cng = NULL;
    char one[FINGERPRINT_TEXT], two[FINGERPRINT_TEXT];
    assert_ok(public_key_to_pem(key, &pem, &err), &err);
    assert_ok(public_key_to_cng(key, &cng, &err), &err);
    assert_int_equal(cng.len, 24 + 3 + 256);
    /* "RSA1", 2048 bits, 3 bytes of exponent, 256 of modulus, no primes; little-endian */
    assert_memory_equal(cng.data,
                        "RSA1\x00\x08\x00\x00\x03\x00\x00\x00\x00\x01\x00\x00"
                        "\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01",
                        27);
    assert_ok(public_key_parse(buf_bytes(&pem), "pem", &from_pem, &err), &err);
    assert_ok(public_key_parse(buf_bytes(&cng), "cng", &from_cng, &err), &err);
    assert_int_equal(EVP_PKEY_eq(from_pem, from_cng), 1);
    assert_ok(public_key_fingerprint(from_pem, one, &err), &err);
    assert_ok(public_key_fingerprint(from_cng, two, &err), &err);
    assert_string_equal(one, two);
    EVP_PKEY_free(from_pem);
    EVP_PKEY_free(from_cng);
    buf_free(&pem);
    buf_free(&cng);
}

static void what_is_no_public_sealing_key_is_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf cng = BUF_INIT(8192);
    EVP_PKEY *out = NULL;
    static const char *const bad[] = {"", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct bytes content = {(const uint8_t *)bad[i], strlen(bad[i])};
        assert_refused(public_key_parse(content, "file", &out, &err), &err, FAIL_INPUT);
    }
    assert_ok(public_key_to_cng(key, &cng, &err), &err);
    for (size_t len = 1; len < cng.len; len++)
        assert_refused(public_key_parse((struct bytes){cng.data, len}, "cut", &out, &err), &err,
                       FAIL_INPUT);
    cng.data[16] = 1; /* says that primes follow */
    assert_refused(public_key_parse(buf_bytes(&cng), "private", &out, &err), &err, FAIL_POLICY);
    buf_free(&cng);
    EVP_PKEY *weak = EVP_RSA_gen(1024);
    struct buf pem = BUF_INIT(8192);
    assert_ok(public_key_to_pem(weak, &pem, &err), &err);
    assert_refused(public_key_parse(buf_bytes(&pem), "weak", &out, &err), &err, FAIL_INPUT);
    EVP_PKEY_free(weak);
    buf_free(&pem);
    EVP_PKEY *curve = EVP_EC_gen("P-256");
    assert_ok(public_key_to_pem(curve, &pem, &err), &err);
    assert_refused(public_key_parse(buf_bytes(&pem), "curve", &out, &err), &err, FAIL_INPUT);
    EVP_PKEY_free(curve);
    buf_free(&pem);
}

static void the_room_for_a_password_is_that_of_the_standard(void **state)
{
    (void)state;
    static const size_t room[3][3] = {{190, 158, 126}, {318, 286, 254}, {446, 414, 382}};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++)
            assert_int_equal(padding_room((enum padding)(PADDING_FIRST + j), 2048 + 1024 * i),
                             room[i][j]);
    }
    assert_int_equal(padding_room(OAEP_SHA512, 512), 0);
}

static void a_sealed_password_opens_with_the_private_half_only(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    for (int padding = PADDING_FIRST; padding <= PADDING_LAST; padding++) {
        size_t room = padding_room((enum padding)padding, 2048);
        const size_t lengths[] = {0, 1, 16, room};
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            struct secret *password = NULL;
            struct buf sealed = BUF_INIT(512);
            unsigned char opened[256];
            size_t len = sizeof opened;
            assert_ok(secret_new(lengths[i], &password, &err), &err);
            memset(secret_data(password), 'p', lengths[i]);
            assert_ok(password_seal(key, (enum padding)padding, password, &sealed, &err), &err);
            assert_int_equal(sealed.len, 256);
            EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
            EVP_PKEY_decrypt_init(context);
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING);
            EVP_PKEY_CTX_set_rsa_oaep_md_name(context, padding_hash((enum padding)padding), NULL);
            EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, padding_hash((enum padding)padding), NULL);
            assert_int_equal(EVP_PKEY_decrypt(context, opened, &len, sealed.data, sealed.len), 1);
            EVP_PKEY_CTX_free(context);
            assert_int_equal(len, lengths[i]);
            assert_memory_equal(opened, secret_data(password), len);
            secret_free(&password);
            buf_free(&sealed);
        }
    }
}

static void a_password_over_the_room_is_refused_with_both_numbers(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct secret *password = NULL;
    struct buf sealed = BUF_INIT(512);
    assert_ok(secret_new(127, &password, &err), &err);
    assert_refused(password_seal(key, OAEP_SHA512, password, &sealed, &err), &err, FAIL_INPUT);
    assert_non_null(strstr(err.text, "127"));
    assert_non_null(strstr(err.text, "126"));
    secret_free(&password);
    buf_free(&sealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_hold_the_same_key),
        cmocka_unit_test(what_is_no_public_sealing_key_is_refused),
        cmocka_unit_test(the_room_for_a_password_is_that_of_the_standard),
        cmocka_unit_test(a_sealed_password_opens_with_the_private_half_only),
        cmocka_unit_test(a_password_over_the_room_is_refused_with_both_numbers),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
