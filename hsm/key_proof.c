/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts that a sealing key must refuse, made with secrets of our own. */
#include <stdio.h>
#include <string.h>
#include "reseal/ceremony.h"
#include "trial.h"

static bool try_decrypt(struct session *session, struct sealing_key *key, enum padding padding,
                        bool *refused, char *call, char *ck_rv, struct error *err)
{
    struct way *way = way_of(key, padding);
    if (!way_learn_host(session, key, padding, err))
        return false;
    *refused = way->host == LEARNED_NO;
    snprintf(call, CK_CALL_TEXT, "%s", way->host_call);
    snprintf(ck_rv, CK_RV_TEXT, "%s", way->host_rv);
    return true;
}

/* Every form of message would begin with the same C_UnwrapKey. */
static bool try_unwrap(struct session *session, struct sealing_key *key, enum padding padding,
                       bool *refused, char *call, char *ck_rv, struct error *err)
{
    struct way *way = way_of(key, padding);
    const struct form_way *first = &way->forms[0];
    *refused = true;
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        if (way->forms[i].token == LEARNED_NOTHING &&
            !way_learn_form(session, key, padding, (enum cms_form)i, err))
            return false;
        *refused = *refused && way->forms[i].token == LEARNED_NO;
    }
    snprintf(call, CK_CALL_TEXT, "%s", first->call);
    snprintf(ck_rv, CK_RV_TEXT, "%s", first->rv);
    return true;
}

bool key_try_other_custody(struct session *session, struct sealing_key *key, enum custody made_for,
                           enum padding padding, bool *refused, char call[static CK_CALL_TEXT],
                           char ck_rv[static CK_RV_TEXT], struct error *err)
{
    call[0] = ck_rv[0] = '\0';
    if (made_for == CUSTODY_TOKEN)
        return try_decrypt(session, key, padding, refused, call, ck_rv, err);
    return try_unwrap(session, key, padding, refused, call, ck_rv, err);
}

bool key_secret_is_unreadable(struct session *session, struct sealing_key *key,
                              enum padding padding, char ck_rv[static CK_RV_TEXT],
                              struct error *err)
{
    const struct trial_wish wish = {.padding = padding, .form = CMS_RSA_PKCS1, .password = 32};
    struct trial trial;
    CK_RV rv = CKR_OK;
    ck_rv[0] = '\0';
    if (!trial_make(key, &wish, &trial, err))
        return false;
    bool ok = custody_token_ask_value(session, key, &trial.job, &way_of(key, padding)->variants,
                                      &rv, err);
    trial_free(&trial);
    if (ok)
        ck_rv_text(rv, ck_rv);
    else if (err->kind == FAIL_NONE)
        error_set(err, FAIL_POLICY, "the token gives the unwrapped secret away");
    return ok;
}
