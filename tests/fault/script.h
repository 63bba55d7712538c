/* SPDX-License-Identifier: Apache-2.0 */
/* The script of the fault module, read. Its language is described in fault.h. */
#ifndef RESEAL_TESTS_FAULT_SCRIPT_H
#define RESEAL_TESTS_FAULT_SCRIPT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <p11-kit/pkcs11.h>

enum fault_function {
#define X(name, parameters, arguments, ...) FN_##name,
#include "functions.h"
#undef X
    FUNCTION_COUNT
};

enum fault_action {
    ACTION_RETURN, /* instead of the call */
    ACTION_AFTER,  /* after the call */
    ACTION_DELAY,
    ACTION_HANG,
    ACTION_DIE,
    ACTION_ABORT,
    ACTION_LENGTH,
    ACTION_VALUE,
    ACTION_GARBAGE,
    ACTION_FLAGS,
};

enum fault_effect {
    EFFECT_LOGOUT = 1,
    EFFECT_CLOSE = 2,
    EFFECT_CLOSE_ALL = 4,
};

enum fault_sign {
    SIGN_NONE, /* the number itself */
    SIGN_PLUS, /* so much more than the true one */
    SIGN_MINUS,
};

enum fault_field {
    FIELD_LABEL,
    FIELD_SERIAL,
    FIELD_MANUFACTURER,
    FIELD_MODEL,
    FIELD_LIBRARY,
};

#define FAULT_RULES_MAX 64
#define FAULT_VALUE_MAX 64
#define ANY_ATTRIBUTE   CK_UNAVAILABLE_INFORMATION

struct fault_rule {
    unsigned line;
    enum fault_function function;
    unsigned long first, last; /* calls */
    CK_ATTRIBUTE_TYPE attribute;
    enum fault_action action;
    CK_RV rv;
    unsigned effects;
    unsigned long number; /* milliseconds, length, flags or field */
    enum fault_sign sign;
    unsigned char value[FAULT_VALUE_MAX];
    size_t value_len;
    bool late, once;
    /* While it is in force: */
    unsigned long seen; /* calls that it is about */
    bool done;          /* a "once" that has been */
};

struct fault_script {
    char module[PATH_MAX];
    char log[PATH_MAX];
    bool logged[FUNCTION_COUNT];
    bool gone;
    CK_ULONG slot_shift;
    unsigned long sessions_max; /* 0: no limit */
    unsigned long text_max;     /* 0: no limit */
    unsigned long private_key_delay_ms;
    unsigned long private_key_time_ms;
    struct fault_rule rules[FAULT_RULES_MAX];
    size_t rule_count;
};

const char *fault_function_name(enum fault_function function);
/* FUNCTION_COUNT where there is no such function. */
enum fault_function fault_function_find(const char *name);

/* False: `why` says what is wrong with which line. */
bool fault_script_read(const char *text, struct fault_script *out, char *why, size_t why_size);

#endif
