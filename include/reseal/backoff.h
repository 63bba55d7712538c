/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long to wait before another try: exponential with jitter, so that many who failed together do
 * not come back together.
 */
#ifndef RESEAL_BACKOFF_H
#define RESEAL_BACKOFF_H

#include <stdint.h>
#include "reseal/compiler.h"

struct backoff {
    int64_t first_ms; /* before the second try, at most */
    int64_t most_ms;  /* never more than this */
};

/* The wait after `failures` failures in a row (1, 2, ...): between half and the whole of
 * first_ms * 2^(failures - 1), under most_ms. */
int64_t backoff_ms(const struct backoff *backoff, unsigned failures) MUST_USE;

#endif
