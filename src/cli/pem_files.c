/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and certificates of devices as files. */
#include <limits.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "demo_ca.h"
#include "reseal/file.h"

#define PEM_MAX 65536

bool write_private_key(const char *path, EVP_PKEY *key, struct error *err)
{
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_secmem());
    bool ok = false;
    if (bio == NULL || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        error_openssl(err, FAIL_INTERNAL, "cannot write a private key");
        goto done;
    }
    long len = BIO_get_mem_data(bio, &text);
    struct bytes bytes = {(const uint8_t *)text, (size_t)len};
    ok = file_write(path, 0600, FILE_NEW, bytes, err);
done:
    BIO_free(bio);
    return ok;
}

bool write_certificate(const char *path, X509 *certificate, struct error *err)
{
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = false;
    if (bio == NULL || PEM_write_bio_X509(bio, certificate) != 1) {
        error_openssl(err, FAIL_INTERNAL, "cannot write a certificate");
        goto done;
    }
    long len = BIO_get_mem_data(bio, &text);
    struct bytes bytes = {(const uint8_t *)text, (size_t)len};
    ok = file_write(path, 0644, FILE_NEW, bytes, err);
done:
    BIO_free(bio);
    return ok;
}

/* PEM asks for a password on the terminal by itself, unless told not to. */
static int no_password(char *out, int size, int writing, void *user)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)user;
    return -1;
}

static BIO *open_content(const char *path, struct buf *content, struct error *err)
{
    if (!file_read(path, content, err))
        return NULL;
    if (content->len == 0) {
        error_set(err, FAIL_INPUT, "the file %s has no content", path);
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(buf_text(content), (int)content->len);
    if (bio == NULL)
        error_memory(err);
    return bio;
}

bool read_private_key(const char *path, EVP_PKEY **out, struct error *err)
{
    struct buf content = BUF_INIT(PEM_MAX);
    *out = NULL;
    BIO *bio = open_content(path, &content, err);
    if (bio != NULL) {
        *out = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
        if (*out == NULL) {
            ERR_clear_error();
            error_set(err, FAIL_INPUT, "%s is no PEM private key without a password", path);
        }
    }
    BIO_free(bio);
    buf_free(&content);
    return *out != NULL;
}

bool read_certificate(const char *path, X509 **out, struct error *err)
{
    struct buf content = BUF_INIT(PEM_MAX);
    *out = NULL;
    BIO *bio = open_content(path, &content, err);
    if (bio != NULL) {
        const unsigned char *at = content.data;
        *out = PEM_read_bio_X509(bio, NULL, no_password, NULL);
        if (*out == NULL && content.len > 0)
            *out = d2i_X509(NULL, &at, (long)content.len);
        ERR_clear_error();
        if (*out == NULL)
            error_set(err, FAIL_INPUT, "%s is no certificate, neither PEM nor DER", path);
    }
    BIO_free(bio);
    buf_free(&content);
    return *out != NULL;
}
