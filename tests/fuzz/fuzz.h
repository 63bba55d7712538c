/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share. Each target is one file with LLVMFuzzerTestOneInput; what it
 * promises stands at its head, and a promise that does not hold ends the process (libFuzzer keeps
 * the input).
 */
#ifndef RESEAL_FUZZ_H
#define RESEAL_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/buf.h"
#include "reseal/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The same for a call that must succeed; shows its error. */
#define FUZZ_OK(call, err)                                                                         \
    do {                                                                                           \
        if (!(call)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, (err)->text);            \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Whatever was refused: the error is one line that can be shown, and of a kind that fits input. */
static inline void fuzz_check_error(const struct error *err)
{
    FUZZ_CHECK(err->kind == FAIL_INPUT || err->kind == FAIL_TOO_LARGE || err->kind == FAIL_POLICY ||
               err->kind == FAIL_UNSUPPORTED);
    FUZZ_CHECK(err->text[0] != '\0' && utf8_is_strict(err->text, strlen(err->text)));
    for (const char *at = err->text; *at != '\0'; at++)
        FUZZ_CHECK(text_control_len(at) == 0);
}

#endif
