/* SPDX-License-Identifier: Apache-2.0 */
/* What is right and wrong with a sealing key, wherever the findings come from. */
#include <stdio.h>
#include <string.h>
#include "doctor.h"
#include "token_report.h"

static const char new_key_hint[] =
    "make a new key by `reseal ceremony run` and let the importers seal for it";
static const char history_hint[] =
    "the key was imported or was once readable, or the token does not keep this mark: the "
    "transcript of its ceremony tells";

/* An attribute as it must be, and what it means where it is not. */
struct rule {
    const char *name;
    signed char found, wanted;
    enum mark otherwise;
    const char *hint;
};

/* A token that does not tell an attribute is no failure. */
static void judge_attribute(struct doctor *doctor, const struct key_finding *key,
                            const struct rule *rule)
{
    if (rule->found == rule->wanted)
        return;
    if (rule->found < 0)
        doctor_say(doctor, DOCTOR_KEY, MARK_WARNING,
                   "read the documentation of the token, and the transcript of the ceremony",
                   "%s: the token does not tell %s", key->name, rule->name);
    else
        doctor_say(doctor, DOCTOR_KEY, rule->otherwise, rule->hint, "%s: %s is %s", key->name,
                   rule->name, rule->found > 0 ? "true" : "false");
}

static const char *allowed_use(const struct key_attributes *has)
{
    if (has->unwrap > 0 && has->decrypt == 0)
        return ", may only unwrap";
    if (has->unwrap == 0 && has->decrypt > 0)
        return ", may only decrypt";
    return "";
}

static void judge_attributes(struct doctor *doctor, const struct key_finding *key)
{
    const struct key_attributes *has = &key->attributes;
    const struct rule rules[] = {
        {"CKA_SENSITIVE", has->sensitive, 1, MARK_FAILURE, new_key_hint},
        {"CKA_EXTRACTABLE", has->extractable, 0, MARK_FAILURE, new_key_hint},
        {"CKA_ALWAYS_SENSITIVE", has->always_sensitive, 1, MARK_WARNING, history_hint},
        {"CKA_NEVER_EXTRACTABLE", has->never_extractable, 1, MARK_WARNING, history_hint},
        {"CKA_LOCAL", has->local, 1, MARK_WARNING, history_hint},
        {"CKA_SIGN", has->sign, 0, MARK_WARNING, "a sealing key should have one use only"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        judge_attribute(doctor, key, &rules[i]);
    if (has->unwrap == 0 && has->decrypt == 0)
        doctor_say(doctor, DOCTOR_KEY, MARK_FAILURE, new_key_hint,
                   "%s: it may neither unwrap nor decrypt", key->name);
    if (has->sensitive > 0 && has->extractable == 0)
        doctor_say(
            doctor, DOCTOR_KEY, MARK_OK, NULL, "%s: RSA-%d, sensitive, not extractable%s%s",
            key->name, key->bits,
            has->never_extractable > 0 && has->local > 0 ? " and never was, made on the token" : "",
            allowed_use(has));
}

static enum custody required(const struct doctor *doctor)
{
    enum custody require = CUSTODY_TOKEN;
    const char *name = config_text(doctor->config, "connector", "require");
    if (name == NULL || !custody_parse(name, &require))
        return CUSTODY_TOKEN;
    return require;
}

/* The advice of the probe; where custody host would do, that is the other way out. */
static void put_advice(const struct padding_finding *found, enum custody reached, char *out,
                       size_t size)
{
    snprintf(out, size, "%s%s", found->advice,
             reached == CUSTODY_HOST ? "; or accept that the password is in locked memory of the "
                                       "token helper for a moment: [connector] require = host"
                                     : "");
}

/* Devices of that kind are answered with a lower custody than others, or not at all. */
static void judge_forms(struct doctor *doctor, const struct key_finding *key,
                        const struct padding_finding *found, enum custody require)
{
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        const struct form_finding *form = &found->forms[i];
        char advice[sizeof found->advice + 160];
        if (form->custody == found->custody)
            continue;
        put_advice(found, form->custody, advice, sizeof advice);
        doctor_say(doctor, DOCTOR_KEY, form->custody < require ? MARK_WARNING : MARK_OK,
                   form->custody < require ? advice : NULL,
                   "%s: %s for %s device keys reaches custody %s%s: %s answered %s", key->name,
                   padding_name(found->padding), cms_form_name((enum cms_form)i),
                   custody_name(form->custody),
                   form->custody < require ? ", and they are refused" : "", form->call,
                   form->ck_rv);
    }
}

/* Where custody host is accepted, it is for these, too; only the key can stand in the way. */
static void judge_others(struct doctor *doctor, const struct key_finding *key,
                         const struct padding_finding *found, enum custody require)
{
    const struct form_finding *others = &found->others;
    if (require == CUSTODY_HOST && others->custody < require)
        doctor_say(doctor, DOCTOR_KEY, MARK_OK, NULL,
                   "%s: %s is for RSA, P-256 and P-384 device keys only, others are refused: %s "
                   "answered %s",
                   key->name, padding_name(found->padding), others->call, others->ck_rv);
}

static void judge_padding(struct doctor *doctor, const struct key_finding *key,
                          const struct padding_finding *found, enum custody require,
                          bool another_reaches_it)
{
    const char *name = padding_name(found->padding);
    const char *sealed_with = config_text(doctor->config, "client", "padding");
    bool used_here = config_given(doctor->config, "client", "public_key") && sealed_with != NULL &&
                     strcmp(sealed_with, name) == 0;
    if (found->custody >= require) {
        doctor_say(doctor, DOCTOR_KEY, MARK_OK, NULL, "%s: %s reaches custody %s", key->name, name,
                   custody_name(found->custody));
        judge_forms(doctor, key, found, require);
        judge_others(doctor, key, found, require);
        return;
    }
    enum mark mark = another_reaches_it && !used_here ? MARK_WARNING : MARK_FAILURE;
    char advice[sizeof found->advice + 160];
    put_advice(found, found->custody, advice, sizeof advice);
    doctor_say(doctor, DOCTOR_KEY, mark, advice,
               "%s: %s reaches custody %s, and [connector] require is %s%s%s%s%s", key->name, name,
               custody_name(found->custody), custody_name(require),
               found->call[0] != '\0' ? ": " : "", found->call,
               found->ck_rv[0] != '\0' ? " answered " : "", found->ck_rv);
}

void doctor_key(struct doctor *doctor, const struct key_finding *key)
{
    enum custody require = required(doctor);
    size_t probed = 0;
    bool reached = false;
    judge_attributes(doctor, key);
    doctor_commit(doctor, key);
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        if (!padding_valid((int)key->paddings[i].padding))
            continue;
        probed++;
        reached = reached || key->paddings[i].custody >= require;
    }
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        if (padding_valid((int)key->paddings[i].padding))
            judge_padding(doctor, key, &key->paddings[i], require, reached);
    }
    if (probed == 0)
        doctor_say(doctor, DOCTOR_KEY, MARK_WARNING, "`reseal token probe` tries it",
                   "%s: its custody is not known", key->name);
}
