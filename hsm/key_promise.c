/* SPDX-License-Identifier: Apache-2.0 */
#include "key_promise.h"

#include <stdio.h>
#include <string.h>

/* The promise of the key, attribute by attribute (PKCS#11 v3.1, sections 4.9 and 6.1). */
static const struct promised_flag flags[] = {
    {"CKA_TOKEN", CKA_TOKEN, HALF_PRIVATE, WANT_TRUE, true},
    {"CKA_PRIVATE", CKA_PRIVATE, HALF_PRIVATE, WANT_TRUE, true},
    {"CKA_SENSITIVE", CKA_SENSITIVE, HALF_PRIVATE, WANT_TRUE, true},
    {"CKA_ALWAYS_SENSITIVE", CKA_ALWAYS_SENSITIVE, HALF_PRIVATE, WANT_IF_AT_HOME, false},
    {"CKA_EXTRACTABLE", CKA_EXTRACTABLE, HALF_PRIVATE, WANT_IF_WRAPPED, true},
    {"CKA_NEVER_EXTRACTABLE", CKA_NEVER_EXTRACTABLE, HALF_PRIVATE, WANT_IF_CONFINED, false},
    {"CKA_WRAP_WITH_TRUSTED", CKA_WRAP_WITH_TRUSTED, HALF_PRIVATE, WANT_IF_TRUSTED, true},
    {"CKA_LOCAL", CKA_LOCAL, HALF_PRIVATE, WANT_IF_AT_HOME, false},
    {"CKA_UNWRAP", CKA_UNWRAP, HALF_PRIVATE, WANT_FOR_TOKEN, true},
    {"CKA_DECRYPT", CKA_DECRYPT, HALF_PRIVATE, WANT_FOR_HOST, true},
    {"CKA_SIGN", CKA_SIGN, HALF_PRIVATE, WANT_FALSE, true},
    {"CKA_SIGN_RECOVER", CKA_SIGN_RECOVER, HALF_PRIVATE, WANT_FALSE, false},
    {"CKA_DERIVE", CKA_DERIVE, HALF_PRIVATE, WANT_FALSE, false},
    {"CKA_MODIFIABLE", CKA_MODIFIABLE, HALF_PRIVATE, WANT_ANY, false},
    {"public CKA_TOKEN", CKA_TOKEN, HALF_PUBLIC, WANT_TRUE, true},
    {"public CKA_WRAP", CKA_WRAP, HALF_PUBLIC, WANT_ANY, false},
    {"public CKA_ENCRYPT", CKA_ENCRYPT, HALF_PUBLIC, WANT_ANY, false},
    {"public CKA_VERIFY", CKA_VERIFY, HALF_PUBLIC, WANT_FALSE, false},
};

/* Answers that are known to mean nothing, by the token's manufacturer. */
static const struct {
    const char *manufacturer;
    CK_ATTRIBUTE_TYPE type;
    const char *words;
} mute_rows[] = {
    {"Mozilla Foundation", CKA_LOCAL, "false (NSS does not keep it)"},
};

/* What is read back beside the flags, and which words are good. */
enum text_rule {
    TEXT_GENERATION, /* not of a replica, which was not made on its token */
    TEXT_BITS,
    TEXT_AS_PLANNED,
    TEXT_ALLOWED,
    TEXT_TEMPLATE, /* of a key for custody token only */
};

static const struct {
    const char *name;
    enum text_rule rule;
} texts[] = {
    {"CKA_KEY_GEN_MECHANISM", TEXT_GENERATION},
    {"CKA_MODULUS", TEXT_BITS},
    {"public CKA_PUBLIC_EXPONENT", TEXT_AS_PLANNED},
    {"CKA_ID", TEXT_AS_PLANNED},
    {"public CKA_ID", TEXT_AS_PLANNED},
    {"CKA_LABEL", TEXT_AS_PLANNED},
    {"public CKA_LABEL", TEXT_AS_PLANNED},
    {"CKA_ALLOWED_MECHANISMS", TEXT_ALLOWED},
    {"CKA_UNWRAP_TEMPLATE", TEXT_TEMPLATE},
};

static const char *const wrapping_names[] = {
    [KEY_WRAPPED_NEVER] = "never",
    [KEY_WRAPPED_UNTIL_SHUT] = "until-shut",
    [KEY_WRAPPED_BY_TRUSTED] = "trusted",
};

const char *key_wrapping_name(enum key_wrapping wrapping)
{
    return wrapping_names[wrapping];
}

bool key_wrapping_parse(const char *name, enum key_wrapping *out)
{
    for (size_t i = 0; i < ARRAY_LEN(wrapping_names); i++) {
        if (strcmp(wrapping_names[i], name) == 0) {
            *out = (enum key_wrapping)i;
            return true;
        }
    }
    return false;
}

const struct promised_flag *promised_flag_at(size_t index)
{
    return index < ARRAY_LEN(flags) ? &flags[index] : NULL;
}

const char *promised_flag_wanted(const struct promised_flag *flag, const struct key_plan *plan)
{
    bool wrapped = plan->wrapping != KEY_WRAPPED_NEVER;
    switch (flag->want) {
    case WANT_TRUE:
        return "true";
    case WANT_FALSE:
        return "false";
    case WANT_FOR_TOKEN:
        return plan->custody == CUSTODY_TOKEN ? "true" : "false";
    case WANT_FOR_HOST:
        return plan->custody == CUSTODY_HOST ? "true" : "false";
    case WANT_IF_WRAPPED:
        return wrapped ? "true" : "false";
    case WANT_IF_TRUSTED:
        return plan->wrapping == KEY_WRAPPED_BY_TRUSTED ? "true" : NULL;
    case WANT_IF_AT_HOME:
        return plan->replica ? "any" : "true";
    case WANT_IF_CONFINED:
        return plan->replica || wrapped ? "any" : "true";
    case WANT_ANY:
        return "any";
    }
    return "any";
}

const char *promised_flag_mute(const struct promised_flag *flag, const char *manufacturer)
{
    for (size_t i = 0; i < ARRAY_LEN(mute_rows); i++) {
        if (mute_rows[i].type == flag->type && strcmp(mute_rows[i].manufacturer, manufacturer) == 0)
            return mute_rows[i].words;
    }
    return NULL;
}

size_t key_allowed_mechanisms(enum custody custody, CK_MECHANISM_TYPE out[static 2])
{
    size_t count = 0;
    out[count++] = CKM_RSA_PKCS_OAEP;
    /* Tokens without OAEP-SHA2 do raw RSA for custody host. */
    if (custody == CUSTODY_HOST)
        out[count++] = CKM_RSA_X_509;
    return count;
}

/* -- judging a record -- */

static bool text_is_read(const struct key_plan *plan, enum text_rule rule)
{
    return (rule != TEXT_GENERATION || !plan->replica) &&
           (rule != TEXT_TEMPLATE || plan->custody == CUSTODY_TOKEN);
}

const char *key_promise_name(const struct key_plan *plan, size_t index)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (promised_flag_wanted(&flags[i], plan) != NULL && index-- == 0)
            return flags[i].name;
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (text_is_read(plan, texts[i].rule) && index-- == 0)
            return texts[i].name;
    }
    return NULL;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool flag_is_kept(const struct promised_flag *flag, const struct key_plan *plan,
                         const char *manufacturer, const struct attribute_check *check)
{
    const char *wanted = promised_flag_wanted(flag, plan);
    const char *mute = promised_flag_mute(flag, manufacturer);
    if (wanted == NULL || strcmp(check->wanted, wanted) != 0)
        return false;
    if (begins(check->found, FOUND_NOT_TOLD))
        return !flag->must_tell;
    if (mute != NULL && strcmp(check->found, mute) == 0)
        return true;
    if (strcmp(wanted, "any") != 0)
        return strcmp(check->found, wanted) == 0;
    return strcmp(check->found, "true") == 0 || strcmp(check->found, "false") == 0;
}

/* The same names; their order is the token's own. */
static bool allowed_is_kept(const struct key_plan *plan, const struct attribute_check *check)
{
    CK_MECHANISM_TYPE allowed[2];
    char text[sizeof check->wanted] = "", turned[sizeof check->wanted] = "";
    size_t count = key_allowed_mechanisms(plan->custody, allowed);
    for (size_t i = 0; i < count; i++) {
        const char *gap = i > 0 ? " " : "";
        size_t at = strlen(text), end = strlen(turned);
        snprintf(text + at, sizeof text - at, "%s%s", gap, ck_mechanism_name(allowed[i]));
        snprintf(turned + end, sizeof turned - end, "%s%s", gap,
                 ck_mechanism_name(allowed[count - 1 - i]));
    }
    return strcmp(check->wanted, text) == 0 &&
           (strcmp(check->found, text) == 0 || strcmp(check->found, turned) == 0 ||
            begins(check->found, FOUND_NOT_TOLD) || begins(check->found, FOUND_NOT_TAKEN) ||
            begins(check->found, FOUND_LEFT_OUT));
}

static bool text_is_kept(enum text_rule rule, const struct key_plan *plan,
                         const struct attribute_check *check)
{
    char wanted[sizeof check->wanted], found[sizeof check->found];
    switch (rule) {
    case TEXT_GENERATION:
        return strcmp(check->wanted, WANTED_GENERATION) == 0 &&
               (strcmp(check->found, WANTED_GENERATION) == 0 ||
                begins(check->found, FOUND_NOT_TOLD));
    case TEXT_BITS:
        snprintf(wanted, sizeof wanted, "%d bits", plan->bits);
        snprintf(found, sizeof found, "%d bytes", plan->bits / 8);
        return strcmp(check->wanted, wanted) == 0 && strcmp(check->found, found) == 0;
    case TEXT_AS_PLANNED:
        return strcmp(check->wanted, FOUND_AS_PLANNED) == 0 &&
               strcmp(check->found, FOUND_AS_PLANNED) == 0;
    case TEXT_ALLOWED:
        return allowed_is_kept(plan, check);
    case TEXT_TEMPLATE:
        return strcmp(check->wanted, WANTED_TEMPLATE) == 0 &&
               (begins(check->found, FOUND_TEMPLATE) || begins(check->found, FOUND_NOT_TAKEN) ||
                begins(check->found, FOUND_LEFT_OUT));
    }
    return false;
}

bool key_promise_kept(const struct key_plan *plan, const char *manufacturer,
                      const struct attribute_check *check)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (strcmp(flags[i].name, check->name) == 0)
            return flag_is_kept(&flags[i], plan, manufacturer, check);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (strcmp(texts[i].name, check->name) == 0)
            return text_is_read(plan, texts[i].rule) && text_is_kept(texts[i].rule, plan, check);
    }
    return false;
}
