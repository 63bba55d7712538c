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
#include <openssl/rand.h>
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
    CK_OBJECT_HANDLE content_key, password;
    struct harvest *out;
};

/* Takes the handle of what was just made: not one that stands for something else already. */
static bool take_made(struct work *work, const char *function, CK_OBJECT_HANDLE made,
                      CK_OBJECT_HANDLE *place, struct error *err)
{
    const CK_OBJECT_HANDLE known[] = {work->content_key, work->password, work->key->private_half,
                                      work->key->public_half};
    return object_take(work->session, function, made, known, ARRAY_LEN(known), place, err);
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
        return fail_opening(work->session, work->key, work->job->padding, CUSTODY_TOKEN,
                            "C_UnwrapKey", CKM_RSA_PKCS_OAEP, rv, err);
    return take_made(work, "C_UnwrapKey", made, &work->password, err) &&
           secret_require_unreadable(work->session, work->password, err);
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
        return fail_opening(work->session, work->key, work->job->padding, CUSTODY_TOKEN,
                            "C_DeriveKey", type, rv, err);
    if (!take_made(work, "C_DeriveKey", made, &result, err))
        return false;
    object_drop(work->session, object);
    *object = result;
    return secret_require_unreadable(work->session, result, err);
}

/* CMS encryptedContent. CKM_AES_CBC_PAD, never CKM_AES_CBC: that one fills up with zeros, which
 * corrupts a password. */
static bool wrap_password(struct work *work, struct error *err)
{
    if (RAND_bytes(work->out->parts.iv, CMS_IV) != 1)
        return error_openssl(err, FAIL_INTERNAL, "no random numbers for an initialisation vector");
    CK_MECHANISM mechanism = {CKM_AES_CBC_PAD, work->out->parts.iv, CMS_IV};
    CK_ULONG room = work->job->prefix.len + work->key->modulus_len + work->job->suffix.len;
    CK_ULONG len = room + (AES_BLOCK - room % AES_BLOCK);
    uint8_t *place = buf_extend(&work->out->encrypted_content, len);
    if (place == NULL)
        return buf_check(&work->out->encrypted_content, "the wrapped password", err);
    CK_RV rv = work->session->f->C_WrapKey(work->session->handle, &mechanism, work->content_key,
                                           work->password, place, &len);
    if (rv != CKR_OK || len == 0 || len % AES_BLOCK != 0 || len > work->out->encrypted_content.len)
        return fail_opening(work->session, work->key, work->job->padding, CUSTODY_TOKEN,
                            "C_WrapKey", CKM_AES_CBC_PAD, rv != CKR_OK ? rv : CKR_FUNCTION_FAILED,
                            err);
    work->out->parts.encrypted_content = (struct bytes){place, len};
    return true;
}

/* CMS encryptedKey, for a device key of the form that the job has. */
static bool wrap_content_key(struct work *work, enum cms_form form, size_t point_variant,
                             struct error *err)
{
    if (!content_key_wrap(work->session, work->key, work->content_key, work->job, form,
                          point_variant, &work->out->encrypted_key, &work->out->originator, err))
        return false;
    work->out->parts.form = form;
    work->out->parts.encrypted_key = buf_bytes(&work->out->encrypted_key);
    work->out->parts.originator = buf_bytes(&work->out->originator);
    return true;
}

bool custody_token_run(struct session *session, const struct sealing_key *key,
                       const struct reseal_job *job, const struct variants *variants,
                       struct harvest *out, struct error *err)
{
    enum cms_form form;
    struct work work = {.session = session, .key = key, .job = job, .out = out};
    out->custody = CUSTODY_TOKEN;
    if (!cms_form_for(job->recipient, job->transport, &form))
        return error_set(err, FAIL_UNSUPPORTED, "the device's key is of no form for custody token");
    bool ok = content_key_make(session, key, &work.content_key, err) &&
              wrap_content_key(&work, form, variants->point, err) &&
              unwrap_password(&work, &unwrap_variants[variants->unwrap], err) &&
              concatenate(&work, CKM_CONCATENATE_DATA_AND_BASE, job->prefix, &work.password,
                          job->suffix.len > 0, err) &&
              concatenate(&work, CKM_CONCATENATE_BASE_AND_DATA, job->suffix, &work.password, false,
                          err) &&
              wrap_password(&work, err);
    object_drop(session, &work.password);
    object_drop(session, &work.content_key);
    return ok;
}

/* The seal under the new key. A password that does not fit it fails as one that cannot be opened:
 * anything else would tell that it opened. */
static bool seal_again(struct work *work, enum padding padding, CK_OBJECT_HANDLE under,
                       size_t wanted, struct buf *sealed, struct error *err)
{
    struct oaep_mechanism oaep;
    oaep_mechanism_fill(padding, &oaep);
    CK_ULONG len = wanted;
    uint8_t *place = buf_extend(sealed, wanted);
    if (place == NULL)
        return buf_check(sealed, "a sealed password", err);
    CK_RV rv = work->session->f->C_WrapKey(work->session->handle, &oaep.mechanism, under,
                                           work->password, place, &len);
    if (rv != CKR_OK || len != wanted)
        return fail_opening(work->session, work->key, work->job->padding, CUSTODY_TOKEN,
                            "C_WrapKey", CKM_RSA_PKCS_OAEP, rv != CKR_OK ? rv : CKR_FUNCTION_FAILED,
                            err);
    return true;
}

bool custody_token_rotate(struct session *session, const struct sealing_key *key,
                          const struct sealing_key *new_key, const struct rotate_job *job,
                          size_t unwrap_variant, struct buf *sealed, struct error *err)
{
    const struct reseal_job opened = {.padding = job->padding, .sealed = job->sealed};
    struct work work = {.session = session, .key = key, .job = &opened};
    const CK_OBJECT_HANDLE known[] = {key->private_half, key->public_half, new_key->private_half,
                                      new_key->public_half};
    CK_OBJECT_HANDLE under = CK_INVALID_HANDLE;
    bool ok = wrapping_key_import(session, new_key->pkey, known, ARRAY_LEN(known), &under, err);
    work.content_key = under; /* so that the password is not taken for it */
    ok = ok && unwrap_password(&work, &unwrap_variants[unwrap_variant], err) &&
         seal_again(&work, job->new_padding, under, new_key->modulus_len, sealed, err);
    object_drop(session, &work.password);
    object_drop(session, &under);
    return ok;
}

bool custody_token_ask_value(struct session *session, const struct sealing_key *key,
                             const struct reseal_job *job, const struct variants *variants,
                             CK_RV *rv, struct error *err)
{
    struct work work = {.session = session, .key = key, .job = job};
    bool ok = unwrap_password(&work, &unwrap_variants[variants->unwrap], err) &&
              !attribute_readable(session, work.password, CKA_VALUE, rv);
    object_drop(session, &work.password);
    return ok;
}
