/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token opened by us and by libp11.
 *
 * The module is opened by us first and the PIN is tried by us: libp11 0.4 would keep a copy of the
 * PIN in ordinary memory, would try it whatever the token says about tries left, and waits forever
 * where no session can be opened. To libp11 the module is then CKR_CRYPTOKI_ALREADY_INITIALIZED,
 * which it takes, and the login, which belongs to the application, is there. In return it finalises
 * the module when it is unloaded; what we close afterwards answers CKR_CRYPTOKI_NOT_INITIALIZED,
 * which nobody looks at.
 */
#ifndef RESEAL_HSM_SHARED_TOKEN_H
#define RESEAL_HSM_SHARED_TOKEN_H

#include <libp11.h>
#include "object.h"

struct library {
    PKCS11_CTX *context;
    PKCS11_SLOT *slots;
    unsigned int slot_count;
    bool loaded;
};
bool library_open(const struct token_address *address, struct library *out,
                  struct error *err) MUST_USE;
void library_close(struct library *library);

struct shared_token {
    struct token *token;
    struct session *session; /* shows that sessions can be opened */
    struct library library;
    PKCS11_TOKEN *listed;
};
/* Logged in where there is a PIN, or where `pad` says that it is typed on the token's own pad. What
 * was opened before a failure is closed by shared_close all the same. */
bool shared_open(const struct token_address *address, const struct secret *pin, bool pad,
                 struct shared_token *out, struct error *err) MUST_USE;
void shared_close(struct shared_token *shared);

#endif
