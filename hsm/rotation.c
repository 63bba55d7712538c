/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sealed password goes from one sealing key to another. Found out by doing, as everything else:
 * what a token makes of a secret of our own is resealed with the new key, opened and compared, for
 * the old seal is written over when the new one is taken to be good.
 */
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include "trial.h"

#define TRIAL_SECRET 24 /* bytes of the random password of the first trial */

static struct rotation_way *rotation_of(struct sealing_key *key, const struct sealing_key *new_key,
                                        enum padding padding, enum padding new_padding)
{
    if (key->rotation_target == NULL || EVP_PKEY_eq(key->rotation_target, new_key->pkey) != 1) {
        EVP_PKEY_free(key->rotation_target);
        key->rotation_target = EVP_PKEY_up_ref(new_key->pkey) == 1 ? new_key->pkey : NULL;
        memset(key->rotations, 0, sizeof key->rotations);
    }
    return &key->rotations[padding - PADDING_FIRST][new_padding - PADDING_FIRST];
}

/* Opened into locked memory by the token, sealed again by OpenSSL. */
static bool custody_host_rotate(struct session *session, const struct sealing_key *key,
                                const struct sealing_key *new_key, const struct rotate_job *job,
                                struct buf *sealed, struct error *err)
{
    const struct reseal_job opened = {.padding = job->padding, .sealed = job->sealed};
    const struct variants *variants = &key->ways[job->padding - PADDING_FIRST].variants;
    struct harvest harvest = HARVEST_INIT;
    bool ok = custody_host_run(session, key, &opened, variants, &harvest, err);
    /* One that is too long for the new seal fails as in custody token. */
    if (ok && secret_len(harvest.password) >
                  padding_room(job->new_padding, EVP_PKEY_get_bits(new_key->pkey)))
        ok = fail_message(err);
    ok = ok && password_seal(new_key->pkey, job->new_padding, harvest.password, sealed, err);
    harvest_free(&harvest);
    return ok;
}

static bool rotate(struct session *session, const struct sealing_key *key,
                   const struct sealing_key *new_key, const struct rotate_job *job,
                   size_t unwrap_variant, struct buf *sealed, struct error *err)
{
    return job->custody == CUSTODY_TOKEN
               ? custody_token_rotate(session, key, new_key, job, unwrap_variant, sealed, err)
               : custody_host_rotate(session, key, new_key, job, sealed, err);
}

/* Whether the new seal opens, with the new key, to what was sealed: in the best custody that the
 * new key has. */
static bool seal_opens(struct session *session, struct sealing_key *new_key,
                       enum padding new_padding, const struct trial *trial, struct bytes sealed,
                       struct error *err)
{
    static const enum custody custodies[] = {CUSTODY_TOKEN, CUSTODY_HOST};
    struct reseal_job job = trial->job;
    bool opened = false;
    job.sealed = sealed;
    job.padding = new_padding;
    for (size_t i = 0; i < ARRAY_LEN(custodies) && !opened; i++) {
        struct buf der = BUF_INIT(CMS_DER_MAX);
        job.custody = custodies[i];
        *err = (struct error)ERROR_INIT;
        opened =
            token_reseal(session, new_key, &job, &der, err) && trial_opens(trial, buf_bytes(&der));
        buf_free(&der);
        if (!opened && session_lost(session))
            break;
    }
    return opened;
}

/* One secret of `len` bytes in one custody with one template. */
static enum verdict try_rotation(struct session *session, struct sealing_key *key,
                                 struct sealing_key *new_key, struct rotate_job *job,
                                 size_t unwrap_variant, size_t len, struct reason *reason,
                                 struct error *err)
{
    const struct trial_wish wish = {
        .padding = job->padding, .form = CMS_RSA_PKCS1, .password = len};
    enum verdict verdict = VERDICT_FAILS;
    struct buf sealed = BUF_INIT(RECORD_SEALED_MAX);
    struct trial trial;
    if (!trial_make(key, &wish, &trial, err))
        return VERDICT_TROUBLE;
    job->sealed = trial.job.sealed;
    verdict_prepare(session);
    if (!rotate(session, key, new_key, job, unwrap_variant, &sealed, err)) {
        verdict = verdict_of_failure(session, reason, err);
    } else if (seal_opens(session, new_key, job->new_padding, &trial, buf_bytes(&sealed), err)) {
        verdict = VERDICT_WORKS;
    } else if (session_lost(session)) {
        verdict = VERDICT_TROUBLE;
        session_fail_lost(session, err);
    } else {
        snprintf(reason->call, sizeof reason->call, "comparison");
        snprintf(reason->rv, sizeof reason->rv, "the new seal does not open");
    }
    buf_free(&sealed);
    trial_free(&trial);
    return verdict;
}

/* The shortest trial decides. A longer one may be refused, for modules have bounds of their own;
 * one that comes out as something else is a token that cuts passwords without a word. */
static enum verdict try_lengths(struct session *session, struct sealing_key *key,
                                struct sealing_key *new_key, struct rotate_job *job,
                                size_t unwrap_variant, struct reason *reason, struct error *err)
{
    const size_t room = padding_room(job->padding, EVP_PKEY_get_bits(key->pkey));
    const size_t new_room = padding_room(job->new_padding, EVP_PKEY_get_bits(new_key->pkey));
    enum verdict verdict =
        try_rotation(session, key, new_key, job, unwrap_variant, TRIAL_SECRET, reason, err);
    if (verdict == VERDICT_FAILS && ck_rv_class(session->rv) != CK_CLASS_NOT_THIS_WAY)
        verdict =
            try_rotation(session, key, new_key, job, unwrap_variant, TRIAL_SECRET, reason, err);
    if (verdict != VERDICT_WORKS)
        return verdict;
    struct reason longer = {"", ""};
    verdict = try_rotation(session, key, new_key, job, unwrap_variant,
                           room < new_room ? room : new_room, &longer, err);
    if (verdict == VERDICT_FAILS && strcmp(longer.call, "comparison") == 0) {
        *reason = longer;
        return VERDICT_FAILS;
    }
    return verdict == VERDICT_TROUBLE ? VERDICT_TROUBLE : VERDICT_WORKS;
}

static bool learn_token(struct session *session, struct sealing_key *key,
                        struct sealing_key *new_key, struct rotate_job *job,
                        struct rotation_way *way, struct error *err)
{
    const struct way *known = way_of(key, job->padding);
    const size_t first = known->unwrap_known ? known->variants.unwrap : 0;
    const size_t end = known->unwrap_known ? first + 1 : unwrap_variant_count();
    job->custody = CUSTODY_TOKEN;
    for (size_t i = first; i < end; i++) {
        struct reason reason = {"", ""};
        enum verdict verdict = try_lengths(session, key, new_key, job, i, &reason, err);
        if (verdict == VERDICT_TROUBLE)
            return false;
        if (verdict == VERDICT_WORKS) {
            way->token = LEARNED_YES;
            way->unwrap = i;
            return true;
        }
        if (i == first || strncmp(reason.call, "C_UnwrapKey", strlen("C_UnwrapKey")) != 0) {
            memcpy(way->call, reason.call, sizeof way->call);
            memcpy(way->rv, reason.rv, sizeof way->rv);
        }
    }
    way->token = LEARNED_NO;
    return true;
}

static bool learn_host(struct session *session, struct sealing_key *key,
                       struct sealing_key *new_key, struct rotate_job *job,
                       struct rotation_way *way, struct error *err)
{
    const struct way *known = way_of(key, job->padding);
    struct reason reason = {"", ""};
    job->custody = CUSTODY_HOST;
    if (known->host == LEARNED_NOTHING && !way_learn_host(session, key, job->padding, err))
        return false;
    if (known->host == LEARNED_YES) {
        enum verdict verdict = try_lengths(session, key, new_key, job, 0, &reason, err);
        if (verdict == VERDICT_TROUBLE)
            return false;
        way->host = verdict == VERDICT_WORKS ? LEARNED_YES : LEARNED_NO;
        memcpy(way->host_call, reason.call, sizeof way->host_call);
        memcpy(way->host_rv, reason.rv, sizeof way->host_rv);
        return true;
    }
    way->host = LEARNED_NO;
    memcpy(way->host_call, known->host_call, sizeof way->host_call);
    memcpy(way->host_rv, known->host_rv, sizeof way->host_rv);
    return true;
}

bool token_rotate_probe(struct session *session, struct sealing_key *key,
                        struct sealing_key *new_key, enum padding padding, enum padding new_padding,
                        struct rotate_finding *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    if (!padding_valid((int)padding) || !padding_valid((int)new_padding))
        return error_set(err, FAIL_UNSUPPORTED, "a rotation needs an old and a new padding");
    if (EVP_PKEY_eq(key->pkey, new_key->pkey) == 1)
        return error_set(err, FAIL_POLICY, "\"%s\" and \"%s\" are one sealing key", key->label,
                         new_key->label);
    struct rotation_way *way = rotation_of(key, new_key, padding, new_padding);
    struct rotate_job job = {.padding = padding, .new_padding = new_padding};
    if ((way->token == LEARNED_NOTHING && !learn_token(session, key, new_key, &job, way, err)) ||
        (way->token == LEARNED_NO && way->host == LEARNED_NOTHING &&
         !learn_host(session, key, new_key, &job, way, err)))
        return false;
    out->custody = way->token == LEARNED_YES  ? CUSTODY_TOKEN
                   : way->host == LEARNED_YES ? CUSTODY_HOST
                                              : CUSTODY_UNUSABLE;
    if (out->custody != CUSTODY_TOKEN) {
        memcpy(out->call, way->call, sizeof out->call);
        memcpy(out->ck_rv, way->rv, sizeof out->ck_rv);
    }
    return true;
}

bool rotation_still_works(struct session *session, struct sealing_key *key,
                          struct sealing_key *new_key, enum padding padding,
                          enum padding new_padding, enum custody custody, bool *out,
                          struct error *err)
{
    const struct rotation_way *way = rotation_of(key, new_key, padding, new_padding);
    struct rotate_job job = {.padding = padding, .new_padding = new_padding, .custody = custody};
    struct reason ignored = {"", ""};
    enum verdict verdict =
        try_rotation(session, key, new_key, &job, way->unwrap, TRIAL_SECRET, &ignored, err);
    *out = verdict == VERDICT_WORKS;
    return verdict != VERDICT_TROUBLE;
}

static bool fail_custody(const struct sealing_key *key, const struct sealing_key *new_key,
                         const struct rotate_job *job, const struct rotation_way *way,
                         struct error *err)
{
    bool token = job->custody == CUSTODY_TOKEN;
    error_set(err, FAIL_UNSUPPORTED,
              "no password can pass from sealing key \"%s\" to \"%s\" with custody %s (%s to %s): "
              "%s: %s",
              key->label, new_key->label, custody_name(job->custody), padding_name(job->padding),
              padding_name(job->new_padding), token ? way->call : way->host_call,
              token ? way->rv : way->host_rv);
    return error_hint(err, "`reseal token probe` shows what the token and its keys can do");
}

bool token_rotate(struct session *session, struct sealing_key *key, struct sealing_key *new_key,
                  const struct rotate_job *job, struct buf *sealed, struct error *err)
{
    struct rotate_finding finding;
    if (job->custody != CUSTODY_TOKEN && job->custody != CUSTODY_HOST)
        return error_set(err, FAIL_UNSUPPORTED, "a rotation needs a custody");
    if (!token_rotate_probe(session, key, new_key, job->padding, job->new_padding, &finding, err))
        return false;
    struct rotation_way *way = rotation_of(key, new_key, job->padding, job->new_padding);
    /* The weaker one is only learned about when it is asked for. */
    struct rotate_job trial = *job;
    if (job->custody == CUSTODY_HOST && way->host == LEARNED_NOTHING &&
        !learn_host(session, key, new_key, &trial, way, err))
        return false;
    if ((job->custody == CUSTODY_TOKEN ? way->token : way->host) != LEARNED_YES)
        return fail_custody(key, new_key, job, way, err);
    if (job->sealed.len != key->modulus_len) /* RFC 8017, section 7.1.2, step 1b */
        return fail_message(err);
    size_t before = sealed->len;
    if (rotate(session, key, new_key, job, way->unwrap, sealed, err))
        return true;
    sealed->len = before;
    return false;
}
