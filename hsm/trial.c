/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs with a secret of our own, for devices of our own: what finding out by doing is done with. */
#include "trial.h"

#include <pthread.h>
#include <string.h>
#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;
static struct trial_device devices[CMS_FORM_COUNT];

static bool certify(struct trial_device *made)
{
    X509_NAME *name = X509_get_subject_name(made->certificate);
    return X509_set_version(made->certificate, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(made->certificate), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(made->certificate), 0) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(made->certificate), 86400) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                      (const unsigned char *)"reseal probe", -1, -1, 0) == 1 &&
           X509_set_issuer_name(made->certificate, name) == 1 &&
           X509_set_pubkey(made->certificate, made->key) == 1 &&
           X509_sign(made->certificate, made->key, EVP_sha256()) > 0;
}

static EVP_PKEY *make_key(enum cms_form form)
{
    switch (form) {
    case CMS_RSA_PKCS1:
    case CMS_RSA_OAEP_SHA256:
        return EVP_RSA_gen(2048);
    case CMS_EC_P256:
        return EVP_EC_gen("P-256");
    case CMS_EC_P384:
        return EVP_EC_gen("P-384");
    }
    return NULL;
}

/* Both RSA forms are one device's. */
static enum cms_form device_index(enum cms_form form)
{
    return form == CMS_RSA_OAEP_SHA256 ? CMS_RSA_PKCS1 : form;
}

/* Made once per process: a key pair takes longer than all trials together. */
static bool trial_device_get(enum cms_form form, const struct trial_device **out, struct error *err)
{
    bool ok = false;
    pthread_mutex_lock(&device_lock);
    struct trial_device *device = &devices[device_index(form)];
    struct trial_device made = {NULL, NULL};
    if (device->certificate == NULL) {
        made.key = make_key(form);
        made.certificate = X509_new();
        if (made.key == NULL || made.certificate == NULL || !certify(&made)) {
            error_openssl(err, FAIL_INTERNAL, "cannot make a throw-away certificate");
            goto done;
        }
        *device = made;
        made = (struct trial_device){NULL, NULL}; /* transferred */
    }
    *out = device;
    ok = true;
done:
    EVP_PKEY_free(made.key);
    X509_free(made.certificate);
    pthread_mutex_unlock(&device_lock);
    return ok;
}

void trial_free(struct trial *trial)
{
    secret_free(&trial->expected);
    buf_free(&trial->sealed);
    buf_free(&trial->text);
}

/* What the device must find: the text before the password, the password, the text behind it. */
static bool join(struct trial *trial, const struct secret *password, size_t before,
                 struct error *err)
{
    const size_t behind = trial->text.len - before, len = secret_len(password);
    if (!secret_new(trial->text.len + len, &trial->expected, err))
        return false;
    uint8_t *at = secret_data(trial->expected);
    if (before > 0)
        memcpy(at, trial->text.data, before);
    if (len > 0)
        memcpy(at + before, secret_bytes(password).data, len);
    if (behind > 0)
        memcpy(at + before + len, trial->text.data + before, behind);
    trial->job.prefix = (struct bytes){trial->text.data, before};
    trial->job.suffix = (struct bytes){trial->text.data + before, behind};
    return true;
}

bool trial_make(const struct sealing_key *key, const struct trial_wish *wish, struct trial *out,
                struct error *err)
{
    bool ok = false;
    struct secret *password = NULL;
    *out = (struct trial){.sealed = BUF_INIT(1024), .text = BUF_INIT(HELPER_AFFIX_MAX)};
    size_t text = wish->before + wish->behind;
    if (text > 0 && buf_extend(&out->text, text) == NULL &&
        !buf_check(&out->text, "the text of a trial", err))
        goto done;
    if (text > 0)
        memset(out->text.data, 't', text);
    if (!trial_device_get(wish->form, &out->device, err) ||
        !secret_new(wish->password, &password, err))
        goto done;
    if (RAND_priv_bytes(secret_data(password), (int)wish->password) != 1) {
        error_openssl(err, FAIL_INTERNAL, "no random numbers for a trial");
        goto done;
    }
    if (!join(out, password, wish->before, err) ||
        !password_seal(key->pkey, wish->padding, password, &out->sealed, err))
        goto done;
    out->job.padding = wish->padding;
    out->job.sealed = buf_bytes(&out->sealed);
    out->job.recipient = out->device->certificate;
    out->job.transport =
        wish->form == CMS_RSA_OAEP_SHA256 ? KEY_TRANSPORT_OAEP_SHA256 : KEY_TRANSPORT_PKCS1;
    ok = true;
done:
    secret_free(&password);
    if (!ok)
        trial_free(out);
    return ok;
}

bool trial_opens(const struct trial *trial, struct bytes der)
{
    struct error ignored = ERROR_INIT;
    struct secret *opened = NULL;
    bool same =
        cms_decrypt(der, trial->device->key, trial->device->certificate, &opened, &ignored) &&
        secret_len(opened) == secret_len(trial->expected) &&
        CRYPTO_memcmp(secret_data(opened), secret_data(trial->expected), secret_len(opened)) == 0;
    secret_free(&opened);
    return same;
}
