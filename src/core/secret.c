/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/secret.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <openssl/crypto.h>

struct secret {
    size_t len;
    uint8_t data[]; /* in the secure heap together with the length */
};

bool secret_heap_open(size_t bytes, struct error *err)
{
    if (CRYPTO_secure_malloc_initialized())
        return true;
    /* 1: locked and guarded. 2: allocated, but the kernel refused a protection. */
    int state = CRYPTO_secure_malloc_init(bytes, 32);
    if (state == 1)
        return true;
    CRYPTO_secure_malloc_done();
    error_set(err, FAIL_IO, "cannot lock %zu bytes of memory for secrets%s", bytes,
              state == 2 ? ": the system refuses to protect them" : "");
    return error_hint(err,
                      "raise the limit of locked memory (ulimit -l, or LimitMEMLOCK= in the unit)");
}

bool secret_new(size_t len, struct secret **out, struct error *err)
{
    *out = NULL;
    if (len > SIZE_MAX / 2)
        return error_set(err, FAIL_TOO_LARGE, "a secret of %zu bytes is too long", len);
    struct secret *secret = OPENSSL_secure_zalloc(sizeof *secret + len);
    if (secret == NULL)
        return error_set(err, FAIL_INTERNAL, "no room for a secret of %zu bytes in locked memory",
                         len);
    secret->len = len;
    *out = secret;
    return true;
}

bool secret_copy(const void *data, size_t len, struct secret **out, struct error *err)
{
    if (!secret_new(len, out, err))
        return false;
    if (len > 0)
        memcpy((*out)->data, data, len);
    return true;
}

uint8_t *secret_data(struct secret *secret)
{
    return secret->data;
}

struct bytes secret_bytes(const struct secret *secret)
{
    return (struct bytes){secret->data, secret->len};
}

size_t secret_len(const struct secret *secret)
{
    return secret->len;
}

void secret_truncate(struct secret *secret, size_t len)
{
    if (len >= secret->len)
        return;
    memory_wipe(secret->data + len, secret->len - len);
    secret->len = len;
}

void secret_free(struct secret **secret)
{
    if (secret == NULL || *secret == NULL)
        return;
    OPENSSL_secure_clear_free(*secret, sizeof **secret + (*secret)->len);
    *secret = NULL;
}

void memory_wipe(void *data, size_t len)
{
    if (data != NULL)
        explicit_bzero(data, len); /* as sure as OPENSSL_cleanse, and 32 bytes at a time */
}

bool process_harden(struct error *err)
{
    const struct rlimit none = {0, 0};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return error_errno(err, FAIL_IO, "cannot make the process non-dumpable");
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return error_errno(err, FAIL_IO, "cannot forbid core dumps");
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return error_errno(err, FAIL_IO, "cannot ignore SIGPIPE");
    return true;
}
