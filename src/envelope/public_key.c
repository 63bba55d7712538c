/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/public_key.h"

#include <string.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include "reseal/file.h"
#include "reseal/text.h"

#define KEY_FILE_MAX 16384

/* BCRYPT_RSAKEY_BLOB: six 32-bit little-endian fields, then the numbers. */
#define CNG_MAGIC  0x31415352u /* "RSA1" */
#define CNG_HEADER 24

static uint32_t little_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put_little_u32(struct buf *out, uint32_t value)
{
    uint8_t raw[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                      (uint8_t)(value >> 24)};
    buf_put(out, raw, sizeof raw);
}

static bool check_rsa(EVP_PKEY *key, const char *what, struct error *err)
{
    if (!EVP_PKEY_is_a(key, "RSA"))
        return error_set(err, FAIL_INPUT, "%s holds no RSA key", what);
    int bits = EVP_PKEY_get_bits(key);
    if (bits < 2048 || bits > 4096 || bits % 8 != 0)
        return error_set(err, FAIL_INPUT, "%s holds an RSA key of %d bits; 2048 to 4096 are taken",
                         what, bits);
    return true;
}

bool public_key_from_numbers(struct bytes modulus, struct bytes exponent, EVP_PKEY **out,
                             struct error *err)
{
    bool ok = false;
    *out = NULL;
    BIGNUM *n = BN_bin2bn(modulus.data, (int)modulus.len, NULL);
    BIGNUM *e = BN_bin2bn(exponent.data, (int)exponent.len, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    /* Both are odd (RFC 8017, section 3.1), and with 1 nothing would be sealed. */
    if (n != NULL && e != NULL && (!BN_is_odd(n) || !BN_is_odd(e) || BN_is_one(e))) {
        error_set(err, FAIL_INPUT, "modulus and exponent are no RSA public key");
        goto done;
    }
    if (n == NULL || e == NULL || build == NULL || context == NULL ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) ||
        (params = OSSL_PARAM_BLD_to_param(build)) == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, out, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        error_openssl(err, FAIL_INPUT, "modulus and exponent are no RSA public key");
        goto done;
    }
    ok = true;
done:
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(context);
    BN_free(n);
    BN_free(e);
    return ok;
}

static bool parse_cng(struct bytes content, const char *what, EVP_PKEY **out, struct error *err)
{
    if (content.len < CNG_HEADER)
        return error_set(err, FAIL_INPUT, "%s is a CNG RSAPUBLICBLOB cut short", what);
    uint32_t exponent_len = little_u32(content.data + 8);
    uint32_t modulus_len = little_u32(content.data + 12);
    if (little_u32(content.data + 16) != 0 || little_u32(content.data + 20) != 0)
        return error_set(err, FAIL_POLICY, "%s is a CNG blob with private parts", what);
    struct cursor cursor = {content.data + CNG_HEADER, content.len - CNG_HEADER};
    struct bytes exponent, modulus;
    if (!cursor_take(&cursor, exponent_len, &exponent) ||
        !cursor_take(&cursor, modulus_len, &modulus) || cursor.left != 0 || exponent.len == 0 ||
        exponent.len > 8 || modulus.len > 512)
        return error_set(err, FAIL_INPUT, "%s is a CNG RSAPUBLICBLOB with lengths that do not fit",
                         what);
    return public_key_from_numbers(modulus, exponent, out, err);
}

static bool parse_pem(struct bytes content, const char *what, EVP_PKEY **out, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(content.data, (int)content.len);
    if (bio == NULL)
        return error_memory(err);
    *out = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (*out != NULL)
        return true;
    ERR_clear_error();
    error_set(err, FAIL_INPUT,
              "%s is neither a PEM public key (BEGIN PUBLIC KEY) nor a CNG RSAPUBLICBLOB", what);
    return error_hint(err, "export it from the token: reseal key export LABEL");
}

bool public_key_parse(struct bytes content, const char *what, EVP_PKEY **out, struct error *err)
{
    *out = NULL;
    bool cng = content.len >= 4 && little_u32(content.data) == CNG_MAGIC;
    if (content.len == 0)
        return error_set(err, FAIL_INPUT, "%s is empty", what);
    if (!(cng ? parse_cng(content, what, out, err) : parse_pem(content, what, out, err)))
        return false;
    if (check_rsa(*out, what, err))
        return true;
    EVP_PKEY_free(*out);
    *out = NULL;
    return false;
}

bool public_key_load(const char *path, EVP_PKEY **out, struct error *err)
{
    struct buf content = BUF_INIT(KEY_FILE_MAX);
    *out = NULL;
    bool ok =
        file_read(path, &content, err) && public_key_parse(buf_bytes(&content), path, out, err);
    buf_free(&content);
    return ok;
}

bool public_key_to_pem(EVP_PKEY *key, struct buf *out, struct error *err)
{
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || PEM_write_bio_PUBKEY(bio, key) != 1) {
        BIO_free(bio);
        return error_openssl(err, FAIL_INTERNAL, "the public key cannot be written as PEM");
    }
    long len = BIO_get_mem_data(bio, &text);
    buf_put(out, text, (size_t)len);
    BIO_free(bio);
    return buf_check(out, "a PEM public key", err);
}

bool public_key_to_cng(EVP_PKEY *key, struct buf *out, struct error *err)
{
    BIGNUM *n = NULL, *e = NULL;
    bool ok = false;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) != 1) {
        error_openssl(err, FAIL_INTERNAL, "the public key is not RSA");
        goto done;
    }
    put_little_u32(out, CNG_MAGIC);
    put_little_u32(out, (uint32_t)BN_num_bits(n));
    put_little_u32(out, (uint32_t)BN_num_bytes(e));
    put_little_u32(out, (uint32_t)BN_num_bytes(n));
    put_little_u32(out, 0); /* cbPrime1, cbPrime2: a public blob has no primes */
    put_little_u32(out, 0);
    uint8_t *place = buf_extend(out, (size_t)BN_num_bytes(e));
    if (place != NULL)
        BN_bn2bin(e, place);
    place = buf_extend(out, (size_t)BN_num_bytes(n));
    if (place != NULL)
        BN_bn2bin(n, place);
    ok = buf_check(out, "a CNG public key", err);
done:
    BN_free(n);
    BN_free(e);
    return ok;
}

bool public_key_fingerprint(EVP_PKEY *key, char out[static FINGERPRINT_TEXT], struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    out[0] = '\0';
    if (len <= 0 || EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL) != 1) {
        OPENSSL_free(der);
        return error_openssl(err, FAIL_INTERNAL, "no fingerprint of the public key");
    }
    OPENSSL_free(der);
    hex_encode(out, digest, 32);
    return true;
}

static bool encrypt(EVP_PKEY_CTX *context, enum padding padding, const struct secret *password,
                    struct buf *out, struct error *err)
{
    struct bytes text = secret_bytes(password);
    size_t len = 0;
    if (EVP_PKEY_encrypt_init(context) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md_name(context, padding_hash(padding), NULL) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, padding_hash(padding), NULL) != 1 ||
        EVP_PKEY_encrypt(context, NULL, &len, text.data, text.len) != 1)
        return error_openssl(err, FAIL_INTERNAL, "RSA-OAEP is not available");
    uint8_t *place = buf_extend(out, len);
    if (place == NULL)
        return buf_check(out, "a sealed password", err);
    if (EVP_PKEY_encrypt(context, place, &len, text.data, text.len) != 1)
        return error_openssl(err, FAIL_INTERNAL, "the password cannot be sealed");
    return true;
}

bool password_seal(EVP_PKEY *key, enum padding padding, const struct secret *password,
                   struct buf *out, struct error *err)
{
    int bits = EVP_PKEY_get_bits(key);
    size_t room = padding_room(padding, bits);
    if (secret_len(password) > room) {
        error_set(err, FAIL_INPUT, "the password has %zu bytes; %s with this RSA-%d key takes %zu",
                  secret_len(password), padding_name(padding), bits, room);
        return error_hint(err,
                          "use a larger sealing key or oaepSha256 (%zu bytes), or give the PFX a "
                          "shorter password",
                          padding_room(OAEP_SHA256, bits));
    }
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    if (context == NULL)
        return error_openssl(err, FAIL_INTERNAL, "the public key cannot be used");
    bool ok = encrypt(context, padding, password, out, err);
    EVP_PKEY_CTX_free(context);
    return ok;
}
