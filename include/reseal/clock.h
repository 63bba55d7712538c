/* SPDX-License-Identifier: Apache-2.0 */
/* Time: milliseconds, and RFC 3339 text in UTC. */
#ifndef RESEAL_CLOCK_H
#define RESEAL_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include "reseal/compiler.h"

#define CLOCK_TEXT 25 /* "2026-11-23T22:01:27.123Z" and the end mark */

/* Never goes back; only differences mean something. */
int64_t clock_monotonic_ms(void) MUST_USE;
int64_t clock_monotonic_us(void) MUST_USE; /* the same in microseconds */
/* Suspends this thread, whatever signals come. */
void clock_sleep_ms(int64_t ms);
/* Since 1970-01-01T00:00:00Z. */
int64_t clock_real_ms(void) MUST_USE;
/* Writes milliseconds since 1970 as "YYYY-MM-DDThh:mm:ss.mmmZ". */
void clock_format(int64_t real_ms, char out[static CLOCK_TEXT]);
/* Reads RFC 3339 with any offset and fraction. */
bool clock_parse(const char *text, int64_t *real_ms) MUST_USE;

#endif
