/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/key_wrap.h"

#include <string.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include "reseal/text.h"

#define VERSION     "v1:"
#define PURPOSE     "reseal access key wrap v1"
#define KEY_BYTES   32
#define NONCE_BYTES 12
#define TAG_BYTES   16

bool key_wrap_read(const char *source, struct secret **out, struct error *err)
{
    if (!secret_read(source, "Key that access keys are encrypted under", KEY_WRAP_MOST, out, err))
        return false;
    if (secret_len(*out) >= KEY_WRAP_LEAST)
        return true;
    error_set(err, FAIL_USAGE, "the key that wraps has %zu bytes, at least %d are needed",
              secret_len(*out), KEY_WRAP_LEAST);
    secret_free(out);
    return error_hint(err, "make one with: openssl rand -hex 32");
}

static bool derive(const struct secret *wrap, struct secret **key, struct error *err)
{
    char digest[] = "SHA256", purpose[] = PURPOSE;
    struct bytes input = secret_bytes(wrap);
    struct secret *copy = NULL; /* OSSL_PARAM wants memory that it could write to */
    bool ok = false;
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    if (context == NULL || !secret_copy(input.data, input.len, &copy, err) ||
        !secret_new(KEY_BYTES, key, err))
        goto done;
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret_data(copy), secret_len(copy)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, purpose, sizeof purpose - 1),
        OSSL_PARAM_construct_end(),
    };
    ok = EVP_KDF_derive(context, secret_data(*key), KEY_BYTES, parameters) == 1;
done:
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    secret_free(&copy);
    if (!ok)
        secret_free(key);
    return ok || error_openssl(err, FAIL_INTERNAL, "HKDF failed");
}

/* Encrypts or decrypts `in` to `out`, with the name as what is authenticated beside it. */
static bool run(bool encrypt, const struct secret *key, const uint8_t nonce[static NONCE_BYTES],
                const char *name, struct bytes in, uint8_t *out, uint8_t tag[static TAG_BYTES])
{
    int len = 0, last = 0;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    bool ok =
        context != NULL &&
        EVP_CipherInit_ex2(context, EVP_aes_256_gcm(), secret_bytes(key).data, nonce, encrypt,
                           NULL) == 1 &&
        EVP_CipherUpdate(context, NULL, &len, (const uint8_t *)name, (int)strlen(name)) == 1 &&
        EVP_CipherUpdate(context, out, &len, in.data, (int)in.len) == 1 &&
        (encrypt || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1) &&
        EVP_CipherFinal_ex(context, out + len, &last) == 1 &&
        (!encrypt || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1);
    EVP_CIPHER_CTX_free(context);
    return ok;
}

bool key_wrap(const struct secret *wrap, const char *name, const struct secret *secret,
              struct buf *out, struct error *err)
{
    uint8_t packed[NONCE_BYTES + KEY_WRAP_PLAIN + TAG_BYTES];
    struct bytes plain = secret_bytes(secret);
    struct secret *key = NULL;
    if (plain.len == 0 || plain.len > KEY_WRAP_PLAIN)
        return error_set(err, FAIL_TOO_LARGE, "a secret of %zu bytes cannot be wrapped", plain.len);
    if (!derive(wrap, &key, err))
        return false;
    bool ok =
        RAND_bytes(packed, NONCE_BYTES) == 1 &&
        run(true, key, packed, name, plain, packed + NONCE_BYTES, packed + NONCE_BYTES + plain.len);
    secret_free(&key);
    if (!ok)
        return error_openssl(err, FAIL_INTERNAL, "AES-256-GCM failed");
    buf_put_text(out, VERSION);
    base64_encode(out, packed, NONCE_BYTES + plain.len + TAG_BYTES);
    return buf_check(out, "the wrapped key", err);
}

bool key_unwrap(const struct secret *wrap, const char *name, const char *wrapped,
                struct secret **out, struct error *err)
{
    struct buf packed = BUF_INIT(NONCE_BYTES + KEY_WRAP_PLAIN + TAG_BYTES);
    struct secret *key = NULL;
    uint8_t tag[TAG_BYTES];
    size_t prefix = strlen(VERSION);
    bool ok = false;
    *out = NULL;
    if (strncmp(wrapped, VERSION, prefix) != 0 ||
        !base64_decode(&packed, wrapped + prefix, strlen(wrapped) - prefix, "wrapped key", err) ||
        packed.len <= NONCE_BYTES + TAG_BYTES) {
        error_set(err, FAIL_USAGE, "the wrapped key of %.128s has not the form " VERSION "BASE64",
                  name);
        goto done;
    }
    size_t len = packed.len - NONCE_BYTES - TAG_BYTES;
    memcpy(tag, packed.data + NONCE_BYTES + len, TAG_BYTES);
    if (!derive(wrap, &key, err) || !secret_new(len, out, err))
        goto done;
    ok = run(false, key, packed.data, name, (struct bytes){packed.data + NONCE_BYTES, len},
             secret_data(*out), tag);
    if (!ok) {
        error_set(err, FAIL_POLICY, "the wrapped key of %.128s does not open under this key", name);
        error_hint(err,
                   "it was wrapped under another one, or changed: compare hub.access_key_wrap");
    }
done:
    secret_free(&key);
    buf_free(&packed);
    if (!ok)
        secret_free(out);
    return ok;
}
