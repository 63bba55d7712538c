/* SPDX-License-Identifier: Apache-2.0 */
/* CMS made in both ways opens with the openssl command, which shares no code of ours. */
#include <unistd.h>
#include <openssl/rand.h>
#include "tests/unit/pki.h"
#include "reseal/cms.h"
#include "reseal/file.h"

static char folder[] = "/tmp/reseal-cms-XXXXXX";
static EVP_PKEY *rsa_key, *ec_key, *other_key;
static X509 *rsa_certificate, *ec_certificate, *other_certificate;

static const char *in_folder(const char *name)
{
    static char paths[4][96];
    static size_t next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void save(const char *name, struct bytes content)
{
    struct error err = ERROR_INIT;
    assert_ok(file_write(in_folder(name), 0600, FILE_REPLACE, content, &err), &err);
}

static void save_identity(const char *name, X509 *certificate, EVP_PKEY *key)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s.pem", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    PEM_write_X509(file, certificate);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
}

static X509 *certify(const char *name, EVP_PKEY *key)
{
    return pki_certificate(
        &(struct pki_wish){.name = name, .key = key, .until_s = 86400, .serial = 4242});
}

static int set_up(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    if (mkdtemp(folder) == NULL || !secret_heap_open(65536, &err))
        return -1;
    rsa_key = EVP_RSA_gen(2048);
    ec_key = EVP_EC_gen("P-256");
    other_key = EVP_RSA_gen(2048);
    rsa_certificate = certify("rsa", rsa_key);
    ec_certificate = certify("ec", ec_key);
    other_certificate = certify("other", other_key);
    save_identity("rsa", rsa_certificate, rsa_key);
    save_identity("ec", ec_certificate, ec_key);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    static const char *const names[] = {"rsa.pem", "ec.pem", "message.der", "opened"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(in_folder(names[i]));
    EVP_PKEY_free(rsa_key);
    EVP_PKEY_free(ec_key);
    EVP_PKEY_free(other_key);
    X509_free(rsa_certificate);
    X509_free(ec_certificate);
    X509_free(other_certificate);
    return rmdir(folder);
}

static void assert_openssl_opens(const char *identity, const struct buf *der, struct bytes content)
{
    struct error err = ERROR_INIT;
    struct buf opened = BUF_INIT(200000);
    char command[400];
    save("message.der", buf_bytes(der));
    snprintf(command, sizeof command,
             "openssl cms -decrypt -binary -inform DER -in %s/message.der -recip %s/%s.pem "
             "-out %s/opened",
             folder, folder, identity, folder);
    assert_int_equal(system(command), 0);
    assert_ok(file_read(in_folder("opened"), &opened, &err), &err);
    assert_int_equal(opened.len, content.len);
    if (content.len > 0)
        assert_memory_equal(opened.data, content.data, content.len);
    buf_free(&opened);
}

static const size_t lengths[] = {0, 1, 15, 16, 17, 446, 5000};

static void what_openssl_encrypts_for_us_opens_everywhere(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    uint8_t content[5000];
    RAND_bytes(content, sizeof content);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct bytes bytes = {content, lengths[i]};
        for (int transport = KEY_TRANSPORT_PKCS1; transport <= KEY_TRANSPORT_OAEP_SHA256;
             transport++) {
            struct buf der = BUF_INIT(CMS_DER_MAX);
            struct secret *opened = NULL;
            assert_ok(
                cms_encrypt(rsa_certificate, bytes, (enum key_transport)transport, &der, &err),
                &err);
            assert_openssl_opens("rsa", &der, bytes);
            assert_ok(cms_decrypt(buf_bytes(&der), rsa_key, rsa_certificate, &opened, &err), &err);
            assert_int_equal(secret_len(opened), bytes.len);
            assert_memory_equal(secret_data(opened), content, bytes.len);
            secret_free(&opened);
            buf_free(&der);
        }
        struct buf der = BUF_INIT(CMS_DER_MAX);
        assert_ok(cms_encrypt(ec_certificate, bytes, KEY_TRANSPORT_PKCS1, &der, &err), &err);
        assert_openssl_opens("ec", &der, bytes);
        buf_free(&der);
    }
}

/* Does in software what a token does, so that cms_assemble alone is under test. */
static void encrypt_parts(struct bytes content, enum key_transport transport,
                          struct cms_parts *parts, uint8_t *content_out, uint8_t *key_out)
{
    uint8_t key[CMS_KEY];
    int len = 0, rest = 0;
    size_t key_len = 256;
    RAND_bytes(key, sizeof key);
    RAND_bytes(parts->iv, CMS_IV);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key, parts->iv);
    EVP_EncryptUpdate(cipher, content_out, &len, content.data, (int)content.len);
    EVP_EncryptFinal_ex(cipher, content_out + len, &rest);
    EVP_CIPHER_CTX_free(cipher);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(rsa_key, NULL);
    EVP_PKEY_encrypt_init(context);
    if (transport == KEY_TRANSPORT_OAEP_SHA256) {
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING);
        EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256());
    }
    assert_int_equal(EVP_PKEY_encrypt(context, key_out, &key_len, key, sizeof key), 1);
    EVP_PKEY_CTX_free(context);
    parts->form = transport == KEY_TRANSPORT_OAEP_SHA256 ? CMS_RSA_OAEP_SHA256 : CMS_RSA_PKCS1;
    parts->encrypted_content = (struct bytes){content_out, (size_t)(len + rest)};
    parts->encrypted_key = (struct bytes){key_out, key_len};
}

static void what_is_put_together_from_parts_opens_everywhere(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    uint8_t content[5000], encrypted[5032], key[256];
    RAND_bytes(content, sizeof content);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        for (int transport = KEY_TRANSPORT_PKCS1; transport <= KEY_TRANSPORT_OAEP_SHA256;
             transport++) {
            struct bytes bytes = {content, lengths[i]};
            struct buf der = BUF_INIT(CMS_DER_MAX);
            struct secret *opened = NULL;
            struct cms_parts parts;
            encrypt_parts(bytes, (enum key_transport)transport, &parts, encrypted, key);
            assert_ok(cms_assemble(rsa_certificate, &parts, &der, &err), &err);
            assert_openssl_opens("rsa", &der, bytes);
            assert_ok(cms_decrypt(buf_bytes(&der), rsa_key, rsa_certificate, &opened, &err), &err);
            assert_int_equal(secret_len(opened), bytes.len);
            secret_free(&opened);
            buf_free(&der);
        }
    }
}

static void only_the_recipient_opens_a_message(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf der = BUF_INIT(CMS_DER_MAX);
    struct secret *opened = NULL;
    struct bytes content = {(const uint8_t *)"hidden", 6};
    assert_ok(cms_encrypt(rsa_certificate, content, KEY_TRANSPORT_PKCS1, &der, &err), &err);
    assert_refused(cms_decrypt(buf_bytes(&der), other_key, other_certificate, &opened, &err), &err,
                   FAIL_CRYPTO);
    assert_null(opened);
    for (size_t len = 0; len < der.len; len += 11) {
        struct bytes cut = {der.data, len};
        assert_refused(cms_decrypt(cut, rsa_key, rsa_certificate, &opened, &err), &err,
                       FAIL_CRYPTO);
    }
    buf_free(&der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_openssl_encrypts_for_us_opens_everywhere),
        cmocka_unit_test(what_is_put_together_from_parts_opens_everywhere),
        cmocka_unit_test(only_the_recipient_opens_a_message),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
