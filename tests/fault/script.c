/* SPDX-License-Identifier: Apache-2.0 */
#include "script.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hsm/ck_rv.h"

static const char *const function_names[FUNCTION_COUNT] = {
#define X(name, parameters, arguments, ...) [FN_##name] = #name,
#include "functions.h"
#undef X
};

const char *fault_function_name(enum fault_function function)
{
    return function_names[function];
}

enum fault_function fault_function_find(const char *name)
{
    for (int i = 0; i < FUNCTION_COUNT; i++) {
        if (strcmp(function_names[i], name) == 0)
            return (enum fault_function)i;
    }
    return FUNCTION_COUNT;
}

/* -- words of one line -- */

struct line {
    unsigned number;
    char *rest; /* for strtok_r */
    char *why;
    size_t why_size;
};

static char *next_word(struct line *line)
{
    return strtok_r(NULL, " \t", &line->rest);
}

static bool fail(struct line *line, const char *format, ...) PRINTF_LIKE(2, 3);

static bool fail(struct line *line, const char *format, ...)
{
    va_list arguments;
    int len = snprintf(line->why, line->why_size, "line %u: ", line->number);
    va_start(arguments, format);
    vsnprintf(line->why + len, line->why_size - (size_t)len, format, arguments);
    va_end(arguments);
    return false;
}

static bool fail_word(struct line *line, const char *wanted, const char *word)
{
    return fail(line, "%s is wanted, not \"%s\"", wanted, word != NULL ? word : "");
}

static bool number_of(const char *word, const char *unit, unsigned long *out)
{
    char *end;
    if (word == NULL || word[0] < '0' || word[0] > '9')
        return false;
    *out = strtoul(word, &end, 0);
    return strcmp(end, unit) == 0;
}

static bool take_number(struct line *line, const char *unit, unsigned long *out)
{
    const char *word = next_word(line);
    return number_of(word, unit, out) ? true : fail_word(line, "a number", word);
}

struct name_row {
    const char *name;
    unsigned long value;
};

static bool name_find(const struct name_row *rows, size_t count, const char *word,
                      unsigned long *out)
{
    for (size_t i = 0; word != NULL && i < count; i++) {
        if (strcmp(rows[i].name, word) == 0) {
            *out = rows[i].value;
            return true;
        }
    }
    return false;
}

static bool take_rv(struct line *line, CK_RV *out)
{
    static const char vendor[] = "CKR_VENDOR_DEFINED+";
    const char *word = next_word(line);
    if (word != NULL && strncmp(word, vendor, sizeof vendor - 1) == 0 &&
        number_of(word + sizeof vendor - 1, "", out)) {
        *out += CKR_VENDOR_DEFINED;
        return true;
    }
    if (number_of(word, "", out))
        return true;
    for (size_t i = 0; word != NULL && i < ck_rv_count(); i++) {
        char name[CK_RV_TEXT];
        ck_rv_text(ck_rv_at(i), name);
        if (strcmp(name, word) == 0) {
            *out = ck_rv_at(i);
            return true;
        }
    }
    return fail_word(line, "a CK_RV", word);
}

static bool take_attribute(struct line *line, CK_ATTRIBUTE_TYPE *out)
{
    static const struct name_row rows[] = {
        {"CKA_CLASS", CKA_CLASS},
        {"CKA_TOKEN", CKA_TOKEN},
        {"CKA_PRIVATE", CKA_PRIVATE},
        {"CKA_LABEL", CKA_LABEL},
        {"CKA_VALUE", CKA_VALUE},
        {"CKA_KEY_TYPE", CKA_KEY_TYPE},
        {"CKA_ID", CKA_ID},
        {"CKA_SENSITIVE", CKA_SENSITIVE},
        {"CKA_DECRYPT", CKA_DECRYPT},
        {"CKA_UNWRAP", CKA_UNWRAP},
        {"CKA_SIGN", CKA_SIGN},
        {"CKA_MODULUS", CKA_MODULUS},
        {"CKA_PUBLIC_EXPONENT", CKA_PUBLIC_EXPONENT},
        {"CKA_EC_POINT", CKA_EC_POINT},
        {"CKA_EXTRACTABLE", CKA_EXTRACTABLE},
        {"CKA_LOCAL", CKA_LOCAL},
        {"CKA_ALWAYS_SENSITIVE", CKA_ALWAYS_SENSITIVE},
        {"CKA_NEVER_EXTRACTABLE", CKA_NEVER_EXTRACTABLE},
        {"CKA_KEY_GEN_MECHANISM", CKA_KEY_GEN_MECHANISM},
    };
    const char *word = next_word(line);
    return name_find(rows, sizeof rows / sizeof rows[0], word, out) || number_of(word, "", out)
               ? true
               : fail_word(line, "an attribute", word);
}

static bool take_calls(struct line *line, struct fault_rule *rule)
{
    const char *word = next_word(line);
    rule->first = 1;
    rule->last = ULONG_MAX;
    if (word != NULL && strcmp(word, "*") == 0)
        return true;
    if (word != NULL && strcmp(word, "from") == 0)
        return take_number(line, "", &rule->first);
    char *end = NULL;
    if (word == NULL || word[0] < '1' || word[0] > '9')
        return fail_word(line, "a number of calls (N, N..M, from N, *)", word);
    rule->first = rule->last = strtoul(word, &end, 10);
    if (*end == '\0')
        return true;
    if (strncmp(end, "..", 2) == 0 && number_of(end + 2, "", &rule->last) &&
        rule->last >= rule->first)
        return true;
    return fail_word(line, "a number of calls (N, N..M, from N, *)", word);
}

static bool take_length(struct line *line, struct fault_rule *rule)
{
    const char *word = next_word(line);
    if (word != NULL && strcmp(word, "unavailable") == 0) {
        rule->number = CK_UNAVAILABLE_INFORMATION;
        return true;
    }
    rule->sign = word != NULL && word[0] == '+'   ? SIGN_PLUS
                 : word != NULL && word[0] == '-' ? SIGN_MINUS
                                                  : SIGN_NONE;
    if (number_of(rule->sign != SIGN_NONE ? word + 1 : word, "", &rule->number))
        return true;
    return fail_word(line, "a length (N, +N, -N, unavailable)", word);
}

static bool take_value(struct line *line, struct fault_rule *rule)
{
    const char *word = next_word(line);
    if (rule->attribute == ANY_ATTRIBUTE)
        return fail(line, "\"value\" is for C_GetAttributeValue with \"of\"");
    size_t digits = word != NULL ? strlen(word) : 0;
    if (digits == 0 || digits % 2 != 0 || digits / 2 > sizeof rule->value)
        return fail_word(line, "a value in hexadecimal", word);
    for (size_t i = 0; i < digits; i += 2) {
        char pair[] = {word[i], word[i + 1], '\0'}, *end;
        rule->value[i / 2] = (unsigned char)strtoul(pair, &end, 16);
        if (*end != '\0')
            return fail_word(line, "a value in hexadecimal", word);
    }
    rule->value_len = digits / 2;
    return true;
}

static bool take_field(struct line *line, struct fault_rule *rule)
{
    static const struct name_row rows[] = {
        {"label", FIELD_LABEL}, {"serial", FIELD_SERIAL},   {"manufacturer", FIELD_MANUFACTURER},
        {"model", FIELD_MODEL}, {"library", FIELD_LIBRARY},
    };
    const char *word = next_word(line);
    if (!name_find(rows, sizeof rows / sizeof rows[0], word, &rule->number))
        return fail_word(line, "a field", word);
    if (rule->function != (rule->number == FIELD_LIBRARY ? FN_C_GetInfo : FN_C_GetTokenInfo))
        return fail(line, "that function has no field \"%s\"", word);
    return true;
}

static bool take_flags(struct line *line, struct fault_rule *rule)
{
    static const struct name_row rows[] = {
        {"CKF_USER_PIN_COUNT_LOW", CKF_USER_PIN_COUNT_LOW},
        {"CKF_USER_PIN_FINAL_TRY", CKF_USER_PIN_FINAL_TRY},
        {"CKF_USER_PIN_LOCKED", CKF_USER_PIN_LOCKED},
        {"CKF_USER_PIN_TO_BE_CHANGED", CKF_USER_PIN_TO_BE_CHANGED},
        {"CKF_PROTECTED_AUTHENTICATION_PATH", CKF_PROTECTED_AUTHENTICATION_PATH},
        {"CKF_ERROR_STATE", 0x1000000UL}, /* PKCS#11 v2.40; p11-kit 0.24 does not carry it */
    };
    const char *word = next_word(line);
    if (rule->function != FN_C_GetTokenInfo)
        return fail(line, "\"flags\" is for C_GetTokenInfo");
    return name_find(rows, sizeof rows / sizeof rows[0], word, &rule->number)
               ? true
               : fail_word(line, "a flag", word);
}

/* What follows a fault: effects on the real session, late, once. */
static bool take_tail(struct line *line, struct fault_rule *rule)
{
    static const struct name_row effects[] = {
        {"logout", EFFECT_LOGOUT}, {"close", EFFECT_CLOSE}, {"close-all", EFFECT_CLOSE_ALL}};
    bool answers = rule->action == ACTION_RETURN || rule->action == ACTION_AFTER;
    bool waits = rule->action == ACTION_DELAY || rule->action == ACTION_HANG ||
                 rule->action == ACTION_DIE || rule->action == ACTION_ABORT;
    for (const char *word = next_word(line); word != NULL; word = next_word(line)) {
        unsigned long effect = 0;
        if (strcmp(word, "once") == 0)
            rule->once = true;
        else if (waits && strcmp(word, "late") == 0)
            rule->late = true;
        else if (answers && name_find(effects, 3, word, &effect))
            rule->effects |= (unsigned)effect;
        else
            return fail(line, "\"%s\" has no meaning there", word);
    }
    return true;
}

static bool take_fault(struct line *line, struct fault_rule *rule)
{
    static const struct name_row actions[] = {
        {"return", ACTION_RETURN},   {"before", ACTION_RETURN}, {"after", ACTION_AFTER},
        {"delay", ACTION_DELAY},     {"hang", ACTION_HANG},     {"die", ACTION_DIE},
        {"abort", ACTION_ABORT},     {"length", ACTION_LENGTH}, {"value", ACTION_VALUE},
        {"garbage", ACTION_GARBAGE}, {"flags", ACTION_FLAGS},
    };
    unsigned long action = 0;
    const char *word = next_word(line);
    rule->attribute = ANY_ATTRIBUTE;
    if (word != NULL && strcmp(word, "of") == 0) {
        if (rule->function != FN_C_GetAttributeValue)
            return fail(line, "\"of\" is for C_GetAttributeValue");
        if (!take_attribute(line, &rule->attribute))
            return false;
        word = next_word(line);
    }
    if (!name_find(actions, sizeof actions / sizeof actions[0], word, &action))
        return fail_word(line, "a fault", word);
    rule->action = (enum fault_action)action;
    switch (rule->action) {
    case ACTION_RETURN:
    case ACTION_AFTER:
        return take_rv(line, &rule->rv);
    case ACTION_DELAY:
        return take_number(line, "ms", &rule->number);
    case ACTION_LENGTH:
        return take_length(line, rule);
    case ACTION_VALUE:
        return take_value(line, rule);
    case ACTION_GARBAGE:
        return take_field(line, rule);
    case ACTION_FLAGS:
        return take_flags(line, rule);
    case ACTION_HANG:
    case ACTION_DIE:
    case ACTION_ABORT:
        return true;
    }
    return true;
}

static bool take_rule(struct line *line, const char *word, struct fault_script *out)
{
    if (out->rule_count == FAULT_RULES_MAX)
        return fail(line, "more than %d rules", FAULT_RULES_MAX);
    struct fault_rule *rule = &out->rules[out->rule_count];
    memset(rule, 0, sizeof *rule);
    rule->line = line->number;
    rule->function = fault_function_find(word);
    if (rule->function == FUNCTION_COUNT)
        return fail_word(line, "a statement or a function of PKCS#11", word);
    if (!take_calls(line, rule) || !take_fault(line, rule) || !take_tail(line, rule))
        return false;
    out->rule_count++;
    return true;
}

static bool take_path(struct line *line, char out[static PATH_MAX])
{
    const char *word = next_word(line);
    if (word == NULL || strlen(word) >= PATH_MAX)
        return fail_word(line, "a path", word);
    memcpy(out, word, strlen(word) + 1);
    return true;
}

static bool take_log(struct line *line, struct fault_script *out)
{
    if (!take_path(line, out->log))
        return false;
    for (const char *word = next_word(line); word != NULL; word = next_word(line)) {
        enum fault_function function = fault_function_find(word);
        if (strcmp(word, "*") == 0)
            memset(out->logged, true, sizeof out->logged);
        else if (function == FUNCTION_COUNT)
            return fail_word(line, "a function of PKCS#11", word);
        else
            out->logged[function] = true;
    }
    return true;
}

static bool take_slot(struct line *line, CK_ULONG *out)
{
    const char *word = next_word(line);
    return word != NULL && word[0] == '+' && number_of(word + 1, "", out)
               ? true
               : fail_word(line, "+N", word);
}

static bool take_statement(struct line *line, const char *word, struct fault_script *out)
{
    bool ok;
    if (strcmp(word, "module") == 0)
        ok = take_path(line, out->module);
    else if (strcmp(word, "log") == 0)
        ok = take_log(line, out);
    else if (strcmp(word, "private-key-delay") == 0)
        ok = take_number(line, "", &out->private_key_delay_ms);
    else if (strcmp(word, "private-key-time") == 0)
        ok = take_number(line, "", &out->private_key_time_ms);
    else if (strcmp(word, "sessions-max") == 0)
        ok = take_number(line, "", &out->sessions_max);
    else if (strcmp(word, "text-max") == 0)
        ok = take_number(line, "", &out->text_max);
    else if (strcmp(word, "gone") == 0)
        ok = out->gone = true;
    else if (strcmp(word, "slot") == 0)
        ok = take_slot(line, &out->slot_shift);
    else
        ok = take_rule(line, word, out);
    const char *more = ok ? next_word(line) : NULL;
    return more != NULL ? fail(line, "\"%s\" is too much", more) : ok;
}

bool fault_script_read(const char *text, struct fault_script *out, char *why, size_t why_size)
{
    char *copy = strdup(text), *rest = copy;
    bool ok = copy != NULL;
    memset(out, 0, sizeof *out);
    for (unsigned number = 1; ok && rest != NULL; number++) {
        char *whole = strsep(&rest, "\n");
        struct line line = {number, NULL, why, why_size};
        whole[strcspn(whole, "#")] = '\0';
        const char *word = strtok_r(whole, " \t", &line.rest);
        if (word != NULL)
            ok = take_statement(&line, word, out);
    }
    free(copy);
    return ok;
}
