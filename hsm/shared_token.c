/* SPDX-License-Identifier: Apache-2.0 */
#include "shared_token.h"

#include <openssl/err.h>

void library_close(struct library *library)
{
    if (library->slots != NULL)
        PKCS11_release_all_slots(library->context, library->slots, library->slot_count);
    if (library->loaded)
        PKCS11_CTX_unload(library->context);
    if (library->context != NULL)
        PKCS11_CTX_free(library->context);
    *library = (struct library){NULL, NULL, 0, false};
}

bool library_open(const struct token_address *address, struct library *out, struct error *err)
{
    ERR_clear_error();
    out->context = PKCS11_CTX_new();
    if (out->context == NULL)
        return error_memory(err);
    if (address->init_args[0] != '\0')
        PKCS11_CTX_init_args(out->context, address->init_args);
    if (PKCS11_CTX_load(out->context, address->module) != 0)
        return error_openssl(err, FAIL_TOKEN, "libp11 cannot load %s", address->module);
    out->loaded = true;
    if (PKCS11_enumerate_slots(out->context, &out->slots, &out->slot_count) != 0)
        return error_openssl(err, FAIL_TOKEN, "libp11 cannot list the slots of %s",
                             address->module);
    return true;
}

void shared_close(struct shared_token *shared)
{
    session_close(&shared->session);
    token_logout(shared->token); /* before libp11 finalises the module */
    library_close(&shared->library);
    token_close(&shared->token);
}

bool shared_open(const struct token_address *address, const struct secret *pin, bool pad,
                 struct shared_token *out, struct error *err)
{
    if (!token_open(address, &out->token, err) ||
        !session_open(out->token, SESSION_READ_ONLY, &out->session, err) ||
        ((pin != NULL || pad) && !token_login(out->token, pin, err)) ||
        !library_open(address, &out->library, err))
        return false;
    for (unsigned int i = 0; i < out->library.slot_count; i++) {
        PKCS11_SLOT *slot = &out->library.slots[i];
        if (slot->token != NULL && PKCS11_get_slotid_from_slot(slot) == out->token->slot)
            out->listed = slot->token;
    }
    if (out->listed == NULL)
        return error_set(err, FAIL_TOKEN, "libp11 does not see token \"%s\"",
                         out->token->facts.label);
    return true;
}
