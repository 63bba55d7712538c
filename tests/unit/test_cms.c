/* SPDX-License-Identifier: Apache-2.0 */
/* CMS made in both ways opens with the openssl command, which shares no code of ours. */
#define _GNU_SOURCE /* memmem */
#include <unistd.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/objects.h>
#include <openssl/rand.h>
#include "tests/unit/pki.h"
#include "reseal/cms.h"
#include "reseal/file.h"

static char folder[] = "/tmp/reseal-cms-XXXXXX";
static EVP_PKEY *rsa_key, *ec_key, *p384_key, *other_key;
static X509 *rsa_certificate, *ec_certificate, *p384_certificate, *other_certificate;

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
    p384_key = EVP_EC_gen("P-384");
    other_key = EVP_RSA_gen(2048);
    rsa_certificate = certify("rsa", rsa_key);
    ec_certificate = certify("ec", ec_key);
    p384_certificate = certify("p384", p384_key);
    other_certificate = certify("other", other_key);
    save_identity("rsa", rsa_certificate, rsa_key);
    save_identity("ec", ec_certificate, ec_key);
    save_identity("p384", p384_certificate, p384_key);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    static const char *const names[] = {"rsa.pem", "ec.pem", "p384.pem", "message.der", "opened"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(in_folder(names[i]));
    EVP_PKEY_free(rsa_key);
    EVP_PKEY_free(ec_key);
    EVP_PKEY_free(p384_key);
    EVP_PKEY_free(other_key);
    X509_free(rsa_certificate);
    X509_free(ec_certificate);
    X509_free(p384_certificate);
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

/* -- what a token does, in software, so that cms_assemble alone is under test -- */

/* A device for each form, and the parts of a message for it. */
struct trial {
    enum cms_form form;
    const char *identity;
    EVP_PKEY **key;
    X509 **certificate;
};

static const struct trial trials[CMS_FORM_COUNT] = {
    {CMS_RSA_PKCS1, "rsa", &rsa_key, &rsa_certificate},
    {CMS_RSA_OAEP_SHA256, "rsa", &rsa_key, &rsa_certificate},
    {CMS_EC_P256, "ec", &ec_key, &ec_certificate},
    {CMS_EC_P384, "p384", &p384_key, &p384_certificate},
};

struct places {
    uint8_t content[5032], key[256], originator[97];
};

static void transport_key(const struct trial *trial, const uint8_t key[static CMS_KEY],
                          struct cms_parts *parts, struct places *places)
{
    size_t len = sizeof places->key;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(*trial->key, NULL);
    EVP_PKEY_encrypt_init(context);
    if (trial->form == CMS_RSA_OAEP_SHA256) {
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING);
        EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256());
    }
    assert_int_equal(EVP_PKEY_encrypt(context, places->key, &len, key, CMS_KEY), 1);
    EVP_PKEY_CTX_free(context);
    parts->encrypted_key = (struct bytes){places->key, len};
}

static void derive_key(EVP_PKEY *ephemeral, EVP_PKEY *device, const char *hash,
                       uint8_t out[static CMS_KEY])
{
    struct error err = ERROR_INIT;
    struct buf info = BUF_INIT(256);
    uint8_t secret[48];
    size_t len = sizeof secret;
    char digest[8];
    snprintf(digest, sizeof digest, "%s", hash);
    assert_ok(cms_shared_info(&info, &err), &err);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(ephemeral, NULL);
    assert_int_equal(EVP_PKEY_derive_init(context), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(context, device), 1);
    assert_int_equal(EVP_PKEY_derive(context, secret, &len), 1);
    EVP_PKEY_CTX_free(context);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret, len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data, info.len),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *function = EVP_KDF_fetch(NULL, "X963KDF", NULL);
    EVP_KDF_CTX *kdf = EVP_KDF_CTX_new(function);
    assert_int_equal(EVP_KDF_derive(kdf, out, CMS_KEY, params), 1);
    EVP_KDF_CTX_free(kdf);
    EVP_KDF_free(function);
    buf_free(&info);
}

static void agree_key(const struct trial *trial, const uint8_t key[static CMS_KEY],
                      struct cms_parts *parts, struct places *places)
{
    const bool p384 = trial->form == CMS_EC_P384;
    uint8_t kek[CMS_KEY];
    int len = 0;
    size_t point_len = 0;
    EVP_PKEY *ephemeral = EVP_EC_gen(p384 ? "P-384" : "P-256");
    derive_key(ephemeral, *trial->key, p384 ? "SHA384" : "SHA256", kek);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_CIPHER_CTX_set_flags(cipher, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    assert_int_equal(EVP_EncryptInit_ex(cipher, EVP_aes_256_wrap(), NULL, kek, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(cipher, places->key, &len, key, CMS_KEY), 1);
    EVP_CIPHER_CTX_free(cipher);
    assert_int_equal(EVP_PKEY_get_octet_string_param(ephemeral, OSSL_PKEY_PARAM_PUB_KEY,
                                                     places->originator, sizeof places->originator,
                                                     &point_len),
                     1);
    EVP_PKEY_free(ephemeral);
    parts->encrypted_key = (struct bytes){places->key, (size_t)len};
    parts->originator = (struct bytes){places->originator, point_len};
}

static void encrypt_parts(const struct trial *trial, struct bytes content, struct cms_parts *parts,
                          struct places *places)
{
    uint8_t key[CMS_KEY];
    int len = 0, rest = 0;
    memset(parts, 0, sizeof *parts);
    RAND_bytes(key, sizeof key);
    RAND_bytes(parts->iv, CMS_IV);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key, parts->iv);
    EVP_EncryptUpdate(cipher, places->content, &len, content.data, (int)content.len);
    EVP_EncryptFinal_ex(cipher, places->content + len, &rest);
    EVP_CIPHER_CTX_free(cipher);
    parts->form = trial->form;
    parts->encrypted_content = (struct bytes){places->content, (size_t)(len + rest)};
    if (cms_form_is_ec(trial->form))
        agree_key(trial, key, parts, places);
    else
        transport_key(trial, key, parts, places);
}

static void what_is_put_together_from_parts_opens_everywhere(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    uint8_t content[5000];
    struct places places;
    RAND_bytes(content, sizeof content);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        for (size_t j = 0; j < ARRAY_LEN(trials); j++) {
            struct bytes bytes = {content, lengths[i]};
            struct buf der = BUF_INIT(CMS_DER_MAX);
            struct secret *opened = NULL;
            struct cms_parts parts;
            encrypt_parts(&trials[j], bytes, &parts, &places);
            assert_ok(cms_assemble(*trials[j].certificate, &parts, &der, &err), &err);
            assert_openssl_opens(trials[j].identity, &der, bytes);
            assert_ok(
                cms_decrypt(buf_bytes(&der), *trials[j].key, *trials[j].certificate, &opened, &err),
                &err);
            assert_int_equal(secret_len(opened), bytes.len);
            assert_memory_equal(secret_data(opened), content, bytes.len);
            secret_free(&opened);
            buf_free(&der);
        }
    }
}

/* The outline of a DER value: class and tag of everything, and what names and numbers are. Leaves
 * out the NULL behind id-sha256, which may be there or not (RFC 4055, section 2.1). */
static void outline(struct bytes der, int depth, struct buf *out)
{
    const unsigned char *at = der.data, *end = der.data + der.len;
    bool behind_hash = false;
    while (at < end) {
        char text[64];
        const unsigned char *start = at;
        long len = 0;
        int tag = 0, class = 0;
        int kind = ASN1_get_object(&at, &len, &tag, &class, end - at);
        assert_true(kind == 0 || kind == V_ASN1_CONSTRUCTED); /* no error, no indefinite length */
        struct bytes value = {at, (size_t)len};
        at += len;
        if (behind_hash && tag == V_ASN1_NULL)
            continue;
        snprintf(text, sizeof text, "%*s%d/%d\n", depth, "", class, tag);
        buf_put_text(out, text);
        if (kind == V_ASN1_CONSTRUCTED) {
            outline(value, depth + 1, out);
        } else if (class == V_ASN1_UNIVERSAL && (tag == V_ASN1_OBJECT || tag == V_ASN1_INTEGER)) {
            buf_put(out, value.data, value.len);
            ASN1_OBJECT *name =
                tag == V_ASN1_OBJECT ? d2i_ASN1_OBJECT(NULL, &start, at - start) : NULL;
            behind_hash = name != NULL && OBJ_obj2nid(name) == NID_sha256;
            ASN1_OBJECT_free(name);
        }
    }
}

static void both_ways_make_the_same_structure(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    const struct bytes content = {(const uint8_t *)"sixteen bytes ..", 16};
    struct places places;
    for (size_t i = 0; i < ARRAY_LEN(trials); i++) {
        const enum key_transport transport =
            trials[i].form == CMS_RSA_OAEP_SHA256 ? KEY_TRANSPORT_OAEP_SHA256 : KEY_TRANSPORT_PKCS1;
        struct buf by_openssl = BUF_INIT(CMS_DER_MAX), by_parts = BUF_INIT(CMS_DER_MAX);
        struct buf wanted = BUF_INIT(CMS_DER_MAX), found = BUF_INIT(CMS_DER_MAX);
        struct cms_parts parts;
        assert_ok(cms_encrypt(*trials[i].certificate, content, transport, &by_openssl, &err), &err);
        encrypt_parts(&trials[i], content, &parts, &places);
        assert_ok(cms_assemble(*trials[i].certificate, &parts, &by_parts, &err), &err);
        outline(buf_bytes(&by_openssl), 0, &wanted);
        outline(buf_bytes(&by_parts), 0, &found);
        assert_true(wanted.len > 100);
        if (found.len != wanted.len || memcmp(found.data, wanted.data, wanted.len) != 0)
            fail_msg("%s: the structures differ", cms_form_name(trials[i].form));
        buf_free(&by_openssl);
        buf_free(&by_parts);
        buf_free(&wanted);
        buf_free(&found);
    }
}

static void shared_info_is_what_rfc_5753_says(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf info = BUF_INIT(256);
    /* SEQUENCE { SEQUENCE { id-aes256-wrap }, [2] { OCTET STRING, 256 as 32 bits } } */
    static const uint8_t wanted[] = {0x30, 0x15, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86,
                                     0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2d, 0xa2,
                                     0x06, 0x04, 0x04, 0x00, 0x00, 0x01, 0x00};
    assert_ok(cms_shared_info(&info, &err), &err);
    assert_int_equal(info.len, sizeof wanted);
    assert_memory_equal(info.data, wanted, sizeof wanted);
    buf_free(&info);
}

static void assert_form(EVP_PKEY *key, enum key_transport transport, enum cms_form wanted)
{
    enum cms_form form = CMS_FORM_COUNT;
    X509 *certificate = certify("form", key);
    assert_true(cms_form_for(certificate, transport, &form));
    assert_int_equal(form, wanted);
    X509_free(certificate);
}

static void the_form_follows_the_key_and_the_transport_where_it_is_rsa(void **state)
{
    (void)state;
    assert_form(rsa_key, KEY_TRANSPORT_PKCS1, CMS_RSA_PKCS1);
    assert_form(rsa_key, KEY_TRANSPORT_OAEP_SHA256, CMS_RSA_OAEP_SHA256);
    assert_form(ec_key, KEY_TRANSPORT_PKCS1, CMS_EC_P256);
    assert_form(ec_key, KEY_TRANSPORT_OAEP_SHA256, CMS_EC_P256);
    assert_form(p384_key, KEY_TRANSPORT_PKCS1, CMS_EC_P384);
    assert_form(p384_key, KEY_TRANSPORT_OAEP_SHA256, CMS_EC_P384);
}

static EVP_PKEY *generate(const char *kind)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_generate(context, &key), 1);
    EVP_PKEY_CTX_free(context);
    return key;
}

static void keys_of_other_kinds_have_no_form(void **state)
{
    (void)state;
    const struct {
        const char *name;
        EVP_PKEY *key;
    } others[] = {
        {"P-521", EVP_EC_gen("P-521")},         {"P-224", EVP_EC_gen("P-224")},
        {"secp256k1", EVP_EC_gen("secp256k1")}, {"brainpoolP256r1", EVP_EC_gen("brainpoolP256r1")},
        {"RSA-PSS", generate("RSA-PSS")},       {"Ed25519", generate("ED25519")},
        {"X25519", generate("X25519")},
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        enum cms_form form;
        assert_non_null(others[i].key);
        X509 *certificate = pki_certificate(&(struct pki_wish){.name = others[i].name,
                                                               .key = others[i].key,
                                                               .issuer = rsa_certificate,
                                                               .issuer_key = rsa_key,
                                                               .until_s = 86400,
                                                               .serial = 1});
        for (int transport = KEY_TRANSPORT_PKCS1; transport <= KEY_TRANSPORT_OAEP_SHA256;
             transport++) {
            if (cms_form_for(certificate, (enum key_transport)transport, &form))
                fail_msg("%s has form %s", others[i].name, cms_form_name(form));
        }
        X509_free(certificate);
        EVP_PKEY_free(others[i].key);
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

/* id-aes256-wrap-pad (RFC 5649): a failing unwrapping of that kind writes beyond a buffer in
 * OpenSSL 3.0.19, so it is refused before OpenSSL looks at the key. */
static void a_key_that_is_wrapped_with_padding_is_not_tried(void **state)
{
    (void)state;
    static const uint8_t plain_wrap[] = {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2d};
    struct error err = ERROR_INIT;
    struct buf der = BUF_INIT(CMS_DER_MAX);
    struct secret *content = NULL;
    assert_ok(cms_encrypt(ec_certificate, (struct bytes){(const uint8_t *)"text", 4},
                          KEY_TRANSPORT_PKCS1, &der, &err),
              &err);
    uint8_t *wrap = memmem(der.data, der.len, plain_wrap, sizeof plain_wrap);
    assert_non_null(wrap);
    wrap[sizeof plain_wrap - 1] = 0x30;
    assert_refused(cms_decrypt(buf_bytes(&der), ec_key, ec_certificate, &content, &err), &err,
                   FAIL_CRYPTO);
    assert_non_null(strstr(err.text, "wraps its key"));
    assert_null(content);
    wrap[sizeof plain_wrap - 1] = 0x2d;
    assert_ok(cms_decrypt(buf_bytes(&der), ec_key, ec_certificate, &content, &err), &err);
    secret_free(&content);
    buf_free(&der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_openssl_encrypts_for_us_opens_everywhere),
        cmocka_unit_test(what_is_put_together_from_parts_opens_everywhere),
        cmocka_unit_test(both_ways_make_the_same_structure),
        cmocka_unit_test(shared_info_is_what_rfc_5753_says),
        cmocka_unit_test(the_form_follows_the_key_and_the_transport_where_it_is_rsa),
        cmocka_unit_test(keys_of_other_kinds_have_no_form),
        cmocka_unit_test(only_the_recipient_opens_a_message),
        cmocka_unit_test(a_key_that_is_wrapped_with_padding_is_not_tried),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
