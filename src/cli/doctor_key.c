/* SPDX-License-Identifier: Apache-2.0 */
/* What is right and wrong with a sealing key, wherever the findings come from. */
#include <string.h>
#include "doctor.h"
#include "token_report.h"

static const char new_key_hint[] =
    "make a new key by `reseal ceremony run` and let the importers seal for it";

/* An attribute as it must be; a token that does not tell it is no failure. */
static void judge_attribute(struct doctor *doctor, const struct key_finding *key, const char *name,
                            signed char found, signed char wanted, enum mark otherwise,
                            size_t *wrong)
{
    if (found == wanted)
        return;
    (*wrong)++;
    if (found < 0)
        doctor_say(doctor, DOCTOR_KEY, MARK_WARNING,
                   "read the maker's documentation, and the transcript of the ceremony",
                   "%s: the token does not tell %s", key->name, name);
    else
        doctor_say(doctor, DOCTOR_KEY, otherwise, new_key_hint, "%s: %s is %s", key->name, name,
                   found > 0 ? "true" : "false");
}

static void judge_attributes(struct doctor *doctor, const struct key_finding *key)
{
    const struct key_attributes *has = &key->attributes;
    size_t wrong = 0;
    judge_attribute(doctor, key, "CKA_SENSITIVE", has->sensitive, 1, MARK_FAILURE, &wrong);
    judge_attribute(doctor, key, "CKA_EXTRACTABLE", has->extractable, 0, MARK_FAILURE, &wrong);
    judge_attribute(doctor, key, "CKA_ALWAYS_SENSITIVE", has->always_sensitive, 1, MARK_WARNING,
                    &wrong);
    judge_attribute(doctor, key, "CKA_NEVER_EXTRACTABLE", has->never_extractable, 1, MARK_WARNING,
                    &wrong);
    judge_attribute(doctor, key, "CKA_LOCAL", has->local, 1, MARK_WARNING, &wrong);
    judge_attribute(doctor, key, "CKA_SIGN", has->sign, 0, MARK_WARNING, &wrong);
    if (has->unwrap == 0 && has->decrypt == 0)
        judge_attribute(doctor, key, "CKA_UNWRAP, as CKA_DECRYPT,", has->unwrap, 1, MARK_FAILURE,
                        &wrong);
    if (wrong == 0)
        doctor_say(doctor, DOCTOR_KEY, MARK_OK, NULL,
                   "%s: RSA-%d, sensitive, never extractable, made on the token, may only %s",
                   key->name, key->bits,
                   has->unwrap > 0 && has->decrypt > 0 ? "unwrap and decrypt"
                   : has->unwrap > 0                   ? "unwrap"
                                                       : "decrypt");
}

static enum custody required(const struct doctor *doctor)
{
    enum custody require = CUSTODY_TOKEN;
    const char *name = config_text(doctor->config, "connector", "require");
    if (name == NULL || !custody_parse(name, &require))
        return CUSTODY_TOKEN;
    return require;
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
        return;
    }
    enum mark mark = another_reaches_it && !used_here ? MARK_WARNING : MARK_FAILURE;
    doctor_say(doctor, DOCTOR_KEY, mark, custody_advice(key, found),
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
