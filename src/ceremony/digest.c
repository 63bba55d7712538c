/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>
#include "reseal/text.h"

#define SHA256_LEN 32

bool digest_of(struct bytes content, char out[static DIGEST_TEXT], struct error *err)
{
    uint8_t sum[SHA256_LEN];
    if (EVP_Digest(content.data, content.len, sum, NULL, EVP_sha256(), NULL) != 1)
        return error_openssl(err, FAIL_INTERNAL, "SHA-256");
    hex_encode(out, sum, sizeof sum);
    return true;
}

static bool digest_descriptor(int fd, const char *path, EVP_MD_CTX *context, struct error *err)
{
    uint8_t chunk[16384];
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, FAIL_IO, "cannot read %s", path);
        if (got == 0)
            return true;
        if (EVP_DigestUpdate(context, chunk, (size_t)got) != 1)
            return error_openssl(err, FAIL_INTERNAL, "SHA-256");
    }
}

bool digest_of_file(const char *path, char out[static DIGEST_TEXT], struct error *err)
{
    uint8_t sum[SHA256_LEN];
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_errno(err, errno == ENOENT ? FAIL_NOT_FOUND : FAIL_IO, "cannot open %s", path);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        error_openssl(err, FAIL_INTERNAL, "SHA-256");
        goto done;
    }
    if (!digest_descriptor(fd, path, context, err))
        goto done;
    if (EVP_DigestFinal_ex(context, sum, NULL) != 1) {
        error_openssl(err, FAIL_INTERNAL, "SHA-256");
        goto done;
    }
    hex_encode(out, sum, sizeof sum);
    ok = true;
done:
    EVP_MD_CTX_free(context);
    close(fd);
    return ok;
}

const char *digest_word(char digit)
{
    static const char digits[] = "0123456789abcdef";
    static const char *const words[] = {"zero",    "one",   "two",   "three",  "four", "five",
                                        "six",     "seven", "eight", "nine",   "alfa", "bravo",
                                        "charlie", "delta", "echo",  "foxtrot"};
    const char *at = digit != '\0' ? strchr(digits, digit) : NULL;
    return at != NULL ? words[at - digits] : NULL;
}

void digest_spell(struct buf *out, const char *hex, size_t digits)
{
    for (size_t i = 0; i < digits && hex[i] != '\0'; i++) {
        const char *word = digest_word(hex[i]);
        buf_printf(out, "%s%s", i > 0 ? " " : "", word != NULL ? word : "?");
    }
}
