/* SPDX-License-Identifier: Apache-2.0 */
/* What every cmocka test includes, in the order that cmocka wants. */
#ifndef RESEAL_TESTS_CHECK_H
#define RESEAL_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "reseal/error.h"

/* The call must succeed; otherwise its error text is shown. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        if (!(call))                                                                               \
            fail_msg("%s: %s (%s)", #call, (err)->text, (err)->hint);                              \
    } while (0)

/* The call must fail with the kind, and say something. */
#define assert_refused(call, err, wanted)                                                          \
    do {                                                                                           \
        *(err) = (struct error)ERROR_INIT;                                                         \
        if (call)                                                                                  \
            fail_msg("%s was accepted", #call);                                                    \
        if ((err)->kind != (wanted))                                                               \
            fail_msg("%s: kind %s, wanted %s: %s", #call, failure_name((err)->kind),               \
                     failure_name(wanted), (err)->text);                                           \
        assert_true((err)->text[0] != '\0');                                                       \
    } while (0)

#endif
