/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways of doing a job, each with the variants that tokens need; and finding out which. */
#ifndef RESEAL_HSM_CUSTODY_H
#define RESEAL_HSM_CUSTODY_H

#include "sealing_key.h"

/* Parameters of CKM_RSA_PKCS_OAEP for a hash; MGF1 with the same hash, no label. */
struct oaep_mechanism {
    CK_RSA_PKCS_OAEP_PARAMS params;
    CK_MECHANISM mechanism; /* points to params */
};
void oaep_mechanism_fill(enum padding padding, struct oaep_mechanism *out);

/* An error about opening the sealed password of this key: uniform where it is not the token's
 * trouble. What the probe has seen the token answer to a bad message is never its trouble. */
bool fail_opening(struct session *session, const struct sealing_key *key, enum padding padding,
                  enum custody custody, const char *function, CK_MECHANISM_TYPE mechanism, CK_RV rv,
                  struct error *err);

size_t unwrap_variant_count(void) MUST_USE;
/* What is different about that variant, in words; empty for the first, the ordinary one. */
const char *unwrap_variant_quirk(size_t variant) MUST_USE;
size_t point_variant_count(void) MUST_USE;
const char *point_variant_quirk(size_t variant) MUST_USE;
size_t host_variant_count(void) MUST_USE;
const char *host_variant_quirk(size_t variant) MUST_USE;

/*
 * What the token has given for one job. The message is made of it without the token, so that the
 * session is free for the next job meanwhile.
 */
struct harvest {
    enum custody custody;
    struct cms_parts parts; /* custody token; it points into the three that follow */
    struct buf encrypted_key, encrypted_content, originator;
    struct secret *password; /* custody host */
};
#define HARVEST_INIT                                                                               \
    {                                                                                              \
        .encrypted_key = BUF_INIT(2048), .encrypted_content = BUF_INIT(CMS_DER_MAX),               \
        .originator = BUF_INIT(256)                                                                \
    }
void harvest_free(struct harvest *harvest);
/* Forgets what an attempt that failed has left in it. */
void harvest_reset(struct harvest *harvest);

/* The token's part of a job inside the token, in the form that fits the device (cms_form_for). */
bool custody_token_run(struct session *session, const struct sealing_key *key,
                       const struct reseal_job *job, const struct variants *variants,
                       struct harvest *out, struct error *err) MUST_USE;
/* Unwraps the password as for a job inside the token, and asks for its CKA_VALUE: *rv is the
 * answer.
 */
bool custody_token_ask_value(struct session *session, const struct sealing_key *key,
                             const struct reseal_job *job, const struct variants *variants,
                             CK_RV *rv, struct error *err) MUST_USE;
/* The token's part where the password comes into locked memory of this process. */
bool custody_host_run(struct session *session, const struct sealing_key *key,
                      const struct reseal_job *job, const struct variants *variants,
                      struct harvest *out, struct error *err) MUST_USE;
/* The sealed password out of one seal and into another, inside the token: unwrapped with the old
 * key, wrapped under the public half of the new one. */
bool custody_token_rotate(struct session *session, const struct sealing_key *key,
                          const struct sealing_key *new_key, const struct rotate_job *job,
                          size_t unwrap_variant, struct buf *sealed, struct error *err) MUST_USE;
/* token_reseal, up to where the token is needed no more. */
bool token_reseal_begin(struct session *session, struct sealing_key *key,
                        const struct reseal_job *job, struct harvest *out,
                        struct error *err) MUST_USE;
/* Makes the message; appends to `der`. For what the sealed password was it can fail only by
 * in_cdata of the job (FAIL_UNSUPPORTED). */
bool harvest_finish(struct harvest *harvest, const struct reseal_job *job, struct buf *der,
                    struct error *err) MUST_USE;

/* -- content_key.c -- */
/* A new AES-256 key on the token that nobody can read, for one message. */
bool content_key_make(struct session *session, const struct sealing_key *key, CK_OBJECT_HANDLE *out,
                      struct error *err) MUST_USE;
/* Appends modulus and public exponent, big-endian. */
bool rsa_numbers_read(EVP_PKEY *pkey, struct buf *modulus, struct buf *exponent,
                      struct error *err) MUST_USE;
/* An RSA public key as a session object that wraps. */
bool wrapping_key_import(struct session *session, EVP_PKEY *pkey, const CK_OBJECT_HANDLE *known,
                         size_t count, CK_OBJECT_HANDLE *out, struct error *err) MUST_USE;
/* Wraps it for the device: the CMS encryptedKey, and for EC forms the ephemeral public point. */
bool content_key_wrap(struct session *session, const struct sealing_key *key,
                      CK_OBJECT_HANDLE content_key, const struct reseal_job *job,
                      enum cms_form form, size_t point_variant, struct buf *encrypted_key,
                      struct buf *originator, struct error *err) MUST_USE;

/* The constant-time end of RSA-OAEP after a raw RSA operation: `block` of modulus length to the
 * message, whose length is *len. False: wrong padding, without a reason. */
bool oaep_decode(const EVP_MD *digest, const struct secret *block, struct secret *message,
                 size_t *len) MUST_USE;

/* What kept a trial from working. */
struct reason {
    char call[CK_CALL_TEXT];
    char rv[CK_RV_TEXT];
};
enum verdict {
    VERDICT_WORKS,
    VERDICT_FAILS,   /* this variant does not do it */
    VERDICT_TROUBLE, /* nothing was learned: the token or this process is in trouble */
};
/* Before a trial, and after one that has failed: what its failure says. */
void verdict_prepare(struct session *session);
enum verdict verdict_of_failure(struct session *session, struct reason *reason,
                                struct error *err) MUST_USE;

/* Tries whether custody token makes that form, with a secret of our own, and keeps the outcome in
 * key->ways. False only where the token as such fails. */
bool way_learn_form(struct session *session, struct sealing_key *key, enum padding padding,
                    enum cms_form form, struct error *err) MUST_USE;
/* The same for custody host, which makes all forms or none, and serves all device keys. */
bool way_learn_host(struct session *session, struct sealing_key *key, enum padding padding,
                    struct error *err) MUST_USE;
/* The same for text around the password in custody token, which makes `form` for certain. */
bool way_learn_affixes(struct session *session, struct sealing_key *key, enum padding padding,
                       enum cms_form form, struct error *err) MUST_USE;
/* How long a password custody token takes; modules have bounds of their own below that of OAEP. */
bool way_learn_longest(struct session *session, struct sealing_key *key, enum padding padding,
                       enum cms_form form, struct error *err) MUST_USE;
/* Whether what was learned before works now: a trial of the kind of that job. `form` counts in
 * custody token only. */
bool way_still_works(struct session *session, struct sealing_key *key, const struct reseal_job *job,
                     enum cms_form form, bool *out, struct error *err) MUST_USE;
/* The same for a rotation. */
bool rotation_still_works(struct session *session, struct sealing_key *key,
                          struct sealing_key *new_key, enum padding padding,
                          enum padding new_padding, enum custody custody, bool *out,
                          struct error *err) MUST_USE;
/* The first form that custody token is known to make; false where there is none. */
bool way_any_form(const struct way *way, enum cms_form *out) MUST_USE;
struct way *way_of(struct sealing_key *key, enum padding padding) MUST_USE;

#endif
