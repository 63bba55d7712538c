/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/token_init.h"

#include <stdio.h>
#include <string.h>
#include "object.h"

#define SLOTS_MAX 256

/* A call on the module, before there is a `struct token`. */
static bool fail_call(const struct token_address *address, const char *function, CK_RV rv,
                      struct error *err)
{
    char name[CK_RV_TEXT];
    ck_rv_text(rv, name);
    error_set(err, ck_rv_class(rv) == CK_CLASS_PIN ? FAIL_PIN : FAIL_TOKEN, "module %s: %s: %s",
              address->module, function, name);
    if (ck_rv_class(rv) == CK_CLASS_PIN)
        return error_hint(err, "the PIN was tried once and is not tried again; too many wrong SO "
                               "PINs lock a token for good");
    const char *hint = ck_class_hint(ck_rv_class(rv));
    return hint[0] != '\0' ? error_hint(err, "%s", hint) : false;
}

static bool place_matches(const struct token_place *place, CK_SLOT_ID slot,
                          const CK_TOKEN_INFO *info)
{
    char serial[17];
    if (place->by_slot)
        return slot == place->slot;
    if (place->serial == NULL)
        return !(info->flags & CKF_TOKEN_INITIALIZED);
    ck_field_text(info->serialNumber, sizeof info->serialNumber, serial);
    return strcmp(serial, place->serial) == 0;
}

static void fill_before(const CK_TOKEN_INFO *info, const CK_INFO *library, CK_SLOT_ID slot,
                        struct token_before *out)
{
    token_facts_fill(info, library, slot, &out->facts);
    out->initialized = (info->flags & CKF_TOKEN_INITIALIZED) != 0;
    out->pin_pad = (info->flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
}

static bool look(const struct token_address *address, const struct token_place *place,
                 CK_FUNCTION_LIST_PTR f, struct token_before *out, struct error *err)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_INFO library = {0};
    CK_RV rv = f->C_GetSlotList(CK_TRUE, slots, &count);
    if (rv != CKR_OK)
        return fail_call(address, "C_GetSlotList", rv, err);
    (void)f->C_GetInfo(&library); /* a name for the record only */
    for (CK_ULONG i = 0; i < count && i < SLOTS_MAX; i++) {
        CK_TOKEN_INFO info = {0};
        if (f->C_GetTokenInfo(slots[i], &info) == CKR_OK && place_matches(place, slots[i], &info)) {
            fill_before(&info, &library, slots[i], out);
            return true;
        }
    }
    error_set(err, FAIL_NOT_FOUND, "module %s has no %s", address->module,
              place->by_slot          ? "such slot with a token in it"
              : place->serial != NULL ? "token with that serial number"
                                      : "slot whose token is not initialised yet");
    return error_hint(err, "`reseal token list` shows the tokens of the module");
}

bool token_init_look(const struct token_address *address, const struct token_place *place,
                     struct token_before *out, struct error *err)
{
    struct module *module = NULL;
    memset(out, 0, sizeof *out);
    bool ok = module_open(address->module, address->init_args, &module, err) &&
              look(address, place, module->functions, out, err);
    module_close(&module);
    return ok;
}

/* CK_TOKEN_INFO.label: 32 bytes, filled up with blanks, without an end mark. */
static void pad_label(const char *label, CK_UTF8CHAR out[static 32])
{
    memset(out, ' ', 32);
    memcpy(out, label, strlen(label));
}

static bool set_user_pin(const struct token_address *address, CK_FUNCTION_LIST_PTR f,
                         CK_SLOT_ID slot, struct bytes so_pin, struct bytes pin, struct error *err)
{
    CK_SESSION_HANDLE session = CK_INVALID_HANDLE;
    const char *function = "C_OpenSession";
    CK_RV rv = f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    if (rv != CKR_OK)
        return fail_call(address, function, rv, err);
    function = "C_Login";
    rv = f->C_Login(session, CKU_SO, ck_input(so_pin.data), so_pin.len);
    if (rv == CKR_OK) {
        function = "C_InitPIN";
        rv = f->C_InitPIN(session, ck_input(pin.data), pin.len);
        (void)f->C_Logout(session);
    }
    (void)f->C_CloseSession(session);
    return rv == CKR_OK || fail_call(address, function, rv, err);
}

static bool init(const struct token_address *address, const struct token_before *expected,
                 CK_FUNCTION_LIST_PTR f, const struct secret *so_secret,
                 const struct secret *pin_secret, struct token_facts *out, struct error *err)
{
    const struct token_place place = {.by_slot = true, .slot = expected->facts.slot};
    const struct bytes none = {NULL, 0};
    const struct bytes so_pin = so_secret != NULL ? secret_bytes(so_secret) : none;
    const struct bytes pin = pin_secret != NULL ? secret_bytes(pin_secret) : none;
    struct token_before now = {.initialized = false};
    CK_UTF8CHAR label[32];
    CK_TOKEN_INFO info = {0};
    CK_INFO library = {0};
    if (!look(address, &place, f, &now, err))
        return false;
    if (now.initialized != expected->initialized ||
        strcmp(now.facts.serial, expected->facts.serial) != 0 ||
        strcmp(now.facts.label, expected->facts.label) != 0)
        return error_set(err, FAIL_POLICY, "slot %lu holds another token by now; nothing was done",
                         place.slot);
    pad_label(address->label, label);
    CK_RV rv = f->C_InitToken(place.slot, ck_input(so_pin.data), so_pin.len, label);
    if (rv != CKR_OK)
        return fail_call(address, "C_InitToken", rv, err);
    if (!set_user_pin(address, f, place.slot, so_pin, pin, err))
        return false;
    rv = f->C_GetTokenInfo(place.slot, &info);
    if (rv != CKR_OK)
        return fail_call(address, "C_GetTokenInfo", rv, err);
    (void)f->C_GetInfo(&library);
    token_facts_fill(&info, &library, place.slot, out);
    return true;
}

bool token_init(const struct token_address *address, const struct token_before *expected,
                const struct secret *so_pin, const struct secret *pin, struct token_facts *out,
                struct error *err)
{
    struct module *module = NULL;
    memset(out, 0, sizeof *out);
    if (address->label[0] == '\0' || strlen(address->label) > 32)
        return error_set(err, FAIL_USAGE, "a token gets a label of 1 to 32 bytes");
    bool ok = module_open(address->module, address->init_args, &module, err) &&
              init(address, expected, module->functions, so_pin, pin, out, err);
    module_close(&module);
    return ok;
}
