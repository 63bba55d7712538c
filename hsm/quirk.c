/* SPDX-License-Identifier: Apache-2.0 */
#include "quirk.h"

#include <stdio.h>
#include <string.h>
#include "reseal/compiler.h"

/* SoftHSM's C_Login fails so while another process, which logs in as well, writes the token's file;
 * a wrong PIN is CKR_PIN_INCORRECT there. */
static const struct {
    const char *model; /* CK_TOKEN_INFO.model */
    CK_RV rv;
} harmless_logins[] = {
    {"SoftHSM v2", CKR_GENERAL_ERROR},
};

bool quirk_login_is_harmless(const struct token_facts *token, CK_RV rv)
{
    for (size_t i = 0; i < ARRAY_LEN(harmless_logins); i++) {
        if (rv == harmless_logins[i].rv && strcmp(token->model, harmless_logins[i].model) == 0)
            return true;
    }
    return false;
}

/* What is known of makers and models, by the call that kept a form from custody token. NULL: any.
 */
static const struct {
    const char *manufacturer, *model; /* beginnings of the fields of CK_TOKEN_INFO */
    const char *call;                 /* beginning of the call's name */
    const char *words;
} known[] = {
    {"SoftHSM", "SoftHSM v2", "C_UnwrapKey(CKM_RSA_PKCS_OAEP)",
     "SoftHSM 2.6.1 and 2.7.0 have OAEP with SHA-1 only, and 2.6.1 no wrapping by AES-CBC-PAD: a "
     "later SoftHSM, NSS softokn or a hardware token reaches custody token"},
    {"SoftHSM", "SoftHSM v2", "C_WrapKey(CKM_AES_CBC_PAD)",
     "SoftHSM 2.6.1 does not wrap by AES-CBC-PAD, 2.7.0 does"},
    {"SoftHSM", "SoftHSM v2", "C_DeriveKey(CKM_ECDH1_DERIVE)",
     "SoftHSM agrees on keys without a key derivation function (CKD_NULL) only: EC devices need "
     "another token, or custody host"},
    {"IBM", "IBM SoftTok", "C_GetAttributeValue(",
     "openCryptoki's soft token does not keep an unwrapped secret sensitive: its other tokens "
     "(CCA, "
     "EP11), or another maker's, may"},
    {"Amazon", NULL, "C_WrapKey(CKM_AES_CBC_PAD)",
     "CloudHSM wraps by AES-GCM with an IV of its own only: no release so far reaches custody "
     "token"},
    {NULL, "YubiHSM", NULL, "a YubiHSM 2 wraps by its maker's own mechanisms only: custody host"},
};

static bool begins(const char *text, const char *beginning)
{
    return beginning == NULL || strncmp(text, beginning, strlen(beginning)) == 0;
}

/* What would let custody token make that form. */
static const char *raising_words(const struct token_facts *token, const struct key_attributes *key,
                                 const struct form_finding *form)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (begins(token->manufacturer, known[i].manufacturer) &&
            begins(token->model, known[i].model) && begins(form->call, known[i].call))
            return known[i].words;
    }
    if (begins(form->call, "C_GetAttributeValue("))
        return "the token shows unwrapped secrets in clear: a token, or a release of it, that "
               "keeps CKA_SENSITIVE of an unwrapped secret is needed";
    if (key->unwrap == 0)
        return "the key was made for custody host (CKA_UNWRAP is false): custody token needs a "
               "key that a ceremony makes with custody = token";
    if (strcmp(form->call, "comparison") == 0)
        return "the token says that it has done the job, and what it gave does not open: ask its "
               "maker, and try another release of its module";
    return "a token, or a release of it, that can do this call would raise it to custody token";
}

void quirk_advice(const struct token_facts *token, const struct key_attributes *key,
                  const struct form_finding *form, char *out, size_t size)
{
    out[0] = '\0';
    if (form->custody == CUSTODY_TOKEN)
        return;
    const char *second = "";
    if (form->custody == CUSTODY_UNUSABLE)
        second = key->decrypt == 0
                     ? "; or make a key by a ceremony with custody = host, and accept that by "
                       "[connector] require = host"
                     : "; or seal with another padding";
    snprintf(out, size, "%s%s", raising_words(token, key, form), second);
}
