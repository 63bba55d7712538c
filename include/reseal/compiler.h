/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes that the whole tree uses, in one place. */
#ifndef RESEAL_COMPILER_H
#define RESEAL_COMPILER_H

/* The caller must look at what the function returns. */
#define MUST_USE __attribute__((warn_unused_result))

/* Argument `string_index` is a printf format for the arguments from `first` on. */
#define PRINTF_LIKE(string_index, first) __attribute__((format(printf, string_index, first)))

#define ARRAY_LEN(array)                 (sizeof(array) / sizeof((array)[0]))

#endif
