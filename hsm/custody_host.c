/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Custody host: the token opens the sealed password into locked memory of this process, and OpenSSL
 * makes the CMS message. For tokens that cannot do better (PKCS#11 v3.1, section 5.10).
 */
#include <string.h>
#include <openssl/evp.h>
#include "custody.h"

/* Opens the sealed password into `out`, which has room for the modulus; *len is its length. */
typedef bool open_fn(struct session *session, const struct sealing_key *key,
                     const struct reseal_job *job, struct secret *out, size_t *len,
                     struct error *err);

static bool decrypt(struct session *session, const struct sealing_key *key,
                    const struct reseal_job *job, CK_MECHANISM *mechanism, struct secret *out,
                    CK_ULONG *len, struct error *err)
{
    CK_RV rv = session->f->C_DecryptInit(session->handle, mechanism, key->private_half);
    if (rv != CKR_OK)
        return fail_opening(session, key, job->padding, CUSTODY_HOST, "C_DecryptInit",
                            mechanism->mechanism, rv, err);
    *len = secret_len(out);
    rv = session->f->C_Decrypt(session->handle, ck_input(job->sealed.data), job->sealed.len,
                               secret_data(out), len);
    if (rv == CKR_OK && *len <= secret_len(out))
        return true;
    bool active = rv == CKR_OK || rv == CKR_BUFFER_TOO_SMALL; /* the operation may be so still */
    if (rv == CKR_OK)
        rv = CKR_FUNCTION_FAILED;
    if (active)
        session_spoil(session, "C_Decrypt", rv);
    return fail_opening(session, key, job->padding, CUSTODY_HOST, "C_Decrypt", mechanism->mechanism,
                        rv, err);
}

static bool open_by_oaep(struct session *session, const struct sealing_key *key,
                         const struct reseal_job *job, struct secret *out, size_t *len,
                         struct error *err)
{
    struct oaep_mechanism oaep;
    oaep_mechanism_fill(job->padding, &oaep);
    CK_ULONG got = 0;
    if (!decrypt(session, key, job, &oaep.mechanism, out, &got, err))
        return false;
    *len = got;
    return true;
}

static bool open_by_raw_rsa(struct session *session, const struct sealing_key *key,
                            const struct reseal_job *job, struct secret *out, size_t *len,
                            struct error *err)
{
    CK_MECHANISM mechanism = {CKM_RSA_X_509, NULL, 0};
    CK_ULONG got = 0;
    if (!decrypt(session, key, job, &mechanism, out, &got, err))
        return false;
    struct secret *block = NULL;
    if (!secret_new(key->modulus_len, &block, err))
        return false;
    /* Some tokens leave out leading zeros: the number is put back to the right of its block. */
    memcpy(secret_data(block) + (key->modulus_len - got), secret_data(out), got);
    bool ok = oaep_decode(key->digests[job->padding - PADDING_FIRST], block, out, len);
    secret_free(&block);
    return ok ? true : fail_message(err);
}

static const struct {
    open_fn *open;
    const char *quirk;
} host_variants[] = {
    {open_by_oaep, ""},
    {open_by_raw_rsa, "the token lacks this OAEP hash: raw RSA in the token, OAEP decoding here"},
};

size_t host_variant_count(void)
{
    return ARRAY_LEN(host_variants);
}

const char *host_variant_quirk(size_t variant)
{
    return host_variants[variant].quirk;
}

bool custody_host_run(struct session *session, const struct sealing_key *key,
                      const struct reseal_job *job, const struct variants *variants,
                      struct harvest *out, struct error *err)
{
    size_t len = 0;
    out->custody = CUSTODY_HOST;
    if (!secret_new(key->modulus_len, &out->password, err))
        return false;
    if (!host_variants[variants->host].open(session, key, job, out->password, &len, err)) {
        secret_free(&out->password);
        return false;
    }
    secret_truncate(out->password, len);
    return true;
}
