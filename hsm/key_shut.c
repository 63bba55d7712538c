/* SPDX-License-Identifier: Apache-2.0 */
/* A key that can be wrapped never again, and the attempt. */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>
#include "custody.h"
#include "transport.h"

bool key_shut(struct session *session, const struct sealing_key *key, struct error *err)
{
    struct template template = {.count = 0};
    CK_RV rv = CKR_OK;
    if (attribute_flag(session, key->private_half, CKA_EXTRACTABLE, NULL) == 0)
        return true;
    template_flag(&template, CKA_EXTRACTABLE, false);
    rv = session->f->C_SetAttributeValue(session->handle, key->private_half, template.rows,
                                         template.count);
    if (rv != CKR_OK)
        return session_fail(session, "C_SetAttributeValue(CKA_EXTRACTABLE)", NO_MECHANISM, rv, err);
    signed char found = attribute_flag(session, key->private_half, CKA_EXTRACTABLE, &rv);
    if (rv != CKR_OK)
        return session_fail(session, "C_GetAttributeValue(CKA_EXTRACTABLE)", NO_MECHANISM, rv, err);
    return found == 0 || error_set(err, FAIL_POLICY,
                                   "token \"%s\" says that it has shut the key \"%s\", and shows "
                                   "it as CKA_EXTRACTABLE",
                                   session->token->facts.label, key->label);
}

/* Our own keys to wrap under; where the token makes none of a kind, its answer stands for the
 * attempt. */
struct lure {
    struct transport_secret *secret;
    CK_OBJECT_HANDLE rsa;
    EVP_PKEY *pkey;
    CK_RV secret_rv, rsa_rv;
};

static bool lure_make(struct session *session, const struct sealing_key *key, struct lure *out,
                      struct error *err)
{
    const CK_OBJECT_HANDLE known[] = {key->private_half, key->public_half};
    struct error reason = ERROR_INIT;
    out->secret_rv = out->rsa_rv = CKR_OK;
    if (!transport_secret_make(session, &out->secret, &reason))
        out->secret_rv = session->rv != CKR_OK ? session->rv : CKR_FUNCTION_FAILED;
    if (session_lost(session)) {
        *err = reason;
        return false;
    }
    out->pkey = EVP_RSA_gen(2048);
    if (out->pkey == NULL)
        return error_openssl(err, FAIL_INTERNAL, "cannot make a throw-away key");
    if (!wrapping_key_import(session, out->pkey, known, ARRAY_LEN(known), &out->rsa, &reason))
        out->rsa_rv = session->rv != CKR_OK ? session->rv : CKR_FUNCTION_FAILED;
    if (!session_lost(session))
        return true;
    *err = reason;
    return false;
}

static void lure_free(struct session *session, struct lure *lure)
{
    object_drop(session, &lure->rsa);
    transport_secret_free(&lure->secret);
    EVP_PKEY_free(lure->pkey);
}

/* CK_RSA_AES_KEY_WRAP_PARAMS (PKCS#11 v3.1, section 6.1.20), which p11-kit's header does not have.
 */
struct rsa_aes_params {
    CK_ULONG aes_bits;
    CK_RSA_PKCS_OAEP_PARAMS *oaep;
};

bool key_try_wrap(struct session *session, const struct sealing_key *key,
                  struct wrap_attempt attempts[static WRAP_ATTEMPTS_MAX], size_t *count,
                  bool *confined, struct error *err)
{
    static const uint8_t iv[TRANSPORT_IV_LEN] = {0};
    struct transport_oaep oaep;
    transport_oaep_fill(TRANSPORT_SHA1, &oaep);
    struct rsa_aes_params params = {8 * TRANSPORT_SECRET_LEN, &oaep.params};
    const struct {
        CK_MECHANISM mechanism;
        bool rsa;
    } rows[] = {
        {{CKM_AES_KEY_WRAP_KWP, NULL, 0}, false},
        {{CKM_AES_KEY_WRAP_PAD, NULL, 0}, false},
        {{CKM_AES_KEY_WRAP, NULL, 0}, false},
        {{CKM_AES_CBC_PAD, ck_input(iv), sizeof iv}, false},
        {{CKM_RSA_AES_KEY_WRAP, &params, sizeof params}, true},
    };
    struct lure lure = {.rsa = CK_INVALID_HANDLE};
    bool ok = lure_make(session, key, &lure, err);
    *count = 0;
    *confined = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(rows); i++) {
        struct wrap_attempt *attempt = &attempts[(*count)++];
        struct buf wrapped = BUF_INIT(WRAPPED_KEY_MAX);
        CK_MECHANISM mechanism = rows[i].mechanism;
        CK_RV rv = rows[i].rsa ? lure.rsa_rv : lure.secret_rv;
        if (rv == CKR_OK)
            rv = wrap_object(session, &mechanism, rows[i].rsa ? lure.rsa : lure.secret->object,
                             key->private_half, &wrapped);
        buf_free(&wrapped);
        snprintf(attempt->mechanism, sizeof attempt->mechanism, "%s",
                 ck_mechanism_name(mechanism.mechanism));
        ck_rv_text(rv, attempt->ck_rv);
        attempt->wrapped = rv == CKR_OK;
        *confined = *confined && rv != CKR_OK;
        if (ck_class_is_trouble(ck_rv_class(rv)))
            ok = session_fail(session, "C_WrapKey", mechanism.mechanism, rv, err);
    }
    lure_free(session, &lure);
    return ok;
}
