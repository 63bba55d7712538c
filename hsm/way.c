/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding out by doing how a token does the job. Mechanism lists are not asked: tokens claim what
 * they cannot do, and do what they do not claim. Only secrets of our own are used for it; a message
 * from outside never decides how messages are opened.
 */
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include "trial.h"

#define TRIAL_SECRET 24 /* bytes of the random password of a trial */

struct way *way_of(struct sealing_key *key, enum padding padding)
{
    return &key->ways[padding - PADDING_FIRST];
}

bool way_any_form(const struct way *way, enum cms_form *out)
{
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        if (way->forms[i].token == LEARNED_YES) {
            *out = (enum cms_form)i;
            return true;
        }
    }
    return false;
}

typedef bool run_fn(struct session *session, const struct sealing_key *key,
                    const struct reseal_job *job, const struct variants *variants,
                    struct harvest *out, struct error *err);

void verdict_prepare(struct session *session)
{
    session->call[0] = '\0';
    session->rv = CKR_OK;
    if (!session_lost(session))
        session->trouble = CK_CLASS_FINE; /* a shortage of before is none of this trial's */
}

enum verdict verdict_of_failure(struct session *session, struct reason *reason, struct error *err)
{
    *reason = (struct reason){"", ""};
    if (session->call[0] == '\0' && err->kind != FAIL_CRYPTO)
        return VERDICT_TROUBLE; /* not a call of the token: memory, OpenSSL */
    if (session_lost(session)) {
        session_fail_lost(session, err);
        return VERDICT_TROUBLE;
    }
    if (session->trouble == CK_CLASS_FEWER_SESSIONS)
        return VERDICT_TROUBLE;
    if (session->call[0] == '\0') {
        snprintf(reason->call, sizeof reason->call, "OAEP decoding");
        snprintf(reason->rv, sizeof reason->rv, "wrong padding");
    } else {
        memcpy(reason->call, session->call, sizeof reason->call);
        ck_rv_text(session->rv, reason->rv);
    }
    return VERDICT_FAILS;
}

static enum verdict try_variants(struct session *session, const struct sealing_key *key,
                                 const struct trial *trial, run_fn *run,
                                 const struct variants *variants, struct reason *reason,
                                 struct error *err)
{
    enum verdict verdict = VERDICT_FAILS;
    struct buf der = BUF_INIT(CMS_DER_MAX);
    struct harvest harvest = HARVEST_INIT;
    *reason = (struct reason){"", ""};
    verdict_prepare(session);
    if (!run(session, key, &trial->job, variants, &harvest, err) ||
        !harvest_finish(&harvest, &trial->job, &der, err)) {
        verdict = verdict_of_failure(session, reason, err);
    } else if (trial_opens(trial, buf_bytes(&der))) {
        verdict = VERDICT_WORKS;
    } else {
        snprintf(reason->call, sizeof reason->call, "comparison");
        snprintf(reason->rv, sizeof reason->rv, "the result does not open");
    }
    buf_free(&der);
    harvest_free(&harvest);
    return verdict;
}

/* An answer that says nothing may be one of the moment; what is learned is kept for the life of
 * this process, so it is asked for twice. */
static enum verdict try_variants_twice(struct session *session, const struct sealing_key *key,
                                       const struct trial *trial, run_fn *run,
                                       const struct variants *variants, struct reason *reason,
                                       struct error *err)
{
    enum verdict verdict = try_variants(session, key, trial, run, variants, reason, err);
    if (verdict == VERDICT_FAILS && ck_rv_class(session->rv) != CK_CLASS_NOT_THIS_WAY)
        verdict = try_variants(session, key, trial, run, variants, reason, err);
    return verdict;
}

/*
 * What the token answers to a message that it cannot open. Some answer as if they were broken;
 * that answer is then known as harmless, and cannot be told from any other bad message outside.
 */
static void learn_bad_message(struct session *session, const struct sealing_key *key,
                              struct trial *trial, enum custody custody, struct way *way)
{
    run_fn *run = custody == CUSTODY_TOKEN ? custody_token_run : custody_host_run;
    struct error ignored = ERROR_INIT;
    struct harvest harvest = HARVEST_INIT;
    enum ck_class before = session->trouble;
    trial->sealed.data[trial->sealed.len - 1] ^= 1;
    session->rv = CKR_OK;
    if (!run(session, key, &trial->job, &way->variants, &harvest, &ignored) &&
        ck_rv_class(session->rv) == CK_CLASS_TOKEN_GONE) {
        way->bad_message[custody] = session->rv;
        session->trouble = before;
    }
    trial->sealed.data[trial->sealed.len - 1] ^= 1;
    harvest_free(&harvest);
}

static bool is_about_secrecy(const struct reason *reason)
{
    return strncmp(reason->call, "C_GetAttributeValue(", strlen("C_GetAttributeValue(")) == 0;
}

/* True for a reason that lies with opening the sealed password: it is the same for every form. */
static bool is_about_opening(const struct form_way *form)
{
    return strncmp(form->call, "C_UnwrapKey", strlen("C_UnwrapKey")) == 0;
}

/* The variants are tried from the ordinary to the odd. The first one's failure explains most,
 * unless a later one unwraps to a secret that can be read: no template helps against that. */
static enum verdict try_form(struct session *session, struct sealing_key *key, struct trial *trial,
                             enum cms_form form, struct way *way, struct error *err)
{
    struct form_way *outcome = &way->forms[form];
    const size_t unwraps = way->unwrap_known ? way->variants.unwrap + 1 : unwrap_variant_count();
    const size_t points = cms_form_is_ec(form) ? point_variant_count() : 1;
    struct variants variants = way->variants;
    for (size_t i = way->variants.unwrap; i < unwraps; i++) {
        for (size_t j = 0; j < points; j++) {
            struct reason reason;
            variants.unwrap = i;
            variants.point = cms_form_is_ec(form) ? j : way->variants.point;
            enum verdict verdict =
                try_variants_twice(session, key, trial, custody_token_run, &variants, &reason, err);
            if (verdict == VERDICT_WORKS) {
                way->variants = variants;
                return verdict;
            }
            if (verdict == VERDICT_TROUBLE)
                return verdict;
            if (outcome->call[0] == '\0' ||
                (is_about_opening(outcome) && is_about_secrecy(&reason))) {
                memcpy(outcome->call, reason.call, sizeof outcome->call);
                memcpy(outcome->rv, reason.rv, sizeof outcome->rv);
            }
        }
    }
    return VERDICT_FAILS;
}

bool way_learn_form(struct session *session, struct sealing_key *key, enum padding padding,
                    enum cms_form form, struct error *err)
{
    struct way *way = way_of(key, padding);
    struct form_way *outcome = &way->forms[form];
    const struct form_way *first = &way->forms[CMS_RSA_PKCS1];
    const struct trial_wish wish = {.padding = padding, .form = form, .password = TRIAL_SECRET};
    struct trial trial;
    if (first->token == LEARNED_NO && is_about_opening(first)) {
        *outcome = *first;
        return true;
    }
    *outcome = (struct form_way){.token = LEARNED_NOTHING};
    if (!trial_make(key, &wish, &trial, err))
        return false;
    enum verdict verdict = try_form(session, key, &trial, form, way, err);
    if (verdict == VERDICT_WORKS) {
        *outcome = (struct form_way){.token = LEARNED_YES};
        if (!way->unwrap_known)
            learn_bad_message(session, key, &trial, CUSTODY_TOKEN, way);
        way->unwrap_known = true;
    } else if (verdict == VERDICT_FAILS) {
        outcome->token = LEARNED_NO;
    }
    trial_free(&trial);
    return verdict != VERDICT_TROUBLE;
}

bool way_learn_host(struct session *session, struct sealing_key *key, enum padding padding,
                    struct error *err)
{
    struct way *way = way_of(key, padding);
    const struct trial_wish wish = {
        .padding = padding, .form = CMS_RSA_PKCS1, .password = TRIAL_SECRET};
    struct variants variants = way->variants;
    enum verdict verdict = VERDICT_FAILS;
    struct trial trial;
    if (!trial_make(key, &wish, &trial, err))
        return false;
    for (size_t i = 0; i < host_variant_count() && verdict == VERDICT_FAILS; i++) {
        struct reason reason;
        variants.host = i;
        verdict =
            try_variants_twice(session, key, &trial, custody_host_run, &variants, &reason, err);
        /* The last one's failure counts, that of the most modest wish. */
        memcpy(way->host_call, reason.call, sizeof way->host_call);
        memcpy(way->host_rv, reason.rv, sizeof way->host_rv);
    }
    if (verdict == VERDICT_WORKS) {
        way->variants.host = variants.host;
        learn_bad_message(session, key, &trial, CUSTODY_HOST, way);
    }
    if (verdict != VERDICT_TROUBLE)
        way->host = verdict == VERDICT_WORKS ? LEARNED_YES : LEARNED_NO;
    trial_free(&trial);
    return verdict != VERDICT_TROUBLE;
}

/* One trial as wished, in custody token, with what is known to work. */
static enum verdict try_wish(struct session *session, const struct sealing_key *key,
                             const struct trial_wish *wish, const struct way *way,
                             struct error *err)
{
    struct reason ignored;
    struct trial trial;
    if (!trial_make(key, wish, &trial, err))
        return VERDICT_TROUBLE;
    enum verdict verdict =
        try_variants_twice(session, key, &trial, custody_token_run, &way->variants, &ignored, err);
    trial_free(&trial);
    return verdict;
}

#define EDGE 64 /* bytes of text on the other side of the password, at most */

/* All but a little of the text on one side, and on the other: each side is a call of its own. */
static enum verdict try_text(struct session *session, struct sealing_key *key, enum padding padding,
                             enum cms_form form, size_t len, const struct way *way,
                             struct error *err)
{
    const size_t edge = len / 2 < EDGE ? len / 2 : EDGE;
    enum verdict verdict = VERDICT_WORKS;
    for (int side = 0; side < 2 && verdict == VERDICT_WORKS; side++) {
        const struct trial_wish wish = {.padding = padding,
                                        .form = form,
                                        .password = TRIAL_SECRET,
                                        .before = side == 0 ? len - edge : edge,
                                        .behind = side == 0 ? edge : len - edge};
        verdict = try_wish(session, key, &wish, way, err);
    }
    return verdict;
}

bool way_learn_affixes(struct session *session, struct sealing_key *key, enum padding padding,
                       enum cms_form form, struct error *err)
{
    struct way *way = way_of(key, padding);
    /* What a message of the helper holds, and lengths at which a module's bound would be drawn. */
    static const size_t lengths[] = {HELPER_AFFIX_MAX, 16384, 4096, 1024, 256, 16};
    size_t longest = 0;
    for (size_t i = 0; i < ARRAY_LEN(lengths) && longest == 0; i++) {
        enum verdict verdict = try_text(session, key, padding, form, lengths[i], way, err);
        if (verdict == VERDICT_TROUBLE)
            return false;
        if (verdict == VERDICT_WORKS)
            longest = lengths[i];
    }
    way->affixes = longest;
    way->affixes_known = true;
    return true;
}

bool way_learn_longest(struct session *session, struct sealing_key *key, enum padding padding,
                       enum cms_form form, struct error *err)
{
    struct way *way = way_of(key, padding);
    const size_t room = padding_room(padding, EVP_PKEY_get_bits(key->pkey));
    /* NSS unwraps into 256 bytes; the others are lengths at which a bound would be drawn. */
    const size_t lengths[] = {room, 256, 128, 64};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        const struct trial_wish wish = {.padding = padding, .form = form, .password = lengths[i]};
        if (lengths[i] > room)
            continue;
        enum verdict verdict = try_wish(session, key, &wish, way, err);
        if (verdict == VERDICT_TROUBLE)
            return false;
        if (verdict == VERDICT_WORKS) {
            way->longest = lengths[i];
            return true;
        }
    }
    way->longest = TRIAL_SECRET;
    return true;
}

bool way_still_works(struct session *session, struct sealing_key *key, const struct reseal_job *job,
                     enum cms_form form, bool *out, struct error *err)
{
    bool token = job->custody == CUSTODY_TOKEN;
    const struct way *way = way_of(key, job->padding);
    const struct trial_wish wish = {.padding = job->padding,
                                    .form = token ? form : CMS_RSA_PKCS1,
                                    .password = TRIAL_SECRET,
                                    .before = token ? job->prefix.len : 0,
                                    .behind = token ? job->suffix.len : 0};
    struct reason ignored;
    struct trial trial;
    *out = false;
    if (!trial_make(key, &wish, &trial, err))
        return false;
    enum verdict verdict =
        try_variants(session, key, &trial, token ? custody_token_run : custody_host_run,
                     &way->variants, &ignored, err);
    *out = verdict == VERDICT_WORKS;
    trial_free(&trial);
    return verdict != VERDICT_TROUBLE;
}
