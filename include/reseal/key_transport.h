/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sealing key goes to a second token, so that several connectors serve the same records.
 *
 * 1. The second token makes a transport key: RSA, it may unwrap and nothing else.
 * 2. The first token makes an AES-256 key for this one journey; it wraps the sealing key under it
 *    (AES key wrap with padding, RFC 5649), and it under the transport key (RSA-OAEP).
 * 3. The second token unwraps both in turn; what came is read back like a key that was made there.
 * 4. Both shut the sealing key: it can be wrapped never again.
 *
 * Key material is outside a token only as the output of C_WrapKey. What the journey's AES key can
 * be wrapped for is what the caller names: he compares the fingerprint of the transport key.
 *
 * Who else could wrap the sealing key while it is open? With KEY_WRAPPED_BY_TRUSTED, nobody without
 * the security officer's PIN. With KEY_WRAPPED_UNTIL_SHUT, whoever is logged in as the user: for
 * tokens that do not know CKA_WRAP_WITH_TRUSTED.
 */
#ifndef RESEAL_KEY_TRANSPORT_H
#define RESEAL_KEY_TRANSPORT_H

#include "reseal/ceremony.h"

/* -- the second token's transport key -- */

enum transport_hash { /* of RSA-OAEP and its MGF1; a bit set */
    TRANSPORT_SHA256 = 1,
    /* Here OAEP does not rest on the hash's resistance to collisions (RFC 8017, section 7.1), and
     * SoftHSM has no other. Passwords are never sealed with it. */
    TRANSPORT_SHA1 = 2,
};

/* What the first token must know. */
struct transport_offer {
    EVP_PKEY *public_key; /* owned */
    char fingerprint[FINGERPRINT_TEXT];
    unsigned hashes; /* with which the second token unwraps */
};
void transport_offer_free(struct transport_offer *offer);

/* A token object like a sealing key for custody token, with every attribute read back; `bits` 3072
 * or 4096. */
bool transport_key_make(struct session *session, const char *label, int bits,
                        struct key_birth *birth, struct sealing_key **out,
                        struct error *err) MUST_USE;
/* Finds out by doing with which hashes the token unwraps an AES key that nobody can read
 * afterwards; FAIL_UNSUPPORTED where with none. FAIL_POLICY where the key was not made on this
 * token, or may leave it. */
bool transport_offer_make(struct session *session, const struct sealing_key *transport_key,
                          struct transport_offer *out, struct error *err) MUST_USE;

/* -- the first token's key for one journey -- */

struct transport_secret;
/* Made by the user: wraps keys of KEY_WRAPPED_UNTIL_SHUT. */
bool transport_secret_make(struct session *session, struct transport_secret **out,
                           struct error *err) MUST_USE;
/* Made by the security officer, with CKA_TRUSTED: wraps keys of KEY_WRAPPED_BY_TRUSTED as well. The
 * user must not be logged in yet. One try of the SO PIN (FAIL_PIN). FAIL_UNSUPPORTED where the
 * token does not let the SO trust such a key. */
bool transport_secret_make_trusted(struct token *token, const struct secret *so_pin,
                                   struct transport_secret **out, struct error *err) MUST_USE;
/* Destroys it. */
void transport_secret_free(struct transport_secret **secret);

/* -- the journey -- */

#define WRAPPED_KEY_MAX  4096 /* bytes; RSA-4096 in PKCS#8 has 2,400 */
#define MECHANISM_TEXT   40
#define TRANSPORT_IV_LEN 16

struct wrapped_key {
    char label[129];
    char id[KEY_ID_TEXT];
    char fingerprint[FINGERPRINT_TEXT];           /* of the sealing key */
    char transport_fingerprint[FINGERPRINT_TEXT]; /* of the key it was wrapped for */
    enum transport_hash hash;
    char mechanism[MECHANISM_TEXT]; /* by which the sealing key was wrapped, by name */
    uint8_t iv[TRANSPORT_IV_LEN];   /* of CKM_AES_CBC_PAD, otherwise zeros */
    struct buf public_key;          /* the sealing key's, PEM */
    struct buf secret;              /* the journey's key under the transport key */
    struct buf key;                 /* the sealing key under the journey's key */
};
void wrapped_key_init(struct wrapped_key *wrapped);
void wrapped_key_free(struct wrapped_key *wrapped);

/* `out` was made by wrapped_key_init. FAIL_POLICY where the token does not let the key be wrapped,
 * FAIL_UNSUPPORTED where it can wrap in none of the ways. */
bool transport_wrap(struct session *session, const struct sealing_key *key,
                    const struct transport_secret *secret, const struct transport_offer *offer,
                    struct wrapped_key *out, struct error *err) MUST_USE;
/*
 * The sealing key as `plan` wants it on this token (label, custody; `wrapping` NEVER; `replica` is
 * taken as set), with the CKA_ID that it had. Every attribute is read back into `birth`, and its
 * public half must be the one that was told; otherwise it is destroyed (FAIL_POLICY). FAIL_CRYPTO:
 * it was wrapped for another key, or is damaged.
 */
bool transport_unwrap(struct session *session, const struct sealing_key *transport_key,
                      const struct wrapped_key *wrapped, const struct key_plan *plan,
                      struct key_birth *birth, struct sealing_key **out,
                      struct error *err) MUST_USE;

/* -- the end of it -- */

/* CKA_EXTRACTABLE becomes false, which cannot be undone (PKCS#11 v3.1, section 4.9), and is read
 * back. */
bool key_shut(struct session *session, const struct sealing_key *key, struct error *err) MUST_USE;

struct wrap_attempt {
    char mechanism[MECHANISM_TEXT];
    char ck_rv[CK_RV_TEXT];
    bool wrapped;
};
#define WRAP_ATTEMPTS_MAX 8
/* Tries to wrap the key in every way there is, under keys of our own, and throws the outcome away.
 * *confined: the token refused them all. */
bool key_try_wrap(struct session *session, const struct sealing_key *key,
                  struct wrap_attempt attempts[static WRAP_ATTEMPTS_MAX], size_t *count,
                  bool *confined, struct error *err) MUST_USE;

#endif
