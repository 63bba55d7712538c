/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/backoff.h"

#include <openssl/rand.h>

int64_t backoff_ms(const struct backoff *backoff, unsigned failures)
{
    int64_t whole = backoff->first_ms;
    for (unsigned i = 1; i < failures && whole < backoff->most_ms; i++)
        whole *= 2;
    if (whole > backoff->most_ms)
        whole = backoff->most_ms;
    uint32_t random = 0;
    if (RAND_bytes((unsigned char *)&random, sizeof random) != 1)
        random = 0; /* without a random number the wait is merely less spread */
    int64_t half = whole / 2;
    return whole - half + (half > 0 ? random % (half + 1) : 0);
}
