/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Custody token: the password passes from RSA-OAEP to CMS inside the token (PKCS#11 v3.1, section
 * 5.18; RFC 5652, section 6).
 *
 * Everything that does not depend on the sealed password is done before it is unwrapped, so that a
 * bad message costs the same calls as a good one up to its own failure, and a failure of the
 * recipient's side is not taken for one of the message.
 */
#include <string.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include "custody.h"

#define AES_BLOCK 16

struct unwrap_variant {
    const char *quirk;
    size_t count;
    struct template_row rows[6];
};

/* From what the standard asks for to what some tokens take. CKA_VALUE_LEN is never given: SoftHSM
 * refuses it, others cut the secret silently. What a variant leaves open is read back. */
static const struct unwrap_variant unwrap_variants[] = {
    {"",
     6,
     {{CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
      {CKA_KEY_TYPE, ROW_NUMBER, CKK_GENERIC_SECRET},
      {CKA_TOKEN, ROW_FLAG, false},
      {CKA_PRIVATE, ROW_FLAG, true},
      {CKA_SENSITIVE, ROW_FLAG, true},
      {CKA_EXTRACTABLE, ROW_FLAG, true}}},
    {"CKA_EXTRACTABLE is not given when unwrapping",
     5,
     {{CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
      {CKA_KEY_TYPE, ROW_NUMBER, CKK_GENERIC_SECRET},
      {CKA_TOKEN, ROW_FLAG, false},
      {CKA_PRIVATE, ROW_FLAG, true},
      {CKA_SENSITIVE, ROW_FLAG, true}}},
    {"CKA_SENSITIVE and CKA_EXTRACTABLE are not given when unwrapping",
     4,
     {{CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
      {CKA_KEY_TYPE, ROW_NUMBER, CKK_GENERIC_SECRET},
      {CKA_TOKEN, ROW_FLAG, false},
      {CKA_PRIVATE, ROW_FLAG, true}}},
};

static const struct template_row derived_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_GENERIC_SECRET},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_PRIVATE, ROW_FLAG, true},
    {CKA_SENSITIVE, ROW_FLAG, true},
    {CKA_EXTRACTABLE, ROW_FLAG, true},
};

static const struct template_row content_key_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_SECRET_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_AES},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_PRIVATE, ROW_FLAG, true},
    {CKA_SENSITIVE, ROW_FLAG, true},
    {CKA_EXTRACTABLE, ROW_FLAG, true},
    {CKA_WRAP, ROW_FLAG, true},
    {CKA_VALUE_LEN, ROW_NUMBER, CMS_KEY},
};

static const struct template_row recipient_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_PUBLIC_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_RSA},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_WRAP, ROW_FLAG, true},
};

size_t unwrap_variant_count(void)
{
    return ARRAY_LEN(unwrap_variants);
}

const char *unwrap_variant_quirk(size_t variant)
{
    return unwrap_variants[variant].quirk;
}

/* What a job holds on the token, and what it has made so far. */
struct work {
    struct session *session;
    const struct sealing_key *key;
    const struct reseal_job *job;
    CK_OBJECT_HANDLE recipient, content_key, password;
    struct cms_parts parts;
    struct buf encrypted_key, encrypted_content;
};

static bool read_number(EVP_PKEY *key, const char *name, struct buf *out)
{
    BIGNUM *number = NULL;
    bool ok = false;
    if (EVP_PKEY_get_bn_param(key, name, &number) == 1) {
        uint8_t *place = buf_extend(out, (size_t)BN_num_bytes(number));
        ok = place != NULL && BN_bn2bin(number, place) == (int)out->len;
    }
    BN_free(number);
    return ok;
}

static bool import_recipient(struct work *work, struct error *err)
{
    bool ok = false;
    struct buf modulus = BUF_INIT(2048), exponent = BUF_INIT(2048);
    struct template template = {.count = 0};
    EVP_PKEY *pkey = X509_get0_pubkey(work->job->recipient);
    if (!read_number(pkey, OSSL_PKEY_PARAM_RSA_N, &modulus) ||
        !read_number(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent)) {
        error_openssl(err, FAIL_UNSUPPORTED, "the device's RSA key cannot be read");
        goto done;
    }
    template_rows(&template, recipient_rows, ARRAY_LEN(recipient_rows));
    template_bytes(&template, CKA_MODULUS, buf_bytes(&modulus));
    template_bytes(&template, CKA_PUBLIC_EXPONENT, buf_bytes(&exponent));
    CK_RV rv = work->session->f->C_CreateObject(work->session->handle, template.rows,
                                                template.count, &work->recipient);
    if (rv != CKR_OK) {
        work->recipient = CK_INVALID_HANDLE;
        session_fail(work->session, "C_CreateObject", NO_MECHANISM, rv, err);
        goto done;
    }
    ok = true;
done:
    buf_free(&modulus);
    buf_free(&exponent);
    return ok;
}

/* Takes the handle of what was just made. One that stands for something else already would be
 * wrapped in place of the password. */
static bool take_made(struct work *work, const char *function, CK_OBJECT_HANDLE made,
                      CK_OBJECT_HANDLE *place, struct error *err)
{
    if (made != CK_INVALID_HANDLE && made != work->recipient && made != work->content_key &&
        made != work->password && made != work->key->private_half &&
        made != work->key->public_half) {
        *place = made;
        return true;
    }
    session_spoil(work->session, function, CKR_KEY_HANDLE_INVALID);
    return session_fail_lost(work->session, err);
}

/* A secret that the token would hand out is in nobody's custody but ours: refused, not shrugged
 * off. */
static bool require_unreadable(struct session *session, CK_OBJECT_HANDLE object, struct error *err)
{
    CK_RV sensitive_rv, value_rv;
    bool sensitive = attribute_flag(session, object, CKA_SENSITIVE, &sensitive_rv) == 1;
    bool readable = attribute_readable(session, object, CKA_VALUE, &value_rv);
    if (ck_class_is_trouble(ck_rv_class(sensitive_rv)))
        return session_fail(session, "C_GetAttributeValue(CKA_SENSITIVE)", NO_MECHANISM,
                            sensitive_rv, err);
    if (ck_class_is_trouble(ck_rv_class(value_rv)))
        return session_fail(session, "C_GetAttributeValue(CKA_VALUE)", NO_MECHANISM, value_rv, err);
    if (sensitive_rv != CKR_OK) {
        /* Not said to be readable, but not told: the probe had its answer from this token. */
        session_fail(session, "C_GetAttributeValue(CKA_SENSITIVE)", NO_MECHANISM, sensitive_rv,
                     err);
        err->kind = FAIL_TOKEN;
        return false;
    }
    if (sensitive && !readable)
        return true;
    ck_call_text(readable ? "C_GetAttributeValue(CKA_VALUE)" : "C_GetAttributeValue(CKA_SENSITIVE)",
                 NO_MECHANISM, session->call);
    session->rv = readable ? value_rv : sensitive_rv;
    error_set(err, FAIL_POLICY, "token \"%s\" would let the unwrapped secret be read",
              session->token->facts.label);
    return error_hint(err, "this token cannot give custody token; see `reseal token probe`");
}

static bool make_content_key(struct work *work, struct error *err)
{
    struct template template = {.count = 0};
    template_rows(&template, content_key_rows, ARRAY_LEN(content_key_rows));
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    CK_RV rv = work->session->f->C_GenerateKey(work->session->handle, &mechanism, template.rows,
                                               template.count, &made);
    if (rv != CKR_OK)
        return session_fail(work->session, "C_GenerateKey", CKM_AES_KEY_GEN, rv, err);
    return take_made(work, "C_GenerateKey", made, &work->content_key, err) &&
           require_unreadable(work->session, work->content_key, err);
}

/* CMS encryptedKey. */
static bool wrap_content_key(struct work *work, struct error *err)
{
    CK_RSA_PKCS_OAEP_PARAMS params = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, NULL, 0};
    CK_MECHANISM mechanism = {CKM_RSA_PKCS, NULL, 0};
    if (work->job->transport == KEY_TRANSPORT_OAEP_SHA256)
        mechanism = (CK_MECHANISM){CKM_RSA_PKCS_OAEP, &params, sizeof params};
    size_t modulus_len = (size_t)EVP_PKEY_get_size(X509_get0_pubkey(work->job->recipient));
    CK_ULONG len = modulus_len;
    uint8_t *place = buf_extend(&work->encrypted_key, len);
    if (place == NULL)
        return buf_check(&work->encrypted_key, "the wrapped content key", err);
    CK_RV rv = work->session->f->C_WrapKey(work->session->handle, &mechanism, work->recipient,
                                           work->content_key, place, &len);
    if (rv != CKR_OK)
        return session_fail(work->session, "C_WrapKey", mechanism.mechanism, rv, err);
    if (len != modulus_len)
        return error_set(err, FAIL_TOKEN,
                         "token \"%s\" wrapped the content key to %lu bytes instead of %zu",
                         work->session->token->facts.label, len, modulus_len);
    work->parts.encrypted_key = buf_bytes(&work->encrypted_key);
    work->parts.transport = work->job->transport;
    return true;
}

static bool has_affixes(const struct reseal_job *job)
{
    return job->prefix.len > 0 || job->suffix.len > 0;
}

static bool unwrap_password(struct work *work, const struct unwrap_variant *variant,
                            struct error *err)
{
    struct template template = {.count = 0};
    template_rows(&template, variant->rows, variant->count);
    if (has_affixes(work->job))
        template_flag(&template, CKA_DERIVE, true);
    struct oaep_mechanism oaep;
    oaep_mechanism_fill(work->job->padding, &oaep);
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    CK_RV rv =
        work->session->f->C_UnwrapKey(work->session->handle, &oaep.mechanism,
                                      work->key->private_half, ck_input(work->job->sealed.data),
                                      work->job->sealed.len, template.rows, template.count, &made);
    if (rv != CKR_OK)
        return fail_opening(work->session, work->key, work->job->padding, "C_UnwrapKey",
                            CKM_RSA_PKCS_OAEP, rv, err);
    return take_made(work, "C_UnwrapKey", made, &work->password, err) &&
           require_unreadable(work->session, work->password, err);
}

/* Puts `data` before or behind the secret `*object`, which is replaced by the result. */
static bool concatenate(struct work *work, CK_MECHANISM_TYPE type, struct bytes data,
                        CK_OBJECT_HANDLE *object, bool derive_again, struct error *err)
{
    if (data.len == 0)
        return true;
    struct template template = {.count = 0};
    template_rows(&template, derived_rows, ARRAY_LEN(derived_rows));
    if (derive_again)
        template_flag(&template, CKA_DERIVE, true);
    CK_KEY_DERIVATION_STRING_DATA params = {ck_input(data.data), data.len};
    CK_MECHANISM mechanism = {type, &params, sizeof params};
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE, result = CK_INVALID_HANDLE;
    CK_RV rv = work->session->f->C_DeriveKey(work->session->handle, &mechanism, *object,
                                             template.rows, template.count, &made);
    if (rv != CKR_OK)
        return fail_opening(work->session, work->key, work->job->padding, "C_DeriveKey", type, rv,
                            err);
    if (!take_made(work, "C_DeriveKey", made, &result, err))
        return false;
    object_drop(work->session, object);
    *object = result;
    return require_unreadable(work->session, result, err);
}

/* CMS encryptedContent. CKM_AES_CBC_PAD, never CKM_AES_CBC: that one fills up with zeros, which
 * corrupts a password. */
static bool wrap_password(struct work *work, struct error *err)
{
    if (RAND_bytes(work->parts.iv, CMS_IV) != 1)
        return error_openssl(err, FAIL_INTERNAL, "no random numbers for an initialisation vector");
    CK_MECHANISM mechanism = {CKM_AES_CBC_PAD, work->parts.iv, CMS_IV};
    CK_ULONG room = work->job->prefix.len + work->key->modulus_len + work->job->suffix.len;
    CK_ULONG len = room + (AES_BLOCK - room % AES_BLOCK);
    uint8_t *place = buf_extend(&work->encrypted_content, len);
    if (place == NULL)
        return buf_check(&work->encrypted_content, "the wrapped password", err);
    CK_RV rv = work->session->f->C_WrapKey(work->session->handle, &mechanism, work->content_key,
                                           work->password, place, &len);
    if (rv != CKR_OK || len == 0 || len % AES_BLOCK != 0 || len > work->encrypted_content.len)
        return fail_opening(work->session, work->key, work->job->padding, "C_WrapKey",
                            CKM_AES_CBC_PAD, rv != CKR_OK ? rv : CKR_FUNCTION_FAILED, err);
    work->parts.encrypted_content = (struct bytes){place, len};
    return true;
}

bool custody_token_run(struct session *session, const struct sealing_key *key,
                       const struct reseal_job *job, size_t variant, struct buf *der,
                       struct error *err)
{
    bool ok = false;
    struct work work = {
        .session = session,
        .key = key,
        .job = job,
        .encrypted_key = BUF_INIT(2048),
        .encrypted_content = BUF_INIT(CMS_DER_MAX),
    };
    if (!import_recipient(&work, err) || !make_content_key(&work, err) ||
        !wrap_content_key(&work, err))
        goto done;
    if (!unwrap_password(&work, &unwrap_variants[variant], err) ||
        !concatenate(&work, CKM_CONCATENATE_DATA_AND_BASE, job->prefix, &work.password,
                     job->suffix.len > 0, err) ||
        !concatenate(&work, CKM_CONCATENATE_BASE_AND_DATA, job->suffix, &work.password, false,
                     err) ||
        !wrap_password(&work, err))
        goto done;
    ok = cms_assemble(job->recipient, &work.parts, der, err);
done:
    object_drop(session, &work.password);
    object_drop(session, &work.content_key);
    object_drop(session, &work.recipient);
    buf_free(&work.encrypted_key);
    buf_free(&work.encrypted_content);
    return ok;
}
