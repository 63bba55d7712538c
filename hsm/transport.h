/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about the transport of keys share. */
#ifndef RESEAL_HSM_TRANSPORT_H
#define RESEAL_HSM_TRANSPORT_H

#include "key_check.h"
#include "reseal/key_transport.h"
#include "sealing_key.h"

#define TRANSPORT_SECRET_LEN 32 /* AES-256 */

struct transport_secret {
    struct token *token;
    CK_SESSION_HANDLE session; /* its own: the object ends with it; CK_INVALID_HANDLE: the user's */
    struct session *user;      /* NULL where it has a session of its own */
    CK_OBJECT_HANDLE object;
};

struct transport_oaep {
    CK_RSA_PKCS_OAEP_PARAMS params;
    CK_MECHANISM mechanism; /* points to params */
};
void transport_oaep_fill(enum transport_hash hash, struct transport_oaep *out);

/* The ways in which a private key is wrapped and unwrapped, the best first. */
struct wrap_way {
    CK_MECHANISM_TYPE type;
    bool has_iv;
    /* RFC 5649 says by its own check value that what was unwrapped is what was wrapped. Without it
     * the read-back of the public half and the proof of the key must say so. */
    bool checked;
};
extern const struct wrap_way wrap_ways[];
extern const size_t wrap_way_count;
/* With the parameters that it needs; `iv` outlives it. */
CK_MECHANISM wrap_mechanism(const struct wrap_way *way, const uint8_t *iv) MUST_USE;

/* Appends the output of C_WrapKey; the CK_RV as it came. */
CK_RV wrap_object(struct session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE under,
                  CK_OBJECT_HANDLE object, struct buf *out) MUST_USE;

/* The AES key that was wrapped for the transport key, unreadable. */
bool transport_secret_unwrap(struct session *session, const struct sealing_key *transport_key,
                             enum transport_hash hash, struct bytes wrapped, CK_OBJECT_HANDLE *out,
                             struct error *err) MUST_USE;

#endif
