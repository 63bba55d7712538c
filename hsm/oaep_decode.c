/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL 3 offers OAEP decoding without the RSA operation before it only as a function that it
 * calls deprecated; its EVP interface wants the private key, which is on the token. It is the same
 * constant-time code that EVP runs, and better than one of our own (RFC 8017, section 7.1.2, step
 * 3).
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/err.h>
#include <openssl/rsa.h>
#include "custody.h"

bool oaep_decode(const EVP_MD *digest, const struct secret *block, struct secret *message,
                 size_t *len)
{
    struct bytes in = secret_bytes(block);
    int got =
        RSA_padding_check_PKCS1_OAEP_mgf1(secret_data(message), (int)secret_len(message), in.data,
                                          (int)in.len, (int)in.len, NULL, 0, digest, digest);
    ERR_clear_error();
    *len = got < 0 ? 0 : (size_t)got;
    return got >= 0;
}
