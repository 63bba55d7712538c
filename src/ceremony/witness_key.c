/* SPDX-License-Identifier: Apache-2.0 */
#include "witness_key.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "reseal/file.h"

#define KEY_FILE_MAX 16384

static bool check(EVP_PKEY **key, struct error *err)
{
    enum signature_kind kind;
    if (signature_kind_of(*key, &kind, err))
        return true;
    EVP_PKEY_free(*key);
    *key = NULL;
    return false;
}

bool witness_key_load(const char *path, EVP_PKEY **out, struct error *err)
{
    struct buf content = BUF_INIT(KEY_FILE_MAX);
    *out = NULL;
    if (!file_read(path, &content, err))
        return false;
    BIO *bio = BIO_new_mem_buf(content.data, (int)content.len);
    *out = bio != NULL ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    buf_free(&content);
    ERR_clear_error();
    if (*out == NULL) {
        error_set(err, FAIL_INPUT, "%s is no public key in PEM (BEGIN PUBLIC KEY)", path);
        return error_hint(err, "make it of the private key: openssl pkey -in KEY -pubout");
    }
    return check(out, err) || error_context(err, "%s", path);
}

bool witness_key_parse(struct bytes der, EVP_PKEY **out, struct error *err)
{
    const unsigned char *at = der.data;
    *out = d2i_PUBKEY(NULL, &at, (long)der.len);
    ERR_clear_error();
    if (*out != NULL && at != der.data + der.len) {
        EVP_PKEY_free(*out);
        *out = NULL;
    }
    if (*out == NULL)
        return error_set(err, FAIL_INPUT, "it holds no public key");
    return check(out, err);
}
