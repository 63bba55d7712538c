/* SPDX-License-Identifier: Apache-2.0 */
/* A PFX from a stranger: whatever bytes come, they open with the password "fuzz", or are refused in
 * words that can be shown, in bounded time (the work of its key derivation is bounded). */
#include "fuzz.h"
#include "reseal/pfx.h"

static struct secret *password;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err = ERROR_INIT;
    (void)argc;
    (void)argv;
    FUZZ_OK(secret_heap_open(1 << 20, &err) && secret_copy("fuzz", 4, &password, &err), &err);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct pfx_facts facts;
    if (pfx_open((struct bytes){data, size}, password, &facts, &err)) {
        FUZZ_CHECK(strlen(facts.thumbprint) == RECORD_THUMBPRINT - 1);
        FUZZ_CHECK(utf8_is_strict(facts.subject, strlen(facts.subject)));
        FUZZ_CHECK(facts.key_bits > 0);
        return 0;
    }
    if (err.kind == FAIL_CRYPTO)
        err.kind = FAIL_INPUT;
    fuzz_check_error(&err);
    return 0;
}
