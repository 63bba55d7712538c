/* SPDX-License-Identifier: Apache-2.0 */
/* token_reseal and token_probe: which custody, which variant, and the bounds of a job. */
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "custody.h"
#include "quirk.h"
#include "reseal/helper_message.h"

void oaep_mechanism_fill(enum padding padding, struct oaep_mechanism *out)
{
    static const struct {
        CK_MECHANISM_TYPE hash;
        CK_RSA_PKCS_MGF_TYPE mgf;
    } rows[PADDING_COUNT] = {
        [OAEP_SHA256 - PADDING_FIRST] = {CKM_SHA256, CKG_MGF1_SHA256},
        [OAEP_SHA384 - PADDING_FIRST] = {CKM_SHA384, CKG_MGF1_SHA384},
        [OAEP_SHA512 - PADDING_FIRST] = {CKM_SHA512, CKG_MGF1_SHA512},
    };
    /* An empty label is a source of zero bytes: SoftHSM refuses a source that is not specified. */
    out->params =
        (CK_RSA_PKCS_OAEP_PARAMS){rows[padding - PADDING_FIRST].hash,
                                  rows[padding - PADDING_FIRST].mgf, CKZ_DATA_SPECIFIED, NULL, 0};
    out->mechanism = (CK_MECHANISM){CKM_RSA_PKCS_OAEP, &out->params, sizeof out->params};
}

bool fail_opening(struct session *session, const struct sealing_key *key, enum padding padding,
                  enum custody custody, const char *function, CK_MECHANISM_TYPE mechanism, CK_RV rv,
                  struct error *err)
{
    const CK_RV harmless = key->ways[padding - PADDING_FIRST].bad_message[custody];
    enum ck_class before = session->trouble;
    session_fail_message(session, function, mechanism, rv, err);
    if (harmless != CKR_OK && rv == harmless) {
        session->trouble = before;
        return fail_message(err);
    }
    return false;
}

/* The device's key is of no kind that a token wraps for, or the job is too large. */
static bool check_job(const struct sealing_key *key, const struct reseal_job *job,
                      struct error *err)
{
    if (X509_get0_pubkey(job->recipient) == NULL)
        return error_openssl(err, FAIL_UNSUPPORTED, "the device's key is of no known kind");
    size_t content = job->prefix.len + key->modulus_len + job->suffix.len;
    if (job->prefix.len > CMS_DER_MAX || job->suffix.len > CMS_DER_MAX || content > CMS_DER_MAX)
        return error_set(err, FAIL_TOO_LARGE,
                         "%zu bytes around the password are over the bound of %d",
                         job->prefix.len + job->suffix.len, CMS_DER_MAX);
    return true;
}

static bool fail_unlearned(const struct sealing_key *key, const struct reseal_job *job,
                           const char *form, const char *call, const char *rv, struct error *err)
{
    error_set(err, FAIL_UNSUPPORTED,
              "sealing key \"%s\" cannot reseal %s to %s with custody %s: %s: %s", key->label,
              padding_name(job->padding), form, custody_name(job->custody), call, rv);
    return error_hint(err, "`reseal token probe` shows what the token and its keys can do");
}

/* Custody token makes the form that the device needs, and has room for the text around the
 * password. All this comes before the password is unwrapped: afterwards, "unsupported" would tell
 * that it opens. */
static bool check_token_way(struct session *session, struct sealing_key *key,
                            const struct reseal_job *job, struct error *err)
{
    struct way *way = way_of(key, job->padding);
    enum cms_form form;
    if (!cms_form_for(job->recipient, job->transport, &form)) {
        error_set(err, FAIL_UNSUPPORTED,
                  "with custody token a device needs an RSA, P-256 or P-384 key; this one has %s",
                  EVP_PKEY_get0_type_name(X509_get0_pubkey(job->recipient)));
        return error_hint(err, "enrol the device with such a certificate");
    }
    const struct form_way *found = &way->forms[form];
    if (found->token == LEARNED_NOTHING && !way_learn_form(session, key, job->padding, form, err))
        return false;
    if (found->token == LEARNED_NO)
        return fail_unlearned(key, job, cms_form_name(form), found->call, found->rv, err);
    const size_t text = job->prefix.len + job->suffix.len;
    if (text == 0)
        return true;
    if (!way->affixes_known && !way_learn_affixes(session, key, job->padding, form, err))
        return false;
    if (text <= way->affixes)
        return true;
    return error_set(err, FAIL_UNSUPPORTED,
                     "token \"%s\" takes %zu bytes of text around a password with custody token, "
                     "not %zu",
                     session->token->facts.label, way->affixes, text);
}

static bool check_host_way(struct session *session, struct sealing_key *key,
                           const struct reseal_job *job, struct error *err)
{
    const struct way *way = way_of(key, job->padding);
    if (way->host == LEARNED_NOTHING && !way_learn_host(session, key, job->padding, err))
        return false;
    if (way->host == LEARNED_NO)
        return fail_unlearned(key, job, "any form", way->host_call, way->host_rv, err);
    return true;
}

bool token_reseal_begin(struct session *session, struct sealing_key *key,
                        const struct reseal_job *job, struct harvest *out, struct error *err)
{
    if (!padding_valid((int)job->padding) ||
        (job->custody != CUSTODY_TOKEN && job->custody != CUSTODY_HOST))
        return error_set(err, FAIL_UNSUPPORTED, "a job needs a padding and a custody");
    bool token = job->custody == CUSTODY_TOKEN;
    harvest_reset(out);
    if (!check_job(key, job, err) ||
        !(token ? check_token_way(session, key, job, err) : check_host_way(session, key, job, err)))
        return false;
    /* RFC 8017, section 7.1.2, step 1b; some tokens would pad a short one. */
    if (job->sealed.len != key->modulus_len)
        return fail_message(err);
    const struct variants *variants = &way_of(key, job->padding)->variants;
    return token ? custody_token_run(session, key, job, variants, out, err)
                 : custody_host_run(session, key, job, variants, out, err);
}

bool token_reseal(struct session *session, struct sealing_key *key, const struct reseal_job *job,
                  struct buf *der, struct error *err)
{
    struct harvest harvest = HARVEST_INIT;
    bool ok = token_reseal_begin(session, key, job, &harvest, err) &&
              harvest_finish(&harvest, job, der, err);
    harvest_free(&harvest);
    return ok;
}

static void put_quirk(struct padding_finding *finding, const char *words)
{
    if (words[0] == '\0')
        return;
    size_t used = strlen(finding->quirk);
    snprintf(finding->quirk + used, sizeof finding->quirk - used, "%s%s", used > 0 ? "; " : "",
             words);
}

static void put_forms(const struct way *way, struct padding_finding *finding)
{
    finding->custody = CUSTODY_UNUSABLE;
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        const struct form_way *form = &way->forms[i];
        struct form_finding *found = &finding->forms[i];
        if (form->token == LEARNED_YES) {
            found->custody = CUSTODY_TOKEN;
        } else {
            found->custody = way->host == LEARNED_YES ? CUSTODY_HOST : CUSTODY_UNUSABLE;
            memcpy(found->call, form->call, sizeof found->call);
            memcpy(found->ck_rv, form->rv, sizeof found->ck_rv);
        }
        if (found->custody > finding->custody)
            finding->custody = found->custody;
    }
    finding->others.custody = way->host == LEARNED_YES ? CUSTODY_HOST : CUSTODY_UNUSABLE;
    if (way->host != LEARNED_YES) {
        memcpy(finding->others.call, way->host_call, sizeof finding->others.call);
        memcpy(finding->others.ck_rv, way->host_rv, sizeof finding->others.ck_rv);
    }
    if (finding->custody != CUSTODY_TOKEN) {
        memcpy(finding->call, finding->forms[0].call, sizeof finding->call);
        memcpy(finding->ck_rv, finding->forms[0].ck_rv, sizeof finding->ck_rv);
    }
}

static void put_token_quirks(const struct way *way, size_t room, struct padding_finding *finding)
{
    char words[64];
    put_quirk(finding, unwrap_variant_quirk(way->variants.unwrap));
    put_quirk(finding, point_variant_quirk(way->variants.point));
    if (way->affixes == 0) {
        put_quirk(finding, "no text can be put around the password");
    } else if (way->affixes < HELPER_AFFIX_MAX) {
        snprintf(words, sizeof words, "up to %zu bytes of text around the password", way->affixes);
        put_quirk(finding, words);
    }
    if (way->longest < room) {
        snprintf(words, sizeof words, "passwords of up to %zu bytes only", way->longest);
        put_quirk(finding, words);
    }
}

static bool serves_by_host(const struct padding_finding *finding)
{
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        if (finding->forms[i].custody == CUSTODY_HOST)
            return true;
    }
    return false;
}

static void put_finding(const struct way *way, size_t room, struct padding_finding *finding)
{
    enum cms_form any;
    bool token = way_any_form(way, &any);
    put_forms(way, finding);
    finding->affixes = (uint32_t)way->affixes;
    if (token)
        put_token_quirks(way, room, finding);
    if (way->host == LEARNED_YES) {
        if (serves_by_host(finding))
            put_quirk(finding, host_variant_quirk(way->variants.host));
    } else if (!token) {
        char words[CK_CALL_TEXT + CK_RV_TEXT + 16];
        snprintf(words, sizeof words, "host: %s: %s", way->host_call, way->host_rv);
        put_quirk(finding, words);
    }
    if (strcmp(finding->call, "C_GetAttributeValue(CKA_VALUE)") == 0)
        put_quirk(finding, "the token lets an unwrapped secret be read");
}

static void put_advice(const struct session *session, const struct key_attributes *attributes,
                       struct padding_finding *finding)
{
    const struct form_finding *lowest = &finding->forms[0];
    for (size_t i = 1; i < CMS_FORM_COUNT; i++) {
        if (finding->forms[i].custody < lowest->custody)
            lowest = &finding->forms[i];
    }
    quirk_advice(&session->token->facts, attributes, lowest, finding->advice,
                 sizeof finding->advice);
}

static bool learn_padding(struct session *session, struct sealing_key *key, enum padding padding,
                          struct error *err)
{
    struct way *way = way_of(key, padding);
    enum cms_form any;
    *way = (struct way){.host = LEARNED_NOTHING};
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        if (!way_learn_form(session, key, padding, (enum cms_form)i, err))
            return false;
    }
    if (way_any_form(way, &any) && (!way_learn_affixes(session, key, padding, any, err) ||
                                    !way_learn_longest(session, key, padding, any, err)))
        return false;
    /* Even where custody token makes every form: there are device keys that it has no form for. */
    return way_learn_host(session, key, padding, err);
}

bool token_probe(struct session *session, struct sealing_key *key, struct key_finding *out,
                 struct error *err)
{
    if (!sealing_key_describe(session, key, out, err))
        return false;
    for (int i = 0; i < PADDING_COUNT; i++) {
        enum padding padding = (enum padding)(PADDING_FIRST + i);
        if (!learn_padding(session, key, padding, err))
            return false;
        put_finding(way_of(key, padding), padding_room(padding, out->bits), &out->paddings[i]);
        put_advice(session, &out->attributes, &out->paddings[i]);
    }
    return true;
}
