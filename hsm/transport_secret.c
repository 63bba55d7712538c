/* SPDX-License-Identifier: Apache-2.0 */
/* The AES key of one journey: made on the first token, unwrapped on the second. */
#include <stdlib.h>
#include <string.h>
#include "transport.h"

static const struct template_row secret_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_AES},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_SENSITIVE, ROW_FLAG, true},
    {CKA_EXTRACTABLE, ROW_FLAG, true}, /* for the transport key */
    {CKA_WRAP, ROW_FLAG, true},
    {CKA_VALUE_LEN, ROW_NUMBER, TRANSPORT_SECRET_LEN},
};

static const struct template_row arrived_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_AES},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_PRIVATE, ROW_FLAG, true},
    {CKA_SENSITIVE, ROW_FLAG, true},
    {CKA_EXTRACTABLE, ROW_FLAG, false},
    {CKA_UNWRAP, ROW_FLAG, true},
};

static bool secret_new_for(struct token *token, struct transport_secret **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return error_memory(err);
    (*out)->token = token;
    (*out)->session = CK_INVALID_HANDLE;
    (*out)->object = CK_INVALID_HANDLE;
    return true;
}

bool transport_secret_make(struct session *session, struct transport_secret **out,
                           struct error *err)
{
    struct template template = {.count = 0};
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    if (!secret_new_for(session->token, out, err))
        return false;
    (*out)->user = session;
    template_rows(&template, secret_rows, ARRAY_LEN(secret_rows));
    template_flag(&template, CKA_PRIVATE, true);
    CK_RV rv = session->f->C_GenerateKey(session->handle, &mechanism, template.rows, template.count,
                                         &(*out)->object);
    bool ok = rv == CKR_OK ? secret_require_unreadable(session, (*out)->object, err)
                           : session_fail(session, "C_GenerateKey", CKM_AES_KEY_GEN, rv, err);
    if (!ok)
        transport_secret_free(out);
    return ok;
}

static bool fail_so(const struct token *token, CK_RV rv, struct error *err)
{
    char name[CK_RV_TEXT];
    ck_rv_text(rv, name);
    if (rv == CKR_USER_ANOTHER_ALREADY_LOGGED_IN || rv == CKR_SESSION_READ_ONLY_EXISTS)
        return error_set(err, FAIL_TOKEN,
                         "token \"%s\": C_Login: %s: the user is logged in already",
                         token->facts.label, name);
    error_set(err, FAIL_PIN, "token \"%s\": C_Login as security officer: %s", token->facts.label,
              name);
    return error_hint(err, "the SO PIN was tried once and is not tried again; too many wrong ones "
                           "lock a token for good");
}

/* While the SO is logged in. The key is no private object, as the SO sees none; it is a session
 * object, so it is on no disk and in no other process, and nobody reads its value. */
static bool make_trusted(struct transport_secret *secret, struct error *err)
{
    struct token *token = secret->token;
    struct template template = {.count = 0};
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    template_rows(&template, secret_rows, ARRAY_LEN(secret_rows));
    template_flag(&template, CKA_PRIVATE, false);
    template_flag(&template, CKA_TRUSTED, true);
    CK_RV rv = token->f->C_GenerateKey(secret->session, &mechanism, template.rows, template.count,
                                       &secret->object);
    if (rv == CKR_OK)
        return true;
    secret->object = CK_INVALID_HANDLE;
    token_fail(token, "C_GenerateKey", CKM_AES_KEY_GEN, rv, err);
    err->kind = FAIL_UNSUPPORTED;
    return error_hint(err,
                      "this token does not let the security officer trust a key that way: plan "
                      "the key without it, and shut it when it has been replicated");
}

bool transport_secret_make_trusted(struct token *token, const struct secret *so_pin,
                                   struct transport_secret **out, struct error *err)
{
    struct bytes pin = secret_bytes(so_pin);
    if (!secret_new_for(token, out, err))
        return false;
    struct transport_secret *secret = *out;
    bool ok = false;
    CK_RV rv = token->f->C_OpenSession(token->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                                       &secret->session);
    if (rv != CKR_OK) {
        secret->session = CK_INVALID_HANDLE;
        token_fail(token, "C_OpenSession", NO_MECHANISM, rv, err);
    } else if ((rv = token->f->C_Login(secret->session, CKU_SO, ck_input(pin.data), pin.len)) !=
               CKR_OK) {
        fail_so(token, rv, err);
    } else {
        ok = make_trusted(secret, err);
        (void)token->f->C_Logout(secret->session);
    }
    if (!ok)
        transport_secret_free(out);
    return ok;
}

void transport_secret_free(struct transport_secret **secret)
{
    if (secret == NULL || *secret == NULL)
        return;
    struct transport_secret *old = *secret;
    if (old->user != NULL)
        object_drop(old->user, &old->object);
    else if (old->object != CK_INVALID_HANDLE)
        (void)old->token->f->C_DestroyObject(old->session, old->object);
    if (old->session != CK_INVALID_HANDLE)
        (void)old->token->f->C_CloseSession(old->session);
    free(old);
    *secret = NULL;
}

void transport_oaep_fill(enum transport_hash hash, struct transport_oaep *out)
{
    bool sha256 = hash == TRANSPORT_SHA256;
    out->params = (CK_RSA_PKCS_OAEP_PARAMS){sha256 ? CKM_SHA256 : CKM_SHA_1,
                                            sha256 ? CKG_MGF1_SHA256 : CKG_MGF1_SHA1,
                                            CKZ_DATA_SPECIFIED, NULL, 0};
    out->mechanism = (CK_MECHANISM){CKM_RSA_PKCS_OAEP, &out->params, sizeof out->params};
}

bool transport_secret_unwrap(struct session *session, const struct sealing_key *transport_key,
                             enum transport_hash hash, struct bytes wrapped, CK_OBJECT_HANDLE *out,
                             struct error *err)
{
    const CK_OBJECT_HANDLE known[] = {transport_key->private_half, transport_key->public_half};
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    struct template template = {.count = 0};
    struct transport_oaep oaep;
    *out = CK_INVALID_HANDLE;
    transport_oaep_fill(hash, &oaep);
    template_rows(&template, arrived_rows, ARRAY_LEN(arrived_rows));
    CK_RV rv = session->f->C_UnwrapKey(session->handle, &oaep.mechanism,
                                       transport_key->private_half, ck_input(wrapped.data),
                                       wrapped.len, template.rows, template.count, &made);
    if (rv != CKR_OK)
        return session_fail(session, "C_UnwrapKey", CKM_RSA_PKCS_OAEP, rv, err);
    if (!object_take(session, "C_UnwrapKey", made, known, ARRAY_LEN(known), out, err))
        return false;
    if (secret_require_unreadable(session, *out, err))
        return true;
    object_drop(session, out);
    return false;
}
