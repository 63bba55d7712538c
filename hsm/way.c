/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding out by doing how a token does the job. Mechanism lists are not asked: tokens claim what
 * they cannot do, and do what they do not claim. Only secrets of our own are used for it; a message
 * from outside never decides how messages are opened.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include "custody.h"

#define TRIAL_SECRET 24 /* bytes of the random password of a trial */

/* A device of our own: key and certificate live in this process only. */
struct trial_device {
    EVP_PKEY *key;
    X509 *certificate;
};

static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;
static struct trial_device device;

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

/* Made once per process: a key pair takes longer than all trials together. */
static bool trial_device_get(const struct trial_device **out, struct error *err)
{
    bool ok = false;
    pthread_mutex_lock(&device_lock);
    struct trial_device made = {NULL, NULL};
    if (device.certificate == NULL) {
        made.key = EVP_RSA_gen(2048);
        made.certificate = X509_new();
        if (made.key == NULL || made.certificate == NULL || !certify(&made)) {
            error_openssl(err, FAIL_INTERNAL, "cannot make a throw-away certificate");
            goto done;
        }
        device = made;
        made = (struct trial_device){NULL, NULL}; /* transferred */
    }
    *out = &device;
    ok = true;
done:
    EVP_PKEY_free(made.key);
    X509_free(made.certificate);
    pthread_mutex_unlock(&device_lock);
    return ok;
}

struct way *way_of(struct sealing_key *key, enum padding padding)
{
    return &key->ways[padding - PADDING_FIRST];
}

/* One sealed random password and what must come out of it. */
struct trial {
    const struct trial_device *device;
    struct secret *expected; /* prefix || password || suffix */
    struct buf sealed;
    struct reseal_job job;
};

static void trial_free(struct trial *trial)
{
    secret_free(&trial->expected);
    buf_free(&trial->sealed);
}

static bool trial_make(const struct sealing_key *key, enum padding padding, size_t len,
                       const char *prefix, const char *suffix, struct trial *out, struct error *err)
{
    bool ok = false;
    size_t before = strlen(prefix), behind = strlen(suffix);
    struct secret *password = NULL;
    *out = (struct trial){.sealed = BUF_INIT(1024)};
    if (!trial_device_get(&out->device, err) || !secret_new(len, &password, err) ||
        !secret_new(before + len + behind, &out->expected, err))
        goto done;
    if (RAND_priv_bytes(secret_data(password), (int)len) != 1) {
        error_openssl(err, FAIL_INTERNAL, "no random numbers for a trial");
        goto done;
    }
    memcpy(secret_data(out->expected), prefix, before);
    memcpy(secret_data(out->expected) + before, secret_data(password), len);
    memcpy(secret_data(out->expected) + before + len, suffix, behind);
    if (!password_seal(key->pkey, padding, password, &out->sealed, err))
        goto done;
    out->job = (struct reseal_job){
        .padding = padding,
        .sealed = buf_bytes(&out->sealed),
        .prefix = {(const uint8_t *)prefix, before},
        .suffix = {(const uint8_t *)suffix, behind},
        .recipient = out->device->certificate,
        .transport = KEY_TRANSPORT_PKCS1,
    };
    ok = true;
done:
    secret_free(&password);
    if (!ok)
        trial_free(out);
    return ok;
}

typedef bool run_fn(struct session *session, const struct sealing_key *key,
                    const struct reseal_job *job, size_t variant, struct buf *der,
                    struct error *err);

/* True where the result opens to what was sealed. */
static bool opens(const struct trial *trial, struct bytes der)
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

enum verdict {
    VERDICT_WORKS,
    VERDICT_FAILS,   /* this variant does not do it */
    VERDICT_TROUBLE, /* nothing was learned: the token or this process is in trouble */
};

static enum verdict try_variant(struct session *session, const struct sealing_key *key,
                                const struct trial *trial, run_fn *run, size_t variant,
                                char call[static CK_CALL_TEXT], char ck_rv[static CK_RV_TEXT],
                                struct error *err)
{
    enum verdict verdict = VERDICT_FAILS;
    struct buf der = BUF_INIT(CMS_DER_MAX);
    session->call[0] = '\0';
    session->rv = CKR_OK;
    if (!session_lost(session))
        session->trouble = CK_CLASS_FINE; /* a shortage of before is none of this trial's */
    if (run(session, key, &trial->job, variant, &der, err)) {
        if (opens(trial, buf_bytes(&der))) {
            verdict = VERDICT_WORKS;
        } else {
            snprintf(call, CK_CALL_TEXT, "comparison");
            snprintf(ck_rv, CK_RV_TEXT, "the result does not open");
        }
    } else if (session->call[0] == '\0' && err->kind != FAIL_CRYPTO) {
        verdict = VERDICT_TROUBLE; /* not a call of the token: memory, OpenSSL */
    } else if (session_lost(session)) {
        verdict = VERDICT_TROUBLE;
        session_fail_lost(session, err);
    } else if (session->trouble == CK_CLASS_FEWER_SESSIONS) {
        verdict = VERDICT_TROUBLE;
    } else if (session->call[0] == '\0') {
        snprintf(call, CK_CALL_TEXT, "OAEP decoding");
        snprintf(ck_rv, CK_RV_TEXT, "wrong padding");
    } else {
        memcpy(call, session->call, CK_CALL_TEXT);
        ck_rv_text(session->rv, ck_rv);
    }
    buf_free(&der);
    return verdict;
}

/* An answer that says nothing may be one of the moment; what is learned is kept for the life of
 * this process, so it is asked for twice. */
static enum verdict try_variant_twice(struct session *session, const struct sealing_key *key,
                                      const struct trial *trial, run_fn *run, size_t variant,
                                      char call[static CK_CALL_TEXT], char ck_rv[static CK_RV_TEXT],
                                      struct error *err)
{
    enum verdict verdict = try_variant(session, key, trial, run, variant, call, ck_rv, err);
    if (verdict == VERDICT_FAILS && ck_rv_class(session->rv) != CK_CLASS_NOT_THIS_WAY)
        verdict = try_variant(session, key, trial, run, variant, call, ck_rv, err);
    return verdict;
}

/*
 * What the token answers to a message that it cannot open. Some answer as if they were broken;
 * that answer is then known as harmless, and cannot be told from any other bad message outside.
 */
static void learn_bad_message(struct session *session, const struct sealing_key *key,
                              struct trial *trial, run_fn *run, size_t variant, struct way *way)
{
    struct error ignored = ERROR_INIT;
    struct buf der = BUF_INIT(CMS_DER_MAX);
    enum ck_class before = session->trouble;
    trial->sealed.data[trial->sealed.len - 1] ^= 1;
    session->rv = CKR_OK;
    if (!run(session, key, &trial->job, variant, &der, &ignored) &&
        ck_rv_class(session->rv) == CK_CLASS_TOKEN_GONE) {
        way->bad_message = session->rv;
        session->trouble = before;
    }
    trial->sealed.data[trial->sealed.len - 1] ^= 1;
    buf_free(&der);
}

bool way_learn(struct session *session, struct sealing_key *key, enum padding padding,
               enum custody custody, struct error *err)
{
    bool ok = false;
    bool token = custody == CUSTODY_TOKEN;
    struct way *way = way_of(key, padding);
    run_fn *run = token ? custody_token_run : custody_host_run;
    size_t count = token ? unwrap_variant_count() : host_variant_count();
    struct trial trial;
    if (!trial_make(key, padding, TRIAL_SECRET, "", "", &trial, err))
        return false;
    enum learned learned = LEARNED_NO;
    for (size_t i = 0; i < count && learned == LEARNED_NO; i++) {
        char call[CK_CALL_TEXT] = "", ck_rv[CK_RV_TEXT] = "";
        switch (try_variant_twice(session, key, &trial, run, i, call, ck_rv, err)) {
        case VERDICT_TROUBLE:
            goto done;
        case VERDICT_WORKS:
            learned = LEARNED_YES;
            *(token ? &way->unwrap_variant : &way->host_variant) = i;
            learn_bad_message(session, key, &trial, run, i, way);
            break;
        case VERDICT_FAILS:
            /* The first, ordinary variant's failure explains most for custody token; for custody
             * host it is the last one, the most modest wish. */
            if (i == 0 || !token) {
                memcpy(token ? way->token_call : way->host_call, call, CK_CALL_TEXT);
                memcpy(token ? way->token_rv : way->host_rv, ck_rv, CK_RV_TEXT);
            }
            break;
        }
    }
    *(token ? &way->token : &way->host) = learned;
    ok = true;
done:
    trial_free(&trial);
    return ok;
}

bool way_learn_affixes(struct session *session, struct sealing_key *key, enum padding padding,
                       struct error *err)
{
    struct way *way = way_of(key, padding);
    char call[CK_CALL_TEXT], ck_rv[CK_RV_TEXT];
    struct trial trial;
    if (!trial_make(key, padding, TRIAL_SECRET, "<before>", "<behind>", &trial, err))
        return false;
    enum verdict verdict = try_variant_twice(session, key, &trial, custody_token_run,
                                             way->unwrap_variant, call, ck_rv, err);
    if (verdict != VERDICT_TROUBLE)
        way->affixes = verdict == VERDICT_WORKS ? LEARNED_YES : LEARNED_NO;
    trial_free(&trial);
    return verdict != VERDICT_TROUBLE;
}

bool way_learn_longest(struct session *session, struct sealing_key *key, enum padding padding,
                       struct error *err)
{
    struct way *way = way_of(key, padding);
    const size_t room = padding_room(padding, EVP_PKEY_get_bits(key->pkey));
    /* NSS unwraps into 256 bytes; the others are lengths at which a bound would be drawn. */
    const size_t lengths[] = {room, 256, 128, 64};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char call[CK_CALL_TEXT], ck_rv[CK_RV_TEXT];
        struct trial trial;
        if (lengths[i] > room)
            continue;
        if (!trial_make(key, padding, lengths[i], "", "", &trial, err))
            return false;
        enum verdict verdict = try_variant_twice(session, key, &trial, custody_token_run,
                                                 way->unwrap_variant, call, ck_rv, err);
        trial_free(&trial);
        if (verdict == VERDICT_TROUBLE)
            return false;
        if (verdict == VERDICT_WORKS) {
            way->longest = lengths[i];
            return true;
        }
    }
    way->longest = TRIAL_SECRET;
    return true;
}

bool way_still_works(struct session *session, struct sealing_key *key, enum padding padding,
                     enum custody custody, bool *out, struct error *err)
{
    bool token = custody == CUSTODY_TOKEN;
    const struct way *way = way_of(key, padding);
    char call[CK_CALL_TEXT], ck_rv[CK_RV_TEXT];
    struct trial trial;
    *out = false;
    if (!trial_make(key, padding, TRIAL_SECRET, "", "", &trial, err))
        return false;
    enum verdict verdict =
        try_variant(session, key, &trial, token ? custody_token_run : custody_host_run,
                    token ? way->unwrap_variant : way->host_variant, call, ck_rv, err);
    *out = verdict == VERDICT_WORKS;
    trial_free(&trial);
    return verdict != VERDICT_TROUBLE;
}
