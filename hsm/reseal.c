/* SPDX-License-Identifier: Apache-2.0 */
/* token_reseal and token_probe: which custody, which variant, and the bounds of a job. */
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "custody.h"

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
                  const char *function, CK_MECHANISM_TYPE mechanism, CK_RV rv, struct error *err)
{
    const struct way *way = &key->ways[padding - PADDING_FIRST];
    enum ck_class before = session->trouble;
    session_fail_message(session, function, mechanism, rv, err);
    if (way->bad_message != CKR_OK && rv == way->bad_message) {
        session->trouble = before;
        return fail_message(err);
    }
    return false;
}

static bool fail_unlearned(const struct sealing_key *key, enum padding padding,
                           enum custody custody, const struct way *way, struct error *err)
{
    bool token = custody == CUSTODY_TOKEN;
    error_set(err, FAIL_UNSUPPORTED, "sealing key \"%s\" cannot reseal %s with custody %s: %s: %s",
              key->label, padding_name(padding), custody_name(custody),
              token ? way->token_call : way->host_call, token ? way->token_rv : way->host_rv);
    return error_hint(err, "`reseal token probe` shows what the token and its keys can do");
}

static bool check_job(const struct sealing_key *key, const struct reseal_job *job,
                      struct error *err)
{
    EVP_PKEY *recipient = X509_get0_pubkey(job->recipient);
    if (recipient == NULL)
        return error_openssl(err, FAIL_UNSUPPORTED, "the device's key is of no known kind");
    if (job->custody == CUSTODY_TOKEN && EVP_PKEY_get_base_id(recipient) != EVP_PKEY_RSA) {
        error_set(err, FAIL_UNSUPPORTED,
                  "with custody token a device needs an RSA key; this one has %s",
                  EVP_PKEY_get0_type_name(recipient));
        return error_hint(err, "enrol the device with an RSA certificate");
    }
    size_t content = job->prefix.len + key->modulus_len + job->suffix.len;
    if (job->prefix.len > CMS_DER_MAX || job->suffix.len > CMS_DER_MAX || content > CMS_DER_MAX)
        return error_set(err, FAIL_TOO_LARGE,
                         "%zu bytes around the password are over the bound of %d",
                         job->prefix.len + job->suffix.len, CMS_DER_MAX);
    return true;
}

bool token_reseal(struct session *session, struct sealing_key *key, const struct reseal_job *job,
                  struct buf *der, struct error *err)
{
    if (!padding_valid((int)job->padding) ||
        (job->custody != CUSTODY_TOKEN && job->custody != CUSTODY_HOST))
        return error_set(err, FAIL_UNSUPPORTED, "a job needs a padding and a custody");
    if (!check_job(key, job, err))
        return false;
    bool token = job->custody == CUSTODY_TOKEN;
    struct way *way = way_of(key, job->padding);
    if ((token ? way->token : way->host) == LEARNED_NOTHING &&
        !way_learn(session, key, job->padding, job->custody, err))
        return false;
    if ((token ? way->token : way->host) == LEARNED_NO)
        return fail_unlearned(key, job->padding, job->custody, way, err);
    if (token && (job->prefix.len > 0 || job->suffix.len > 0)) {
        /* Before the password is unwrapped: afterwards, "unsupported" would tell that it opens. */
        if (way->affixes == LEARNED_NOTHING && !way_learn_affixes(session, key, job->padding, err))
            return false;
        if (way->affixes == LEARNED_NO)
            return error_set(err, FAIL_UNSUPPORTED,
                             "token \"%s\" cannot put text around a password with custody token",
                             session->token->facts.label);
    }
    /* RFC 8017, section 7.1.2, step 1b; some tokens would pad a short one. */
    if (job->sealed.len != key->modulus_len)
        return fail_message(err);
    return token ? custody_token_run(session, key, job, way->unwrap_variant, der, err)
                 : custody_host_run(session, key, job, way->host_variant, der, err);
}

static void put_quirk(struct padding_finding *finding, const char *words)
{
    if (words[0] == '\0')
        return;
    size_t used = strlen(finding->quirk);
    snprintf(finding->quirk + used, sizeof finding->quirk - used, "%s%s", used > 0 ? "; " : "",
             words);
}

static void put_finding(const struct way *way, size_t room, struct padding_finding *finding)
{
    snprintf(finding->call, sizeof finding->call, "%.*s", (int)sizeof finding->call - 1,
             way->token == LEARNED_YES ? "" : way->token_call);
    snprintf(finding->ck_rv, sizeof finding->ck_rv, "%s",
             way->token == LEARNED_YES ? "" : way->token_rv);
    if (way->token == LEARNED_YES) {
        finding->custody = CUSTODY_TOKEN;
        put_quirk(finding, unwrap_variant_quirk(way->unwrap_variant));
        if (way->affixes == LEARNED_NO)
            put_quirk(finding, "no text can be put around the password");
        if (way->longest < room) {
            char words[64];
            snprintf(words, sizeof words, "passwords of up to %zu bytes only", way->longest);
            put_quirk(finding, words);
        }
    } else if (way->host == LEARNED_YES) {
        finding->custody = CUSTODY_HOST;
        put_quirk(finding, host_variant_quirk(way->host_variant));
    } else {
        char words[CK_CALL_TEXT + CK_RV_TEXT + 16];
        finding->custody = CUSTODY_UNUSABLE;
        snprintf(words, sizeof words, "host: %s: %s", way->host_call, way->host_rv);
        put_quirk(finding, words);
    }
    if (strcmp(way->token_call, "C_GetAttributeValue(CKA_VALUE)") == 0)
        put_quirk(finding, "the token lets an unwrapped secret be read");
}

bool token_probe(struct session *session, struct sealing_key *key, struct key_finding *out,
                 struct error *err)
{
    if (!sealing_key_describe(session, key, out, err))
        return false;
    for (int i = 0; i < PADDING_COUNT; i++) {
        enum padding padding = (enum padding)(PADDING_FIRST + i);
        struct way *way = &key->ways[i];
        *way = (struct way){.token = LEARNED_NOTHING};
        if (!way_learn(session, key, padding, CUSTODY_TOKEN, err))
            return false;
        if (way->token == LEARNED_YES && (!way_learn_affixes(session, key, padding, err) ||
                                          !way_learn_longest(session, key, padding, err)))
            return false;
        if (way->token != LEARNED_YES && !way_learn(session, key, padding, CUSTODY_HOST, err))
            return false;
        put_finding(way, padding_room(padding, out->bits), &out->paddings[i]);
    }
    return true;
}
